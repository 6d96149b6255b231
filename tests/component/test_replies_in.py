"""Replies at the edges: said twice, said by strangers, said while something else happens."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from sqlalchemy import text

from services.notifications import letters
from services.notifications.channels import Outcome
from tests.house import DEMO, House, a_discharge

CLIENT, MAIL = "+15035550123", "sam@example.org"
STRANGER = "+15035550999"
MENTORS = {f"+150355501{number:02}" for number in range(1, 13)}
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
    introduced, helped = center.network.to("+15035550177")
    assert "will call you" in introduced
    assert "will call you" not in helped


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


@pytest.fixture
def housemates(center: House) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two clients of two facilities who have one phone, and a mentor each."""
    one = _introduced(center)
    other = center.register(facility="south", record_number="S-1", email="al@example.org")
    assert center.story(other["id"], "south")["state"] == "assigned"
    center.network.letters.clear()
    return one, other


def test_what_is_written_from_a_shared_number_reaches_no_mentor_and_a_person_at_each_facility(
    center: House, housemates: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    center.text(CLIENT, "I am with Pat at the corner of Fifth")

    kept = center.rows("notifications", "SELECT words, read_at FROM reply WHERE meaning = 'shared'")
    assert [None, None] == [row.words for row in kept]
    assert all(row.read_at for row in kept)
    assert ["shared_number"] == _tasks(center)
    assert ["shared_number"] == _tasks(center, "south")
    assert [] == center.network.letters


def test_a_no_from_a_number_on_which_two_were_asked_declines_for_neither(
    center: House, housemates: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    center.text(CLIENT, "no")

    one, other = housemates
    assert "assigned" == center.story(one["id"])["state"]
    assert "assigned" == center.story(other["id"], "south")["state"]
    assert ["shared_number"] == _tasks(center)


def test_a_stop_from_a_shared_number_ends_the_messages_to_both_and_is_confirmed_once(
    center: House, housemates: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    center.text(CLIENT, "stop")

    assert ["stopped"] == _tasks(center)
    assert ["stopped"] == _tasks(center, "south")
    assert [CLIENT] == [letter.to for _, letter in center.network.letters]


def test_words_of_danger_from_a_shared_number_page_whoever_is_on_call_for_each(
    center: House, housemates: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    center.text(CLIENT, "I want to kill myself")

    assert ["danger"] == _tasks(center)
    assert ["danger"] == _tasks(center, "south")
    assert 1 == [letter.to for _, letter in center.network.letters].count(CLIENT)
    assert 3 == len(center.network.letters)


def test_a_start_from_a_shared_number_brings_nobody_their_mails_back(
    center: House, housemates: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    query = "SELECT email_token FROM person WHERE mobile_token IS NOT NULL AND kind = 'client'"
    mails = {row.email_token for row in center.rows("notifications", query)} - {None}
    for token in mails:
        center.incoming.unsubscribed(token)

    center.text(CLIENT, "start")

    stopped = center.rows("notifications", "SELECT token FROM stopped_address")
    assert mails
    assert mails == {row.token for row in stopped}


def test_whoever_is_on_call_is_paged_though_they_answered_a_page_with_a_stop(
    center: House,
) -> None:
    center.register(language="fr")
    center.text(CLIENT, "I want to kill myself")
    center.text(ON_CALL, "stop")

    center.text(CLIENT, "I don't want to live anymore")

    assert 2 == len(center.network.to(ON_CALL))


def test_whoever_has_a_mentors_number_wrongly_has_a_link_that_opens_nothing(
    center: House,
) -> None:
    _introduced(center)
    opens = "SELECT * FROM card WHERE ended_at IS NULL"
    assert 1 == len(center.rows("notifications", opens))

    center.text(JO, "wrong number")

    assert [] == center.rows("notifications", opens)
    assert ["call_mentor", "wrong_number"] == _tasks(center)


def test_that_nobody_was_found_is_not_said_by_mail_once_somebody_was(center: House) -> None:
    center.register(language="fr")
    center.clock.move(hours=25)
    center.settle()
    query = "SELECT * FROM message WHERE purpose = 'waiting'"
    [waiting] = center.rows("notifications", query)
    assert "handed_over" == waiting.state
    center.register(language="en")
    center.text(_asked(center), "yes")

    center.incoming.receipt(waiting.id, "undelivered", waiting.provider_id, "30005")
    center.settle()

    states = [(row.channel, row.state) for row in center.rows("notifications", query)]
    assert {("sms", "failed"), ("email", "suppressed")} == set(states)


def test_whoever_is_in_a_time_zone_that_is_not_known_is_helped_and_holds_up_nobody(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.register(language="fr")

    def knows_utc(name: str) -> ZoneInfo:
        if name != "UTC":
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)

    monkeypatch.setattr(letters, "ZoneInfo", knows_utc)

    center.text(CLIENT, "help")

    assert 2 == len(center.network.to(CLIENT))


def test_what_is_written_is_for_the_mentor_of_that_time_alone(center: House) -> None:
    _introduced(center)
    center.text(CLIENT, "Jo sounded drunk to me")
    assert 1 == center.rows("notifications", _UNREAD)[0][0]

    center.text(CLIENT, "someone else please")
    center.text(_asked(center), "yes")

    assert 0 == center.rows("notifications", _UNREAD)[0][0]


_UNREAD = "SELECT count(*) FROM reply WHERE read_at IS NULL AND meaning = 'unclear'"


def test_a_no_to_what_is_settled_ends_nobody_else_s_support(center: House) -> None:
    story = _introduced(center)
    other = center.register(record_number="R-2", mobile="+15035550124", email=None)
    while JO not in [letter.to for _, letter in center.network.letters]:
        center.text(_asked(center), "no")
    center.text(JO, "no")

    center.text(JO, "No, sorry")

    assert "assigned" == center.story(story["id"])["state"]
    assert "unclear_reply" in _tasks(center)
    assert "assigned" != center.story(other["id"])["state"]


def test_a_mentor_of_several_says_on_a_page_with_whom_they_have_talked(center: House) -> None:
    both = [center.register(facility="south")]
    [first] = center.rows("matching", "SELECT mentor_id FROM assignment WHERE state <> 'ended'")
    only = text("UPDATE mentor SET state = 'paused' WHERE id <> :id")
    with center.matching.engine.begin() as conn:
        conn.execute(only, {"id": first.mentor_id})
    both.append(center.register(facility="south", record_number="R-2", mobile="+15035550124"))
    phone = next(to for to in (one.to for _, one in center.network.letters) if to in MENTORS)

    center.text(phone, "TALKED")

    assert ["assigned", "assigned"] == [center.story(s["id"], "south")["state"] for s in both]
    assert ["unclear_reply"] == _tasks(center, "south")


def test_a_wrong_number_is_told_to_the_client_where_they_are_reached(center: House) -> None:
    story = center.register(facility="south")
    assert 2 == len(center.network.to(CLIENT))

    center.text(CLIENT, "wrong number")

    assert "assigned" == center.story(story["id"], "south")["state"]
    assert ["introduction"] == _said_by_mail(center)

    contact = {"facility": "south", "record_number": "R-1001", "mobile": "+15035550177"}
    center.api("south").put("/api/contact", json=contact)
    center.settle()
    assert ["introduction"] == [row.purpose for row in center.rows("notifications", _ANEW)]
    assert 1 == len(center.network.to("+15035550177"))
    assert {} == center.violated()


_ANEW = "SELECT purpose FROM message WHERE once LIKE 'introduction/client/%/%' AND channel = 'sms'"


def _said_by_mail(center: House) -> list[str]:
    query = "SELECT purpose FROM message WHERE recipient = 'client' AND channel = 'email'"
    return [
        row.purpose for row in center.rows("notifications", query + " AND state = 'handed_over'")
    ]


def test_what_a_mentor_says_of_themselves_is_heard_though_they_were_a_client(
    center: House,
) -> None:
    center.register(facility="south", mobile=JO, email=None)

    center.text(JO, "pause")
    paused = center.rows("matching", "SELECT state FROM mentor WHERE code = 'M-01'")
    center.text(JO, "stop")

    assert ["paused"] == [row.state for row in paused]
    [row] = center.rows("matching", "SELECT stopped FROM mentor WHERE code = 'M-01'")
    assert row.stopped


def test_a_confirmation_that_could_not_leave_in_time_does_not_leave(center: House) -> None:
    _introduced(center)
    away = Outcome(kind="not_sent", phase="connect", reason="refused")
    center.network.outcomes += [away]
    center.text(CLIENT, "stop")
    center.network.letters.clear()

    center.clock.move(minutes=6)
    center.settle()

    assert [] == center.network.to(CLIENT)
    assert ["stopped"] == _tasks(center)


def test_that_nobody_was_found_yet_is_not_said_beside_who_was(center: House) -> None:
    story = center.register(language="fr", safe_hours="15:00-16:00", email=None)
    center.clock.move(hours=25)
    center.settle()
    waiting = "SELECT state FROM message WHERE purpose = 'waiting'"
    assert ["planned"] == [row.state for row in center.rows("notifications", waiting)]

    center.register(language="en", safe_hours="15:00-16:00", email=None)
    center.text(_asked(center), "yes")

    assert "assigned" == center.story(story["id"])["state"]
    assert ["suppressed"] == [row.state for row in center.rows("notifications", waiting)]


@pytest.mark.parametrize("how", ["told before they leave", "called off", "corrected while held"])
def test_words_of_danger_of_a_client_without_support_are_answered_and_told_of(
    center: House, how: str
) -> None:
    """Their facility is known, and so are they."""
    at, number = {"facility": "south", "record_number": "R-7"}, "+15035550199"
    if how == "told before they leave":
        center.api("south").put("/api/contact", json={**at, "mobile": number})
    elif how == "called off":
        story = center.register(**at, mobile=number)
        center.api("south").post(f"/api/discharges/{story['id']}/cancel")
    else:
        center.register(**at, mobile=number, reason="incarcerated")
        center.api("south").put("/api/contact", json={**at, "called": "Al"})
    center.settle()
    said = len(center.network.letters)

    center.text(number, "I want to kill myself")

    told = [one.to for _, one in center.network.letters[said:]]
    assert number in told
    assert len(told) > 1
    [task] = [one for one in center.tasks("south") if one["kind"] == "danger"]
    [client] = center.rows("intake", "SELECT id FROM client")
    assert str(client.id) == task["client_id"]
    assert [] == center.tasks("north")
    page = center.browser("clerk", "south").get("/").get_data(as_text=True)
    assert "record R-7" in page

    center.desk.erase(client.id, by="ops", because="asked")
    center.settle()
    assert [] == center.tasks("south")
