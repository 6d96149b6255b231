"""What notifications says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from contracts.event import Event
from contracts.sealed import Destroyed, Seal, Sealed


@dataclass(frozen=True, kw_only=True)
class MessageEvent(Event):
    """What all events of one message share. ``subject_id`` is the client whose story it is part
    of, else the recipient; ``recipient`` is client, mentor or on_call.
    """

    subject_id: UUID
    message_id: UUID
    recipient: str
    purpose: str
    channel: str
    at: datetime
    discharge_id: UUID | None = None
    facility_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class MessageHandedOver(MessageEvent, says="notifications", key="subject_id"):
    """The network took the message."""

    template: str
    version: int
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class MessageDelivered(MessageEvent, says="notifications", key="subject_id"):
    """The network says that the message arrived at the phone."""


@dataclass(frozen=True, kw_only=True)
class MessageFailed(MessageEvent, says="notifications", key="subject_id"):
    """The network refused the message for good. ``next_channel`` is tried next, if there is one."""

    reason: str
    next_channel: str | None = None


@dataclass(frozen=True, kw_only=True)
class MessageUnconfirmed(MessageEvent, says="notifications", key="subject_id"):
    """Nobody can say whether the network took the message; a person decides, nothing is resent."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class MessageSuppressed(MessageEvent, says="notifications", key="subject_id"):
    """The message was withdrawn before it left. ``reason`` says which rule forbade it."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class MessageDelayed(MessageEvent, says="notifications", key="subject_id"):
    """The message waits until then, because it may not arrive now."""

    until: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReplyReceived(Event, says="notifications", key="subject_id"):
    """Somebody answered. ``meaning`` is what was understood; the words stay in notifications.

    ``talked_at``: when they talked, where the mentor said so later.
    ``contact_by``, of somebody who would like to talk: by then it is known that they have, or a
    person is asked to look.
    """

    subject_id: UUID
    reply_id: UUID
    sender: str
    sender_id: UUID
    meaning: str
    channel: str
    received_at: datetime
    assignment_id: UUID | None = None
    discharge_id: UUID | None = None
    facility_id: UUID | None = None
    talked_at: datetime | None = None
    contact_by: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class MentorProfile:
    """When a mentor can be reached, how many clients they take, and what they are good at."""

    hours: str
    capacity: int
    strengths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MentorProfileGiven(Event, says="notifications", key="mentor_id"):
    """A mentor told on their own pages how they are to be chosen; matching makes it so."""

    mentor_id: UUID
    given_at: datetime
    profile: Annotated[MentorProfile | Sealed | Destroyed, Seal("about", MentorProfile)]
