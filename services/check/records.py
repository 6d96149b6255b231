"""Records as they lie in Kafka or are kept by a service, beside what their publisher said."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.envelope import BadEnvelope, from_headers
from contracts.topics import TOPICS
from contracts.topics import Topic as Declared
from messaging.arrived import key_or_place
from messaging.broker import Record, record_from_json
from messaging.heartbeats import is_heartbeat
from messaging.kafka import read_to_the_end
from messaging.unavailable import Unavailable
from services.check.evidence import SERVICES, Foreign, Said, Topic, Waiting
from services.check.shapes import looks_personal

#: Reads a topic from its beginning to its end.
Reading = Callable[[Declared], Iterable[Record]]
_HEADERS = frozenset(
    [
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_epoch",
        "ce_sequence",
        "ce_after",
        "content-type",
        "traceparent",
    ]
)


def kafka(servers: str) -> Reading:
    """Every topic of this broker, read by nobody's group."""
    return lambda topic: read_to_the_end(servers, topic, {})


def total_of(key: UUID, epoch: int, seq: int, kind: str, body: bytes) -> int:
    """A checksum of what must be the same in an outbox and in Kafka."""
    return zlib.crc32(f"{key}/{epoch}/{seq}/{kind}/".encode() + body)


def read_topics(reading: Reading, said: Mapping[str, Iterable[Said]]) -> dict[str, Topic] | None:
    """What lies in each topic, held against the outboxes; None while the broker is away."""
    try:
        return {who: _topic(reading(TOPICS[who]), who, said[who]) for who in SERVICES}
    except Unavailable:
        return None


def _topic(records: Iterable[Record], publisher: str, said: Iterable[Said]) -> Topic:
    known = {row.event_id: row for row in said}
    ids: set[UUID] = set()
    foreign: list[Foreign] = []
    strange: list[str] = []
    for record in records:
        if is_heartbeat(record):
            strange += _strange(record)
            continue
        where = f"{record.topic}/{record.partition}/{record.offset}"
        try:
            envelope = from_headers(record.headers, record.key)
        except BadEnvelope:
            foreign.append(Foreign(where=where, what="is no event", key=key_or_place(record)))
            continue
        total = total_of(
            envelope.key, envelope.epoch, envelope.seq, envelope.type, record.value or b""
        )
        row = known.get(envelope.event_id)
        if row is not None and envelope.producer == publisher and row.total == total:
            ids.add(row.event_id)
            strange += _strange(record)
            continue
        what = "was never said" if row is None else "is not as it was said"
        foreign.append(
            Foreign(
                where=where,
                what=what,
                key=envelope.key,
                event_id=envelope.event_id,
                epoch=envelope.epoch,
                at=envelope.at,
            )
        )
    return Topic(ids=frozenset(ids), foreign=tuple(foreign), strange=tuple(strange))


def _strange(record: Record) -> Iterator[str]:
    """What our own records show to an outsider who reads the topic."""
    where = f"the record {record.topic}/{record.partition}/{record.offset}"
    if is_heartbeat(record):
        if record.key is not None or record.value or len(record.headers) != 1:
            yield f"{where} is a heartbeat that carries something"
        return
    if record.key is None or key_text(record.key) != record.key.decode(errors="replace"):
        yield f"{where} has a key that is not an id"
    names = {name for name, _ in record.headers}
    if not names <= _HEADERS:
        yield f"{where} has headers that no event has"
    # The others are ids, moments and numbers, or are compared with what was said.
    if looks_personal(dict(record.headers).get("traceparent", b"").decode(errors="replace")):
        yield f"{where} shows an address or a number in a header"


def key_text(key: bytes) -> str | None:
    """A record's key as an id is written; None when it is none."""
    try:
        return str(UUID(key.decode()))
    except (ValueError, UnicodeDecodeError):
        return None


def waiting(key: UUID, since: datetime, kept: Any, waiting_on: UUID | None = None) -> Waiting:
    """A record that a service keeps; what is sealed in it is not looked at again."""
    record = record_from_json(kept)
    try:
        event_id = from_headers(record.headers, record.key).event_id
    except BadEnvelope:
        event_id = None
    return Waiting(key=key, since=since, event_id=event_id, waiting_on=waiting_on)
