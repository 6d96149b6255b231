"""Wake a worker's loops as soon as something was committed, in this process or another.

NOTIFY takes a lock of the whole database server when it commits, so it is sent in a statement of
its own after the transaction, and at most every few milliseconds; polling stands behind it.
"""

from __future__ import annotations

import logging
import threading
import time

import psycopg
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from hosting.database import reading

log = logging.getLogger(__name__)

_CHANNEL = "committed"
_EVERY_SECONDS = 0.02


class Waker:
    """Called after a commit: wakes loops here, or tells the worker of this database."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._here: list[threading.Event] = []
        self._told_at = 0.0

    def wakes(self, event: threading.Event) -> None:
        """Wake this loop, which runs in the same process."""
        self._here.append(event)

    def wake(self) -> None:
        """Something was committed."""
        for event in self._here:
            event.set()
        if self._here or time.monotonic() - self._told_at < _EVERY_SECONDS:
            return
        self._told_at = time.monotonic()
        try:
            with reading(self._database) as conn:
                conn.execute(text(f"NOTIFY {_CHANNEL}"))
        except SQLAlchemyError:
            # What was committed is safe; the worker finds it by polling a moment later.
            log.info("the worker was not told and will find out by itself")


class Listener:
    """A thread of the worker that hears what other processes commit."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._events: list[threading.Event] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def wakes(self, event: threading.Event) -> None:
        """Wake this loop."""
        self._events.append(event)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._stop.set()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as conn:
                    conn.execute(f"LISTEN {_CHANNEL}")
                    while not self._stop.is_set():
                        for _ in conn.notifies(timeout=1.0, stop_after=1):
                            for event in self._events:
                                event.set()
            except psycopg.Error:
                self._stop.wait(1.0)
