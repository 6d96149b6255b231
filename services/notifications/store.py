"""Notifications' tables and the only SQL on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    Uuid,
    and_,
    bindparam,
    delete,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from contracts.event import Event
from contracts.intake import ContactDetails, FacilityPeople
from contracts.matching import MentorContact
from contracts.sealed import Destroyed
from messaging.at_hand import AtHand
from messaging.rows import (
    NOTHING,
    among_given,
    ask_together,
    insert_many,
    inserting,
    update_many,
    upsert_many,
)
from messaging.sealing import to_json
from services.notifications.domain import UNDER_WAY

if TYPE_CHECKING:
    from messaging.work import Work

METADATA = MetaData()
_MOMENT = DateTime(timezone=True)

FACILITY = Table(
    "facility",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("alias", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("promised_hours", Integer, nullable=False),
    Column("quiet_hours", Text, nullable=False),
    Column("people", JSONB, nullable=False),
)
PERSON = Table(
    "person",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, CheckConstraint("kind IN ('client', 'mentor')"), nullable=False),
    Column("facility_id", Uuid),
    Column("discharge_id", Uuid),
    Column("state", Text, nullable=False),
    Column("route", Text),
    Column("route_ends_on", Date),
    Column("mobile_token", Text),
    Column("email_token", Text),
    Column("contact", JSONB(none_as_null=True)),
    Index("person_mobile", "mobile_token"),
)
STOPPED_ADDRESS = Table(
    "stopped_address",
    METADATA,
    Column("token", Text, primary_key=True),
    Column("since", _MOMENT, nullable=False),
)
CONSENT = Table(
    "consent",
    METADATA,
    Column("client_id", Uuid),
    Column("channel", Text),
    PrimaryKeyConstraint("client_id", "channel"),
)
ASSIGNMENT = Table(
    "assignment",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Uuid, nullable=False),
    Column("discharge_id", Uuid, nullable=False),
    Column("mentor_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("call_by", _MOMENT),
    Column("answer_by", _MOMENT),
    Index("assignment_of_client", "client_id"),
    Index("assignment_of_mentor", "mentor_id", postgresql_where=text("state <> 'ended'")),
)
QUESTION = Table(
    "question",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("person_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("assignment_id", Uuid, nullable=False),
    Column("client_id", Uuid, nullable=False),
    Column("discharge_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked_at", _MOMENT, nullable=False),
    Index("one_open_question", "person_id", unique=True, postgresql_where=text("state = 'open'")),
    Index("question_of_person", "person_id", postgresql_where=text("state <> 'closed'")),
    Index(
        "one_unanswered_of_a_kind",
        "assignment_id",
        "kind",
        unique=True,
        postgresql_where=text("state <> 'closed'"),
    ),
)
MESSAGE = Table(
    "message",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("once", Text, nullable=False),
    Column("person_id", Uuid),
    Column("recipient", Text, nullable=False),
    Column("subject_id", Uuid, nullable=False),
    Column("discharge_id", Uuid),
    Column("assignment_id", Uuid),
    Column("facility_id", Uuid),
    Column("purpose", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("is_answer", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("due_at", _MOMENT, nullable=False),
    Column("first_due_at", _MOMENT, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lease_until", _MOMENT),
    Column("provider_id", Text),
    Column("template", Text),
    Column("version", Integer),
    Column("said", JSONB(none_as_null=True)),
    Column("address", JSONB(none_as_null=True)),
    Column("handed_over_at", _MOMENT),
    Column("ask_at", _MOMENT),
    Column("asked", Integer, nullable=False, server_default="0"),
    UniqueConstraint("once", "channel"),
    Index("message_due", "due_at", postgresql_where=text("state = 'planned'")),
    Index(
        "message_next",
        text("is_answer DESC"),
        "due_at",
        "id",
        postgresql_where=text("state = 'planned'"),
    ),
    Index("message_to_ask_about", "ask_at", postgresql_where=text("ask_at IS NOT NULL")),
    Index("message_leased", "lease_until", postgresql_where=text("state = 'leased'")),
    Index("message_of_person", "person_id"),
    Index("message_of_subject", "subject_id"),
)
REPLY = Table(
    "reply",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("provider_id", Text, unique=True),
    Column("person_id", Uuid),
    Column("channel", Text, nullable=False),
    Column("meaning", Text, nullable=False),
    Column("words", JSONB(none_as_null=True)),
    Column("received_at", _MOMENT, nullable=False),
    Column("read_at", _MOMENT),
    Index("reply_unread", "person_id", postgresql_where=text("read_at IS NULL")),
)
CARD = Table(
    "card",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("token", Text, nullable=False, unique=True),
    Column("assignment_id", Uuid, nullable=False, unique=True),
    Column("mentor_id", Uuid, nullable=False),
    Column("client_id", Uuid, nullable=False),
    Column("wrong_codes", Integer, nullable=False),
    Column("made_at", _MOMENT, nullable=False),
    Column("ended_at", _MOMENT),
)
CARD_OPENING = Table(
    "card_opening",
    METADATA,
    Column("place", BigInteger, primary_key=True, autoincrement=True),
    Column("card_id", Uuid, ForeignKey("card.id"), nullable=False),
    Column("at", _MOMENT, nullable=False),
    Column("outcome", Text, nullable=False),
)
MENTOR_SESSION = Table(
    "mentor_session",
    METADATA,
    Column("hash", Text, primary_key=True),
    Column("mentor_id", Uuid, nullable=False),
    Column("card_id", Uuid, ForeignKey("card.id"), nullable=False),
    Column("began_at", _MOMENT, nullable=False),
    Column("seen_at", _MOMENT, nullable=False),
    Column("ended_at", _MOMENT),
)
CLIENT_SHOWN = Table(
    "client_shown",
    METADATA,
    Column("place", BigInteger, primary_key=True, autoincrement=True),
    Column("client_id", Uuid, nullable=False),
    Column("mentor_id", Uuid, nullable=False),
    Column("assignment_id", Uuid, nullable=False),
    Column("page", Text, nullable=False),
    Column("at", _MOMENT, nullable=False),
)
CONTACT_RECORD = Table(
    "contact_record",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("assignment_id", Uuid, nullable=False),
    Column("client_id", Uuid, nullable=False),
    Column("mentor_id", Uuid, nullable=False),
    Column("way", Text, nullable=False),
    Column("talked", Boolean, nullable=False),
    Column("happened_at", _MOMENT, nullable=False),
    Column("recorded_at", _MOMENT, nullable=False),
    Column("next_step", JSONB(none_as_null=True)),
    Index("contact_record_of_assignment", "assignment_id", "happened_at"),
)
HELLO = Table(
    "hello",
    METADATA,
    Column("mentor_id", Uuid, primary_key=True),
    Column("words", JSONB, nullable=False),
    Column("written_at", _MOMENT, nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who is written to. ``contact`` is None before it is known or after erasure.

    ``state``: of a client active, held, cancelled, declined, died; of a mentor active or paused.
    """

    id: UUID
    kind: str
    state: str
    facility_id: UUID | None = None
    discharge_id: UUID | None = None
    route: str | None = None
    route_ends_on: date | None = None
    mobile_token: str | None = None
    email_token: str | None = None
    contact: ContactDetails | MentorContact | None = None

    @property
    def lost(self) -> set[str]:
        """Which addresses, mobile or email, are somebody else's: they are not found by them."""
        return {
            name
            for name in ("mobile", "email")
            if getattr(self.contact, name, None) and getattr(self, f"{name}_token") is None
        }


@dataclass(frozen=True, kw_only=True)
class Facility:
    """What messages say of a facility: its alias, and whom to call."""

    id: UUID
    alias: str
    time_zone: str
    language: str
    promised_hours: int
    quiet_hours: str
    people: FacilityPeople | None


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """An offer or an assignment as far as messages need it."""

    id: UUID
    client_id: UUID
    discharge_id: UUID
    mentor_id: UUID
    state: str
    call_by: datetime | None = None
    answer_by: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """Something that a person was asked. ``state``: open, waiting for another to close, closed."""

    id: UUID
    person_id: UUID
    kind: str
    assignment_id: UUID
    client_id: UUID
    discharge_id: UUID
    state: str
    asked_at: datetime


@dataclass(frozen=True, kw_only=True)
class Message:
    """One text to one recipient on one channel. ``once`` is what may be said a single time."""

    id: UUID
    once: str
    person_id: UUID | None
    recipient: str
    subject_id: UUID
    purpose: str
    channel: str
    is_answer: bool
    state: str
    due_at: datetime
    first_due_at: datetime
    discharge_id: UUID | None = None
    assignment_id: UUID | None = None
    facility_id: UUID | None = None
    reason: str | None = None
    attempts: int = 0


_MESSAGE = tuple(f.name for f in fields(Message))
#: What was withdrawn because the discharge was held, or for another channel, may be said after all.
_SAID_LATER = ("held", "next_channel")
_OR_SAY_AFTER_ALL = (
    "ON CONFLICT (once, channel) DO UPDATE SET state = excluded.state, due_at = excluded.due_at,"
    " first_due_at = excluded.first_due_at, reason = excluded.reason"
    f" WHERE message.state = 'suppressed' AND message.reason IN {_SAID_LATER}"
)
_WELCOMED = text(
    "SELECT EXISTS (SELECT FROM message WHERE once = (SELECT once FROM message"
    " WHERE person_id = :id AND purpose = 'first' ORDER BY first_due_at DESC, id DESC LIMIT 1)"
    " AND state IN ('leased', 'handed_over', 'delivered', 'unconfirmed'))"
)
#: What unsent messages are found by, the narrowest first.
_FOUND_BY = ("assignment_id", "subject_id", "person_id")
_QUESTION = tuple(column.name for column in QUESTION.c)
_PERSON = tuple(f.name for f in fields(Person) if f.name != "contact")
_PERSONS = select(PERSON).where(among_given(PERSON.c.id)).order_by(PERSON.c.id).with_for_update()
_CONSENTS = select(CONSENT).where(among_given(CONSENT.c.client_id))
_ASSIGNMENTS = select(ASSIGNMENT).where(among_given(ASSIGNMENT.c.client_id))
_FACILITY = select(FACILITY).where(FACILITY.c.id == bindparam("id"))
_THEIR_FACILITIES = select(FACILITY).where(
    FACILITY.c.id.in_(select(PERSON.c.facility_id).where(among_given(PERSON.c.id)))
)
_STOPPED = select(STOPPED_ADDRESS.c.token).where(among_given(STOPPED_ADDRESS.c.token))
_CARDS = select(CARD.c.assignment_id, CARD.c.id).where(
    among_given(CARD.c.assignment_id), CARD.c.ended_at.is_(None)
)
_HELLOS = select(HELLO).where(among_given(HELLO.c.mentor_id))
_QUESTIONS_AT_HAND = select(QUESTION).where(
    or_(
        and_(among_given(QUESTION.c.assignment_id), QUESTION.c.state != "closed"),
        and_(among_given(QUESTION.c.person_id, "persons"), QUESTION.c.state == "open"),
    )
)
_UNANSWERED_BY = select(QUESTION).where(
    QUESTION.c.person_id == bindparam("id"), QUESTION.c.state != "closed"
)
_PLANNED = select(*(MESSAGE.c[name] for name in _MESSAGE)).where(MESSAGE.c.state == "planned")
_PLANNED_ABOUT = _PLANNED.where(among_given(MESSAGE.c.subject_id))
_PLANNED_TO = _PLANNED.where(MESSAGE.c.person_id == bindparam("id"))
#: An offer is answered first: it has a deadline and keeps a client waiting. A check-in goes before
#: the introduction, which can be answered for as long as the assignment stands.
_FIRST = {"offer": 0, "check_in": 1, "introduction": 2, "contact": 3}


def _person(row: Any, contact: Any) -> Person:
    return Person(**{name: getattr(row, name) for name in _PERSON}, contact=contact)


class Store:
    """The persons at hand with what is planned, asked and agreed about them."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._conn = work.conn
        self.persons: AtHand[Person] = AtHand()
        self.consents: dict[UUID, set[str]] = {}
        self.assignments: dict[UUID, Assignment] = {}
        self.questions: dict[UUID, Question] = {}
        self._asked_of: dict[UUID, set[UUID]] = {}
        self._waiting_of: set[UUID] = set()
        self._at_hand: set[UUID] = set()
        self._unread_asked: set[UUID] = set()
        self._unread_planned: set[UUID] = set()
        self._assignments_of: dict[UUID, dict[UUID, None]] = {}
        self._asked_about: dict[UUID, set[UUID]] = {}
        self._facility_rows: dict[UUID, Any] = {}
        self._facilities: dict[UUID, Facility] = {}
        self._before: dict[UUID, Any] = {}
        self._messages: dict[UUID, Message] = {}
        self._messages_of: dict[tuple[str, UUID | None], set[UUID]] = {}
        self._new: dict[tuple[str, str], Message] = {}
        self._changed: dict[UUID, Message] = {}
        self._agreed: list[tuple[UUID, str, bool]] = []
        self.cards: dict[UUID, UUID] = {}
        self._cards: list[dict[str, Any]] = []
        #: What mentors wrote of themselves, sealed, as far as it was looked at.
        self.hellos: dict[UUID, Any] = {}
        self._leased: list[Mapping[str, Any]] = []

    def load(self, events: Sequence[Event]) -> None:
        """Lock and read the persons whom these events are about or name."""
        self.persons.erased.update(event.key for event in events if event.erases)
        self.load_persons({key for event in events for key in (event.key, *event.also)})

    def load_persons(self, ids: Iterable[UUID]) -> None:
        """Lock and read persons in the order of their ids, with all that concerns them."""
        wanted = sorted({one for one in ids if not self.persons.is_read(one)})
        if not wanted:
            return
        self._come_to_hand(wanted)
        those = {"ids": wanted}
        rows, consents, assignments, facilities = ask_together(
            self._conn,
            (_PERSONS, those),
            (_CONSENTS, those),
            (_ASSIGNMENTS, those),
            (_THEIR_FACILITIES, those),
        )
        # Whoever is written to is told whom to call, who are sealed for the facility.
        owners = {owner for row in rows for owner in (row.id, row.facility_id) if owner}
        self._work.keys.need(("contact", owner) for owner in owners)
        for row in rows:
            opening, made = partial(self._contact, row), partial(_person, row)
            self._before[row.id] = self.persons.open(row.id, opening, made)
        self._facility_rows |= {row.id: row for row in facilities}
        for row in consents:
            self.consents.setdefault(row.client_id, set()).add(row.channel)
        for row in assignments:
            # Of a client who is not known here they may be at hand already, and have changed.
            if row.id not in self.assignments:
                assignment = self._before[row.id] = Assignment(**row._asdict())
                self.put_assignment(assignment)

    def load_planned_to(self, person_id: UUID) -> None:
        """Read what is planned to a person, whomever it is about; a mentor may have hundreds."""
        self._take_in_planned(self._conn.execute(_PLANNED_TO, {"id": person_id}))

    def _come_to_hand(self, ids: Iterable[UUID]) -> None:
        """What these persons are asked, and what is planned about them, is not read yet."""
        fresh = {one for one in ids if one not in self._at_hand}
        for those in (self._at_hand, self._unread_asked, self._unread_planned):
            those.update(fresh)

    def _know_questions(self) -> None:
        """Read, when it is first needed, what the persons at hand are asked and what about them."""
        if fresh := self._unread_asked:
            self._unread_asked = set()
            those = {"ids": list(self.assignments), "persons": list(fresh)}
            self._take_in_questions(self._conn.execute(_QUESTIONS_AT_HAND, those))

    def _know_planned(self) -> None:
        """Read, when it is first needed, what is planned about the persons at hand."""
        if fresh := self._unread_planned:
            self._unread_planned = set()
            self._take_in_planned(self._conn.execute(_PLANNED_ABOUT, {"ids": list(fresh)}))

    def _take_in_questions(self, rows: Iterable[Any]) -> None:
        for row in rows:
            if row.id not in self.questions:
                self._before[row.id] = question = Question(**dict(zip(_QUESTION, row, strict=True)))
                self._keep(question)

    def _take_in_planned(self, rows: Iterable[Any]) -> None:
        for row in rows:
            if row.id not in self._messages:
                self._keep_message(Message(**dict(zip(_MESSAGE, row, strict=True))))

    def _contact(self, row: Any) -> Any:
        if row.contact is None:
            return None
        content: type[Any] = ContactDetails if row.kind == "client" else MentorContact
        return self._work.keys.open_kept(content, row.contact)

    def facility(self, facility_id: UUID | None) -> Facility | None:
        """A facility with its people, opened."""
        if facility_id is None:
            return None
        if facility_id not in self._facilities:
            known = self._facility_rows.get(facility_id)
            row = known or self._conn.execute(_FACILITY, {"id": facility_id}).first()
            if row is None:
                return None
            people = self._work.keys.open_kept(FacilityPeople, row.people)
            values = {f.name: getattr(row, f.name) for f in fields(Facility) if f.name != "people"}
            self._facilities[facility_id] = Facility(
                **values, people=None if isinstance(people, Destroyed) else people
            )
        return self._facilities[facility_id]

    def put_facility(self, facility: Facility) -> None:
        """A facility as it now stands."""
        values = {f.name: getattr(facility, f.name) for f in fields(Facility)}
        sealed = self._work.keys.seal(
            facility.people, "contact", facility.id, f"facility/{facility.id}/people"
        )
        values["people"] = to_json(sealed)
        statement = upsert(FACILITY).values(values)
        self._conn.execute(
            statement.on_conflict_do_update(index_elements=[FACILITY.c.id], set_=values)
        )
        self._facilities[facility.id] = facility

    def put(self, person: Person) -> None:
        """A person as they now stand."""
        self.persons[person.id] = person
        self._come_to_hand([person.id])

    def agree(self, client_id: UUID, consent: str, *, agreed: bool) -> None:
        """A client agrees to a way of being reached, or no longer."""
        kept = self.consents.setdefault(client_id, set())
        (kept.add if agreed else kept.discard)(consent)
        self._agreed.append((client_id, consent, agreed))

    def put_assignment(self, assignment: Assignment) -> None:
        """An assignment as it now stands."""
        self.assignments[assignment.id] = assignment
        self._assignments_of.setdefault(assignment.client_id, {})[assignment.id] = None

    def assignments_of(self, client_id: UUID) -> list[Assignment]:
        """The offers and assignments of a client, those that ended too."""
        return [self.assignments[one] for one in self._assignments_of.get(client_id, ())]

    def known_channels(self, person_id: UUID) -> list[str]:
        """By which channels somebody is found when they write, whether or not they open."""
        query = select(PERSON.c.mobile_token, PERSON.c.email_token).where(PERSON.c.id == person_id)
        known = self._conn.execute(query).first() or ()
        return [channel for channel, token in zip(("sms", "email"), known, strict=False) if token]

    def is_stopped(self, tokens: Iterable[str | None]) -> set[str]:
        """Which of these addresses have said stop."""
        those = {"ids": [token for token in tokens if token]}
        return set(self._conn.execute(_STOPPED, those).scalars())

    def stop(self, token: str) -> None:
        """This address has said stop."""
        row = {"token": token, "since": self._work.now}
        self._conn.execute(upsert(STOPPED_ADDRESS).values(row).on_conflict_do_nothing())

    def start(self, token: str) -> None:
        """This address wants messages again."""
        self._conn.execute(delete(STOPPED_ADDRESS).where(STOPPED_ADDRESS.c.token == token))

    # Questions: a person has one open at a time, the others wait for it to close.

    def standing(self, client_id: UUID) -> Assignment | None:
        """The one that stands between a client and a mentor."""
        mine = self.assignments_of(client_id)
        return next((one for one in mine if one.state in UNDER_WAY), None)

    def ask(self, kind: str, person_id: UUID, assignment: Assignment) -> None:
        """Put a question to a person: open now, or when what is more urgent is answered."""
        question = Question(
            id=uuid4(),
            person_id=person_id,
            kind=kind,
            assignment_id=assignment.id,
            client_id=assignment.client_id,
            discharge_id=assignment.discharge_id,
            state="waiting",
            asked_at=self._work.now,
        )
        if self.question_about(assignment.id, kind) is None:
            self._keep(question)
            self._open_first(person_id)

    def close_questions(self, assignment_id: UUID, *kinds: str) -> None:
        """These questions about an assignment need no answer any more."""
        for question in self._about(assignment_id):
            if question.kind in kinds:
                self.questions[question.id] = replace(question, state="closed")
                if question.state == "open":
                    self._take_in_waiting(question.person_id)
                self._open_first(question.person_id)

    def open_question(self, person_id: UUID, *kinds: str) -> Question | None:
        """What the person was asked, of these kinds: the open one, else the oldest that waits."""
        return next(iter(self.open_questions(person_id, *kinds)), None)

    def open_questions(self, person_id: UUID, *kinds: str) -> list[Question]:
        """All that the person was asked, of these kinds, and has not answered."""
        self._take_in_waiting(person_id)
        found = [q for q in self._unanswered(person_id) if q.kind in kinds]
        return sorted(found, key=lambda q: (q.state != "open", q.asked_at, q.id))

    def was_asked_since(self, question: Question) -> bool:
        """Whether the same mentor was asked about somebody else after this."""
        query = select(MESSAGE.c.id).where(
            MESSAGE.c.person_id == question.person_id,
            MESSAGE.c.purpose == "offer",
            MESSAGE.c.assignment_id != question.assignment_id,
            MESSAGE.c.first_due_at >= question.asked_at,
        )
        return self._conn.execute(query.limit(1)).first() is not None

    def question_about(self, assignment_id: UUID, kind: str) -> Question | None:
        """The unanswered question of this kind about an assignment."""
        asked = self._about(assignment_id)
        return next((q for q in asked if q.kind == kind and q.state != "closed"), None)

    def _keep(self, question: Question) -> None:
        self.questions[question.id] = question
        self._asked_of.setdefault(question.person_id, set()).add(question.id)
        self._asked_about.setdefault(question.assignment_id, set()).add(question.id)

    def _about(self, assignment_id: UUID) -> list[Question]:
        self._know_questions()
        return [self.questions[i] for i in self._asked_about.get(assignment_id, ())]

    def _unanswered(self, person_id: UUID) -> list[Question]:
        mine = (self.questions[i] for i in self._asked_of.get(person_id, ()))
        return [question for question in mine if question.state != "closed"]

    def _take_in_waiting(self, person_id: UUID) -> None:
        """Read what waits for the open question to close; a mentor may have hundreds."""
        self._know_questions()
        if person_id not in self._waiting_of:
            self._waiting_of.add(person_id)
            self._take_in_questions(self._conn.execute(_UNANSWERED_BY, {"id": person_id}))

    def _open_first(self, person_id: UUID) -> None:
        mine = self._unanswered(person_id)
        mine.sort(key=lambda q: (_FIRST[q.kind], q.asked_at, q.id))
        for number, question in enumerate(mine):
            state = "open" if number == 0 else "waiting"
            if question.state != state:
                self.questions[question.id] = replace(question, state=state)

    # Messages.

    def plan(self, message: Message) -> None:
        """Say something once; a repetition changes nothing, but where it was withdrawn for now."""
        before = self._new.get(_place(message))
        if before is None or _may_be_said(before):
            self._new[_place(message)] = message
            self._keep_message(message)

    def _keep_message(self, message: Message) -> None:
        self._messages[message.id] = message
        for name in _FOUND_BY:
            self._messages_of.setdefault((name, getattr(message, name)), set()).add(message.id)

    def newly_due(self) -> set[str]:
        """What was planned in this work and could leave at once, by what it says once."""
        now = self._work.now
        return {m.once for m in self._new.values() if m.state == "planned" and m.due_at <= now}

    def planned(self, **match: Any) -> list[Message]:
        """Unsent messages whose fields have these values, in the order in which they were planned.

        One of the fields is what messages are found by: a batch plans thousands.
        """
        self._know_planned()
        place = next((name, match[name]) for name in _FOUND_BY if name in match)
        those = map(self._messages.get, sorted(self._messages_of.get(place, ())))
        return [
            m
            for m in those
            if m and m.state == "planned" and all(getattr(m, k) == v for k, v in match.items())
        ]

    def suppress(self, message: Message, reason: str) -> Message:
        """Withdraw an unsent message."""
        gone = replace(message, state="suppressed", reason=reason)
        self._messages[message.id] = gone
        new = self._new.get(_place(message))
        if new is not None and new.id == message.id:
            self._new[_place(message)] = gone
        else:
            self._changed[message.id] = gone
        return gone

    def channels_tried(self, once: str) -> set[str]:
        """The channels on which this was said, or is to be, or could not be."""
        columns = (MESSAGE.c.id, MESSAGE.c.channel, MESSAGE.c.state, MESSAGE.c.reason)
        known: dict[UUID, Any] = {
            row.id: row
            for row in self._conn.execute(select(*columns).where(MESSAGE.c.once == once))
        }
        # What this very work has planned or withdrawn is not written yet.
        here = (*self._changed.values(), *self._new.values())
        known |= {one.id: one for one in here if one.once == once}
        return {one.channel for one in known.values() if not _may_be_said(one)}

    def was_handed_over(self, once: str) -> bool:
        """Whether something may have reached its recipient."""
        query = select(MESSAGE.c.id).where(
            MESSAGE.c.once == once,
            MESSAGE.c.state.in_(("leased", "handed_over", "delivered", "unconfirmed")),
        )
        return self._conn.execute(query.limit(1)).first() is not None

    def is_welcomed(self, person_id: UUID) -> bool:
        """Whether the last welcome that was meant for them may have reached them, or is to."""
        if self.planned(person_id=person_id, purpose="first"):
            return True
        if any((one.person_id, one.purpose) == (person_id, "first") for one in self._new.values()):
            # The last was planned, and withdrawn again, by this very work.
            return False
        return bool(self._conn.execute(_WELCOMED, {"id": person_id}).scalar_one())

    def look_before_leaving(
        self, tokens: Iterable[str], shown: Iterable[UUID], introducing: Iterable[UUID]
    ) -> set[str]:
        """Which of these addresses have said stop.

        Read with it: the cards of assignments that are shown, where one that is there already is no
        new one, and the hellos of mentors who may be introduced.
        """
        stopped, cards, hellos = ask_together(
            self._conn,
            (_STOPPED, {"ids": list(tokens)}),
            (_CARDS, {"ids": list(shown)}),
            (_HELLOS, {"ids": list(introducing)}),
        )
        self.cards |= {card["assignment_id"]: card["id"] for card in self._cards}
        self.cards |= {row.assignment_id: row.id for row in cards}
        self.hellos |= {row.mentor_id: row.words for row in hellos}
        return {row.token for row in stopped}

    def lease(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Columns of messages that leave once this is committed; nothing may withdraw them now."""
        self._leased += rows

    def add_card(self, **card: Any) -> None:
        """A card for an assignment, unless there is one."""
        self._cards.append(card)

    def flush(self) -> None:
        """Write what changed."""
        insert_many(self._conn, CARD, self._cards, NOTHING)
        self._flush_persons()
        self._flush_consents()
        self._upsert(ASSIGNMENT, self.assignments)
        self._flush_questions()
        self._write_messages()
        update_many(self._conn, MESSAGE, self._leased, "id")

    def _flush_persons(self) -> None:
        changed = [p for p in self.persons.values() if p != self._before.get(p.id)]
        if not changed:
            return
        self._work.keys.need(("contact", person.id) for person in changed)
        rows = []
        for person in changed:
            row = {name: getattr(person, name) for name in _PERSON}
            row["contact"] = None
            if person.contact is not None:
                bound = f"person/{person.id}/contact"
                row["contact"] = to_json(
                    self._work.keys.seal(person.contact, "contact", person.id, bound)
                )
            rows.append(row)
        upsert_many(self._conn, PERSON, rows, "id")

    def _flush_consents(self) -> None:
        """The last word about each (client, channel) counts."""
        last = {(client, channel): agreed for client, channel, agreed in self._agreed}
        given = [{"client_id": c, "channel": channel} for (c, channel), on in last.items() if on]
        insert_many(self._conn, CONSENT, given, NOTHING)
        for (client_id, channel), agreed in last.items():
            if not agreed:
                mine = delete(CONSENT).where(CONSENT.c.client_id == client_id)
                self._conn.execute(mine.where(CONSENT.c.channel == channel))

    def _flush_questions(self) -> None:
        """Close and set back before opening: the index allows one open question at a time."""
        changed = {q.id: q for q in self.questions.values() if q != self._before.get(q.id)}
        self._upsert(QUESTION, {i: q for i, q in changed.items() if q.state != "open"})
        self._upsert(QUESTION, {i: q for i, q in changed.items() if q.state == "open"})

    def _write_messages(self) -> None:
        """Write what is withdrawn, and then what is planned: the same may be said after all."""
        for statement, values in self.planning():
            self._conn.execute(statement, values)

    def planning(self) -> list[tuple[TextClause, dict[str, list[Any]]]]:
        """Write what is withdrawn; the statement that writes what is planned, if anything is.

        Whoever asks has it carried out: the store keeps none of it.
        """
        if self._changed:
            self._conn.execute(
                update(MESSAGE)
                .where(MESSAGE.c.id == bindparam("b_id"), MESSAGE.c.state == "planned")
                .values(state=bindparam("b_state"), reason=bindparam("b_reason")),
                [
                    {"b_id": m.id, "b_state": m.state, "b_reason": m.reason}
                    for m in self._changed.values()
                ],
            )
        rows = [{name: getattr(m, name) for name in _MESSAGE} for m in self._new.values()]
        for one in self._new.values():
            del self._messages[one.id]
        self._changed, self._new = {}, {}
        return [inserting(MESSAGE, rows, _OR_SAY_AFTER_ALL)] if rows else []

    def _upsert(self, table: Table, values: dict[UUID, Any]) -> None:
        changed = [v for v in values.values() if v != self._before.get(v.id)]
        rows = [{f.name: getattr(v, f.name) for f in fields(v)} for v in changed]
        upsert_many(self._conn, table, rows, "id")


def _place(message: Message) -> tuple[str, str]:
    """What is said once: this, on this channel."""
    return message.once, message.channel


def _may_be_said(message: Message) -> bool:
    """Whether this was withdrawn for now, and may be said after all."""
    return message.state == "suppressed" and message.reason in _SAID_LATER
