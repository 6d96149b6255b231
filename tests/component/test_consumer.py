"""What stops the loops, and what makes them go on: the fuse, the hold switch, the stall watch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from contracts.event import Event
from contracts.intake import ClientDischarged
from contracts.topics import TOPICS
from hosting.process import Loop
from messaging import holding, lag
from messaging.broker import Outgoing, ReaderBroken, Record
from messaging.fuse import Blown
from messaging.lag import LagWatch
from messaging.subscriber import Subscriber
from messaging.timer_loop import TimerLoop
from messaging.timers import Timer
from messaging.work import Work
from tests.component.test_measuring import Told
from tests.component.test_unopened import lose_keys
from tests.house import House

TOPIC = TOPICS["intake"].name


def _spoil(center: House, count: int) -> list[UUID]:
    """Records that nobody can read, each about a subject of its own."""
    keys = [uuid4() for _ in range(count)]
    center.broker.writer().send(
        [Outgoing(topic=TOPIC, key=str(key).encode(), value=b"", headers=[]) for key in keys]
    )
    return keys


def _parked(center: House) -> set[UUID]:
    return {row.key for row in center.rows("matching", "SELECT key FROM parked_key")}


def _consumer(center: House) -> Subscriber:
    center.settle()
    found: Subscriber = center.loops()["matching consumer"]
    return found


def _step_until_it_stops(loop: Loop) -> None:
    with pytest.raises(Blown):
        while loop.step():
            pass


def test_what_nobody_can_read_is_set_aside_however_much_of_it_comes(center: House) -> None:
    consumer = _consumer(center)
    spoilt = _spoil(center, 30)

    story = center.register(facility="south")

    assert set(spoilt) == _parked(center)
    assert not consumer._fuse.is_blown
    assert "assigned" == story["state"]


def test_when_everything_fails_it_stops_and_goes_on_by_itself_once_something_succeeds(
    center: House,
) -> None:
    consumer = _consumer(center)
    good = consumer._participant

    def fails(event: ClientDischarged, work: Work) -> Iterator[Event]:
        raise LookupError
        yield

    consumer._participant = replace(good, on={**good.on, ClientDischarged: [fails]})
    for number in range(15):
        center.register_only(
            record_number=f"R-{number}", mobile=None, email=f"{number}@example.org"
        )
    while center.loops()["intake relay"].step():
        pass
    _step_until_it_stops(consumer)
    for _ in range(5):
        _step_until_it_stops(consumer)
    assert (10, True) == (len(_parked(center)), consumer._fuse.is_blown)

    consumer._participant = good
    while consumer.step():
        pass

    assert (10, False) == (len(_parked(center)), consumer._fuse.is_blown)
    assert 5 == center.rows("matching", "SELECT count(*) FROM client")[0][0]


def test_when_no_key_opens_it_stops_and_goes_on_by_itself_once_one_does(center: House) -> None:
    """A service may be given another database of keys, or one from before."""
    consumer = _consumer(center)
    for number in range(15):
        center.register_only(
            record_number=f"R-{number}", mobile=None, email=f"{number}@example.org"
        )
    clients = [row.client_id for row in center.rows("intake", "SELECT client_id FROM discharge")]
    put_back = lose_keys(center, clients, "about")
    while center.loops()["intake relay"].step():
        pass
    for _ in range(5):
        _step_until_it_stops(consumer)
    assert (10, True) == (len(_parked(center)), consumer._fuse.is_blown)

    put_back()
    while consumer.step():
        pass

    assert (10, False) == (len(_parked(center)), consumer._fuse.is_blown)
    assert 5 == center.rows("matching", "SELECT count(*) FROM client")[0][0]


def test_when_every_timer_fails_it_stops_and_goes_on_by_itself_once_one_succeeds(
    center: House,
) -> None:
    keys = [uuid4() for _ in range(15)]

    def set_timers(work: Work) -> tuple[Event, ...]:
        for key in keys:
            work.timers.set(key, "told", work.now)
        return ()

    def fails(timer: Timer, work: Work) -> Iterator[Event]:
        raise LookupError
        yield

    def works(timer: Timer, work: Work) -> tuple[Event, ...]:
        return ()

    center.matching.transact(set_timers)
    timers = TimerLoop(replace(center.matching, timers={"told": fails}))
    for _ in range(6):
        _step_until_it_stops(timers)
    assert (10, True) == (len(_parked(center)), timers._fuse.is_blown)

    timers._participant = replace(center.matching, timers={"told": works})
    for _ in range(2):
        timers.step()

    assert (10, False) == (len(_parked(center)), timers._fuse.is_blown)
    assert _parked(center) == {row.key for row in center.rows("matching", "SELECT key FROM timer")}


def test_one_timer_that_works_is_found_behind_however_many_that_fail(center: House) -> None:
    fired: list[UUID] = []
    now = center.clock.now()

    def set_timers(work: Work) -> tuple[Event, ...]:
        for _ in range(61):
            work.timers.set(uuid4(), "fails", now - timedelta(minutes=5))
        work.timers.set(uuid4(), "works", now)
        return ()

    def fails(timer: Timer, work: Work) -> Iterator[Event]:
        raise LookupError
        yield

    def works(timer: Timer, work: Work) -> tuple[Event, ...]:
        fired.append(timer.key)
        return ()

    center.matching.transact(set_timers)
    timers = TimerLoop(replace(center.matching, timers={"fails": fails, "works": works}))
    for _ in range(2_000):
        with suppress(Blown):
            timers.step()
        if fired:
            break

    assert 1 == len(fired)


def test_a_fuse_closes_when_nothing_is_left_that_fails(center: House) -> None:
    def fails(timer: Timer, work: Work) -> Iterator[Event]:
        raise LookupError
        yield

    def set_timers(work: Work) -> tuple[Event, ...]:
        for _ in range(11):
            work.timers.set(uuid4(), "told", work.now)
        return ()

    center.matching.transact(set_timers)
    timers = TimerLoop(replace(center.matching, timers={"told": fails}))
    _step_until_it_stops(timers)
    with center.matching.engine.begin() as conn:
        conn.execute(text("DELETE FROM timer"))

    timers.step()

    assert not timers._fuse.is_blown


def test_a_timer_that_somebody_else_fired_says_nothing_of_those_that_fail(center: House) -> None:
    fired: list[UUID] = []

    def fails(timer: Timer, work: Work) -> Iterator[Event]:
        fired.append(timer.key)
        raise LookupError
        yield

    timers = TimerLoop(replace(center.matching, timers={"told": fails}))
    now = center.clock.now()
    for _ in range(2 * 10):
        gone = Timer(key=uuid4(), name="told", due_at=now)
        center.matching.transact(lambda work: work.timers.set(uuid4(), "told", now) or ())
        timers._fire(gone)
        with suppress(Blown):
            timers.step()

    assert 10 == len(_parked(center)) < len(fired)


def test_what_is_held_is_not_read_and_what_is_own_is_not_published(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "LOOK_EVERY_SECONDS", 0.0)
    center.settle()
    matching, intake = center.matching.engine, center.intake.engine
    holding.hold(matching, TOPIC, by="ops", because="trying", now=center.clock.now())
    holding.hold(matching, TOPIC, by="others", because="later", now=center.clock.now())

    story = center.register(facility="south")
    assert "received" == story["state"]
    with matching.connect() as conn:
        assert [("ops", "trying")] == [(row.by, row.because) for row in holding.held(conn)]

    assert holding.let_go(matching, TOPIC, now=center.clock.now())
    assert not holding.let_go(matching, TOPIC, now=center.clock.now())
    center.settle()
    assert "assigned" == center.story(story["id"], "south")["state"]

    holding.hold(intake, TOPIC, by="ops", because="trying", now=center.clock.now())
    center.register_only(facility="south", record_number="R-9")
    center.settle()
    unsaid = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
    assert 0 < center.rows("intake", unsaid)[0][0]


@pytest.mark.parametrize("has_partitions", [True, False])
def test_a_consumer_that_stands_still_is_made_anew(
    center: House, monkeypatch: pytest.MonkeyPatch, has_partitions: bool
) -> None:
    consumer = _consumer(center)
    partition = sorted(consumer._consumer.ours())[0]
    if not has_partitions:
        # As one that waits for ever for the answer by which it would be given some.
        monkeypatch.setattr(consumer._consumer, "ours", set)
    told: list[object] = []
    monkeypatch.setattr(lag, "STALLED_AFTER_SECONDS", 0.0)
    watch = LagWatch(center.matching.engine, Told(time_of_old(), **{partition[0]: 4}), told.append)
    before = consumer._consumer

    watch.step()
    consumer.stalled(told[-1])  # type: ignore[arg-type]
    consumer.step()

    assert [(partition[0], 0)] == told[-1]
    assert before is not consumer._consumer
    story = center.register(facility="south")
    assert "assigned" == story["state"]


def test_a_consumer_is_made_anew_once_for_each_time_that_it_stands_still(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = sorted(_consumer(center)._consumer.ours())[0]
    told: list[object] = []
    watch = LagWatch(center.matching.engine, Told(time_of_old(), **{partition[0]: 4}), told.append)

    for seconds in (0.0, 31.0, 36.0, 62.0):
        monkeypatch.setattr(time, "monotonic", lambda now=seconds: now)
        watch.step()

    assert [[], [(partition[0], 0)], [], [(partition[0], 0)]] == told


def test_a_consumer_that_reads_what_is_damaged_is_made_anew(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = _consumer(center)
    before = consumer._consumer

    def is_damaged(wait_seconds: float) -> list[Record]:
        raise ReaderBroken

    monkeypatch.setattr(before, "poll", is_damaged)
    with pytest.raises(ReaderBroken):
        consumer.step()

    assert before is not consumer._consumer
    assert "assigned" == center.register(facility="south")["state"]


def test_a_consumer_that_moves_on_is_left_alone(center: House) -> None:
    consumer = _consumer(center)
    before = consumer._consumer
    told: list[object] = []
    watch = LagWatch(center.matching.engine, Told(time_of_old(), **{TOPIC: 4}), told.append)

    watch.step()
    consumer.stalled(told[-1])  # type: ignore[arg-type]
    consumer.step()

    assert [[]] == told
    assert before is consumer._consumer


def time_of_old() -> float:
    """When what lies behind was written; it does not matter here."""
    return 1.0


def test_a_seal_for_nobody_known_parks_its_client_and_stops_no_other(center: House) -> None:
    consumer = _consumer(center)
    broken = center.register_only(facility="south")
    other = center.register_only(facility="south", record_number="R-2", mobile="+15035550124")
    with center.intake.engine.begin() as conn:
        spoil = (
            "UPDATE outbox SET body = convert_to(replace(convert_from(body, 'UTF8'),"
            """ '"purpose":"about"', '"purpose":"about WHERE false --"'), 'UTF8')"""
            " WHERE key = :key AND type = 'ClientDischarged'"
        )
        assert 1 == conn.execute(text(spoil), {"key": broken["client_id"]}).rowcount
    center.settle()

    assert {UUID(broken["client_id"])} == _parked(center)
    assert "assigned" == center.story(other["id"], "south")["state"]
    assert not consumer._fuse.is_blown
