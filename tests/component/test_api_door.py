"""The API's door: what it takes, what it answers, and what follows of corrections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.house import House, a_discharge

CLIENT = "+15035550123"
JO = "+15035550101"
NOBODY = "00000000-0000-4000-8000-000000000000"


def post(center: House, body: dict[str, Any], **headers: str) -> Any:
    return center.api("north").post("/api/discharges", json=body, headers=headers)


def said(center: House, kind: str) -> int:
    """How often intake has said something."""
    (row,) = center.rows("intake", "SELECT count(*) FROM outbox WHERE type = :kind", kind=kind)
    return int(row[0])


def whats(story: dict[str, Any]) -> list[str]:
    return [step["what"] for step in story["steps"]]


def test_a_discharge_is_safe_and_has_an_address_once_answered(center: House) -> None:
    answer = post(center, a_discharge(center.clock.now()))

    accepted = answer.get_json()
    assert 202 == answer.status_code
    assert f"/api/discharges/{accepted['id']}" == answer.headers["Location"]
    assert {"id", "client_id", "state"} == set(accepted)
    assert "received" == center.story(accepted["id"])["state"]


def test_a_repeated_visit_is_one_discharge_and_says_nothing_new(center: House) -> None:
    first = center.register()

    second = center.register()

    assert first["id"] == second["id"]
    assert 1 == said(center, "ClientDischarged")
    assert 0 == said(center, "DischargeCorrected")
    assert 1 == len(center.network.to(CLIENT))


def test_a_changed_visit_is_corrected_once_and_welcomed_once(center: House) -> None:
    first = center.register()

    second = center.register(needs=["housing"])
    center.register(needs=["housing"])

    assert first["id"] == second["id"]
    assert 1 == said(center, "ClientDischarged")
    assert 1 == said(center, "DischargeCorrected")
    assert 1 == len(center.network.to(CLIENT))


def test_the_same_key_and_body_get_the_same_answer(center: House) -> None:
    body = a_discharge(center.clock.now())
    first = post(center, body, **{"Idempotency-Key": "k-1"})
    center.settle()

    again = post(center, body, **{"Idempotency-Key": "k-1"})

    assert 202 == again.status_code
    assert first.get_json() == again.get_json()


def test_a_key_that_came_with_another_body_is_refused(house: House) -> None:
    house.load_demo()
    caller = house.api()
    body = a_discharge(house.clock.now())
    headers = {"Idempotency-Key": "k-1"}
    caller.post("/api/discharges", json=body, headers=headers)

    other = caller.post("/api/discharges", json=body | {"needs": []}, headers=headers)

    assert 422 == other.status_code
    assert ["Idempotency-Key"] == [one["field"] for one in other.get_json()["errors"]]


def test_a_second_visit_keeps_the_mentor_and_ends_the_first(center: House) -> None:
    first = center.register(facility="south")

    second = center.register(facility="south", visit_number="V-2")

    before = center.story(first["id"], "south")
    mentors = center.rows(
        "matching", "SELECT DISTINCT mentor_id FROM assignment WHERE ended_at IS NULL"
    )
    assert first["client_id"] == second["client_id"]
    assert ("closed", "a later discharge") == (before["state"], before["closed_because"])
    assert "assigned" == second["state"]
    assert "mentor_kept" in whats(second)
    assert 1 == len(mentors)


def test_a_mentor_who_is_kept_has_as_long_as_any_to_call(center: House) -> None:
    center.register(facility="south")
    center.clock.move(days=3)
    center.settle()
    for task in center.tasks("south"):
        center.api("south").post(f"/api/tasks/{task['id']}/done", json={"reason": "seen"})

    left = center.clock.now().isoformat()
    center.register(facility="south", visit_number="V-2", discharged_at=left)
    at_once = center.tasks("south")
    center.clock.move(hours=47)
    center.settle()
    in_time = center.tasks("south")
    center.clock.move(hours=2)
    center.settle()

    assert [] == at_once == in_time
    assert ["first_contact_late"] == [task["kind"] for task in center.tasks("south")]


def test_two_facilities_may_use_one_number_for_two_people(center: House) -> None:
    north = center.register(facility="north")

    south = center.register(facility="south")

    assert north["client_id"] != south["client_id"]
    assert north["id"] != south["id"]


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    barrier = Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_what_comes_at_once_of_one_visit_is_one_client_and_one_discharge(center: House) -> None:
    discharge = a_discharge(center.clock.now())
    numbers = {name: discharge[name] for name in ("facility", "record_number")}
    callers = [center.api() for _ in range(6)]
    calls: list[Callable[[], Any]] = []
    for number, caller in enumerate(callers):
        mobile = f"+1503555013{number}"
        contact, body = numbers | {"mobile": mobile}, discharge | {"mobile": mobile}
        calls += [
            lambda c=caller, b=contact: c.put("/api/contact", json=b),  # type: ignore[misc]
            lambda c=caller, b=body: c.post("/api/discharges", json=b),  # type: ignore[misc]
        ]

    answers = at_once(calls)
    center.settle()

    strangers = center.rows(
        "intake",
        "SELECT 1 FROM outbox WHERE type NOT IN ('FacilityChanged')"
        " AND key NOT IN (SELECT id FROM client)",
    )
    assert {200, 202} == {answer.status_code for answer in answers}
    assert 1 == len({answer.get_json()["client_id"] for answer in answers})
    assert 1 == len(center.rows("intake", "SELECT id FROM discharge"))
    assert (1, []) == (said(center, "ClientDischarged"), strangers)


def test_cancelling_withdraws_the_offer_and_what_is_unsent(center: House) -> None:
    center.clock.move(hours=9, minutes=30)
    story = center.register(time_zone="America/New_York")
    asked = center.network.to(JO)

    answer = center.api().post(f"/api/discharges/{story['id']}/cancel")
    center.settle()
    center.clock.move(hours=20)
    center.settle()

    after = center.story(story["id"])
    told = center.network.to(JO)
    assert 200 == answer.status_code
    assert ("closed", "cancelled") == (after["state"], after["closed_because"])
    assert 1 == len(asked)
    assert 2 == len(told)
    assert [] == center.network.to(CLIENT)
    assert [] == center.network.to("sam@example.org")
    assert [] == center.tasks()


def test_cancelling_twice_is_once(center: House) -> None:
    story = center.register()
    caller = center.api()
    caller.post(f"/api/discharges/{story['id']}/cancel")

    again = caller.post(f"/api/discharges/{story['id']}/cancel")

    assert (200, "closed") == (again.status_code, again.get_json()["state"])
    assert 1 == said(center, "DischargeCancelled")


def test_a_cancelled_visit_that_changes_asks_a_person(center: House) -> None:
    story = center.register()
    center.api().post(f"/api/discharges/{story['id']}/cancel")
    center.settle()

    again = center.register(needs=["housing"])

    assert "closed" == again["state"]
    assert ["repeated_after_cancel"] == [task["kind"] for task in center.tasks()]
    assert 1 == len(center.network.to(CLIENT))


def die_at_first(center: House) -> dict[str, Any]:
    return center.register(reason="died")


def die_later(center: House) -> dict[str, Any]:
    center.register()
    return center.register(reason="died")


def die_while_held(center: House) -> dict[str, Any]:
    center.register(consents=None)
    return center.register(reason="died")


def die_after_words_that_asked_a_person(center: House) -> dict[str, Any]:
    center.register()
    center.text(CLIENT, "hmm what is this about")
    assert "unclear_reply" in [task["kind"] for task in center.tasks()]
    return center.register(reason="died")


def die_by_the_feed(center: House) -> dict[str, Any]:
    story = center.register()
    message = (
        "MSH|^~\\&|EHR|N|WH|P|20261124||ADT^A03|C-1|P|2.5.1\r"
        "PID|||R-1001^^^N^MR" + "|" * 26 + "20261124|Y\r"
        "PV1||I" + "|" * 17 + "V-1\r"
    )
    answer = center.api().post("/api/hl7", data=message, content_type="application/hl7-v2")
    assert "MSA|AA" in answer.get_data(as_text=True)
    center.settle()
    return center.story(story["id"])


@pytest.mark.parametrize(
    "die",
    [
        die_at_first,
        die_later,
        die_while_held,
        die_after_words_that_asked_a_person,
        die_by_the_feed,
    ],
)
def test_nothing_leaves_for_the_dead_and_nobody_is_asked(center: House, die: Any) -> None:
    story = die(center)
    before = len(center.network.to(CLIENT))

    for _ in range(4):
        center.clock.move(hours=25)
        center.settle()
    center.register(visit_number="V-9")

    after = center.story(story["id"])
    assert ("closed", "died") == (after["state"], after["closed_because"])
    assert before == len(center.network.to(CLIENT))
    assert [] == center.network.to("sam@example.org")
    assert [] == center.tasks()
    assert 1 == said(center, "ClientDied")


@pytest.mark.parametrize("token", [None, "Bearer nonsense", "Basic bm9ydGg6bm9ydGg=", "Bearer"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/discharges"),
        ("POST", "/api/hl7"),
        ("PUT", "/api/consents"),
        ("PUT", "/api/contact"),
        ("GET", "/api/tasks"),
        ("GET", f"/api/discharges/{NOBODY}"),
        ("POST", f"/api/discharges/{NOBODY}/cancel"),
        ("POST", f"/api/tasks/{NOBODY}/done"),
    ],
)
def test_without_a_valid_token_nothing_is_said(
    house: House, token: str | None, method: str, path: str
) -> None:
    caller = house.api()
    caller.environ_base.pop("HTTP_AUTHORIZATION")

    answer = caller.open(path, method=method, headers={"Authorization": token} if token else {})

    assert 401 == answer.status_code
    assert "application/problem+json" == answer.content_type
    assert answer.get_json()["detail"]


def test_another_facilitys_discharge_is_not_there(center: House) -> None:
    story = center.register(facility="north")
    south = center.api("south")

    answers = [
        south.get(f"/api/discharges/{story['id']}"),
        south.post(f"/api/discharges/{story['id']}/cancel"),
        south.get("/api/discharges/no-such-id"),
    ]

    assert [404, 404, 404] == [answer.status_code for answer in answers]
    assert "offered" == center.story(story["id"])["state"]


@pytest.mark.parametrize(
    ("method", "path", "rest"),
    [
        ("POST", "/api/discharges", {"visit_number": "V-1"}),
        ("PUT", "/api/consents", {"consents": {}}),
        ("PUT", "/api/contact", {"mobile": CLIENT}),
    ],
)
def test_a_body_for_another_facility_is_refused(
    center: House, method: str, path: str, rest: dict[str, Any]
) -> None:
    body = {"facility": "south", "record_number": "R-1"} | rest

    answer = center.api("north").open(path, method=method, json=body)

    assert 403 == answer.status_code
    assert ["facility"] == [error["field"] for error in answer.get_json()["errors"]]
    assert [] == center.rows("intake", "SELECT id FROM client")


def test_what_a_system_repeats_gives_no_consent_back_that_was_revoked(center: House) -> None:
    given = a_discharge(center.clock.now())
    story = center.register()
    center.clock.move(hours=1)
    revoked = {"facility": "north", "record_number": "R-1001", "consents": {}}
    center.api().put("/api/consents", json=revoked)
    center.settle()

    center.api().post("/api/discharges", json=given | {"needs": ["housing"]})
    center.settle()
    in_force = "SELECT channel FROM consent WHERE revoked_at IS NULL"
    assert [] == center.rows("intake", in_force)
    assert [] == center.rows("notifications", "SELECT channel FROM consent")

    center.clock.move(minutes=1)
    anew = {"text": {**given["consents"]["text"], "given_at": center.clock.now().isoformat()}}
    center.api().post("/api/discharges", json=given | {"consents": anew})
    center.settle()
    assert ["text"] == [row.channel for row in center.rows("intake", in_force)]
    assert "closed" != center.story(story["id"])["state"]


def test_hours_in_which_nothing_may_leave_are_refused(center: House) -> None:
    body = a_discharge(center.clock.now(), safe_hours="21:00-22:00")

    answer = center.api().post("/api/discharges", json=body)

    assert 422 == answer.status_code
    assert ["safe_hours"] == [error["field"] for error in answer.get_json()["errors"]]
    assert [] == center.rows("intake", "SELECT id FROM client")


def test_nobody_is_asked_to_call_the_dead(center: House) -> None:
    story = center.register(facility="south", email=None)
    [message] = center.rows("notifications", "SELECT id FROM message WHERE purpose = 'first'")
    center.register(facility="south", email=None, reason="died")

    center.incoming.receipt(message.id, "undelivered", f"P-{message.id}", "30003")
    center.settle()
    center.clock.move(hours=1)
    center.settle()

    assert "died" == center.story(story["id"], "south")["closed_because"]
    assert [] == center.tasks("south")
    assert {} == center.violated()
