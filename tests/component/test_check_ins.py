"""Check-ins over days: asked in the client's hours, answered, left unanswered, withdrawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from services.notifications import check_ins
from services.notifications.store import Assignment
from tests.house import MORNING, House

CLIENT, MAIL = "+15035550123", "sam@example.org"
JO, LOS_ANGELES = "+15035550101", ZoneInfo("America/Los_Angeles")
QUESTION = "How are you today?"


def _introduced(center: House, **changes: Any) -> dict[str, Any]:
    """A client who was told that Jo will call; what was said until then is forgotten."""
    story = center.register(**changes)
    center.text(JO, "yes")
    center.network.letters.clear()
    return story


def days_pass(center: House, number: float) -> None:
    """Let days pass, from each moment at which something is due to the next."""
    end = center.clock.now() + timedelta(days=number)
    while center.clock.now() < end:
        due = [
            row.at
            for service in ("intake", "matching", "notifications")
            for row in center.rows(service, "SELECT min(due_at) AS at FROM timer")
        ]
        due += [
            row.at
            for row in center.rows(
                "notifications", "SELECT min(due_at) AS at FROM message WHERE state = 'planned'"
            )
        ]
        ahead = [at for at in due if at is not None and center.clock.now() < at < end]
        center.clock.moment = min(ahead, default=end)
        center.settle()


def _asked(center: House, to: str = CLIENT) -> int:
    return len([said for said in center.network.to(to) if QUESTION in said])


def _kinds(center: House) -> list[str]:
    return sorted(task["kind"] for task in center.tasks())


def _meanings(center: House, story: dict[str, Any]) -> list[str]:
    steps = center.story(story["id"])["steps"]
    return [step["meaning"] for step in steps if step["what"] == "reply"]


def _handed_over(center: House) -> list[Any]:
    rows = center.rows(
        "notifications",
        "SELECT handed_over_at AS at FROM message WHERE purpose = 'check_in'"
        " AND state = 'handed_over' ORDER BY at",
    )
    return [row.at.astimezone(LOS_ANGELES) for row in rows]


def _timers(center: House) -> list[str]:
    query = "SELECT name FROM timer WHERE name LIKE 'check_in%' ORDER BY name"
    return [row.name for row in center.rows("notifications", query)]


def test_a_client_is_asked_on_three_days_at_about_the_same_hour(center: House) -> None:
    _introduced(center)

    for _ in range(9):
        days_pass(center, 1)
        center.text(CLIENT, "ok")

    asked = _handed_over(center)
    assert [25, 27, 1] == [at.day for at in asked]
    assert all(9 <= at.hour < 12 for at in asked)
    assert [] == _timers(center)


def test_an_ok_is_thanked_once_and_nobody_is_bothered(center: House) -> None:
    story = _introduced(center)
    center.text(JO, "talked")

    for _ in range(9):
        days_pass(center, 1)
        if _asked(center) > _meanings(center, story).count("ok"):
            center.text(CLIENT, "doing well, thanks")

    said = center.network.to(CLIENT)
    assert 3 == _meanings(center, story).count("ok")
    assert [1, 3] == [len([t for t in said if words in t]) for words in ("good to hear", QUESTION)]
    assert [] == _kinds(center)


def test_somebody_introduced_at_night_counts_from_the_next_opening(center: House) -> None:
    center.clock.moment = MORNING + timedelta(hours=11)
    center.register(facility="south")

    days_pass(center, 3)

    [first, *_] = _handed_over(center)
    assert (26, True) == (first.day, 9 <= first.hour < 20)


def test_hours_agreed_with_the_client_hold(center: House) -> None:
    _introduced(center, safe_hours="17:00-18:00")

    days_pass(center, 3)

    assert {17} == {at.hour for at in _handed_over(center)}


def test_a_check_in_has_the_same_moment_however_often_it_is_planned(center: House) -> None:
    _introduced(center)
    center.register(record_number="R-2", mobile="+15035550124", facility="south")
    query = "SELECT key, due_at, data FROM timer WHERE name = 'check_in' ORDER BY key"
    before = center.rows("notifications", query)

    def again(work: Any) -> tuple[()]:
        work.store.load_persons(row.key for row in before)
        for assignment in list[Assignment](work.store.assignments.values()):
            check_ins.begin(work, center._notifications.foundation.tokens, assignment, MORNING)
        return ()

    center.notifications.transact(again)

    assert before == center.rows("notifications", query)
    assert 2 == len({row.due_at for row in before})
    day = MORNING + timedelta(days=1)
    assert all(abs(row.due_at - day) <= timedelta(minutes=45) for row in before)


def test_a_wish_to_talk_reaches_the_mentor_at_once_and_is_answered(center: House) -> None:
    story = _introduced(center)
    center.text(JO, "talked")
    days_pass(center, 2)
    center.network.letters.clear()

    center.text(CLIENT, "TALK please")

    [told], [answered] = center.network.to(JO), center.network.to(CLIENT)
    assert "would like to hear from you" in told and "/messages/card/" in told
    assert "Sam" not in told
    assert "988" in answered
    assert "talk" in _meanings(center, story)
    assert [] == _kinds(center)


def test_a_wish_to_talk_that_nobody_meets_is_a_task_until_somebody_does(center: House) -> None:
    _introduced(center)
    center.text(JO, "talked")
    center.text(CLIENT, "can someone call me")
    center.clock.move(hours=3)
    center.settle()
    before = _kinds(center)
    center.clock.move(hours=2)
    center.settle()
    late = _kinds(center)

    center.text(JO, "talked")

    assert ([], ["wants_to_talk"], []) == (before, late, _kinds(center))


@pytest.mark.parametrize("ends", ["died", "erased"])
def test_nobody_is_asked_to_call_whoever_is_no_more(center: House, ends: str) -> None:
    story = _introduced(center)
    center.text(JO, "talked")
    center.text(CLIENT, "can someone call me")
    assert 200 == center.api().post(f"/api/discharges/{story['id']}/cancel").status_code
    center.settle()

    if ends == "died":
        center.register(reason="died")
    else:
        center.desk.erase(UUID(story["client_id"]), by="ops", because="asked")
    center.clock.move(hours=6)
    center.settle()

    assert "wants_to_talk" not in _kinds(center)


def test_a_wish_to_talk_that_is_met_asks_nobody(center: House) -> None:
    _introduced(center)
    center.text(CLIENT, "talk")

    center.text(JO, "talked")
    center.clock.move(hours=6)
    center.settle()

    assert [] == _kinds(center)


def test_at_night_the_client_is_answered_and_the_mentor_is_told_in_the_morning(
    center: House,
) -> None:
    _introduced(center)
    center.clock.move(hours=13)
    center.text(CLIENT, "talk")
    at_night = [len(center.network.to(who)) for who in (CLIENT, JO)]

    center.clock.move(hours=10)
    center.settle()

    assert [1, 0] == at_night
    assert "would like to hear" in center.network.to(JO)[0]
    assert "wants_to_talk" not in _kinds(center)


def test_a_client_without_a_phone_answers_on_the_page(center: House) -> None:
    story = _introduced(center, mobile=None)
    days_pass(center, 2)
    [asked] = [said for said in center.network.to(MAIL) if QUESTION in said]
    link = re.findall(r"https?://[^/]+(/messages/answer/\S+)", asked)[0]

    center.pages().post(link, data={"answer": "talk"})
    center.settle()

    assert ["yes", "talk"] == _meanings(center, story)
    assert "would like to hear from you" in center.network.to(JO)[-1]


def test_a_button_answers_what_stands_on_its_page(center: House) -> None:
    for number in (1, 2):
        center.register(
            facility="south", record_number=f"R-{number}", mobile=f"+150355501{number}0"
        )
    with center.notifications.engine.begin() as conn:
        # Both stand beside the same mentor, who was asked about the first before the second.
        conn.execute(
            text(
                "UPDATE question SET person_id = (SELECT person_id FROM question"
                " WHERE kind = 'contact' ORDER BY asked_at, id LIMIT 1),"
                " state = 'waiting' WHERE id = (SELECT id FROM question WHERE kind = 'contact'"
                " ORDER BY asked_at DESC, id DESC LIMIT 1)"
            )
        )
    [first, second] = center.rows(
        "notifications",
        "SELECT id, client_id FROM question WHERE kind = 'contact' ORDER BY state = 'waiting'",
    )

    center.pages().post(f"/messages/answer/{second.id}", data={"answer": "talked"})

    said = "SELECT key FROM outbox WHERE type = 'ReplyReceived'"
    assert [second.client_id] == [row.key for row in center.rows("notifications", said)]
    closed = "SELECT id FROM question WHERE kind = 'contact' AND state = 'closed'"
    assert [second.id] == [row.id for row in center.rows("notifications", closed)]
    assert first.id != second.id


def test_without_a_mentor_a_person_is_asked_at_once(center: House) -> None:
    center.register(language="fr")

    center.text(CLIENT, "TALK")

    assert "wants_to_talk" in _kinds(center)


def test_a_mentor_without_a_page_is_called_as_well(center: House) -> None:
    center.register(facility="south", wants_age_band="26-35", wants_gender="woman")
    for task in center.tasks("south"):
        center.api("south").post(f"/api/tasks/{task['id']}/done", json={"because": "called"})

    center.text(CLIENT, "TALK")

    assert "call_mentor" in [task["kind"] for task in center.tasks("south")]


def test_two_without_an_answer_tell_the_mentor_and_ask_no_more(center: House) -> None:
    _introduced(center)
    center.text(JO, "talked")
    center.network.letters.clear()

    days_pass(center, 9)

    assert 2 == _asked(center)
    assert ["quiet for some days" in said for said in center.network.to(JO)] == [True]
    assert [] == _timers(center)
    center.text(JO, "talked")
    assert "Thank you for telling us" in center.network.to(JO)[-1]


def test_one_answer_between_two_silences_is_no_silence(center: House) -> None:
    _introduced(center)
    center.text(JO, "talked")
    center.network.letters.clear()
    days_pass(center, 2)
    center.text(CLIENT, "so so")

    days_pass(center, 6)

    assert 3 == _asked(center)
    assert [] == center.network.to(JO)


def test_an_answer_that_nobody_understands_goes_to_a_person_and_sends_nothing(
    center: House,
) -> None:
    _introduced(center)
    center.text(JO, "talked")
    days_pass(center, 2)
    center.network.letters.clear()

    center.text(CLIENT, "no")

    assert [] == center.network.letters
    assert ["unclear_reply"] == _kinds(center)


def test_someone_else_is_heard_beside_a_check_in(center: House) -> None:
    story = _introduced(center)
    days_pass(center, 2)

    center.text(CLIENT, "someone else")

    assert "offered" == center.story(story["id"])["state"]
    assert [] == _timers(center)


def _cancel(center: House, story: dict[str, Any]) -> None:
    center.api().post(f"/api/discharges/{story['id']}/cancel")


CAUSES: dict[str, Callable[[House, dict[str, Any]], object]] = {
    "stop": lambda center, _: center.text_only(CLIENT, "stop"),
    "wrong number": lambda center, _: center.text_only(CLIENT, "wrong number"),
    "cancelled": _cancel,
    "custody": lambda center, _: center.register_only(reason="incarcerated"),
    "death": lambda center, _: center.register_only(reason="died"),
    "readmitted": lambda center, _: center.register_only(visit_number="V-2"),
    "someone else": lambda center, _: center.text_only(CLIENT, "someone else"),
    "mentor gives up": lambda center, _: center.text_only(JO, "no"),
}


def _next_check_in_is_planned(center: House) -> None:
    """The timer fires, and the sender has not come by yet."""
    [due] = center.rows("notifications", "SELECT due_at FROM timer WHERE name = 'check_in'")
    center.clock.moment = due.due_at
    center.sender.is_busy = True
    while center._timers[2].step():
        pass
    assert ["planned"] == _states(center)


def _states(center: House) -> list[str]:
    query = "SELECT state FROM message WHERE purpose = 'check_in' ORDER BY due_at"
    return [row.state for row in center.rows("notifications", query)]


def _hear(center: House) -> None:
    """Everybody hears everything; nothing is sent and no timer fires."""
    for _ in range(4):
        for loop in (*center._relays, *center._subscribers):
            while loop.step():
                pass


@pytest.mark.parametrize("cause", CAUSES)
def test_whatever_ends_check_ins_withdraws_the_unsent_one(center: House, cause: str) -> None:
    story = _introduced(center)
    _next_check_in_is_planned(center)

    CAUSES[cause](center, story)
    _hear(center)

    assert ["suppressed"] == _states(center)
    began_anew = [] if cause != "readmitted" else ["check_in"]
    assert began_anew == _timers(center)
    center.settle()
    assert 0 == _asked(center)
    assert "message_suppressed" not in _kinds(center)


@pytest.mark.parametrize("words", ["stop", "wrong number"])
def test_a_stop_withdraws_in_its_own_transaction(center: House, words: str) -> None:
    _introduced(center)
    _next_check_in_is_planned(center)

    center.text_only(CLIENT, words)

    assert (["suppressed"], []) == (_states(center), _timers(center))


def test_a_stop_at_the_carrier_ends_check_ins(center: House) -> None:
    _introduced(center)
    first = center.rows("notifications", "SELECT * FROM message WHERE purpose = 'first'")[0]

    center.incoming.receipt(first.id, "undelivered", first.provider_id, "21610")

    assert [] == _timers(center)


def test_a_start_does_not_bring_check_ins_back(center: House) -> None:
    _introduced(center)
    for words in ("stop", "start"):
        center.text(CLIENT, words)

    days_pass(center, 2)

    assert 0 == _asked(center)


def test_whoever_comes_back_is_asked_anew(center: House) -> None:
    _introduced(center)
    days_pass(center, 4)
    center.network.letters.clear()

    center.register(visit_number="V-2")
    days_pass(center, 2)

    assert 1 == _asked(center)


def test_a_parked_clients_check_ins_wait_and_the_stale_one_does_not_leave(center: House) -> None:
    story = _introduced(center)
    _next_check_in_is_planned(center)
    center.park("notifications", story["client_id"])
    days_pass(center, 3)
    while_parked = _asked(center)

    with center.notifications.engine.begin() as conn:
        conn.execute(text("DELETE FROM parked_key"))
    center.settle()

    assert (0, 1) == (while_parked, _asked(center))


def test_an_introduction_that_did_not_arrive_is_followed_by_no_check_in(center: House) -> None:
    _introduced(center)
    refused = "UPDATE message SET state = 'failed' WHERE purpose = 'introduction'"
    with center.notifications.engine.begin() as conn:
        conn.execute(text(refused))

    days_pass(center, 2)

    assert (0, ["check_in"]) == (_asked(center), _timers(center))


def test_a_client_who_may_not_be_written_to_is_left_alone(center: House) -> None:
    _introduced(center)
    with center.notifications.engine.begin() as conn:
        conn.execute(text("DELETE FROM consent"))

    days_pass(center, 2)

    assert (0, []) == (_asked(center), [k for k in _kinds(center) if k == "message_suppressed"])


@pytest.mark.parametrize("words", ["no", "talked", "no answer", "pause", "back", "help", "stop"])
def test_each_word_of_a_mentor_is_answered_in_one_short_text(center: House, words: str) -> None:
    center.register()
    if words in ("talked", "no answer"):
        center.text(JO, "yes")
    center.network.letters.clear()

    center.text(JO, words)

    assert 1 == len(center.network.to(JO))


def test_a_yes_is_answered_with_the_page_or_a_call(center: House) -> None:
    center.register()
    center.network.letters.clear()

    center.text(JO, "yes")

    assert ["/messages/card/" in said for said in center.network.to(JO)] == [True]


def test_a_pause_while_being_asked_asks_the_next_at_once(center: House) -> None:
    story = center.register()

    center.text(JO, "pause")

    offers = center.rows("matching", "SELECT mentor_id FROM assignment WHERE state = 'offered'")
    paused = center.rows("matching", "SELECT id FROM mentor WHERE code = 'M-01'")
    assert "offered" == center.story(story["id"])["state"]
    assert [row.mentor_id for row in offers] != [row.id for row in paused]


def test_a_mentor_who_pauses_keeps_their_clients_and_a_person_looks(center: House) -> None:
    story = _introduced(center)

    center.text(JO, "pause")
    paused, state = _kinds(center), center.story(story["id"])["state"]
    center.text(JO, "back")

    assert (["mentor_paused"], "assigned", []) == (paused, state, _kinds(center))


def test_a_pause_without_clients_asks_nobody(center: House) -> None:
    center.text(JO, "pause")

    assert [] == _kinds(center)
