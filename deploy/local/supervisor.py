"""Keeps the processes of the local run alive, and ends them in order."""

import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from deploy.local import children, run_record
from deploy.local.children import Child
from deploy.local.run_record import Started
from deploy.local.trouble import Trouble

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 10.0
DEATHS_BEFORE_GIVING_UP = 5
WINDOW_SECONDS = 60.0
SECONDS_TO_STOP = 20.0
ROUND_SECONDS = 0.1
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GaveUp(Trouble):
    """A process died again and again."""


class AskedToStop(Exception):
    """Ctrl-C or a signal asked for the end."""


def delay_seconds(deaths_in_a_row: int, first: float = FIRST_DELAY_SECONDS) -> float:
    return min(first * 2.0 ** (deaths_in_a_row - 1), LONGEST_DELAY_SECONDS)


@dataclass(kw_only=True)
class _Kept:
    child: Child
    process: subprocess.Popen[bytes]
    started: Started
    started_at: float
    starts_again_at: float | None = None
    #: So long it stays away after an end that was asked for.
    stays_away_seconds: float | None = None
    deaths_in_a_row: int = 0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_BEFORE_GIVING_UP))

    def died(self, now: float) -> None:
        lived_long = now - self.started_at > WINDOW_SECONDS
        self.deaths_in_a_row = 1 if lived_long else self.deaths_in_a_row + 1
        self.deaths.append(now)

    @property
    def dies_too_often(self) -> bool:
        return (
            len(self.deaths) == DEATHS_BEFORE_GIVING_UP
            and self.deaths[-1] - self.deaths[0] <= WINDOW_SECONDS
        )


class Supervisor:
    """Everything happens in the thread that made it, since children end with that thread."""

    def __init__(
        self,
        var: Path,
        say: Callable[[str], None],
        *,
        first_delay_seconds: float = FIRST_DELAY_SECONDS,
        seconds_to_stop: float = SECONDS_TO_STOP,
    ) -> None:
        self._var = var
        self._logs = var / "log"
        self._say = say
        self._first_delay_seconds = first_delay_seconds
        self._seconds_to_stop = seconds_to_stop
        self._kept: list[_Kept] = []
        self._asked_to_stop = False

    def listen_to_signals(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._ask_to_stop)

    def start(self, child: Child) -> None:
        process = children.start(child, self._logs)
        started = Started.by(child, process.pid)
        self._kept.append(
            _Kept(child=child, process=process, started=started, started_at=time.monotonic())
        )
        self._record()

    def run_to_end(self, tasks: list[Child], seconds: float) -> None:
        """Run tasks beside each other; each must succeed."""
        running = [(task, children.start(task, self._logs)) for task in tasks]
        try:
            self.wait_until(
                lambda: all(process.poll() is not None for _, process in running),
                seconds=seconds,
                otherwise=lambda: f"{' and '.join(task.name for task in tasks)} took too long.",
            )
        finally:
            children.stop(running, seconds=5)
        for task, process in running:
            if process.returncode != 0:
                raise Trouble(f"{task.name} failed:\n{self._last_lines(task, 60)}")

    def wait_for(self, future: Future[None]) -> None:
        while not future.done():
            self.watch()
            time.sleep(ROUND_SECONDS)
        future.result()

    def wait_until(
        self, condition: Callable[[], bool], *, seconds: float, otherwise: Callable[[], str]
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Trouble(otherwise())
            self.watch()
            time.sleep(ROUND_SECONDS)

    def watch_for_ever(self, and_look: Callable[[], None] = lambda: None) -> None:
        """Look at the children, and at what else the run has an eye on, round after round."""
        while True:
            self.watch()
            and_look()
            time.sleep(ROUND_SECONDS)

    def interrupt(self, name: str, *, by: signal.Signals, away_seconds: float) -> bool:
        """End a child because somebody asked for it; it comes back, and no death is counted.

        False when there is no such child, or it is away already.
        """
        for kept in self._kept:
            is_there = kept.starts_again_at is None and kept.process.poll() is None
            if kept.child.name == name and is_there and kept.stays_away_seconds is None:
                kept.stays_away_seconds = away_seconds
                kept.process.send_signal(by)
                return True
        return False

    def watch(self) -> None:
        """One look at every child; raises when the run is over."""
        if self._asked_to_stop:
            raise AskedToStop
        now = time.monotonic()
        for kept in self._kept:
            if kept.starts_again_at is not None:
                if now >= kept.starts_again_at:
                    self._start_again(kept)
            elif kept.process.poll() is not None:
                self._bury(kept, now)

    def stop(self) -> None:
        """Services, then what they use; each stage may take half of the time that is left."""
        deadline = time.monotonic() + self._seconds_to_stop
        for stage in sorted({kept.child.stage for kept in self._kept}):
            running = [(k.child, k.process) for k in self._kept if k.child.stage == stage]
            children.stop(running, seconds=(deadline - time.monotonic()) / 2)
        run_record.forget(self._var)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        # Only noted: raising here could fall between starting a child and recording it.
        self._asked_to_stop = True

    def _start_again(self, kept: _Kept) -> None:
        kept.process = children.start(kept.child, self._logs)
        kept.started = Started.by(kept.child, kept.process.pid)
        kept.started_at = time.monotonic()
        kept.starts_again_at = None
        self._record()

    def _bury(self, kept: _Kept, now: float) -> None:
        if kept.stays_away_seconds is not None:
            kept.starts_again_at = now + kept.stays_away_seconds
            self._say(
                f"{kept.child.name} was ended, as asked; starting it again in "
                f"{kept.stays_away_seconds:g} s"
            )
            kept.stays_away_seconds = None
            return
        kept.died(now)
        name, code = kept.child.name, kept.process.returncode
        if kept.dies_too_often:
            raise GaveUp(
                f"{name} died {DEATHS_BEFORE_GIVING_UP} times within a minute, "
                f"the last time with {code}. Its last lines:\n{self._last_lines(kept.child, 20)}"
            )
        delay = delay_seconds(kept.deaths_in_a_row, self._first_delay_seconds)
        kept.starts_again_at = now + delay
        self._say(f"{name} ended with {code}; starting it again in {delay:g} s")

    def _last_lines(self, child: Child, count: int) -> str:
        return children.last_lines(children.log_of(child, self._logs), count)

    def _record(self) -> None:
        run_record.write(self._var, [kept.started for kept in self._kept])
