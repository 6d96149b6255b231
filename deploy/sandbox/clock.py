"""The time in the sandbox: wall time, moved by the offset that all processes share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

Now = Callable[[], datetime]

READ_AGAIN_AFTER_SECONDS = 1.0


def wall_time() -> datetime:
    """The time of the machine."""
    return datetime.now(UTC)


def sandbox_clock(url: str) -> Now:
    """The clock of the database at ``url``, or wall time where there is none."""
    return _SharedClock(url).now if url else wall_time


class _SharedClock:
    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._offset = timedelta()
        self._read_at = -READ_AGAIN_AFTER_SECONDS
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def now(self) -> datetime:
        with self._lock:
            if time.monotonic() - self._read_at >= READ_AGAIN_AFTER_SECONDS:
                self._offset = self._read_offset()
                self._read_at = time.monotonic()
            return wall_time() + self._offset

    def _read_offset(self) -> timedelta:
        # A database that is away keeps the last offset, because this clock must never go back.
        try:
            row = self._connected().execute("select offset_seconds from clock").fetchone()
        except psycopg.Error:
            self._connection = None
            return self._offset
        return timedelta(seconds=float(row[0])) if row else self._offset

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        # Kept: to connect anew takes longer than a network takes to answer.
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=2,
                options="-c statement_timeout=1000",
            )
        return self._connection
