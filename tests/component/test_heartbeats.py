"""Who is silent has nothing to say: when a partition counts as heard."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from messaging import heartbeats
from messaging.broker import Record
from messaging.unavailable import Unavailable
from tests.house import House, a_discharge


def _heard(center: House) -> list[bool]:
    rows = center.rows(
        "notifications",
        "SELECT heard_at > clock_timestamp() - interval '60 seconds' AS lately FROM stored_offset"
        " WHERE topic = 'intake-events' ORDER BY partition",
    )
    return [bool(row.lately) for row in rows]


def _forget(center: House) -> None:
    with center.notifications.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE stored_offset SET heard_at = NULL")


def test_a_heartbeat_is_sent_to_every_partition_and_not_all_the_time(center: House) -> None:
    center.settle()
    assert [True, True, True] == _heard(center)
    _forget(center)

    center.settle()

    assert [False, False, False] == _heard(center)


def test_none_is_sent_while_something_is_unsaid(center: House) -> None:
    """The relay stops at what the broker does not take, and says nothing after it."""
    relay = center.loops()["intake relay"]
    center.settle()
    _forget(center)
    relay._beaten_at = float("-inf")
    center.api().post("/api/discharges", json=a_discharge(center.clock.now()))
    center.broker.away = True
    with pytest.raises(Unavailable):
        relay.step()
    center.broker.away = False

    center.loops()["notifications consumer"].step()
    assert [False, False, False] == _heard(center)

    center.settle()
    assert [True, True, True] == _heard(center)


def test_none_is_sent_by_one_who_stood_still_after_looking(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = center.loops()["intake relay"]
    center.settle()
    _forget(center)
    relay._beaten_at = float("-inf")
    now, looks = time.monotonic(), relay._unpublished

    def stand_still(conn: Connection) -> object:
        rows = looks(conn)
        monkeypatch.setattr(time, "monotonic", lambda: now + 600)
        return rows

    monkeypatch.setattr(relay, "_unpublished", stand_still)
    relay.step()
    center.loops()["notifications consumer"].step()
    assert [False, False, False] == _heard(center)

    monkeypatch.undo()
    relay.step()
    center.settle()
    assert [True, True, True] == _heard(center)


def _beat(center: House) -> None:
    """Intake has nothing to say, and says so."""
    relay = center.loops()["intake relay"]
    relay._beaten_at = float("-inf")
    relay.step()


def _an_hour_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    later = heartbeats.uptime() + 3600
    monkeypatch.setattr(heartbeats, "uptime", lambda: later)


def test_one_that_lay_with_a_process_which_stood_still_is_as_old_as_it_is(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = center.loops()["notifications consumer"]
    center.settle()
    _forget(center)
    _beat(center)
    claim = consumer._claim

    def stand_still(conn: Connection, records: Sequence[Record]) -> object:
        _an_hour_passes(monkeypatch)
        return claim(conn, records)

    monkeypatch.setattr(consumer, "_claim", stand_still)
    consumer.step()

    assert [False, False, False] == _heard(center)


def test_one_that_lay_in_the_broker_for_long_is_as_old_as_it_may_be(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sent it may have had much to say since, and be away."""
    center.settle()
    _forget(center)
    _beat(center)
    _an_hour_passes(monkeypatch)

    center.loops()["notifications consumer"].step()
    assert [False, False, False] == _heard(center)

    _beat(center)
    center.loops()["notifications consumer"].step()
    assert [True, True, True] == _heard(center)


def test_one_that_lay_there_when_a_consumer_began_says_nothing(center: House) -> None:
    center.settle()
    _forget(center)
    _beat(center)

    center.restart("notifications")
    center.loops()["notifications consumer"].step()

    assert [False, False, False] == _heard(center)


def test_a_partition_with_traffic_behind_its_heartbeat_is_heard(center: House) -> None:
    center.settle()
    _forget(center)
    _beat(center)
    for number in range(20):
        center.register_only(record_number=f"R-{number}", facility="south")
    center.loops()["intake relay"].step()

    center.loops()["notifications consumer"].step()

    assert [True, True, True] == _heard(center)


def test_a_reader_who_is_behind_counts_from_an_end_that_it_knew_before(center: House) -> None:
    center.settle()
    (place, *_) = center.rows("notifications", "SELECT * FROM stored_offset ORDER BY topic_id")
    ends, now = heartbeats.Ends(), heartbeats.uptime()
    beat = Record(
        topic=place.topic,
        topic_id=place.topic_id,
        partition=place.partition,
        offset=7,
        key=None,
        value=b"",
        headers=(("heartbeat", b"1"),),
    )
    for end, age in ((5, 300), (7, 200), (8, 100)):
        ends.learn({(place.topic, place.partition): end}, now - age)

    with center.notifications.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE stored_offset SET heard_at = NULL")
        ends.note(conn, [beat])

    (age,) = center.rows(
        "notifications",
        "SELECT extract(epoch FROM clock_timestamp() - heard_at) AS of FROM stored_offset"
        " WHERE heard_at IS NOT NULL",
    )
    assert 200 <= age.of < 210
