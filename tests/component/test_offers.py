"""Offers, places and the wait-list, over real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.check import gather, judge
from services.intake.facilities import load_facilities
from services.matching.loading import decide, find_load, judge_file
from services.matching.looking import facility_named
from services.matching.store import Store
from tests.house import DEMO, House

JO, CLIENT = "+15035550101", "+15035550123"
HEADER = (
    "code,called,mobile,opted_in_at,opted_in_how,time_zone,languages,moud_friendly,facilities,"
    "capacity,hours,route,route_ends_on,state\n"
)


def _mentor(code: str, number: int, **changes: Any) -> str:
    row = {
        "code": code,
        "called": f"M{number}",
        "mobile": f"+1503555{2000 + number}",
        "opted_in_at": "2026-01-05T10:00:00-08:00",
        "opted_in_how": "form",
        "time_zone": "America/Los_Angeles",
        "languages": "fr",
        "moud_friendly": "yes",
        "facilities": "south",
        "capacity": "1",
        "hours": "09:00-20:00",
        "route": "workforce",
        "route_ends_on": "",
        "state": "active",
    } | {name: str(value) for name, value in changes.items()}
    return ",".join(row.values()) + "\n"


def _another(center: House, number: int, **changes: Any) -> dict[str, Any]:
    return center.register(
        record_number=f"R-{number}", mobile=f"+1503555{3000 + number}", email=None, **changes
    )


def _active(center: House, client_id: str) -> list[Any]:
    return center.rows(
        "matching",
        "SELECT state, mentor_id FROM assignment WHERE client_id = :c AND state <> 'ended'",
        c=client_id,
    )


def test_nobody_who_speaks_the_language_waits_with_a_reason_and_a_task(center: House) -> None:
    story = center.register(language="fr")

    waiting = next(step for step in story["steps"] if step["what"] == "waiting")
    assert "waiting" == story["state"]
    assert "no shared language" in waiting["why"]
    assert "language" in waiting["change"]
    assert ["nobody_available"] == [task["kind"] for task in center.tasks()]


def test_a_mentor_who_comes_is_asked_for_the_one_who_waits(center: House) -> None:
    story = center.register(language="fr", facility="south")

    center.load_mentors(HEADER + _mentor("F-1", 1))

    assert "assigned" == center.story(story["id"], "south")["state"]
    # Their only task left is to call the mentor, who has no second channel for the card.
    assert ["call_mentor"] == [task["kind"] for task in center.tasks("south")]


def test_a_place_that_frees_goes_to_the_riskiest_who_waits(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1))
    first = _another(center, 1, language="fr", facility="south")
    ordinary = _another(center, 2, language="fr", facility="south")
    center.clock.move(minutes=5)
    risky = _another(center, 3, language="fr", facility="south", reason="left_against_advice")

    center.api("south").post(f"/api/discharges/{first['id']}/cancel")
    center.settle()

    assert "assigned" == center.story(risky["id"], "south")["state"]
    assert "waiting" == center.story(ordinary["id"], "south")["state"]


def test_a_mentor_is_asked_one_thing_at_a_time(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north", capacity=3))

    _another(center, 1, language="fr")
    second = _another(center, 2, language="fr")

    assert "waiting" == second["state"]
    center.text("+15035552001", "yes")
    assert "offered" == center.story(second["id"])["state"]


def test_a_late_yes_changes_nothing_and_is_answered(center: House) -> None:
    story = center.register()
    center.clock.move(hours=3)
    center.settle()

    center.text(JO, "yes")

    assert "offered" == center.story(story["id"])["state"]
    assert 1 == len(_active(center, story["client_id"]))
    assert center.network.to(JO)[-1] == center.network.to(JO)[-2]


def test_someone_else_is_found_and_never_the_same_again(center: House) -> None:
    story = center.register(facility="south")
    before = _active(center, story["client_id"])[0].mentor_id

    center.text(CLIENT, "someone else please")

    after = _active(center, story["client_id"])[0].mentor_id
    assert before != after
    assert "assigned" == center.story(story["id"], "south")["state"]


def test_a_clients_no_ends_it_without_a_reason(center: House) -> None:
    story = center.register(facility="south")

    center.text(CLIENT, "No")

    told = center.story(story["id"], "south")
    assert ("closed", "client_declined") == (told["state"], told["closed_because"])
    assert [] == _active(center, story["client_id"])
    assert ["client_declined"] == [task["kind"] for task in center.tasks("south")]


@pytest.mark.parametrize("ends", ["cancel", "custody", "death"])
def test_what_ends_a_discharge_ends_its_offer(center: House, ends: str) -> None:
    story = center.register()

    if ends == "cancel":
        center.api().post(f"/api/discharges/{story['id']}/cancel")
        center.settle()
    else:
        center.register(reason={"custody": "incarcerated", "death": "died"}[ends])

    assert [] == _active(center, story["client_id"])
    assert "held" if ends == "custody" else "closed" == center.story(story["id"])["state"]
    assert "settled" in center.network.to(JO)[-1] or len(center.network.to(JO)) == 2


def test_a_pause_asks_nobody_and_back_asks_again(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1))
    center.text("+15035552001", "pause")
    story = _another(center, 1, language="fr", facility="south")
    assert "waiting" == story["state"]

    center.text("+15035552001", "back")

    assert "assigned" == center.story(story["id"], "south")["state"]


def test_an_agreement_that_has_ended_opens_no_route(center: House) -> None:
    ended = _mentor("F-1", 1, route="qsoa", route_ends_on="2026-11-23")
    center.load_mentors(HEADER + ended)

    story = _another(center, 1, language="fr", facility="south")

    assert "waiting" == story["state"]


def test_loading_a_roster_again_updates_it(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=0))
    story = _another(center, 1, language="fr", facility="south")
    assert "waiting" == story["state"]

    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=1))

    assert "assigned" == center.story(story["id"], "south")["state"]


def test_a_correction_while_waiting_chooses_again(center: House) -> None:
    story = center.register(language="fr")

    center.register(language="en")

    assert "offered" == center.story(story["id"])["state"]


def test_a_later_discharge_keeps_the_mentor(center: House) -> None:
    first = center.register(facility="south")
    mentor = _active(center, first["client_id"])[0].mentor_id

    second = center.register(facility="south", visit_number="V-2")

    assert "a later discharge" == center.story(first["id"], "south")["closed_because"]
    assert "assigned" == second["state"]
    assert [mentor] == [row.mentor_id for row in _active(center, first["client_id"])]


def _violated(center: House) -> list[str]:
    found = gather(center.settings, now=center.clock.now, in_kafka=None, delivered=None)
    return [verdict.guarantee for verdict in judge(found) if verdict.violations]


def test_a_roster_may_lower_a_capacity_below_the_caseload(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=3, facilities="north"))
    for number in range(2):
        _another(center, number, language="fr")
        center.text("+15035552001", "yes")
    asked = _another(center, 2, language="fr")
    center.clock.move(minutes=2)

    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north"))
    center.text("+15035552001", "yes")
    center.clock.move(minutes=2)

    assert "assigned" == center.story(asked["id"])["state"]
    assert [] == _violated(center)


def test_a_client_given_to_a_mentor_whose_places_were_taken_is_found(center: House) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=2))
    center.clock.move(minutes=2)
    for number in range(2):
        _another(center, number, language="fr", facility="south")
    center.clock.move(minutes=2)
    assert [] == _violated(center)

    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE mentor SET capacity = 1 WHERE code = 'F-1'"))

    assert ["G2"] == _violated(center)


def test_an_assignment_that_ended_comes_back_only_to_a_place_of_the_caseload(
    center: House,
) -> None:
    center.register(facility="south")
    back = text("UPDATE assignment SET state = :state")
    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE mentor SET capacity = 0"))
        conn.execute(back, {"state": "in_contact"})
        conn.execute(back, {"state": "ended"})

    with (
        pytest.raises(DBAPIError, match="the caseload is full"),
        center.matching.engine.begin() as conn,
    ):
        conn.execute(back, {"state": "assigned"})


def test_a_file_that_frees_a_mentor_of_two_facilities_is_heard_at_both(center: House) -> None:
    both = {"facilities": "north|south"}
    center.load_mentors(HEADER + _mentor("F-1", 1, capacity=0, **both))
    waits = _another(center, 1, language="fr", facility="south")
    assert "waiting" == waits["state"]
    north = facility_named(center.matching, "north")
    file = (HEADER + _mentor("F-1", 1, capacity=1, **both)).encode()

    load = find_load(center.matching, north.id, judge_file(center.matching, north, file))
    assert load is not None
    decide(center.matching, load, wanted=True)
    center.settle()

    assert "assigned" == center.story(waits["id"], "south")["state"]


def test_two_hundred_at_once_for_fifty_places(center: House) -> None:
    """Two threads place clients at the same time; the rows of the database are the referee."""
    roster = [_mentor(f"F-{n}", n, capacity=10) for n in range(5)]
    center.load_mentors(HEADER + "".join(roster))
    for number in range(200):
        body = {"record_number": f"R-{number}", "mobile": f"+1503555{4000 + number}"}
        center.register_only(language="fr", facility="south", email=None, **body)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: center.settle_matching(), range(2)))
    center.settle()

    held = center.rows(
        "matching",
        "SELECT m.code, count(*) AS n FROM assignment a JOIN mentor m ON m.id = a.mentor_id"
        " WHERE a.ended_at IS NULL GROUP BY m.code ORDER BY 1",
    )
    waiting = center.rows("matching", "SELECT count(*) AS n FROM client WHERE state = 'waiting'")
    assert [10] * 5 == [row.n for row in held]
    assert 150 == waiting[0].n


@pytest.mark.parametrize(
    "planted",
    [
        "a second mentor for a client",
        "a second client in a place",
        "a place beyond the capacity",
        "a second open offer",
    ],
)
def test_the_database_itself_refuses(center: House, planted: str) -> None:
    center.register(facility="south")
    center.register(record_number="R-2", mobile="+15035550130")
    rows = center.rows("matching", "SELECT * FROM assignment ORDER BY state")
    assigned, offered = rows
    free = center.rows("matching", "SELECT id FROM mentor WHERE code = 'M-10'")[0].id
    spare = {"client": uuid4(), "place": 2}
    wanted = {
        "a second mentor for a client": (assigned.client_id, free, 4, "assigned"),
        "a second client in a place": (
            spare["client"],
            assigned.mentor_id,
            assigned.place,
            "assigned",
        ),
        "a place beyond the capacity": (spare["client"], free, 5, "assigned"),
        "a second open offer": (spare["client"], offered.mentor_id, 2, "offered"),
    }[planted]
    insert = text(
        "INSERT INTO assignment (id, client_id, discharge_id, mentor_id, place, state)"
        " VALUES (gen_random_uuid(), :client, gen_random_uuid(), :mentor, :place, :state)"
    )
    known = text(
        "INSERT INTO client (id, facility_id, discharge_id, state, high_risk, waiting_since, about)"
        " VALUES (:id, gen_random_uuid(), gen_random_uuid(), 'placed', false, now(), '{}')"
    )

    with pytest.raises(DBAPIError), center.matching.engine.begin() as conn:
        conn.execute(known, {"id": spare["client"]})
        client, mentor, place, state = wanted
        conn.execute(insert, {"client": client, "mentor": mentor, "place": place, "state": state})


def test_a_correction_beside_what_frees_a_place_does_not_go_round_for_ever(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has just become high risk stands elsewhere in the turn than their row says."""
    waits = _another(center, 1, language="fr")
    assert "waiting" == waits["state"]
    load_waiting, pages = Store.load_waiting, iter(range(20))

    def counted(store: Store, *given: Any, **named: Any) -> list[Any]:
        next(pages)
        return load_waiting(store, *given, **named)

    monkeypatch.setattr(Store, "load_waiting", counted)
    # Both reach matching in one piece of work.
    body = {"record_number": "R-1", "mobile": "+15035553001", "email": None, "language": "fr"}
    center.register_only(**body, reason="left_against_advice")
    center.text_only(JO, "pause")
    center.settle()

    assert "waiting" == center.story(waits["id"])["state"]
    assert next(pages) < 10
    assert [] == center.rows("matching", "SELECT key FROM parked_key")


@pytest.mark.parametrize("has_place", [True, False])
def test_who_came_before_their_facility_waits_for_it(center: House, has_place: bool) -> None:
    """They have keys of their own, so that either may be late or parked."""
    with center.matching.engine.begin() as conn:
        conn.execute(text("DELETE FROM facility"))
        if not has_place:
            conn.execute(text("UPDATE mentor SET state = 'paused'"))
    early = center.register(facility="south")
    nobodys = {"record_number": "R-2", "visit_number": "V-2", "mobile": "+15035550130"}
    second = center.register(facility="south", language="fr", **nobodys)
    states = {row.state for row in center.rows("matching", "SELECT state FROM client")}
    assert {"waiting"} == states

    file = (
        (DEMO / "demo-facilities.toml")
        .read_bytes()
        .replace(b"promised_hours = ", b"promised_hours = 1")
    )
    load_facilities(center.desk, file)
    center.settle()

    stands = "assigned" if has_place else "waiting"
    assert stands == center.story(early["id"], "south")["state"]
    assert "waiting" == center.story(second["id"], "south")["state"]


def test_a_file_does_not_undo_what_a_mentor_texted_since(center: House) -> None:
    roster = HEADER + _mentor("F-1", 1, facilities="north")
    center.load_mentors(roster)
    center.text("+15035552001", "pause")

    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north", capacity=2))
    paused = _state_of(center, "F-1")
    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north", state="paused"))
    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north"))

    assert "paused" == paused
    assert "active" == _state_of(center, "F-1")


def _state_of(center: House, code: str) -> str:
    [row] = center.rows("matching", "SELECT state FROM mentor WHERE code = :c", c=code)
    return str(row.state)


@pytest.mark.parametrize("who", ["client", "mentor"])
def test_who_wants_another_is_heard_though_a_hold_came_before(center: House, who: str) -> None:
    """Notifications has not heard of the hold when they write."""
    facility, number = ("south", CLIENT) if who == "client" else ("north", JO)
    story = center.register(facility=facility)
    [before] = _active(center, story["client_id"])
    center.register_only(facility=facility, reason="incarcerated")
    center.settle(deaf="notifications")

    center.text_only(number, "someone else please" if who == "client" else "no")
    center.settle()
    center.register(facility=facility, reason="other")

    refused = center.rows("matching", "SELECT client_id, mentor_id FROM refusal")
    assert [(UUID(story["client_id"]), before.mentor_id)] == [tuple(row) for row in refused]
    [now] = _active(center, story["client_id"])
    assert now.mentor_id != before.mentor_id


def test_a_client_who_speaks_another_language_than_was_known_is_looked_for_anew(
    center: House,
) -> None:
    story = center.register(facility="south", language="so")
    assert "waiting" == story["state"]

    said = {"facility": "south", "record_number": "R-1001", "language": "en"}
    assert 200 == center.api("south").put("/api/contact", json=said).status_code
    center.settle()

    assert "assigned" == center.story(story["id"], "south")["state"]
