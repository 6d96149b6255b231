"""What comes back from people and networks: replies and receipts, each applied once."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from contracts.event import Event
from contracts.notifications import (
    MessageDelivered,
    MessageFailed,
    MessageHandedOver,
    ReplyReceived,
)
from hosting.hours import after_open_time
from messaging import parking
from messaging.sealing import SearchTokens, to_json
from messaging.work import Participant, Work
from services.notifications import calling_off, cards, check_ins
from services.notifications.domain import DECLINED, RANK
from services.notifications.planning import Planner, channels_of, hours_of
from services.notifications.replies import (
    CLIENT_SAYS,
    SAID_OF_THE_NUMBER,
    Meaning,
    also_stop,
    understand,
)
from services.notifications.retrying import next_channel_after
from services.notifications.sequences import sequence
from services.notifications.store import MESSAGE, PERSON, REPLY, Person, Question

#: The question that each answer answers.
_ANSWERS = {
    Meaning.YES: "offer",
    Meaning.NO: "offer",
    Meaning.TALKED: "contact",
    Meaning.NO_ANSWER: "contact",
    Meaning.SOMEONE_ELSE: "introduction",
}

#: What is true of a number, whoever had it and however long ago.
_OF_EVERYBODY = frozenset({Meaning.STOP, Meaning.START, Meaning.WRONG_NUMBER})
_MENTORS_SAY = frozenset({Meaning.TALKED, Meaning.NO_ANSWER, Meaning.PAUSE, Meaning.BACK})


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where replies and receipts are taken in."""

    participant: Participant
    tokens: SearchTokens

    def text_received(self, number: str, words: str, provider_id: str) -> None:
        """A phone has sent a text; a STOP is in force once this returns."""
        self._received("sms", self.tokens.token("mobile", number), words, provider_id)

    def button_pressed(self, question: Question, meaning: Meaning, channel: str) -> None:
        """Somebody answered on a page."""

        def command(work: Work) -> Iterator[Event]:
            work.store.load_persons({question.person_id, question.client_id})
            person = work.store.persons.get(question.person_id)
            if person is not None:
                incoming = _Incoming(work, self.tokens, person, channel, asked=question)
                yield from incoming.take(meaning)

        self.participant.transact(command)

    def unsubscribed(self, email_token: str) -> None:
        """Somebody pressed the button that ends e-mail."""
        self._received("email", email_token, "STOP", f"unsubscribe/{uuid4()}")

    def _received(self, channel: str, token: str, words: str, provider_id: str) -> None:
        with self.participant.engine.connect() as conn:
            column = PERSON.c.mobile_token if channel == "sms" else PERSON.c.email_token
            tokens = select(PERSON.c.id, PERSON.c.mobile_token, PERSON.c.email_token)
            tokens_of = {row.id: row[1:] for row in conn.execute(tokens.where(column == token))}

        def command(work: Work) -> Iterable[Event]:
            if self._is_repeated(work, provider_id):
                return ()
            meaning = understand(words)
            ends = meaning is Meaning.STOP or also_stop(words)
            had_ended = bool(work.store.is_stopped([token]))
            if ends:
                work.store.stop(token)
            work.store.load_persons(tokens_of)
            persons = _who_may_have_written(work, list(tokens_of), meaning)
            is_strangers = meaning is Meaning.WRONG_NUMBER
            unopened = _set_aside(work, tokens_of, ends=ends and not is_strangers)
            if not persons:
                return _from_a_stranger(work, token, meaning, channel, provider_id)
            if any(work.store.open_question(one.id, "check_in") for one in persons):
                meaning = understand(words, "check_in")
            is_shared = len(persons) + unopened > 1
            if is_shared and meaning not in SAID_OF_THE_NUMBER:
                meaning = Meaning.SHARED
            # A stranger says it of their own number, not of whoever had it.
            ends = ends and meaning is not Meaning.WRONG_NUMBER
            said: list[Event] = []
            for person in persons:
                is_first = person is persons[0]
                incoming = _Incoming(
                    work,
                    self.tokens,
                    person,
                    channel,
                    had_ended=had_ended,
                    # They have one phone, which is answered once.
                    answers=is_first,
                    is_alone=not is_shared,
                )
                # What one of them wrote must reach nobody who looks after another.
                kept = None if is_shared else words
                incoming.keep(kept, provider_id if is_first else None, meaning)
                said += incoming.end_messages(token) if ends else ()
                said += incoming.take(meaning, token)
            return said

        self.participant.transact(command)

    @staticmethod
    def _is_repeated(work: Work, provider_id: str) -> bool:
        query = select(REPLY.c.id).where(REPLY.c.provider_id == provider_id)
        return work.conn.execute(query).first() is not None

    def receipt(self, message_id: UUID, status: str, provider_id: str, code: str) -> None:
        """The network says what became of a text."""

        def command(work: Work) -> Iterable[Event]:
            row = work.conn.execute(
                select(MESSAGE).where(MESSAGE.c.id == message_id).with_for_update()
            ).first()
            if row is None or row.channel != "sms":
                return ()
            if row.provider_id not in (None, provider_id):
                return ()
            return apply_receipt(work, row, status, provider_id, code)

        self.participant.transact(command)


class _Incoming:
    """One reply of a known person, in its transaction."""

    def __init__(
        self,
        work: Work,
        tokens: SearchTokens,
        person: Person,
        channel: str,
        *,
        had_ended: bool = False,
        asked: Question | None = None,
        answers: bool = True,
        is_alone: bool = True,
    ) -> None:
        self._work = work
        self._answers = answers
        self._is_alone = is_alone
        self._asked = asked
        self._had_ended = had_ended
        self._planner = Planner(work=work, tokens=tokens)
        self._person = person
        self._channel = channel
        self._reply_id = uuid4()

    def keep(self, words: str | None, provider_id: str | None, meaning: Meaning) -> None:
        """Keep the words, sealed, for the mentor's page; without them nobody can read there."""
        sealed = None
        if words is not None:
            bound = f"reply/{self._reply_id}/words"
            words = words[:1600]
            sealed = to_json(self._work.keys.seal(words, "contact", self._person.id, bound))
        row = {
            "id": self._reply_id,
            "provider_id": provider_id,
            "person_id": self._person.id,
            "channel": self._channel,
            "meaning": str(meaning),
            "words": sealed,
            "received_at": self._work.now,
            "read_at": self._work.now if sealed is None else None,
        }
        self._work.conn.execute(upsert(REPLY).values(row))

    def end_messages(self, token: str) -> Iterator[Event]:
        """One STOP ends all automated messages to this person, on every channel."""
        for address in self._addresses(token):
            self._work.store.stop(address)
        self._work.store.load_planned_to(self._person.id)
        yield from self._planner.withdraw("stop", person_id=self._person.id)
        yield from check_ins.end(self._work, self._person.id, "stop")

    def take(self, meaning: Meaning, token: str | None = None) -> Iterator[Event]:
        """What follows from the reply."""
        if meaning is Meaning.SHARED:
            yield self._said(meaning, None)
        elif self._person.kind == "client":
            yield from self._from_client(meaning, token)
        else:
            yield from self._from_mentor(meaning, token)

    def _from_client(self, meaning: Meaning, token: str | None) -> Iterator[Event]:
        question, check_in = self._question("introduction"), self._question("check_in")
        contact_by = None
        if meaning not in CLIENT_SAYS or (
            meaning in (Meaning.NO, Meaning.SOMEONE_ELSE) and question is None
        ):
            meaning = Meaning.UNCLEAR
        if meaning is Meaning.NO and question is not None:
            # Before the answer is planned: it is the one message that still leaves.
            yield from calling_off.stand(self._work, self._planner, self._person.id, DECLINED)
            self._answer("ended")
        elif meaning is Meaning.SOMEONE_ELSE:
            self._answer("looking_again")
        elif meaning is Meaning.DANGER:
            self._answer("danger")
            self._planner.page_on_call(self._person, self._reply_id)
        elif meaning is Meaning.WRONG_NUMBER:
            yield from self._unlink(token)
        elif meaning is Meaning.OK and check_in is not None:
            # Thanked once for a mentor and a discharge: the next OK needs no more texts.
            once = f"check_in_ok/client/{check_in.assignment_id}/{check_in.discharge_id}"
            self._answer("check_in_ok", once=once)
        elif meaning is Meaning.TALK:
            contact_by = yield from self._pass_on_wish_to_talk()
        else:
            self._stop_start_help(meaning, token, "")
        if question is not None and meaning in (Meaning.NO, Meaning.SOMEONE_ELSE):
            self._work.store.close_questions(question.assignment_id, "introduction")
        if check_in is not None and meaning not in (Meaning.HELP, Meaning.START):
            # Whatever they wrote, they are not silent.
            check_ins.answered(self._work, check_in.assignment_id, self._person.id)
        yield self._said(meaning, check_in or question, contact_by)

    def _pass_on_wish_to_talk(self) -> Generator[Event, None, datetime]:
        """The mentor hears at once that somebody would like to talk; by when they should have."""
        self._answer("check_in_talk")
        assignment = self._work.store.standing(self._person.id)
        if assignment is None:
            return self._work.now
        self._work.store.load_persons([assignment.mentor_id])
        persons, mentor_id = self._work.store.persons, assignment.mentor_id
        is_opened = mentor_id not in persons.unopened
        mentor: Person | None = persons.get(mentor_id) if is_opened else None
        if is_opened and (mentor is None or mentor.contact is None):
            return self._work.now
        self._work.store.ask("contact", mentor_id, assignment)
        if not self._work.store.planned(purpose="wants_to_talk", assignment_id=assignment.id):
            once = f"wants_to_talk/mentor/{self._reply_id}"
            yield from self._planner.tell_mentor("wants_to_talk", mentor_id, assignment, once=once)
        if mentor is None or mentor.contact is None:
            # They hear of it once they open: somebody else is asked to call, and now.
            return self._work.now
        if len(channels_of(mentor, set())) < 2:
            # They have no page that shows who it is.
            yield cards.no_second_channel(self._work, assignment, self._person.facility_id)
        hours = hours_of(mentor, self._work.store.facility(self._person.facility_id))
        within = timedelta(hours=sequence("check_in").contact_within_hours)
        return after_open_time(self._work.now, mentor.contact.time_zone, hours, within)

    def _from_mentor(self, meaning: Meaning, token: str | None) -> Iterator[Event]:
        if meaning in (Meaning.SOMEONE_ELSE, Meaning.TALK):
            # What only a client can want.
            meaning = Meaning.UNCLEAR
        several = self._one_of_several(meaning)
        if several is not None:
            meaning = Meaning.UNCLEAR
        kind = _ANSWERS.get(meaning)
        question = several or self._question(kind or "offer")
        if meaning is Meaning.NO and question is None:
            # A mentor who was assigned without being asked may still say no.
            question = self._question("contact")
        if kind is not None and question is None:
            self._answer("offer_closed" if kind == "offer" else "mentor_unclear")
        elif meaning is Meaning.NO:
            self._answer("declined")
        elif meaning is Meaning.TALKED:
            self._answer("talked")
        elif meaning is Meaning.NO_ANSWER:
            self._answer("no_answer")
        elif meaning is Meaning.DANGER:
            self._answer("danger")
            self._planner.page_on_call(self._person, self._reply_id)
        elif meaning is Meaning.WRONG_NUMBER:
            yield from self._unlink(token)
        elif meaning is Meaning.PAUSE:
            self._answer("paused")
        elif meaning is Meaning.BACK:
            self._answer("welcome_back")
        elif meaning is Meaning.UNCLEAR:
            self._answer("mentor_unclear")
        else:
            self._stop_start_help(meaning, token, "mentor_")
        if question is not None and meaning in (Meaning.YES, Meaning.NO, Meaning.TALKED):
            self._work.store.close_questions(question.assignment_id, question.kind)
        yield self._said(meaning, question)

    def _one_of_several(self, meaning: Meaning) -> Question | None:
        """What a text may answer that may mean another client as well: a page says which one."""
        if self._asked is not None or meaning not in (Meaning.TALKED, Meaning.NO):
            return None
        store = self._work.store
        if meaning is Meaning.NO and store.open_question(self._person.id, "offer"):
            return None
        waiting: list[Question] = store.open_questions(self._person.id, "contact")
        # They may say no once more to somebody about whom the question is settled by now.
        if len(waiting) > 1 or (
            waiting and meaning is Meaning.NO and store.was_asked_since(waiting[0])
        ):
            return waiting[0]
        return None

    def _stop_start_help(self, meaning: Meaning, token: str | None, prefix: str) -> None:
        if meaning is Meaning.STOP:
            # A confirmation of every repetition would be just what they asked us to end.
            if not self._had_ended:
                self._answer(f"{prefix}stopped")
        elif meaning is Meaning.START:
            # Of several who share a number, nobody knows who wants their mails again.
            for address in self._addresses(token) if self._is_alone else (token,):
                self._work.store.start(address)
            self._answer(f"{prefix}started")
        elif meaning is Meaning.HELP:
            self._answer(f"{prefix}help")

    def _addresses(self, token: str | None) -> set[str]:
        known = (token, self._person.mobile_token, self._person.email_token)
        return {address for address in known if address is not None}

    def _unlink(self, token: str | None) -> Iterator[Event]:
        """The address is somebody else's: it is not written to, and no longer theirs."""
        if token is not None:
            self._work.store.stop(token)
        # Whoever has it now is a stranger: their START must not start these messages again.
        if self._channel == "sms":
            self._person = replace(self._person, mobile_token=None)
        else:
            self._person = replace(self._person, email_token=None)
        self._work.store.put(self._person)
        self._work.store.load_planned_to(self._person.id)
        unsent: dict[str, Any] = {"person_id": self._person.id, "channel": self._channel}
        if self._person.kind == "client":
            yield from check_ins.end(self._work, self._person.id, "wrong_number")
            yield from self._planner.welcome_again(self._person.id, self._reply_id)
            for message in self._work.store.planned(**unsent):
                if not message.is_answer:
                    yield from self._planner.reroute(message, "wrong_number")
        else:
            yield from self._planner.withdraw("wrong_number", **unsent)
            # A link that went there would be joined by its code where the next one goes.
            yield from cards.shut_out(self._work, self._person.id)
        self._answer("wrong_number")

    def _question(self, kind: str) -> Question | None:
        """What was asked: a page says what it answers, a text only who sent it."""
        found: Question | None
        if self._asked is None:
            found = self._work.store.open_question(self._person.id, kind)
        elif self._asked.kind == kind:
            found = self._work.store.question_about(self._asked.assignment_id, kind)
        else:
            found = None
        return found

    def _answer(self, purpose: str, *, once: str = "") -> None:
        if self._answers:
            self._planner.answer(purpose, self._person, self._channel, self._reply_id, once=once)

    def _said(
        self, meaning: Meaning, question: Question | None, contact_by: datetime | None = None
    ) -> ReplyReceived:
        person = self._person
        about_client = question.client_id if question else person.id
        # A client who came back speaks of now, whatever they were asked about before.
        now = question if question is not None and question.client_id != person.id else person
        return ReplyReceived(
            subject_id=about_client,
            reply_id=self._reply_id,
            sender=person.kind,
            sender_id=person.id,
            meaning=str(meaning),
            channel=self._channel,
            received_at=self._work.now,
            assignment_id=question.assignment_id if question else None,
            discharge_id=now.discharge_id,
            facility_id=person.facility_id,
            contact_by=contact_by,
        )


def _who_may_have_written(work: Work, ids: list[UUID], meaning: Meaning) -> list[Person]:
    """All of those who share a number who may have written this, whom to answer first."""
    persons: list[Person] = sorted(
        (work.store.persons[i] for i in ids if i in work.store.persons),
        key=lambda one: (not _is_here(one), one.kind != "client", str(one.id)),
    )
    if meaning in _OF_EVERYBODY:
        return persons
    kind = _ANSWERS.get(meaning)
    asked = [one for one in persons if kind and work.store.open_question(one.id, kind) is not None]
    likely = asked or [one for one in persons if _is_here(one)] or persons
    mentors = [one for one in likely if one.kind == "mentor"]
    return mentors if mentors and meaning in _MENTORS_SAY else likely


def _is_here(person: Person) -> bool:
    """Whether somebody may have a reason to write: a mentor who pauses has."""
    return person.state == "active" or (person.kind == "mentor" and person.state != "erased")


def _set_aside(work: Work, tokens_of: Mapping[UUID, Iterable[str | None]], *, ends: bool) -> int:
    """How many of these do not open: what they wrote is for a person, and their stop for all."""
    unopened = work.store.persons.unopened
    found = [key for key in tokens_of if key in unopened]
    for key in found:
        parking.set_aside(work, key, parking.caused_by("reply", unopened[key]))
        for token in tokens_of[key] if ends else ():
            if token is not None:
                work.store.stop(token)
    return len(found)


def _from_a_stranger(
    work: Work, token: str, meaning: Meaning, channel: str, provider_id: str
) -> Iterator[Event]:
    """Nobody known has this number: what they said is told without their words."""
    reply_id, sender_id = uuid4(), uuid5(NAMESPACE_OID, token)
    row = {"id": reply_id, "provider_id": provider_id, "person_id": None, "channel": channel}
    row |= {"meaning": str(meaning), "words": None, "received_at": work.now}
    work.conn.execute(upsert(REPLY).values(row))
    yield ReplyReceived(
        subject_id=sender_id,
        reply_id=reply_id,
        sender="unknown",
        sender_id=sender_id,
        meaning=str(meaning),
        channel=channel,
        received_at=work.now,
    )


_ARRIVED = ("delivered", "read")
_TAKEN = ("queued", "accepted", "sending", "sent")
_LOST = ("failed", "undelivered", "canceled")


def apply_receipt(
    work: Work, row: Any, status: str, provider_id: str, code: str
) -> Iterator[Event]:
    """Move a message on by a receipt; what came later never takes it back."""
    state = "delivered" if status in _ARRIVED else "failed" if status in _LOST else "handed_over"
    if status not in (*_ARRIVED, *_TAKEN, *_LOST) or RANK[state] <= RANK[row.state]:
        return
    if row.state == "leased" and state == "handed_over":
        # The answer of the call that is under way says the same, and more.
        return
    work.conn.execute(
        update(MESSAGE)
        .where(MESSAGE.c.id == row.id)
        .values(
            state=state,
            provider_id=provider_id,
            ask_at=None,
            reason=f"receipt_{code or status}" if state == "failed" else None,
            handed_over_at=row.handed_over_at or work.now,
        )
    )
    shared = {
        "subject_id": row.subject_id,
        "message_id": row.id,
        "recipient": row.recipient,
        "purpose": row.purpose,
        "channel": row.channel,
        "at": work.now,
        "discharge_id": row.discharge_id,
        "facility_id": row.facility_id,
    }
    if row.state in ("unconfirmed", "leased") and state != "failed":
        yield MessageHandedOver(
            **shared, template=row.template or "", version=row.version or 0, attempt=row.attempts
        )
    if state == "delivered":
        yield MessageDelivered(**shared)
    elif state == "failed":
        following = next_channel_after(work, row, f"receipt_{code or status}")
        yield MessageFailed(**shared, reason=f"receipt_{code or status}", next_channel=following)
