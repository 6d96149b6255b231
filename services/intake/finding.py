"""Find a facility's clients by what staff know of them, on keyed tokens alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, exists, func, select, union
from sqlalchemy.dialects.postgresql import distinct_on

from messaging.rows import among
from services.intake.bodies import DischargeBody
from services.intake.commands import Desk
from services.intake.domain import Facility, Person, looks_like, reachable_by, sought
from services.intake.store import CLIENT, CONSENT, DISCHARGE, SEARCH_TOKEN, STEP
from services.intake.story import persons_of, shown

#: More than anybody reads; whoever sees so many types a little more.
MOST = 50
SHARE_OF = timedelta(days=30)


def find(desk: Desk, facility: Facility, text: str) -> list[dict[str, Any]]:
    """The clients whom everything typed fits, at most ``MOST``, with where each stands."""
    every = sought(text)
    if not every:
        return []
    found = [
        select(SEARCH_TOKEN.c.client_id)
        .where(among(SEARCH_TOKEN.c.token, _tokens(desk, facility, words)))
        .group_by(SEARCH_TOKEN.c.client_id)
        .having(func.count() == len(words))
        for words in every
    ]
    fitting = union(*found).limit(MOST)
    return _with_standing(desk, facility, fitting)


def same_person(desk: Desk, facility: Facility, body: DischargeBody) -> list[dict[str, Any]]:
    """Clients under other record numbers who are probably the one of this body."""
    words = looks_like(person_of(body))
    if not words:
        return []
    number = body.record_number.strip()
    itself = desk.tokens.token("record", str(facility.id), number)
    alike = (
        select(CLIENT.c.id)
        .join(SEARCH_TOKEN, SEARCH_TOKEN.c.client_id == CLIENT.c.id)
        .where(among(SEARCH_TOKEN.c.token, _tokens(desk, facility, words)))
        .where(CLIENT.c.record_token != itself)
        .distinct()
        .limit(MOST)
    )
    return _with_standing(desk, facility, alike)


def person_of(body: DischargeBody) -> Person:
    """Who somebody is, as far as they can be told apart by it."""
    name = body.name
    return Person(
        record_number=body.record_number,
        given=name.given if name else None,
        family=name.family if name else None,
        born_on=body.born_on,
        mobile=body.mobile,
    )


def needed_nobody(desk: Desk, facility: Facility) -> tuple[int, int]:
    """Of the discharges of the last ``SHARE_OF``: how many were never held, and how many came."""
    # By the client, since steps are found by theirs: this is asked for every look at Today.
    held = exists().where(
        STEP.c.client_id == DISCHARGE.c.client_id,
        STEP.c.discharge_id == DISCHARGE.c.id,
        STEP.c.what == "held",
    )
    query = select(func.count().filter(~held), func.count()).where(
        DISCHARGE.c.facility_id == facility.id,
        DISCHARGE.c.accepted_at > desk.participant.now() - SHARE_OF,
    )
    with desk.participant.engine.connect() as conn:
        ready, every = conn.execute(query).one()
    return ready, every


def _tokens(desk: Desk, facility: Facility, words: Iterable[str]) -> list[str]:
    return [desk.tokens.token("search", str(facility.id), word) for word in words]


def _with_standing(desk: Desk, facility: Facility, which: Executable) -> list[dict[str, Any]]:
    """Clients with their latest discharge, and whether theirs would need nobody."""
    with desk.participant.engine.connect() as conn:
        client_ids = list(conn.scalars(which))
    persons = persons_of(desk.participant, facility.id, client_ids)
    latest = (
        select(DISCHARGE.c.client_id, DISCHARGE.c.id, DISCHARGE.c.state)
        .where(among(DISCHARGE.c.client_id, persons))
        .ext(distinct_on(DISCHARGE.c.client_id))
        .order_by(DISCHARGE.c.client_id, DISCHARGE.c.accepted_at.desc())
    )
    consents = select(CONSENT.c.client_id, CONSENT.c.channel).where(
        among(CONSENT.c.client_id, persons), CONSENT.c.revoked_at.is_(None)
    )
    agreed: dict[UUID, set[str]] = {}
    with desk.participant.engine.connect() as conn:
        standing = {row.client_id: row for row in conn.execute(latest)}
        for row in conn.execute(consents):
            agreed.setdefault(row.client_id, set()).add(row.channel)
    found = [
        {
            **shown(person),
            "discharge_id": str(standing[key].id) if key in standing else None,
            "state": standing[key].state if key in standing else None,
            "is_ready": bool(reachable_by(person, frozenset(agreed.get(key, ())))),
        }
        for key, person in persons.items()
    ]
    return sorted(found, key=lambda one: (one["name"], one["record_number"]))
