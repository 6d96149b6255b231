"""Where a thread's time goes: its stack looked at every few milliseconds, by group of functions."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

EVERY_SECONDS = 0.02
#: The innermost function of one of these decides; a part of a file's path, and what it is for.
GROUPS = (
    ("/services/matching/choosing", "choosing"),
    ("/services/matching/placing", "choosing"),
    ("/messaging/sealing", "opening and sealing"),
    ("/contracts/", "reading and checking events"),
    ("/marshmallow/", "reading and checking events"),
    ("/kafka/", "Kafka's client"),
    ("/psycopg/", "PostgreSQL and its client"),
    ("/sqlalchemy/", "PostgreSQL and its client"),
    ("/messaging/", "inbox, outbox, timers"),
    ("/services/", "the service's own"),
)
OTHER = "other"


class Sampler:
    """Looks at one thread while it is busy; ``print_to`` tells what it was busy with."""

    def __init__(self, thread_id: int) -> None:
        self._thread_id = thread_id
        self._found: Counter[str] = Counter()
        self.busy = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def print_to(self, path: Path) -> None:
        """The share of each group, largest first."""
        whole = sum(self._found.values())
        lines = [f"{n / whole:4.0%} {name}" for name, n in self._found.most_common()]
        path.write_text("\n".join([f"{whole} samples", *lines]) + "\n", "utf-8")

    def _look(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY_SECONDS):
            frame = sys._current_frames().get(self._thread_id) if self.busy.is_set() else None
            if frame is not None:
                self._found[group_of(frame)] += 1


def group_of(frame: FrameType) -> str:
    """The group of the innermost function that belongs to one."""
    files = [one.f_code.co_filename for one in _outwards(frame)]
    return next((name for file in files for part, name in GROUPS if part in file), OTHER)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
