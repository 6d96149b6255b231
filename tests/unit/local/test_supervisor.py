"""Children that die are started again; one that always dies ends the run; the end has an order."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import children, supervisor
from deploy.local.children import Child
from deploy.local.supervisor import AskedToStop, GaveUp, Supervisor
from deploy.local.trouble import Trouble

NOTES_ITS_END = """
import pathlib, signal, sys, time
def end(*_):
    with open({file!r}, "a") as notes:
        notes.write({name!r} + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path({file!r} + "." + {name!r}).touch()
time.sleep(60)
"""


def a_child(name: str, program: str, stage: int = 0) -> Child:
    return Child(name=name, command=(sys.executable, "-c", program), stage=stage)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def keeper(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    keeper = Supervisor(tmp_path, said.append, first_delay_seconds=0.01, seconds_to_stop=2)
    yield keeper
    keeper.stop()


def until(keeper: Supervisor, file: Path) -> None:
    keeper.wait_until(file.exists, seconds=20, otherwise=lambda: f"{file.name} never came")


def test_a_child_that_dies_is_started_again(
    tmp_path: Path, keeper: Supervisor, said: list[str]
) -> None:
    program = f"""
import pathlib, sys, time
first, again = pathlib.Path({str(tmp_path / "first")!r}), pathlib.Path({str(tmp_path / "again")!r})
if not first.exists():
    first.touch()
    sys.exit(3)
again.touch()
time.sleep(60)
"""
    keeper.start(a_child("worker", program))

    until(keeper, tmp_path / "again")

    assert said == ["worker ended with 3; starting it again in 0.01 s"]


def test_the_wait_doubles_with_each_death_up_to_a_limit() -> None:
    delays = [supervisor.delay_seconds(deaths) for deaths in range(1, 8)]

    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_five_deaths_in_a_minute_end_the_run_with_the_last_lines(keeper: Supervisor) -> None:
    keeper.start(a_child("worker", "import sys; print('no such table'); sys.exit(1)"))

    with pytest.raises(GaveUp, match=r"worker died 5 times within a minute.*\n.*no such table"):
        keeper.watch_for_ever()


def test_an_end_that_was_asked_for_is_no_death(
    tmp_path: Path, keeper: Supervisor, said: list[str]
) -> None:
    starts = tmp_path / "starts"
    program = f"open({str(starts)!r}, 'a').write('x'); import time; time.sleep(60)"
    keeper.start(a_child("worker", program))

    for times in range(1, supervisor.DEATHS_BEFORE_GIVING_UP + 2):
        keeper.wait_until(
            lambda n=times: starts.exists() and len(starts.read_text()) == n,  # type: ignore[misc]
            seconds=20,
            otherwise=lambda: "it never came back",
        )
        assert keeper.interrupt("worker", by=signal.SIGKILL, away_seconds=0.1)

    assert not keeper.interrupt("worker", by=signal.SIGKILL, away_seconds=0.1)
    assert not keeper.interrupt("nobody", by=signal.SIGKILL, away_seconds=0.1)
    assert {"worker was ended, as asked; starting it again in 0.1 s"} == set(said)


def test_stages_are_ended_one_after_the_other(tmp_path: Path, keeper: Supervisor) -> None:
    notes = tmp_path / "notes"
    for name, stage in {"postgres": 2, "web": 0, "kafka": 1}.items():
        program = NOTES_ITS_END.format(file=str(notes), name=name)
        keeper.start(a_child(name, program, stage))
        until(keeper, tmp_path / f"notes.{name}")

    keeper.stop()

    assert notes.read_text().split() == ["web", "kafka", "postgres"]
    assert not (tmp_path / "run.json").exists()


def test_a_child_that_will_not_end_is_killed_in_time(tmp_path: Path, keeper: Supervisor) -> None:
    ready = tmp_path / "ready"
    keeper.start(
        a_child(
            "deaf",
            "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)",
        )
    )
    until(keeper, ready)
    asked_at = time.monotonic()

    keeper.stop()

    assert time.monotonic() - asked_at < 5


def test_a_signal_ends_the_watch(keeper: Supervisor) -> None:
    before = {number: signal.getsignal(number) for number in supervisor.SIGNALS}
    keeper.listen_to_signals()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(AskedToStop):
            keeper.watch_for_ever()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_task_that_fails_ends_the_run_with_its_output(keeper: Supervisor) -> None:
    tasks = [
        a_child("topics", "print('made')"),
        a_child("migrate", "import sys; print('no such database'); sys.exit(1)"),
    ]

    with pytest.raises(Trouble, match="migrate failed:\nno such database"):
        keeper.run_to_end(tasks, seconds=20)


def test_children_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    grandchild = (
        "import os, pathlib, time; "
        f"pathlib.Path({str(ready)!r} + '.new').write_text(str(os.getpid())); "
        f"os.rename({str(ready)!r} + '.new', {str(ready)!r}); time.sleep(60)"
    )
    parent = (
        "import sys, time; from pathlib import Path; "
        "from deploy.local.children import Child, start; "
        f"start(Child(name='x', command=(sys.executable, '-c', {grandchild!r})), "
        f"Path({str(tmp_path)!r})); time.sleep(60)"
    )
    process = children.start(a_child("parent", parent), tmp_path)
    deadline = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(ready.read_text())

    process.kill()
    process.wait()

    while children.started_at(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children.started_at(pid) is None
