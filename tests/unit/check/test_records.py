"""A topic is held against what its publisher said, record by record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from contracts.envelope import Envelope, to_headers
from messaging.broker import Record
from services.check.evidence import SERVICES, Said, Topic
from services.check.records import read_topics, total_of

EVENT, KEY, TOPIC = UUID(int=1), UUID(int=2), UUID(int=3)
AT = datetime(2026, 11, 24, 18, tzinfo=UTC)
SAID = Said(
    event_id=EVENT,
    key=KEY,
    epoch=1,
    seq=1,
    type="ClientDied",
    at=AT,
    published_at=AT,
    body={},
    total=total_of(KEY, 1, 1, "ClientDied", b"{}"),
)
HEADERS = to_headers(
    Envelope(
        event_id=EVENT,
        type="ClientDied",
        at=AT,
        producer="intake",
        epoch=1,
        seq=1,
        key=KEY,
        traceparent="00-0-0-01",
    )
)
GOOD = Record(
    topic="intake-events",
    topic_id=TOPIC,
    partition=0,
    offset=0,
    key=str(KEY).encode(),
    value=b"{}",
    headers=tuple(HEADERS),
)


def _read(*records: Record) -> Topic:
    by_publisher = {service: [] for service in SERVICES} | {"intake": list(records)}
    said = {service: [] for service in SERVICES} | {"intake": [SAID]}
    found = read_topics(lambda topic: by_publisher[topic.publisher], said)
    assert found is not None
    return found["intake"]


def _with(**headers: bytes) -> tuple[tuple[str, bytes], ...]:
    return tuple((dict(HEADERS) | headers).items())


def test_a_record_as_it_was_said_is_known() -> None:
    assert Topic(ids=frozenset([EVENT])) == _read(GOOD, GOOD)


FOREIGN: dict[str, tuple[str, Callable[[], Record]]] = {
    "another body": ("is not as it was said", lambda: replace(GOOD, value=b"{ }")),
    "another place": ("is not as it was said", lambda: replace(GOOD, headers=_with(ce_epoch=b"2"))),
    "another id": (
        "was never said",
        lambda: replace(GOOD, headers=_with(ce_id=str(TOPIC).encode())),
    ),
    "no headers": ("is no event", lambda: replace(GOOD, headers=())),
    "headers without an end": (
        "is no event",
        lambda: replace(GOOD, headers=_with(ce_after=b"[" * 20_000)),
    ),
}


@pytest.mark.parametrize("planted", FOREIGN)
def test_what_was_not_said_like_this_is_seen(planted: str) -> None:
    what, make = FOREIGN[planted]

    found = _read(GOOD, make())

    assert ([what], {EVENT}) == ([one.what for one in found.foreign], found.ids)


@pytest.mark.parametrize(
    "headers",
    [
        {"called": b"Sam"},
        {"traceparent": b"sam@example.org"},
    ],
)
def test_headers_of_ours_that_say_too_much_are_seen(headers: dict[str, bytes]) -> None:
    assert 1 == len(_read(replace(GOOD, headers=_with(**headers))).strange)


def test_a_heartbeat_carries_nothing() -> None:
    beat = replace(GOOD, key=None, value=b"", headers=(("heartbeat", b"1"),))

    assert Topic(ids=frozenset()) == _read(beat)
    assert 1 == len(_read(replace(beat, value=b"Sam")).strange)
