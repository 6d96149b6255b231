"""The published guarantees hold after a day's work, and each check finds a planted violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from services.check import Evidence, gather, judge
from tests.house import House

JO = "+15035550101"


@pytest.fixture
def worked(center: House) -> House:
    """A center where everything that can happen to a discharge has happened to one."""
    center.register()
    center.text(JO, "yes")
    center.register(facility="south", record_number="R-2", mobile="+15035550130")
    center.register(record_number="R-3", born_on=None)
    center.register(record_number="R-4", language="fr", mobile="+15035550131")
    center.text("+15035550131", "I want to die")
    held = center.register(record_number="R-5", born_on=None, mobile="+15035550132")
    center.api().post(f"/api/discharges/{held['id']}/cancel")
    center.register(record_number="R-6", facility="south", reason="transferred")
    center.clock.move(minutes=1)
    later = {"record_number": "R-6", "facility": "south", "mobile": "+15035550133"}
    center.register(**later, visit_number="V-2")
    center.register(**later, reason="completed")
    center.clock.move(minutes=5)
    center.settle()
    return center


def evidence_of(house: House) -> Evidence:
    """What the command reads, with the broker in memory and the network of the house."""
    delivered = [
        {"id": f"P-{letter.message_id}", "message_id": letter.message_id}
        for _, letter in house.network.letters
    ]
    return gather(
        house.settings,
        now=house.clock.now,
        in_kafka=lambda topic: house.broker.read_to_the_end(topic.name, {}),
        delivered=delivered,
    )


def violated(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """The guarantees that do not hold, with what was found."""
    return {v.guarantee: v.violations for v in judge(evidence) if v.violations}


def test_every_guarantee_holds_after_a_days_work(worked: House) -> None:
    verdicts = judge(evidence_of(worked))

    assert [f"G{n}" for n in range(1, 10)] == [v.guarantee for v in verdicts]
    assert all(v.checked for v in verdicts)
    assert {} == violated(evidence_of(worked))


def _sql(service: str, statement: str) -> Callable[[House], None]:
    def plant(house: House) -> None:
        with house.participants[service].engine.begin() as conn:
            assert conn.execute(text(statement)).rowcount

    return plant


PLANTED = {
    "an event is lost from the outbox": (
        "G1",
        _sql("intake", "DELETE FROM outbox WHERE type = 'ClientDischarged'"),
    ),
    "an event is never published": (
        "G1",
        _sql("matching", "UPDATE outbox SET published_at = NULL, event_id = gen_random_uuid()"),
    ),
    "a discharge's row says something else": (
        "G2",
        _sql("intake", "UPDATE discharge SET state = 'waiting' WHERE state = 'assigned'"),
    ),
    "an assignment that nobody knows of": (
        "G2",
        _sql(
            "matching",
            "INSERT INTO assignment (id, client_id, discharge_id, mentor_id, place, state)"
            " SELECT gen_random_uuid(), c.id, c.discharge_id, m.id, 1, 'assigned' FROM client c,"
            " mentor m WHERE c.state = 'waiting' AND m.code = 'M-06' LIMIT 1",
        ),
    ),
    "a mentor over capacity": (
        "G2",
        _sql("matching", "UPDATE mentor SET capacity = 0"),
    ),
    "a welcome that nobody planned": (
        "G5",
        _sql("notifications", "DELETE FROM message WHERE purpose = 'first'"),
    ),
    "a message said twice on two channels": (
        "G5",
        _sql(
            "notifications",
            "INSERT INTO message SELECT gen_random_uuid(), once, person_id, recipient, subject_id,"
            " discharge_id, assignment_id, facility_id, purpose, 'email', is_answer, state, reason,"
            " due_at, first_due_at, attempts, lease_until, 'P-twice', template, version, said,"
            " address, handed_over_at FROM message WHERE purpose = 'first' AND channel = 'sms'"
            " LIMIT 1",
        ),
    ),
    "a held discharge without a task": ("G9", _sql("intake", "DELETE FROM task WHERE kind='held'")),
    "a word of danger without a task": (
        "G9",
        _sql("intake", "DELETE FROM task WHERE kind = 'danger'"),
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_violation_is_found(worked: House, planted: str) -> None:
    guarantee, plant = PLANTED[planted]

    plant(worked)

    assert guarantee in violated(evidence_of(worked))


def test_a_message_that_lies_in_the_sandbox_twice_is_found(worked: House) -> None:
    evidence = evidence_of(worked)
    assert evidence.delivered is not None

    doubled = replace(evidence, delivered=[*evidence.delivered, evidence.delivered[0]])

    assert "G5" in violated(doubled)


def test_a_facility_without_an_owner_is_found(worked: House) -> None:
    assert "G9" in violated(replace(evidence_of(worked), facilities=frozenset()))
