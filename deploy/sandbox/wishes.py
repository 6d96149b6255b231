"""What the desk wishes of the run that started it: trouble, and time that passes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from deploy.sandbox.clock import Now

PATIENCE_SECONDS = 5.0
#: Every process reads the clock anew each second; this is left for what has become due.
REST_SECONDS = 0.8


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The folder in which the run looks for wishes."""

    folder: Path

    def stop_kafka(self) -> None:
        """Kafka ends, and comes back by itself."""
        self._make(wish="stop_kafka")

    def kill_worker(self, service: str) -> None:
        """The worker of a service is killed, and is started again."""
        self._make(wish="kill_worker", name=f"worker-{service}")

    def move_clock(self, seconds: float) -> None:
        """The clock of all processes is moved on."""
        self._make(wish="move_clock", seconds=seconds)

    def _make(self, **wish: object) -> None:
        # Renamed when it is whole, so that half a wish is never read.
        unfinished = self.folder / f"{uuid4()}.unfinished"
        unfinished.write_text(json.dumps(wish))
        unfinished.rename(self.folder / f"{time.time_ns()}.json")


@dataclass(frozen=True, kw_only=True)
class Way:
    """How far time has passed: this many of all steps."""

    done: int
    steps: int


class PassingTime:
    """Lets time pass in steps, so that what is due on the way happens on its own day."""

    def __init__(
        self, wishes: Wishes, now: Now, rest: Callable[[float], None] = time.sleep
    ) -> None:
        self._wishes = wishes
        self._now = now
        self._rest = rest
        self._lock = threading.Lock()
        self._way: Way | None = None

    @property
    def way(self) -> Way | None:
        """How far it is; None while time passes as it always does."""
        return self._way

    def begin(self, length: timedelta, steps: int) -> bool:
        """Let time pass from now on; False while it does already."""
        with self._lock:
            if self._way is not None:
                return False
            self._way = Way(done=0, steps=steps)
        threading.Thread(target=self._pass, args=(length / steps, steps), daemon=True).start()
        return True

    def _pass(self, step: timedelta, steps: int) -> None:
        try:
            for done in range(1, steps + 1):
                before = self._now()
                self._wishes.move_clock(step.total_seconds())
                self._wait_until(before + step)
                self._rest(REST_SECONDS)
                self._way = Way(done=done, steps=steps)
        finally:
            self._way = None

    def _wait_until(self, moment: datetime) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._now() < moment and time.monotonic() < deadline:
            time.sleep(0.1)
