"""What any broker must do; the one in memory passes what Kafka passes."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaTimeoutError
from kafka.record.default_records import DefaultRecordBatch

from contracts.topics import Topic
from deploy.local.ports import free_ports
from messaging.broker import Consumer, Outgoing, Producer, ReaderBroken, Record, Written
from messaging.kafka import (
    KafkaBacklog,
    KafkaReader,
    KafkaWriter,
    bounds,
    ensure_topics,
    read_at,
    read_to_the_end,
    topic_ids,
)
from messaging.memory import MemoryBroker
from messaging.unavailable import Unavailable


@dataclass
class Broker:
    """A broker with one fresh topic."""

    topic: str
    writer: Producer
    reader: Callable[[str], Consumer]


@pytest.fixture(params=["memory", "kafka"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Each test runs on both."""
    topic = f"suite-{uuid4().hex[:12]}"
    if request.param == "memory":
        memory = MemoryBroker()
        yield Broker(
            topic=topic,
            writer=memory.writer(),
            reader=lambda group: memory.reader(group, [topic]),
        )
        return
    servers = request.getfixturevalue("engines")["KAFKA_SERVERS"]
    made = Topic(name=topic, publisher="suite", partitions=3, retention_ms=3_600_000, because="-")
    assert [topic] == ensure_topics(servers, [made], 1)
    readers: list[Consumer] = []

    def open_reader(group: str) -> Consumer:
        readers.append(KafkaReader(servers, f"{topic}-{group}", [topic]))
        return readers[-1]

    writer = KafkaWriter(servers, "suite")
    yield Broker(topic=topic, writer=writer, reader=open_reader)
    for reader in readers:
        reader.close()
    writer.close()


def _records(topic: str, count: int, keys: int = 5) -> list[Outgoing]:
    return [
        Outgoing(
            topic=topic,
            key=f"key-{number % keys}".encode(),
            value=str(number).encode(),
            headers=[("ce_id", str(number).encode())],
        )
        for number in range(count)
    ]


def _read(readers: list[Consumer], count: int, seconds: float = 20) -> list[Record]:
    """Read until so many records came, however often each, or until nothing more comes."""
    found: list[Record] = []
    deadline = time.monotonic() + seconds
    while len({(r.partition, r.offset) for r in found}) < count and time.monotonic() < deadline:
        for reader in readers:
            found += reader.poll(0.2)
    return found


def test_every_record_is_acknowledged_with_its_place(broker: Broker) -> None:
    outcomes = broker.writer.send(_records(broker.topic, 30))

    places = [(o.partition, o.offset) for o in outcomes if isinstance(o, Written)]
    assert 30 == len(set(places))


def test_records_of_a_key_keep_their_order(broker: Broker) -> None:
    broker.writer.send(_records(broker.topic, 60))

    found = _read([broker.reader("g")], 60)

    for number in range(5):
        values = [int(r.value or b"") for r in found if r.key == f"key-{number}".encode()]
        assert list(range(number, 60, 5)) == values


def test_bytes_and_headers_come_as_they_were_written(broker: Broker) -> None:
    garbage = Outgoing(topic=broker.topic, key=b"\xff", value=b"\x00\xfe", headers=[("x", b"\xff")])
    broker.writer.send([garbage])

    record = _read([broker.reader("g")], 1)[0]

    assert (b"\xff", b"\x00\xfe", (("x", b"\xff"),)) == (record.key, record.value, record.headers)


def test_a_record_without_a_key_goes_where_it_says_and_tells_where_that_ends(
    broker: Broker,
) -> None:
    partitions = sorted(broker.writer.partitions(broker.topic))
    kept = [("x", b"y")]
    both = [
        Outgoing(topic=broker.topic, partition=number, key=None, value=value, headers=kept)
        for number in partitions
        for value in (b"1", b"2")
    ]
    broker.writer.send(both)

    found = _read([broker.reader("g")], 6)

    assert [0, 1, 2] == partitions
    assert {(n, at) for n in partitions for at in (0, 1)} == {
        (r.partition, r.offset) for r in found
    }
    with closing(broker.reader("ends")) as reader:
        _read([reader], 6)
        ends = reader.ends({(broker.topic, number) for number in partitions})
    assert {(broker.topic, number): 2 for number in partitions} == ends


def test_what_was_not_hinted_comes_again_to_the_next_reader(broker: Broker) -> None:
    broker.writer.send(_records(broker.topic, 20))
    first = broker.reader("g")
    _read([first], 20)
    # However long it goes on, it is not for the broker to say that all was applied.
    _read([first], 1, seconds=1)

    first.close()
    again = _read([broker.reader("g")], 20)

    assert 20 == len(again)


def test_seeking_reads_from_there(broker: Broker) -> None:
    broker.writer.send(_records(broker.topic, 10, keys=1))
    reader = broker.reader("g")
    partition = _read([reader], 10)[0].partition

    reader.seek(broker.topic, partition, 4)

    assert [4, 5, 6, 7, 8, 9] == [r.offset for r in _read([reader], 6)]


def test_a_reader_says_what_became_its_own_once(broker: Broker) -> None:
    first = broker.reader("joining")
    joined: list[tuple[UUID, str, int]] = []
    deadline = time.monotonic() + 20
    while len(joined) < 3 and time.monotonic() < deadline:
        first.poll(0.2)
        joined += first.joined()

    assert {(broker.topic, number) for number in range(3)} == {place[1:] for place in joined}
    assert 1 == len({topic_id for topic_id, _, _ in joined})
    first.poll(0.2)
    assert [] == first.joined()


@pytest.fixture
def real(engines: dict[str, str]) -> Iterator[KafkaReader]:
    """A reader of the real broker, of a topic of its own, that has not joined its group yet."""
    topic = f"suite-{uuid4().hex[:12]}"
    made = Topic(name=topic, publisher="suite", partitions=3, retention_ms=3_600_000, because="-")
    ensure_topics(engines["KAFKA_SERVERS"], [made], 1)
    with closing(KafkaReader(engines["KAFKA_SERVERS"], f"{topic}-g", [topic])) as reader:
        yield reader


def _write(servers: str, reader: KafkaReader, count: int) -> None:
    [topic] = reader._topics
    with closing(KafkaWriter(servers, "suite")) as writer:
        assert all(isinstance(one, Written) for one in writer.send(_records(topic, count)))


@pytest.mark.parametrize("wait", [0.0, 0.005, 0.02])
def test_a_poll_that_ends_while_a_group_is_joined_does_not_end_the_joining(
    engines: dict[str, str], real: KafkaReader, wait: float
) -> None:
    assert _read([real], 1, seconds=1) == []
    # As when the topics' metadata come later than the group's first answer.
    real._consumer._coordinator._assignment_snapshot = {"changed": set()}
    real.poll(wait)
    _write(engines["KAFKA_SERVERS"], real, 10)

    assert 10 == len(_read([real], 10))
    _read([real], 1, seconds=1)
    assert not real._consumer._coordinator.rejoining


def test_an_answer_that_comes_while_nobody_waits_is_not_thrown_away(
    real: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who learns of a topic while it joins, as on a busy machine, rightly joins once more.
    assert {0, 1, 2} == real._consumer.partitions_for_topic(*real._topics)
    group = real._consumer._coordinator
    ready = group.ensure_coordinator_ready

    def ready_later(timeout_ms: float | None = None) -> bool:
        # The library's first step of a poll, after ours and before it looks for the answer.
        time.sleep(0.2)
        known: bool = ready(timeout_ms)
        return known

    monkeypatch.setattr(group, "ensure_coordinator_ready", ready_later)
    for _ in range(40):
        real.poll(0.005)
        if real.ours():
            break

    assert 3 == len(real.ours())
    assert 1 == group._generation.generation_id


@pytest.mark.parametrize("error", [KafkaTimeoutError("late"), ValueError("not to be read")])
def test_joining_that_fails_is_tried_again(
    real: KafkaReader, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    group = real._consumer._coordinator
    join = group._do_join_and_sync_async

    async def fails_once() -> None:
        monkeypatch.setattr(group, "_do_join_and_sync_async", join)
        await group._manager._net.sleep(0.3)
        raise error

    monkeypatch.setattr(group, "_do_join_and_sync_async", fails_once)
    for _ in range(40):
        with suppress(ValueError):
            real.poll(0.1)

    assert 3 == len(real.ours())


def test_an_answer_without_records_leaves_a_place_its_term(
    engines: dict[str, str], real: KafkaReader
) -> None:
    _write(engines["KAFKA_SERVERS"], real, 30)
    [topic] = real._topics
    last = {record.partition: record for record in _read([real], 30)}
    real.hint({(topic, number): record.offset + 1 for number, record in last.items()})
    real.poll(0.2)
    real.close()

    with closing(KafkaReader(engines["KAFKA_SERVERS"], f"{topic}-g", [topic])) as reader:
        for _ in range(100):
            reader.poll(0.2)
            if reader.ours():
                break
        for number, record in last.items():
            reader.seek(topic, number, record.offset + 1, record.term)
        # Longer than the broker waits for a record before it answers that there is none.
        assert [] == _read([reader], 1, seconds=2)

        at = reader._consumer._subscription.assignment
        assert {0, 1, 2} == set(last)
        for number, record in last.items():
            position = at[TopicPartition(topic, number)].position
            assert (record.offset + 1, record.term) == (position.offset, position.leader_epoch)


def test_while_a_partition_has_no_leader_nobody_can_say_where_it_ends(
    engines: dict[str, str], real: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(engines["KAFKA_SERVERS"], real, 30)
    [topic] = real._topics
    asked = Fetcher._group_list_offset_requests

    def of_those_with_a_leader(self: Fetcher, of: dict[TopicPartition, Any]) -> Any:
        return asked(self, {place: when for place, when in of.items() if place.partition})

    monkeypatch.setattr(Fetcher, "_group_list_offset_requests", of_those_with_a_leader)

    assert {} == real.ends([(topic, 0), (topic, 1)])
    with pytest.raises(Unavailable):
        bounds(engines["KAFKA_SERVERS"], topic)
    with (
        closing(KafkaBacklog(engines["KAFKA_SERVERS"], [topic])) as backlog,
        pytest.raises(Unavailable),
    ):
        backlog.behind({})


def test_a_reader_whose_library_has_ended_has_to_be_made_anew(
    real: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_crashed(*of: object, **more: object) -> None:
        raise RuntimeError("IO loop crashed")

    with monkeypatch.context() as patched:
        patched.setattr(real._consumer, "poll", has_crashed)
        with pytest.raises(ReaderBroken):
            real.poll(0.1)
        patched.setattr(real._consumer, "close", has_crashed)
        real.close()
    real.close()

    with pytest.raises(ReaderBroken):
        real.poll(0.1)


def test_two_readers_of_a_group_share_everything(broker: Broker) -> None:
    readers = [broker.reader("g"), broker.reader("g")]
    for _ in range(10):
        # Joining a group takes polls of every member.
        for reader in readers:
            reader.poll(0.1)
    broker.writer.send(_records(broker.topic, 40, keys=12))

    found = _read(readers, 40)

    assert set(range(40)) == {int(r.value or b"") for r in found}


def test_when_a_reader_leaves_the_other_takes_over(broker: Broker) -> None:
    staying, leaving = broker.reader("g"), broker.reader("g")
    for _ in range(10):
        staying.poll(0.1)
        leaving.poll(0.1)

    leaving.close()
    broker.writer.send(_records(broker.topic, 30, keys=12))

    assert set(range(30)) <= {int(r.value or b"") for r in _read([staying], 30)}


def test_what_lies_in_a_place_is_told_and_where_a_log_ends_before(broker: Broker) -> None:
    broker.writer.send(_records(broker.topic, 60))
    written = {(r.partition, r.offset): r for r in _read([broker.reader("g")], 60)}
    last = dict(sorted(written))

    for places in (last, dict.fromkeys(last, 0)):
        found = broker.writer.at(broker.topic, places)
        assert {(n, at): written[n, at].value for n, at in places.items()} == {
            (r.partition, r.offset): r.value for r in found.values() if r is not None
        }
    behind = {number: offset + 1 for number, offset in last.items()}
    assert dict.fromkeys(last) == broker.writer.at(broker.topic, behind)
    assert {} == broker.writer.at(broker.topic, {})
    # A topic may have been made again with fewer partitions.
    assert {7: None} == broker.writer.at(broker.topic, {7: 0})


def test_of_what_need_not_be_kept_any_longer_nothing_is_said(engines: dict[str, str]) -> None:
    servers, name = engines["KAFKA_SERVERS"], f"suite-{uuid4().hex[:12]}"
    made = Topic(name=name, publisher="suite", partitions=1, retention_ms=3_600_000, because="-")
    ensure_topics(servers, [made], 1)
    with closing(KafkaWriter(servers, "suite")) as writer:
        writer.send(_records(name, 5))
        with closing(KafkaAdminClient(bootstrap_servers=servers.split(","))) as admin:
            admin.delete_records({TopicPartition(name, 0): 3})

        assert {} == writer.at(name, {0: 2})
        assert [3] == [record.offset for record in writer.at(name, {0: 3}).values() if record]


def test_looking_at_a_place_reads_nothing_of_all_that_lies_behind(engines: dict[str, str]) -> None:
    """A megabyte of each partition would be read to be thrown away, and stay with the process."""
    servers, name = engines["KAFKA_SERVERS"], f"suite-{uuid4().hex[:12]}"
    made = Topic(name=name, publisher="suite", partitions=3, retention_ms=3_600_000, because="-")
    ensure_topics(servers, [made], 1)
    with closing(KafkaWriter(servers, "suite")) as writer:
        for _ in range(60):
            # Each is a batch of its own, which is the least that a broker sends.
            writer.send([replace(one, value=os.urandom(20_000)) for one in _records(name, 3)])
        writer.at(name, {0: 0})
        tracemalloc.start()
        found = writer.at(name, {0: 0, 1: 0, 2: 0})
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert any(found.values())
    assert most < 1_000_000


def test_a_broker_that_is_away_is_unavailable() -> None:
    memory = MemoryBroker()
    memory.away = True

    outcomes = memory.writer().send(_records("t", 2))

    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    with pytest.raises(Unavailable):
        memory.reader("g", ["t"]).poll(0)
    with pytest.raises(Unavailable):
        memory.writer().at("t", {0: 0})


@pytest.mark.parametrize(
    "asked",
    [
        lambda at: topic_ids(at, ["t"]),
        lambda at: bounds(at, "t"),
        lambda at: read_at(at, "t", {0: 0}),
    ],
)
def test_asking_a_kafka_that_is_away_leaves_no_thread_behind(
    asked: Callable[[str], object],
) -> None:
    [port] = free_ports(1)
    before = set(threading.enumerate())

    with pytest.raises(Unavailable):
        asked(f"127.0.0.1:{port}")

    assert set() == set(threading.enumerate()) - before


def test_a_reader_that_was_given_what_is_damaged_has_to_be_made_anew(
    engines: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library would go on with the same batch for ever, and never return."""
    servers, topic = engines["KAFKA_SERVERS"], f"suite-{uuid4().hex[:12]}"
    made = Topic(name=topic, publisher="suite", partitions=1, retention_ms=3_600_000, because="-")
    ensure_topics(servers, [made], 1)
    writer, reader = KafkaWriter(servers, "suite"), KafkaReader(servers, f"{topic}-g", [topic])
    writer.send(_records(topic, 1))
    monkeypatch.setattr(DefaultRecordBatch, "validate_crc", lambda batch: False)

    with pytest.raises(ReaderBroken):
        for _ in range(50):
            reader.poll(0.2)

    reader.close()
    writer.close()


def test_a_kafka_that_is_away_is_unavailable_within_seconds() -> None:
    began = time.monotonic()
    reader = KafkaReader("127.0.0.1:9", "g", ["t"])
    writer = KafkaWriter("127.0.0.1:9", "suite")

    with pytest.raises(Unavailable):
        reader.poll(0.2)
    outcomes = writer.send(_records("t", 50))

    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert time.monotonic() - began < 20
    reader.close()
    writer.close()


def test_a_backlog_tells_when_the_first_record_was_written_that_is_not_applied(
    engines: dict[str, str],
) -> None:
    servers, topic = engines["KAFKA_SERVERS"], f"suite-{uuid4().hex[:12]}"
    made = Topic(name=topic, publisher="suite", partitions=3, retention_ms=3_600_000, because="-")
    ensure_topics(servers, [made], 1)
    writer, backlog = KafkaWriter(servers, "suite"), KafkaBacklog(servers, [topic])
    nothing = backlog.behind({})
    began = time.time() - 0.01

    first = _next_offsets(servers, writer.send(_records(topic, 30)), topic)
    time.sleep(0.1)
    between = time.time() - 0.01
    second = _next_offsets(servers, writer.send(_records(topic, 30)), topic)
    told = [backlog.behind(stored) for stored in ({}, first, second)]

    backlog.close()
    writer.close()
    ages = [one.oldest_at for one in told]
    assert (None, {}) == (nothing.oldest_at, nothing.at)
    assert began <= (ages[0] or 0) < between <= (ages[1] or 0)
    assert ages[2] is None
    begun = {(topic, number): offset for (_, number), offset in first.items()}
    assert begun == told[1].at
    assert {} == told[1].lost


def _next_offsets(
    servers: str, outcomes: list[Written | Exception], topic: str
) -> dict[tuple[UUID, int], int]:
    """Where a service would go on that has applied what was written."""
    topic_id = topic_ids(servers, [topic])[topic]
    written = [outcome for outcome in outcomes if isinstance(outcome, Written)]
    return {(topic_id, one.partition): one.offset + 1 for one in sorted(written, key=_offset)}


def _offset(written: Written) -> int:
    return written.offset


def test_a_topic_is_read_to_its_end_from_where_one_was(engines: dict[str, str]) -> None:
    servers, name = engines["KAFKA_SERVERS"], f"suite-{uuid4().hex[:12]}"
    made = Topic(name=name, publisher="suite", partitions=3, retention_ms=3_600_000, because="-")
    ensure_topics(servers, [made], 1)
    writer = KafkaWriter(servers, "suite")
    writer.send(_records(name, 30))
    writer.close()

    everything = list(read_to_the_end(servers, made, {}))
    last = max(everything, key=lambda record: record.offset)
    rest = list(read_to_the_end(servers, made, {last.partition: last.offset}))
    # Of a topic that was longer once, before it was made again, all is read.
    again = list(read_to_the_end(servers, made, {last.partition: last.offset + 8}))

    assert 30 == len(everything) == len(again)
    assert [last.offset] == [r.offset for r in rest if r.partition == last.partition]


def test_a_writer_whose_library_waits_for_ever_begins_anew(engines: dict[str, str]) -> None:
    servers, name = engines["KAFKA_SERVERS"], f"suite-{uuid4().hex[:12]}"
    made = Topic(name=name, publisher="suite", partitions=3, retention_ms=3_600_000, because="-")
    ensure_topics(servers, [made], 1)
    writer = KafkaWriter(servers, "suite")
    stuck = writer._producer

    def waits(timeout: float | None = None) -> None:
        del stuck.flush
        raise KafkaTimeoutError("it waits for what never comes")

    stuck.flush = waits
    writer.send(_records(name, 3))
    outcomes = writer.send(_records(name, 3))
    writer.close()

    assert stuck is not writer._producer
    assert [True] * 3 == [isinstance(one, Written) for one in outcomes]


def test_a_backlog_says_that_the_broker_is_away() -> None:
    [port] = free_ports(1)

    with pytest.raises(Unavailable):
        KafkaBacklog(f"127.0.0.1:{port}", ["nobody"]).behind({})
