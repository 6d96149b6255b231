"""Plan messages: who is told what, once, on which channel, and what is withdrawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as ids

from contracts.event import Event
from contracts.intake import ContactDetails
from contracts.notifications import MessageSuppressed
from hosting.hours import Hours, narrower, parse_hours
from messaging.sealing import SearchTokens
from messaging.work import Work
from services.notifications.domain import CHANNEL_OF_CONSENT
from services.notifications.store import Assignment, Facility, Message, Person

_ADDRESS = {"sms": "mobile", "email": "email"}


def channels_of(person: Person, agreed: set[str]) -> list[str]:
    """The channels on which this person can be written to, in their order."""
    contact = person.contact
    if contact is None:
        return []
    order = list(_ADDRESS)
    if isinstance(contact, ContactDetails):
        chosen = [CHANNEL_OF_CONSENT[c] for c in contact.channels if c in CHANNEL_OF_CONSENT]
        order = [*chosen, *(c for c in order if c not in chosen)]
        order = [c for c in order if c in {CHANNEL_OF_CONSENT.get(a) for a in agreed}]
    theirs = {name for name in _ADDRESS.values() if getattr(contact, name)} - person.lost
    return [channel for channel in order if _ADDRESS[channel] in theirs]


def hours_of(person: Person, facility: Facility | None) -> Hours:
    """When this person may be written to by their own clocks, within the facility's hours."""
    allowed = parse_hours(facility.quiet_hours if facility else "09:00-20:00")
    contact = person.contact
    own = contact.safe_hours if isinstance(contact, ContactDetails) else contact and contact.hours
    return (narrower(parse_hours(own), allowed) if own else None) or allowed


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans messages within one piece of work."""

    work: Work
    tokens: SearchTokens

    def tell_client(
        self,
        purpose: str,
        client_id: UUID,
        about: UUID,
        *,
        assignment: Assignment | None = None,
        once: str = "",
        tried: Collection[str] = (),
    ) -> Iterator[Event]:
        """Write to a client; where no channel is left, say so at once."""
        person: Person | None = self.work.store.persons.get(client_id)
        if person is None:
            return
        agreed = self.work.store.consents.get(client_id, set())
        channels = [channel for channel in channels_of(person, agreed) if channel not in tried]
        message = Message(
            id=ids.uuid7(),
            once=once or f"{purpose}/client/{about}",
            person_id=client_id,
            recipient="client",
            subject_id=client_id,
            discharge_id=assignment.discharge_id if assignment else person.discharge_id,
            assignment_id=assignment.id if assignment else None,
            facility_id=person.facility_id,
            purpose=purpose,
            channel=channels[0] if channels else "none",
            is_answer=False,
            state="planned" if channels else "suppressed",
            reason=None if channels else "no_channel",
            due_at=self.work.now,
            first_due_at=self.work.now,
        )
        self.work.store.plan(message)
        if not channels:
            yield suppressed(message, "no_channel", self.work.now)

    def welcome_again(self, client_id: UUID, because: UUID) -> Iterator[Event]:
        """Say to a client what may have gone to somebody else, if there is a way to them now.

        ``because`` is the reply or the event that told of it.
        """
        person: Person | None = self.work.store.persons.get(client_id)
        if person is None or person.state != "active" or person.discharge_id is None:
            return
        assignment = self.work.store.standing(client_id)
        purpose = "introduction" if assignment else "first"
        about = assignment.id if assignment else person.discharge_id
        said = f"{purpose}/client/{about}"
        left = channels_of(person, self.work.store.consents.get(client_id, set()))
        if left and self.work.store.was_handed_over(said):
            yield from self.tell_client(
                purpose, client_id, about, assignment=assignment, once=f"{said}/{because}"
            )

    def tell_mentor(
        self,
        purpose: str,
        mentor_id: UUID,
        assignment: Assignment,
        *,
        channel: str | None = None,
        once: str = "",
        is_answer: bool = False,
    ) -> Iterator[Event]:
        """Write to a mentor about an assignment."""
        persons = self.work.store.persons
        client: Person | None = persons.get(assignment.client_id)
        if mentor_id in persons.unopened and client is not None:
            # It waits until they open; by which way they are known to be reached is kept beside.
            facility_id = client.facility_id
            channels = [channel] if channel else self.work.store.known_channels(mentor_id)
        elif (mentor := persons.get(mentor_id)) is not None and mentor.state != "erased":
            facility_id = client.facility_id if client else mentor.facility_id
            channels = [channel] if channel else channels_of(mentor, set())
        else:
            return
        message = Message(
            id=ids.uuid7(),
            once=once or f"{purpose}/mentor/{assignment.id}",
            person_id=mentor_id,
            recipient="mentor",
            subject_id=assignment.client_id,
            discharge_id=assignment.discharge_id,
            assignment_id=assignment.id,
            facility_id=facility_id,
            purpose=purpose,
            channel=channels[0] if channels else "none",
            is_answer=is_answer,
            state="planned" if channels else "suppressed",
            reason=None if channels else "no_channel",
            due_at=self.work.now,
            first_due_at=self.work.now,
        )
        self.work.store.plan(message)
        if not channels:
            yield suppressed(message, "no_channel", self.work.now)

    def answer(
        self, purpose: str, person: Person, channel: str, reply_id: UUID, *, once: str = ""
    ) -> None:
        """Answer somebody who has just written, on the channel on which they wrote."""
        self.work.store.plan(
            Message(
                id=ids.uuid7(),
                once=once or f"{purpose}/answer/{reply_id}",
                person_id=person.id,
                recipient=person.kind,
                subject_id=person.id,
                discharge_id=person.discharge_id,
                facility_id=person.facility_id,
                purpose=purpose,
                channel=channel,
                is_answer=True,
                state="planned",
                due_at=self.work.now,
                first_due_at=self.work.now,
            )
        )

    def page_on_call(self, client: Person, reply_id: UUID) -> None:
        """Page the facility's on-call person, at any hour."""
        self.work.store.plan(
            Message(
                id=ids.uuid7(),
                once=f"on_call/{reply_id}",
                person_id=None,
                recipient="on_call",
                subject_id=client.id,
                discharge_id=client.discharge_id,
                facility_id=client.facility_id,
                purpose="on_call",
                channel="sms",
                is_answer=True,
                state="planned",
                due_at=self.work.now,
                first_due_at=self.work.now,
            )
        )

    def reroute(self, message: Message, reason: str) -> Iterator[Event]:
        """Withdraw an unsent message and say it on the next agreed channel, if there is one."""
        person: Person | None = self.work.store.persons.get(message.subject_id)
        agreed = self.work.store.consents.get(message.subject_id, set())
        left = channels_of(person, agreed) if person and not message.is_answer else []
        tried = {message.channel, *self.work.store.channels_tried(message.once)} if left else set()
        following = next((channel for channel in left if channel not in tried), None)
        if following is not None:
            self.work.store.plan(replace(message, id=ids.uuid7(), channel=following))
            reason = "next_channel"
        self.work.store.suppress(message, reason)
        yield suppressed(message, reason, self.work.now)

    def withdraw(
        self, reason: str, *, but: Collection[str] = (), **match: object
    ) -> Iterator[Event]:
        """Withdraw unsent messages, as the function of this name does."""
        yield from withdraw(self.work, reason, but=but, **match)


def withdraw(
    work: Work, reason: str, *, but: Collection[str] = (), **match: object
) -> Iterator[Event]:
    """Withdraw unsent messages, ``but`` those of these purposes.

    An answer to somebody who has just written still goes.
    """
    for message in work.store.planned(**match):
        if not message.is_answer and message.purpose not in but:
            work.store.suppress(message, reason)
            yield suppressed(message, reason, work.now)


def suppressed(message: Message, reason: str, now: datetime) -> MessageSuppressed:
    """The message will not leave."""
    return MessageSuppressed(
        subject_id=message.subject_id,
        message_id=message.id,
        recipient=message.recipient,
        purpose=message.purpose,
        channel=message.channel,
        at=now,
        discharge_id=message.discharge_id,
        facility_id=message.facility_id,
        reason=reason,
    )
