"""What mentors see of their clients, and what they say on their pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4, uuid5

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from contracts.event import Event
from contracts.intake import ContactDetails
from contracts.matching import MentorContact
from contracts.notifications import MentorProfile, MentorProfileGiven, ReplyReceived
from messaging.rows import among
from messaging.sealing import to_json
from messaging.work import Participant, Work
from services.notifications import cards
from services.notifications.cards import STANDING, contact_of, may_learn
from services.notifications.store import (
    ASSIGNMENT,
    CLIENT_SHOWN,
    CONTACT_RECORD,
    HELLO,
    REPLY,
    Assignment,
    Facility,
    Person,
)

#: Replies that were acted on at once, or are somebody else's, and wait for no mentor.
_NOT_FOR_MENTORS = ("stop", "start", "help", "wrong_number", "no", "someone_else", "ok")
#: How many earlier contacts a page tells of.
CONTACTS = 20

Answer = TypeVar("Answer")


class NotTheirs(LookupError):
    """No client of this mentor, or none any more."""


class NoRoute(LookupError):
    """This mentor may not learn of clients now."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A reply that nobody has said to have read."""

    id: UUID
    words: str
    received_at: datetime
    is_danger: bool


@dataclass(frozen=True, kw_only=True)
class Contact:
    """One time that a mentor was in touch, or tried to be."""

    way: str
    talked: bool
    happened_at: datetime
    next_step: str = ""


@dataclass(frozen=True, kw_only=True)
class OwnClient:
    """A client as their mentor sees them."""

    assignment: Assignment
    contact: ContactDetails
    replies: tuple[Waiting, ...] = ()
    contacts: tuple[Contact, ...] = ()
    waiting: int = 0


@dataclass(frozen=True, kw_only=True)
class Self:
    """A mentor as they see themselves."""

    state: str
    contact: MentorContact
    facility: Facility
    hello: str | None


@dataclass(frozen=True, kw_only=True)
class MentorDesk:
    """Each look and each word of one mentor is one transaction, and of their own clients only."""

    participant: Participant

    def clients(self, mentor_id: UUID) -> list[OwnClient]:
        """All clients of a mentor, by name; raises ``NoRoute``."""

        def look(work: Work) -> list[OwnClient]:
            found = _standing(work, mentor_id)
            waiting = _count_waiting(work, [a.client_id for a in found])
            shown = [
                OwnClient(assignment=a, contact=contact, waiting=waiting.get(a.client_id, 0))
                for a in found
                if a.client_id not in work.store.persons.unopened
                and (contact := contact_of(work, a)) is not None
            ]
            _note_shown(work, [one.assignment for one in shown], "people")
            return sorted(shown, key=lambda one: one.contact.called.casefold())

        return self._look(look)

    def client(self, mentor_id: UUID, assignment_id: UUID, page: str) -> OwnClient:
        """One client of a mentor; raises ``NotTheirs`` or ``NoRoute``."""

        def look(work: Work) -> OwnClient:
            assignment, contact = _own(work, mentor_id, assignment_id)
            _note_shown(work, [assignment], page)
            return OwnClient(
                assignment=assignment,
                contact=contact,
                replies=tuple(_waiting(work, assignment.client_id)),
                contacts=tuple(_contacts(work, assignment)),
            )

        return self._look(look)

    def who(self, mentor_id: UUID) -> Self | None:
        """A mentor; None when nothing is known of them any more."""

        def look(work: Work) -> Self | None:
            mentor, contact = _mentor(work, mentor_id)
            facility: Facility | None = work.store.facility(mentor.facility_id if mentor else None)
            if mentor is None or contact is None or facility is None:
                return None
            hello = hello_of(work, mentor_id)
            return Self(state=mentor.state, contact=contact, facility=facility, hello=hello)

        return self._look(look)

    def mark_read(self, mentor_id: UUID, assignment_id: UUID, reply_id: UUID) -> None:
        """The mentor has read a reply; raises ``NotTheirs`` or ``NoRoute``."""

        def command(work: Work) -> tuple[()]:
            assignment, _ = _own(work, mentor_id, assignment_id)
            theirs = REPLY.c.person_id == assignment.client_id
            unread = update(REPLY).where(REPLY.c.id == reply_id, theirs, REPLY.c.read_at.is_(None))
            work.conn.execute(unread.values(read_at=work.now))
            return ()

        self.participant.transact(command)

    def record(self, mentor_id: UUID, assignment_id: UUID, contact: Contact, *, once: UUID) -> None:
        """The mentor was in touch, or tried to be; raises ``NotTheirs`` or ``NoRoute``.

        ``once`` is the form's own id: a double click records one contact, and what was changed
        before it was sent again is another.
        """
        said = (contact.way, str(contact.talked), str(contact.happened_at), contact.next_step)
        record_id = uuid5(once, "/".join((str(assignment_id), *said)))

        def command(work: Work) -> Iterator[Event]:
            assignment, _ = _own(work, mentor_id, assignment_id)
            if not _keep_contact(work, assignment, contact, record_id):
                return
            if contact.talked:
                # Matching says the same in a moment; the page shows it at once.
                work.store.put_assignment(replace(assignment, state="in_contact"))
                work.store.close_questions(assignment.id, "contact")
            meaning = "talked" if contact.talked else "no_answer"
            talked_at = contact.happened_at if contact.talked else None
            yield _said(work, assignment, meaning, talked_at=talked_at)

        self.participant.transact(command)

    def pass_on(self, mentor_id: UUID, assignment_id: UUID) -> None:
        """The client goes to somebody else; raises ``NotTheirs`` or ``NoRoute``."""

        def command(work: Work) -> Iterator[Event]:
            assignment, _ = _own(work, mentor_id, assignment_id)
            # Matching ends it in a moment; whoever let go sees nothing more from now on.
            work.store.put_assignment(replace(assignment, state="ended"))
            work.store.close_questions(assignment.id, "contact")
            put_away_words(work, assignment.client_id)
            yield _said(work, assignment, "pass_on")

        self.participant.transact(command)

    def change_state(self, mentor_id: UUID, word: str) -> None:
        """The mentor takes a pause, or is back: like the text that says so."""

        def command(work: Work) -> Iterator[Event]:
            mentor, _ = _mentor(work, mentor_id)
            if mentor is None:
                return
            state = {"pause": "paused", "back": "active"}[word]
            work.store.put(replace(mentor, state=state))
            yield ReplyReceived(
                subject_id=mentor_id,
                reply_id=uuid4(),
                sender="mentor",
                sender_id=mentor_id,
                meaning=word,
                channel="page",
                received_at=work.now,
                facility_id=mentor.facility_id,
            )

        self.participant.transact(command)

    def give_profile(self, mentor_id: UUID, profile: MentorProfile) -> None:
        """How the mentor is to be chosen from now on; their pages show it at once."""

        def command(work: Work) -> Iterator[Event]:
            mentor, contact = _mentor(work, mentor_id)
            if mentor is None or contact is None:
                return
            changed = replace(
                contact,
                hours=profile.hours,
                capacity=profile.capacity,
                strengths=profile.strengths,
            )
            work.store.put(replace(mentor, contact=changed))
            yield MentorProfileGiven(mentor_id=mentor_id, given_at=work.now, profile=profile)

        self.participant.transact(command)

    def write_hello(self, mentor_id: UUID, hello: str) -> None:
        """The words that clients read from now on; none when they are empty."""

        def command(work: Work) -> tuple[()]:
            if not hello:
                work.conn.execute(delete(HELLO).where(HELLO.c.mentor_id == mentor_id))
                return ()
            sealed = work.keys.seal(hello, "contact", mentor_id, f"hello/{mentor_id}/words")
            values = {"words": to_json(sealed), "written_at": work.now}
            statement = upsert(HELLO).values(mentor_id=mentor_id, **values)
            work.conn.execute(
                statement.on_conflict_do_update(index_elements=[HELLO.c.mentor_id], set_=values)
            )
            return ()

        self.participant.transact(command)

    def _look(self, look: Callable[[Work], Answer]) -> Answer:
        found: list[Answer] = []

        def command(work: Work) -> tuple[()]:
            found[:] = [look(work)]
            return ()

        self.participant.transact(command)
        return found[0]


def forget(work: Work, mentor_id: UUID) -> None:
    """A mentor who was erased is signed in nowhere, and introduces themselves to nobody."""
    work.conn.execute(delete(HELLO).where(HELLO.c.mentor_id == mentor_id))
    cards.sign_out(work, mentor_id)


def hello_of(work: Work, mentor_id: UUID) -> str | None:
    """The hello that a mentor wrote."""
    words = work.conn.execute(select(HELLO.c.words).where(HELLO.c.mentor_id == mentor_id)).scalar()
    return opened_hello(work, words)


def opened_hello(work: Work, words: Any) -> str | None:
    """The words of a hello, as its row keeps them; None where there is none any more."""
    opened = work.keys.open_kept(str, words) if words else None
    return opened if isinstance(opened, str) else None


def _mentor(work: Work, mentor_id: UUID) -> tuple[Person | None, MentorContact | None]:
    work.store.load_persons([mentor_id])
    mentor: Person | None = work.store.persons.get(mentor_id)
    contact = mentor.contact if mentor else None
    return mentor, contact if isinstance(contact, MentorContact) else None


def _standing(work: Work, mentor_id: UUID, assignment_id: UUID | None = None) -> list[Assignment]:
    """The assignments of a mentor, or one of them, with everybody concerned locked and read."""
    query = select(ASSIGNMENT.c.id, ASSIGNMENT.c.client_id).where(
        ASSIGNMENT.c.mentor_id == mentor_id, ASSIGNMENT.c.state != "ended"
    )
    if assignment_id is not None:
        query = query.where(ASSIGNMENT.c.id == assignment_id)
    rows = work.conn.execute(query).all()
    work.store.load_persons({mentor_id, *(row.client_id for row in rows)})
    if not may_learn(work, mentor_id):
        raise NoRoute
    found = [work.store.assignments[row.id] for row in rows]
    return [one for one in found if one.state in STANDING]


def _own(work: Work, mentor_id: UUID, assignment_id: UUID) -> tuple[Assignment, ContactDetails]:
    for found in _standing(work, mentor_id, assignment_id):
        contact = contact_of(work, found)
        if contact is not None:
            return found, contact
    raise NotTheirs


def _note_shown(work: Work, assignments: list[Assignment], page: str) -> None:
    """Each time that something about a client is shown is kept."""
    rows = [
        {
            "client_id": one.client_id,
            "mentor_id": one.mentor_id,
            "assignment_id": one.id,
            "page": page,
            "at": work.now,
        }
        for one in assignments
    ]
    if rows:
        work.conn.execute(insert(CLIENT_SHOWN), rows)


_UNREAD = REPLY.c.read_at.is_(None) & REPLY.c.meaning.not_in(_NOT_FOR_MENTORS)


def put_away_words(work: Work, client_id: UUID) -> None:
    """What a client wrote is shown no more on the page of whoever stands beside them."""
    mine = update(REPLY).where(REPLY.c.person_id == client_id, REPLY.c.read_at.is_(None))
    work.conn.execute(mine.values(read_at=work.now))


def _count_waiting(work: Work, client_ids: list[UUID]) -> dict[UUID, int]:
    query = select(REPLY.c.person_id, func.count()).where(
        among(REPLY.c.person_id, client_ids), _UNREAD
    )
    rows = work.conn.execute(query.group_by(REPLY.c.person_id)).all()
    return {row[0]: row[1] for row in rows}


def _waiting(work: Work, client_id: UUID) -> Iterator[Waiting]:
    query = select(REPLY).where(REPLY.c.person_id == client_id, _UNREAD)
    for row in work.conn.execute(query.order_by(REPLY.c.received_at)).all():
        words = work.keys.open_kept(str, row.words) if row.words else None
        if isinstance(words, str):
            yield Waiting(
                id=row.id,
                words=words,
                received_at=row.received_at,
                is_danger=row.meaning == "danger",
            )


def _contacts(work: Work, assignment: Assignment) -> Iterator[Contact]:
    query = (
        select(CONTACT_RECORD)
        .where(CONTACT_RECORD.c.assignment_id == assignment.id)
        .order_by(CONTACT_RECORD.c.happened_at.desc())
        .limit(CONTACTS)
    )
    for row in work.conn.execute(query).all():
        step = work.keys.open_kept(str, row.next_step) if row.next_step else ""
        yield Contact(
            way=row.way,
            talked=row.talked,
            happened_at=row.happened_at,
            next_step=step if isinstance(step, str) else "",
        )


def _keep_contact(work: Work, assignment: Assignment, contact: Contact, record_id: UUID) -> bool:
    """Keep a contact, unless it is kept; what is noted is about the client, and goes with them."""
    bound = f"contact_record/{record_id}/next_step"
    step = work.keys.seal(contact.next_step, "contact", assignment.client_id, bound)
    row = {
        "id": record_id,
        "assignment_id": assignment.id,
        "client_id": assignment.client_id,
        "mentor_id": assignment.mentor_id,
        "way": contact.way,
        "talked": contact.talked,
        "happened_at": contact.happened_at,
        "recorded_at": work.now,
        "next_step": to_json(step) if contact.next_step else None,
    }
    kept = upsert(CONTACT_RECORD).values(row).on_conflict_do_nothing()
    return work.conn.execute(kept.returning(CONTACT_RECORD.c.id)).first() is not None


def _said(
    work: Work, assignment: Assignment, meaning: str, *, talked_at: datetime | None = None
) -> ReplyReceived:
    mentor: Person = work.store.persons[assignment.mentor_id]
    return ReplyReceived(
        subject_id=assignment.client_id,
        reply_id=uuid4(),
        sender="mentor",
        sender_id=assignment.mentor_id,
        meaning=meaning,
        channel="page",
        received_at=work.now,
        assignment_id=assignment.id,
        discharge_id=assignment.discharge_id,
        facility_id=mentor.facility_id,
        talked_at=talked_at,
    )
