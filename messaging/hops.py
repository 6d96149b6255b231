"""What one service has said and applied, and what waits in it: the outside of events only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, select

from contracts.envelope import BadEnvelope, from_headers
from contracts.event import EVENTS
from contracts.topics import PUBLISHER_OF, TOPICS
from messaging import holding
from messaging.broker import Record, record_from_json
from messaging.tables import (
    CURSOR,
    EARLY,
    INBOX,
    OUTBOX,
    PARKED_EVENT,
    PARKED_KEY,
    STORED_OFFSET,
    STREAM,
)
from messaging.work import Participant

#: A list of what waits is a look, not an export.
MOST = 200


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One event at one service. ``did`` is said, applied, early (it waits) or parked."""

    at: datetime
    did: str
    producer: str
    type: str
    key: UUID | None
    event_id: UUID | None
    partition: int | None
    offset: int | None
    waiting_on: UUID | None = None

    @property
    def place(self) -> str:
        """Topic, partition and offset; empty for what is not published yet."""
        if self.offset is None or self.producer not in TOPICS:
            return ""
        return f"{TOPICS[self.producer].name}/{self.partition}/{self.offset}"


def hops_of(participant: Participant, key: UUID) -> list[Hop]:
    """All that this service has said and applied about a key, and what waits, in order of time."""
    with participant.engine.connect() as conn:
        said = _said(participant.name, conn, select(OUTBOX).where(OUTBOX.c.key == key))
        found = [*said, *_applied(conn, key)]
        found += _early(conn, select(EARLY).where(EARLY.c.key == key))
        query = select(PARKED_EVENT).where(PARKED_EVENT.c.key == key)
        found += [_kept(row, "parked") for row in conn.execute(query)]
    # What was applied together has one moment; its order is that of its partition.
    return sorted(found, key=lambda hop: (hop.at, hop.producer, hop.offset or 0))


def unpublished(participant: Participant) -> list[Hop]:
    """What this service has said and Kafka has not taken yet, oldest first."""
    query = select(OUTBOX).where(OUTBOX.c.published_at.is_(None)).order_by(OUTBOX.c.at)
    with participant.engine.connect() as conn:
        return _said(participant.name, conn, query.limit(MOST))


def early(participant: Participant) -> list[Hop]:
    """What has come before what it builds on, oldest first."""
    with participant.engine.connect() as conn:
        return _early(conn, select(EARLY).order_by(EARLY.c.since).limit(MOST))


def offsets(participant: Participant) -> Sequence[Any]:
    """How far each partition was applied, and when it was last heard to its end."""
    query = select(STORED_OFFSET).order_by(STORED_OFFSET.c.topic, STORED_OFFSET.c.partition)
    with participant.engine.connect() as conn:
        return conn.execute(query).all()


def held(participant: Participant) -> Sequence[Any]:
    """The topics that somebody holds here by hand."""
    with participant.engine.connect() as conn:
        return holding.held(conn)


def knows(conn: Connection, key: UUID) -> bool:
    """Whether this service has ever said, applied or parked anything about a key."""
    return any(
        conn.execute(select(table.c.key).where(table.c.key == key).limit(1)).first()
        for table in (STREAM, CURSOR, PARKED_KEY, EARLY)
    )


def _said(name: str, conn: Connection, query: Select[Any]) -> list[Hop]:
    return [
        Hop(
            at=row.at,
            did="said",
            producer=name,
            type=row.type,
            key=row.key,
            event_id=row.event_id,
            partition=row.published_partition,
            offset=row.published_offset,
        )
        for row in conn.execute(query)
    ]


def _applied(conn: Connection, key: UUID) -> list[Hop]:
    # Through the cursors, because the inbox is found by producer and epoch first.
    of_cursor = and_(
        INBOX.c.producer == CURSOR.c.producer,
        INBOX.c.epoch == CURSOR.c.epoch,
        INBOX.c.key == CURSOR.c.key,
    )
    query = select(INBOX).join(CURSOR, of_cursor).where(CURSOR.c.key == key)
    return [
        Hop(
            at=row.applied_at,
            did="applied",
            producer=row.producer,
            type=row.type,
            key=row.key,
            event_id=row.event_id,
            partition=row.partition,
            offset=row.offset,
        )
        for row in conn.execute(query)
    ]


def _early(conn: Connection, query: Select[Any]) -> list[Hop]:
    return [_kept(row, "early", row.waiting_on) for row in conn.execute(query)]


def _kept(row: Any, did: str, waiting_on: UUID | None = None) -> Hop:
    """A record that waits; one that cannot be read has its place only."""
    record: Record = record_from_json(row.record)
    said, event_id = "cannot be read", None
    try:
        envelope = from_headers(record.headers, record.key)
        # Who is not one of ours could have written anything there.
        said = envelope.type if envelope.type in EVENTS else "another type"
        event_id = envelope.event_id
    except BadEnvelope:
        pass
    return Hop(
        at=row.since,
        did=did,
        producer=PUBLISHER_OF.get(record.topic, "nobody"),
        type=said,
        key=row.key,
        event_id=event_id,
        partition=record.partition,
        offset=record.offset,
        waiting_on=waiting_on,
    )
