"""Hand over what is due: lease and look at every rule, send outside any transaction, record.

A lease is committed before the provider is called. A lease that runs out (its sender died) makes
the message *unconfirmed*: nobody can say whether it left, so it is never sent again by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, func, or_, select, text, update

from contracts.event import Event
from contracts.matching import MentorContact
from contracts.notifications import (
    MessageDelayed,
    MessageFailed,
    MessageHandedOver,
    MessageUnconfirmed,
)
from contracts.topics import TOPICS
from hosting.hours import is_open, next_opening
from messaging.at_hand import assert_ones_own
from messaging.epoch import is_ours
from messaging.heartbeats import heard_lately, uptime
from messaging.parking import caused_by, goes_on, set_aside
from messaging.points import reached
from messaging.rows import among, among_given, ask_together, update_many
from messaging.sealing import NOT_OPENED, to_json
from messaging.unavailable import AnotherDatabase, Unavailable, is_away
from messaging.work import Participant, Work
from services.notifications import metrics
from services.notifications.channels import Channel, ChannelFactory, Letter, Outcome
from services.notifications.domain import (
    ASK_AFTER,
    CONFIRMED_WITHIN,
    CONFIRMS_STOP,
    GIVE_UP_AFTER,
    NEVER_WAITS,
    Standing,
    forbids,
    pause_before,
    today_in,
)
from services.notifications.doubt import Doubt
from services.notifications.letters import QUESTION_OF, Facts, LetterWriter
from services.notifications.mentors import opened_hello
from services.notifications.planning import channels_of, hours_of, suppressed
from services.notifications.retrying import next_channel_after
from services.notifications.sequences import sequence
from services.notifications.store import MESSAGE, Assignment, Facility, Message, Person
from services.notifications.wording import CannotRender

log = logging.getLogger(__name__)

#: How many messages are leased together; each is then handed over by a thread of its own.
BATCH = 24
THREADS = 6
#: So many batches may have left whose outcomes are not written yet; then no more are leased.
UNWRITTEN, WRITTEN_WITHIN_SECONDS = 2, 3.0
#: What forbids one channel says nothing about the next.
_ONE_CHANNELS_OWN = frozenset({"no_consent", "no_address"})
#: A sender that has not recorded an outcome by then is taken for dead. The database's clock judges
#: it, since no two machines have to agree; a sender measures its own by how long that has been.
LEASE = timedelta(minutes=4)
#: How often a sender looks for what is due while others are leaving.
LOOK_EVERY_SECONDS = 0.25
#: How often a sender looks for leases that ran out.
EXPIRE_EVERY_SECONDS = 1.0
#: Purposes whose messages may lead to the card of an assignment.
SHOWS_CARD = ("card", "card_code", "wants_to_talk", "quiet")


_FREE = and_(
    goes_on(MESSAGE.c.subject_id),
    or_(MESSAGE.c.person_id.is_(None), goes_on(MESSAGE.c.person_id)),
)
#: Whoever took their consent back may have done so by now, if intake is not heard.
_HEARD = heard_lately(TOPICS["intake"].name)
_DUE = (
    select(MESSAGE, func.clock_timestamp().label("asked_at"))
    .where(MESSAGE.c.state == "planned", MESSAGE.c.due_at <= bindparam("now"), is_ours())
    .where(or_(among(MESSAGE.c.purpose, NEVER_WAITS), and_(_FREE, _HEARD)))
    .order_by(MESSAGE.c.is_answer.desc(), MESSAGE.c.due_at, MESSAGE.c.id)
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)
_DUE_OF_THESE = _DUE.where(among_given(MESSAGE.c.once))
_LOCKED = (
    select(MESSAGE.c.id, MESSAGE.c.state, MESSAGE.c.attempts)
    .where(among_given(MESSAGE.c.id))
    .order_by(MESSAGE.c.id)
    .with_for_update()
)

#: As leases that have run out, of what was leased by attempts that the database does not know.
_LEASE_AGAIN = text(
    "UPDATE message SET state = 'leased', attempts = given.attempts,"
    " lease_until = clock_timestamp()"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS given(id, attempts)"
    " WHERE message.id = given.id AND message.state = 'planned'"
    " AND message.attempts < given.attempts"
)


@dataclass(frozen=True, kw_only=True)
class Leased:
    """A message that this sender alone may hand over now."""

    row: Any
    letter: Letter
    kept: dict[str, Any]
    until: datetime
    ends: float

    def as_columns(self) -> dict[str, Any]:
        """What is written before the provider is called."""
        return {
            "id": self.row.id,
            "state": "leased",
            "lease_until": self.until,
            "attempts": self.row.attempts,
            "template": self.row.template,
            "version": self.row.version,
            **self.kept,
        }


@dataclass(kw_only=True)
class Sender:
    """The loop that hands messages over."""

    participant: Participant
    writer: LetterWriter
    factories: dict[str, ChannelFactory]
    allowed: frozenset[str] | None
    name: str = "sender"
    #: Others are leaving now; what is planned meanwhile waits its turn.
    is_busy: bool = False
    _idle: dict[str, list[Channel]] = field(default_factory=dict)
    _expired_at: float = float("-inf")
    _looked_at: float = float("-inf")
    _recording: list[Future[None]] = field(default_factory=list)
    #: Hands over what was leased with the work that planned it, as soon as that is committed.
    beside: Executor = field(default_factory=lambda: ThreadPoolExecutor(2 * THREADS))
    _leaving: threading.Event = field(default_factory=threading.Event)
    _going: set[Future[None]] = field(default_factory=set)
    _others_wait: bool = False
    _closing: threading.Event = field(default_factory=threading.Event)
    _doubt: Doubt = field(default_factory=Doubt)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS))
    #: Writes what became of one batch after the other.
    _writing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def step(self) -> bool:
        """Hand over one batch; True when more may be due."""
        self._assert_written()
        leased = self._lease() if self._should_look() else []
        reached("lease.taken", leased)
        if leased:
            self.is_busy = True
            try:
                results = self._hand_over_all(self._pool, leased)
            finally:
                self.is_busy = False
            # The next are leased while this is written: somebody waits for those.
            self._recording.append(self._writing.submit(self._record, results))
        if time.monotonic() - self._expired_at > EXPIRE_EVERY_SECONDS:
            self._expire()
        # Whatever is planned wakes this loop again; to ask sooner only costs.
        return len(leased) == BATCH

    def close(self) -> None:
        """Write what is still to be written, and hang up everywhere."""
        self._closing.set()
        try:
            self.finish_recording()
        finally:
            # Each hands its own over by the same threads, which take nothing more once let go.
            wait(set(self._going))
            self._pool.shutdown(wait=True)
            self._writing.shutdown(wait=True)
            self.beside.shutdown(wait=True)
            for channels in self._idle.values():
                for channel in channels:
                    channel.close()

    def take_along(self, work: Work) -> Iterator[Event]:
        """Lease what this work plans in its own transaction, while nobody else leaves.

        Whoever it is to was just read and locked: to read them again takes as long as sending. It
        is handed over as soon as this is committed, so that it has not long been looked at.
        """
        if self.is_busy or self._leaving.is_set():
            self._others_wait = True
            return
        planned = work.store.newly_due()
        if 0 < len(planned) <= THREADS:
            leased: list[Leased] = []
            yield from self._lease_due(work, leased, planned)
            if leased:
                work.afterwards.append(partial(self._send_beside, leased))

    def _should_look(self) -> bool:
        """Whether to ask what is due: what has woken this loop may be leaving already."""
        now = time.monotonic()
        if self._leaving.is_set() and now - self._looked_at < LOOK_EVERY_SECONDS:
            return False
        self._looked_at, self._others_wait = now, False
        return True

    def _send_beside(self, leased: list[Leased]) -> None:
        reached("lease.taken")

        def send() -> None:
            try:
                try:
                    results = self._hand_over_all(self.beside, leased)
                finally:
                    self._leaving.clear()
                if self._others_wait:
                    self.participant.wake()
                self._record(results)
            except Exception:
                # Its lease runs out, and then it is unconfirmed: a person is asked.
                log.exception("what became of messages could not be written")

        self._leaving.set()
        going = self.beside.submit(send)
        self._going.add(going)
        going.add_done_callback(self._going.discard)

    def _hand_over_all(self, pool: Executor, leased: list[Leased]) -> list[tuple[Leased, Outcome]]:
        """What is to one address leaves one after the other, as it was planned."""
        to_one: dict[str, list[Leased]] = {}
        for one in leased:
            to_one.setdefault(one.letter.to, []).append(one)

        def each(those: list[Leased]) -> list[tuple[Leased, Outcome]]:
            return [(one, self._hand_over(one)) for one in those]

        return [result for results in pool.map(each, to_one.values()) for result in results]

    def finish_recording(self) -> None:
        """Wait until the outcomes of all batches are written; raises what that raised."""
        while self._recording:
            self._recording.pop(0).result()

    def _assert_written(self) -> None:
        """Raise what writing has raised, or ``Unavailable`` while too much is still unwritten.

        While the database is away this waits a moment at a time, so that a stop is heard.
        """
        if len(self._recording) == UNWRITTEN and not self._recording[0].done():
            wait(self._recording[:1], WRITTEN_WITHIN_SECONDS)
        while self._recording and self._recording[0].done():
            self._recording.pop(0).result()
        if len(self._recording) == UNWRITTEN:
            raise Unavailable("what became of messages cannot be written")

    def _lease(self) -> list[Leased]:
        leased: list[Leased] = []

        def command(work: Work) -> Iterator[Event]:
            leased.clear()
            yield from self._lease_due(work, leased)

        self.participant.transact(command)
        return leased

    def _lease_due(
        self, work: Work, leased: list[Leased], once: Collection[str] | None = None
    ) -> Iterator[Event]:
        """Lease what is due, or only what says this once; what may not leave does not."""
        # Looked at before the database's clock is, so that ours never ends later.
        ends = uptime() + LEASE.total_seconds()
        rows = self._due(work, once)
        if not rows:
            return
        self._load(work, rows)
        addresses: dict[UUID, str | None] = {}
        unopened: list[tuple[Any, Exception]] = []
        for row in rows:
            try:
                addresses[row.id] = _address(work, row)
            except NOT_OPENED as error:
                unopened.append((row, error))
        known = [row for row in rows if row.id in addresses]
        stopped = self._look(work, known, addresses)
        for row in known:
            address = addresses[row.id]
            has_stopped = address is not None and self._token(row, address) in stopped
            try:
                yield from self._decide(work, row, address, leased, ends, has_stopped=has_stopped)
            except NOT_OPENED as error:
                unopened.append((row, error))
        whose = {row.person_id or row.subject_id: why for row, why in unopened}
        # Many of one person's are that one person's trouble.
        of = len({row.person_id or row.subject_id for row in rows}) + (len(unopened) < len(rows))
        assert_ones_own(whose.values(), of)
        for row, why in unopened:
            yield from self._set_aside(work, row, why)
        work.store.lease([one.as_columns() for one in leased])

    def _look(
        self, work: Work, rows: Sequence[Any], addresses: Mapping[UUID, str | None]
    ) -> set[str]:
        """Who has said stop, by the tokens of addresses, and what these messages show."""
        known = work.store.assignments
        about = [known[r.assignment_id] for r in rows if r.assignment_id in known]
        shown = {r.assignment_id for r in rows if r.purpose in SHOWS_CARD}
        tokens = [self._token(row, address) for row in rows if (address := addresses[row.id])]
        stopped: set[str] = work.store.look_before_leaving(
            tokens, shown, {assignment.mentor_id for assignment in about}
        )
        return stopped

    @staticmethod
    def _load(work: Work, rows: Sequence[Any]) -> None:
        """Everybody whom these messages are to, about, or speak of."""
        owners = {i for r in rows for i in (r.person_id, r.subject_id, r.facility_id) if i}
        work.keys.need(("contact", owner) for owner in owners)
        work.store.load_persons({i for r in rows for i in (r.person_id, r.subject_id) if i})
        about = {r.assignment_id for r in rows if r.assignment_id}
        known = work.store.assignments
        work.store.load_persons({known[i].mentor_id for i in about if i in known})

    @staticmethod
    def _due(work: Work, once: Collection[str] | None) -> Sequence[Any]:
        """What is due, oldest first; what concerns a key of which anything waits waits too.

        What this work plans itself is written with the same wait.
        """
        now = {"now": work.now}
        if once is None:
            return work.conn.execute(_DUE, now).all()
        due = (_DUE_OF_THESE, {**now, "ids": list(once)})
        return ask_together(work.conn, *work.store.planning(), due)[-1]

    def _token(self, row: Any, address: str) -> str:
        return self.writer.address_token(row.channel, address)

    def _decide(
        self,
        work: Work,
        row: Any,
        address: str | None,
        leased: list[Leased],
        ends: float,
        *,
        has_stopped: bool,
    ) -> Iterator[Event]:
        message = _message(row)
        facility: Facility | None = work.store.facility(row.facility_id)
        person: Person | None = work.store.persons.get(row.person_id) if row.person_id else None
        assignment = work.store.assignments.get(row.assignment_id) if row.assignment_id else None
        standing = self._standing(
            work, message, person, assignment, address, has_stopped=has_stopped
        )
        reason = forbids(standing)
        if facility is None:
            reason = reason or "no_facility"
        if reason is not None:
            yield from self._suppress(work, row, message, reason)
            return
        assert facility is not None
        assert address is not None
        try:
            opening = _opening(work.now, message, person, facility)
        except (ValueError, KeyError):
            # One who cannot be judged must not hold up all the others, nor be written to at night.
            log.exception("hours cannot be read", extra={"message_id": str(row.id)})
            yield from self._suppress(work, row, message, "cannot_be_judged")
            return
        if opening > work.now:
            yield from self._delay(work, row, message, opening)
            return
        try:
            facts = _facts(work, message, address, facility)
            letter, rendered = self.writer.write(facts)
        except CannotRender:
            log.exception("a message cannot be worded", extra={"message_id": str(row.id)})
            yield from self._suppress(work, row, message, "cannot_be_worded")
            return
        leased.append(
            Leased(
                row=_Sent(row, rendered.template, rendered.version),
                letter=letter,
                kept=self._sealed(work, row, letter),
                until=row.asked_at + LEASE,
                ends=ends,
            )
        )

    def _standing(
        self,
        work: Work,
        message: Message,
        person: Person | None,
        assignment: Assignment | None,
        address: str | None,
        *,
        has_stopped: bool,
    ) -> Standing:
        contact = person.contact if person else None
        consent = {"sms": "text", "email": "email"}.get(message.channel)
        client = _client(work, message, message.subject_id)
        recipient: Any = message.recipient
        return Standing(
            recipient=recipient,
            purpose=message.purpose,
            person_state=person.state if person else "active",
            has_address=address is not None,
            address_stopped=has_stopped,
            consented=consent in work.store.consents.get(client.id if client else UUID(int=0), ()),
            opted_in=isinstance(contact, MentorContact) and contact.opted_in_at is not None,
            route=person.route if person else None,
            route_ends_on=person.route_ends_on if person else None,
            assignment_state=assignment.state if assignment else None,
            client_state=client.state if client else "active",
            today=today_in(contact.time_zone if contact else "UTC", work.now),
            allowed_by_mode=self.allowed is None or address in self.allowed,
            is_stale=_is_stale(message, work.now),
            has_mentor=work.store.standing(message.subject_id) is not None,
        )

    @staticmethod
    def _sealed(work: Work, row: Any, letter: Letter) -> dict[str, Any]:
        """What was said, and to which address, as far as the law wants it known later."""
        owner = row.person_id or row.facility_id
        said = {"subject": letter.subject, "text": letter.text}
        return {
            "said": to_json(work.keys.seal(said, "contact", owner, f"message/{row.id}/said")),
            "address": to_json(
                work.keys.seal(letter.to, "contact", owner, f"message/{row.id}/address")
            ),
        }

    def _set_aside(self, work: Work, row: Any, error: Exception) -> Iterator[Event]:
        """What cannot be opened of whom it concerns holds up no other; it leaves once that opens.

        What waits for nobody cannot wait for that either.
        """
        log.error("a message cannot leave", exc_info=error, extra={"message_id": str(row.id)})
        if row.purpose in NEVER_WAITS:
            yield from self._suppress(work, row, _message(row), "cannot_be_judged")
            return
        is_theirs = row.person_id in work.store.persons.unopened
        set_aside(work, row.person_id if is_theirs else row.subject_id, caused_by("sending", error))

    @staticmethod
    def _suppress(work: Work, row: Any, message: Message, reason: str) -> Iterator[Event]:
        if reason in _ONE_CHANNELS_OWN and next_channel_after(work, row, reason) is not None:
            reason = "next_channel"
        work.conn.execute(
            update(MESSAGE).where(MESSAGE.c.id == row.id).values(state="suppressed", reason=reason)
        )
        metrics.MESSAGES.labels(channel=message.channel, outcome="suppressed").inc()
        yield suppressed(message, reason, work.now)

    @staticmethod
    def _delay(work: Work, row: Any, message: Message, until: datetime) -> Iterator[Event]:
        """Outside the recipient's hours it waits for the next opening, and the story says so."""
        work.conn.execute(
            update(MESSAGE).where(MESSAGE.c.id == row.id).values(due_at=until, first_due_at=until)
        )
        yield MessageDelayed(**_shared(message, work.now), until=until, reason="outside_hours")

    def _hand_over(self, leased: Leased) -> Outcome:
        if uptime() >= leased.ends:
            # This process stood still: a person was asked, and may have said it meanwhile.
            return Outcome(kind="unknown", phase="lease", reason="lease_expired")
        name = leased.row.channel
        if leased.row.purpose not in NEVER_WAITS and self._doubt.holds_back(name):
            return Outcome(kind="not_sent", phase="connect", reason="held_back")
        outcome = self._send(name, leased.letter)
        self._doubt.learn(name, outcome)
        return outcome

    def _send(self, name: str, letter: Letter) -> Outcome:
        began = time.monotonic()
        try:
            channel = self._idle[name].pop()
        except (KeyError, IndexError):
            channel = self.factories[name]()
        reached("sending.begins")
        try:
            outcome = channel.send(letter)
        except Exception:
            # A mistake of ours in a channel: how far it came is not known, so nothing is resent.
            log.exception("a channel raised", extra={"channel": name})
            channel.close()
            return Outcome(kind="unknown", phase="body", reason="channel_error")
        reached("sending.ended")
        self._idle.setdefault(name, []).append(channel)
        metrics.PROVIDER.labels(channel=name, outcome=outcome.kind).observe(
            time.monotonic() - began
        )
        return outcome

    def _record(self, results: list[tuple[Leased, Outcome]]) -> None:
        """Write what became of these; while the database is away, that is kept and tried again."""
        pause = 0.1
        while True:
            try:
                self._write(results)
                return
            except AnotherDatabase:
                # Nothing can be said in it now. Whoever begins anew finds leases that ran out.
                self._lease_again(results)
                raise
            except Exception as error:
                if self._closing.is_set() or not is_away(error):
                    raise
            self._closing.wait(pause)
            pause = min(2 * pause, 5.0)

    def _lease_again(self, results: list[tuple[Leased, Outcome]]) -> None:
        """A database that went back has forgotten these leases, and would send what was sent."""
        rows = [one.row for one, _ in results]
        given = {"ids": [row.id for row in rows], "attempts": [row.attempts for row in rows]}
        with self.participant.engine.begin() as conn:
            conn.execute(_LEASE_AGAIN, given)

    def _write(self, results: list[tuple[Leased, Outcome]]) -> None:
        def command(work: Work) -> Iterator[Event]:
            ids = [leased.row.id for leased, _ in results]
            rows = {row.id: row for row in work.conn.execute(_LOCKED, {"ids": ids})}
            found: list[dict[str, Any]] = []
            for leased, outcome in results:
                row = rows.get(leased.row.id)
                # This may have been written already, by a commit whose answer was lost: another
                # attempt has begun since then, and only its own answer says what became of it.
                if row is None or row.attempts > leased.row.attempts:
                    continue
                # A receipt may have come first, and said more than the call's own answer. Where a
                # person was asked already, only what is settled counts: nothing is sent again. A
                # database that went back has forgotten the lease, and would send what was sent.
                is_settled = outcome.kind in ("accepted", "rejected")
                if (
                    row.state == "leased"
                    or (row.state == "unconfirmed" and is_settled)
                    or (row.state == "planned" and row.attempts < leased.row.attempts)
                ):
                    yield from self._outcome(work, leased.row, outcome, found)
            update_many(work.conn, MESSAGE, found, "id")

        # Nobody waits for this as for the next message, which it must not keep from leaving.
        self.participant.transact(command, hurried=False)
        reached("sending.recorded")
        for leased, outcome in results:
            metrics.MESSAGES.labels(channel=leased.row.channel, outcome=outcome.kind).inc()

    def _outcome(
        self, work: Work, row: Any, outcome: Outcome, found: list[dict[str, Any]]
    ) -> Iterator[Event]:
        """What became of one hand-over: its columns are added to ``found``."""
        message = _message(row)
        shared = _shared(message, work.now)
        now = {name: getattr(row, name) for name in ("id", "due_at", "provider_id", "reason")}
        now |= {"lease_until": None, "handed_over_at": row.handed_over_at, "ask_at": None}
        if outcome.kind == "accepted":
            now |= {"provider_id": outcome.provider_id, "handed_over_at": work.now}
            found.append({**now, "state": "handed_over"})
            yield MessageHandedOver(
                **shared, template=row.template, version=row.version, attempt=row.attempts
            )
        elif outcome.kind == "unknown":
            now |= {"ask_at": _ask_at(row, work.now)}
            found.append({**now, "state": "unconfirmed", "reason": outcome.reason})
            yield MessageUnconfirmed(**shared, reason=f"{outcome.phase}:{outcome.reason}")
        elif outcome.kind == "rejected" or work.now - row.first_due_at > GIVE_UP_AFTER:
            found.append({**now, "state": "failed", "reason": outcome.reason})
            following = next_channel_after(work, row, outcome.reason)
            yield MessageFailed(**shared, reason=outcome.reason, next_channel=following)
        else:
            pause = pause_before(row.attempts + 1)
            if outcome.retry_after_seconds is not None:
                pause = max(pause, timedelta(seconds=min(outcome.retry_after_seconds, 600)))
            now |= {"due_at": work.now + pause, "reason": outcome.reason}
            found.append({**now, "state": "planned"})

    def _expire(self) -> None:
        """Leases that ran out: nobody can say what became of these messages."""
        self._expired_at = time.monotonic()

        def command(work: Work) -> Iterator[Event]:
            rows = work.conn.execute(
                select(MESSAGE)
                .where(MESSAGE.c.state == "leased", MESSAGE.c.lease_until < func.clock_timestamp())
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            ).all()
            for row in rows:
                ask = {"ask_at": _ask_at(row, work.now)}
                _set(work, row.id, "unconfirmed", reason="lease_expired", **ask)
                yield MessageUnconfirmed(**_shared(_message(row), work.now), reason="lease_expired")

        self.participant.transact(command)


class _Sent:
    """A message's row with what this attempt made of it."""

    def __init__(self, row: Any, template: str, version: int) -> None:
        self.__dict__.update(row._asdict())
        self.template = template
        self.version = version
        self.attempts = row.attempts + 1


def _ask_at(row: Any, now: datetime) -> datetime | None:
    """When a network that keeps what it took is asked about a message."""
    return now + ASK_AFTER[0] if row.channel == "sms" else None


def _set(work: Work, message_id: UUID, state: str, **values: Any) -> None:
    work.conn.execute(
        update(MESSAGE)
        .where(MESSAGE.c.id == message_id)
        .values(state=state, lease_until=None, **values)
    )


def _facts(work: Work, message: Message, address: str, facility: Facility) -> Facts:
    """What the message may speak of, gathered from what is loaded."""
    persons, assignments = work.store.persons, work.store.assignments
    assignment = assignments.get(message.assignment_id) if message.assignment_id else None
    question = None
    kind = QUESTION_OF.get(message.purpose)
    if assignment is not None and kind is not None and message.person_id is not None:
        question = work.store.question_about(assignment.id, kind)
    card_id = None
    if assignment is not None and _may_lead_to_card(message, persons.get(assignment.mentor_id)):
        card_id = work.store.cards.get(assignment.id)
    hello = None
    if assignment is not None and message.purpose == "introduction":
        hello = opened_hello(work, work.store.hellos.get(assignment.mentor_id))
    return Facts(
        message=message,
        address=address,
        facility=facility,
        person=persons.get(message.person_id) if message.person_id else None,
        client=_client(work, message, assignment.client_id if assignment else message.subject_id),
        mentor=persons.get(assignment.mentor_id) if assignment else None,
        assignment=assignment,
        question=question,
        card_id=card_id,
        hello=hello,
    )


def _client(work: Work, message: Message, client_id: UUID) -> Person | None:
    """Whom it is about; whoever is on call is called though that does not open."""
    persons = work.store.persons
    if message.recipient == "on_call" and client_id in persons.unopened:
        return None
    client: Person | None = persons.get(client_id)
    return client


def _may_lead_to_card(message: Message, mentor: Person | None) -> bool:
    """A later link to a card goes where the first went: the other channel has the code."""
    if message.purpose in ("wants_to_talk", "quiet"):
        return mentor is not None and message.channel == channels_of(mentor, set())[0]
    return message.purpose in SHOWS_CARD


def _is_stale(message: Message, now: datetime) -> bool:
    """A check-in that comes too late would meet the next one, and a confirmation be unlawful."""
    age = now - message.first_due_at
    if message.purpose in CONFIRMS_STOP:
        return age > CONFIRMED_WITHIN
    if message.purpose != "check_in":
        return False
    return age > timedelta(hours=sequence("check_in").stale_after_hours)


_FIELDS = tuple(Message.__dataclass_fields__)


def _message(row: Any) -> Message:
    return Message(**{name: getattr(row, name) for name in _FIELDS})


def _shared(message: Message, at: datetime) -> dict[str, Any]:
    return {
        "subject_id": message.subject_id,
        "message_id": message.id,
        "recipient": message.recipient,
        "purpose": message.purpose,
        "channel": message.channel,
        "at": at,
        "discharge_id": message.discharge_id,
        "facility_id": message.facility_id,
    }


def _address(work: Work, row: Any) -> str | None:
    """Where the message goes, as it is known now."""
    if row.recipient == "on_call":
        facility: Facility | None = work.store.facility(row.facility_id)
        return facility.people.on_call_phone if facility and facility.people else None
    person: Person | None = work.store.persons.get(row.person_id) if row.person_id else None
    if person is None or person.contact is None:
        return None
    return person.contact.mobile if row.channel == "sms" else person.contact.email


def _opening(
    now: datetime, message: Message, person: Person | None, facility: Facility
) -> datetime:
    """The first moment, from now on, at which this may arrive; an answer may at once."""
    if message.is_answer or person is None or person.contact is None:
        return now
    hours, zone = hours_of(person, facility), person.contact.time_zone
    return now if is_open(now, zone, hours) else next_opening(now, zone, hours)
