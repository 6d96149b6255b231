"""A broker that loses the end of a partition is noticed, by who wrote it and by who read it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from contracts.parking import KeyReleased
from contracts.topics import TOPICS
from messaging import metrics
from messaging.broker import Outgoing, Written
from messaging.cut import goes_on_at
from messaging.memory import MemoryWriter
from messaging.outbox import said_in
from messaging.relay import Relay
from messaging.unavailable import Unavailable
from tests.component.test_measuring import age
from tests.house import MORNING, House

MATCHING = TOPICS["matching"].name


@pytest.fixture
def key(center: House) -> UUID:
    """A subject of whom nothing was said, in a house at rest."""
    center.settle()
    return uuid4()


def _say(center: House, key: UUID, times: int = 1) -> None:
    said = KeyReleased(
        subject_id=key, service="matching", closed=False, released_at=MORNING, by=None, because=None
    )
    center.matching.transact(lambda work: [said] * times)


def _heard(center: House, key: UUID) -> list[int]:
    query = "SELECT seq FROM inbox WHERE key = :key AND producer = 'matching' ORDER BY seq"
    return [row.seq for row in center.rows("intake", query, key=key)]


def _partition(center: House, key: UUID) -> int:
    query = "SELECT DISTINCT published_partition FROM outbox WHERE key = :key"
    return int(center.rows("matching", query, key=key)[0][0])


def _in_broker(center: House, key: UUID) -> int:
    log = center.broker.log((MATCHING, _partition(center, key)))
    return len([record for record in log if record.key == str(key).encode()])


def _assert_at_rest(center: House) -> None:
    for name in center.participants:
        for table in ("parked_key", "early"):
            assert 0 == center.rows(name, f"SELECT count(*) FROM {table}")[0][0]


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@pytest.mark.parametrize("begins_anew", [True, False], ids=["a new relay", "the relay goes on"])
def test_what_is_gone_is_published_again_and_nothing_new_is_passed_over(
    center: House, key: UUID, applied: bool, begins_anew: bool
) -> None:
    _say(center, key, times=3)
    relay = center.loops()["matching relay"]
    if applied:
        center.settle()
    else:
        relay.step()
    center.broker.cut(MATCHING, _partition(center, key), 2)
    if begins_anew:
        relay.close()

    # Fewer than were lost, so that readers who were further would pass over them.
    _say(center, key)
    center.settle()

    assert [1, 2, 3, 4] == _heard(center, key)
    assert 4 <= _in_broker(center, key)
    assert 0 == age("broker_lost_records_timestamp_seconds")
    _assert_at_rest(center)


def test_a_relay_that_begins_notices_though_it_has_nothing_to_say(center: House, key: UUID) -> None:
    _say(center, key, times=3)
    center.settle()
    center.broker.cut(MATCHING, _partition(center, key), 2)
    center.loops()["matching relay"].close()
    assert 1 == _in_broker(center, key)

    relay = Relay("matching", center.matching.engine, center.broker.writer())
    relay.step()
    relay.close()

    assert 3 == _in_broker(center, key)
    center.settle()
    assert [1, 2, 3] == _heard(center, key)
    _assert_at_rest(center)


class _Mute(MemoryWriter):
    """A way to the broker on which the first answers may be lost, or come without a place."""

    lost = unplaced = 0

    def send(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        answers = super().send(records)
        for number in range(self.lost):
            answers[number] = Unavailable("no answer")
        for number in range(self.lost, self.lost + self.unplaced):
            answers[number] = replace(answers[number], offset=-1)  # type: ignore[type-var]
        self.lost = self.unplaced = 0
        return answers


@pytest.mark.parametrize(
    "said, lost, unplaced",
    [(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 2, 0), (4, 0, 2), (2, 0, 2), (3, 0, 3)],
)
def test_what_is_gone_is_noticed_where_the_log_has_grown_again_without_an_answer(
    center: House, key: UUID, said: int, lost: int, unplaced: int
) -> None:
    _say(center, key, times=4)
    center.settle()
    center.loops()["matching relay"].close()
    way = _Mute(center.broker)
    relay = Relay("matching", center.matching.engine, way)
    relay.step()

    center.broker.cut(MATCHING, _partition(center, key), 2)
    way.lost, way.unplaced = lost, unplaced
    _say(center, key, times=said)
    with pytest.raises(Unavailable) if lost else nullcontext():
        relay.step()
    relay.step()
    relay.close()

    center.settle()
    assert list(range(1, 5 + said)) == _heard(center, key)
    log = center.broker.log((MATCHING, _partition(center, key)))
    assert set(range(1, 5 + said)) == {one.seq for one in said_in(log) if one.key == key}
    assert 0 == age("broker_lost_records_timestamp_seconds")
    _assert_at_rest(center)


def test_what_has_no_place_is_written_once_more_so_that_a_later_cut_is_noticed(
    center: House, key: UUID
) -> None:
    center.loops()["matching relay"].close()
    way = _Mute(center.broker)
    relay = Relay("matching", center.matching.engine, way)
    way.unplaced = 1
    _say(center, key)
    while relay.step():
        pass
    relay.step()
    places = "SELECT published_offset FROM outbox WHERE key = :key"
    [row] = center.rows("matching", places, key=key)
    assert row.published_offset >= 0

    center.broker.cut(MATCHING, _partition(center, key), 2)
    relay.close()
    relay.step()
    relay.close()

    center.settle()
    assert [1] == _heard(center, key)
    _assert_at_rest(center)


def test_lost_heartbeats_are_told_of_and_what_is_lost_after_them_is_noticed(
    center: House, key: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.cut.LOOK_EVERY_SECONDS", 0.0)
    _say(center, key, times=2)
    center.settle()
    center.loops()["matching relay"].close()
    relay = Relay("matching", center.matching.engine, center.broker.writer(), beats=True)
    relay.step()
    monkeypatch.setattr(relay, "_beats_every", float("inf"))
    place = (MATCHING, _partition(center, key))
    metrics.CUT.set(0)

    center.broker.cut(*place, 1)
    relay.step()
    assert [1, 2] == [one.seq for one in said_in(center.broker.log(place)) if one.key == key]
    assert 0 == age("broker_lost_records_timestamp_seconds")

    center.broker.cut(*place, 1)
    relay.step()
    relay.close()
    assert [1, 2] == [one.seq for one in said_in(center.broker.log(place)) if one.key == key]


def test_one_who_was_away_while_it_was_cut_and_grew_again_goes_back(
    center: House, key: UUID
) -> None:
    _say(center, key, times=3)
    center.settle()
    center.broker.cut(MATCHING, _partition(center, key), 1)
    _say(center, key, times=5)
    center.settle(deaf="intake")
    assert [1, 2, 3] == _heard(center, key)

    center.restart("intake")
    center.settle()

    assert list(range(1, 9)) == _heard(center, key)
    _assert_at_rest(center)


def test_only_a_later_term_says_that_a_log_was_cut(center: House, key: UUID) -> None:
    _say(center, key, times=3)
    center.settle()
    records = center.broker.log((MATCHING, _partition(center, key)))
    term, end = records[-1].term, len(records)

    assert end == goes_on_at(end, term, records)
    assert end == goes_on_at(end, -1, records)
    assert records[0].offset == goes_on_at(end, term - 1, records) or term == 0
