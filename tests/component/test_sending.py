"""What is looked at in the moment of sending, whatever was true when it was planned."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from tests.house import House, a_discharge

CLIENT, MAIL = "+15035550123", "sam@example.org"
JO = "+15035550101"


def test_the_allow_list_holds_for_answers_too(center: House) -> None:
    center.register()
    center.network.letters.clear()
    center.sender.allowed = frozenset({JO})

    center.text(CLIENT, "help")
    center.text(CLIENT, "stop")
    center.text(CLIENT, "i want to die")

    assert [] == center.network.letters


def test_hours_that_cannot_be_read_are_refused_at_the_door(center: House) -> None:
    body = a_discharge(center.clock.now(), safe_hours="rehab 09:00-17:00")

    answer = center.api().post("/api/discharges", json=body)

    assert 422 == answer.status_code


def test_one_message_that_cannot_be_judged_holds_up_nobody_else(center: House) -> None:
    spoil = text("UPDATE facility SET quiet_hours = 'never' WHERE alias = 'Bridge South'")
    with center.notifications.engine.begin() as conn:
        conn.execute(spoil)
    center.register(facility="south", record_number="R-2", mobile="+15035550130")

    center.register()

    assert 1 == len(center.network.to(CLIENT))
    failed = center.rows(
        "notifications", "SELECT state, reason FROM message WHERE reason = 'cannot_be_judged'"
    )
    assert {"suppressed"} == {row.state for row in failed}
    assert "message_suppressed" in {task["kind"] for task in center.tasks("south")}


@pytest.mark.parametrize("how", ["cancel", "hold"])
def test_a_text_that_failed_after_the_end_is_not_said_by_mail(center: House, how: str) -> None:
    story = center.register(language="fr")
    first = center.rows("notifications", "SELECT * FROM message WHERE purpose = 'first'")[0]
    if how == "cancel":
        center.api().post(f"/api/discharges/{story['id']}/cancel")
    else:
        held = a_discharge(center.clock.now(), language="fr", reason="incarcerated")
        center.api().post("/api/discharges", json=held)
    center.settle()

    center.incoming.receipt(first.id, "undelivered", first.provider_id, "30005")
    center.settle()

    assert [] == center.network.to(MAIL)


def test_a_receipt_before_the_networks_own_answer_counts_once(center: House) -> None:
    story = center.register(language="fr")
    first = center.rows("notifications", "SELECT * FROM message WHERE purpose = 'first'")[0]
    with center.notifications.engine.begin() as conn:
        conn.execute(text("UPDATE message SET state = 'leased', provider_id = NULL"))
    steps = len(center.story(story["id"])["steps"])

    center.incoming.receipt(first.id, "sent", "SM-early", "")
    center.incoming.receipt(first.id, "delivered", "SM-early", "")
    center.incoming.receipt(first.id, "delivered", "SM-early", "")
    center.settle()

    told = [step["what"] for step in center.story(story["id"])["steps"][steps:]]
    assert ["message_handed_over", "message_delivered"] == told


@pytest.mark.parametrize(
    ("zone", "now", "opens"),
    [
        ("Pacific/Honolulu", "2026-11-24T18:00", "2026-11-24T19:00"),
        ("America/New_York", "2026-11-25T01:30", "2026-11-25T14:00"),
        # The clocks of New York go back on 1 November 2026 and forward on 14 March 2027.
        ("America/New_York", "2026-11-01T03:00", "2026-11-01T14:00"),
        ("America/New_York", "2027-03-14T03:00", "2027-03-14T13:00"),
    ],
)
def test_the_story_says_until_when_a_message_waits(
    center: House, zone: str, now: str, opens: str
) -> None:
    center.clock.moment = datetime.fromisoformat(now).replace(tzinfo=UTC)

    story = center.register(time_zone=zone, language="fr")

    delayed = next(step for step in story["steps"] if step["what"] == "message_delayed")
    assert opens == datetime.fromisoformat(delayed["until"]).strftime("%Y-%m-%dT%H:%M")
    assert "outside_hours" == delayed["because"]
    assert [] == center.network.to(CLIENT)
