"""What stands on the outside of an event: CloudEvents headers in binary mode, and our order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

CONTENT_TYPE = "application/json"

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, kw_only=True)
class After:
    """A reader applies the event only once it has applied this much of another producer."""

    key: UUID
    producer: str
    epoch: int
    seq: int


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Who said it, when, and its place among all that was said about the same key.

    ``seq`` is dense per (producer, key): 1, 2, 3... ``epoch`` changes when a producer's database
    was restored. ``after`` is what the producer itself had applied of the others when it spoke.
    """

    event_id: UUID
    type: str
    at: datetime
    producer: str
    epoch: int
    seq: int
    key: UUID
    traceparent: str
    after: tuple[After, ...] = ()


class BadEnvelope(ValueError):
    """A record whose headers are not an event's; ``args[0]`` names the header at fault."""


def to_headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    """The Kafka headers of an event."""
    after = [[a.key, a.producer, a.epoch, a.seq] for a in envelope.after]
    texts = {
        "ce_specversion": "1.0",
        "ce_id": str(envelope.event_id),
        "ce_source": f"/{envelope.producer}",
        "ce_type": envelope.type,
        "ce_time": envelope.at.isoformat(),
        "ce_epoch": str(envelope.epoch),
        "ce_sequence": str(envelope.seq),
        "ce_after": orjson.dumps(after).decode(),
        # The CloudEvents Kafka binding leaves the prefix off this one header.
        "content-type": CONTENT_TYPE,
        "traceparent": envelope.traceparent,
    }
    return [(name, text.encode()) for name, text in texts.items()]


def from_headers(headers: Headers, key: bytes | None) -> Envelope:
    """Read a record's headers and key; raises ``BadEnvelope`` naming what is wrong."""
    texts = _texts(headers)
    producer = _needed(texts, "ce_source").removeprefix("/")
    try:
        return Envelope(
            event_id=UUID(_needed(texts, "ce_id")),
            type=_needed(texts, "ce_type"),
            at=_moment(_needed(texts, "ce_time")),
            producer=producer,
            epoch=int(_needed(texts, "ce_epoch")),
            seq=int(_needed(texts, "ce_sequence")),
            key=key_of(key),
            traceparent=texts.get("traceparent", ""),
            after=tuple(_after(orjson.loads(texts.get("ce_after", "[]")))),
        )
    except BadEnvelope:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadEnvelope("a header has a value that cannot be read") from error


def key_of(key: bytes | None) -> UUID:
    """The subject's id from a record's key; raises ``BadEnvelope``."""
    try:
        return UUID((key or b"").decode())
    except (ValueError, UnicodeDecodeError) as error:
        raise BadEnvelope("the key is not an id") from error


def _texts(headers: Headers) -> dict[str, str]:
    try:
        return {name: value.decode() for name, value in headers}
    except (UnicodeDecodeError, AttributeError) as error:
        raise BadEnvelope("a header is not UTF-8") from error


def _needed(texts: dict[str, str], name: str) -> str:
    value = texts.get(name)
    if not value:
        raise BadEnvelope(f"the header {name} is missing")
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise BadEnvelope("ce_time has no offset")
    return moment


def _after(entries: Iterable[Sequence[object]]) -> Iterable[After]:
    for key, producer, epoch, seq in entries:
        yield After(
            key=UUID(str(key)), producer=str(producer), epoch=int(str(epoch)), seq=int(str(seq))
        )
