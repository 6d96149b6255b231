"""Set one subject aside when one of its events cannot be handled; everybody else flows.

While a key is parked in a service, its later events queue behind the first, its timers do not
fire and its messages do not leave. ``python -m services parked`` shows, replays and closes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from contracts.event import EVENTS, Event, type_of
from contracts.parking import KeyParked, KeyReleased
from messaging import audit
from messaging.broker import Record, record_from_json
from messaging.inbox import Arrived, Conflict, Failure, Inbox, Unreadable
from messaging.points import reached
from messaging.tables import EARLY, PARKED_EVENT, PARKED_KEY
from messaging.unavailable import is_away, is_lost_race
from messaging.work import Command, Participant, Work

log = logging.getLogger(__name__)

#: Why a person may give an event up. Codes, not words of theirs: they travel and are kept for ever.
CLOSED_BECAUSE = {
    "not_ours": "the record is not ours",
    "unreadable": "it can never be read",
    "done_by_hand": "what it asks for was done by hand",
    "not_wanted": "it is no longer wanted",
}


#: So often a key is replayed in vain before a person has to say that it is worth another try.
REPLAYS = 3


#: Why all that waits is given up when its subject is erased; no choice of a person.
ERASED = "erased"


class TriedEnough(Exception):
    """A key was replayed ``REPLAYS`` times in vain."""


class HandlerFailed(Exception):
    """A handler raised; carries whose event it was, so that only that key is parked."""

    def __init__(self, key: UUID, failure: Failure) -> None:
        super().__init__(failure.handler)
        self.key = key
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class Parked:
    """A parked key as the command line and the pages list it."""

    key: UUID
    parked_at: datetime
    handler: str
    error: str
    attempts: int
    events: int

    @property
    def seen(self) -> str:
        """Another one once the key was tried again or parked anew."""
        return _seen(self)

    @property
    def is_tried_enough(self) -> bool:
        """Whether it was replayed so often in vain that one more replay has to be meant."""
        return self.attempts > REPLAYS

    @property
    def is_of_record(self) -> bool:
        """Whether a record is at fault, the first of those that wait; else it is a command."""
        return _is_of_record(self)


def goes_on(key: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Whether nothing of a key waits here: a condition for what is done about it by itself.

    What is parked or early may say that it must not be done any more.
    """
    parked = select(PARKED_KEY.c.key)
    return and_(key.not_in(parked), ~exists().where(EARLY.c.key == key))


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
                _react(work, ready)
            if arrived.key in inbox.let_go:
                inbox.let_go.remove(arrived.key)
                _released(work, arrived.key, closed=True, by=None, because=ERASED)
        except Unreadable as error:
            failure = Failure(handler="reading", error=str(error))
            raise HandlerFailed(arrived.key, failure) from error
        except Conflict as error:
            failure = Failure(handler="reading", error="Conflict")
            raise HandlerFailed(arrived.key, failure) from error
    # Whoever decides what is done next, in this work too, looks at what waits.
    inbox.flush_early()


def _park_early(work: Work, inbox: Inbox, failing: Mapping[UUID, Failure]) -> None:
    """What failed when what it waited for had come is parked, and the other goes on."""
    came = {one.key for one in inbox.arrived}
    at_fault = {one.key for one in inbox.arrived if _fails(one, failing)}

    def wanted(one: Arrived) -> bool:
        if one.key in at_fault:
            return False
        return _fails(one, failing) if one.key in came else one.key in failing

    # The one at fault comes first: it is what a person looks at, and may give up.
    for early in sorted(inbox.early_of(wanted), key=lambda one: not _fails(one, failing)):
        _park(work, inbox, early, failing[early.key])


def _fails(one: Arrived, failing: Mapping[UUID, Failure]) -> bool:
    """Whether it is this event for which its key is parked, as far as its type tells."""
    failure = failing.get(one.key)
    if failure is None:
        return False
    if one.problem is not None:
        return failure.handler == "reading"
    return one.envelope is not None and one.envelope.type == failure.handler


def _react(work: Work, ready: Arrived) -> None:
    if ready.problem is not None:
        # It could be read when it came, and waited; what came here to be applied is refused sooner.
        raise HandlerFailed(ready.key, Failure(handler="reading", error=ready.problem))
    if ready.event is None or ready.envelope is None:
        return
    work.traceparent = ready.envelope.traceparent or work.traceparent
    work.cause = ready.envelope
    try:
        work.react(ready.event)
    except Exception as error:
        if is_away(error) or is_lost_race(error):
            raise
        raise HandlerFailed(ready.key, _failure(ready.envelope.type, error)) from error


def _park(work: Work, inbox: Inbox, arrived: Arrived, failure: Failure) -> None:
    if inbox.park(arrived, failure):
        _tell(work, _parked(work, arrived.key, failure))
        log.error("a key was parked", extra={"handler": failure.handler, "error": failure.error})


def _parked(work: Work, key: UUID, failure: Failure) -> KeyParked:
    return KeyParked(
        subject_id=key,
        service=work.participant.name,
        handler=failure.handler,
        error=failure.error,
        parked_at=work.now,
    )


def _tell(work: Work, parked: KeyParked) -> None:
    # A service does not read its own topic, so it reacts to its own parking here.
    work.cause = None
    work.react(parked)
    work.say(parked)


def attempt(participant: Participant, key: UUID, name: str, command: Command) -> None:
    """Run a command about one key; when it fails by its own fault, park the key."""
    try:
        participant.transact(command)
    except Exception as error:
        if is_away(error):
            raise
        log.exception("a command failed and its key is parked", extra={"handler": name})
        failure = _failure(name, error)

        def park(work: Work) -> Sequence[Event]:
            set_aside(work, key, failure)
            return ()

        participant.transact(park)


def set_aside(work: Work, key: UUID, failure: Failure, *, anew: bool = False) -> None:
    """Park a key without a record, and tell; one that is parked already stays as it is.

    Unless it is done ``anew``: whoever was told of the earlier time may have heard of its end.
    """
    row = {"key": key, "parked_at": work.now, "attempts": 1}
    row |= {"handler": failure.handler, "error": failure.error}
    mine = insert(PARKED_KEY).values(row)
    if anew:
        mine = mine.on_conflict_do_update(index_elements=[PARKED_KEY.c.key], set_=row)
    else:
        mine = mine.on_conflict_do_nothing()
    if work.conn.execute(mine.returning(PARKED_KEY.c.key)).first() is not None:
        parked = _parked(work, key, failure)
        work.store.load([parked])
        _tell(work, parked)


def listed(participant: Participant) -> list[Parked]:
    """Every parked key, oldest first."""
    waiting = (
        select(PARKED_EVENT.c.key, func.count().label("events"))
        .group_by(PARKED_EVENT.c.key)
        .subquery()
    )
    query = (
        select(PARKED_KEY, func.coalesce(waiting.c.events, 0).label("events"))
        .outerjoin(waiting, waiting.c.key == PARKED_KEY.c.key)
        .order_by(PARKED_KEY.c.parked_at)
    )
    with participant.engine.connect() as conn:
        return [Parked(**row._mapping) for row in conn.execute(query)]


def waiting_records(participant: Participant, key: UUID) -> list[Record]:
    """The records that wait for this key, in order."""
    with participant.engine.connect() as conn:
        return _records(conn, key)


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
        return Rehearsal(says={}, failure=failure_of(error))
    raise AssertionError("a rehearsal is always called off")


def _unparked(work: Work, key: UUID) -> Inbox:
    """The inbox over what waits for a key, which is parked no longer; its rows are loaded."""
    inbox = Inbox(work, _unpark(work, key), freed=[key])
    # It is told of the key, whether or not an event of it waits.
    told = _parked(work, key, Failure(handler="", error=""))
    work.store.load([told, *inbox.events()])
    return inbox


def replay(
    participant: Participant, key: UUID, *, by: object = None, once_more: bool = False
) -> bool:
    """Apply everything that waits for this key, in order, in one transaction.

    False when it failed again: nothing was changed but the count of attempts. A key that somebody
    else has released meanwhile is left as it is. Raises ``TriedEnough`` for one that was replayed
    ``REPLAYS`` times in vain, unless it is to be tried ``once_more`` all the same.
    """

    def again(work: Work, failing: Mapping[UUID, Failure]) -> Sequence[Event]:
        row = _locked(work, key)
        if row is None:
            return ()
        if row.attempts > REPLAYS and not once_more:
            raise TriedEnough
        _apply_freed(work, _unparked(work, key), key, failing)
        _released(work, key, closed=False, by=by)
        return ()

    try:
        _transact(participant, key, again)
    except TriedEnough:
        raise
    except Exception as error:
        failure, now = failure_of(error), participant.now()
        # Which record could not be written is not known: the one at fault is still the one it was.
        found = {} if failure.handler == "writing" else {"handler": failure.handler}
        with participant.engine.begin() as conn:
            conn.execute(
                update(PARKED_KEY)
                .where(PARKED_KEY.c.key == key)
                .values(attempts=PARKED_KEY.c.attempts + 1, error=failure.error, **found)
            )
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
        if row is None or seen not in (None, _seen(row)):
            return ()
        log.warning("a parked key is closed by a person", extra={"handler": row.handler})
        inbox = _unparked(work, key)
        if _is_of_record(row) and inbox.arrived:
            cause = {key: Failure(handler=row.handler, error=row.error)}
            inbox.give_up(next((o for o in inbox.arrived if _fails(o, cause)), inbox.arrived[0]))
        _apply_freed(work, inbox, key, failing)
        _released(work, key, closed=True, by=by, because=because)
        closed = True
        return ()

    try:
        _transact(participant, key, drop_first)
    except HandlerFailed:
        raise
    except Exception as error:
        raise HandlerFailed(key, failure_of(error)) from error
    return closed


def apply_ready(participant: Participant, keys: Sequence[UUID]) -> int:
    """Apply the early events of these keys that wait for nothing any more; how many there were.

    One that fails parks its key, as it would have when what it waited for came.
    """
    failing: dict[UUID, Failure] = {}
    applied = 0

    def again(work: Work) -> Sequence[Event]:
        nonlocal applied
        applied = 0
        inbox = Inbox(work, [], freed=keys)
        if not failing and not inbox.is_any_ready:
            return ()
        work.store.load(inbox.events())
        apply_all(work, inbox, failing)
        for ready in inbox.ready():
            _react(work, ready)
            applied += 1
        inbox.flush()
        return ()

    while True:
        try:
            participant.transact(again)
            return applied
        except Exception as error:
            failure, cause = failure_of(error), error
        if len(keys) > 1 and not isinstance(cause, HandlerFailed):
            return _apply_each(participant, keys)
        key = cause.key if isinstance(cause, HandlerFailed) else keys[0]
        if key in failing:
            raise cause
        failing[key] = failure


def _apply_each(participant: Participant, keys: Sequence[UUID]) -> int:
    """Each key by itself: only the one at fault is parked. Raises last what nothing can park."""
    applied, causes = 0, []
    for key in keys:
        try:
            applied += apply_ready(participant, [key])
        except Exception as error:
            failure_of(error)
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
        _released(work, key, closed=True, by=None, because=ERASED)


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
    apply_all(work, inbox, failing)
    for ready in inbox.release(key):
        _react(work, ready)
    inbox.flush()


def _locked(work: Work, key: UUID) -> Any:
    """The row of a parked key, locked, so that two people act one after the other."""
    query = select(PARKED_KEY).where(PARKED_KEY.c.key == key).with_for_update()
    return work.conn.execute(query).first()


def _is_of_record(row: Any) -> bool:
    return row.handler in ("reading", "writing") or row.handler in EVENTS


def _seen(row: Any) -> str:
    return f"{row.parked_at.isoformat()}/{row.attempts}"


def _unpark(work: Work, key: UUID) -> list[Record]:
    records = _records(work.conn, key)
    work.conn.execute(delete(PARKED_EVENT).where(PARKED_EVENT.c.key == key))
    work.conn.execute(delete(PARKED_KEY).where(PARKED_KEY.c.key == key))
    reached("parked.freed")
    return records


def _records(conn: Any, key: UUID) -> list[Record]:
    query = (
        select(PARKED_EVENT.c.record)
        .where(PARKED_EVENT.c.key == key)
        .order_by(PARKED_EVENT.c.place)
    )
    return [record_from_json(kept) for kept in conn.execute(query).scalars()]


def _released(
    work: Work, key: UUID, *, closed: bool, by: object, because: str | None = None
) -> None:
    """Say, and write down, that a key goes on; ``by`` is an account or the name of somebody."""
    released = KeyReleased(
        subject_id=key,
        service=work.participant.name,
        closed=closed,
        released_at=work.now,
        by=by if isinstance(by, UUID) else None,
        because=because,
    )
    did = "given up" if closed else "replayed"
    audit.note(work.conn, work.now, by, did, key, because=because)
    work.cause = None
    work.react(released)
    work.say(released)


def failure_of(error: Exception) -> Failure:
    """What failed when work was done, also where no handler did: while it was read or written.

    Raises the error again when an engine is away, which says nothing of the work. A race that was
    lost again and again is a mistake of ours.
    """
    if is_away(error):
        raise error
    return error.failure if isinstance(error, HandlerFailed) else _failure("writing", error)


def _failure(handler: str, error: Exception) -> Failure:
    return Failure(handler=handler, error=type(error).__name__)
