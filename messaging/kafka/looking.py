"""Look at what lies in a topic without being one of a group: how far it goes, and what it holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from contracts.topics import Topic
from messaging.broker import Behind, Record
from messaging.kafka.connecting import alone, assert_answers, edges, record_of
from messaging.kafka.topics import topic_ids
from messaging.unavailable import Unavailable

#: So long may a broker say nothing while it is read to its end.
PATIENCE_SECONDS = 10.0
#: A topic that was made again has another id, which a backlog knows after so many seconds.
IDS_STAND_SECONDS = 60.0


class KafkaBacklog:
    """A ``Backlog``. It connects when it is first asked, and begins anew after any trouble."""

    def __init__(self, servers: str, topics: Iterable[str]) -> None:
        self._servers = servers
        self._topics = tuple(topics)
        self._ids: dict[str, UUID] = {}
        self._looked_at = float("-inf")
        self._consumer: KafkaConsumer | None = None

    def behind(self, stored: Mapping[tuple[UUID, int], int]) -> Behind:
        """What lies at or behind these stored offsets."""
        try:
            if time.monotonic() - self._looked_at > IDS_STAND_SECONDS:
                # Where nobody answers, nothing is made that would go on trying to reach them.
                self._ids = topic_ids(self._servers, self._topics)
                self._looked_at = time.monotonic()
            consumer = self._connected()
            at = self._stored(consumer, stored)
            begins = edges(consumer.beginning_offsets, list(at))
            ends = edges(consumer.end_offsets, list(at))
            more = {place: max(at[place], begins[place]) for place in at if at[place] < ends[place]}
            return Behind(
                at={(place.topic, place.partition): at[place] for place in more},
                oldest_at=_oldest_at(consumer, more) if more else None,
                lost={
                    (place.topic, place.partition): begins[place] - at[place]
                    for place in at
                    if at[place] < begins[place]
                },
            )
        except KafkaError as error:
            self.close()
            raise Unavailable("the broker cannot be asked how far its topics go") from error

    def close(self) -> None:
        """Let go of the network."""
        consumer, self._consumer, self._looked_at = self._consumer, None, float("-inf")
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=1_000)

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = _looker(self._servers)
        return self._consumer

    def _stored(
        self, consumer: KafkaConsumer, stored: Mapping[tuple[UUID, int], int]
    ) -> dict[TopicPartition, int]:
        """How far every partition was applied."""
        return {
            TopicPartition(topic, number): stored.get((self._ids[topic], number), 0)
            for topic in self._topics
            for number in consumer.partitions_for_topic(topic) or ()
        }


def bounds(servers: str, topic: str) -> dict[int, tuple[int, int]]:
    """Of each partition the offset of its first record, and that behind its last one."""
    with _looking(servers) as consumer:
        found = _bounds(consumer, topic, consumer.partitions_for_topic(topic) or ())
    return {place.partition: edges for place, edges in found.items()}


def read_at(servers: str, topic: str, places: Mapping[int, int]) -> dict[int, Record | None]:
    """What lies at these offsets, by partition; None where the partition ends before.

    Of what lies there no longer, since the partition begins behind, nothing is said.
    """
    if not places:
        return {}
    [topic_id] = topic_ids(servers, [topic]).values()
    with _looking(servers) as consumer:
        edges = _bounds(consumer, topic, consumer.partitions_for_topic(topic) or ())
        there, found = {}, dict[int, Record | None]()
        for number, offset in places.items():
            place = TopicPartition(topic, number)
            # Of a topic that was made again, a partition may not be there at all.
            begin, end = edges.get(place, (0, 0))
            if end <= offset:
                found[number] = None
            elif begin <= offset:
                there[place] = offset
        read = _first_of(consumer, there) if there else {}
    records = {place.partition: record_of(raw, topic_id) for place, raw in read.items()}
    return found | {n: one for n, one in records.items() if one.offset == places[n]}


@contextmanager
def _looking(servers: str) -> Iterator[KafkaConsumer]:
    """A consumer that looks once; raises ``Unavailable`` while the broker is away."""
    assert_answers(servers)
    consumer = _looker(servers)
    try:
        yield consumer
    except KafkaError as error:
        raise Unavailable("the broker cannot be asked where its topics end") from error
    finally:
        consumer.close(autocommit=False, timeout_ms=1_000)


def _bounds(
    consumer: KafkaConsumer, topic: str, numbers: Iterable[int]
) -> dict[TopicPartition, tuple[int, int]]:
    places = [TopicPartition(topic, number) for number in numbers]
    begins = edges(consumer.beginning_offsets, places)
    ends = edges(consumer.end_offsets, places)
    return {place: (begins[place], ends[place]) for place in places}


def read_to_the_end(servers: str, topic: Topic, begin: Mapping[int, int]) -> Iterator[Record]:
    """What lies in a topic now, each partition from the offset given for it or its beginning.

    Raises ``Unavailable`` while the broker is away.
    """
    [topic_id] = topic_ids(servers, [topic.name]).values()
    consumer = alone(servers, timeout_ms=10_000)
    try:
        yield from _to_the_end(consumer, topic, topic_id, begin)
    except KafkaError as error:
        raise Unavailable("the broker went away while it was read") from error
    finally:
        consumer.close(autocommit=False)


def _to_the_end(
    consumer: KafkaConsumer, topic: Topic, topic_id: UUID, begin: Mapping[int, int]
) -> Iterator[Record]:
    places = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
    consumer.assign(places)
    begins = edges(consumer.beginning_offsets, places, None)
    ends = edges(consumer.end_offsets, places, None)
    at = {place: max(begins[place], begin.get(place.partition, 0)) for place in places}
    # A topic that was made again may not be as long as the one that was read before.
    at = {place: offset if offset <= ends[place] else begins[place] for place, offset in at.items()}
    left = {place for place in places if at[place] < ends[place]}
    consumer.assign(list(left))
    for place in left:
        consumer.seek(place, at[place])
    heard_at = time.monotonic()
    while left:
        # Neither a poll nor a position says that the broker has gone: both would wait for ever.
        if time.monotonic() > heard_at + PATIENCE_SECONDS:
            raise KafkaTimeoutError("the broker went away while it was read")
        for place, group in consumer.poll(timeout_ms=500).items():
            for raw in group:
                yield record_of(raw, topic_id)
            # Whoever is given them may take as long as they need: the broker has answered.
            heard_at = time.monotonic()
            if group[-1].offset + 1 >= ends[place]:
                left.discard(place)


def _looker(servers: str) -> KafkaConsumer:
    """One that reads a record here and there.

    One of each partition is enough: the broker sends a batch of one of them at a time.
    """
    return alone(servers, timeout_ms=5_000, max_partition_fetch_bytes=1)


def _oldest_at(consumer: KafkaConsumer, behind: Mapping[TopicPartition, int]) -> float:
    """When the oldest of the first records behind these places was written."""
    oldest: float = min(raw.timestamp for raw in _first_of(consumer, behind).values())
    return oldest / 1000


def _first_of(
    consumer: KafkaConsumer, places: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Any]:
    """The first record at or behind each of these places, all of which have one."""
    consumer.assign(list(places))
    for place, at in places.items():
        consumer.seek(place, at)
    found: dict[TopicPartition, Any] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS / 2
    while len(found) < len(places):
        if time.monotonic() > deadline:
            raise KafkaTimeoutError("the broker went away while it was read")
        for place, group in consumer.poll(timeout_ms=200).items():
            found.setdefault(place, group[0])
    return found
