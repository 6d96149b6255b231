"""What coordinators see: the roster, a mentor with their clients, and where a client stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text

from contracts.matching import Why
from messaging.tables import PARKED_KEY
from messaging.work import Participant, Work, new_traceparent
from services.matching.choosing import Chosen, Judged, Nobody, choose, rank
from services.matching.placing import rules_of
from services.matching.store import (
    ASSIGNMENT,
    CLIENT,
    FACILITY,
    Assignment,
    Client,
    Facility,
    Mentor,
    seeker_of,
)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The clients of a facility who wait, the riskiest and longest of them by name of their id."""

    count: int
    first: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Where a client stands, and who could stand beside them.

    ``ranked`` leaves out the mentor who is beside the client now; ``answer`` is what choosing says
    of the others. Both are empty where nobody is looked for.
    """

    client: Client
    current: Assignment | None
    why: Why | None
    mentors: Mapping[UUID, Mentor]
    ranked: Sequence[Judged]
    answer: Chosen | Nobody | None
    earlier: Sequence[Any]
    is_parked: bool

    @property
    def beside(self) -> Mentor | None:
        """The mentor who is asked or assigned, where their name can be read here."""
        return self.mentors.get(self.current.mentor_id) if self.current else None

    @property
    def mark(self) -> str:
        """What a decision on this page is about."""
        return mark_of(self.client, self.current)

    @property
    def can_be_decided(self) -> bool:
        """Whether a coordinator may act."""
        return bool(self.ranked or self.current) and not self.is_parked and self._is_open

    @property
    def _is_open(self) -> bool:
        return self.client.state in ("waiting", "placed") and self.client.about is not None


def mark_of(client: Client, current: Assignment | None) -> str:
    """Changes whenever somebody answers or decides."""
    at = f"{current.id}/{current.state}" if current else client.state
    return f"{client.discharge_id}/{at}"


def facility_named(participant: Participant, code: str) -> Facility | None:
    """A facility by its code."""
    with participant.engine.connect() as conn:
        row = conn.execute(select(FACILITY).where(FACILITY.c.code == code)).first()
    return Facility(**row._mapping) if row else None


def roster(participant: Participant, facility: Facility) -> list[Mentor]:
    """The mentors of a facility by the name they go by; not those who were erased."""
    with _looking(participant) as work:
        found: dict[UUID, Mentor] = work.store.mentors_of(facility.id)
    return sorted(found.values(), key=lambda one: (one.profile.called.casefold(), one.profile.code))


def mentor_of(participant: Participant, facility: Facility, mentor_id: UUID) -> Mentor | None:
    """A mentor of this facility."""
    with _looking(participant) as work:
        found: dict[UUID, Mentor] = work.store.mentors_of(facility.id, [mentor_id])
    return found.get(mentor_id)


def clients_of(participant: Participant, facility: Facility, mentor_id: UUID) -> list[Any]:
    """This facility's clients whom a mentor has or is asked for, oldest first."""
    query = (
        select(ASSIGNMENT)
        .join(CLIENT, CLIENT.c.id == ASSIGNMENT.c.client_id)
        .where(ASSIGNMENT.c.mentor_id == mentor_id, ASSIGNMENT.c.state != "ended")
        .where(CLIENT.c.facility_id == facility.id)
        .order_by(func.coalesce(ASSIGNMENT.c.assigned_at, ASSIGNMENT.c.offered_at))
    )
    with participant.engine.connect() as conn:
        return list(conn.execute(query))


def waiting(participant: Participant, facility: Facility, limit: int) -> Waiting:
    """Who waits at a facility."""
    those = select(CLIENT).where(CLIENT.c.facility_id == facility.id, CLIENT.c.state == "waiting")
    first = those.order_by(CLIENT.c.high_risk.desc(), CLIENT.c.waiting_since).limit(limit)
    with participant.engine.connect() as conn:
        count = conn.execute(select(func.count()).select_from(those.subquery())).scalar_one()
        return Waiting(count=count, first=conn.execute(first).all())


def stand_of(participant: Participant, facility: Facility, client_id: UUID) -> Stand | None:
    """Where a client of this facility stands; None when it has no such client."""
    with _looking(participant) as work:
        work.store.load_clients([client_id])
        client: Client | None = work.store.clients.get(client_id)
        if client is None or client.facility_id != facility.id:
            return None
        current: Assignment | None = work.store.active(client_id)
        mentors = work.store.mentors_of(facility.id)
        ranked, answer = _who_could(work, facility, client, current, mentors)
        parked = select(PARKED_KEY.c.key).where(PARKED_KEY.c.key == client_id)
        return Stand(
            client=client,
            current=current,
            why=_why(work, current),
            mentors=mentors,
            ranked=ranked,
            answer=answer,
            earlier=_earlier(work, client_id),
            is_parked=work.conn.execute(parked).first() is not None,
        )


def _who_could(
    work: Work,
    facility: Facility,
    client: Client,
    current: Assignment | None,
    mentors: Mapping[UUID, Mentor],
) -> tuple[Sequence[Judged], Chosen | Nobody | None]:
    seeker = seeker_of(client, work.store.refused([client.id]).get(client.id, frozenset()))
    if seeker is None or client.state not in ("waiting", "placed"):
        return (), None
    beside = current.mentor_id if current else None
    others = [mentor.candidate for mentor in mentors.values() if mentor.id != beside]
    rules = rules_of(facility, work.now)
    return rank(seeker, others, rules), choose(seeker, others, rules)


def _why(work: Work, current: Assignment | None) -> Why | None:
    if current is None or current.why is None:
        return None
    why = work.keys.open_kept(Why, current.why)
    return why if isinstance(why, Why) else None


def _earlier(work: Work, client_id: UUID) -> Sequence[Any]:
    query = (
        select(ASSIGNMENT)
        .where(ASSIGNMENT.c.client_id == client_id, ASSIGNMENT.c.state == "ended")
        .order_by(ASSIGNMENT.c.ended_at.desc())
        .limit(10)
    )
    return work.conn.execute(query).all()


@contextmanager
def _looking(participant: Participant) -> Iterator[Work]:
    with participant.engine.connect() as conn:
        # One picture of a moment, so that a mentor's places and a client's mentor fit together.
        conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        work = Work(participant, conn, new_traceparent())
        work.store.only_looks = True
        yield work


def moment_of(assignment: Any) -> datetime:
    """Since when an offer or assignment stands."""
    began: datetime = assignment.assigned_at or assignment.offered_at
    return began
