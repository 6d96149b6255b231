"""Set one subject aside when one of its events cannot be handled; everybody else flows.

While a key is parked in a service, its later events queue behind the first, its timers do not
fire and its messages do not leave. ``python -m services parked`` shows them; ``releasing.py`` lets
them go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from contracts.event import EVENTS, Event
from contracts.parking import KeyParked, KeyReleased
from messaging import audit
from messaging.broker import Record, record_from_json
from messaging.fuse import Fuse
from messaging.inbox import Failure
from messaging.tables import EARLY, PARKED_EVENT, PARKED_KEY
from messaging.unavailable import is_away
from messaging.work import Command, Participant, Work

log = logging.getLogger(__name__)

#: So often a key is replayed in vain before a person has to say that it is worth another try.
REPLAYS = 3


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
    event_id: UUID | None

    @property
    def seen(self) -> str:
        """Another one once the key was tried again or parked anew."""
        return seen(self)

    @property
    def is_tried_enough(self) -> bool:
        """Whether it was replayed so often in vain that one more replay has to be meant."""
        return self.attempts > REPLAYS

    @property
    def is_of_record(self) -> bool:
        """Whether a record is at fault, the first of those that wait; else it is a command."""
        return is_of_record(self)


def goes_on(key: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Whether nothing of a key waits here: a condition for what is done about it by itself.

    What is parked or early may say that it must not be done any more.
    """
    parked = select(PARKED_KEY.c.key)
    return and_(key.not_in(parked), ~exists().where(EARLY.c.key == key))


def parked(work: Work, key: UUID, failure: Failure) -> KeyParked:
    """The event that says so."""
    return KeyParked(
        subject_id=key,
        service=work.participant.name,
        handler=failure.handler,
        error=failure.error,
        parked_at=work.now,
    )


def tell(work: Work, event: KeyParked) -> None:
    """Say that a key is parked, here as well as to the others."""
    # A service does not read its own topic, so it reacts to its own parking here. Of a record that
    # cannot be read nothing was loaded.
    work.store.load([event])
    work.cause = None
    work.react(event)
    work.say(event)


def attempt(participant: Participant, key: UUID, name: str, command: Command, fuse: Fuse) -> None:
    """Run a command about one key; when it fails by its own fault, park the key.

    Raises ``Blown`` when key after key fails: then the fault is ours, and this one is not parked.
    """
    try:
        participant.transact(command)
    except Exception as error:
        if is_away(error):
            raise
        fuse.failed(key)
        log.exception("a command failed and its key is parked", extra={"handler": name})
        failure = caused_by(name, error)

        def park(work: Work) -> Sequence[Event]:
            set_aside(work, key, failure)
            return ()

        participant.transact(park)


def set_aside(work: Work, key: UUID, failure: Failure, *, anew: bool = False) -> bool:
    """Park a key without a record, and tell; False for one that is parked already, and stays so.

    Unless it is done ``anew``: whoever was told of the earlier time may have heard of its end.
    """
    row = failure.parks(key, work.now)
    mine = insert(PARKED_KEY).values(row)
    if anew:
        mine = mine.on_conflict_do_update(index_elements=[PARKED_KEY.c.key], set_=row)
    else:
        mine = mine.on_conflict_do_nothing()
    if work.conn.execute(mine.returning(PARKED_KEY.c.key)).first() is None:
        return False
    tell(work, parked(work, key, failure))
    return True


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
        return records_of(conn, key)


def is_of_record(row: Any) -> bool:
    """Whether a record is at fault for which a key is parked; ``row`` is its own."""
    return row.handler in ("reading", "writing") or row.handler in EVENTS


def seen(row: Any) -> str:
    """How a parked key stood when somebody looked at it."""
    return f"{row.parked_at.isoformat()}/{row.attempts}"


def records_of(conn: Connection, key: UUID) -> list[Record]:
    """The records that wait for this key, in order."""
    query = (
        select(PARKED_EVENT.c.record)
        .where(PARKED_EVENT.c.key == key)
        .order_by(PARKED_EVENT.c.place)
    )
    return [record_from_json(kept) for kept in conn.execute(query).scalars()]


def tell_released(
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
    return error.failure if isinstance(error, HandlerFailed) else caused_by("writing", error)


def caused_by(handler: str, error: Exception) -> Failure:
    """An error as it is kept: by its kind alone."""
    return Failure(handler=handler, error=type(error).__name__)
