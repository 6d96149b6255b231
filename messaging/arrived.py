"""What has arrived: a record read as its envelope and its event, and opened for this service."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid5

import orjson
from marshmallow import ValidationError

from contracts.envelope import BadEnvelope, Envelope, from_headers, key_of
from contracts.event import EVENTS, Event
from contracts.sealed import sealed_fields
from contracts.topics import PUBLISHER_OF
from contracts.wire import load
from messaging.broker import Record
from messaging.sealing import NOT_OPENED

if TYPE_CHECKING:
    from messaging.work import Work


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A record as read: its envelope, and its event where this service reacts to it."""

    record: Record
    key: UUID
    envelope: Envelope | None
    event: Event | None
    problem: str | None = None

    @property
    def said(self) -> Envelope:
        """The envelope of one that is known to have one."""
        assert self.envelope is not None
        return self.envelope


def read(record: Record, hears: Collection[str]) -> Arrived:
    """A record whose body is at fault keeps its envelope: giving it up moves the cursor on.

    ``hears``: the types that this service reacts to.
    """
    envelope: Envelope | None = None
    event: Event | None = None
    problem: str | None = None
    try:
        envelope = from_headers(record.headers, record.key)
        if envelope.producer != PUBLISHER_OF.get(record.topic):
            envelope = None
            raise BadEnvelope("the producer is not the publisher of this topic")
        # A publisher may know types that we do not.
        if envelope.type in hears:
            event = _body(record, envelope)
    except (BadEnvelope, ValidationError, ValueError, RecursionError) as error:
        problem = type(error).__name__
    key = envelope.key if envelope else key_or_place(record)
    return Arrived(record=record, key=key, envelope=envelope, event=event, problem=problem)


def key_or_place(record: Record) -> UUID:
    """The subject of an unreadable record, or an id made of its place when that is unreadable."""
    try:
        return key_of(record.key)
    except BadEnvelope:
        return uuid5(NAMESPACE_OID, f"{record.topic_id}/{record.partition}/{record.offset}")


def need_keys(work: Work, everything: Iterable[Arrived]) -> None:
    """Read the keys of all sealed fields of these together."""
    me = work.participant
    work.keys.need(
        (declared.purpose, one.key)
        for one in everything
        if one.event is not None
        for declared in sealed_fields(type(one.event))
        if declared.purpose in me.keyring.opens and declared.content not in me.keeps
    )


def opened(work: Work, one: Arrived) -> Arrived:
    """The same with what is sealed for this service opened; what does not open is its problem."""
    if one.event is None or one.envelope is None:
        return one
    try:
        event = work.opened(one.event, one.envelope.event_id)
    except NOT_OPENED as error:
        return replace(one, event=None, problem=type(error).__name__)
    return one if event is one.event else replace(one, event=event)


def _body(record: Record, envelope: Envelope) -> Event:
    event: Event = load(EVENTS[envelope.type], orjson.loads(record.value or b""))
    if event.key != envelope.key:
        raise BadEnvelope("the event is about another key than its record")
    return event
