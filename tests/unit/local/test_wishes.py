"""The run grants the desk's three wishes, to its own children alone, and no others."""

from __future__ import annotations

import json
import signal
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local.wishes import LONGEST_MOVE_SECONDS, WORKERS, Wishes
from deploy.sandbox.events import SERVICES
from deploy.sandbox.wishes import PassingTime
from deploy.sandbox.wishes import Wishes as Wished

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


class Run:
    """Stands where the supervisor and the clock are, and remembers what was asked of them."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, int]] = []
        self.moved = timedelta()

    def interrupt(self, name: str, *, by: signal.Signals, away_seconds: float) -> bool:
        assert away_seconds > 0
        self.ended.append((name, by))
        return True

    def move(self, seconds: float) -> None:
        self.moved += timedelta(seconds=seconds)


@pytest.fixture
def run() -> Run:
    return Run()


def granting(folder: Path, run: Any) -> Wishes:
    return Wishes(folder, run, run.move)


def test_what_the_desk_wishes_is_granted_once(tmp_path: Path, run: Run) -> None:
    wishes, desk = granting(tmp_path, run), Wished(folder=tmp_path)

    desk.stop_kafka()
    wishes.look()
    for service in SERVICES:
        desk.kill_worker(service)
        wishes.look()
    desk.move_clock(60)
    wishes.look()
    wishes.look()

    assert ("kafka", signal.SIGTERM) == run.ended[0]
    assert {(name, signal.SIGKILL) for name in WORKERS} == set(run.ended[1:])
    assert 4 == len(run.ended)
    assert timedelta(minutes=1) == run.moved


@pytest.mark.parametrize(
    "wish",
    [
        "{",
        "[]",
        json.dumps({"wish": "kill_worker", "name": "postgres"}),
        json.dumps({"wish": "kill_worker", "name": ["worker-intake"]}),
        json.dumps({"wish": "move_clock", "seconds": -1}),
        json.dumps({"wish": "move_clock", "seconds": LONGEST_MOVE_SECONDS + 1}),
        json.dumps({"wish": "move_clock", "seconds": "60"}),
        json.dumps({"wish": "move_clock", "seconds": True}),
        json.dumps({"wish": "anything"}),
    ],
)
def test_what_is_no_wish_is_thrown_away(tmp_path: Path, run: Run, wish: str) -> None:
    wishes = granting(tmp_path, run)
    (tmp_path / "1.json").write_text(wish)

    wishes.look()

    assert ([], timedelta()) == (run.ended, run.moved)
    assert [] == list(tmp_path.iterdir())


def test_the_folder_is_its_owners_alone_and_forgets_an_earlier_run(
    tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "wishes"
    folder.mkdir(mode=0o755)
    Wished(folder=folder).stop_kafka()

    granting(folder, run).look()

    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert [] == run.ended


def test_time_passes_in_steps_and_only_once_at_a_time(tmp_path: Path, run: Run) -> None:
    wishes = granting(tmp_path, run)
    seen: list[timedelta] = []
    asked_twice, over = threading.Event(), threading.Event()

    def now() -> datetime:
        wishes.look()
        return NOW + run.moved

    def rest(_: float) -> None:
        assert asked_twice.wait(10)
        seen.append(run.moved)
        if len(seen) == 4:
            over.set()

    time = PassingTime(Wished(folder=tmp_path), now, rest=rest)

    assert time.begin(timedelta(days=2), 4)
    refused = not time.begin(timedelta(hours=1), 1)
    asked_twice.set()

    assert over.wait(10)
    assert refused
    assert [timedelta(hours=12 * n) for n in (1, 2, 3, 4)] == seen
