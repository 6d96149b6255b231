"""Apply a batch of events in order, and set those keys aside whose events cannot be handled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from uuid import UUID

from messaging import parking
from messaging.arrived import Arrived
from messaging.inbox import Conflict, Failure, Inbox, Unreadable
from messaging.parking import HandlerFailed
from messaging.unavailable import is_away, is_lost_race
from messaging.work import Work

log = logging.getLogger(__name__)

#: Why all that waits is given up when its subject is erased; no choice of a person.
ERASED = "erased"


def apply_all(work: Work, inbox: Inbox, failing: Mapping[UUID, Failure]) -> None:
    """Apply a batch in order, parking the keys that are known to fail.

    Raises ``HandlerFailed`` at the first other failure; the caller rolls back and tries again.
    """
    _park_early(work, inbox, failing)
    for arrived in inbox.arrived:
        if arrived.key in failing:
            # Of a key that is parked already, only an erasure is applied, and so can fail.
            _park(work, inbox, arrived, failing[arrived.key])
            continue
        try:
            for ready in inbox.admit(arrived):
                react(work, ready)
            if arrived.key in inbox.let_go:
                inbox.let_go.remove(arrived.key)
                parking.tell_released(work, arrived.key, closed=True, by=None, because=ERASED)
        except Unreadable as error:
            raise _at_fault(arrived, "reading", str(error)) from error
        except Conflict as error:
            raise _at_fault(arrived, "reading", "Conflict") from error
    # Whoever decides what is done next, in this work too, looks at what waits.
    inbox.flush_early()


def _park_early(work: Work, inbox: Inbox, failing: Mapping[UUID, Failure]) -> None:
    """What failed when what it waited for had come is parked, and the other goes on."""
    came = {one.key for one in inbox.arrived}
    at_fault = {one.key for one in inbox.arrived if fails(one, failing)}

    def wanted(one: Arrived) -> bool:
        if one.key in at_fault:
            return False
        return fails(one, failing) if one.key in came else one.key in failing

    # The one at fault comes first: it is what a person looks at, and may give up.
    for early in sorted(inbox.early_of(wanted), key=lambda one: not fails(one, failing)):
        _park(work, inbox, early, failing[early.key])


def fails(one: Arrived, failing: Mapping[UUID, Failure]) -> bool:
    """Whether it is this event for which its key is parked, by its type where no id is known."""
    failure = failing.get(one.key)
    if failure is None:
        return False
    if failure.event_id is not None:
        return one.envelope is not None and one.envelope.event_id == failure.event_id
    if one.problem is not None:
        return failure.handler == "reading"
    return one.envelope is not None and one.envelope.type == failure.handler


def react(work: Work, ready: Arrived) -> None:
    """Let the handlers say what follows; raises ``HandlerFailed`` with the key at fault."""
    if ready.problem is not None:
        # It could be read when it came, and waited; what came here to be applied is refused sooner.
        raise _at_fault(ready, "reading", ready.problem)
    if ready.event is None or ready.envelope is None:
        return
    work.traceparent = ready.envelope.traceparent or work.traceparent
    work.cause = ready.envelope
    try:
        work.react(ready.event)
    except Exception as error:
        if is_away(error) or is_lost_race(error):
            raise
        raise _at_fault(ready, ready.envelope.type, type(error).__name__) from error


def _at_fault(one: Arrived, handler: str, error: str) -> HandlerFailed:
    event_id = None if one.envelope is None else one.envelope.event_id
    return HandlerFailed(one.key, Failure(handler=handler, error=error, event_id=event_id))


def _park(work: Work, inbox: Inbox, arrived: Arrived, failure: Failure) -> None:
    if inbox.park(arrived, failure):
        parking.tell(work, parking.parked(work, arrived.key, failure))
        log.error("a key was parked", extra={"handler": failure.handler, "error": failure.error})
