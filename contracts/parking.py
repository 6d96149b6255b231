"""What every service says when it must set one subject's events aside, and when it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from contracts.event import Event

_ALL = ("intake", "matching", "notifications")


@dataclass(frozen=True, kw_only=True)
class KeyParked(Event, says=_ALL, key="subject_id"):
    """A service could not handle an event; the later ones of this subject wait behind it."""

    subject_id: UUID
    service: str
    handler: str
    error: str
    parked_at: datetime


@dataclass(frozen=True, kw_only=True)
class KeyReleased(Event, says=_ALL, key="subject_id"):
    """The waiting events of a subject were applied (or closed, with a reason, by a person).

    ``by`` is the account of that person where they were signed in, ``because`` the code of a
    reason to close.
    """

    subject_id: UUID
    service: str
    closed: bool
    released_at: datetime
    by: UUID | None = None
    because: str | None = None
