"""Let go of what waits: replay a parked key, give its event up, or apply what waits no longer.

Each is one transaction, which holds the key, so that nothing is put behind it meanwhile. What
another key's early event does in it when what that waited for has come may fail: then that one is
parked, and this one goes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update

from contracts.event import Event, type_of
from messaging import applying, audit, parking
from messaging.broker import Record
from messaging.fuse import Fuse
from messaging.inbox import Failure, Inbox
from messaging.parking import HandlerFailed
from messaging.points import reached
from messaging.tables import PARKED_EVENT, PARKED_KEY
from messaging.work import Participant, Work

log = logging.getLogger(__name__)

#: Why a person may give an event up. Codes, not words of theirs: they travel and are kept for ever.
CLOSED_BECAUSE = {
    "not_ours": "the record is not ours",
    "unreadable": "it can never be read",
    "done_by_hand": "what it asks for was done by hand",
    "not_wanted": "it is no longer wanted",
}


class TriedEnough(Exception):
    """A key was replayed ``REPLAYS`` times in vain."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a replay would do: how often each type of event would be said, or how it would fail."""

    says: Mapping[str, int]
    failure: Failure | None = None


class _CalledOff(Exception):
    """Ends a rehearsal, so that nothing of it stays."""


def rehearse(participant: Participant, key: UUID) -> Rehearsal:
    """Run what a replay would run, down to the last row, and take all of it back."""
    said: list[Rehearsal] = []

    def again(work: Work, failing: Mapping[UUID, Failure]) -> Sequence[Event]:
        if _locked(work, key) is not None:
            _apply_freed(work, _unparked(work, key), key, failing)
        work.finish()
        types = Counter(type_of(one.event) for one in work.said)
        said.append(Rehearsal(says=dict(sorted(types.items()))))
        raise _CalledOff

    try:
        _transact(participant, key, again)
    except _CalledOff:
        return said[-1]
    except Exception as error:
        return Rehearsal(says={}, failure=parking.failure_of(error))
    raise AssertionError("a rehearsal is always called off")


def _unparked(work: Work, key: UUID) -> Inbox:
    """The inbox over what waits for a key, which is parked no longer; its rows are loaded."""
    inbox = Inbox(work, _unpark(work, key), freed=[key])
    # It is told of the key, whether or not an event of it waits.
    told = parking.parked(work, key, Failure(handler="", error=""))
    work.store.load([told, *inbox.events()])
    return inbox


def replay(
    participant: Participant, key: UUID, *, by: object = None, once_more: bool = False
) -> bool:
    """Apply everything that waits for this key, in order, in one transaction.

    False when it failed again: nothing was changed but the count of attempts. A key that somebody
    else has released or parked anew meanwhile is left as it is. Raises ``TriedEnough`` for one that
    was replayed ``REPLAYS`` times in vain, unless it is to be tried ``once_more`` all the same.
    """
    row: Any = None

    def again(work: Work, failing: Mapping[UUID, Failure]) -> Sequence[Event]:
        nonlocal row
        row = _locked(work, key)
        if row is None:
            return ()
        if row.attempts > parking.REPLAYS and not once_more:
            raise TriedEnough
        _apply_freed(work, _unparked(work, key), key, failing)
        parking.tell_released(work, key, closed=False, by=by)
        return ()

    try:
        _transact(participant, key, again)
    except TriedEnough:
        raise
    except Exception as error:
        failure, now = parking.failure_of(error), participant.now()
        if row is None:
            # It could not even be looked at, and nothing was tried.
            raise
        # Which record could not be written is not known, and of another key none is at fault here:
        # it is still the one it was.
        is_known = isinstance(error, HandlerFailed) and error.key == key
        found = {"handler": failure.handler, "event_id": failure.event_id} if is_known else {}
        mine = (
            update(PARKED_KEY)
            .where(PARKED_KEY.c.key == key)
            .where(PARKED_KEY.c.parked_at == row.parked_at, PARKED_KEY.c.attempts == row.attempts)
            .values(attempts=PARKED_KEY.c.attempts + 1, error=failure.error, **found)
        )
        with participant.engine.begin() as conn:
            if not conn.execute(mine).rowcount:
                return False
            audit.note(
                conn, now, by, "replayed in vain", key, handler=failure.handler, error=failure.error
            )
        return False
    return True


def close(
    participant: Participant,
    key: UUID,
    *,
    because: str,
    by: object = None,
    seen: str | None = None,
) -> bool:
    """Give up the event at fault, on a person's word, and apply what waits behind it.

    Where a command has failed, no event is at fault, and all that waits is applied. ``because`` is
    one of ``CLOSED_BECAUSE``. False when the key is not parked any more, or no longer as the
    person has ``seen`` it: another event would be given up than they meant. Raises
    ``HandlerFailed`` when what waits behind fails too: then nothing was changed.
    """
    if because not in CLOSED_BECAUSE:
        raise ValueError(f"a reason is one of {', '.join(CLOSED_BECAUSE)}")
    closed = False

    def drop_first(work: Work, failing: Mapping[UUID, Failure]) -> Sequence[Event]:
        nonlocal closed
        closed = False
        row = _locked(work, key)
        if row is None or seen not in (None, parking.seen(row)):
            return ()
        log.warning("a parked key is closed by a person", extra={"handler": row.handler})
        inbox = _unparked(work, key)
        if parking.is_of_record(row):
            cause = Failure(handler=row.handler, error=row.error, event_id=row.event_id)
            inbox.give_up(lambda one: applying.fails(one, {key: cause}))
        _apply_freed(work, inbox, key, failing)
        parking.tell_released(work, key, closed=True, by=by, because=because)
        closed = True
        return ()

    try:
        _transact(participant, key, drop_first)
    except HandlerFailed:
        raise
    except Exception as error:
        raise HandlerFailed(key, parking.failure_of(error)) from error
    return closed


def apply_ready(participant: Participant, keys: Sequence[UUID], fuse: Fuse) -> int:
    """Apply the early events of these keys that wait for nothing any more; how many there were.

    One that fails parks its key, as it would have when what it waited for came. Raises ``Blown``
    when key after key fails: those stay early, and are tried again.
    """
    if not keys:
        return 0
    failing: dict[UUID, Failure] = {}
    applied = 0

    def again(work: Work) -> Sequence[Event]:
        nonlocal applied
        applied = 0
        inbox = Inbox(work, [], freed=keys)
        if not failing and not inbox.is_any_ready:
            return ()
        work.store.load(inbox.events())
        applying.apply_all(work, inbox, failing)
        for ready in inbox.ready():
            applying.react(work, ready)
            applied += 1
        inbox.flush()
        return ()

    while True:
        try:
            participant.transact(again)
        except Exception as error:
            failure, cause = parking.failure_of(error), error
        else:
            if applied:
                fuse.worked()
            return applied
        if len(keys) > 1:
            return _apply_each(participant, keys, fuse)
        key = cause.key if isinstance(cause, HandlerFailed) else keys[0]
        if key in failing:
            raise cause
        if not failure.is_damage:
            fuse.failed(key)
        failing[key] = failure


def _apply_each(participant: Participant, keys: Sequence[UUID], fuse: Fuse) -> int:
    """Each key by itself: only the one at fault is parked. Raises last what nothing can park."""
    applied, causes = 0, []
    for key in keys:
        try:
            applied += apply_ready(participant, [key], fuse)
        except Exception as error:
            parking.failure_of(error)
            causes.append(error)
    if causes:
        raise causes[0]
    return applied


def forget(work: Work, key: UUID) -> None:
    """Whoever is erased waits no longer in the service that erases them, which does not hear it.

    What waited for them is applied by the loop that looks at what is early: should it fail, that
    is no fault of the erasure.
    """
    inbox = Inbox(work, [], freed=[key])
    inbox.forget(key)
    inbox.flush()
    if key in inbox.let_go:
        parking.tell_released(work, key, closed=True, by=None, because=applying.ERASED)


def _transact(
    participant: Participant,
    key: UUID,
    act: Callable[[Work, Mapping[UUID, Failure]], Sequence[Event]],
) -> None:
    """Let a key go; another, whose early event waited for it and fails, is parked in its place."""
    failing: dict[UUID, Failure] = {}
    while True:
        try:
            participant.transact(lambda work: act(work, failing))
            return
        except HandlerFailed as failed:
            if failed.key == key or failed.key in failing:
                raise
            failing[failed.key] = failed.failure


def _apply_freed(work: Work, inbox: Inbox, key: UUID, failing: Mapping[UUID, Failure]) -> None:
    """Apply what waited behind the parked event, and what became ready while the key was parked."""
    inbox.begin_with_an_erasure()
    applying.apply_all(work, inbox, failing)
    for ready in inbox.release(key):
        applying.react(work, ready)
    inbox.flush()


def _locked(work: Work, key: UUID) -> Any:
    """The row of a parked key, locked, so that two people act one after the other."""
    query = select(PARKED_KEY).where(PARKED_KEY.c.key == key).with_for_update()
    return work.conn.execute(query).first()


def _unpark(work: Work, key: UUID) -> list[Record]:
    records = parking.records_of(work.conn, key)
    work.conn.execute(delete(PARKED_EVENT).where(PARKED_EVENT.c.key == key))
    work.conn.execute(delete(PARKED_KEY).where(PARKED_KEY.c.key == key))
    reached("parked.freed")
    return records
