"""What intake says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from contracts.event import Event
from contracts.sealed import Destroyed, Seal, Sealed


@dataclass(frozen=True, kw_only=True)
class FacilityPeople:
    """Whom to name and to call at a facility: staff, in their function."""

    coordinator_name: str
    coordinator_phone: str
    coordinator_email: str
    on_call_name: str
    on_call_phone: str
    on_call_email: str


@dataclass(frozen=True, kw_only=True)
class AboutClient:
    """What choosing a mentor needs to know, and nothing that names the client."""

    language: str
    time_zone: str
    high_risk: bool
    moud: bool = False
    needs: tuple[str, ...] = ()
    pathways: tuple[str, ...] = ()
    substances: tuple[str, ...] = ()
    wants_gender: str | None = None
    wants_age_band: str | None = None


@dataclass(frozen=True, kw_only=True)
class ContactDetails:
    """How a client is called and reached, and what the mentor's card may show."""

    called: str
    language: str
    time_zone: str
    mobile: str | None = None
    email: str | None = None
    channels: tuple[str, ...] = ()
    safe_hours: str | None = None
    what_helps: tuple[str, ...] = ()
    wishes: str | None = None


@dataclass(frozen=True, kw_only=True)
class FacilityChanged(Event, says="intake", key="facility_id"):
    """A facility's settings as they now stand."""

    facility_id: UUID
    code: str
    alias: str
    time_zone: str
    language: str
    asks: bool
    promised_hours: int
    quiet_hours: str
    people: Annotated[FacilityPeople | Sealed | Destroyed, Seal("contact", FacilityPeople)]


@dataclass(frozen=True, kw_only=True)
class ClientDischarged(Event, says="intake", key="client_id", also=("facility_id",)):
    """A client left treatment, all that is needed is known, and support begins. Said once."""

    client_id: UUID
    discharge_id: UUID
    facility_id: UUID
    accepted_at: datetime
    about: Annotated[AboutClient | Sealed | Destroyed, Seal("about", AboutClient)]
    contact: Annotated[ContactDetails | Sealed | Destroyed, Seal("contact", ContactDetails)]
    replaces: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class DischargeHeld(Event, says="intake", key="client_id", also=("facility_id",)):
    """A discharge waits for a person at the facility; nothing goes out meanwhile."""

    client_id: UUID
    discharge_id: UUID
    facility_id: UUID
    held_at: datetime


@dataclass(frozen=True, kw_only=True)
class DischargeCorrected(Event, says="intake", key="client_id", also=("facility_id",)):
    """A discharge that was said before, as it now stands: complete, and not held."""

    client_id: UUID
    discharge_id: UUID
    facility_id: UUID
    corrected_at: datetime
    about: Annotated[AboutClient | Sealed | Destroyed, Seal("about", AboutClient)]
    contact: Annotated[ContactDetails | Sealed | Destroyed, Seal("contact", ContactDetails)]


@dataclass(frozen=True, kw_only=True)
class DischargeCancelled(Event, says="intake", key="client_id", also=("facility_id",)):
    """A discharge was entered in error, or its support was called off."""

    client_id: UUID
    discharge_id: UUID
    facility_id: UUID
    cancelled_at: datetime


@dataclass(frozen=True, kw_only=True)
class ClientDied(Event, says="intake", key="client_id"):
    """A client died; all outreach stops for good."""

    client_id: UUID
    learnt_at: datetime


@dataclass(frozen=True, kw_only=True)
class ClientErased(Event, says="intake", key="client_id", erases=True):
    """What is known of a client was erased on their word: nobody can open it, all outreach ends."""

    client_id: UUID
    erased_at: datetime


@dataclass(frozen=True, kw_only=True)
class ConsentGiven(Event, says="intake", key="client_id"):
    """A client agreed to one way of being contacted."""

    client_id: UUID
    channel: str
    wording: str
    given_at: datetime


@dataclass(frozen=True, kw_only=True)
class ConsentRevoked(Event, says="intake", key="client_id"):
    """A client took back their agreement to one way of being contacted."""

    client_id: UUID
    channel: str
    revoked_at: datetime


@dataclass(frozen=True, kw_only=True)
class OutreachStopped(Event, says="intake", key="client_id"):
    """A client told staff that they want no more automated messages; mentor and consents stay."""

    client_id: UUID
    stopped_at: datetime
    contact: Annotated[ContactDetails | Sealed | Destroyed, Seal("contact", ContactDetails)]


@dataclass(frozen=True, kw_only=True)
class ContactDetailsChanged(Event, says="intake", key="client_id"):
    """A client is reached or called differently from now on, before they are discharged or after.

    ``facility_id`` is absent from what an earlier version said.
    """

    client_id: UUID
    contact: Annotated[ContactDetails | Sealed | Destroyed, Seal("contact", ContactDetails)]
    changed_at: datetime
    facility_id: UUID | None = None
