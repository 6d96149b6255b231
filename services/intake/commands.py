"""What clinic staff and their feeds ask for: register, agree, correct, cancel, finish a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from contracts.event import Event
from contracts.intake import (
    AboutClient,
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
    FacilityPeople,
    OutreachStopped,
)
from contracts.sealed import Destroyed
from contracts.wire import dump, written
from hosting.database import reading
from hosting.hours import narrower, parse_hours
from messaging import audit, releasing
from messaging.sealing import SearchTokens
from messaging.work import Command, Participant, Work
from services.intake import metrics, store
from services.intake.bodies import (
    Consents,
    ConsentsBody,
    ContactBody,
    DischargeBody,
    FacilityEntry,
    e164,
)
from services.intake.domain import (
    AHEAD,
    CHANNELS,
    STOPPING,
    Details,
    Facility,
    Person,
    found_by,
    holds,
    is_high_risk,
    reachable_by,
    updated,
)
from services.intake.store import Agreement, Discharge

log = logging.getLogger(__name__)

#: If matching has not answered by then, operations is asked to look.
PLACED_WITHIN = timedelta(minutes=5)


class NoSuchThing(Exception):
    """What was named does not exist at this facility; ``args[0]`` names the field."""


class Refused(Exception):
    """A request that cannot be granted; ``args`` are the field and the remedy."""


#: What whoever sent it is told of a client of whom what is kept does not open.
UNOPENED = (
    "What is kept of this client cannot be read: look after them by hand, and send this again once"
    " operations has mended it."
)

#: Why a discharge is closed whose client has left once more.
OVERTAKEN = "a later discharge"

#: What of a person matching looks at.
_MATCHED_BY = ("language", "time_zone", "wants_gender", "wants_age_band")

#: Whether a form was made from what is known now: of the client, of each discharge, and agreed.
Seen = Callable[[Person, Mapping[UUID, Details], Collection[str]], bool]


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What became of a registration."""

    id: UUID
    client_id: UUID
    state: str

    def as_json(self) -> dict[str, str]:
        """The body of the answer."""
        return {"id": str(self.id), "client_id": str(self.client_id), "state": self.state}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where commands are carried out."""

    participant: Participant
    tokens: SearchTokens

    def facility(self, code: str) -> Facility:
        """The facility of a code; raises ``NoSuchThing``."""
        with reading(self.participant.engine) as conn:
            found = store.facility_by_code(conn, code)
        if found is None:
            raise NoSuchThing("facility")
        return found

    def register(
        self,
        facility: Facility,
        body: DischargeBody,
        *,
        caller: str,
        answer_key: tuple[str, str] | None = None,
        answer: Mapping[str, str] = MappingProxyType({}),
        deleted: tuple[str, ...] = (),
        unusable: tuple[str, ...] = (),
        seen: Seen | None = None,
        of: UUID | None = None,
    ) -> Accepted:
        """Store a discharge, new or updated, and let support begin when nothing holds it.

        ``answer_key`` is a token of the caller's key and one of what was asked: the same pair
        gets the same answer again, and ``answer`` is kept beside it. ``deleted`` names what a feed
        says is no longer known, and ``unusable`` the fields that it filled with what cannot be, for
        the story to tell. Raises ``Refused`` when the key came with something else, or what was
        ``seen`` has changed, and ``NoSuchThing`` when the client is no longer that ``of`` this
        discharge, who was erased.
        """
        accepted: list[Accepted] = []

        def command(work: Work) -> Iterator[Event]:
            accepted.clear()
            if answer_key is not None:
                before = store.earlier_answer(work, caller, answer_key[0])
                if before is not None:
                    accepted.append(_again(before, answer_key[1]))
                    return
            visit = _Visit(work, self.tokens, facility, seen, of)
            yield from visit.register(body, deleted, unusable)
            accepted.append(visit.accepted())
            if answer_key is not None:
                kept = accepted[0].as_json() | dict(answer)
                store.remember_answer(work, caller, *answer_key, kept)

        self._about_a_client(facility, command)
        return accepted[0]

    def put_consents(self, facility: Facility, body: ConsentsBody) -> UUID:
        """Replace all that a client agrees to; what is absent is revoked."""
        return self._learn(facility, body.record_number, {}, body.consents)

    def put_contact(
        self, facility: Facility, body: ContactBody, *, deleted: tuple[str, ...] = ()
    ) -> UUID:
        """Correct how a client is called and reached; ``deleted`` names what is no longer so."""
        given = _deleted(deleted, Person) | _given(body, Person)
        return self._learn(facility, body.record_number, given)

    def admit(
        self,
        facility: Facility,
        contact: ContactBody,
        consents: ConsentsBody,
        *,
        deleted: tuple[str, ...] = (),
        keeping: frozenset[str] = frozenset(),
        seen: Seen | None = None,
        of: UUID | None = None,
    ) -> UUID:
        """Note how a client is reached and all that they agree to, before they leave or after.

        ``keeping`` names the channels whose consent stays as it was given. Raises as ``register``.
        """
        given = _deleted(deleted, Person) | _given(contact, Person)
        number = contact.record_number
        agreed = consents.consents
        return self._learn(facility, number, given, agreed, keeping=keeping, seen=seen, of=of)

    def stop_outreach(
        self, facility: Facility, record_number: str, *, of: UUID | None = None
    ) -> None:
        """A client wants no more automated messages; the mentor and the consents stay."""

        def command(work: Work) -> Iterable[Event]:
            visit = _Visit(work, self.tokens, facility, of=of)
            visit.know(record_number, {})
            return (visit.reached_no_more(),)

        self._about_a_client(facility, command)

    def cancel(self, facility: Facility, discharge_id: UUID) -> Discharge:
        """Call off a discharge: its offer and its unsent messages are withdrawn."""
        found: list[Discharge] = []

        def command(work: Work) -> Iterable[Event]:
            found.clear()
            discharge = _load(work, facility, discharge_id)
            if not discharge.is_open:
                found.append(discharge)
                return ()
            _close(work, discharge, "cancelled")
            theirs = work.store.discharges_of(discharge.client_id)
            had = any(one.closed_because == OVERTAKEN for one in theirs)
            if had and discharge.said_at is not None and not any(one.is_open for one in theirs):
                work.store.open_task("earlier_ended", discharge.id, discharge)
            found.append(work.store.discharge(discharge_id))
            return (_cancelled(work, discharge),)

        self.participant.transact(command)
        return found[0]

    def erase(self, client_id: UUID, *, by: object, because: str) -> bool:
        """Erase what is known of a client, for good; False when there is no such client.

        ``because`` is one of ``shredding.BECAUSE``. What the law wants kept (consents, the ledger,
        that they were erased) stays, and names nobody.
        """
        found = False

        def command(work: Work) -> Iterator[Event]:
            nonlocal found
            found = store.is_client(work.conn, client_id)
            if not found:
                return
            # The client's row is the lock; what waits may still have something to say to it.
            work.store.load_clients([client_id])
            releasing.forget(work, client_id)
            for discharge in work.store.discharges_of(client_id):
                if discharge.is_open:
                    _close(work, discharge, "erased")
                else:
                    # Nobody is asked for anything about it any more, whyever it was closed.
                    work.store.change(discharge, closed_because="erased")
            work.store.close_every_task(client_id, because="erased")
            store.find_nevermore(work, client_id)
            work.store.step(client_id, None, "erased", because=because)
            audit.note(work.conn, work.now, by, "erased", client_id, because=because)
            yield ClientErased(client_id=client_id, erased_at=work.now)

        self.participant.transact(command)
        return found

    def put_facility(self, entry: FacilityEntry) -> UUID:
        """Store a facility's settings as they now stand, and tell the others."""
        with self.participant.engine.connect() as conn:
            known = store.facility_by_code(conn, entry.code)
        facility_id = known.id if known else uuid4()
        self.participant.keyring.make([facility_id])
        people = _people(entry)
        facility = Facility(
            id=facility_id,
            **{f.name: getattr(entry, f.name) for f in fields(Facility) if f.name != "id"},
        )

        def command(work: Work) -> Iterable[Event]:
            sealed = work.keys.seal(
                people, "identity", facility_id, f"facility/{facility_id}/people"
            )
            settings = {k: v for k, v in dump(facility).items() if k not in ("id", "code")}
            store.put_facility(work, facility, settings, sealed)
            return (
                FacilityChanged(
                    facility_id=facility_id,
                    code=entry.code,
                    alias=entry.alias,
                    time_zone=entry.time_zone,
                    language=entry.language,
                    asks=entry.asks,
                    promised_hours=entry.promised_hours,
                    quiet_hours=entry.quiet_hours,
                    people=people,
                ),
            )

        self.participant.transact(command)
        return facility_id

    def _learn(
        self,
        facility: Facility,
        record_number: str,
        given: dict[str, Any],
        consents: Consents | None = None,
        *,
        keeping: frozenset[str] = frozenset(),
        seen: Seen | None = None,
        of: UUID | None = None,
    ) -> UUID:
        known: list[UUID] = []

        def command(work: Work) -> Iterator[Event]:
            visit = _Visit(work, self.tokens, facility, seen, of)
            changed = visit.know(record_number, given)
            known.append(visit.client_id)
            if consents is not None:
                yield from visit.agree(consents, replacing=True, keeping=keeping)
            yield from visit.judge_others(changed=visit.is_matched_otherwise)
            if given and changed:
                yield visit.reached_otherwise()

        self._about_a_client(facility, command)
        return known[-1]

    def _about_a_client(self, facility: Facility, command: Command) -> None:
        """Carry out what was asked about one client.

        Where what is kept of them does not open, nothing can be stored of them: that is refused, so
        that whoever sent it goes on with others, and a person is asked to look after them.
        """
        try:
            self.participant.transact(command)
        except store.Unopened as error:
            log.exception("a client does not open", extra={"key": str(error.client_id)})
            self.participant.transact(partial(_ask_to_look_after, facility, error.client_id))
            raise Refused("record_number", UNOPENED) from error


class _Visit:
    """One command about one client, in its transaction."""

    def __init__(
        self,
        work: Work,
        tokens: SearchTokens,
        facility: Facility,
        seen: Seen | None = None,
        of: UUID | None = None,
    ) -> None:
        """``of``: the discharge of which a form speaks, so that its client is who is known."""
        self._work = work
        self._seen = seen
        self._of = of
        self._tokens = tokens
        self._facility = facility
        self._client_id = uuid4()
        self._person = Person(record_number="")
        self._died = False
        #: Whether what they are matched by is another now.
        self.is_matched_otherwise = False
        self._discharge_id: UUID | None = None
        self._details: dict[UUID, Details] = {}
        self._agreed: dict[str, Agreement] = {}

    @property
    def client_id(self) -> UUID:
        """Whose visit it is: of a client to be, until it is looked who they are."""
        return self._client_id

    def know(self, record_number: str, given: Mapping[str, Any]) -> bool:
        """Lock the client, or make them known; True when what is known of them changed."""
        work, number = self._work, record_number.strip()
        self._refuse_hours(given.get("safe_hours"))
        token = self._tokens.token("record", str(self._facility.id), number)
        known = store.lock_client(work, self._facility.id, token)
        if self._of is not None:
            # Whoever was erased meanwhile must not come back by a form that was made before.
            theirs = store.client_of_discharge(work.conn, self._facility.id, self._of)
            if known is None or known.id != theirs:
                raise NoSuchThing("id")
        if known is None:
            work.keys.make(self._client_id)
            self._person = updated(Person(record_number=number), dict(given))
            store.insert_client(work, self._client_id, self._facility.id, token, self._person)
            self._be_found()
            return True
        self._client_id = known.id
        if isinstance(known.person, Destroyed):
            raise Refused("record_number", "This client's data was erased on request.")
        self._died = known.died
        work.store.load_clients([self._client_id])
        self._details = known.details
        self._agreed = store.agreements(work.conn, self._client_id)
        if self._seen and not self._seen(known.person, self._details, self._agreed):
            raise Refused(
                "seen", "Somebody has changed this meanwhile. Look at it, and save again."
            )
        self._person = updated(known.person, dict(given))
        self.is_matched_otherwise = any(
            getattr(self._person, name) != getattr(known.person, name) for name in _MATCHED_BY
        )
        if self._person != known.person:
            store.update_client(work, self._client_id, self._person)
            store.find_no_more(work, self._client_id)
            self._be_found()
        return self._person != known.person

    def _refuse_hours(self, own: str | None) -> None:
        """Hours in which nothing could ever leave: the client would be told at another time."""
        allowed = self._facility.quiet_hours
        if own and narrower(parse_hours(own), parse_hours(allowed)) is None:
            raise Refused("safe_hours", f"Name hours within {allowed}: nothing leaves at others.")

    def _be_found(self) -> None:
        """Let staff find the client by what is now known of them."""
        facility = str(self._facility.id)
        words = found_by(self._person)
        tokens = {self._tokens.token("search", facility, word) for word in words}
        store.find_by(self._work, self._client_id, tokens)

    def register(
        self, body: DischargeBody, deleted: tuple[str, ...], unusable: tuple[str, ...]
    ) -> Iterator[Event]:
        """Store the discharge of this visit and say what follows."""
        person = _deleted(deleted, Person) | _given(body, Person) | _name(body)
        news = self.know(body.record_number, person)
        if body.consents is not None:
            yield from self.agree(body.consents, replacing=False)
        visit_number = body.visit_number.strip()
        token = self._tokens.token("visit", visit_number)
        given = _deleted(deleted, Details) | _given(body, Details)
        known = bool(self._details)
        found = store.discharge_of_visit(self._work.conn, self._client_id, token) if known else None
        if found is None:
            changed = True
            self._begin(token, updated(Details(visit_number=visit_number), given))
        else:
            self._discharge_id = found
            before = self._details[found]
            self._details[found] = updated(before, given)
            changed = news or self._details[found] != before
        if unusable and changed:
            fields = ", ".join(unusable)
            self._work.store.step(self._client_id, self._id, "unusable", fields=fields)
        yield from self._judge(self._id, changed=changed, repeated=found is not None)
        # What a visit that is over, or is held, tells of the person counts for one that goes on.
        mine = self._work.store.discharge(self._id)
        goes_on = mine.is_open and mine.stands != "held"
        yield from self.judge_others(changed=news and not goes_on)

    def agree(
        self, consents: Consents, *, replacing: bool, keeping: frozenset[str] = frozenset()
    ) -> Iterator[Event]:
        """Record what the client agrees to, and what no longer."""
        work = self._work
        # A system that repeats what it has on file does not know that it was taken back.
        is_told = replacing or self._client_id in work.fresh
        revoked = {} if is_told else store.revocations(work.conn, self._client_id)
        fresh: list[tuple[Agreement, str]] = []
        for channel in CHANNELS:
            given = getattr(consents, channel)
            before = self._agreed.get(channel)
            if before is not None and channel in keeping:
                continue
            if given is None:
                if replacing and before is not None:
                    store.revoke(work, self._client_id, channel)
                    del self._agreed[channel]
                    work.store.step(self._client_id, None, "consent_revoked", channel=channel)
                    yield ConsentRevoked(
                        client_id=self._client_id, channel=channel, revoked_at=work.now
                    )
                continue
            if self._facility.wording and given.wording not in self._facility.wording:
                known = ", ".join(sorted(self._facility.wording))
                raise Refused(f"consents.{channel}.wording", f"Use one of: {known}.")
            if given.given_at > work.now + AHEAD:
                remedy = "Use the moment at which consent was given: this one is in the future."
                raise Refused(f"consents.{channel}.given_at", remedy)
            if before is None and channel in revoked and given.given_at <= revoked[channel]:
                continue
            agreement = Agreement(
                channel=channel,
                wording=given.wording,
                method=given.method,
                given_at=given.given_at,
            )
            if agreement == before:
                continue
            if before is not None:
                store.revoke(work, self._client_id, channel)
            fresh.append((agreement, given.obtained_by))
            self._agreed[channel] = agreement
            work.store.step(self._client_id, None, "consent_given", channel=channel)
            yield ConsentGiven(
                client_id=self._client_id,
                channel=channel,
                wording=given.wording,
                given_at=given.given_at,
            )
        store.give(work, self._client_id, fresh)

    def judge_others(self, *, changed: bool = False) -> Iterator[Event]:
        """Look at each other open discharge again: what was missing may have come."""
        for discharge in self._work.store.discharges_of(self._client_id):
            if discharge.is_open and discharge.id != self._discharge_id:
                yield from self._judge(discharge.id, changed=changed, repeated=True)

    def reached_otherwise(self) -> ContactDetailsChanged:
        """The client is reached or called differently from now on."""
        work = self._work
        work.store.step(self._client_id, None, "contact_changed")
        return ContactDetailsChanged(
            client_id=self._client_id,
            contact=self.contact(()),
            changed_at=work.now,
            facility_id=self._facility.id,
        )

    def reached_no_more(self) -> OutreachStopped:
        """The client's addresses get no more automated messages."""
        work = self._work
        work.store.step(self._client_id, None, "outreach_stopped")
        return OutreachStopped(
            client_id=self._client_id, stopped_at=work.now, contact=self.contact(())
        )

    def accepted(self) -> Accepted:
        """What became of the registration."""
        discharge = self._work.store.discharge(self._id)
        return Accepted(id=discharge.id, client_id=self._client_id, state=discharge.state)

    def contact(self, what_helps: tuple[str, ...]) -> ContactDetails:
        """How the client is called and reached, for those who write and call."""
        person, facility = self._person, self._facility
        return ContactDetails(
            called=person.called or person.given or "",
            language=person.language or facility.language,
            time_zone=person.time_zone or facility.time_zone,
            mobile=e164(person.mobile) if person.mobile else None,
            email=person.email,
            channels=person.channels,
            safe_hours=person.safe_hours,
            what_helps=what_helps,
            wishes=person.wishes,
        )

    @property
    def _id(self) -> UUID:
        assert self._discharge_id is not None
        return self._discharge_id

    def _begin(self, visit_token: str, details: Details) -> None:
        work = self._work
        self._discharge_id = uuid4()
        discharge = Discharge(
            id=self._id,
            client_id=self._client_id,
            facility_id=self._facility.id,
            high_risk=is_high_risk(details),
            state="received",
            unparked_state=None,
            closed_because=None,
            accepted_at=work.now,
            said_at=None,
            next_what=None,
            next_by=None,
        )
        work.store.add(discharge, visit_token)
        self._keep(self._id, details)
        work.store.step(self._client_id, self._id, "received")
        work.afterwards.append(metrics.ACCEPTED.inc)

    def _keep(self, discharge_id: UUID, details: Details) -> None:
        self._details[discharge_id] = details
        self._work.store.detail(self._client_id, discharge_id, details)

    def _judge(self, discharge_id: UUID, *, changed: bool, repeated: bool) -> Iterator[Event]:
        work, details = self._work, self._details[discharge_id]
        discharge: Discharge = work.store.discharge(discharge_id)
        if details.reason == "died" or self._died:
            yield from self._died_now(discharge, details)
            return
        if not discharge.is_open:
            if changed and repeated and discharge.closed_because == "cancelled":
                work.store.step(self._client_id, discharge_id, "repeated_after_cancel")
                work.store.open_task("repeated_after_cancel", discharge_id, discharge)
            return
        agreed = frozenset(self._agreed)
        holding = holds(self._person, details, agreed, self._facility, work.now)
        if discharge.said_at is not None:
            # Support has begun: a missing detail no longer stops it, custody or a transfer does.
            holding = tuple(name for name in holding if name in STOPPING)
        was_held = discharge.stands == "held"
        if holding != details.held or changed:
            details = updated(details, {"held": holding})
            self._keep(discharge_id, details)
        work.store.change(discharge, high_risk=is_high_risk(details))
        discharge = work.store.discharge(discharge_id)
        if discharge.said_at is None and self._is_overtaken(discharge, details):
            _close(work, discharge, OVERTAKEN)
            yield _cancelled(work, discharge)
        elif holding:
            yield from self._hold(discharge, holding, was_held=was_held)
        elif discharge.said_at is None:
            yield from self._say(discharge, details, agreed)
        elif was_held or changed:
            yield self._corrected(discharge, details, was_held=was_held)

    def _hold(
        self, discharge: Discharge, holding: tuple[str, ...], *, was_held: bool
    ) -> Iterator[Event]:
        work = self._work
        work.store.open_task("held", discharge.id, discharge)
        if was_held:
            return
        due = work.store.task_due("held", discharge)
        work.store.change(
            discharge, state="held", next_what="complete what is missing", next_by=due
        )
        work.store.step(self._client_id, discharge.id, "held")
        store.end_support(work, discharge, "held")
        yield DischargeHeld(
            client_id=self._client_id,
            discharge_id=discharge.id,
            facility_id=discharge.facility_id,
            held_at=work.now,
        )

    def _say(
        self, discharge: Discharge, details: Details, agreed: frozenset[str]
    ) -> Iterator[Event]:
        work = self._work
        replaced = self._replaced(discharge)
        work.store.close_tasks(discharge.id, "held", because="complete")
        _expect_placing(work, discharge)
        work.store.change(discharge, said_at=work.now)
        if not self._person.channels:
            self._person = updated(self._person, {"channels": reachable_by(self._person, agreed)})
        yield ClientDischarged(
            client_id=self._client_id,
            discharge_id=discharge.id,
            facility_id=discharge.facility_id,
            accepted_at=discharge.accepted_at,
            about=self._about(details),
            contact=self.contact(details.needs),
            replaces=replaced,
        )

    def _corrected(self, discharge: Discharge, details: Details, *, was_held: bool) -> Event:
        work = self._work
        if was_held:
            work.store.close_tasks(discharge.id, "held", because="complete")
            _expect_placing(work, discharge)
        work.store.step(self._client_id, discharge.id, "corrected")
        return DischargeCorrected(
            client_id=self._client_id,
            discharge_id=discharge.id,
            facility_id=discharge.facility_id,
            corrected_at=work.now,
            about=self._about(details),
            contact=self.contact(details.needs),
        )

    def _is_overtaken(self, discharge: Discharge, details: Details) -> bool:
        """Whether support goes on already for a visit that ended after this one, told when ever."""
        left = details.discharged_at
        return left is not None and any(
            later.is_open
            and later.said_at is not None
            and (self._details[later.id].discharged_at or left, later.accepted_at)
            > (left, discharge.accepted_at)
            for later in self._work.store.discharges_of(self._client_id)
        )

    def _replaced(self, discharge: Discharge) -> UUID | None:
        """A client's earlier discharge is closed by a later one; its mentor is kept."""
        replaced: UUID | None = None
        for earlier in self._work.store.discharges_of(self._client_id):
            if earlier.id != discharge.id and earlier.is_open and earlier.said_at is not None:
                replaced = earlier.id
                _close(self._work, earlier, OVERTAKEN)
        return replaced

    def _died_now(self, discharge: Discharge, details: Details) -> Iterator[Event]:
        work = self._work
        self._keep(discharge.id, details)
        for one in work.store.discharges_of(self._client_id):
            work.timers.revoke(self._client_id, f"talk/{one.id}")
            if one.is_open:
                _close(work, one, "died")
        # What a service cannot go on with waits there still, and holds a mentor's place.
        work.store.close_every_task(self._client_id, because="died", but="parked")
        if self._died:
            return
        self._died = True
        store.mark_died(work, self._client_id)
        yield ClientDied(client_id=self._client_id, learnt_at=work.now)

    def _about(self, details: Details) -> AboutClient:
        person, facility = self._person, self._facility
        return AboutClient(
            language=person.language or facility.language,
            time_zone=person.time_zone or facility.time_zone,
            high_risk=is_high_risk(details),
            moud=details.moud,
            needs=details.needs,
            pathways=details.pathways,
            substances=details.substances,
            wants_gender=person.wants_gender,
            wants_age_band=person.wants_age_band,
        )


def _ask_to_look_after(facility: Facility, client_id: UUID, work: Work) -> Iterable[Event]:
    work.store.load_clients([client_id])
    theirs = work.store.discharges_of(client_id)
    latest = theirs[-1] if theirs else None
    work.store.open_task("unopened", client_id, latest, facility_id=facility.id)
    return ()


def mark_of(tokens: SearchTokens, *known: Any) -> str:
    """What a form was made from, so that it is not saved over what has come since."""
    return tokens.token("seen", *(written(one).decode() for one in known))


def _expect_placing(work: Work, discharge: Discharge) -> None:
    by = work.now + PLACED_WITHIN
    work.store.change(discharge, state="received", next_what="on its way", next_by=by)
    work.timers.set(discharge.client_id, f"placed/{discharge.id}", by)


def _cancelled(work: Work, discharge: Discharge) -> DischargeCancelled:
    """Said of one that was held or came too late, too: it must not seem open for ever."""
    return DischargeCancelled(
        client_id=discharge.client_id,
        discharge_id=discharge.id,
        facility_id=discharge.facility_id,
        cancelled_at=work.now,
    )


def _close(work: Work, discharge: Discharge, because: str) -> None:
    store.close(work, discharge, because)
    work.store.step(discharge.client_id, discharge.id, "closed", because=because)


def _load(work: Work, facility: Facility, discharge_id: UUID) -> Discharge:
    client_id = store.client_of_discharge(work.conn, facility.id, discharge_id)
    if client_id is None:
        raise NoSuchThing("id")
    work.store.load_clients([client_id])
    discharge: Discharge = work.store.discharge(discharge_id)
    return discharge


def _again(before: tuple[str, dict[str, Any]], body_token: str) -> Accepted:
    if before[0] != body_token:
        raise Refused("Idempotency-Key", "This key came with another body before; use a new key.")
    answer = before[1]
    return Accepted(
        id=UUID(answer["id"]), client_id=UUID(answer["client_id"]), state=answer["state"]
    )


def _given(body: Any, into: type[Any]) -> dict[str, Any]:
    """The fields of a body that this dataclass keeps and that were sent."""
    names = {f.name for f in fields(into)} - {"record_number", "visit_number"}
    values = {name: getattr(body, name) for name in names if hasattr(body, name)}
    return {name: value for name, value in values.items() if value is not None}


def _deleted(names: tuple[str, ...], of: type[Any]) -> dict[str, Any]:
    """Emptied fields of this dataclass: a number that is deleted must not be written to."""
    every = {*names, *(("given", "family", "called") if "name" in names else ())}
    return {f.name: f.default for f in fields(of) if f.name in every}


def _name(body: DischargeBody) -> dict[str, Any]:
    if body.name is None:
        return {}
    values = {"given": body.name.given, "family": body.name.family, "called": body.name.called}
    return {name: value for name, value in values.items() if value is not None}


def _people(entry: FacilityEntry) -> FacilityPeople:
    return FacilityPeople(
        coordinator_name=entry.coordinator.name,
        coordinator_phone=e164(entry.coordinator.phone) or entry.coordinator.phone,
        coordinator_email=entry.coordinator.email,
        on_call_name=entry.on_call.name,
        on_call_phone=e164(entry.on_call.phone) or entry.on_call.phone,
        on_call_email=entry.on_call.email,
    )
