"""The real broker: the only file that knows kafka-python, and where its traps are kept out.

Raw bytes only (a consumer whose deserializer raises spins for ever on its next poll), no rebalance
listener (the database's stored offsets make one needless), and a bounded number of records in
flight (the library's own buffer has no bound).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import (
    CorruptRecordError,
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
)
from kafka.record import util as record_util
from kafka.structs import OffsetAndMetadata

from contracts.topics import Topic
from messaging.broker import Behind, Outgoing, ReaderBroken, Record, Written
from messaging.unavailable import Unavailable

#: The protocol's ceiling; naming it lets us start while the broker is away.
API_VERSION = (4, 1)
#: The library's own ceiling is half a minute, for which nothing would flow after an outage.
RECONNECT_MS = 1_000
#: So long is waited to hear where partitions end, while records are at hand.
ENDS_WITHIN_MS = 1_000
#: So long may a broker say nothing while it is read to its end.
PATIENCE_SECONDS = 10.0
#: The most records read at a time; a batch is one transaction.
BATCH = 500
#: So long may an answer wait for a record to come. Each empty one costs every worker three
#: milliseconds, and one that carries something never waits.
WAIT_MS = 500
#: A topic that was made again has another id, which a backlog knows after so many seconds.
IDS_STAND_SECONDS = 60.0
#: So much is sent at once even to a reader that lets records gather.
GATHERED_BYTES = 65_536


def assert_fast_checksums() -> None:
    """Refuse to run without the compiled checksum: the pure one is nine times slower."""
    if record_util.crc32c_c is None:
        raise RuntimeError("the package crc32c is not installed; install it beside kafka-python")


class KafkaWriter:
    """A ``Producer``. Not fork-safe: make it in the process that uses it."""

    def __init__(self, servers: str, name: str) -> None:
        assert_fast_checksums()
        self._servers = servers
        self._name = name
        self._producer = self._open()

    def _open(self) -> KafkaProducer:
        return KafkaProducer(
            bootstrap_servers=self._servers.split(","),
            client_id=f"{self._name}-{os.getpid()}",
            api_version=API_VERSION,
            reconnect_backoff_max_ms=RECONNECT_MS,
            acks="all",
            enable_idempotence=True,
            # A batch is written at once and waited for: what comes first need not wait for more.
            batch_size=262_144,
            linger_ms=0,
            # Nobody asks for the library's own figures, which take a fifteenth of its time.
            metrics_enabled=False,
            max_block_ms=5_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=15_000,
            allow_auto_create_topics=False,
        )

    def send(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        """Write a bounded batch and wait for every acknowledgement."""
        outcomes = self._sent(records)
        if any(isinstance(outcome, Exception) for outcome in outcomes):
            # One whose batch was not answered in time asks for a new identity, and kafka-python
            # 3.0.12 may wait for that for ever: nothing more would be sent, nor be given up.
            self.close()
            self._producer = self._open()
        return outcomes

    def _sent(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        futures: list[Any] = []
        for record in records:
            try:
                futures.append(
                    self._producer.send(
                        record.topic,
                        value=record.value,
                        key=record.key,
                        headers=list(record.headers),
                        partition=record.partition,
                    )
                )
            except KafkaError as error:
                futures.append(error)
                if len(futures) == 1:
                    # The broker is away: waiting for each of the others would take hours.
                    return [error] * len(records)
        try:
            self._producer.flush(timeout=20)
        except KafkaError as error:
            # What is not settled by now never will be.
            return [_outcome(one) if _is_settled(one) else error for one in futures]
        return [_outcome(future) for future in futures]

    def partitions(self, topic: str) -> Collection[int]:
        """The partitions of a topic; raises ``Unavailable`` while the broker is away."""
        try:
            found: Collection[int] = self._producer.partitions_for(topic)
        except KafkaError as error:
            raise Unavailable("the broker cannot be asked for partitions") from error
        return found

    def at(self, topic: str, places: Mapping[int, int]) -> dict[int, Record | None]:
        """What lies at these offsets, by partition; None where the partition ends before."""
        return read_at(self._servers, topic, places)

    def close(self) -> None:
        """Let go of the network without waiting for what was not acknowledged."""
        try:
            self._producer.close(timeout=2)
        except KafkaError:
            # Whatever was not acknowledged is unpublished in the outbox and will be sent again. The
            # library gives up before it has ended its thread, which would go on sending that.
            self._producer._sender.force_close()


def _is_settled(future: Any) -> bool:
    return isinstance(future, KafkaError) or bool(future.is_done)


class _Unread:
    """An answer of the library's of which only whoever waits for it learns that it went well.

    What failed is asked for anew, as the library does: some errors it would wait for ever.
    """

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.add_callback = answer.add_callback
        self.add_errback = answer.add_errback

    @property
    def is_done(self) -> bool:
        """Whether the library is to ask anew."""
        return bool(self._answer.is_done and self._answer.failed())


def _outcome(future: Any) -> Written | Exception:
    if isinstance(future, KafkaError):
        failed: Exception = future
        return failed
    try:
        written = future.get(timeout=20)
    except KafkaError as error:
        refused: Exception = error
        return refused
    return Written(partition=int(written.partition), offset=int(written.offset))


class KafkaReader:
    """A ``Consumer`` of a service's group; the broker lets records gather before it answers."""

    def __init__(
        self,
        servers: str,
        group: str,
        topics: Iterable[str],
        *,
        gather_seconds: float = 0.0,
        dead_after_seconds: int = 10,
    ) -> None:
        """``dead_after_seconds``: when the partitions of one who is not heard go to others."""
        assert_fast_checksums()
        self._servers = servers
        self._topics = tuple(topics)
        self._ids: dict[str, UUID] = {}
        self._ours: set[TopicPartition] = set()
        self._reached: dict[TopicPartition, OffsetAndMetadata] = {}
        self._consumer = KafkaConsumer(
            *self._topics,
            bootstrap_servers=servers.split(","),
            client_id=f"{group}-{os.getpid()}",
            group_id=group,
            api_version=API_VERSION,
            reconnect_backoff_max_ms=RECONNECT_MS,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=BATCH,
            max_poll_interval_ms=300_000,
            session_timeout_ms=dead_after_seconds * 1_000,
            heartbeat_interval_ms=dead_after_seconds * 200,
            fetch_min_bytes=GATHERED_BYTES if gather_seconds else 1,
            fetch_max_wait_ms=int(gather_seconds * 1000) or WAIT_MS,
            metrics_enabled=False,
            allow_auto_create_topics=False,
        )

    def poll(self, wait_seconds: float) -> list[Record]:
        """The next records; ``Unavailable`` while the broker cannot be asked."""
        try:
            if not self._ids:
                self._ids = topic_ids(self._servers, self._topics)
            self._finish_joining()
            read = self._consumer.poll(timeout_ms=int(wait_seconds * 1000), max_records=BATCH)
            for place, group in read.items():
                self._reach(place, group[-1].offset + 1, group[-1].leader_epoch)
            self._keep_terms()
        except CorruptRecordError as error:
            # The library would go on with the same batch for ever.
            raise ReaderBroken("a batch was damaged") from error
        except (IllegalStateError, RuntimeError, OSError) as error:
            # It was closed, or its thread has ended: neither comes back.
            raise ReaderBroken("the library has ended") from error
        except KafkaError as error:
            raise Unavailable("the broker cannot be read") from error
        return [_record(raw, self._ids[raw.topic]) for group in read.values() for raw in group]

    def _reach(self, place: TopicPartition, offset: int, term: int) -> OffsetAndMetadata:
        self._reached[place] = OffsetAndMetadata(offset, "", term)
        return self._reached[place]

    def _with_term(self, place: TopicPartition, offset: int) -> OffsetAndMetadata:
        """This offset with the term of what lies before it, where that is known."""
        reached = self._reached.get(place)
        if reached is not None and reached.offset == offset:
            return reached
        return OffsetAndMetadata(offset, "", -1)

    def _keep_terms(self) -> None:
        """Give positions back the terms that an answer without records has taken from them.

        Without its term the broker is not asked whether it still has what was read, and a log
        that was cut and has grown again unseen would be read on behind what is new.
        """
        known = self._consumer._subscription
        with known._lock:
            for place, state in known.assignment.items():
                if state.position is not None and state.position.leader_epoch < 0:
                    state.position = self._with_term(place, state.position.offset)

    def _finish_joining(self) -> None:
        """Keep the library from forgetting that it is joining the group, or that it has joined.

        A poll that ends between the two answers of a join, when the topics' metadata had changed,
        leaves kafka-python 3.0.12 without partitions and without a heartbeat for ever. And an
        answer that comes while nobody waits for it, between two polls or early in one, is thrown
        away: it joins anew, and so must all others, which on a busy machine goes on and on.
        """
        group = self._consumer._coordinator
        if group.rejoining:
            group.rejoin_needed = True
        joining = group._join_task
        if joining is not None and not isinstance(joining, _Unread):
            group._join_task = _Unread(joining)

    def joined(self) -> list[tuple[UUID, str, int]]:
        """What became ours since this was last asked, to be asked after a poll."""
        before, self._ours = self._ours, set(self._consumer.assignment())
        return [(self._ids[p.topic], p.topic, p.partition) for p in self._ours - before]

    def ours(self) -> set[tuple[str, int]]:
        """The partitions that are ours now, by topic and number."""
        return {(place.topic, place.partition) for place in self._consumer.assignment()}

    def ends(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset behind the last record of these partitions; without those not known now.

        The broker is asked: what the library knows is as old as the records that it still holds.
        """
        try:
            asked = [TopicPartition(*place) for place in places]
            found = _edges(self._consumer.end_offsets, asked, ENDS_WITHIN_MS)
        except KafkaError:
            return {}
        return {(place.topic, place.partition): end for place, end in found.items()}

    def hold(self, topics: Collection[str]) -> None:
        """Read nothing of these topics from now on, and of all the others again."""
        mine = self._consumer.assignment()
        held = {place for place in mine if place.topic in topics}
        paused = self._consumer.paused()
        self._consumer.pause(*(held - paused))
        self._consumer.resume(*(paused - held))

    def seek(self, topic: str, partition: int, offset: int, term: int = -1) -> None:
        """Read this partition from here on, if it is still ours, or from where it was cut since.

        Told the term, the library asks the broker whether that term went so far. Its public seek
        does not take one.
        """
        place = TopicPartition(topic, partition)
        if place in self._consumer.assignment():
            self._consumer._subscription.seek(place, self._reach(place, offset, term))
        # A topic that was deleted and made again begins anew, under an id of its own.
        self._ids = {}

    def hint(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit without waiting: the stored offsets decide, this only saves reading again."""
        hints = {TopicPartition(*place): at for place, at in offsets.items()}
        self._consumer.commit_async({p: self._with_term(p, at) for p, at in hints.items()})

    def close(self) -> None:
        """Leave the group at once, so that another worker takes over."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=3_000)
        except (KafkaError, RuntimeError, OSError):
            # The group notices by the session's time-out instead.
            return


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
            begins = _edges(consumer.beginning_offsets, list(at))
            ends = _edges(consumer.end_offsets, list(at))
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


def _alone(servers: str, *, timeout_ms: int, **more: Any) -> KafkaConsumer:
    """A consumer of no group, by which no topic comes into being."""
    return KafkaConsumer(
        bootstrap_servers=servers.split(","),
        api_version=API_VERSION,
        request_timeout_ms=timeout_ms,
        reconnect_backoff_max_ms=RECONNECT_MS,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        **more,
    )


def _looker(servers: str) -> KafkaConsumer:
    """One that reads a record here and there.

    One of each partition is enough: the broker sends a batch of one of them at a time.
    """
    return _alone(servers, timeout_ms=5_000, max_partition_fetch_bytes=1)


def _edges(
    ask: Callable[..., dict[TopicPartition, int]],
    places: list[TopicPartition],
    within_ms: int | None = 5_000,
) -> dict[TopicPartition, int]:
    """Where these partitions begin, or end, as one of the library's two questions says.

    Where one of several has no leader, kafka-python 3.0.12 does not find it among the answers.
    """
    try:
        return ask(places, timeout_ms=within_ms)
    except KeyError as error:
        raise LeaderNotAvailableError("a partition has no leader") from error


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


#: A broker that has not said a word by then is taken to be away.
ANSWERS_WITHIN_SECONDS = 5.0


def answers(server: str, seconds: float) -> bool:
    """Whether the broker at ``host:port`` speaks to us in time; never raises for one that is away.

    The library would try for much longer, and a poll of its consumer only comes back empty. The
    question is which versions it knows, which every broker answers before anything else.
    """
    host, _, port = server.strip().rpartition(":")
    asking = struct.pack(">hhih", 18, 0, 0, -1)
    try:
        with socket.create_connection((host, int(port)), timeout=seconds) as broker:
            broker.settimeout(seconds)
            broker.sendall(struct.pack(">i", len(asking)) + asking)
            return len(broker.recv(4)) > 0
    except (OSError, ValueError):
        return False


def topic_ids(servers: str, topics: Iterable[str]) -> dict[str, UUID]:
    """The ids of topics, which change when a topic is deleted and made again."""
    wanted = list(topics)
    admin = _admin(servers)
    try:
        found = {t["name"]: t for t in admin.describe_topics(wanted)}
        missing = [name for name in wanted if found.get(name, {}).get("error_code", 1)]
        if missing:
            raise Unavailable(f"topics are missing: {', '.join(missing)}; run the topics job")
        return {name: UUID(str(found[name]["topic_id"])) for name in wanted}
    except KafkaError as error:
        raise Unavailable("the broker cannot be asked for its topics") from error
    finally:
        admin.close()


def ensure_topics(servers: str, topics: Iterable[Topic], replication: int) -> list[str]:
    """Create the topics that are missing and set the retention of all; the names created."""
    wanted = {topic.name: topic for topic in topics}
    admin = _admin(servers)
    try:
        existing = set(admin.list_topics())
        missing = {
            name: {
                "num_partitions": topic.partitions,
                "replication_factor": replication,
                "configs": {
                    "cleanup.policy": "delete",
                    "retention.ms": str(topic.retention_ms),
                    "min.insync.replicas": str(max(1, replication - 1)),
                },
            }
            for name, topic in wanted.items()
            if name not in existing
        }
        if missing:
            admin.create_topics(missing, wait_for_metadata=True)
        return sorted(missing)
    except KafkaError as error:
        raise Unavailable("the broker did not make the topics") from error
    finally:
        admin.close()


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
    records = {place.partition: _record(raw, topic_id) for place, raw in read.items()}
    return found | {n: one for n, one in records.items() if one.offset == places[n]}


@contextmanager
def _looking(servers: str) -> Iterator[KafkaConsumer]:
    """A consumer that looks once; raises ``Unavailable`` while the broker is away."""
    _assert_answers(servers)
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
    begins = _edges(consumer.beginning_offsets, places)
    ends = _edges(consumer.end_offsets, places)
    return {place: (begins[place], ends[place]) for place in places}


def read_to_the_end(servers: str, topic: Topic, begin: Mapping[int, int]) -> Iterator[Record]:
    """What lies in a topic now, each partition from the offset given for it or its beginning.

    Raises ``Unavailable`` while the broker is away.
    """
    [topic_id] = topic_ids(servers, [topic.name]).values()
    consumer = _alone(servers, timeout_ms=10_000)
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
    begins = _edges(consumer.beginning_offsets, places, None)
    ends = _edges(consumer.end_offsets, places, None)
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
                yield _record(raw, topic_id)
            # Whoever is given them may take as long as they need: the broker has answered.
            heard_at = time.monotonic()
            if group[-1].offset + 1 >= ends[place]:
                left.discard(place)


def _record(raw: Any, topic_id: UUID) -> Record:
    return Record(
        topic=raw.topic,
        topic_id=topic_id,
        partition=raw.partition,
        offset=raw.offset,
        key=raw.key,
        value=raw.value,
        headers=tuple((name, value or b"") for name, value in raw.headers),
        term=raw.leader_epoch,
    )


def _assert_answers(servers: str) -> None:
    """Raise ``Unavailable`` while none of the brokers answers.

    Of an administrator that gives up while it is made, kafka-python 3.0.12 leaves a thread behind
    for ever, and a consumer does not give up at all.
    """
    if not any(answers(server, ANSWERS_WITHIN_SECONDS) for server in servers.split(",")):
        raise Unavailable("the broker is away")


def _admin(servers: str) -> KafkaAdminClient:
    _assert_answers(servers)
    try:
        return KafkaAdminClient(
            bootstrap_servers=servers.split(","),
            bootstrap_timeout_ms=5_000,
            request_timeout_ms=10_000,
        )
    except KafkaError as error:
        raise Unavailable("the broker is away") from error
