"""What matching says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from contracts.event import Event
from contracts.sealed import Destroyed, Seal, Sealed


@dataclass(frozen=True, kw_only=True)
class MentorContact:
    """How a mentor is called and reached, and the record of their opting in."""

    called: str
    language: str
    time_zone: str
    hours: str
    mobile: str | None = None
    email: str | None = None
    opted_in_at: datetime | None = None
    opted_in_how: str | None = None
    capacity: int | None = None
    strengths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MentorName:
    """The name a mentor goes by, for the facility's own staff."""

    called: str


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why this mentor, or why nobody, in sentences for the facility's own staff."""

    why: str
    change: str = ""


@dataclass(frozen=True, kw_only=True)
class MentorChanged(Event, says="matching", key="mentor_id"):
    """A mentor's route, state and contact as they now stand, and how many clients they have."""

    mentor_id: UUID
    facility_ids: tuple[UUID, ...]
    state: str
    route: str
    changed_at: datetime
    contact: Annotated[MentorContact | Sealed | Destroyed, Seal("contact", MentorContact)]
    name: Annotated[MentorName | Sealed | Destroyed, Seal("identity", MentorName)]
    route_ends_on: date | None = None
    caseload: int = 0


@dataclass(frozen=True, kw_only=True)
class MentorErased(Event, says="matching", key="mentor_id", erases=True):
    """What is known of a mentor was erased on their word: nobody can open it, or write to them."""

    mentor_id: UUID
    erased_at: datetime


@dataclass(frozen=True, kw_only=True)
class AssignmentOffered(Event, says="matching", key="client_id", also=("mentor_id",)):
    """A mentor is asked; the offer takes a place until it is answered or expires.

    ``decided_by`` is the account of the person who chose, where it was not the rules.
    """

    client_id: UUID
    discharge_id: UUID
    assignment_id: UUID
    mentor_id: UUID
    offered_at: datetime
    answer_by: datetime
    why: Annotated[Why | Sealed | Destroyed, Seal("identity", Why)]
    decided_by: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class MentorAssigned(Event, says="matching", key="client_id", also=("mentor_id",)):
    """A mentor now stands beside this client, and calls by the time named.

    ``decided_by`` is the account of the person who chose, where it was not the rules.
    """

    client_id: UUID
    discharge_id: UUID
    assignment_id: UUID
    mentor_id: UUID
    assigned_at: datetime
    call_by: datetime
    why: Annotated[Why | Sealed | Destroyed, Seal("identity", Why)]
    kept: bool = False
    decided_by: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class AssignmentDeclined(Event, says="matching", key="client_id", also=("mentor_id",)):
    """A mentor said no, or passed the client on; somebody else is looked for."""

    client_id: UUID
    discharge_id: UUID
    assignment_id: UUID
    mentor_id: UUID
    declined_at: datetime


@dataclass(frozen=True, kw_only=True)
class OfferExpired(Event, says="matching", key="client_id", also=("mentor_id",)):
    """A mentor did not answer in time; somebody else is looked for."""

    client_id: UUID
    discharge_id: UUID
    assignment_id: UUID
    mentor_id: UUID
    expired_at: datetime


@dataclass(frozen=True, kw_only=True)
class NobodyAvailable(Event, says="matching", key="client_id"):
    """No mentor can be asked now; the client waits, and a person is told why."""

    client_id: UUID
    discharge_id: UUID
    facility_id: UUID
    since: datetime
    why: Annotated[Why | Sealed | Destroyed, Seal("identity", Why)]


@dataclass(frozen=True, kw_only=True)
class FirstContactMade(Event, says="matching", key="client_id", also=("mentor_id",)):
    """Mentor and client have talked: the door to voice is open."""

    client_id: UUID
    discharge_id: UUID
    assignment_id: UUID
    mentor_id: UUID
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class AssignmentEnded(Event, says="matching", key="client_id", also=("mentor_id",)):
    """An offer or an assignment is over. ``reason``: client_declined, client_wants_another,
    coordinator_wants_another, mentor_stopped, cancelled, held, died, erased. ``decided_by`` is the
    account of the coordinator.
    """

    client_id: UUID
    discharge_id: UUID
    assignment_id: UUID
    mentor_id: UUID
    reason: str
    ended_at: datetime
    decided_by: UUID | None = None
