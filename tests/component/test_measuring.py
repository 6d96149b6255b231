"""What workers count: every gauge against what was lived through, and by the machine's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from hosting.measuring import Measuring
from messaging.broker import Behind
from messaging.lag import LagWatch
from services.intake.domain import TASKS
from services.intake.measuring import measure_discharges, measure_tasks
from services.matching.measuring import measure_offers
from services.notifications.channels import Outcome
from tests.house import House

CLIENT, JO = "+15035550123", "+15035550101"
MEASURES: dict[str, list[Any]] = {
    "intake": [measure_discharges, measure_tasks],
    "matching": [measure_offers],
    "notifications": [],
}


@pytest.fixture
def count(center: House) -> Callable[[str], None]:
    """Lets a service's worker count once."""

    def measured(service: str) -> None:
        Measuring(center.participants[service], MEASURES[service]).step()

    return measured


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, name
    return found


def age(name: str, **labels: str) -> float:
    """How long ago a moment was, as a rule of Prometheus asks; infinite for none."""
    moment = value(name, **labels)
    # To ten seconds: a busy machine takes some of them.
    return round(time.time() - moment, -1) if moment else float("inf")


def test_nothing_waits_in_an_empty_house(center: House, count: Callable[[str], None]) -> None:
    for service in MEASURES:
        count(service)

    assert 0 == value("intake_discharges", state="held")
    assert 0 == value("intake_last_accepted_timestamp_seconds")
    assert 0 == value("intake_unwelcomed_discharges")
    assert 0 == value("intake_oldest_unwelcomed_timestamp_seconds")
    assert 0 == value("intake_overdue_placing_timestamp_seconds")
    assert 0 == value("matching_open_offers")
    assert 0 == value("parked_keys") == value("parked_oldest_timestamp_seconds")
    assert 0 == value("outbox_oldest_pending_timestamp_seconds")


def test_a_held_discharge_is_counted_with_its_task(
    center: House, count: Callable[[str], None]
) -> None:
    center.register(consents=None)
    center.clock.move(hours=3)

    count("intake")

    assert 1 == value("intake_discharges", state="held")
    assert 3 * 3600 == age("intake_oldest_discharge_timestamp_seconds", state="held")
    assert 3 * 3600 == age("intake_last_accepted_timestamp_seconds")
    assert 1 == value("intake_open_tasks", kind="held")
    assert 3 * 3600 == age("intake_oldest_open_task_timestamp_seconds", kind="held")
    assert 0 == value("intake_unwelcomed_discharges")


def test_what_is_over_is_counted_no_more(center: House, count: Callable[[str], None]) -> None:
    story = center.register(consents=None)
    count("intake")
    center.api().post(f"/api/discharges/{story['id']}/cancel")

    count("intake")

    assert 0 == value("intake_discharges", state="held")
    assert 0 == value("intake_oldest_discharge_timestamp_seconds", state="held")
    assert 0 == sum(value("intake_open_tasks", kind=kind) for kind in TASKS)


def test_an_offer_without_an_answer_is_counted(center: House, count: Callable[[str], None]) -> None:
    center.register()
    center.clock.move(minutes=20)
    count("matching")
    assert 1 == value("matching_open_offers")
    assert 20 * 60 == age("matching_oldest_open_offer_timestamp_seconds")

    center.text(JO, "YES")
    count("matching")

    assert (
        0 == value("matching_open_offers") == value("matching_oldest_open_offer_timestamp_seconds")
    )


def test_whoever_waits_is_past_the_promise_only_after_its_hours(
    center: House, count: Callable[[str], None]
) -> None:
    center.register(language="fr")
    promised = center.desk.facility("north").promised_hours
    center.clock.move(hours=promised, minutes=-1)
    count("intake")
    assert 1 == value("intake_discharges", state="waiting")
    assert 0 == value("intake_waiting_past_promise_discharges")

    center.clock.move(minutes=2)
    count("intake")

    assert 1 == value("intake_waiting_past_promise_discharges")


def test_while_matching_is_silent_its_answer_is_overdue(
    center: House, count: Callable[[str], None]
) -> None:
    center.register_only()
    center.settle(deaf="matching")
    center.clock.move(minutes=12)

    count("intake")
    assert 1 == value("intake_discharges", state="received")
    assert 7 * 60 == age("intake_overdue_placing_timestamp_seconds")

    center.settle()
    count("intake")

    assert 0 == value("intake_overdue_placing_timestamp_seconds")


def test_a_client_is_unwelcomed_until_the_first_message_is_handed_over(
    center: House, count: Callable[[str], None]
) -> None:
    center.network.outcomes += [Outcome(kind="retry", phase="done")] * 2
    center.register()
    center.clock.move(minutes=30)
    count("intake")
    assert 1 == value("intake_unwelcomed_discharges")
    assert 30 * 60 == age("intake_oldest_unwelcomed_timestamp_seconds")

    center.settle()
    count("intake")

    assert 1 == len(center.network.to(CLIENT))
    assert 0 == value("intake_unwelcomed_discharges")


def test_a_first_message_that_waits_for_the_morning_is_not_late(
    center: House, count: Callable[[str], None]
) -> None:
    center.clock.move(hours=12)
    center.register()
    center.clock.move(hours=5)
    count("intake")
    assert [] == center.network.to(CLIENT)
    assert 0 == value("intake_unwelcomed_discharges")

    # It is three at night; at nine it may leave, and nobody lets it.
    center.clock.move(hours=7)
    count("intake")

    assert 1 == value("intake_unwelcomed_discharges")
    assert 3600 == age("intake_oldest_unwelcomed_timestamp_seconds")


def test_one_who_cannot_be_welcomed_is_a_task_and_one_who_was_before_is_not_late(
    center: House, count: Callable[[str], None]
) -> None:
    center.text(CLIENT, "STOP")
    center.register()
    center.register(record_number="R-2", mobile="+15035550124")
    center.clock.move(minutes=30)

    # A later discharge of a client who was welcomed: they keep their mentor.
    later = (center.clock.now() - timedelta(minutes=1)).isoformat()
    center.register(
        record_number="R-2", visit_number="V-2", mobile="+15035550124", discharged_at=later
    )
    center.clock.move(minutes=30)
    count("intake")

    assert 0 == value("intake_unwelcomed_discharges")


def test_a_first_message_whose_next_channel_is_to_come_is_awaited(
    center: House, count: Callable[[str], None]
) -> None:
    refused = Outcome(kind="rejected", phase="done", reason="30005")
    center.network.outcomes += [refused, Outcome(kind="retry", phase="done")]
    center.register(language="fr")
    center.clock.move(minutes=20)

    count("intake")

    assert 1 == value("intake_unwelcomed_discharges")


def test_durations_are_counted_once_they_are_certain(center: House) -> None:
    names = ("intake_discharge_to_first_message_seconds", "intake_door_to_voice_seconds")
    before = {name: (value(f"{name}_count"), value(f"{name}_sum")) for name in names}
    accepted = value("intake_discharges_accepted_total")
    center.register()
    center.register()
    center.text(JO, "YES")
    center.clock.move(hours=5)
    center.text(JO, "TALKED")
    center.text(JO, "TALKED")

    after = {name: (value(f"{name}_count"), value(f"{name}_sum")) for name in names}

    grown = {n: (after[n][0] - before[n][0], after[n][1] - before[n][1]) for n in names}
    assert {names[0]: (1, 0), names[1]: (1, 5 * 3600)} == grown
    assert 1 == value("intake_discharges_accepted_total") - accepted


def test_an_event_that_is_not_published_and_a_parked_key_are_told_with_their_age(
    center: House, count: Callable[[str], None]
) -> None:
    center.register_only()
    park = text("INSERT INTO parked_key VALUES (gen_random_uuid(), :at, 'h', 'E', 1)")
    with center.intake.engine.begin() as conn:
        conn.execute(park, {"at": center.clock.now()})
    center.clock.move(minutes=4)
    count("intake")
    assert value("outbox_pending_records") > 0
    assert 1 == value("parked_keys")
    # Looking takes a moment too, by the machine's own clock.
    assert 240 <= age("outbox_oldest_pending_timestamp_seconds") < 245
    assert 240 <= age("parked_oldest_timestamp_seconds") < 245

    center.settle()
    count("intake")

    assert 0 == value("outbox_pending_records")
    assert 0 == value("outbox_oldest_pending_timestamp_seconds")


class Told:
    """A backlog that says what it was made with."""

    def __init__(self, oldest_at: float | None = None, **at: int) -> None:
        self.found = Behind(
            oldest_at=oldest_at, at={(name, 0): offset for name, offset in at.items()}, lost={}
        )
        self.asked: list[Any] = []

    def behind(self, stored: Any) -> Behind:
        """What it was made with."""
        self.asked.append(stored)
        return self.found

    def close(self) -> None:
        """Nothing is held."""


def test_the_lag_is_the_age_of_what_was_not_applied(center: House) -> None:
    backlog = Told(time.time() - 90)
    LagWatch(center.matching.engine, backlog).step()
    assert 90 == round(value("consumer_lag_seconds"))
    stored = center.rows("matching", "SELECT topic_id, partition, next_offset FROM stored_offset")
    assert {(row.topic_id, row.partition): row.next_offset for row in stored} == backlog.asked[0]

    LagWatch(center.matching.engine, Told(None)).step()

    assert 0 == value("consumer_lag_seconds")
