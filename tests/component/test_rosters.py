"""Whoever is chosen from what was seen is looked at again, and what is kept is never old."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from messaging.work import Work, new_traceparent
from services.matching.choosing import Lasting
from services.matching.store import Mentor, Store
from tests.house import House


def _roster(center: House, code: str = "south") -> dict[UUID, Mentor]:
    with center.matching.engine.connect() as conn:
        work = Work(center.matching, conn, new_traceparent())
        found: dict[UUID, Mentor]
        found, _ = work.store.roster(center.desk.facility(code).id)
        return found


def _profiles(roster: dict[UUID, Mentor]) -> set[int]:
    return {id(mentor.profile) for mentor in roster.values()}


def _mentor_of(center: House, story: dict[str, Any]) -> UUID:
    query = "SELECT mentor_id FROM assignment WHERE discharge_id = :id AND state <> 'ended'"
    [row] = center.rows("matching", query, id=story["id"])
    mentor_id: UUID = row.mentor_id
    return mentor_id


def test_a_place_that_was_taken_since_it_was_seen_is_given_to_nobody_twice(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _roster(center)
    first = _mentor_of(center, center.register(facility="south"))
    # Among equals a lot decides for each client: only the one who was first is seen here.
    seen = {first: seen[first]}
    everybody_has_one = "UPDATE mentor SET capacity = 1"
    with center.matching.engine.begin() as conn:
        conn.exec_driver_sql(everybody_has_one)
    looked: list[object] = []
    read = Store.mentors_of

    def reading(store: Store, facility_id: UUID, *only: Any, **how: Any) -> dict[UUID, Mentor]:
        looked.append(only)
        return read(store, facility_id, *only, **how)

    monkeypatch.setattr(Store, "roster", lambda store, facility_id: (dict(seen), Lasting()))
    monkeypatch.setattr(Store, "mentors_of", reading)
    other = {"record_number": "R-2", "visit_number": "V-2", "mobile": "+15035550130"}
    second = _mentor_of(center, center.register(facility="south", **other))

    assert [({first},), ()] == looked, "the one who was seen to be best, then all of them"
    assert first != second


def test_a_roster_is_read_and_opened_once_until_it_changes(center: House) -> None:
    seen = _roster(center)
    again = _roster(center)
    mentor_id = _mentor_of(center, center.register(facility="south"))
    with_one_more = _roster(center)

    assert _profiles(seen) == _profiles(again) == _profiles(with_one_more)
    assert {1} == with_one_more[mentor_id].taken

    with center.matching.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE mentor SET stopped = true")

    assert {True} == {mentor.stopped for mentor in _roster(center).values()}


def test_what_the_keyring_forgets_is_kept_in_no_roster(center: House) -> None:
    seen = _roster(center)

    center.matching.keyring.forget()

    assert not _profiles(seen) & _profiles(_roster(center))
