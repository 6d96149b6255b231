"""Names for the gaps between two effects, where a test makes a process die, hang or stumble.

Nothing is armed unless ``WARM_HANDOFF_CRASH`` says so, and it is refused where messages reach
people. Points are passed by what carries every piece of work, so a new handler has them too.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

POINTS: Mapping[str, str] = {
    "keys.made": "a person's keys are committed, and nothing uses them yet",
    "work.begun": "a transaction is open, and nothing is decided",
    "work.decided": "a command has decided, and little is written",
    "work.written": "rows and outbox are written, and not committed",
    "work.committed": "all is committed, and nobody is told",
    "work.followed": "what follows a commit is under way, and no loop is woken",
    "relay.read": "unpublished rows are read, and nothing is sent",
    "relay.sent": "the broker has acknowledged, and no row is marked",
    "relay.marked": "rows are marked as published",
    "relay.beaten": "a heartbeat is sent, and its time not noted",
    "batch.polled": "records are read, and no transaction is open",
    "batch.claimed": "the stored offsets are moved, and nothing is loaded",
    "batch.loaded": "rows are locked and loaded, and no handler has run",
    "batch.applied": "handlers have decided, and nothing is written",
    "batch.written": "rows, inbox and outbox are written, and not committed",
    "batch.committed": "a batch is committed, and the broker has no hint of it",
    "batch.hinted": "the broker is told how far we are",
    "timer.due": "a timer is read as due, and not fired",
    "parked.freed": "a parked key is released, and what waits is not applied",
    "lease.taken": "messages are leased, and no network is called",
    "sending.begins": "a message is about to be handed over",
    "sending.ended": "the network has answered, and nothing is written",
    "sending.recorded": "what became of messages is committed",
}
#: What a test can make of a process there.
ACTIONS = ("kill", "stop", "raise", "late", "hang")
HANG_SECONDS = 15.0


class Stumbled(Exception):
    """What ``raise`` raises."""


class _Armed:
    """One point, what happens there, and the how-many-th time."""

    def __init__(self, said: str) -> None:
        name, action, nth = said.split(":")
        if name not in POINTS or action not in ACTIONS:
            raise ValueError(f"WARM_HANDOFF_CRASH: there is no {name} or no {action}")
        if os.environ.get("WARM_HANDOFF_MODE", "sandbox") != "sandbox":
            raise ValueError("WARM_HANDOFF_CRASH: only in the mode sandbox")
        self.name, self._action, self._left = name, action, int(nth)

    def pass_by(self) -> None:
        """Do it if it is time."""
        self._left -= 1
        if self._left != 0:
            return
        log.error("a crash point is passed", extra={"point": self.name, "action": self._action})
        if self._action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self._action == "hang":
            time.sleep(HANG_SECONDS)
        elif self._action == "late":
            raise TimeoutError(self.name)
        else:
            raise Stumbled(self.name)


def _armed() -> _Armed | None:
    said = os.environ.get("WARM_HANDOFF_CRASH")
    return _Armed(said) if said else None


_ARMED = _armed()


def reached(name: str, about: object = True) -> None:
    """This gap is reached; it counts only if there is something that it is about."""
    if _ARMED is not None and _ARMED.name == name and about:
        _ARMED.pass_by()
