"""One clock for all processes: wall time, and in the sandbox one stored offset beside it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from hosting.database import reading


class Clock:
    """The time of the domain. In ``allow-list`` and ``live`` the offset is never read."""

    def __init__(self, access: Engine, *, mode: str) -> None:
        self._access = access
        self._moves = mode == "sandbox"
        self._lock = threading.Lock()
        self._offset = 0.0
        self._read_at = float("-inf")

    def now(self) -> datetime:
        """The moment it is for everybody, in UTC."""
        if self._moves and time.monotonic() - self._read_at > 1:
            self._read()
        return datetime.fromtimestamp(time.time() + self._offset, UTC)

    def _read(self) -> None:
        with self._lock:
            try:
                with reading(self._access) as conn:
                    query = text("SELECT offset_seconds FROM clock")
                    self._offset = float(conn.execute(query).scalar_one())
            except SQLAlchemyError:
                # While the database is away the last offset still holds: it never goes back.
                pass
            self._read_at = time.monotonic()


def move_to(owner: Engine, moment: datetime) -> bool:
    """Set the stored offset so that it is ``moment`` now; False if that would be going back."""
    offset = moment.timestamp() - time.time()
    with owner.begin() as conn:
        moved = conn.execute(
            text(
                "UPDATE clock SET offset_seconds = :offset"
                " WHERE offset_seconds < :offset OR offset_seconds = 0"
            ),
            {"offset": offset},
        )
        return moved.rowcount == 1
