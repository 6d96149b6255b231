"""What any broker must do: records in, records out, in order per key."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from messaging.unavailable import Unavailable


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A record to be written; records of one key keep their order.

    One without a key names its partition.
    """

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    partition: int | None = None


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where the broker put a record once it had acknowledged it."""

    partition: int
    offset: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record as read. ``topic_id`` differs when a topic was deleted and made again.

    ``term`` counts the leaders of the partition up to the one who wrote it.
    """

    topic: str
    topic_id: UUID
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    term: int = 0


class ReaderBroken(Unavailable):
    """A consumer cannot go on, and has to be made anew."""


class Producer(Protocol):
    """Writes records and says of each what became of it."""

    def send(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        """Write the records and wait for every acknowledgement; never raises for one record."""
        ...

    def partitions(self, topic: str) -> Collection[int]:
        """The partitions of a topic; raises ``Unavailable`` while the broker is away."""
        ...

    def at(self, topic: str, places: Mapping[int, int]) -> Mapping[int, Record | None]:
        """What lies at these offsets, by partition; None where the partition ends before.

        Where it begins behind, what lay there has been kept as long as it had to be: nothing is
        said of that. Raises ``Unavailable`` as well.
        """
        ...

    def close(self) -> None:
        """Let go of the network."""
        ...


class Consumer(Protocol):
    """Reads records as one of a group, without ever deciding by itself what was read."""

    def poll(self, wait_seconds: float) -> list[Record]:
        """The next records, at most a batch; each partition's in order."""
        ...

    def joined(self) -> list[tuple[UUID, str, int]]:
        """What became ours since this was last asked: topic id, topic, partition."""
        ...

    def ours(self) -> Collection[tuple[str, int]]:
        """The partitions that are ours now, by topic and number."""
        ...

    def ends(self, places: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """The offset behind the last record of these partitions; without those not known now."""
        ...

    def hold(self, topics: Collection[str]) -> None:
        """Read nothing of these topics from now on, and of all the others again."""
        ...

    def seek(self, topic: str, partition: int, offset: int, term: int = -1) -> None:
        """Read this partition from here on, or from where it was cut since this term."""
        ...

    def hint(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Tell the broker how far we are; only a hint, the database decides."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


@dataclass(frozen=True, kw_only=True)
class Behind:
    """What a service has still to read, by topic and partition.

    ``at`` are the stored offsets of the partitions that hold more, ``oldest_at`` when the oldest
    of that was written, in seconds of the machine's clock. ``lost`` is how many records the broker
    no longer had when they were to be read.
    """

    at: Mapping[tuple[str, int], int]
    oldest_at: float | None
    lost: Mapping[tuple[str, int], int]


class Backlog(Protocol):
    """Looks at what a service has still to read, outside of its group."""

    def behind(self, stored: Mapping[tuple[UUID, int], int]) -> Behind:
        """What lies at or behind these stored offsets, which are by topic id and partition.

        A partition that is not among them is read from its beginning.
        """
        ...

    def close(self) -> None:
        """Let go of the network."""
        ...


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as a table keeps it, byte for byte."""
    return {
        "topic": record.topic,
        "topic_id": str(record.topic_id),
        "partition": record.partition,
        "offset": record.offset,
        "key": _text(record.key),
        "value": _text(record.value),
        # A JSON column cannot hold NUL, and a header that has one in its name is none of ours.
        "headers": [[n.replace("\0", "\ufffd"), _text(value)] for n, value in record.headers],
    }


def record_from_json(kept: Mapping[str, Any]) -> Record:
    """A record from a table."""
    return Record(
        topic=kept["topic"],
        topic_id=UUID(kept["topic_id"]),
        partition=kept["partition"],
        offset=kept["offset"],
        key=_bytes(kept["key"]),
        value=_bytes(kept["value"]),
        headers=tuple((name, _bytes(value) or b"") for name, value in kept["headers"]),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)
