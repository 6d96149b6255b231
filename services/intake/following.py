"""Follow one discharge by any id: whose it is, every hop that intake knows of, and what is overdue.

Intake hears all topics, so its steps, inbox and outbox are most of the story. When another service
applied an event is known to that service alone: its own page of the key is embedded beside this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from messaging import hops
from messaging.hops import Hop
from messaging.tables import OUTBOX
from messaging.work import Participant
from services.intake.store import CLIENT, DISCHARGE, FACILITY, NAMED, STEP, TASK

#: Words of a step that lead elsewhere, or are sealed.
_NOT_TOLD = frozenset({"why", "message_id", "assignment_id"})


@dataclass(frozen=True, kw_only=True)
class Told:
    """One hop: when, by whom, what came of it, and where the event is."""

    at: datetime
    service: str
    what: str
    outcome: tuple[tuple[str, str], ...]
    event_id: UUID | None
    place: str
    is_published: bool = True


@dataclass(frozen=True, kw_only=True)
class Followed:
    """All that is known of one key. ``what`` says what kind of id was given."""

    key: UUID
    what: str
    zone: str | None
    facility: str | None
    discharges: tuple[Any, ...]
    tasks: tuple[Any, ...]
    hops: tuple[Told, ...]


def follow(participant: Participant, given: UUID) -> Followed | None:
    """What is known by this id; None when nothing is."""
    with participant.engine.connect() as conn:
        found = _whose(conn, given)
        if found is None:
            return None
        key, what = found
        facility = conn.execute(
            select(FACILITY.c.code, FACILITY.c.settings["time_zone"].astext)
            .join(CLIENT, CLIENT.c.facility_id == FACILITY.c.id)
            .where(CLIENT.c.id == key)
        ).first()
        code, zone = facility or (None, None)
        shown = (DISCHARGE.c[name] for name in ("id", "state", "accepted_at", *_NEXT))
        discharges = conn.execute(select(*shown).where(DISCHARGE.c.client_id == key))
        tasks = conn.execute(
            select(TASK.c.kind, TASK.c.owner, TASK.c.opened_at, TASK.c.due_at)
            .where(TASK.c.client_id == key, TASK.c.done_at.is_(None))
            .order_by(TASK.c.due_at)
        )
        steps = conn.execute(select(STEP).where(STEP.c.client_id == key).order_by(STEP.c.place))
        return Followed(
            key=key,
            what=what,
            zone=zone,
            facility=code,
            discharges=tuple(discharges),
            tasks=tuple(tasks),
            hops=_told(steps, hops.hops_of(participant, key)),
        )


_NEXT = ("next_what", "next_by", "closed_because")


def _whose(conn: Connection, given: UUID) -> tuple[UUID, str] | None:
    """The key that an id leads to, and what kind of id it is."""
    naming = text(f"{NAMED} = :named").bindparams(named=str(given))
    ways = (
        ("a discharge", select(DISCHARGE.c.client_id).where(DISCHARGE.c.id == given)),
        ("a client", select(CLIENT.c.id).where(CLIENT.c.id == given)),
        ("an event", select(STEP.c.client_id).where(STEP.c.event_id == given)),
        ("an event", select(OUTBOX.c.key).where(OUTBOX.c.event_id == given)),
        ("a message or an assignment", select(STEP.c.client_id).where(naming)),
    )
    for what, query in ways:
        key = conn.execute(query.limit(1)).scalar()
        if key is not None:
            return key, what
    return (given, "a key of events") if hops.knows(conn, given) else None


def _told(steps: Iterable[Any], known: Iterable[Hop]) -> tuple[Told, ...]:
    """Steps and events put together; an event that made a step is told once, with its place."""
    events = {hop.event_id: hop for hop in known if hop.did in ("said", "applied")}
    told = [_of_step(step, events.pop(step.event_id, None)) for step in steps]
    told += [_of_event(hop) for hop in events.values()]
    return tuple(sorted(told, key=lambda one: one.at))


def _of_step(step: Any, hop: Hop | None) -> Told:
    outcome = ((name, str(words)) for name, words in step.words.items() if name not in _NOT_TOLD)
    return Told(
        at=step.at,
        service=step.service,
        what=step.what.replace("_", " ").capitalize(),
        outcome=tuple(outcome),
        event_id=step.event_id,
        place=hop.place if hop else "",
    )


def _of_event(hop: Hop) -> Told:
    return Told(
        at=hop.at,
        service=hop.producer,
        what=hop.type,
        outcome=(),
        event_id=hop.event_id,
        place=hop.place,
        is_published=bool(hop.place),
    )
