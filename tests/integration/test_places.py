"""Many at once for few places: several workers, one real PostgreSQL, and its constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from contracts.event import Event
from contracts.intake import AboutClient, ClientDischarged, ContactDetails, DischargeCancelled
from messaging.work import Work
from services.intake.facilities import load_facilities
from tests.house import DEMO, House

HEADER = (
    "code,called,mobile,opted_in_at,opted_in_how,time_zone,languages,moud_friendly,facilities,"
    "capacity,hours,route,state\n"
)
WORKERS, CLIENTS, BATCH = 4, 200, 10


@pytest.mark.parametrize("shared", [False, True], ids=["one facility", "mentors shared by two"])
def test_two_hundred_at_once_take_fifty_places_and_no_more(house: House, shared: bool) -> None:
    facilities = _open(house, mentors=10, capacity=5, at="north|south" if shared else "south")
    arriving = _discharges(house, facilities if shared else [facilities[1]])

    _all_at_once(house, arriving)

    assert [5] * 10 == _loads(house)
    assert {"placed": 50, "waiting": 150} == _states(house)


def test_mentors_who_are_asked_have_one_open_offer_each(house: House) -> None:
    facilities = _open(house, mentors=50, capacity=3, at="north")
    arriving = _discharges(house, [facilities[0]])

    _all_at_once(house, arriving)

    assert [1] * 50 == _loads(house)
    assert {"placed": 50, "waiting": 150} == _states(house)


def test_places_that_free_at_once_are_all_taken_again(house: House) -> None:
    facilities = _open(house, mentors=10, capacity=5, at="south")
    _all_at_once(house, _discharges(house, [facilities[1]]))
    placed = house.rows("matching", "SELECT * FROM client WHERE state = 'placed' ORDER BY id")

    _all_at_once(house, [_cancelled(row, house) for row in placed])

    assert [5] * 10 == _loads(house)
    assert {"ended": 50, "placed": 50, "waiting": 100} == _states(house)


@pytest.mark.parametrize(
    ("wrong", "guard"),
    [
        ({"client": "theirs", "mentor": "free", "place": 1}, "one_mentor"),
        ({"client": "new", "mentor": "busy", "place": 1}, "one_client_a_place"),
        ({"client": "new", "mentor": "asked", "place": 2, "state": "offered"}, "one_open_offer"),
        ({"client": "new", "mentor": "free", "place": 4}, "the caseload is full"),
        ({"client": "new", "mentor": "free", "place": 0}, "assignment_place_check"),
        (
            {"client": "new", "mentor": "free", "place": 1, "state": "lost"},
            "assignment_state_check",
        ),
        ({"client": "nobody", "mentor": "free", "place": 1}, "assignment_client_id_fkey"),
    ],
)
def test_each_guard_refuses_by_itself(house: House, wrong: dict[str, Any], guard: str) -> None:
    facilities = _open(house, mentors=3, capacity=3, at="south")
    busy, asked, free = (row.id for row in house.rows("matching", "SELECT id FROM mentor"))
    theirs, spare, new = (event.key for event in _discharges(house, [facilities[1]], count=3))
    ids = {"theirs": theirs, "new": new, "nobody": uuid4()}
    ids |= {"busy": busy, "asked": asked, "free": free}
    with house.matching.engine.begin() as conn:
        for client in (theirs, spare, new):
            conn.execute(_CLIENT, {"id": client})
        right = {"client": theirs, "mentor": busy, "place": 1, "state": "assigned"}
        conn.execute(_ASSIGNMENT, right)
        right = {"client": spare, "mentor": asked, "place": 1, "state": "offered"}
        conn.execute(_ASSIGNMENT, right)
    values = {"state": "assigned"} | {k: ids.get(v, v) for k, v in wrong.items()}

    with pytest.raises(DBAPIError, match=guard), house.matching.engine.begin() as conn:
        conn.execute(_ASSIGNMENT, values)


_CLIENT = text(
    "INSERT INTO client (id, facility_id, discharge_id, state, high_risk, waiting_since, about)"
    " VALUES (:id, gen_random_uuid(), gen_random_uuid(), 'placed', false, now(), '{}')"
)
_ASSIGNMENT = text(
    "INSERT INTO assignment (id, client_id, discharge_id, mentor_id, place, state)"
    " VALUES (gen_random_uuid(), :client, gen_random_uuid(), :mentor, :place, :state)"
)


def _open(house: House, *, mentors: int, capacity: int, at: str) -> list[UUID]:
    """The demo's two facilities with these mentors only; north asks, unless it shares them."""
    demo = (DEMO / "demo-facilities.toml").read_text()
    if at == "north|south":
        demo = demo.replace("asks = true", "asks = false")
    assert [] == load_facilities(house.desk, demo.encode())[1]
    house.settle()
    rows = (
        f"P-{n},P{n},+1503555{2000 + n},2026-01-05T10:00:00-08:00,form,America/Los_Angeles,en,yes,"
        f"{at},{capacity},09:00-20:00,workforce,active\n"
        for n in range(mentors)
    )
    house.load_mentors(HEADER + "".join(rows))
    return [row.id for row in house.rows("matching", "SELECT id FROM facility ORDER BY code")]


def _discharges(
    house: House, facilities: list[UUID], *, count: int = CLIENTS
) -> list[ClientDischarged]:
    ids = [uuid4() for _ in range(count)]
    house.intake.keyring.make(ids)
    zone = "America/Los_Angeles"
    return [
        ClientDischarged(
            client_id=client_id,
            discharge_id=uuid4(),
            facility_id=facilities[number % len(facilities)],
            accepted_at=house.clock.now(),
            about=AboutClient(language="en", time_zone=zone, high_risk=number % 7 == 0),
            contact=ContactDetails(called="Sam", language="en", time_zone=zone),
        )
        for number, client_id in enumerate(ids)
    ]


def _cancelled(client: Any, house: House) -> DischargeCancelled:
    return DischargeCancelled(
        client_id=client.id,
        discharge_id=client.discharge_id,
        facility_id=client.facility_id,
        cancelled_at=house.clock.now(),
    )


def _all_at_once(house: House, events: list[Any]) -> None:
    """Workers that begin together, each with its share of the events in batches."""
    together = Barrier(WORKERS)

    def work(share: list[Event]) -> None:
        together.wait()
        for start in range(0, len(share), BATCH):
            house.matching.transact(_reacting(share[start : start + BATCH]))

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, [events[number::WORKERS] for number in range(WORKERS)]))


def _reacting(events: list[Event]) -> Callable[[Work], Iterator[Event]]:
    def command(work: Work) -> Iterator[Event]:
        work.store.load(events)
        for event in events:
            work.react(event)
        yield from ()

    return command


def _loads(house: House) -> list[int]:
    query = (
        "SELECT count(*) FILTER (WHERE a.state <> 'ended') AS n FROM mentor m"
        " LEFT JOIN assignment a ON a.mentor_id = m.id GROUP BY m.id"
    )
    return [row.n for row in house.rows("matching", query)]


def _states(house: House) -> dict[str, int]:
    query = "SELECT state, count(*) AS n FROM client GROUP BY state ORDER BY state"
    return {row.state: row.n for row in house.rows("matching", query)}
