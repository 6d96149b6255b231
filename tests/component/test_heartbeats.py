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
        "SELECT heard_at FROM stored_offset WHERE topic = 'intake-events' ORDER BY partition",
    )
    return [row.heard_at is not None for row in rows]


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


def test_one_that_lay_here_for_long_is_not_noted(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come behind it meanwhile is not known."""
    relay, consumer = (center.loops()[n] for n in ("intake relay", "notifications consumer"))
    center.settle()
    _forget(center)
    relay._beaten_at = float("-inf")
    relay.step()
    claim = consumer._claim

    def stand_still(conn: Connection, records: Sequence[Record]) -> object:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        return claim(conn, records)

    monkeypatch.setattr(consumer, "_claim", stand_still)
    consumer.step()

    assert [False, False, False] == _heard(center)


def test_one_with_more_behind_it_says_nothing(center: House) -> None:
    center.settle()
    _forget(center)
    rows = center.rows("notifications", "SELECT * FROM stored_offset WHERE topic = 'intake-events'")
    brought = [
        Record(
            topic=row.topic,
            topic_id=row.topic_id,
            partition=row.partition,
            offset=7,
            key=None,
            value=b"",
            headers=(("heartbeat", b"1"),),
            end=8 if row.partition == 1 else 9,
        )
        for row in rows
    ]

    with center.notifications.engine.begin() as conn:
        heartbeats.note(conn, brought)

    assert [False, True, False] == _heard(center)
