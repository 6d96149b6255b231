"""What people do by hand is written down for good; many parked keys are replayed in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from contracts.event import Event
from contracts.intake import ClientDischarged
from messaging import audit, holding, parking, releasing, replays
from messaging.audit import Chaining
from messaging.replays import Replaying
from messaging.work import Participant, Work
from tests.house import House


@pytest.fixture
def failing(center: House) -> Participant:
    """Matching as it stumbled over five discharges, one a minute; it is mended by now."""
    mended = center.matching
    broken = replace(mended, on={**mended.on, ClientDischarged: [_fails]})
    _work_with(center, broken)
    for number in range(5):
        _one_more(center, number)
    assert 5 == len(parking.listed(mended))
    _work_with(center, mended)
    return broken


def _fails(event: Event, work: Work) -> Iterable[Event]:
    raise KeyError("mended later")


def _work_with(center: House, participant: Participant) -> None:
    center.matching = center.participants["matching"] = participant
    center.restart("matching")


def _one_more(center: House, number: int) -> None:
    center.register_only(record_number=f"R-{number}", mobile=f"+150355541{number:02}")
    center.settle()
    center.clock.move(minutes=1)


def _run(loop: Replaying) -> replays.Run:
    while loop.step():
        pass
    found = replays.latest(loop._participant)
    assert found is not None
    return found


def _noted(house: House, service: str = "matching") -> list[Any]:
    """The entries of this test, which are those since the house's morning; newest first."""
    with house.participants[service].engine.connect() as conn:
        return list(audit.entries(conn))


def test_many_are_replayed_in_the_order_in_which_they_were_parked(
    center: House, failing: Participant
) -> None:
    parked = [one.key for one in parking.listed(center.matching)]
    assert replays.begin(center.matching, by="ops", handler="ClientDischarged", error="KeyError")

    run = _run(Replaying(center.matching, pause_seconds=0))

    released = "SELECT key FROM outbox WHERE type = 'KeyReleased' ORDER BY event_id"
    assert parked == [row.key for row in center.rows("matching", released)]
    assert (5, 0, 0) == (run.released, run.failed, run.left)
    ended, *each, begun = _noted(center)[:7]
    assert ("replay ended", {"released": 5, "failed": 0}) == (ended.did, ended.details)
    assert [("replayed", str(key)) for key in reversed(parked)] == [(n.did, n.about) for n in each]
    assert ("replay begun", "ops", "ClientDischarged") == (begun.did, begun.by, begun.about)


def test_a_worker_that_ends_leaves_the_rest_to_the_next(
    center: House, failing: Participant
) -> None:
    assert replays.begin(center.matching, by="ops")
    assert not replays.begin(center.matching, by="another", handler="ClientDischarged")
    Replaying(center.matching, pause_seconds=0).step()
    half = replays.latest(center.matching)

    run = _run(Replaying(center.matching, pause_seconds=0))

    assert half is not None
    assert (1, 4, None) == (half.released, half.left, half.ended_at)
    assert (5, 0) == (run.released, run.left)
    assert run.ended_at is not None


def test_two_workers_do_not_replay_the_same(center: House, failing: Participant) -> None:
    assert replays.begin(center.matching, by="ops")
    with center.matching.engine.begin() as other:
        other.execute(text("SELECT 1 FROM replay WHERE ended_at IS NULL FOR UPDATE"))

        assert not Replaying(center.matching, pause_seconds=0).step()


def test_what_was_parked_since_is_not_part_of_a_replay(center: House, failing: Participant) -> None:
    assert replays.begin(center.matching, by="ops")
    mended = center.matching
    center.clock.move(seconds=1)
    _work_with(center, failing)
    _one_more(center, 9)
    _work_with(center, mended)

    run = _run(Replaying(center.matching, pause_seconds=0))

    assert (5, 0) == (run.released, run.left)
    assert 1 == len(parking.listed(center.matching))


def test_nothing_is_replayed_in_vain_more_than_three_times(
    center: House, failing: Participant
) -> None:
    first: UUID = parking.listed(center.matching)[0].key
    for attempt in range(parking.REPLAYS):
        assert not releasing.replay(failing, first, by="ops"), attempt
    assert parking.listed(center.matching)[0].is_tried_enough

    with pytest.raises(releasing.TriedEnough):
        releasing.replay(center.matching, first, by="ops")
    assert replays.begin(center.matching, by="ops")
    run = _run(Replaying(center.matching, pause_seconds=0))

    assert (4, 0) == (run.released, run.left)
    assert [first] == [one.key for one in parking.listed(center.matching)]
    assert 3 == sum(n.did == "replayed in vain" and n.about == str(first) for n in _noted(center))
    assert releasing.replay(center.matching, first, by="ops", once_more=True)


def test_the_audit_can_only_be_added_to(center: House) -> None:
    now, engine = center.clock.now(), center.matching.engine
    holding.hold(engine, "some-topic", by="ops", because="a trial", now=now)
    assert holding.let_go(engine, "some-topic", by="ops", now=now)

    for change in ("UPDATE audit SET by = 'x'", "DELETE FROM audit", "TRUNCATE audit CASCADE"):
        with pytest.raises(DBAPIError, match="only added to"), engine.begin() as conn:
            conn.execute(text(change))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET by = 'somebody else' WHERE place = :place",
        "DELETE FROM audit WHERE place = :place",
        "DELETE FROM audit_chain WHERE place = :place",
    ],
)
def test_what_was_altered_is_told(center: House, change: str) -> None:
    engine = center.matching.engine
    for number in range(3):
        with engine.begin() as conn:
            audit.note(conn, center.clock.now(), "ops", "tried", number, times=number)
    while Chaining(engine).step():
        pass

    with engine.connect() as conn:
        assert audit.broken_at(conn) is None
        places = [one.place for one in audit.entries(conn, most=3)]
        links = "SELECT link FROM audit_chain WHERE place = :place"
        link = conn.execute(text(links), {"place": places[1]}).scalar_one()
        # Who owns the database can take the protection away, and no more than that.
        for table in ("audit", "audit_chain"):
            conn.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        conn.execute(text("ALTER TABLE audit_chain DROP CONSTRAINT audit_chain_place_fkey"))
        conn.execute(text(change), {"place": places[1]})
        told = audit.broken_at(conn)
        conn.rollback()

    assert link == told
