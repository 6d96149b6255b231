"""Replies at the edges: said twice, said by strangers, said while something else happens."""

from __future__ import annotations

from typing import Any

import pytest

from services.notifications.channels import Outcome
from tests.house import DEMO, House, a_discharge

CLIENT, MAIL = "+15035550123", "sam@example.org"
STRANGER = "+15035550999"
JO, NOOR = "+15035550101", "+15035550111"
ON_CALL = "+15035550182"
UNSUBSCRIBED = Outcome(kind="rejected", phase="answer", reason="twilio_21610")


def _tasks(center: House, facility: str = "north") -> list[str]:
    return sorted(task["kind"] for task in center.tasks(facility))


def _introduced(center: House) -> dict[str, Any]:
    """A client who was told that Jo will call; what was said until then is forgotten."""
    story = center.register()
    center.text(JO, "yes")
    center.network.letters.clear()
    return story


def _asked(center: House) -> str:
    """The mentor who was asked last."""
    asks = ("YES or NO", "SI o NO")
    letters = [letter for _, letter in center.network.letters]
    return [one.to for one in letters if any(ask in one.text for ask in asks)][-1]


def _next_says_yes(center: House) -> None:
    center.text(JO, "no")
    center.text(_asked(center), "yes")


def _matching_hears_notifications(center: House) -> None:
    """Replies reach matching before anything that intake has not said yet."""
    for loop in (center._relays[2], center._subscribers[1]):
        while loop.step():
            pass


def test_a_stop_ends_messages_and_leaves_the_mentor(center: House) -> None:
    story = _introduced(center)

    center.text(CLIENT, "stop")

    assert "assigned" == center.story(story["id"])["state"]
    assert ["stopped"] == _tasks(center)


def test_a_second_stop_is_not_confirmed_again(center: House) -> None:
    _introduced(center)

    center.text(CLIENT, "stop")
    center.text(CLIENT, "STOP!!")

    assert 1 == len(center.network.to(CLIENT))


def test_a_stop_after_a_start_is_confirmed_anew(center: House) -> None:
    _introduced(center)

    for words in ("stop", "start", "stop"):
        center.text(CLIENT, words)

    assert 3 == len(center.network.to(CLIENT))


def _carrier_says_stopped(center: House) -> None:
    first = center.rows("notifications", "SELECT * FROM message WHERE purpose = 'first'")[0]
    center.incoming.receipt(first.id, "undelivered", first.provider_id, "21610")
    center.settle()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stop_at_the_carrier_ends_messages_on_every_channel(center: House, at_once: bool) -> None:
    center.network.outcomes = [UNSUBSCRIBED] if at_once else []
    story = center.register(language="fr")
    if not at_once:
        _carrier_says_stopped(center)
    center.network.letters.clear()

    center.register()
    _next_says_yes(center)

    assert [] == [*center.network.to(CLIENT), *center.network.to(MAIL)]
    assert "assigned" == center.story(story["id"])["state"]
    assert {"message_failed", "stopped"} <= set(_tasks(center))


def test_a_stop_at_the_carrier_withdraws_what_waits_for_the_morning(center: House) -> None:
    center.register(facility="south")
    center.clock.move(hours=12)
    center.text(CLIENT, "someone else")

    _carrier_says_stopped(center)

    reasons = "SELECT reason FROM message WHERE state = 'suppressed' AND recipient = 'client'"
    assert ["stop"] == [row.reason for row in center.rows("notifications", reasons)]


def test_a_mentor_who_stopped_at_the_carrier_is_not_asked_and_another_is(center: House) -> None:
    center.network.outcomes = [UNSUBSCRIBED]

    story = center.register(safe_hours="15:00-16:00")

    stopped = center.rows("matching", "SELECT code FROM mentor WHERE stopped")
    assert ["M-01"] == [row.code for row in stopped]
    assert "offered" == center.story(story["id"])["state"]
    assert [] == [letter for _, letter in center.network.letters if "jo@" in letter.to]


def test_a_confirmation_that_the_carrier_refuses_is_not_a_second_stop(center: House) -> None:
    story = _introduced(center)
    center.network.outcomes = [UNSUBSCRIBED]

    center.text(CLIENT, "stop")

    steps = center.story(story["id"])["steps"]
    assert 1 == len([step for step in steps if step.get("meaning") == "stop"])


def test_danger_beside_a_stop_ends_messages_on_every_channel(center: House) -> None:
    center.register(channels=["email", "text"])
    center.network.letters.clear()

    center.text(CLIENT, "stop texting me, I want to die")
    center.text(JO, "yes")

    assert [True] == ["911" in said for said in center.network.to(CLIENT)]
    assert [] == center.network.to(MAIL)
    assert 1 == len(center.network.to(ON_CALL))


def test_danger_does_not_wait_while_the_client_is_parked(center: House) -> None:
    story = _introduced(center)
    center.park("notifications", story["client_id"])

    center.text(CLIENT, "i want to die")

    assert "911" in center.network.to(CLIENT)[0]
    assert 1 == len(center.network.to(ON_CALL))


def test_whoever_has_a_wrong_number_cannot_start_another_s_messages(center: House) -> None:
    story = _introduced(center)

    center.text(CLIENT, "wrong number")
    center.text(CLIENT, "start")
    _next_says_yes(center)

    assert [True] == ["Thank you for telling us" in said for said in center.network.to(CLIENT)]
    assert "wrong_number" in _tasks(center)
    assert "assigned" == center.story(story["id"])["state"]


def test_a_wrong_number_that_is_told_again_stays_a_stranger_s(center: House) -> None:
    story = _introduced(center)
    center.text(CLIENT, "wrong number")
    center.register(needs=["fear"])
    center.network.letters.clear()

    center.text(CLIENT, "start")
    _next_says_yes(center)

    assert [] == center.network.to(CLIENT)
    assert "assigned" == center.story(story["id"])["state"]
    center.register(mobile="+15035550177")
    center.text("+15035550177", "help")
    assert 1 == len(center.network.to("+15035550177"))


def test_a_mentors_wrong_number_stays_a_stranger_s_when_they_are_told_of_again(
    center: House,
) -> None:
    center.text(NOOR, "wrong number")
    roster = (DEMO / "demo-mentors.csv").read_text()
    center.load_mentors(roster.replace(",Noor,", ",Nora,"))
    [noor] = center.rows("matching", "SELECT id FROM mentor WHERE code = 'M-11'")

    center.text(NOOR, "start")

    query = "SELECT mobile_token FROM person WHERE id = :id"
    assert [(None,)] == [tuple(r) for r in center.rows("notifications", query, id=noor.id)]


def test_a_stranger_who_says_stop_ends_nothing_of_whoever_had_the_number(center: House) -> None:
    _introduced(center)

    center.text(CLIENT, "wrong number, stop texting me")

    assert 1 == center.rows("notifications", "SELECT count(*) FROM stopped_address")[0][0]
    assert ["wrong_number"] == _tasks(center)


@pytest.mark.parametrize("words", ["someone else please", "i like turtles"])
def test_what_a_mentor_says_that_nobody_understands_is_a_person_s(
    center: House, words: str
) -> None:
    center.register()

    center.text(_asked(center), words)

    assert ["unclear_reply"] == _tasks(center)


def test_where_to_call_is_said_though_the_client_agrees_to_nothing_any_more(
    center: House,
) -> None:
    center.register(facility="south")
    center.network.letters.clear()
    center.network.outcomes += [Outcome(kind="retry", phase="answer", reason="http_429")] * 2
    center.text(CLIENT, "I want to die")
    center.network.letters.clear()

    body = {"facility": "south", "record_number": "R-1001", "consents": {}}
    assert 200 == center.api("south").put("/api/consents", json=body).status_code
    center.settle()
    center.clock.move(minutes=2)
    center.settle()

    assert [True] == ["988" in said for said in center.network.to(CLIENT)]


def test_a_strangers_yes_changes_nobodys_story(center: House) -> None:
    story = center.register()

    center.text(STRANGER, "yes")

    assert story["steps"] == center.story(story["id"])["steps"]
    assert [] == center.network.to(STRANGER)


def test_a_strangers_stop_is_kept_until_the_number_is_known(center: House) -> None:
    center.text(CLIENT, "stop")

    center.register()

    assert [] == center.network.to(CLIENT)


def test_a_yes_while_the_client_comes_back_is_still_a_yes(center: House) -> None:
    center.register()
    center.text_only(JO, "yes")

    again = center.register(visit_number="V-2")

    assert "assigned" == again["state"]
    assert [] == center.rows("notifications", "SELECT key FROM parked_key")


def test_an_offer_said_again_after_its_answer_parks_nobody(center: House) -> None:
    center.register()
    center.register_only(visit_number="V-2")
    for loop in (center._relays[0], center._subscribers[1]):
        while loop.step():
            pass
    center.text_only(JO, "yes")

    center.settle()

    assert [] == center.rows("notifications", "SELECT key FROM parked_key")
    assert ["assigned"] == [row.state for row in center.rows("matching", _ACTIVE)]


def test_a_correction_on_its_way_does_not_undo_a_clients_no(center: House) -> None:
    story = _introduced(center)
    center.text_only(CLIENT, "no")
    corrected = a_discharge(center.clock.now(), needs=["housing"])
    center.api().post("/api/discharges", json=corrected)

    _matching_hears_notifications(center)
    center.settle()

    assert [] == center.rows("matching", _ACTIVE)
    assert "closed" == center.story(story["id"])["state"]


def test_someone_else_said_of_an_earlier_mentor_leaves_the_next_alone(center: House) -> None:
    story = _introduced(center)
    center.text_only(JO, "no")
    _matching_hears_notifications(center)
    center.text_only(CLIENT, "someone else")

    center.settle()

    assert 1 == len(center.rows("matching", "SELECT mentor_id FROM refusal"))
    assert "offered" == center.story(story["id"])["state"]


def test_a_mentor_called_by_the_coordinator_hears_that_it_ended(center: House) -> None:
    center.register(facility="south", wants_age_band="26-35", wants_gender="woman")

    center.text(CLIENT, "no")

    assert "has ended" in center.network.to(NOOR)[-1]


_ACTIVE = "SELECT state FROM assignment WHERE state <> 'ended'"
