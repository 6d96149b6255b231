"""What was accepted is somewhere in the other databases, or it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from messaging import parking
from messaging.fuse import Fuse
from messaging.work import Work
from services.intake import conserving
from services.intake.conserving import Conserving
from tests.house import House


@pytest.fixture
def compare(center: House) -> Iterator[Any]:
    """Lets intake's worker compare everything once; the number that it comes to."""
    moment = [0.0]
    others = [
        create_engine(center.settings[f"INTAKE_{name}_URL"])
        for name in ("MATCHING", "NOTIFICATIONS")
    ]
    loop = Conserving(center.intake, *others, clock=lambda: moment[0])

    def compared(*, later: float = 0.0) -> float:
        moment[0] += later
        while loop.step():
            pass
        found = REGISTRY.get_sample_value("intake_unplaced_discharges")
        assert found is not None
        return found

    yield compared
    loop.close()


def _live(center: House) -> dict[str, Any]:
    """Clients in every state that there is; their stories."""
    stories = {
        "assigned": center.register(facility="south", record_number="R-1"),
        "offered": center.register(record_number="R-2", mobile="+15035550141"),
        "waiting": center.register(record_number="R-3", mobile="+15035550142", language="ko"),
        "held": center.register(record_number="R-4", mobile="+15035550143", born_on=None),
        "cancelled": center.register(record_number="R-5", mobile="+15035550144"),
        "declined": center.register(facility="south", record_number="R-6", mobile="+15035550145"),
    }
    center.api().post(f"/api/discharges/{stories['cancelled']['id']}/cancel")
    center.settle()
    center.text("+15035550145", "NO")
    return stories


def test_whoever_is_somewhere_is_not_counted(center: House, compare: Any) -> None:
    _live(center)
    center.clock.move(minutes=10)
    center.settle()

    assert [0, 0] == [compare(), compare(later=120)]


LOSSES = {
    "matching": "DELETE FROM assignment",
    "notifications": "DELETE FROM person WHERE kind = 'client'",
}


@pytest.mark.parametrize("service", LOSSES)
def test_whoever_another_has_lost_is_counted_after_a_minute(
    center: House, compare: Any, service: str
) -> None:
    center.register(facility="south", record_number="R-1")
    center.register(facility="south", record_number="R-2", mobile="+15035550141")
    center.clock.move(minutes=2)
    center.settle()
    assert 0 == compare()
    with center.participants[service].engine.begin() as conn:
        conn.execute(text(LOSSES[service]))

    assert [0, 0, 2, 2] == [compare(), compare(later=30), compare(later=30), compare(later=60)]


def test_what_matching_does_not_answer_is_counted_until_it_does(
    center: House, compare: Any
) -> None:
    center.register_only(facility="south")
    center.settle(deaf="matching")
    assert [0, 0] == [compare(), compare(later=70)]
    center.clock.move(minutes=2)

    late = [compare(), compare(later=70)]
    center.settle()

    assert [0, 1] == late
    assert 0 == compare()


@pytest.mark.parametrize("service", ["intake", "matching", "notifications"])
def test_who_is_parked_waits_where_people_can_see_it(
    center: House, compare: Any, service: str
) -> None:
    story = center.register(facility="south")
    center.clock.move(minutes=2)

    def fails(work: Work) -> Any:
        raise LookupError

    [key] = {row.client_id for row in center.rows("intake", "SELECT client_id FROM discharge")}
    parking.attempt(center.participants[service], key, "told", fails, Fuse("told", 1))
    center.settle()
    with center.matching.engine.begin() as conn:
        conn.execute(text("DELETE FROM assignment"))

    assert [0, 0] == [compare(), compare(later=120)]
    assert story["client_id"] == str(key)


def _five_are_lost(center: House) -> None:
    for number in range(5):
        center.register(
            facility="south", record_number=f"R-{number}", mobile=f"+150355501{number}0"
        )
    center.clock.move(minutes=2)
    with center.matching.engine.begin() as conn:
        conn.execute(text("DELETE FROM assignment"))


def test_all_are_compared_however_many_they_are(
    center: House, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conserving, "SLICE", 2)
    monkeypatch.setattr(conserving, "_OPEN", conserving._OPEN.limit(2))
    _five_are_lost(center)

    assert [0, 5] == [compare(), compare(later=61)]


def test_more_than_are_remembered_are_counted_when_there_is_room(
    center: House, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conserving, "MOST", 3)
    _five_are_lost(center)
    assert [0, 3] == [compare(), compare(later=61)]

    with center.intake.engine.begin() as conn:
        conn.execute(
            text(
                "UPDATE discharge SET state = 'closed'"
                " WHERE id IN (SELECT id FROM discharge ORDER BY id LIMIT 3)"
            )
        )

    assert [0, 2] == [compare(later=62), compare(later=124)]


def test_intake_sees_nothing_else_of_the_others(center: House) -> None:
    for name in ("MATCHING", "NOTIFICATIONS"):
        engine = create_engine(center.settings[f"INTAKE_{name}_URL"])
        for table in ("message", "assignment", "client", "person", "outbox", "parked_key"):
            with engine.connect() as conn, pytest.raises(ProgrammingError, match=r"denied|exist"):
                conn.execute(text(f"SELECT 1 FROM {table}"))
        engine.dispose()
