"""What is kept of one person does not open: that is their key's trouble, and nobody else's."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, create_engine, text

from contracts.event import Event
from contracts.sealed import PURPOSES
from messaging import parking, releasing
from messaging.sealing import NotOurs
from messaging.work import Work
from services.matching import coordinating
from services.notifications.channels import Outcome
from services.notifications.store import MESSAGE
from tests.component.test_client_pages import find
from tests.component.test_mentor_pages import visiting
from tests.component.test_offers import HEADER, _mentor
from tests.house import DEMO, House, a_discharge

CLIENT, OTHER, MAIL = "+15035550123", "+15035550130", "sam@example.org"
#: The rows in which services keep what they know of a client: table, and sealed column.
KEPT = {"matching": ("client", "about"), "notifications": ("person", "contact")}
SOMEBODY_ELSE = {"record_number": "R-2", "visit_number": "V-2", "mobile": OTHER}


#: How what is kept may be damaged, as an expression on its column.
DAMAGED = {
    "altered": """jsonb_set({}, '{{box}}', '"own.AAAA"')""",
    "nothing that was sealed": "CAST('{{}}' AS jsonb)",
    "not even that": "CAST('7' AS jsonb)",
    "for nothing we know": """jsonb_set({}, '{{purpose}}', '"about; "')""",
}


def damage(
    center: House,
    service: str,
    person: object,
    kept: tuple[str, str] | None = None,
    how: str = "altered",
) -> Callable[[], None]:
    """Damage what a service keeps of somebody; what puts it back, unless it was written anew."""
    table, column = kept or KEPT[service]
    engine = center.participants[service].engine
    [row] = center.rows(
        service, f"SELECT {column}::text AS was FROM {table} WHERE id = :id", id=person
    )

    def put(value: str, over: str) -> str:
        statement = (
            f"UPDATE {table} SET {column} = {value} WHERE id = :id AND {column}::text = :over"
            f" RETURNING {column}::text"
        )
        with engine.begin() as conn:
            given = {"id": person, "over": over, "was": row.was}
            return str(conn.execute(text(statement), given).scalar())

    damaged = put(DAMAGED[how].format(column), row.was)

    def put_back() -> None:
        put("CAST(:was AS jsonb)", over=damaged)

    return put_back


@contextmanager
def _keys_owner(center: House) -> Iterator[Connection]:
    owner = create_engine(center.settings["KEYS_OWNER_URL"])
    with owner.begin() as conn:
        yield conn
    owner.dispose()


def lose_keys(center: House, persons: list[object], *purposes: str) -> Callable[[], None]:
    """Let keys be from before these were known; what puts them back."""
    lost: dict[str, list[Any]] = {}
    with _keys_owner(center) as conn:
        for purpose in purposes:
            gone = text(f"DELETE FROM key_{purpose} WHERE person = ANY(:ids) RETURNING *")
            lost[purpose] = [dict(row._mapping) for row in conn.execute(gone, {"ids": persons})]

    def put_back() -> None:
        with _keys_owner(center) as conn:
            for purpose, rows in lost.items():
                names = ", ".join(rows[0])
                values = ", ".join(f":{name}" for name in rows[0])
                conn.execute(text(f"INSERT INTO key_{purpose} ({names}) VALUES ({values})"), rows)

    return put_back


def _parked(center: House, service: str) -> set[tuple[str, str]]:
    return {(str(one.key), one.error) for one in parking.listed(center.participants[service])}


def _written_to_in_a_week(center: House) -> set[str]:
    """Everybody to whom something leaves in the next eight days."""
    said = len(center.network.letters)
    for _ in range(8):
        center.clock.move(days=1)
        center.settle()
    return {letter.to for _, letter in center.network.letters[said:]}


def _erase(center: House, client_id: str) -> None:
    assert center.desk.erase(UUID(client_id), by="ops", because="asked")
    center.settle()


@pytest.mark.parametrize("how", DAMAGED)
@pytest.mark.parametrize("service", KEPT)
def test_an_event_of_whoever_does_not_open_parks_their_key_alone(
    center: House, service: str, how: str
) -> None:
    story = center.register(facility="south", needs=["job"])
    put_back = damage(center, service, story["client_id"], how=how)

    center.register_only(facility="south", needs=["housing"])
    other = center.register(facility="south", **SOMEBODY_ELSE)

    assert {(story["client_id"], "NotOurs")} == _parked(center, service)
    assert "assigned" == other["state"]
    assert center.network.to(OTHER)

    put_back()
    assert releasing.replay(center.participants[service], UUID(story["client_id"]))
    center.settle()
    assert set() == _parked(center, service)
    assert "assigned" == center.story(story["id"], "south")["state"]


@pytest.mark.parametrize("lost", [("about",), ("contact",), PURPOSES], ids=str)
def test_whoever_has_no_keys_any_more_is_erased_all_the_same(
    center: House, lost: tuple[str, ...]
) -> None:
    """The keys were put back from before anybody knew this client."""
    story = center.register(facility="south")
    lose_keys(center, [story["client_id"]], *lost)
    for participant in center.participants.values():
        participant.keyring.forget()

    _erase(center, story["client_id"])
    center.register(facility="south", **SOMEBODY_ELSE)

    for service, (table, _) in KEPT.items():
        assert set() == _parked(center, service)
        query = f"SELECT state FROM {table} WHERE id = :id"
        [row] = center.rows(service, query, id=story["client_id"])
        assert row.state in ("erased", "ended")


def test_a_message_to_whoever_does_not_open_waits_and_all_others_leave(center: House) -> None:
    center.sender.is_busy = True
    story = center.register_only(facility="south")
    center.register_only(facility="south", **SOMEBODY_ELSE)
    center.run("intake relay", "notifications consumer")
    put_back = damage(center, "notifications", story["client_id"])

    center.sender.is_busy = False
    center.settle()

    assert {(story["client_id"], "NotOurs")} == _parked(center, "notifications")
    assert [] == center.network.to(CLIENT)
    assert center.network.to(OTHER)

    put_back()
    assert releasing.replay(center.notifications, UUID(story["client_id"]))
    center.settle()
    assert center.network.to(CLIENT)
    assert set() == _parked(center, "notifications")


def test_what_waits_for_nobody_is_somebodys_task_when_it_cannot_leave(center: House) -> None:
    story = center.register(facility="south")
    center.sender.is_busy = True
    center.text_only(CLIENT, "STOP")
    put_back = damage(center, "notifications", story["client_id"])

    center.sender.is_busy = False
    center.settle()

    put_back()
    assert "message_suppressed" in {task["kind"] for task in center.tasks("south")}
    answers = "SELECT state, reason FROM message WHERE purpose LIKE 'stop%'"
    rows = center.rows("notifications", answers)
    assert [("suppressed", "cannot_be_judged")] == [tuple(row) for row in rows]


def test_what_whoever_does_not_open_writes_is_not_lost(center: House) -> None:
    story = center.register(facility="south")
    damage(center, "notifications", story["client_id"])

    center.text(CLIENT, "I want to die")

    assert "danger" in {task["kind"] for task in center.tasks("south")}


def test_what_one_of_two_with_one_phone_writes_is_not_the_others(center: House) -> None:
    story = center.register(facility="south")
    other = center.register(facility="south", **{**SOMEBODY_ELSE, "mobile": CLIENT})
    damage(center, "notifications", story["client_id"])

    center.text(CLIENT, "NO")

    assert {(story["client_id"], "NotOurs")} == _parked(center, "notifications")
    [reply] = center.rows("notifications", "SELECT meaning, words FROM reply")
    assert ("shared", None) == (reply.meaning, reply.words)
    assert "assigned" == center.story(other["id"], "south")["state"]


def test_a_stop_of_whoever_does_not_open_ends_all_that_reaches_them(center: House) -> None:
    story = center.register(facility="south", email=MAIL)
    put_back = damage(center, "notifications", story["client_id"])

    center.text(CLIENT, "STOP")

    put_back()
    assert releasing.replay(center.notifications, UUID(story["client_id"]))
    assert {CLIENT, MAIL}.isdisjoint(_written_to_in_a_week(center))


def test_a_mentor_who_does_not_open_waits_and_what_is_not_of_them_leaves(center: House) -> None:
    center.sender.is_busy = True
    center.register_only(facility="south")
    center.run("intake relay", "matching consumer", "matching relay", "notifications consumer")
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment")
    damage(center, "notifications", row.mentor_id)

    center.sender.is_busy = False
    center.settle()

    assert (str(row.mentor_id), "NotOurs") in _parked(center, "notifications")
    assert 1 == len(center.network.to(CLIENT))


def test_whoever_is_on_call_is_called_about_whoever_does_not_open(center: House) -> None:
    story = center.register(facility="south")
    center.clock.move(hours=10)
    center.settle()
    center.sender.is_busy = True
    center.text_only(CLIENT, "I want to die")
    center.run("notifications relay", "intake consumer", "intake relay", "notifications consumer")
    damage(center, "notifications", story["client_id"])

    center.sender.is_busy = False
    center.settle()

    pages = "SELECT state FROM message WHERE purpose = 'on_call'"
    assert {"handed_over"} == {row.state for row in center.rows("notifications", pages)}


def test_when_nothing_opens_nobody_is_set_aside(center: House) -> None:
    center.sender.is_busy = True
    for number in range(5):
        other = {"record_number": f"R-{number}", "mobile": f"+1503555017{number}"}
        center.register_only(facility="south", **other)
    center.run("intake relay", "notifications consumer")
    for row in center.rows("notifications", "SELECT id FROM person WHERE kind = 'client'"):
        damage(center, "notifications", row.id)

    center.sender.is_busy = False
    with pytest.raises(NotOurs):
        center.sender.step()

    assert set() == _parked(center, "notifications")


def test_a_timer_of_whoever_does_not_open_holds_up_no_other(center: House) -> None:
    story = center.register(facility="south")
    center.register(facility="south", **SOMEBODY_ELSE)
    said = len(center.network.to(OTHER))
    damage(center, "notifications", story["client_id"])

    for _ in range(8):
        center.clock.move(days=1)
        center.settle()

    assert len(center.network.to(OTHER)) > said
    assert {(story["client_id"], "NotOurs")} == _parked(center, "notifications")


def test_whoever_waits_and_does_not_open_is_passed_over(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=0))
    french = {"language": "fr", "facility": "south"}
    waiting = center.register(high_risk=["homeless"], **french)
    other = center.register(**SOMEBODY_ELSE, **french)
    assert ("waiting", "waiting") == (waiting["state"], other["state"])
    damage(center, "matching", waiting["client_id"])

    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=1))

    assert {(waiting["client_id"], "NotOurs")} == _parked(center, "matching")
    assert "assigned" == center.story(other["id"], "south")["state"]


def test_a_mentor_who_does_not_open_is_chosen_by_nobody_and_told_of(center: House) -> None:
    [first, *others] = center.rows(
        "matching",
        "SELECT id FROM mentor WHERE :at = ANY(facility_ids) ORDER BY id",
        at=center.desk.facility("south").id,
    )
    assert others
    damage(center, "matching", first.id, ("mentor", "profile"))

    story = center.register(facility="south")

    assert "assigned" == story["state"]
    assert {(str(first.id), "NotOurs")} == _parked(center, "matching")


def test_a_page_shows_everybody_else(center: House) -> None:
    story = center.register(facility="south")
    center.register(facility="south", **SOMEBODY_ELSE)
    damage(center, "intake", story["client_id"], ("client", "person"))

    page = find(center.browser("clerk", "south"), "sam doe")

    assert "One client is found" in page
    assert "R-2" in page


@pytest.mark.parametrize(
    ("whose", "kept"),
    [
        ("discharge", ("discharge", "details")),
        ("mentor", ("mentor_name", "name")),
        ("facility", ("facility", "people")),
    ],
)
def test_a_story_and_the_tasks_are_told_without_what_does_not_open(
    center: House, whose: str, kept: tuple[str, str]
) -> None:
    story = center.register(facility="south")
    held = center.register(facility="south", born_on=None, **SOMEBODY_ELSE)
    ids = {"discharge": story["id"], "facility": center.desk.facility("south").id}
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment")
    ids["mentor"] = row.mentor_id
    told = {"mentor_name": "mentor_id"}.get(kept[0], "id")
    engine = center.intake.engine
    with engine.begin() as conn:
        damaged = DAMAGED["altered"].format(kept[1])
        statement = f"UPDATE {kept[0]} SET {kept[1]} = {damaged} WHERE {told} = :id"
        assert 1 == conn.execute(text(statement), {"id": ids[whose]}).rowcount
    clerk = center.browser("clerk", "south")

    again = center.story(story["id"], "south")
    tasks = center.tasks("south")
    pages = [clerk.get("/"), clerk.get(f"/discharges/{story['id']}")]

    assert [step["what"] for step in story["steps"]] == [step["what"] for step in again["steps"]]
    assert [("held", held["id"])] == [(task["kind"], task["discharge_id"]) for task in tasks]
    assert [200, 200] == [page.status_code for page in pages]


@pytest.mark.parametrize("kept", [("client", "person"), ("discharge", "details")])
def test_what_comes_of_whoever_does_not_open_is_refused_told_of_and_taken_later(
    center: House, kept: tuple[str, str]
) -> None:
    """By a caller of the API and by a feed; both go on with everybody else."""
    story = center.register(facility="south", needs=["job"])
    put_back = damage(center, "intake", story[f"{'client_' * (kept[0] == 'client')}id"], kept)
    body = a_discharge(center.clock.now(), facility="south", needs=["housing"])
    contact = {"facility": "south", "record_number": "R-1001", "mobile": OTHER}
    raw = (
        "MSH|^~\\&|EHR|S|WH|P|20261124094000||ADT^A03|C-1|P|2.5.1\r"
        "PID|||R-1001^^^S^MR||Doe^Sam||19900402\rPV1||I|||||||||||||||||V-1\r"
    )
    caller = center.api("south")

    def sent() -> bytes:
        return caller.post(
            "/api/hl7", data=raw.encode(), content_type="application/hl7-v2"
        ).get_data()

    answers = [
        caller.post("/api/discharges", json=body, headers={"Idempotency-Key": "k"}),
        caller.put("/api/contact", json=contact),
    ]
    acknowledged = sent()
    tasks = center.tasks("south")

    for answer in answers:
        assert 422 == answer.status_code
        [error] = answer.get_json()["errors"]
        assert "record_number" == error["field"]
        assert "send this again" in error["message"]
    assert b"MSA|AE" in acknowledged
    assert [("unopened", story["id"])] == [(task["kind"], task["discharge_id"]) for task in tasks]
    assert "assigned" == center.register(facility="south", **SOMEBODY_ELSE)["state"]

    put_back()
    again = caller.post("/api/discharges", json=body, headers={"Idempotency-Key": "k"})
    assert (202, story["id"]) == (again.status_code, again.get_json()["id"])
    assert b"MSA|AA" in sent()


def test_a_receipt_of_whoever_does_not_open_is_written_and_their_key_waits(center: House) -> None:
    story = center.register(facility="south", email=MAIL)
    damage(center, "notifications", story["client_id"])
    [first] = _first_of(center, story)

    center.incoming.receipt(first.id, "undelivered", first.provider_id, "30003")
    center.settle()

    assert ["failed"] == [one.state for one in _first_of(center, story)]
    assert {(story["client_id"], "NotOurs")} == _parked(center, "notifications")
    assert "message_failed" in {task["kind"] for task in center.tasks("south")}


def test_a_stop_to_the_carrier_of_whoever_does_not_open_ends_every_channel(center: House) -> None:
    story = center.register(facility="south", email=MAIL)
    put_back = damage(center, "notifications", story["client_id"])
    [first] = _first_of(center, story)

    center.incoming.receipt(first.id, "undelivered", first.provider_id, "21610")
    center.settle()

    put_back()
    assert {CLIENT, MAIL}.isdisjoint(_written_to_in_a_week(center))


def test_what_became_of_a_batch_is_written_though_one_of_them_opens_no_more(center: House) -> None:
    center.sender.is_busy = True
    story = center.register_only(facility="south", email=MAIL)
    center.register_only(facility="south", **SOMEBODY_ELSE)
    center.run("intake relay", "notifications consumer")
    leased = center.sender._lease()
    damage(center, "notifications", story["client_id"])
    rejected = Outcome(kind="rejected", phase="answer", reason="twilio_30003")
    accepted = Outcome(kind="accepted", phase="answer", provider_id="SM-1")

    center.sender._record(
        [(one, rejected if one.letter.to == CLIENT else accepted) for one in leased]
    )

    states = center.rows("notifications", "SELECT state FROM message ORDER BY state")
    assert ["failed", "handed_over"] == [row.state for row in states]
    assert {(story["client_id"], "NotOurs")} == _parked(center, "notifications")


def test_a_client_whose_mentor_does_not_open_is_erased_and_the_mentor_told_later(
    center: House,
) -> None:
    story = center.register(facility="south")
    [row] = center.rows("notifications", "SELECT mentor_id FROM assignment")
    put_back = damage(center, "notifications", row.mentor_id)

    _erase(center, story["client_id"])

    assert {(str(row.mentor_id), "NotOurs")} == _parked(center, "notifications")
    [client] = center.rows("notifications", "SELECT state FROM person WHERE kind = 'client'")
    assert "erased" == client.state

    put_back()
    assert releasing.replay(center.notifications, row.mentor_id)
    center.settle()
    query = "SELECT state FROM message WHERE purpose = 'ended_for_mentor'"
    assert ["handed_over"] == [one.state for one in center.rows("notifications", query)]


def test_a_mentor_whose_client_does_not_open_is_erased_and_the_client_waits(center: House) -> None:
    story = center.register(facility="south")
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment")
    put_back = damage(center, "matching", story["client_id"])

    assert coordinating.erase_mentor(center.matching, row.mentor_id, by="ops", because="asked")
    center.settle()

    [client] = center.rows("matching", "SELECT state FROM client")
    assert "waiting" == client.state
    assert {(story["client_id"], "NotOurs")} == _parked(center, "matching")

    put_back()
    assert releasing.replay(center.matching, UUID(story["client_id"]))
    center.settle()
    assert "assigned" == center.story(story["id"], "south")["state"]


def test_whoever_waits_and_could_not_be_told_of_is_passed_over(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=0))
    french = {"language": "fr", "facility": "south"}
    waiting = center.register(high_risk=["homeless"], **french)
    other = center.register(**SOMEBODY_ELSE, **french)
    put_back = lose_keys(center, [waiting["client_id"]], "identity")

    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=2))

    assert {(waiting["client_id"], "KeyAbsent")} == _parked(center, "matching")
    assert "assigned" == center.story(other["id"], "south")["state"]

    put_back()
    assert releasing.replay(center.matching, UUID(waiting["client_id"]))
    center.settle()
    assert "assigned" == center.story(waiting["id"], "south")["state"]


def test_mentors_whose_keys_are_lost_are_told_of_once_and_chosen_again_at_once(
    center: House,
) -> None:
    center.register(facility="south")
    others = [
        row.id
        for row in center.rows(
            "matching",
            "SELECT id FROM mentor WHERE :at = ANY(facility_ids)"
            " AND id NOT IN (SELECT mentor_id FROM assignment)",
            at=center.desk.facility("south").id,
        )
    ]
    put_back = lose_keys(center, others, "about")

    center.register(facility="south", **SOMEBODY_ELSE)
    center.matching.keyring.forget()
    center.register(facility="south", record_number="R-3", mobile="+15035550131")

    parked = {(str(one), "KeyAbsent") for one in others}
    assert parked == _parked(center, "matching")
    told = center.rows("matching", "SELECT key FROM outbox WHERE type = 'KeyParked'")
    assert sorted(others) == sorted(row.key for row in told)

    put_back()
    for one in others:
        assert releasing.replay(center.matching, one)
    seen: set[UUID] = set()

    def look(work: Work) -> Iterable[Event]:
        mentors, _ = work.store.roster(center.desk.facility("south").id)
        seen.update(mentors)
        return ()

    center.matching.transact(look)
    assert seen.issuperset(others)
    assert set() == _parked(center, "matching")


def test_a_roster_that_names_a_mentor_who_does_not_open_is_loaded(center: House) -> None:
    """What the file says of them is as good as what was kept; it held up all files after it."""
    [paused] = center.rows("matching", "SELECT id FROM mentor WHERE code = 'M-01'")
    coordinating.set_state(center.matching, paused.id, active=False)
    damage(center, "matching", paused.id, ("mentor", "profile"))
    named = [_mentor(code, n) for n, code in enumerate(("F-1", "M-01", "F-2"), start=1)]

    center.load_mentors(HEADER + "".join(named))
    center.settle()

    query = "SELECT code, state FROM mentor WHERE code IN ('F-1', 'M-01', 'F-2') ORDER BY code"
    found = [tuple(row) for row in center.rows("matching", query)]
    assert [("F-1", "active"), ("F-2", "active"), ("M-01", "paused")] == found
    coordinating.set_state(center.matching, paused.id, active=True)
    assert ("M-01", "active") == tuple(center.rows("matching", query)[2])


def test_a_roster_of_whom_nobody_opens_is_loaded_later(center: House) -> None:
    rows = center.rows("matching", "SELECT id, code FROM mentor ORDER BY code LIMIT 5")
    for row in rows:
        damage(center, "matching", row.id, ("mentor", "profile"))

    with pytest.raises(NotOurs):
        center.load_mentors(HEADER + "".join(_mentor(r.code, n) for n, r in enumerate(rows)))


def test_whoever_is_to_be_looked_for_and_does_not_open_waits_for_a_person_too(
    center: House,
) -> None:
    """Nobody has a place for them, so that no place that becomes free would find them."""
    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north"))
    story = center.register(facility="north", language="fr")
    assert "offered" == story["state"]
    put_back = damage(center, "matching", story["client_id"])
    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE mentor SET state = 'paused' WHERE code <> 'F-1'"))

    center.text("+15035552001", "PAUSE")

    assert {(story["client_id"], "NotOurs")} == _parked(center, "matching")
    assert ["parked"] == [task["kind"] for task in center.tasks()]

    assert releasing.replay(center.matching, UUID(story["client_id"]))
    center.settle()
    assert {(story["client_id"], "NotOurs")} == _parked(center, "matching"), "too soon"
    assert ["parked"] == [task["kind"] for task in center.tasks()]

    put_back()
    assert releasing.replay(center.matching, UUID(story["client_id"]))
    center.settle()
    assert "waiting" == center.story(story["id"])["state"]
    assert ["nobody_available"] == [task["kind"] for task in center.tasks()]


def test_a_mentor_who_lost_their_number_and_does_not_open_is_told_on_the_other_channel(
    center: House,
) -> None:
    story = center.register(facility="south")
    [row] = center.rows("notifications", "SELECT mentor_id FROM assignment")
    texts = {letter.to for _, letter in center.network.letters if letter.to.startswith("+")}
    [number] = texts - {CLIENT}
    center.text(number, "WRONG NUMBER")
    put_back = damage(center, "notifications", row.mentor_id)

    _erase(center, story["client_id"])
    put_back()
    assert releasing.replay(center.notifications, row.mentor_id)
    center.settle()

    query = "SELECT state, channel FROM message WHERE purpose = 'ended_for_mentor'"
    assert [("handed_over", "email")] == [tuple(one) for one in center.rows("notifications", query)]


def test_whoever_does_not_open_and_waits_for_a_person_is_told_of_when_they_do(
    center: House,
) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north"))
    story = center.register(facility="north", language="fr")
    center.park("matching", story["client_id"])
    put_back = damage(center, "matching", story["client_id"])
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment")
    coordinating.erase_mentor(center.matching, row.mentor_id, by="ops", because="asked")

    put_back()
    assert releasing.replay(center.matching, UUID(story["client_id"]))
    center.settle()

    assert ["nobody_available"] == [task["kind"] for task in center.tasks()]


def test_whoever_does_not_open_and_is_discharged_anew_is_as_good_as_new(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=0))
    story = center.register(facility="south", language="fr")
    assert "waiting" == story["state"]
    damage(center, "matching", story["client_id"])

    again = center.register(facility="south", language="en", visit_number="V-9")

    assert "assigned" == again["state"]
    assert set() == _parked(center, "matching")


def _french(center: House, count: int, state: str) -> list[dict[str, Any]]:
    """Clients whose language one mentor has, and where they come to stand."""
    found = [
        center.register(
            facility="south",
            language="fr",
            record_number=f"R-{number}",
            visit_number=f"V-{number}",
            mobile=f"+1503555013{number}",
        )
        for number in range(count)
    ]
    assert {state} == {one["state"] for one in found}
    return found


@pytest.mark.parametrize("untold", [False, True])
def test_many_who_wait_and_do_not_open_keep_no_place_from_one_who_does(
    center: House, untold: bool
) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=0))
    first, *others = _french(center, 6, "waiting")
    for one in others:
        damage(center, "matching", one["client_id"])
    with center.matching.engine.begin() as conn:
        conn.execute(
            text(f"UPDATE client SET untold = {untold} WHERE id <> :id"), {"id": first["client_id"]}
        )

    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=1))

    assert "assigned" == center.story(first["id"], "south")["state"]


def test_whoever_is_let_go_is_so_though_many_beside_them_do_not_open(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=0))
    first, *others = _french(center, 6, "waiting")
    center.park("matching", first["client_id"])
    for one in others:
        damage(center, "matching", one["client_id"])

    assert releasing.replay(center.matching, UUID(first["client_id"]))
    assert {one["client_id"] for one in others} == {key for key, _ in _parked(center, "matching")}


def test_a_mentor_of_whose_clients_none_opens_is_erased(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=5))
    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE facility SET asks = false"))
    _french(center, 5, "assigned")
    [row] = center.rows("matching", "SELECT DISTINCT mentor_id FROM assignment")
    for client in center.rows("matching", "SELECT id FROM client"):
        damage(center, "matching", client.id)

    assert coordinating.erase_mentor(center.matching, row.mentor_id, by="ops", because="asked")

    assert 5 == len(_parked(center, "matching"))


def _first_of(center: House, story: dict[str, Any]) -> list[Any]:
    query = "SELECT * FROM message WHERE purpose = 'first' AND subject_id = :id ORDER BY id"
    return center.rows("notifications", query, id=story["client_id"])


def test_a_wish_to_talk_is_heard_though_the_mentor_does_not_open(center: House) -> None:
    center.register(facility="south")
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment")
    put_back = damage(center, "notifications", row.mentor_id)

    center.text(CLIENT, "talk")

    assert [("talk",)] == [
        tuple(r) for r in center.rows("notifications", "SELECT meaning FROM reply")
    ]
    assert "wants_to_talk" in {task["kind"] for task in center.tasks("south")}

    put_back()
    assert releasing.replay(center.notifications, row.mentor_id)
    center.settle()
    query = "SELECT state FROM message WHERE purpose = 'wants_to_talk'"
    assert {"handed_over"} == {one.state for one in center.rows("notifications", query)}


def test_many_messages_of_one_who_does_not_open_hold_up_nobody_else(center: House) -> None:
    """All that is looked at together may be one person's."""
    center.register(facility="south")
    [card] = center.rows("notifications", "SELECT * FROM message WHERE purpose = 'card'")
    damage(center, "notifications", card.person_id)
    with center.notifications.engine.begin() as conn:
        for number in range(30):
            row = card._asdict() | {"id": uuid4(), "once": f"more/{number}", "purpose": "reminder"}
            row |= {"state": "planned", "due_at": center.clock.now(), "attempts": 0}
            row |= {"first_due_at": center.clock.now(), "lease_until": None}
            kept = {name: row[name] for name in row if name in MESSAGE.c}
            conn.execute(MESSAGE.insert().values(kept))
    center.clock.move(minutes=1)

    center.register(facility="south", **SOMEBODY_ELSE)

    assert center.network.to(OTHER)
    assert card.person_id in {one.key for one in parking.listed(center.notifications)}


def test_a_mentors_page_shows_their_other_clients(center: House) -> None:
    roster = (DEMO / "demo-mentors.csv").read_text().splitlines()
    mentors = {row["mobile"]: row for row in csv.DictReader(roster)}
    for number in range(9):
        other = {"record_number": f"R-{number}", "mobile": f"+1503555013{number}", "email": None}
        center.register(facility="south", visit_number=f"V-{number}", **other)
    query = (
        "SELECT array_agg(client_id) AS clients, array_agg(id) AS ids FROM assignment"
        " WHERE state = 'assigned' GROUP BY mentor_id HAVING count(*) > 1"
    )
    several = {str(i): r for r in center.rows("notifications", query) for i in r.ids}
    told = [m for m in mentors if mentors[m]["email"] and "/card/" in "".join(center.network.to(m))]
    visits = (visiting(center, mobile, mentors[mobile]["email"]) for mobile in told)
    browser, mine = next(v for v in visits if any(one in v[1] for one in several))
    row = next(several[one] for one in several if one in mine)
    other = next(c for c, i in zip(row.clients, row.ids, strict=True) if str(i) not in mine)
    damage(center, "notifications", other)

    assert 200 == browser.get("/messages/people").status_code
