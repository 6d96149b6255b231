"""What the guarantees are judged by, as plain values: a test can make a bad history by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from contracts.event import EVENTS

SERVICES = ("intake", "matching", "notifications")
#: What is under way for less than this is not judged yet.
GRACE = timedelta(seconds=60)
#: By how much the clocks of machines that are kept right may differ.
CLOCKS_APART = timedelta(seconds=5)

Row = Mapping[str, Any]


class Said(NamedTuple):
    """An event as its publisher's outbox holds it; ``body`` is only what is judged by.

    ``total`` is a checksum of all that travels; ``place`` is its partition and offset in Kafka.
    ``faults`` were seen when it was read: the guarantee, and what is wrong.
    """

    event_id: UUID
    key: UUID
    epoch: int
    seq: int
    type: str
    at: datetime
    published_at: datetime | None
    body: Row
    place: tuple[int, int] | None = None
    total: int = 0
    faults: tuple[tuple[str, str], ...] = ()


class Applied(NamedTuple):
    """What one service applied of one stream: sixteen bytes of id for each number, in order.

    ``backwards`` counts the events that were applied before the one that precedes them.
    """

    producer: str
    epoch: int
    key: UUID
    seqs: Sequence[int]
    ids: bytes
    latest: datetime
    cursor: int | None
    backwards: int = 0

    def event_ids(self) -> list[UUID]:
        """The ids, in the order of the numbers."""
        return [UUID(bytes=self.ids[at : at + 16]) for at in range(0, len(self.ids), 16)]


class Waiting(NamedTuple):
    """A record that a service keeps: early (``waiting_on`` names whom it waits for) or parked."""

    key: UUID
    since: datetime
    event_id: UUID | None
    waiting_on: UUID | None = None


class Foreign(NamedTuple):
    """A record in a topic that its publisher's outbox does not hold like this.

    ``what`` says how it differs; ``key`` and ``event_id`` are None when they cannot be read.
    """

    where: str
    what: str
    key: UUID | None = None
    event_id: UUID | None = None
    epoch: int = 0
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What lies in a publisher's topic: its events' ids, and what should not be there."""

    ids: frozenset[UUID]
    foreign: tuple[Foreign, ...] = ()
    strange: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the guarantees are judged by, as read at one time.

    ``now`` is by the clock of the domain, ``read_at`` by that of the machines. ``in_kafka`` is
    None where no broker could be read, ``delivered`` where there is no sandbox, ``erased`` and
    ``zones`` where the keys are not at hand. ``known`` are the assignments that go on for
    notifications.
    """

    now: datetime
    read_at: datetime
    apart: timedelta = CLOCKS_APART
    said: Mapping[str, Sequence[Said]]
    discharges: Sequence[Row] = ()
    facilities: frozenset[UUID] = frozenset()
    tasks: Sequence[Row] = ()
    assignments: Sequence[Row] = ()
    known: Sequence[Row] = ()
    capacities: Mapping[UUID, int] = field(default_factory=dict)
    messages: Sequence[Row] = ()
    persons: Sequence[Row] = ()
    applied: Mapping[str, Sequence[Applied]] = field(default_factory=dict)
    early: Mapping[str, Sequence[Waiting]] = field(default_factory=dict)
    behind: Mapping[str, Sequence[Waiting]] = field(default_factory=dict)
    parked_keys: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    held: Mapping[str, frozenset[str]] = field(default_factory=dict)
    timers: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    readable: tuple[str, ...] = ()
    looked_at: int = 0
    erased: frozenset[UUID] | None = None
    zones: Mapping[UUID, str] | None = None
    in_kafka: Mapping[str, Topic] | None = None
    delivered: Sequence[Row] | None = None

    @property
    def parked(self) -> frozenset[UUID]:
        """Every key that is set aside in any service."""
        return frozenset(row["key"] for rows in self.parked_keys.values() for row in rows)

    def is_old(self, at: datetime) -> bool:
        """Whether something that happened then should have had its consequences by now."""
        return self.now - at > GRACE

    def faults(self, guarantee: str) -> Iterable[str]:
        """What was found wrong with events when they were read."""
        for service in SERVICES:
            for row in self.said.get(service, ()):
                for which, what in row.faults:
                    if which == guarantee:
                        yield f"{service}'s event {row.event_id} {what}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of one guarantee; ``violations`` name opaque ids only."""

    guarantee: str
    says: str
    checked: int
    violations: tuple[str, ...]


def was_lost(evidence: Evidence, producer: str) -> Mapping[UUID, int]:
    """Keys of which a restored producer has lost events, and the epoch that began then.

    What others have of an earlier epoch may be known to nobody else: the key is set aside, and a
    person decides.
    """
    return {
        row.key: row.epoch
        for row in evidence.said.get(producer, ())
        if row.type == "KeyParked" and row.body.get("handler") == "restored"
    }


def erased_at(evidence: Evidence) -> Mapping[UUID, datetime]:
    """Who was erased, and when: what waited for them counts as applied, nobody is asked of them."""
    return {
        row.key: row.at
        for rows in evidence.said.values()
        for row in rows
        if (known := EVENTS.get(row.type)) is not None and known.erases
    }


def given_up(evidence: Evidence, service: str) -> frozenset[UUID]:
    """Keys of which a person gave an event up in a service, where it counts as applied since."""
    return frozenset(
        row.key
        for row in evidence.said.get(service, ())
        if row.type == "KeyReleased" and row.body.get("closed")
    )
