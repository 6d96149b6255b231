"""What holds a discharge, who is told, and what lets it go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from contracts.event import Event
from contracts.parking import KeyParked, KeyReleased
from messaging import parking, releasing
from messaging.fuse import Fuse
from messaging.work import Work
from services.check import gather, judge
from services.intake.domain import HOLDS
from services.intake.facilities import load_facilities
from tests.house import DEMO, House, a_discharge

CLIENT = "+15035550123"
JO = "+15035550101"
OLDER = {"visit_number": "V-0", "discharged_at": "2026-11-20T10:00:00-08:00"}
CLIENT_STATE = "SELECT state FROM person WHERE kind = 'client'"
MINIMAL = ("name", "born_on", "mobile", "email", "discharged_at", "consents")


def missing(story: dict[str, Any]) -> set[str]:
    return {one["what"] for one in story["missing"]}


def bare(center: House, **changes: Any) -> dict[str, Any]:
    """A discharge of which only the numbers are known."""
    return center.register(
        **dict.fromkeys(MINIMAL),
        **dict.fromkeys(("language", "time_zone", "reason", "needs", "pathways")),
        **changes,
    )


def events(center: House, discharge_id: str) -> list[str]:
    """What intake has said about the client of a discharge."""
    return [
        row.type
        for row in center.rows(
            "intake",
            "SELECT o.type FROM outbox o JOIN discharge d ON d.client_id = o.key"
            " WHERE d.id = cast(:id AS uuid) ORDER BY o.seq",
            id=discharge_id,
        )
    ]


def welcomed(center: House) -> list[str]:
    """The channels on which first messages were handed over."""
    query = "SELECT channel FROM message WHERE purpose = 'first' AND state = 'handed_over'"
    return [row.channel for row in center.rows("notifications", query)]


def put(center: House, path: str, **body: Any) -> None:
    answer = center.api().put(path, json={"facility": "north", "record_number": "R-1001"} | body)
    assert 200 == answer.status_code, answer.get_data(as_text=True)
    center.settle()


def test_three_numbers_are_stored_and_each_missing_thing_is_named(center: House) -> None:
    story = bare(center)

    assert "held" == story["state"]
    assert {"name", "born_on", "discharged_at", "channel"} == missing(story)
    assert all(one["remedy"] for one in story["missing"])
    assert ["held"] == [task["kind"] for task in center.tasks()]
    assert [] == center.network.letters


HELD_BY: dict[str, dict[str, Any]] = {
    "name": {"name": None},
    "born_on": {"born_on": None},
    "under_18": {"born_on": "2009-01-31"},
    "channel": {"mobile": None, "email": None},
    "incarcerated": {"reason": "incarcerated"},
    "transferred": {"reason": "transferred"},
}


@pytest.mark.parametrize("reason", HELD_BY)
def test_a_discharge_is_held_for_its_reason_alone(center: House, reason: str) -> None:
    story = center.register(**HELD_BY[reason])

    assert "held" == story["state"]
    assert [{"what": reason, "remedy": HOLDS[reason]}] == story["missing"]
    assert ["held"] == [task["kind"] for task in center.tasks()]
    assert [] == center.network.letters


@pytest.mark.parametrize("days", [-100, 3])
def test_a_discharge_of_another_time_is_held_for_a_word(center: House, days: int) -> None:
    left = center.clock.now() + timedelta(days=days)

    story = center.register(discharged_at=left.isoformat())

    assert {"discharged_at"} == missing(story)


@pytest.mark.parametrize("consents", [None, {}])
def test_without_consent_nobody_is_written_to(center: House, consents: Any) -> None:
    story = center.register(consents=consents)

    assert {"channel"} == missing(story)
    assert [] == center.network.letters


@pytest.mark.parametrize("named", ["unit", "service"])
def test_an_unmapped_place_of_a_feed_holds_until_it_is_mapped(center: House, named: str) -> None:
    map_places(center, units=["West 2"], services=["Detox"])

    strange = center.register(**{named: "Somewhere"})
    known = center.register(
        visit_number="V-2",
        record_number="R-2",
        unit="West 2",
        service="Detox",
        mobile="+15035550124",
    )

    assert {named} == missing(strange)
    assert "offered" == known["state"]


def map_places(center: House, **places: list[str]) -> None:
    file = (DEMO / "demo-facilities.toml").read_text().split("[[facility]]")[1]
    mapped = "".join(f"{name} = {json.dumps(found)}\n" for name, found in places.items())
    stored, errors = load_facilities(center.desk, f"[[facility]]\n{mapped}{file}".encode())
    assert (["north"], []) == (stored, errors)
    center.settle()


def test_the_same_visit_sent_again_complete_goes_on_by_itself(center: House) -> None:
    held = bare(center)

    story = center.register()

    assert held["id"] == story["id"]
    assert "offered" == story["state"]
    assert [] == story["missing"]
    assert [] == center.tasks()
    assert 1 == len(center.network.to(CLIENT))
    assert ["DischargeHeld", "ClientDischarged"] == [
        kind for kind in events(center, story["id"]) if "Discharge" in kind
    ]


def test_a_consent_that_comes_later_lets_it_go_on(center: House) -> None:
    held = center.register(consents=None)

    put(center, "/api/consents", consents=a_discharge(center.clock.now())["consents"])

    assert "offered" == center.story(held["id"])["state"]
    assert 1 == len(center.network.to(CLIENT))
    assert [] == center.tasks()


def test_what_a_later_visit_brings_lets_an_earlier_one_go_on(center: House) -> None:
    held = center.register(consents=None)
    center.clock.move(minutes=1)

    later = center.register(visit_number="V-2", reason="transferred")

    assert "offered" == center.story(held["id"])["state"]
    assert {"transferred"} == missing(later)


def test_a_held_visit_never_takes_the_place_of_a_later_one(center: House) -> None:
    held = center.register(consents=None)
    center.clock.move(minutes=1)

    later = center.register(visit_number="V-2")
    put(center, "/api/contact", mobile="+15035550124")

    before = center.story(held["id"])
    assert ("closed", "a later discharge") == (before["state"], before["closed_because"])
    assert "offered" == center.story(later["id"])["state"]
    assert ["ClientDischarged"] == [e for e in events(center, held["id"]) if "Discharged" in e]
    assert [] == center.tasks()


@pytest.mark.parametrize("reason", ["completed", "transferred"])
def test_an_older_visit_told_later_changes_nothing_in_the_hand_over(
    center: House, reason: str
) -> None:
    newer = center.register(facility="south")
    letters = list(center.network.letters)

    older = center.register(**OLDER, facility="south", reason=reason)
    center.clock.move(minutes=2)

    assert ("closed", "a later discharge") == (older["state"], older["closed_because"])
    assert ["received", "closed"] == [step["what"] for step in older["steps"]][-2:]
    assert newer["steps"] == center.story(newer["id"], "south")["steps"]
    assert letters == center.network.letters
    assert ["active"] == [row.state for row in center.rows("notifications", CLIENT_STATE)]
    assert [] == center.tasks("south")
    found = gather(center.settings, now=center.clock.now, in_kafka=None, delivered=None)
    assert [] == [verdict for verdict in judge(found) if verdict.violations]


def test_a_number_told_with_an_older_visit_is_used_for_the_newer(center: House) -> None:
    center.register()
    center.register(**OLDER, mobile="+15035550124")

    center.text(JO, "yes")

    assert "will call" in center.network.to("+15035550124")[0]


def test_a_number_told_with_a_visit_that_is_held_is_used_for_the_one_that_is_not(
    center: House,
) -> None:
    center.register()
    center.register(visit_number="V-2", discharged_at=None, mobile="+15035550124")

    center.text(JO, "yes")

    assert 1 == len(center.network.to(CLIENT))
    assert "will call" in center.network.to("+15035550124")[0]


def test_an_address_that_comes_later_lets_it_go_on(center: House) -> None:
    held = center.register(mobile=None, email=None)

    put(center, "/api/contact", mobile="+15035550123")

    assert "offered" == center.story(held["id"])["state"]
    assert 1 == len(center.network.to(CLIENT))


def test_a_number_that_is_null_is_removed_and_one_that_is_absent_stays(center: House) -> None:
    center.register(safe_hours="15:00-16:00")

    put(center, "/api/contact", mobile=None, safe_hours=None)
    center.text(JO, "yes")

    assert [] == center.network.to(CLIENT)
    assert 1 == len(center.network.to("sam@example.org"))


def test_without_any_address_left_a_person_is_asked(center: House) -> None:
    put(center, "/api/contact", mobile=CLIENT)
    put(center, "/api/contact", mobile=None)

    held = center.register(mobile=None, email=None)

    assert {"channel"} == missing(held)


def test_with_consents_on_file_a_discharge_needs_nobody(center: House) -> None:
    put(center, "/api/consents", consents=a_discharge(center.clock.now())["consents"])
    put(center, "/api/contact", mobile="+15035550123")

    story = center.register(consents=None, mobile=None, email=None)

    assert "offered" == story["state"]
    assert 1 == len(center.network.to(CLIENT))
    assert [] == center.tasks()


def test_what_is_absent_from_the_consents_is_revoked(center: House) -> None:
    story = center.register()
    text = a_discharge(center.clock.now())["consents"]["text"]

    put(center, "/api/consents", consents={"text": text})

    in_force = center.rows("intake", "SELECT channel FROM consent WHERE revoked_at IS NULL")
    assert ["text"] == [row.channel for row in in_force]
    assert 1 == events(center, story["id"]).count("ConsentRevoked")


def test_a_revoked_consent_stops_what_is_not_yet_sent(center: House) -> None:
    center.clock.move(hours=12)
    center.register()
    before = list(center.network.to(CLIENT))

    put(center, "/api/consents", consents={})
    center.clock.move(hours=12)
    center.settle()

    states = center.rows("notifications", "SELECT state FROM message WHERE recipient = 'client'")
    assert [] == before == center.network.to(CLIENT)
    assert [] == center.network.to("sam@example.org")
    assert {"suppressed"} == {row.state for row in states}


@pytest.mark.parametrize(
    ("changes", "hours"),
    [({}, 24), ({"reason": "left_against_advice"}, 6), ({"high_risk": ["suicide_risk"]}, 6)],
)
def test_a_held_client_at_high_risk_is_looked_at_sooner(
    center: House, changes: dict[str, Any], hours: int
) -> None:
    center.register(consents=None, **changes)

    (task,) = center.tasks()

    opened, due = (datetime.fromisoformat(task[name]) for name in ("opened_at", "due_at"))
    assert timedelta(hours=hours) == due - opened


def test_custody_stops_support_that_has_begun_until_the_client_is_free(center: House) -> None:
    center.register(facility="south")

    held = center.register(facility="south", reason="incarcerated")
    free = center.register(facility="south", reason="other")

    assert "held" == held["state"]
    assert {"incarcerated"} == missing(held)
    assert free["state"] == "assigned"
    assert [] == center.tasks("south")


def test_what_was_asked_while_support_went_on_is_asked_no_more_when_it_is_held(
    center: House,
) -> None:
    story = center.register(facility="south")
    center.clock.move(hours=49)
    center.settle()
    assert "first_contact_late" in {task["kind"] for task in center.tasks("south")}

    center.register(facility="south", reason="incarcerated")

    assert "held" == center.story(story["id"], "south")["state"]
    assert {"held"} == {task["kind"] for task in center.tasks("south")}


def test_who_cannot_be_gone_on_with_is_looked_at_after_their_death_too(center: House) -> None:
    story = center.register_only(facility="south")
    center.settle(deaf="matching")
    [client] = center.rows("intake", "SELECT client_id FROM discharge")

    def fails(work: Work) -> Iterable[Event]:
        raise LookupError

    parking.attempt(center.matching, client.client_id, "told", fails, Fuse("told", 1))
    center.settle()

    center.register(facility="south", reason="died")

    assert "closed" == center.story(story["id"], "south")["state"]
    assert {"parked"} == {task["kind"] for task in center.tasks("south")}
    assert releasing.replay(center.matching, client.client_id)
    center.settle()
    assert [] == center.tasks("south")


def test_who_was_welcomed_before_custody_is_not_welcomed_again(center: House) -> None:
    story = center.register(facility="south")
    center.register(facility="south", reason="incarcerated")
    consents = {"email": a_discharge(center.clock.now())["consents"]["email"]}
    body = {"facility": "south", "record_number": "R-1001", "consents": consents}
    assert 200 == center.api("south").put("/api/consents", json=body).status_code
    center.settle()

    center.register(facility="south", reason="other", consents=consents)

    assert ["sms"] == welcomed(center)
    assert "assigned" == center.story(story["id"], "south")["state"]


@pytest.mark.parametrize("hour", [-12, 0])
def test_whoever_is_welcomed_by_nothing_before_is_welcomed_with_a_later_discharge(
    center: House, hour: int
) -> None:
    """At night the first message waits, and custody withdraws it; by day it has left."""
    center.clock.move(hours=hour)
    center.register(facility="south")
    center.register(facility="south", reason="incarcerated")
    center.clock.move(hours=-hour)
    later = center.clock.now().isoformat()

    center.register(facility="south", visit_number="V-2", discharged_at=later)

    assert 1 == len(welcomed(center))
    assert 1 == sum("You asked us to stay in touch" in said for said in center.network.to(CLIENT))


@pytest.mark.parametrize("hour", [-12, 0])
def test_a_client_is_welcomed_once_whatever_becomes_of_their_discharges(
    center: House, hour: int
) -> None:
    center.clock.move(hours=hour)
    center.register(facility="south")
    later = center.clock.now().isoformat()
    center.register(facility="south", visit_number="V-2", discharged_at=later)
    center.register(facility="south", visit_number="V-2", reason="incarcerated")
    center.register(facility="south", visit_number="V-2", reason="other")

    center.clock.move(hours=-hour)
    center.settle()

    assert 1 == len(welcomed(center))


def test_whoever_returns_is_welcomed_though_custody_came_and_went_in_one_batch(
    center: House,
) -> None:
    before = center.register(facility="south")
    center.api("south").post(f"/api/discharges/{before['id']}/cancel")
    center.settle()
    later = center.clock.now().isoformat()

    for reason in ("other", "incarcerated", "other"):
        visit = {"visit_number": "V-2", "discharged_at": later, "reason": reason}
        center.register_only(facility="south", **visit)
    center.settle()

    assert 2 == len(welcomed(center))


@pytest.mark.parametrize("is_known", [True, False])
def test_custody_that_came_and_went_while_they_were_parked_costs_no_channel(
    center: House, is_known: bool
) -> None:
    """The first message waits for the morning, or begins with them in one piece of work."""
    center.clock.move(hours=-12)
    story = center.register_only(facility="south")
    client_id = UUID(story["client_id"])
    if is_known:
        center.settle()
    center.park("notifications", str(client_id))
    for reason in ("incarcerated", "other", "incarcerated", "other"):
        center.register(facility="south", reason=reason)

    assert releasing.replay(center.notifications, client_id, by="a test")
    center.clock.move(hours=12)
    center.settle()

    assert ["sms"] == welcomed(center)
    assert [] == center.rows("notifications", "SELECT * FROM parked_key")


def test_custody_that_is_told_while_the_client_is_parked_stands_when_they_are_released(
    center: House,
) -> None:
    story = center.register_only(facility="south")
    center.settle(deaf="intake")
    # What matching said waits behind a key that intake could not go on with.
    center.park("intake", story["client_id"])
    with center.intake.engine.begin() as conn:
        conn.execute(text("UPDATE discharge SET state = 'parked', unparked_state = state"))
    center.register(facility="south", reason="incarcerated")

    assert releasing.replay(center.intake, UUID(story["client_id"]), by="a test")
    center.settle()

    assert "held" == center.story(story["id"], "south")["state"]
    assert ["held"] == [row.state for row in center.rows("matching", "SELECT state FROM client")]
    assert ["DischargeHeld"] == [e for e in events(center, story["id"]) if e == "DischargeHeld"]


def test_a_client_with_whom_two_services_cannot_go_on_is_looked_at_until_both_can(
    center: House,
) -> None:
    story = center.register(facility="south")
    client_id = UUID(story["client_id"])

    def say(service: str, make: type[Event], **fields: Any) -> tuple[str, list[str]]:
        said = make(subject_id=client_id, service=service, **fields)
        center.participants[service].transact(lambda work: [said])
        center.settle()
        now = center.story(story["id"], "south")["state"]
        return now, [task["kind"] for task in center.tasks("south")]

    for service in ("matching", "notifications"):
        at = center.clock.now()
        say(service, KeyParked, handler="planted", error="Planted", parked_at=at)
    first = say("matching", KeyReleased, closed=False, released_at=center.clock.now())
    both = say("notifications", KeyReleased, closed=False, released_at=center.clock.now())

    assert ("parked", ["parked"]) == first
    assert ("assigned", []) == both


def test_who_is_seventeen_where_they_are_is_held_though_it_is_tomorrow_elsewhere(
    center: House,
) -> None:
    # Seven in the evening in Los Angeles, and the next day by UTC.
    center.clock.move(hours=9)

    young = center.register(born_on="2008-11-25")
    center.clock.move(hours=6)
    grown = center.register(born_on="2008-11-25", record_number="R-2", mobile="+15035550124")

    assert "held" == young["state"]
    assert "held" != grown["state"]
