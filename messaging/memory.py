"""A broker inside the process, for unit tests: it passes the same suite as Kafka."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID, uuid4

from messaging.broker import Outgoing, Record, Written
from messaging.unavailable import Unavailable


class MemoryBroker:
    """Topics, partitions, groups. Partitions are shared out anew when a reader joins or leaves."""

    def __init__(self, partitions: int = 3) -> None:
        self.partitions = partitions
        self.away = False
        self._lock = threading.RLock()
        self._logs: dict[tuple[str, int], list[Record]] = {}
        self._ids: dict[str, UUID] = {}
        self._committed: dict[tuple[str, str, int], int] = {}
        self._readers: dict[str, list[MemoryReader]] = {}
        self._term = 0

    def writer(self) -> MemoryWriter:
        """A ``Producer``."""
        return MemoryWriter(self)

    def reader(self, group: str, topics: Iterable[str]) -> MemoryReader:
        """A ``Consumer`` that joins this group."""
        reader = MemoryReader(self, group, tuple(topics))
        with self._lock:
            self._readers.setdefault(group, []).append(reader)
            self._share_out(group)
        return reader

    def copy(self) -> MemoryBroker:
        """A broker of its own with the same topics, records and hints; nobody reads from it yet."""
        other = MemoryBroker(self.partitions)
        other._logs = {place: list(log) for place, log in self._logs.items()}
        other._ids, other._committed = dict(self._ids), dict(self._committed)
        return other

    def append(self, record: Outgoing) -> Written:
        """Write one record to the partition of its key."""
        with self._lock:
            self.check()
            partition = record.partition
            if partition is None:
                partition = zlib.crc32(record.key or b"") % self.partitions
            log = self._logs.setdefault((record.topic, partition), [])
            log.append(
                Record(
                    topic=record.topic,
                    topic_id=self.id_of(record.topic),
                    partition=partition,
                    offset=len(log),
                    key=record.key,
                    value=record.value,
                    headers=tuple(record.headers),
                    term=self._term,
                )
            )
            return Written(partition=partition, offset=len(log) - 1)

    def id_of(self, topic: str) -> UUID:
        """The id of a topic, which is made when it is first named."""
        return self._ids.setdefault(topic, uuid4())

    def log(self, place: tuple[str, int]) -> list[Record]:
        """All records of a partition."""
        return self._logs.get(place, [])

    def cut(self, topic: str, partition: int, count: int) -> None:
        """Lose the last records of a partition, as a broker does that lost its power."""
        with self._lock:
            self._term += 1
            del self._logs[topic, partition][-count:]

    def uncut(self, place: tuple[str, int], position: int, term: int) -> int:
        """Where a reader goes on that came to this position by records up to this term."""
        log = self.log(place)
        later = (record.offset for record in log if record.term > term >= 0)
        return min(position, len(log), next(later, position))

    def read_to_the_end(self, topic: str, begin: Mapping[int, int]) -> list[Record]:
        """What lies in a topic, each partition from the offset given for it, if it is so long."""
        self.check()
        logs = {number: self.log((topic, number)) for number in range(self.partitions)}
        at = {number: begin.get(number, 0) for number in logs}
        return [r for n, log in logs.items() for r in log[at[n] if at[n] <= len(log) else 0 :]]

    def check(self) -> None:
        """Raise while the broker is said to be away."""
        if self.away:
            raise Unavailable("the broker is away")

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Remember a group's hints."""
        for (topic, partition), offset in offsets.items():
            self._committed[group, topic, partition] = offset

    def leave(self, group: str, reader: MemoryReader) -> None:
        """Share the reader's partitions out among the others."""
        with self._lock:
            self._readers[group].remove(reader)
            self._share_out(group)

    def _share_out(self, group: str) -> None:
        readers = self._readers[group]
        for number, reader in enumerate(readers):
            places = {
                (topic, partition)
                for topic in reader.topics
                for partition in range(self.partitions)
                if partition % len(readers) == number
            }
            kept = {place: at for place, at in reader.positions.items() if place in places}
            for topic, partition in places - set(kept):
                kept[topic, partition] = self._committed.get((group, topic, partition), 0)
            reader.positions = kept


class MemoryWriter:
    """A ``Producer`` of the memory broker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def send(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        """Write the records, or say of each that the broker is away."""
        try:
            return [self._broker.append(record) for record in records]
        except Unavailable as error:
            return [error] * len(records)

    def partitions(self, topic: str) -> range:
        """The partitions of a topic."""
        self._broker.check()
        return range(self._broker.partitions)

    def at(self, topic: str, places: Mapping[int, int]) -> dict[int, Record | None]:
        """What lies at these offsets."""
        self._broker.check()
        logs = {number: self._broker.log((topic, number)) for number in places}
        return {n: logs[n][at] if at < len(logs[n]) else None for n, at in places.items()}

    def close(self) -> None:
        """Nothing is held."""


class MemoryReader:
    """A ``Consumer`` of the memory broker."""

    def __init__(self, broker: MemoryBroker, group: str, topics: tuple[str, ...]) -> None:
        self._broker = broker
        self._group = group
        self.topics = topics
        self.positions: dict[tuple[str, int], int] = {}
        self._terms: dict[tuple[str, int], int] = {}
        self._held: frozenset[str] = frozenset()
        self._ours: set[tuple[str, int]] = set()

    def poll(self, wait_seconds: float) -> list[Record]:
        """What is there now; nothing waits in memory."""
        self._broker.check()
        found: list[Record] = []
        for place, position in self.positions.items():
            if place[0] in self._held:
                continue
            position = self._broker.uncut(place, position, self._terms.get(place, -1))
            records = self._broker.log(place)[position : position + 500]
            found.extend(records)
            self.positions[place] = position + len(records)
            if records:
                self._terms[place] = records[-1].term
        return found

    def joined(self) -> list[tuple[UUID, str, int]]:
        """What became ours since this was last asked."""
        before, self._ours = self._ours, set(self.positions)
        return [(self._broker.id_of(t), t, number) for t, number in self._ours - before]

    def ours(self) -> set[tuple[str, int]]:
        """The partitions that are ours now."""
        return set(self.positions)

    def ends(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Where these partitions end."""
        return {place: len(self._broker.log(place)) for place in places}

    def hold(self, topics: Collection[str]) -> None:
        """Read nothing of these topics from now on."""
        self._held = frozenset(topics)

    def seek(self, topic: str, partition: int, offset: int, term: int = -1) -> None:
        """Read this partition from here on, if it is ours, or from where it was cut since."""
        if (topic, partition) in self.positions:
            self.positions[topic, partition] = offset
            self._terms[topic, partition] = term

    def hint(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Remember how far the group is."""
        self._broker.commit(self._group, offsets)

    def close(self) -> None:
        """Leave the group."""
        self._broker.leave(self._group, self)
