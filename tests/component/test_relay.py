"""What is committed is published: once a broker takes it, by one relay, whenever it was begun."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from contracts.envelope import from_headers
from contracts.parking import KeyReleased
from contracts.topics import TOPICS
from messaging import holding, relay
from messaging.broker import Outgoing, Record, Written
from messaging.holding import Holds
from messaging.memory import MemoryBroker, MemoryWriter
from messaging.relay import Relay
from messaging.subscriber import Subscriber
from messaging.unavailable import Unavailable, is_away
from messaging.work import Work, new_traceparent
from tests.house import MORNING, House
from tests.running import eventually


def _said(key: UUID) -> KeyReleased:
    return KeyReleased(
        subject_id=key, service="matching", closed=False, released_at=MORNING, by=None, because=None
    )


def _say(center: House, key: UUID) -> None:
    center.matching.transact(lambda work: [_said(key)])


_UNSAID = "SELECT key FROM outbox WHERE published_at IS NULL"


def _unpublished(center: House) -> int:
    return len(center.rows("matching", _UNSAID))


def _in_broker(center: House, key: UUID) -> int:
    name = TOPICS["matching"].name
    logs = [center.broker.log((name, n)) for n in range(center.broker.partitions)]
    return len([record for log in logs for record in log if record.key == str(key).encode()])


def test_what_the_broker_did_not_take_stays_unpublished(center: House) -> None:
    center.settle()
    key = uuid4()
    _say(center, key)
    relay = center.loops()["matching relay"]
    center.broker.away = True

    with pytest.raises(Unavailable):
        relay.step()

    assert 1 == _unpublished(center)
    center.broker.away = False
    relay.step()
    assert (0, 1) == (_unpublished(center), _in_broker(center, key))


def test_what_is_committed_late_is_published_though_later_ones_were(center: House) -> None:
    center.settle()
    slow, fast = uuid4(), uuid4()
    relay = center.loops()["matching relay"]
    with center.matching.engine.begin() as conn:
        work = Work(center.matching, conn, new_traceparent())
        work.say(_said(slow))
        work.finish()
        _say(center, fast)
        relay.step()
        assert (0, 1) == (_in_broker(center, slow), _in_broker(center, fast))

    relay.step()

    assert 1 == _in_broker(center, slow)


def test_what_was_said_before_a_restore_is_published_before_what_was_said_since(
    center: House,
) -> None:
    key = uuid4()
    for _ in range(3):
        _say(center, key)
    with center.matching.engine.begin() as conn:
        # The epoch that began when the database was restored counts from one again.
        since = "UPDATE outbox SET epoch = 2, seq = 1 WHERE key = :key AND seq = 3"
        conn.execute(text(since), {"key": key})
        conn.execute(text("DELETE FROM stream WHERE key = :key"), {"key": key})

    center.loops()["matching relay"].step()

    said = [r for r in center.broker.read_to_the_end(TOPICS["matching"].name, {}) if r.key]
    places = [from_headers(r.headers, r.key) for r in said if r.key == str(key).encode()]
    assert [(1, 1), (1, 2), (2, 1)] == [(one.epoch, one.seq) for one in places]


def test_one_relay_stands_by_while_another_publishes(center: House) -> None:
    center.settle()
    first = center.loops()["matching relay"]
    second = Relay("matching", center.matching.engine, center.broker.writer())
    first.step()
    key = uuid4()
    _say(center, key)

    second.step()
    assert 1 == _unpublished(center)

    first.close()
    # The server may learn a moment later that the session with the lock is over.
    eventually(lambda: second.step() or _in_broker(center, key))
    second.close()
    assert 1 == _in_broker(center, key)


def test_a_relay_that_stands_still_gives_its_place_to_another(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped asks nothing, and its connection lives on."""
    monkeypatch.setattr(relay, "STANDS_STILL_SECONDS", 1)
    center.settle()
    center.loops()["matching relay"].close()
    first, second = (
        Relay("matching", center.matching.engine, center.broker.writer()) for _ in range(2)
    )
    eventually(lambda: first.step() or first._conn is not None)
    key = uuid4()
    _say(center, key)

    eventually(lambda: second.step() or _in_broker(center, key))

    with pytest.raises(OperationalError) as gone:
        first.step()
    assert is_away(gone.value)
    first.step()
    assert 1 == _in_broker(center, key)
    second.close()


def test_a_relay_that_is_held_gives_its_place_back(center: House) -> None:
    """It would ask nothing on the session that holds it, for as long as it is held."""
    center.settle()
    first = center.loops()["matching relay"]
    first.step()
    topic, engine = TOPICS["matching"].name, center.matching.engine
    holding.hold(engine, topic, by="ops", because="a trial", now=center.clock.now())
    first._holds = Holds(engine)

    first.step()

    assert first._conn is None


class _OneTakesNothing(MemoryWriter):
    """A broker of which one partition takes nothing."""

    def send(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        return [
            self._broker.append(one) if _place(self._broker, one.key) else Unavailable("no leader")
            for one in records
        ]


def _place(broker: MemoryBroker, key: bytes | None) -> int:
    return zlib.crc32(key or b"") % broker.partitions


def test_a_partition_that_takes_nothing_keeps_nothing_back_from_the_others(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 10)
    center.settle()
    center.loops()["matching relay"].close()
    keys = [uuid4() for _ in range(400)]
    for key in keys:
        _say(center, key)
    dead = {key for key in keys if not _place(center.broker, str(key).encode())}
    assert len(dead) > 10

    stuck = Relay("matching", center.matching.engine, _OneTakesNothing(center.broker))
    for _ in range(50):
        with suppress(Unavailable):
            stuck.step()

    left = {row.key for row in center.rows("matching", _UNSAID)}
    assert dead == left
    mended = Relay("matching", center.matching.engine, center.broker.writer())
    stuck.close()
    eventually(lambda: mended.step() or not _unpublished(center))
    mended.close()


class Stale:
    """A ``Consumer`` that still holds what was its own once."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records
        self.sought: list[int] = []

    def poll(self, wait_seconds: float) -> list[Record]:
        """What it holds, once."""
        records, self._records = self._records, []
        return records

    def joined(self) -> list[tuple[UUID, str, int]]:
        """Nothing new."""
        return []

    def ends(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Nobody knows."""
        return {}

    def ours(self) -> set[tuple[str, int]]:
        """As far as it knows."""
        return set()

    def hold(self, topics: Collection[str]) -> None:
        """Nothing is held."""

    def seek(self, topic: str, partition: int, offset: int, term: int = -1) -> None:
        """Where it is sent."""
        self.sought.append(offset)

    def hint(self, offsets: object) -> None:
        """Nobody asks."""

    def close(self) -> None:
        """Nothing is held."""


def test_one_who_lost_its_partitions_without_knowing_changes_nothing(center: House) -> None:
    center.register(facility="south")
    name = TOPICS["intake"].name
    log = next(
        log
        for number in range(center.broker.partitions)
        if len(log := center.broker.log((name, number))) > 2
    )
    held = log[:2]
    stored = "SELECT * FROM stored_offset ORDER BY topic_id, partition"
    before = [row.next_offset for row in center.rows("matching", stored)]
    applied = center.rows("matching", "SELECT count(*) FROM inbox")[0][0]
    stale = Stale(held)

    Subscriber(center.matching, lambda: stale).step()

    assert before == [row.next_offset for row in center.rows("matching", stored)]
    assert applied == center.rows("matching", "SELECT count(*) FROM inbox")[0][0]
    assert [len(log)] == stale.sought
