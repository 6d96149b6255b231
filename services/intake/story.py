"""Read the story of a discharge, and the tasks of a facility, for those who may see them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, and_, or_, select

from contracts.intake import FacilityPeople
from contracts.matching import MentorName, Why
from contracts.sealed import Destroyed
from messaging.at_hand import AtHand
from messaging.rows import among
from messaging.sealing import NOT_OPENED, KeyView
from messaging.tables import OUTBOX
from messaging.work import Participant
from services.intake.domain import HOLDS, TASKS, Details, Person
from services.intake.store import (
    CLIENT,
    DISCHARGE,
    FACILITY,
    MENTOR_NAME,
    STEP,
    TASK,
    agreements,
    client_of_discharge,
)

log = logging.getLogger(__name__)
Content = TypeVar("Content")


def discharge_story(
    participant: Participant, facility_id: UUID, discharge_id: UUID
) -> dict[str, Any] | None:
    """The discharge with every step in order; None when this facility has no such discharge."""
    with participant.engine.connect() as conn:
        row = conn.execute(
            select(DISCHARGE).where(
                DISCHARGE.c.id == discharge_id, DISCHARGE.c.facility_id == facility_id
            )
        ).first()
        if row is None:
            return None
        keys = participant.keyring.view()
        details = _read(keys, Details, row.details)
        held = details.held if details is not None and row.state == "held" else ()
        steps = conn.execute(
            select(STEP)
            .where(STEP.c.client_id == row.client_id)
            .where(or_(STEP.c.discharge_id == discharge_id, STEP.c.discharge_id.is_(None)))
            .order_by(STEP.c.place)
        ).all()
        return {
            "id": str(row.id),
            "client_id": str(row.client_id),
            "state": row.state,
            "closed_because": row.closed_because,
            "missing": [{"what": name, "remedy": HOLDS[name]} for name in held],
            "next": _next(row, conn),
            "steps": _steps(conn, keys, steps),
        }


#: Words of danger come before everything, whatever else is known of whoever wrote them.
_IN_DANGER = TASK.c.kind == "danger"


def open_tasks(participant: Participant, facility_id: UUID, now: datetime) -> list[dict[str, Any]]:
    """What needs a person at this facility, riskiest and oldest first.

    What belongs to no facility, such as a stranger's words of danger, every facility sees.
    """
    with participant.engine.connect() as conn:
        rows = conn.execute(
            select(TASK)
            .where(TASK.c.done_at.is_(None))
            .where(or_(TASK.c.facility_id == facility_id, TASK.c.facility_id.is_(None)))
            .order_by(_IN_DANGER.desc(), TASK.c.high_risk.desc(), TASK.c.due_at)
        ).all()
        owners = _owners(participant, conn, facility_id)
        return [
            {
                "id": str(row.id),
                "kind": row.kind,
                "owner": {"role": row.owner, "name": owners.get(row.owner)},
                "risk": "high" if row.high_risk or row.kind == "danger" else "ordinary",
                "opened_at": row.opened_at.isoformat(),
                "age_seconds": int((now - row.opened_at).total_seconds()),
                "due_at": row.due_at.isoformat(),
                "taken_by": row.taken_by,
                "taken_at": row.taken_at.isoformat() if row.taken_at else None,
                "discharge_id": str(row.discharge_id) if row.discharge_id else None,
                "client_id": str(row.client_id) if row.client_id else None,
                "next_action": TASKS[row.kind].action,
            }
            for row in rows
        ]


def _owners(participant: Participant, conn: Any, facility_id: UUID) -> dict[str, str]:
    kept = conn.execute(select(FACILITY.c.people).where(FACILITY.c.id == facility_id)).scalar_one()
    people = _read(participant.keyring.view(), FacilityPeople, kept)
    if people is None:
        return {}
    return {"coordinator": people.coordinator_name, "on_call": people.on_call_name}


def _next(row: Any, conn: Any) -> dict[str, Any] | None:
    if row.next_what is None:
        return None
    what = row.next_what
    if row.state == "received" and what == "on its way":
        unsent = conn.execute(
            select(OUTBOX.c.event_id)
            .where(and_(OUTBOX.c.key == row.client_id, OUTBOX.c.published_at.is_(None)))
            .limit(1)
        ).first()
        what = "on its way" if unsent else "a mentor is chosen"
    return {"what": what, "by": row.next_by.isoformat() if row.next_by else None}


def _steps(conn: Connection, keys: KeyView, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The steps, with the names that mentors go by."""
    chosen = {UUID(row.words["mentor"]) for row in rows if "mentor" in row.words}
    query = select(MENTOR_NAME).where(among(MENTOR_NAME.c.mentor_id, chosen))
    kept = conn.execute(query).all()
    keys.need(("identity", row.mentor_id) for row in kept)
    names = {str(r.mentor_id): _read(keys, MentorName, r.name) for r in kept}
    known = {key: name.called for key, name in names.items() if name is not None}
    return [_step(keys, row, known) for row in rows]


def _step(keys: KeyView, row: Any, mentors: dict[str, str]) -> dict[str, Any]:
    words = dict(row.words)
    kept = words.pop("why", None)
    if "mentor" in words:
        words["mentor"] = mentors.get(words["mentor"])
    step = {
        "at": row.at.isoformat(),
        "what": row.what,
        "service": row.service,
        "event_id": str(row.event_id) if row.event_id else None,
        **words,
    }
    if kept is not None:
        step |= _reasons(keys, kept)
    return step


def _read(keys: KeyView, content: type[Content], kept: Any) -> Content | None:
    """What is kept, opened; None where it is gone, or does not open.

    The rest of a page is as true as before, and somebody is waiting for it.
    """
    try:
        found = keys.open_kept(content, kept)
    except NOT_OPENED:
        log.exception("what a page shows cannot be opened", extra={"what": content.__name__})
        return None
    return None if isinstance(found, Destroyed) else found


def _reasons(keys: KeyView, kept: Any) -> dict[str, str]:
    """What matching said, whose seal nobody has opened before."""
    try:
        why = keys.open_kept(Why, kept)
    except NOT_OPENED:
        log.exception("the reasons of a step cannot be opened")
        return {"why": "The reasons cannot be read."}
    if not isinstance(why, Why):
        return {}
    return {"why": why.why, "change": why.change} if why.change else {"why": why.why}


def about_client(
    participant: Participant, facility_id: UUID, discharge_id: UUID
) -> tuple[Person | None, list[str]]:
    """Whom a discharge of this facility is about, and the channels that they agreed to."""
    with participant.engine.connect() as conn:
        client_id = client_of_discharge(conn, facility_id, discharge_id)
        if client_id is None:
            return None, []
        agreed = sorted(agreements(conn, client_id))
    return persons_of(participant, facility_id, [client_id]).get(client_id), agreed


def about_discharge(
    participant: Participant, facility_id: UUID, discharge_id: UUID
) -> tuple[Person, Details] | None:
    """What is known of a discharge of this facility and its client; None where nothing is."""
    with participant.engine.connect() as conn:
        query = select(DISCHARGE.c.client_id, DISCHARGE.c.details).where(
            DISCHARGE.c.id == discharge_id, DISCHARGE.c.facility_id == facility_id
        )
        row = conn.execute(query).first()
    if row is None:
        return None
    details = _read(participant.keyring.view(), Details, row.details)
    person = persons_of(participant, facility_id, [row.client_id]).get(row.client_id)
    return (person, details) if person and details else None


def persons_of(
    participant: Participant, facility_id: UUID, client_ids: Iterable[UUID]
) -> dict[UUID, Person]:
    """Who these clients of the facility are, by their ids; not those erased."""
    query = select(CLIENT.c.id, CLIENT.c.person).where(
        among(CLIENT.c.id, client_ids), CLIENT.c.facility_id == facility_id
    )
    with participant.engine.connect() as conn:
        rows = conn.execute(query).all()
    keys = participant.keyring.view()
    keys.need(("identity", row.id) for row in rows)
    persons: AtHand[Person | None] = AtHand()
    for row in rows:
        persons.open(row.id, partial(keys.open_kept, Person, row.person))
    for error in persons.unopened.values():
        # Whoever else is on the page is there all the same.
        log.error("a client cannot be opened", exc_info=error)
    return {key: person for key, person in persons.items() if person is not None}


def shown(person: Person) -> dict[str, str]:
    """A client as staff know them."""
    name = " ".join(part for part in (person.given, person.family) if part)
    return {
        "name": name or person.called or "(no name yet)",
        "called": person.called or person.given or "",
        "record_number": person.record_number,
    }
