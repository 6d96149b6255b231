"""Run a worker's loops in threads until a signal, with back-off, health and a graceful stop."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Engine
from werkzeug.serving import WSGIRequestHandler, make_server

from hosting import metrics
from hosting.database import answers
from messaging.unavailable import AnotherDatabase, is_away

log = logging.getLogger(__name__)

#: A loop that finished no step for this long makes the worker not ready, in seconds.
STALE_AFTER = 30.0
_LONGEST_PAUSE = 5.0
#: Loops wait for engines far more than they compute; by default one that computes makes another,
#: whose engine has answered, wait for five milliseconds at every statement.
_SWITCH_SECONDS = 0.0005
#: The interpreter's own figure is 700, which one piece of work passes dozens of times.
_OBJECTS_BETWEEN = 50_000


class Loop(Protocol):
    """Something a worker does again and again; one step is one piece of work."""

    @property
    def name(self) -> str:
        """How logs and metrics call it."""
        ...

    def step(self) -> bool:
        """Do one piece of work; True when more is waiting. Raises when it could not."""
        ...


@dataclass(kw_only=True)
class Turn:
    """A loop, how long it rests when there is nothing to do, and what wakes it sooner.

    What nobody waits for may gather for a moment, because many cost hardly more than one.
    """

    loop: Loop
    rest_seconds: float
    gather_seconds: float = 0.0
    woken: threading.Event = field(default_factory=threading.Event)
    done_at: float = field(default_factory=time.monotonic)
    failing: bool = False


#: A worker that is told to stop has heard it by then.
HEARS_WITHIN_SECONDS = 1.0


def collect_seldom() -> None:
    """Look for what refers to itself and nothing else seldom, and never among what is there now.

    Modules, tables and templates stay for as long as the process: to go through them again and
    again takes a twentieth of a worker's time. What work leaves behind goes mostly by itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN, 20, 20)


class Worker:
    """A service's worker process."""

    def __init__(
        self, turns: Sequence[Turn], database: Engine, first: Callable[[], object] = lambda: None
    ) -> None:
        """``first`` is done before any loop begins, again until it does not raise."""
        self._first = first
        self._has_begun = False
        self._turns = turns
        self._database = database
        self._stop = threading.Event()
        self._closers: list[Callable[[], None]] = []

    def on_stop(self, closers: Iterable[Callable[[], None]]) -> None:
        """What to call, in order, once every loop has stopped."""
        self._closers.extend(closers)

    def run(self, host: str, port: int) -> None:
        """Work until SIGTERM or SIGINT; what is in flight is finished first."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        collect_seldom()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end())
        server = make_server(host, port, self._health, threaded=True, request_handler=_Quiet)
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        self._do_first()
        threads = [
            threading.Thread(target=self._keep_going, args=(turn,), name=turn.loop.name)
            for turn in self._turns
        ]
        for thread in threads:
            thread.start()
        log.info("the worker runs", extra={"count": len(threads)})
        for thread in threads:
            # A signal may be given to any thread, and is heard when this one next does something.
            while thread.is_alive():
                thread.join(HEARS_WITHIN_SECONDS)
        # What one of them cannot finish keeps no other from letting go of its own.
        with ExitStack() as closing:
            for close in (server.shutdown, *reversed(self._closers)):
                closing.callback(close)
        log.info("the worker has stopped")

    def _end(self) -> None:
        self._stop.set()
        for turn in self._turns:
            turn.woken.set()

    def _do_first(self) -> None:
        pause = 0.1
        for turn in self._turns:
            # One that never comes to its first step has to be seen, too.
            metrics.LOOP_STEP.labels(loop=turn.loop.name).set_to_current_time()
        while not self._stop.is_set():
            try:
                self._first()
                break
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("the worker waits for an engine before it begins")
            self._stop.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        self._has_begun = True
        for turn in self._turns:
            turn.done_at = time.monotonic()

    def _keep_going(self, turn: Turn) -> None:
        pause = 0.1
        while not self._stop.is_set():
            try:
                busy = turn.loop.step()
            except AnotherDatabase:
                # What comes first is done by whoever starts, so whoever looks after us starts us.
                log.error("the database is another one than before; the worker begins anew")
                self._end()
                return
            except Exception as error:
                turn.failing = True
                self._tell(turn, error)
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause = 0.1
            turn.failing = False
            turn.done_at = time.monotonic()
            metrics.LOOP_STEP.labels(loop=turn.loop.name).set_to_current_time()
            if not busy:
                turn.woken.wait(turn.rest_seconds)
                if turn.gather_seconds:
                    self._stop.wait(turn.gather_seconds)
                turn.woken.clear()

    @staticmethod
    def _tell(turn: Turn, error: Exception) -> None:
        said = {"loop": turn.loop.name, "error": type(error).__name__}
        metrics.LOOP_FAILURES.labels(**said).inc()
        if is_away(error):
            log.warning("a loop waits for an engine that is away", extra=said)
        else:
            log.exception("a loop's step failed", extra=said)

    def _health(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            body, content_type = metrics.exposition(environ.get("HTTP_ACCEPT", ""))
            start("200 OK", [("Content-Type", content_type)])
            return [body]
        if path in ("/healthz", "/readyz"):
            trouble = self._trouble() if path == "/readyz" else ""
            status = "503 Service Unavailable" if trouble else "200 OK"
            start(status, [("Content-Type", "text/plain")])
            return [f"{trouble or 'ready'}\n".encode()]
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"not here\n"]

    def _trouble(self) -> str:
        if not self._has_begun:
            return "what comes first is not done"
        now = time.monotonic()
        for turn in self._turns:
            if turn.failing or now - turn.done_at > STALE_AFTER:
                return f"the loop {turn.loop.name} makes no progress"
        return "" if answers(self._database) else "the database is away"


class _Quiet(WSGIRequestHandler):
    """Health is asked every few seconds and is not worth a line each time."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""
