"""Messages leave once, when they may, as it was agreed; else a person is told why not."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from messaging import timer_loop
from services.notifications.channels import Outcome
from services.notifications.settings import NotificationsSettings, check_mode
from tests.house import House, a_discharge

CLIENT, MAIL = "+15035550123", "sam@example.org"
JO, JO_MAIL = "+15035550101", "jo@peers.example.org"
NOOR = "+15035550111"
ON_CALL = "+15035550182"
REFUSED = Outcome(kind="rejected", phase="answer", reason="twilio_21211")
BUSY = Outcome(kind="retry", phase="answer", reason="http_429")
SILENCE = Outcome(kind="unknown", phase="body", reason="ReadTimeout")


def _whats(story: dict[str, Any]) -> list[str]:
    return [step["what"] for step in story["steps"]]


def _kinds(center: House, facility: str = "north") -> list[str]:
    return sorted(task["kind"] for task in center.tasks(facility))


def _message(center: House, purpose: str) -> Any:
    query = "SELECT * FROM message WHERE purpose = :p ORDER BY channel DESC"
    return center.rows("notifications", query, p=purpose)[0]


def test_a_refused_text_goes_by_mail_and_asks_nobody(center: House) -> None:
    center.network.outcomes = [REFUSED]

    story = center.register(facility="south")

    assert 1 == len([t for t in center.network.to(MAIL) if "stay in touch" in t])
    assert "message_failed" in _whats(story)
    assert "message_failed" not in _kinds(center, "south")


def test_where_no_channel_is_left_a_person_calls(center: House) -> None:
    center.network.outcomes = [REFUSED]

    center.register(facility="south", email=None)

    assert "message_failed" in _kinds(center, "south")


def test_a_busy_network_is_tried_again_and_takes_it_once(center: House) -> None:
    center.network.outcomes = [BUSY] * 2
    center.register(language="fr")
    for _ in range(4):
        center.clock.move(seconds=20)
        center.settle()

    assert 1 == len(center.network.to(CLIENT))
    assert 3 == _message(center, "first").attempts


def test_what_cannot_leave_for_the_hour_fails_and_a_person_calls(center: House) -> None:
    center.network.outcomes = [BUSY] * 50
    center.register(language="fr", email=None)
    for _ in range(12):
        center.clock.move(minutes=5)
        center.settle()

    assert "failed" == _message(center, "first").state
    assert "message_failed" in _kinds(center)


def test_silence_of_the_network_is_unconfirmed_and_never_sent_again(center: House) -> None:
    center.network.outcomes = [SILENCE]
    story = center.register(language="fr")

    center.clock.move(hours=3)
    center.settle()

    assert "message_unconfirmed" in _whats(story)
    assert "message_unconfirmed" in _kinds(center)
    assert 1 == len(center.network.to(CLIENT))


def test_a_lease_that_ran_out_is_unconfirmed_too(center: House) -> None:
    center.register(language="fr")
    lease = "UPDATE message SET state = 'leased', lease_until = now() - interval '1 second'"
    with center.notifications.engine.begin() as conn:
        conn.execute(text(lease))
    center.restart("notifications")

    center.settle()

    assert "unconfirmed" == _message(center, "first").state
    assert 1 == len(center.network.to(CLIENT))


@pytest.mark.parametrize("order", list(permutations(["sent", "delivered", "delivered"])))
def test_receipts_lead_to_the_same_end_in_any_order(center: House, order: Any) -> None:
    center.register(language="fr")
    message = _message(center, "first")

    for status in order:
        center.incoming.receipt(message.id, status, message.provider_id, "")
    center.incoming.receipt(message.id, "failed", message.provider_id, "30003")
    center.settle()

    assert "delivered" == _message(center, "first").state


def test_a_receipt_settles_what_was_unconfirmed(center: House) -> None:
    center.network.outcomes = [SILENCE]
    story = center.register(language="fr")

    center.incoming.receipt(_message(center, "first").id, "delivered", "SM-late", "")
    center.settle()

    assert "message_delivered" in _whats(center.story(story["id"]))
    assert "message_unconfirmed" not in _kinds(center)


def test_a_receipt_of_failure_tries_the_next_channel(center: House) -> None:
    center.register(language="fr")
    message = _message(center, "first")

    center.incoming.receipt(message.id, "undelivered", message.provider_id, "30005")
    center.settle()

    assert 1 == len(center.network.to(MAIL))


def test_a_receipt_for_another_text_changes_nothing(center: House) -> None:
    center.register(language="fr")
    message = _message(center, "first")

    center.incoming.receipt(message.id, "failed", "SM-of-somebody-else", "30005")
    center.incoming.receipt(UUID(int=7), "failed", "SM-unknown", "30005")

    assert "handed_over" == _message(center, "first").state


@pytest.mark.parametrize(
    ("zone", "hours_later", "leaves"),
    [
        ("Pacific/Honolulu", 0, False),
        ("America/Los_Angeles", 0, True),
        ("America/New_York", 7, False),
        ("America/Los_Angeles", 11, False),
    ],
)
def test_messages_leave_in_the_recipients_hours_only(
    center: House, zone: str, hours_later: int, leaves: bool
) -> None:
    center.clock.move(hours=hours_later)

    story = center.register(language="fr", time_zone=zone)

    assert leaves is bool(center.network.to(CLIENT))
    assert leaves is not ("message_delayed" in _whats(story))


def test_what_waits_for_morning_leaves_in_the_morning(center: House) -> None:
    center.register(language="fr", time_zone="Pacific/Honolulu")

    center.clock.move(minutes=61)
    center.settle()

    assert 1 == len(center.network.to(CLIENT))


def test_a_clients_own_safe_hours_are_kept(center: House) -> None:
    center.register(language="fr", safe_hours="13:00-14:00")
    at_ten = center.network.to(CLIENT)

    center.clock.move(hours=3, minutes=5)
    center.settle()

    assert ([], 1) == (at_ten, len(center.network.to(CLIENT)))


def test_consent_is_looked_at_when_it_is_sent(center: House) -> None:
    """Revoked in the same breath in which the message was planned: nothing leaves by text."""
    center.clock.move(hours=11)
    center.register(language="fr")
    body = {"facility": "north", "record_number": "R-1001", "consents": {}}
    center.api().put("/api/consents", json=body)
    center.settle()

    center.clock.move(hours=14)
    center.settle()

    assert [] == center.network.to(CLIENT)
    assert [] == center.network.to(MAIL)
    assert "message_suppressed" in _kinds(center)


def test_a_revoked_text_goes_by_mail_instead(center: House) -> None:
    center.clock.move(hours=11)
    center.register(language="fr")
    consents = {"email": a_discharge(center.clock.now())["consents"]["email"]}
    body = {"facility": "north", "record_number": "R-1001", "consents": consents}
    center.api().put("/api/consents", json=body)
    center.settle()

    center.clock.move(hours=14)
    center.settle()

    assert ([], 1) == (center.network.to(CLIENT), len(center.network.to(MAIL)))
    assert "message_suppressed" not in _kinds(center)


def _consent(center: House, *channels: str) -> None:
    """Both were agreed to; these stand."""
    given = a_discharge(center.clock.now())["consents"]
    body = {
        "facility": "north",
        "record_number": "R-1001",
        "consents": {channel: given[channel] for channel in channels},
    }
    assert 200 == center.api().put("/api/consents", json=body).status_code
    center.settle()


def test_what_failed_on_one_channel_and_is_revoked_on_the_other_is_told_to_a_person(
    center: House,
) -> None:
    center.network.outcomes = [
        Outcome(kind="rejected", phase="done", reason="twilio_21211"),
        Outcome(kind="retry", phase="done", reason="smtp_451"),
    ]
    center.register(language="fr")

    _consent(center, "text")

    reasons = "SELECT reason FROM message WHERE purpose = 'first' AND channel = 'email'"
    assert ["no_consent"] == [row.reason for row in center.rows("notifications", reasons)]
    assert "message_suppressed" in _kinds(center)


def test_what_was_revoked_and_is_agreed_to_again_is_said_there(center: House) -> None:
    center.clock.move(hours=11)
    center.register(language="fr")
    _consent(center, "email")
    _consent(center, "email", "text")
    _consent(center, "text")

    center.clock.move(hours=14)
    center.settle()

    assert (1, []) == (len(center.network.to(CLIENT)), center.network.to(MAIL))


def test_a_changed_number_gets_what_has_not_left(center: House) -> None:
    center.clock.move(hours=11)
    center.register(language="fr")
    body = {"facility": "north", "record_number": "R-1001", "mobile": "+15035550177"}
    center.api().put("/api/contact", json=body)

    center.settle()
    center.clock.move(hours=14)
    center.settle()

    assert ([], 1) == (center.network.to(CLIENT), len(center.network.to("+15035550177")))


def test_a_route_that_ends_before_sending_keeps_the_card_shut(center: House) -> None:
    _assigned(center)
    link, code = _link(center), _code(center)
    with center.notifications.engine.begin() as conn:
        conn.execute(text("UPDATE person SET route = 'none' WHERE kind = 'mentor'"))

    answer = center.pages().post(link, data={"code": code})

    assert 410 == answer.status_code


@pytest.mark.parametrize(
    "words",
    [
        "STOP", "stop", "Stop.", "STOP please", "please stop texting me", "unsubscribe", "QUIT",
        "cancel", "END", "opt out", "revoke", "Stop!!! 😡", "no más mensajes", "parar", "alto",
        "don't text me anymore", "remove me", "STOPALL", "baja", "Please  STOP",
    ],
)  # fmt: skip
def test_stop_in_any_clear_wording_ends_messages_and_is_confirmed_once(
    center: House, words: str
) -> None:
    center.clock.move(hours=11)
    story = center.register(facility="south")

    center.text(CLIENT, words)
    center.clock.move(hours=26)
    center.settle()

    assert 1 == len(center.network.to(CLIENT))
    assert [] == center.network.to(MAIL)
    assert "assigned" == center.story(story["id"], "south")["state"]
    assert "stopped" in _kinds(center, "south")


def test_start_brings_messages_back_and_help_is_answered_all_the_while(center: House) -> None:
    center.register(language="fr")
    center.text(CLIENT, "stop")
    center.text(CLIENT, "help")
    center.text(CLIENT, "start")

    texts = center.network.to(CLIENT)

    assert 4 == len(texts)
    assert "+15035550181" in texts[2]
    assert [] == center.rows("notifications", "SELECT * FROM stopped_address")


def test_words_of_danger_are_answered_at_night_and_page_the_one_on_call(center: House) -> None:
    center.register(language="fr")
    center.clock.move(hours=14)

    center.text(CLIENT, "I don't want to live anymore")

    assert "988" in center.network.to(CLIENT)[-1]
    assert 1 == len(center.network.to(ON_CALL))
    danger = next(task for task in center.tasks() if task["kind"] == "danger")
    assert {"role": "on_call", "name": "Alex Reed"} == danger["owner"]


def test_an_unclear_reply_sends_nothing_and_asks_a_person(center: House) -> None:
    center.register(language="fr")

    center.text(CLIENT, "I want to quit drinking")

    assert 1 == len(center.network.to(CLIENT))
    assert "unclear_reply" in _kinds(center)


def test_a_wrong_number_is_not_written_to_again(center: House) -> None:
    center.register(language="fr")

    center.text(CLIENT, "wrong number")
    center.clock.move(hours=30)
    center.settle()

    assert 2 == len(center.network.to(CLIENT))
    assert "wrong_number" in _kinds(center)


def test_a_strangers_words_of_danger_are_everybodys(center: House) -> None:
    center.text("+15035550999", "I want to kill myself")

    assert ["danger"] == _kinds(center, "north") == _kinds(center, "south")


def test_the_same_text_delivered_twice_is_one_reply(center: House) -> None:
    center.register(language="fr")

    for _ in range(3):
        center.incoming.text_received(CLIENT, "help", "SM-same")
    center.settle()

    assert 2 == len(center.network.to(CLIENT))


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("parked_key", "(:key, now(), 'a test', 'Planted', 1)"),
        # A consent that was taken back may be what waits.
        ("early", "('intake', 1, :key, 99, :key, '{}', now())"),
    ],
)
def test_messages_and_timers_of_a_client_of_whom_anything_waits_wait_with_it(
    center: House, table: str, row: str
) -> None:
    center.clock.move(hours=11)
    story = center.register(language="fr")
    with center.notifications.engine.begin() as conn:
        conn.execute(text(f"INSERT INTO {table} VALUES {row}"), {"key": story["client_id"]})
    center.clock.move(hours=40)
    center.settle()
    while_it_waits = center.network.to(CLIENT)

    with center.notifications.engine.begin() as conn:
        conn.execute(text(f"DELETE FROM {table}"))
    center.settle()

    assert [] == while_it_waits
    assert 2 == len(center.network.to(CLIENT))


def test_a_timer_of_a_client_who_is_set_aside_just_then_does_not_fire(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.clock.move(hours=11)
    story = center.register(language="fr")
    center.settle()
    center.clock.move(hours=40)
    before = center.network.to(CLIENT)
    loop = center.loops()["notifications timers"]
    monkeypatch.setattr(
        timer_loop, "reached", lambda point: center.park("notifications", story["client_id"])
    )

    loop.step()
    monkeypatch.undo()
    center.settle()

    assert before == center.network.to(CLIENT)
    assert center.rows("notifications", "SELECT name FROM timer WHERE name = 'waiting'")


def test_a_day_without_contact_reminds_the_mentor_and_two_ask_a_person(center: House) -> None:
    center.register()
    center.text(JO, "yes")

    center.clock.move(hours=25)
    center.settle()
    after_a_day = center.network.to(JO)[-1]
    center.clock.move(hours=24)
    center.settle()

    assert "TALKED" in after_a_day
    assert "first_contact_late" in _kinds(center)


def test_past_the_promised_hour_the_client_is_told_the_truth(center: House) -> None:
    center.register(language="fr")

    center.clock.move(hours=25)
    center.settle()

    assert "+15035550181" in center.network.to(CLIENT)[-1]


def test_no_answer_is_thanked_and_asks_again(center: House) -> None:
    story = center.register()
    center.text(JO, "yes")

    center.text(JO, "no answer")
    center.text(JO, "talked")

    assert "in_contact" == center.story(story["id"])["state"]


def test_a_mentor_with_two_clients_is_asked_about_one_at_a_time(center: House) -> None:
    center.register()
    center.text(JO, "yes")
    center.register(record_number="R-2", mobile="+15035550130", email=None)

    open_now = center.rows(
        "notifications",
        "SELECT person_id, count(*) AS n FROM question WHERE state = 'open' GROUP BY person_id",
    )

    assert {1} == {row.n for row in open_now}


def test_a_mentor_with_one_channel_is_called_by_the_coordinator(center: House) -> None:
    center.register(facility="south", wants_age_band="26-35", wants_gender="woman")

    assert "call_mentor" in _kinds(center, "south")
    assert not [t for t in center.network.to(NOOR) if "/card/" in t]


# The card


def _code(center: House) -> str:
    said = next(
        letter.text for _, letter in center.network.letters if "Your code is" in letter.text
    )
    return said.split("Your code is ")[1][:6]


def _link(center: House) -> str:
    said = next(letter.text for _, letter in center.network.letters if "/card/" in letter.text)
    return "/messages/card/" + said.split("/card/")[1].split()[0]


def _assigned(center: House) -> dict[str, Any]:
    story = center.register(wishes="Evenings are hard")
    center.text(JO, "yes")
    return story


def test_the_link_and_the_code_go_different_ways(center: House) -> None:
    _assigned(center)

    assert any("/card/" in text for text in center.network.to(JO))
    assert any("Your code is" in text for text in center.network.to(JO_MAIL))
    assert not any("Your code is" in text for text in center.network.to(JO))


def test_links_in_mails_act_only_after_a_button_is_pressed(center: House) -> None:
    center.register(language="fr", mobile=None)
    mail = center.network.to(MAIL)[0]
    link = "/messages/unsubscribe/" + mail.split("/unsubscribe/")[1].split()[0]
    browser = center.pages()

    shown = browser.get(link)
    between = center.rows("notifications", "SELECT * FROM stopped_address")
    browser.post(link, data={"List-Unsubscribe": "One-Click"})

    assert 200 == shown.status_code
    assert [] == between
    assert center.rows("notifications", "SELECT * FROM stopped_address")


def test_a_webhook_without_the_right_signature_is_refused(center: House) -> None:
    center.register(language="fr")
    form = {"From": CLIENT, "Body": "STOP", "MessageSid": "SM-forged"}

    answer = center.pages().post(
        "/messages/webhooks/reply", data=form, headers={"X-Twilio-Signature": "bm8="}
    )

    assert 403 == answer.status_code
    assert [] == center.rows("notifications", "SELECT * FROM stopped_address")


# Modes


def _settings(**changes: Any) -> NotificationsSettings:
    values: dict[str, Any] = {
        "kafka_servers": "", "public_url": "", "database_url": "", "keys_url": "",
        "access_url": "", "search_key": b"", "public_keys": {}, "private_keys": {},
        "smtp_host": "127.0.0.1", "mail_from": "", "twilio_url": "http://127.0.0.1:1",
        "twilio_account": "", "twilio_token": "", "twilio_from": "",
        "sandbox_url": "http://127.0.0.1:1",
    }  # fmt: skip
    return NotificationsSettings(**(values | changes))


@pytest.mark.parametrize(
    "leading", [{"smtp_host": "smtp.example.org"}, {"twilio_url": "https://api.twilio.com"}]
)
def test_a_sandbox_that_leads_elsewhere_does_not_start(leading: dict[str, str]) -> None:
    with pytest.raises(Exception, match="must lead to SANDBOX_URL"):
        check_mode(_settings(**leading))


def test_an_allow_list_stands_between(center: House) -> None:
    allowed = check_mode(_settings(mode="allow-list", allow_list=f"{CLIENT}, {MAIL}"))
    center.sender.allowed = allowed

    center.register()

    assert 1 == len(center.network.to(CLIENT))
    assert [] == center.network.to(JO)
    assert "message_suppressed" in _kinds(center)


def test_times_are_the_clocks_not_the_databases(center: House) -> None:
    story = center.register()

    assert {center.clock.now().isoformat()} == {step["at"] for step in story["steps"]}
    assert timedelta(0) == center.clock.now() - center.notifications.now()


def test_a_timer_that_nobody_knows_stops_none_of_the_others(center: House) -> None:
    story = center.register(language="fr")
    unknown = text("INSERT INTO timer VALUES (:key, 'no-such-kind', :at, '{}')")
    with center.notifications.engine.begin() as conn:
        conn.execute(unknown, {"key": uuid4(), "at": center.clock.now()})
    center.clock.move(hours=25)

    center.settle()

    waiting = "SELECT 1 FROM message WHERE purpose = 'waiting'"
    assert center.rows("notifications", waiting)
    [parked] = center.rows("notifications", "SELECT handler FROM parked_key")
    assert "no-such-kind" == parked.handler
    assert "waiting" == center.story(story["id"])["state"]
