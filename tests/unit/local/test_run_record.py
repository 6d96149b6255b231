"""What a killed supervisor has left is ended by pid and start time, and nothing else is."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local import run_record
from deploy.local.children import Child
from deploy.local.run_record import Started
from deploy.local.trouble import Trouble

SLEEP = Child(name="sleeper", command=(sys.executable, "-c", "import time; time.sleep(60)"))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP.command, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_process_that_was_left_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    run_record.write(tmp_path, [Started.by(SLEEP, sleeper.pid)])

    ended = run_record.end_abandoned(tmp_path)

    assert ended == ["sleeper"]
    assert sleeper.poll() is not None
    assert not (tmp_path / "run.json").exists()


def test_a_process_that_got_the_same_pid_later_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    run_record.write(tmp_path, [replace(Started.by(SLEEP, sleeper.pid), started="12")])

    ended = run_record.end_abandoned(tmp_path)

    assert ended == []
    assert sleeper.poll() is None


def test_a_process_that_has_ended_since_is_no_trouble(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True)
    left = Started.by(SLEEP, process.pid)
    process.wait()
    run_record.write(tmp_path, [left])

    assert run_record.end_abandoned(tmp_path) == []


def test_a_second_run_on_a_data_folder_is_told_the_folder_and_the_address(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("PUBLIC_URL=http://127.0.0.1:8123\n")

    with (
        run_record.locked(tmp_path),
        pytest.raises(Trouble, match=f"runs on {tmp_path}: http://127.0.0.1:8123"),
        run_record.locked(tmp_path),
    ):
        pass
