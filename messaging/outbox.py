"""Record events in the transaction of their cause, each with its place in its key's stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import uuid_utils.compat as ids
from sqlalchemy import func, null, select, text, union_all

from contracts.envelope import BadEnvelope, Envelope, from_headers
from contracts.event import Event, type_of
from contracts.sealed import Destroyed, Sealed, sealed_fields
from contracts.wire import written
from messaging import epoch
from messaging.broker import Record
from messaging.heartbeats import is_heartbeat
from messaging.rows import among_given, ask_together, insert_many
from messaging.sealing import KeyView
from messaging.tables import CURSOR, EPOCH, OUTBOX, STREAM
from messaging.unavailable import AnotherDatabase

if TYPE_CHECKING:
    from messaging.work import Work


@dataclass(frozen=True, kw_only=True)
class Said:
    """An event on its way out, with the trace that led to it."""

    event: Event
    traceparent: str


def record(work: Work, behind: Sequence[Callable[[], object]]) -> None:
    """Write outbox rows for what this work says, in order, in its transaction.

    What is ``behind`` them is written before, with one wait for both.

    The sequence of a key is taken under the lock of its row, in the order of the keys, so that
    two transactions never wait for each other; its numbers are dense because they are only ever
    taken by the transaction that also writes the rows. Raises ``AnotherDatabase`` in one that was
    restored, until that is noticed.
    """
    said, keys, producer = work.said, work.keys, work.participant.name
    if not said:
        ask_together(work.conn, behind=behind)
        return
    now, next_seq, known = _places(work, behind)
    keys.need((f.purpose, s.event.key) for s in said for f in sealed_fields(type(s.event)))
    rows = []
    for one in said:
        event_id = ids.uuid7()
        key = one.event.key
        rows.append(
            {
                "event_id": event_id,
                "key": key,
                "epoch": now,
                "seq": next_seq[key],
                "type": type_of(one.event),
                "at": work.now,
                "after": _after(one.event, (producer, now), known),
                "traceparent": one.traceparent,
                "body": written(_sealed(one.event, event_id, keys)),
            }
        )
        next_seq[key] += 1
    insert_many(work.conn, OUTBOX, rows)


#: For each subject named: (producer, epoch, seq) of what stands applied here, ours included.
_Known = dict[UUID, list[tuple[str, int, int]]]
#: Takes as many numbers of each key's stream as are needed, and returns the last of them.
_TAKE = text(
    "INSERT INTO stream (key, seq) SELECT given.key, given.seq"
    " FROM unnest(CAST(:keys AS uuid[]), CAST(:seqs AS bigint[])) AS given(key, seq)"
    " ON CONFLICT (key) DO UPDATE SET seq = stream.seq + excluded.seq"
    f" RETURNING key, seq, {epoch.CURRENT} AS epoch"
)
#: How far the others' facts about these subjects were applied, and how far our own were said, in
#: this epoch and before it: a number of a new epoch says nothing of what it comes after.
_STANDS = union_all(
    select(CURSOR.c.key, CURSOR.c.producer, CURSOR.c.epoch, CURSOR.c.seq).where(
        among_given(CURSOR.c.key, "subjects")
    ),
    select(STREAM.c.key, null(), null(), STREAM.c.seq).where(among_given(STREAM.c.key, "others")),
    select(OUTBOX.c.key, null(), OUTBOX.c.epoch, func.max(OUTBOX.c.seq))
    .where(
        among_given(OUTBOX.c.key, "subjects"),
        OUTBOX.c.epoch < select(EPOCH.c.epoch).scalar_subquery(),
    )
    .group_by(OUTBOX.c.key, OUTBOX.c.epoch),
)


def _places(
    work: Work, behind: Sequence[Callable[[], object]]
) -> tuple[int, dict[UUID, int], _Known]:
    """The epoch, the first free number of each key with as many taken, and how all else stands."""
    said, producer = work.said, work.participant.name
    counts = Counter(one.event.key for one in said)
    keys, others = sorted(counts), {key for one in said for key in one.event.also}
    taken, stands = ask_together(
        work.conn,
        (_TAKE, {"keys": keys, "seqs": [counts[key] for key in keys]}),
        (
            _STANDS,
            {"subjects": list((counts.keys() - work.fresh) | others), "others": list(others)},
        ),
        behind=behind,
    )
    now = taken[0].epoch
    if now is None:
        raise AnotherDatabase
    known: _Known = {}
    for row in stands:
        begun = now if row.epoch is None else row.epoch
        known.setdefault(row.key, []).append((row.producer or producer, begun, row.seq))
    return now, {row.key: row.seq - counts[row.key] + 1 for row in taken}, known


def said_in(records: Iterable[Record]) -> Iterator[Envelope]:
    """What this service has said among the records of its own topic."""
    for record in records:
        if is_heartbeat(record):
            continue
        try:
            yield from_headers(record.headers, record.key)
        except BadEnvelope:
            # Whatever it is, it was not said here.
            continue


def bound_to(event_id: UUID, event: Event, field: str) -> str:
    """Where a sealed field of an event belongs."""
    return f"event/{event_id}/{type_of(event)}/{field}"


def _after(event: Event, us: tuple[str, int], known: _Known) -> list[list[Any]]:
    """What a reader must have applied: the others' facts about the key, everybody's of the rest.

    Our own facts about the key itself are ordered by the sequence already, in one epoch.
    """
    after: list[list[Any]] = []
    for key in (event.key, *event.also):
        for who, begun, seq in known.get(key, ()):
            if key != event.key or (who, begun) != us:
                after.append([str(key), who, begun, seq])
    return after


def _sealed(event: Event, event_id: UUID, keys: KeyView) -> Event:
    changes = dict(_seals(event, event_id, keys))
    sealed = replace(event, **changes) if changes else event
    for declared in sealed_fields(type(event)):
        value = getattr(sealed, declared.name)
        if not isinstance(value, Sealed | Destroyed | None):
            # Whatever is not what was declared is not sealed, and would be read by everybody.
            raise TypeError(f"{type_of(event)}.{declared.name} would travel unsealed")
    return sealed


def _seals(event: Event, event_id: UUID, keys: KeyView) -> Iterable[tuple[str, Sealed]]:
    for declared in sealed_fields(type(event)):
        value = getattr(event, declared.name)
        if isinstance(value, declared.content):
            bound = bound_to(event_id, event, declared.name)
            yield declared.name, keys.seal(value, declared.purpose, event.key, bound)
