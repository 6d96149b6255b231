"""What the demo desk may ask of the run: one small file a wish, in a folder of the owner's alone.

A folder and not a socket, so that wishes are granted in the thread that children belong to, and
that nothing but a process of the same user can wish at all. There are three wishes and no others.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

from deploy.local.settings import SERVICES
from deploy.local.supervisor import Supervisor

KAFKA_AWAY_SECONDS = 10.0
WORKER_AWAY_SECONDS = 2.0
LONGEST_MOVE_SECONDS = 31 * 24 * 60 * 60
WORKERS = tuple(f"worker-{service.lower()}" for service in SERVICES)


class Wishes:
    """The folder, and what each wish does."""

    def __init__(
        self, folder: Path, supervisor: Supervisor, move_clock: Callable[[float], None]
    ) -> None:
        self._folder = folder
        self._supervisor = supervisor
        self._move_clock = move_clock
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for left in folder.iterdir():
            # A wish of an earlier run is no longer anybody's.
            left.unlink()

    def look(self) -> None:
        """Grant what is wished for; what is no wish is thrown away."""
        for file in sorted(self._folder.glob("*.json")):
            try:
                wish = json.loads(file.read_bytes())
            except ValueError:
                wish = None
            file.unlink()
            if isinstance(wish, dict):
                self._grant(wish)

    def _grant(self, wish: dict[str, Any]) -> None:
        what, name, seconds = wish.get("wish"), wish.get("name"), wish.get("seconds")
        if what == "stop_kafka":
            self._supervisor.interrupt("kafka", by=signal.SIGTERM, away_seconds=KAFKA_AWAY_SECONDS)
        elif what == "kill_worker" and name in WORKERS:
            self._supervisor.interrupt(name, by=signal.SIGKILL, away_seconds=WORKER_AWAY_SECONDS)
        elif what == "move_clock" and is_a_while(seconds):
            self._move_clock(seconds)


def is_a_while(seconds: Any) -> TypeGuard[float]:
    return type(seconds) in (int, float) and 0 < seconds <= LONGEST_MOVE_SECONDS
