"""What notifications makes of intake's and matching's facts: who is told what, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from contracts.event import Event
from contracts.intake import (
    ClientDied,
    ClientDischarged,
    ClientErased,
    ConsentGiven,
    ConsentRevoked,
    ContactDetails,
    ContactDetailsChanged,
    DischargeCancelled,
    DischargeCorrected,
    DischargeHeld,
    FacilityChanged,
    OutreachStopped,
)
from contracts.matching import (
    AssignmentDeclined,
    AssignmentEnded,
    AssignmentOffered,
    FirstContactMade,
    MentorAssigned,
    MentorChanged,
    MentorContact,
    MentorErased,
    NobodyAvailable,
    OfferExpired,
)
from contracts.sealed import opened
from messaging.sealing import SearchTokens
from messaging.timers import Timer
from messaging.work import Work
from services.notifications import calling_off, cards, check_ins, mentors
from services.notifications.domain import AFTER_STOP, CHANNEL_OF_CONSENT, CLOSES, UNDER_WAY
from services.notifications.planning import Planner, channels_of
from services.notifications.store import Assignment, Facility, Person

#: A mentor is reminded when nobody has talked by then.
REMIND_AFTER = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """The handlers, with the key that turns addresses into tokens."""

    tokens: SearchTokens

    def facility_changed(self, event: FacilityChanged, work: Work) -> Iterable[Event]:
        """Messages speak for this facility from now on."""
        work.store.put_facility(
            Facility(
                id=event.facility_id,
                alias=event.alias,
                time_zone=event.time_zone,
                language=event.language,
                promised_hours=event.promised_hours,
                quiet_hours=event.quiet_hours,
                people=opened(event.people),
            )
        )
        return ()

    def client_discharged(self, event: ClientDischarged, work: Work) -> Iterable[Event]:
        """The client gets a first message, whatever the state of matching."""
        contact = opened(event.contact)
        if contact is None:
            return
        known = work.store.persons.get(event.client_id)
        returns = known is not None and known.discharge_id is not None
        is_found = self._know(work, event.client_id, contact, facility_id=event.facility_id)
        person = work.store.persons[event.client_id]
        work.store.put(replace(person, state="active", discharge_id=event.discharge_id))
        if returns:
            # Days are counted anew once it is said who stands beside them.
            yield from check_ins.end(work, event.client_id, "withdrawn")
        if event.replaces is None or is_found or not work.store.is_welcomed(event.client_id):
            # Otherwise they were welcomed for the earlier discharge, and keep their mentor.
            planner = self._planner(work)
            yield from planner.tell_client("first", event.client_id, event.discharge_id)

    def discharge_corrected(self, event: DischargeCorrected, work: Work) -> Iterable[Event]:
        """What is known has changed; if it was held, the first message may leave now."""
        contact = opened(event.contact)
        if contact is None:
            return
        is_found = self._know(work, event.client_id, contact, facility_id=event.facility_id)
        if calling_off.declined(work, event.client_id, event.discharge_id):
            return
        person = work.store.persons[event.client_id]
        was_held = person.state == "held"
        work.store.put(replace(person, state="active", discharge_id=event.discharge_id))
        if is_found:
            yield from self._welcome_again(work, event.client_id)
        if not was_held or work.store.is_welcomed(event.client_id):
            return
        tried = work.store.channels_tried(f"first/client/{event.discharge_id}")
        planner = self._planner(work)
        yield from planner.tell_client("first", event.client_id, event.discharge_id, tried=tried)

    def contact_changed(self, event: ContactDetailsChanged, work: Work) -> Iterable[Event]:
        """The client is called or reached differently from now on."""
        contact = opened(event.contact)
        if contact is not None:
            kept = work.store.persons.get(event.client_id)
            if kept is not None and isinstance(kept.contact, ContactDetails):
                contact = replace(contact, what_helps=kept.contact.what_helps)
            if self._know(work, event.client_id, contact, facility_id=event.facility_id):
                yield from self._welcome_again(work, event.client_id)

    def consent_given(self, event: ConsentGiven, work: Work) -> Iterable[Event]:
        """The client may be reached in one more way."""
        work.store.agree(event.client_id, event.channel, agreed=True)
        return ()

    def consent_revoked(self, event: ConsentRevoked, work: Work) -> Iterable[Event]:
        """What has not left on this channel does not leave."""
        work.store.agree(event.client_id, event.channel, agreed=False)
        channel = CHANNEL_OF_CONSENT.get(event.channel, "")
        planner = self._planner(work)
        for message in work.store.planned(person_id=event.client_id, channel=channel):
            # Where to call in an emergency, and that it is over, is said without a consent too.
            if message.purpose not in AFTER_STOP:
                yield from planner.reroute(message, "no_consent")

    def discharge_held(self, event: DischargeHeld, work: Work) -> Iterable[Event]:
        """Nothing leaves for now."""
        return self._called_off(event, work, "held")

    def discharge_cancelled(self, event: DischargeCancelled, work: Work) -> Iterable[Event]:
        """Nothing more is said about this discharge."""
        return self._called_off(event, work, "cancelled")

    def client_died(self, event: ClientDied, work: Work) -> Iterable[Event]:
        """All outreach stops for good."""
        return calling_off.stand(work, self._planner(work), event.client_id, "died")

    def client_erased(self, event: ClientErased, work: Work) -> Iterable[Event]:
        """All outreach stops for good, and nothing leads to them any more."""
        yield from calling_off.stand(work, self._planner(work), event.client_id, "erased")
        # That matching has ended them may have come before, and counts as applied unread.
        yield from self._end_standing(work, event.client_id)
        person = work.store.persons.get(event.client_id)
        if person is not None:
            nobody = {"contact": None, "mobile_token": None, "email_token": None}
            work.store.put(replace(person, state="erased", **nobody))

    def outreach_stopped(self, event: OutreachStopped, work: Work) -> Iterable[Event]:
        """The client told staff what they could have answered: STOP."""
        contact = opened(event.contact)
        if contact is None:
            return
        for token in self._address_tokens(contact).values():
            if token is not None:
                work.store.stop(token)
        yield from self._planner(work).withdraw("stop", person_id=event.client_id)
        yield from check_ins.end(work, event.client_id, "stop")

    def mentor_changed(self, event: MentorChanged, work: Work) -> Iterable[Event]:
        """A mentor's route, state and contact as they now stand."""
        contact = opened(event.contact)
        if contact is None:
            return
        known = work.store.persons.get(event.mentor_id)
        work.store.put(
            Person(
                id=event.mentor_id,
                kind="mentor",
                state=event.state,
                facility_id=event.facility_ids[0] if event.facility_ids else None,
                route=event.route,
                route_ends_on=event.route_ends_on,
                contact=contact,
                **self._tokens_of(contact, known),
            )
        )
        before = known.contact if known is not None else None
        if before is not None and (
            before.mobile not in (None, contact.mobile) or before.email not in (None, contact.email)
        ):
            yield from cards.shut_out(work, event.mentor_id)

    def mentor_erased(self, event: MentorErased, work: Work) -> Iterable[Event]:
        """Nothing is written to them any more, and nothing leads to them."""
        work.store.load_planned_to(event.mentor_id)
        yield from self._planner(work).withdraw("erased", person_id=event.mentor_id)
        mentors.forget(work, event.mentor_id)
        person = work.store.persons.get(event.mentor_id)
        if person is not None:
            nobody = {"contact": None, "mobile_token": None, "email_token": None, "route": None}
            work.store.put(replace(person, state="erased", **nobody))

    def assignment_offered(self, event: AssignmentOffered, work: Work) -> Iterable[Event]:
        """The mentor is asked."""
        work.timers.revoke(event.client_id, "waiting")
        known = work.store.assignments.get(event.assignment_id)
        if known is not None:
            # Said again for a later discharge: the mentor was asked, and may have answered.
            work.store.put_assignment(replace(known, discharge_id=event.discharge_id))
            return
        yield from self._end_forgotten(work, event)
        assignment = Assignment(
            id=event.assignment_id,
            client_id=event.client_id,
            discharge_id=event.discharge_id,
            mentor_id=event.mentor_id,
            state="offered",
            answer_by=event.answer_by,
            call_by=event.answer_by + REMIND_AFTER,
        )
        work.store.put_assignment(assignment)
        work.store.ask("offer", event.mentor_id, assignment)
        yield from self._planner(work).tell_mentor("offer", event.mentor_id, assignment)

    def mentor_assigned(self, event: MentorAssigned, work: Work) -> Iterable[Event]:
        """Client and mentor hear of each other, each as much as they may."""
        yield from self._end_forgotten(work, event)
        work.timers.revoke(event.client_id, "waiting")
        assignment = Assignment(
            id=event.assignment_id,
            client_id=event.client_id,
            discharge_id=event.discharge_id,
            mentor_id=event.mentor_id,
            state="assigned",
            call_by=event.call_by,
        )
        work.store.put_assignment(assignment)
        work.store.close_questions(assignment.id, "offer")
        planner = self._planner(work)
        # That nobody was found yet would come beside who was.
        yield from planner.withdraw("withdrawn", subject_id=event.client_id, purpose="waiting")
        # Whoever keeps their mentor has come back now, however long ago the two were introduced.
        since = work.now if event.kept else event.assigned_at
        check_ins.begin(work, self.tokens, assignment, since)
        if event.kept:
            return
        work.store.ask("introduction", event.client_id, assignment)
        work.store.ask("contact", event.mentor_id, assignment)
        work.timers.set(
            event.client_id, f"remind/{assignment.id}", event.assigned_at + REMIND_AFTER
        )
        # Whoever is to call is written to first.
        yield from self._send_card(work, planner, assignment)
        yield from planner.tell_client(
            "introduction", event.client_id, assignment.id, assignment=assignment
        )

    def declined(self, event: AssignmentDeclined, work: Work) -> Iterable[Event]:
        """The mentor said no, and was thanked when they did."""
        yield from self._over(work, event.assignment_id, "answered")

    def expired(self, event: OfferExpired, work: Work) -> Iterable[Event]:
        """The mentor is told that the question is settled, so that a late yes misleads nobody."""
        assignment = work.store.assignments.get(event.assignment_id)
        yield from self._over(work, event.assignment_id, "withdrawn")
        if assignment is not None:
            yield from self._tell_if_asked(work, assignment, "offer_closed")

    def assignment_ended(self, event: AssignmentEnded, work: Work) -> Iterable[Event]:
        """The mentor is told, if they knew of it."""
        yield from self._end(work, work.store.assignments.get(event.assignment_id))

    def _end(self, work: Work, assignment: Assignment | None) -> Iterator[Event]:
        if assignment is None:
            return
        yield from self._over(work, assignment.id, "withdrawn")
        if assignment.state == "offered":
            yield from self._tell_if_asked(work, assignment, "offer_closed")
        elif assignment.state in UNDER_WAY and any(
            work.store.was_handed_over(f"{purpose}/mentor/{assignment.id}")
            for purpose in ("offer", "card", "card_by_coordinator")
        ):
            yield from self._planner(work).tell_mentor(
                "ended_for_mentor", assignment.mentor_id, assignment
            )

    def first_contact_made(self, event: FirstContactMade, work: Work) -> Iterable[Event]:
        """Nobody needs reminding any more."""
        assignment = work.store.assignments.get(event.assignment_id)
        # Erased or passed on here, it is over, whatever matching had not heard by then.
        if assignment is not None and assignment.state != "ended":
            work.store.put_assignment(replace(assignment, state="in_contact"))
        work.store.close_questions(event.assignment_id, "contact")
        work.timers.revoke(event.client_id, f"remind/{event.assignment_id}")
        yield from self._planner(work).withdraw(
            "answered", assignment_id=event.assignment_id, purpose="reminder"
        )

    def nobody_available(self, event: NobodyAvailable, work: Work) -> Iterable[Event]:
        """Past the promised hour the client gets an honest text."""
        yield from self._end_forgotten(work, event)
        facility = work.store.facility(event.facility_id)
        if facility is not None:
            by = event.since + timedelta(hours=facility.promised_hours)
            work.timers.set(event.client_id, "waiting", by, discharge_id=str(event.discharge_id))

    def still_waiting(self, timer: Timer, work: Work) -> Iterable[Event]:
        """The promised hour has passed, and nobody was found."""
        work.store.load_persons([timer.key])
        person = work.store.persons.get(timer.key)
        if person is None or person.state != "active":
            return ()
        about = UUID(timer.data["discharge_id"])
        return self._planner(work).tell_client("waiting", timer.key, about)

    def not_talked_yet(self, timer: Timer, work: Work) -> Iterable[Event]:
        """A day has passed since the introduction."""
        work.store.load_persons([timer.key])
        assignment = work.store.assignments.get(UUID(timer.name.partition("/")[2]))
        if assignment is None or assignment.state != "assigned":
            return ()
        work.store.load_persons([assignment.mentor_id])
        return self._planner(work).tell_mentor("reminder", assignment.mentor_id, assignment)

    def check_in(self, timer: Timer, work: Work) -> Iterable[Event]:
        """The client is asked how they are."""
        return check_ins.ask(timer, work, self.tokens)

    def no_word(self, timer: Timer, work: Work) -> Iterable[Event]:
        """The client has left check-ins unanswered: their mentor is told."""
        return check_ins.silence(timer, work, self.tokens)

    def table(self) -> Mapping[type[Event], list[Callable[..., Any]]]:
        """What notifications reacts to."""
        return {
            FacilityChanged: [self.facility_changed],
            ClientDischarged: [self.client_discharged],
            DischargeCorrected: [self.discharge_corrected],
            DischargeHeld: [self.discharge_held],
            DischargeCancelled: [self.discharge_cancelled],
            ClientDied: [self.client_died],
            ClientErased: [self.client_erased],
            OutreachStopped: [self.outreach_stopped],
            ConsentGiven: [self.consent_given],
            ConsentRevoked: [self.consent_revoked],
            ContactDetailsChanged: [self.contact_changed],
            MentorChanged: [self.mentor_changed],
            MentorErased: [self.mentor_erased],
            AssignmentOffered: [self.assignment_offered],
            MentorAssigned: [self.mentor_assigned],
            AssignmentDeclined: [self.declined],
            OfferExpired: [self.expired],
            AssignmentEnded: [self.assignment_ended],
            FirstContactMade: [self.first_contact_made],
            NobodyAvailable: [self.nobody_available],
        }

    def timers(self) -> Mapping[str, Callable[..., Any]]:
        """What notifications does later."""
        return {
            "waiting": self.still_waiting,
            "remind": self.not_talked_yet,
            check_ins.NEXT: self.check_in,
            check_ins.SILENCE: self.no_word,
        }

    def _planner(self, work: Work) -> Planner:
        return Planner(work=work, tokens=self.tokens)

    def _know(
        self,
        work: Work,
        client_id: UUID,
        contact: ContactDetails,
        *,
        facility_id: UUID | None = None,
    ) -> bool:
        """Keep how they are reached; whether somebody else's address was put right by it."""
        kept = work.store.persons.get(client_id)
        if kept is None:
            kept = Person(id=client_id, kind="client", state="known")
        tokens = self._tokens_of(contact, kept)
        facility_id = facility_id or kept.facility_id
        work.store.put(replace(kept, contact=contact, facility_id=facility_id, **tokens))
        return any(tokens[f"{name}_token"] for name in kept.lost)

    def _welcome_again(self, work: Work, client_id: UUID) -> Iterator[Event]:
        """What a stranger heard is said to the client."""
        assert work.cause is not None
        return self._planner(work).welcome_again(client_id, work.cause.event_id)

    def _tokens_of(
        self, contact: ContactDetails | MentorContact, kept: Person | None
    ) -> dict[str, Any]:
        """By what they are found when they write; an address that is somebody else's stays so."""
        tokens = self._address_tokens(contact)
        if kept is not None:
            stays = {n for n in kept.lost if getattr(contact, n) == getattr(kept.contact, n)}
            tokens |= {f"{name}_token": None for name in stays}
        return tokens

    def _address_tokens(self, contact: ContactDetails | MentorContact) -> dict[str, Any]:
        mobile, email = contact.mobile, contact.email
        return {
            "mobile_token": self.tokens.token("mobile", mobile) if mobile else None,
            "email_token": self.tokens.token("email", email.lower()) if email else None,
        }

    def _called_off(
        self, event: DischargeHeld | DischargeCancelled, work: Work, state: str
    ) -> Iterable[Event]:
        """What is said of another discharge than the client's own leaves theirs as it is."""
        person = work.store.persons.get(event.client_id)
        if person is None or person.discharge_id != event.discharge_id:
            return ()
        return calling_off.stand(work, self._planner(work), event.client_id, state)

    def _over(self, work: Work, assignment_id: UUID, reason: str) -> Iterator[Event]:
        """An offer or assignment is over: its questions, card and unsent messages too.

        It may have been over here before, for whoever erased the client or passed them on.
        """
        assignment = work.store.assignments.get(assignment_id)
        if assignment is None:
            return
        work.store.put_assignment(replace(assignment, state="ended"))
        stands_alone = work.store.standing(assignment.client_id) is None
        if stands_alone:
            yield from check_ins.end(work, assignment.client_id, reason)
        work.store.close_questions(assignment_id, "offer", "contact", "introduction")
        work.timers.revoke(assignment.client_id, f"remind/{assignment_id}")
        cards.end(work, assignment_id)
        if assignment.state != "offered" and stands_alone:
            # What was written while this mentor stood beside them is not for the next one.
            mentors.put_away_words(work, assignment.client_id)
        # That it is over may be waiting for the morning.
        yield from self._planner(work).withdraw(reason, but=CLOSES, assignment_id=assignment_id)

    def _end_forgotten(
        self, work: Work, event: AssignmentOffered | MentorAssigned | NobodyAvailable
    ) -> Iterator[Event]:
        """End what else stands for the discharge, and matching does not know of.

        It ends an assignment before it makes another, but for what it forgot when its database was
        restored. The mentor of that one would go on seeing the client's card.
        """
        made = None if isinstance(event, NobodyAvailable) else event.assignment_id
        yield from self._end_standing(
            work,
            event.client_id,
            lambda one: one.id != made and one.discharge_id == event.discharge_id,
        )

    def _end_standing(
        self, work: Work, client_id: UUID, which: Callable[[Assignment], bool] = lambda one: True
    ) -> Iterator[Event]:
        """End those of a client's assignments that stand, without matching's word."""
        for one in work.store.assignments_of(client_id):
            if one.state != "ended" and which(one):
                work.store.load_persons({one.mentor_id})
                yield from self._end(work, one)

    def _tell_if_asked(self, work: Work, assignment: Assignment, purpose: str) -> Iterator[Event]:
        if work.store.was_handed_over(f"offer/mentor/{assignment.id}"):
            yield from self._planner(work).tell_mentor(purpose, assignment.mentor_id, assignment)

    def _send_card(self, work: Work, planner: Planner, assignment: Assignment) -> Iterator[Event]:
        """The link goes on one channel and the code on another; with one, a person calls."""
        mentor = work.store.persons.get(assignment.mentor_id)
        if mentor is None:
            return
        channels = channels_of(mentor, set())
        if len(channels) < 2:
            yield from planner.tell_mentor("card_by_coordinator", mentor.id, assignment)
            yield cards.no_second_channel(work, assignment, mentor.facility_id)
            return
        cards.make(work, self.tokens, uuid4(), assignment)
        for purpose, channel in zip(("card", "card_code"), channels, strict=False):
            yield from planner.tell_mentor(purpose, mentor.id, assignment, channel=channel)
