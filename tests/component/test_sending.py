"""What is looked at in the moment of sending, whatever was true when it was planned."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from contracts.envelope import Envelope, to_headers
from messaging.broker import Outgoing
from messaging.unavailable import AnotherDatabase, Unavailable
from services.notifications import sender
from services.notifications.channels import Letter, Outcome
from tests.house import House, RecordingChannel, a_discharge

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


def _plan_first(center: House) -> None:
    """The client is discharged, and notifications hears of it; its sender has not come by."""
    answer = center.api().post("/api/discharges", json=a_discharge(center.clock.now()))
    assert 202 == answer.status_code
    center.run("intake relay", "notifications consumer")


def _first(center: House) -> tuple[str, str | None]:
    [row] = center.rows("notifications", "SELECT * FROM message WHERE purpose = 'first'")
    return row.state, row.reason


def test_what_is_planned_leaves_as_soon_as_it_is_committed(center: House) -> None:
    _plan_first(center)

    assert ("handed_over", None) == _first(center)
    assert 1 == len(center.network.to(CLIENT))


def test_what_is_about_to_leave_when_a_worker_is_told_to_stop_leaves(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over_all = sender.Sender._hand_over_all

    def later(self: sender.Sender, *given: Any) -> Any:
        time.sleep(0.3)
        return hand_over_all(self, *given)

    monkeypatch.setattr(sender.Sender, "_hand_over_all", later)
    center.sender.beside = ThreadPoolExecutor(2 * sender.THREADS)
    _plan_first(center)

    center.sender.close()

    assert ("handed_over", None) == _first(center)


def test_what_is_planned_while_others_leave_waits_its_turn(center: House) -> None:
    center.sender.is_busy = True

    _plan_first(center)

    assert ("planned", None) == _first(center)
    center.settle()
    assert 1 == len(center.network.to(CLIENT))


def test_what_is_known_of_a_message_is_written_once_the_database_is_back(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, write = [True, False], center.sender._write

    def not_at_once(results: Any) -> None:
        if away.pop(0):
            raise Unavailable("the database is away")
        write(results)

    monkeypatch.setattr(center.sender, "_write", not_at_once)
    _plan_first(center)

    assert [] == away
    assert ("handed_over", None) == _first(center)


@pytest.mark.parametrize(
    "waits",
    [
        "parked_key (key, parked_at, handler, error, attempts)"
        " SELECT id, now(), 'x', 'y', 1 FROM person WHERE kind = 'mentor'",
        "early SELECT 'intake', 1, id, 99, id, '{}', now() FROM person WHERE kind = 'mentor'",
    ],
    ids=["parked", "early"],
)
def test_what_is_planned_for_one_of_whom_anything_waits_waits_with_it(
    center: House, waits: str
) -> None:
    story = center.register()
    center.text(JO, "yes")
    with center.notifications.engine.begin() as conn:
        conn.execute(text(f"INSERT INTO {waits}"))
    before = len(center.network.letters)

    center.api().post(f"/api/discharges/{story['id']}/cancel")
    center.settle()

    rows = center.rows(
        "notifications", "SELECT state FROM message WHERE purpose = 'ended_for_mentor'"
    )
    assert (["planned"], before) == ([row.state for row in rows], len(center.network.letters))


def test_nothing_leaves_with_the_work_that_keeps_something_early(center: House) -> None:
    story = center.register_only(facility="south")
    while center.loops()["intake relay"].step():
        pass
    [client] = center.rows("intake", "SELECT client_id FROM discharge")
    later = Envelope(
        event_id=uuid4(),
        type="SomethingNew",
        at=center.clock.now(),
        producer="intake",
        epoch=1,
        seq=99,
        key=client.client_id,
        traceparent="",
    )
    key = str(client.client_id).encode()
    center.broker.append(
        Outgoing(topic="intake-events", key=key, value=b"{}", headers=to_headers(later))
    )

    center.settle()

    assert "assigned" == center.story(story["id"], "south")["state"]
    assert [] == center.network.to(CLIENT)


def test_while_intake_is_silent_nothing_opens_a_conversation(center: House) -> None:
    center.settle()
    with center.notifications.engine.begin() as conn:
        conn.execute(text("UPDATE stored_offset SET heard_at = heard_at - interval '90 seconds'"))

    center.register()
    assert [] == center.network.to(CLIENT)
    center.text(CLIENT, "i want to die")
    assert [True] == ["911" in said for said in center.network.to(CLIENT)]

    center.loops()["intake relay"]._beaten_at = float("-inf")
    center.settle()
    assert 2 == len(center.network.to(CLIENT))


class _AnHourAhead(datetime):
    """What a machine with a wrong clock says."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        """An hour from now."""
        return datetime.now(tz) + timedelta(hours=1)


def test_the_databases_clock_judges_a_lease_and_not_the_machines(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sender, an hour ahead, looks for leases that ran out while a letter leaves."""
    monkeypatch.setattr(sender, "datetime", _AnHourAhead)
    left = "SELECT lease_until - clock_timestamp() AS left FROM message WHERE state = 'leased'"
    seen: list[timedelta] = []

    def another_looks(channel: str, letter: Letter) -> None:
        seen.extend(row.left for row in center.rows("notifications", left))
        center.sender._expire()

    center.network.witness = another_looks
    center.register()

    assert {True} == {timedelta() < one <= sender.LEASE for one in seen}
    assert (
        0
        == center.rows("notifications", "SELECT count(*) FROM message WHERE state = 'unconfirmed'")[
            0
        ][0]
    )


def test_what_a_person_was_asked_about_is_not_sent_again_by_a_late_answer(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_taken_for_dead(channel: RecordingChannel, letter: Letter) -> Outcome:
        with center.notifications.engine.begin() as conn:
            conn.execute(text("UPDATE message SET lease_until = 'epoch' WHERE state = 'leased'"))
        center.sender._expire()
        return Outcome(kind="retry", phase="done", reason="smtp_451")

    with monkeypatch.context() as once:
        once.setattr(RecordingChannel, "send", is_taken_for_dead)
        _plan_first(center)
    center.clock.move(minutes=5)
    center.settle()

    assert ("unconfirmed", "lease_expired") == _first(center)
    assert [] == center.network.to(CLIENT)


def test_what_was_sent_is_not_sent_again_when_its_lease_is_forgotten(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby took over that did not have the lease yet."""
    send = RecordingChannel.send

    def forgets(channel: RecordingChannel, letter: Letter) -> Outcome:
        back = "state = 'planned', attempts = attempts - 1, lease_until = NULL"
        with center.notifications.engine.begin() as conn:
            conn.execute(text(f"UPDATE message SET {back} WHERE state = 'leased'"))
        return send(channel, letter)

    with monkeypatch.context() as once:
        once.setattr(RecordingChannel, "send", forgets)
        _plan_first(center)
    center.settle()

    assert "handed_over" == _first(center)[0]
    assert 1 == len(center.network.to(CLIENT))


def test_what_was_sent_is_asked_about_when_another_database_has_forgotten_its_lease(
    center: House,
) -> None:
    center.sender.is_busy = True
    _plan_first(center)
    [leased] = center.sender._lease()
    forgets = "UPDATE message SET state = 'planned', attempts = 0, lease_until = NULL"
    accepted = Outcome(kind="accepted", phase="answer", provider_id="SM-1")
    with center.notifications.engine.begin() as conn:
        conn.execute(text(forgets))
        conn.execute(text("UPDATE epoch SET system = 1, timeline = 1"))

    try:
        with pytest.raises(AnotherDatabase):
            center.sender._record([(leased, accepted)])
    finally:
        with center.notifications.engine.begin() as conn:
            conn.execute(text("UPDATE epoch SET system = NULL, timeline = NULL"))
    center.sender._expire()

    assert ("unconfirmed", "lease_expired") == _first(center)


def _lease_one(center: House) -> sender.Leased:
    [leased] = center.sender._lease()
    return leased


RETRY = Outcome(kind="retry", phase="done", reason="smtp_451")
ACCEPTED = Outcome(kind="accepted", phase="answer", provider_id="SM-1")


def test_an_answer_that_is_written_twice_says_nothing_of_the_next_attempt(center: House) -> None:
    """The commit's own answer was lost, and it is tried again when another attempt has begun."""
    center.sender.is_busy = True
    _plan_first(center)
    before = _lease_one(center)
    center.sender._record([(before, RETRY)])
    center.clock.move(minutes=5)
    after = _lease_one(center)

    center.sender._record([(before, RETRY)])
    assert "leased" == _first(center)[0]
    center.sender._record([(after, ACCEPTED)])

    center.clock.move(minutes=5)
    assert [] == center.sender._lease()
    assert "handed_over" == _first(center)[0]


def test_what_became_of_a_batch_is_written_whatever_became_of_the_one_before(
    center: House,
) -> None:
    center.sender.is_busy = True
    _plan_first(center)
    center.sender._recording = [_failed()]

    with pytest.raises(LookupError):
        center.sender.step()
    center.sender.step()
    center.sender.finish_recording()

    assert "handed_over" == _first(center)[0]


def test_a_sender_that_cannot_write_what_left_sends_no_more_and_hears_a_stop(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.sender.is_busy = True
    _plan_first(center)
    unwritten: list[Future[None]] = [Future(), Future()]
    center.sender._recording = [*unwritten]

    monkeypatch.setattr(sender, "WRITTEN_WITHIN_SECONDS", 0.01)
    try:
        with pytest.raises(Unavailable):
            center.sender.step()
        assert "planned" == _first(center)[0]
    finally:
        unwritten[0].set_result(None)
        center.sender.step()
        unwritten[1].set_result(None)
        center.sender.finish_recording()
    assert "handed_over" == _first(center)[0]


def test_a_sender_hangs_up_whatever_became_of_the_batch_before(center: House) -> None:
    one = center._make_sender()
    one._recording = [_failed()]

    with pytest.raises(LookupError):
        one.close()

    with pytest.raises(RuntimeError):
        one._pool.submit(print)


def _failed() -> Future[None]:
    failed: Future[None] = Future()
    failed.set_exception(LookupError())
    return failed


def test_what_became_of_a_batch_is_written_when_the_database_is_back_however_late(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.sender.is_busy = True
    _plan_first(center)
    leased = _lease_one(center)
    write, tries = sender.Sender._write, iter([Unavailable()])

    def is_away_at_first(self: sender.Sender, results: Any) -> None:
        for error in tries:
            with center.notifications.engine.begin() as conn:
                conn.execute(text("UPDATE message SET lease_until = 'epoch'"))
            center.sender._expire()
            raise error
        write(self, results)

    monkeypatch.setattr(sender.Sender, "_write", is_away_at_first)
    center.sender._record([(replace(leased, ends=0.0), ACCEPTED)])

    assert "handed_over" == _first(center)[0]


def test_a_lease_that_ran_out_hands_nothing_over(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process stood still: a person was told that nobody can say whether it left."""
    monkeypatch.setattr(sender, "LEASE", -sender.LEASE)

    center.register()

    assert [] == center.network.to(CLIENT)
    assert ("unconfirmed", "lease_expired") == _first(center)


def test_what_was_planned_at_one_moment_is_read_in_the_order_in_which_it_was_said(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = RecordingChannel.send

    def slow_at_first(channel: RecordingChannel, letter: Letter) -> Outcome:
        time.sleep(0.05 if "You asked us" in letter.text else 0)
        return send(channel, letter)

    monkeypatch.setattr(RecordingChannel, "send", slow_at_first)
    phones = [f"+1503555{1000 + n}" for n in range(4)]
    for n, phone in enumerate(phones):
        visit = {"record_number": f"R-{n}", "visit_number": f"V-{n}", "mobile": phone}
        center.register_only(facility="south", **visit)
    # Who is behind reads the discharge and the mentor together.
    center.settle(deaf="notifications")
    center.settle()

    texts = [center.network.to(phone) for phone in phones]

    assert {2} == {len(each) for each in texts}
    assert all("You asked us to stay in touch" in each[0] for each in texts)


def test_what_leaves_next_is_found_without_looking_at_all_that_is_due(center: House) -> None:
    """After a night or an outage thousands are due, and each batch would sort them all."""
    with center.notifications.engine.connect() as conn:
        conn.execute(_THOUSANDS)
        conn.execute(text("ANALYZE message"))
        due = sender._DUE.compile(conn, compile_kwargs={"render_postcompile": True})
        given = due.construct_params({"now": center.clock.now()})
        plan = conn.exec_driver_sql(f"EXPLAIN {due}", given).scalars().all()

    assert any("Index Scan using message_next" in line for line in plan)
    assert not any("Sort Key: message" in line for line in plan)


_THOUSANDS = text(
    "INSERT INTO message (id, once, recipient, subject_id, purpose, channel, is_answer, state,"
    " due_at, first_due_at, attempts) SELECT gen_random_uuid(), 'many-' || n, 'client',"
    " gen_random_uuid(), 'check_in', 'sms', n % 50 = 0, 'planned', at, at, 0"
    " FROM (SELECT n, clock_timestamp() - interval '1 year' AS at"
    " FROM generate_series(1, 5000) AS n) AS many"
)
