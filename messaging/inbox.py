"""Decide for each event that arrives: apply it now, skip it, keep it for later, or park its key.

An event is applied when it is the next of its (producer, epoch, key) and when everything that its
producer had applied has been applied here too. One that comes too early is kept, sealed as it
travelled, and applied as soon as what it waits for has come.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import (
    Boolean,
    cast,
    delete,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from contracts.envelope import Envelope
from contracts.event import Event
from messaging import metrics
from messaging.arrived import Arrived, need_keys, opened, read
from messaging.broker import Record, record_from_json, record_to_json
from messaging.rows import among_given, ask_together, insert_many, update_many, upsert_many
from messaging.sealing import KeyAbsent, NotOurs
from messaging.tables import CURSOR, EARLY, INBOX, PARKED_EVENT, PARKED_KEY

if TYPE_CHECKING:
    from messaging.work import Work


class Conflict(Exception):
    """Another event than the one that was applied stands in its place of the stream.

    A producer has used a number twice: one of the two would be lost as if it were a repetition.
    """


class Unreadable(Exception):
    """A record that can never be handled as it is; ``args[0]`` says what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a key is parked: opaque names only, never the text of an error."""

    handler: str
    error: str
    #: The event that could not be handled, where it is known.
    event_id: UUID | None = None

    @property
    def is_damage(self) -> bool:
        """Whether a record is wrong in itself, which is no sign that something is wrong here."""
        return self.handler == "reading" and self.error not in _OF_KEYS

    def parks(self, key: UUID, at: datetime) -> dict[str, object]:
        """The row of a key that is parked for it."""
        return {"key": key, "parked_at": at, "attempts": 1, **asdict(self)}


#: What comes of keys that are not there, or of other ones: it may be so for everybody.
_OF_KEYS = {error.__name__ for error in (KeyAbsent, NotOurs)}
_Place = tuple[str, int, UUID]


class Inbox:
    """The inbox over one batch, inside the batch's transaction."""

    def __init__(self, work: Work, records: Sequence[Record], freed: Collection[UUID] = ()) -> None:
        self._work = work
        self._hears = frozenset(event.__name__ for event in work.participant.on)
        arrived = [read(record, self._hears) for record in records]
        self._early: dict[tuple[str, int, UUID, int], Arrived] = {}
        self._stored: set[tuple[str, int, UUID, int]] = set()
        self._seqs: dict[_Place, int] = {}
        self._parked: set[UUID] = set()
        #: Keys that were parked until what waited for them was forgotten.
        self.let_go: set[UUID] = set()
        self._freed = frozenset(freed)
        self._look(arrived, set(freed))
        need_keys(work, [*arrived, *self._early.values()])
        self.arrived = [opened(work, one) for one in arrived]
        self._early = {place: opened(work, one) for place, one in self._early.items()}
        self._gone: list[tuple[str, int, UUID, int]] = []
        self._kept: dict[tuple[str, int, UUID, int], tuple[Arrived, UUID]] = {}
        self._behind: list[Arrived] = []
        self._applied: list[Arrived] = []
        self._applied_now: dict[tuple[str, int, UUID, int], UUID] = {}

    def events(self) -> list[Event]:
        """Every event that may be applied in this batch, for loading what it needs."""
        everything = [*self.arrived, *self._early.values()]
        return [one.event for one in everything if one.event is not None]

    def admit(self, one: Arrived) -> Iterator[Arrived]:
        """What is to be applied now that this record came: itself, and what waited for it."""
        erases = one.event is not None and one.event.erases
        # Before what waits is let go: some of it may have been said behind an erasure.
        is_again = one.envelope is not None and self._was_applied(one.envelope)
        if erases:
            # Whatever it would have waited for, nobody could make anything of any more.
            self.forget(one.key, erased_by=one.envelope)
        if one.key in self._parked:
            self._behind.append(one)
            self._count(one, "parked")
            return
        if one.problem is not None or one.envelope is None:
            raise Unreadable(one.problem)
        if is_again:
            self._check_same(one.envelope, self._applied_there(one.envelope))
            self._count(one, "duplicate")
            return
        kept = self._early.get(self._id(one.envelope))
        self._check_same(one.envelope, kept.said.event_id if kept else None)
        waiting_on = None if erases else self._waits_for(one.envelope)
        if waiting_on is not None:
            self._keep(one, one.envelope, waiting_on)
            self._count(one, "early")
            return
        yield from self._apply(one, one.envelope)

    def early_of(self, wanted: Callable[[Arrived], bool]) -> list[Arrived]:
        """Take out the early events that are wanted, in the order of their streams."""
        found = [one for one in self._early.values() if wanted(one)]
        for one in found:
            self._take_out(one.said)
        return sorted(found, key=lambda one: one.said.seq)

    def park(self, one: Arrived, failure: Failure) -> bool:
        """Set this key aside: the record waits, and everything of the key behind it.

        True when the key was not parked before.
        """
        # One that is there is locked, as it is when it is seen: nobody lets it go meanwhile.
        mine = upsert(PARKED_KEY).values(failure.parks(one.key, self._work.now))
        locked = mine.on_conflict_do_update(
            index_elements=[PARKED_KEY.c.key], set_={"key": PARKED_KEY.c.key}
        )
        fresh: bool = self._work.conn.execute(locked.returning(_IS_NEW)).scalar_one()
        self._parked.add(one.key)
        self._behind.append(one)
        self._count(one, "parked")
        return fresh

    @property
    def has_handled(self) -> bool:
        """Whether a handler has taken anything: what none asks for says nothing about them."""
        return any(one.event is not None for one in self._applied)

    def give_up(self, is_at_fault: Callable[[Arrived], bool]) -> None:
        """Let a record count as applied, unread, once its turn comes; only what follows is handled.

        Where none that waits is known to be at fault, it is the first. One that has no turn,
        because nobody can read whose it is or another has its place, is left out.
        """
        place = next((n for n, one in enumerate(self.arrived) if is_at_fault(one)), None)
        early = next((at for at, one in self._early.items() if is_at_fault(one)), None)
        if place is None and early is not None:
            self._early[early] = replace(self._early[early], event=None, problem=None)
        elif self.arrived:
            place = place or 0
            one = self.arrived[place]
            if one.envelope is None or self._is_taken(one.envelope):
                del self.arrived[place]
            else:
                self.arrived[place] = replace(one, event=None, problem=None)

    def _is_taken(self, envelope: Envelope) -> bool:
        kept = self._early.get(self._id(envelope))
        is_other = kept is not None and kept.said.event_id != envelope.event_id
        return is_other or self._was_applied(envelope)

    def begin_with_an_erasure(self) -> None:
        """Let an erasure that waits go first: what waits before it would keep it waiting for good.

        It lets go of that, as it does where it is applied when it comes.
        """
        erasing = (n for n, one in enumerate(self.arrived) if one.event and one.event.erases)
        first = next(erasing, 0)
        self._behind += self.arrived[:first]
        del self.arrived[:first]

    def forget(self, key: UUID, erased_by: Envelope | None = None) -> None:
        """Whoever is erased waits no longer: all that waits counts as applied, unhandled.

        But for what they are ``erased_by``: where it has failed it waits, too, and comes again.
        """
        conn = self._work.conn
        self._work.participant.keyring.forget()
        # First, because it waits for whoever is putting something behind it.
        if conn.execute(delete(PARKED_KEY).where(PARKED_KEY.c.key == key)).rowcount:
            self.let_go.add(key)
        query = select(PARKED_EVENT.c.record).where(PARKED_EVENT.c.key == key)
        records = conn.execute(query.order_by(PARKED_EVENT.c.place)).scalars()
        waiting = [read(record_from_json(record), self._hears) for record in records]
        waiting += [one for one in self._behind if one.key == key]
        waiting += self.early_of(lambda one: one.key == key)
        self._behind = [one for one in self._behind if one.key != key]
        done = {self._id(one.said) for one in self._applied}
        if erased_by is not None:
            done.add(self._id(erased_by))
        for one in sorted((one for one in waiting if one.envelope), key=lambda one: one.said.seq):
            place = self._id(one.said)
            if one.said.seq > self._seq(one.said) and place not in done:
                self._seqs[self._of(one.said)] = one.said.seq
                self._applied.append(one)
        conn.execute(delete(PARKED_EVENT).where(PARKED_EVENT.c.key == key))
        self._parked.discard(key)

    def release(self, key: UUID) -> Iterator[Arrived]:
        """Apply the early events that waited for this key and need to wait no longer.

        And those that waited for what these are about, however long the chain is.
        """
        keys = {key}
        while keys:
            for waiting in self._released_by(keys.pop()):
                said = waiting.said
                if self._id(said) not in self._early:
                    continue
                still = self._waits_for(said)
                if self._was_applied(said):
                    self._take_out(said)
                elif still is not None:
                    # What it waited for has come, and something else has not: remember that one.
                    self._keep(waiting, said, still)
                else:
                    self._count_as_applied(waiting, said)
                    yield waiting
                    keys.add(said.key)

    def ready(self) -> Iterator[Arrived]:
        """Apply the early events of the freed keys that wait for nothing any more.

        Two workers may each have taken one of two events, the one that was early and the one that
        it waited for, before either could see what the other wrote.
        """
        for waiting in sorted(self._early.values(), key=lambda one: one.said.seq):
            said = waiting.said
            if self._id(said) not in self._early or not self._is_ready(waiting):
                continue
            if self._was_applied(said):
                self._take_out(said)
            else:
                yield from self._apply(waiting, said)

    @property
    def is_any_ready(self) -> bool:
        """Whether an early event of the freed keys waits for nothing any more."""
        return any(map(self._is_ready, self._early.values()))

    def _is_ready(self, one: Arrived) -> bool:
        said = one.said
        goes_on = self._was_applied(said) or self._waits_for(said) is None
        return goes_on and one.key in self._freed - self._parked

    def flush_early(self) -> None:
        """Write what was kept for later and what waits no longer, for whoever looks in this work.

        What another has let go meanwhile is not put back.
        """
        conn, now = self._work.conn, self._work.now
        place = tuple_(EARLY.c.producer, EARLY.c.epoch, EARLY.c.key, EARLY.c.seq)
        if self._gone:
            conn.execute(delete(EARLY).where(place.in_(self._gone)))
        rows = {at: _early_row(one, whom, now) for at, (one, whom) in self._kept.items()}
        moved = [_awaiting(row) for at, row in rows.items() if at in self._stored]
        update_many(conn, EARLY, moved, *_PLACE)
        fresh = [row for at, row in rows.items() if at not in self._stored]
        upsert_many(conn, EARLY, fresh, *_PLACE)
        self._stored |= self._kept.keys()
        self._gone, self._kept = [], {}

    def flush(self) -> None:
        """Write cursors, the inbox, and what was kept for later."""
        conn, now = self._work.conn, self._work.now
        if self._applied:
            insert_many(conn, INBOX, [_inbox_row(one, now) for one in self._applied])
            moved = [
                {"producer": who, "epoch": epoch, "key": key, "seq": seq}
                for (who, epoch, key), seq in self._moved().items()
            ]
            upsert_many(conn, CURSOR, moved, "key", "producer", "epoch")
        self.flush_early()
        behind = [
            {"key": one.key, "record": record_to_json(one.record), "since": now}
            for one in self._behind
        ]
        insert_many(conn, PARKED_EVENT, behind)

    def _apply(self, one: Arrived, envelope: Envelope) -> Iterator[Arrived]:
        self._count_as_applied(one, envelope)
        yield one
        yield from self.release(envelope.key)

    def _count_as_applied(self, one: Arrived, envelope: Envelope) -> None:
        self._take_out(envelope)
        self._seqs[self._of(envelope)] = max(self._seq(envelope), envelope.seq)
        self._applied.append(one)
        self._applied_now[self._id(envelope)] = envelope.event_id
        self._count(one, "ok")

    def _take_out(self, envelope: Envelope) -> None:
        """It is early no longer, if it was."""
        place = self._id(envelope)
        if self._early.pop(place, None) is not None:
            self._kept.pop(place, None)
            self._gone.append(place)

    @staticmethod
    def _check_same(envelope: Envelope, known: UUID | None) -> None:
        if known not in (None, envelope.event_id):
            raise Conflict

    def _applied_there(self, envelope: Envelope) -> UUID | None:
        """The event that was applied in this place, in this batch or before."""
        place = self._id(envelope)
        return self._applied_now.get(place) or self._applied_before.get(place)

    @cached_property
    def _applied_before(self) -> dict[tuple[str, int, UUID, int], UUID]:
        """Looked up together, once the first has come again: in most batches none does."""
        known = [self._id(one.said) for one in self.arrived if one.envelope is not None]
        columns = map(list, zip(*known, strict=True))
        given = dict(zip(("producers", "epochs", "keys", "seqs"), columns, strict=True))
        return {
            (row.producer, row.epoch, row.key, row.seq): row.event_id
            for row in self._work.conn.execute(_APPLIED, given)
        }

    def _keep(self, one: Arrived, envelope: Envelope, waiting_on: UUID) -> None:
        place = self._id(envelope)
        self._early[place] = one
        self._kept[place] = (one, waiting_on)

    def _released_by(self, key: UUID) -> list[Arrived]:
        """Early events that may be waiting for this key, in the order of their streams."""
        candidates = [
            one
            for one in self._early.values()
            if one.key not in self._parked
            and (one.key == key or any(a.key == key for a in one.said.after))
        ]
        return sorted(candidates, key=lambda one: one.said.seq)

    def _waits_for(self, envelope: Envelope) -> UUID | None:
        """The subject whose facts must come first; None when the event can be applied."""
        if envelope.seq != self._seq(envelope) + 1:
            return envelope.key
        me = self._work.participant.name
        for after in envelope.after:
            known = self._seqs.get((after.producer, after.epoch, after.key), 0)
            if after.producer != me and known < after.seq:
                return after.key
        return None

    def _was_applied(self, envelope: Envelope) -> bool:
        return envelope.seq <= self._seq(envelope)

    def _seq(self, envelope: Envelope) -> int:
        return self._seqs.get(self._of(envelope), 0)

    def _moved(self) -> dict[_Place, int]:
        places = {self._of(one.said) for one in self._applied}
        return {place: self._seqs[place] for place in sorted(places, key=str)}

    @staticmethod
    def _of(envelope: Envelope) -> _Place:
        return envelope.producer, envelope.epoch, envelope.key

    @staticmethod
    def _id(envelope: Envelope) -> tuple[str, int, UUID, int]:
        return envelope.producer, envelope.epoch, envelope.key, envelope.seq

    def _look(self, arrived: Sequence[Arrived], freed: set[UUID]) -> None:
        """How far these keys were applied, which are parked, and what waits for them.

        What waits may be freed now, and so may what waits for that in turn: it is looked at too.
        """
        asked: set[UUID] = set()
        placed: set[UUID] = set()
        fresh, keys = list(arrived), freed | {one.key for one in arrived}
        while True:
            said = [one.envelope for one in fresh if one.envelope is not None]
            subjects = (keys | {a.key for one in said for a in one.after}) - placed
            if not subjects | keys - asked:
                return
            those = {"keys": list(keys - asked), "subjects": list(subjects)}
            parked, rows = ask_together(self._work.conn, (_PARKED, those), (_AT_HAND, those))
            asked |= keys
            placed |= subjects
            self._parked |= {row.key for row in parked}
            moved = [row for row in rows if row.kind == "cursor"]
            self._seqs |= {(r.producer, r.epoch, r.key): r.seq for r in moved}
            waiting = [row.record for row in rows if row.kind == "early"]
            fresh = [read(record_from_json(record), self._hears) for record in waiting]
            stored = {self._id(one.said): one for one in fresh}
            self._early |= stored
            self._stored |= stored.keys()
            keys = {one.key for one in fresh}

    @staticmethod
    def _count(one: Arrived, outcome: str) -> None:
        metrics.read(one.record.topic, outcome).inc()


#: Locked, so that whoever replays a key waits for what is put behind it, or has let it go before.
_PARKED = (
    select(PARKED_KEY.c.key).where(among_given(PARKED_KEY.c.key, "keys")).with_for_update(read=True)
)
#: What is known of these, in one round trip: one batch has many subjects and few rows.
_AT_HAND = union_all(
    select(literal("cursor").label("kind"), *CURSOR.c, cast(null(), JSONB).label("record")).where(
        among_given(CURSOR.c.key, "subjects")
    ),
    select(literal("early"), EARLY.c.key, null(), null(), null(), EARLY.c.record).where(
        or_(among_given(EARLY.c.key, "keys"), among_given(EARLY.c.waiting_on, "keys"))
    ),
)


#: A row that this statement has inserted was changed by nobody.
_IS_NEW = literal_column("xmax = 0", Boolean)


#: Which events were applied in these places of their streams.
_APPLIED = text(
    "SELECT producer, epoch, key, seq, event_id FROM inbox WHERE (producer, epoch, key, seq) IN"
    " (SELECT * FROM unnest(CAST(:producers AS text[]), CAST(:epochs AS int[]),"
    " CAST(:keys AS uuid[]), CAST(:seqs AS bigint[])))"
)


def _inbox_row(one: Arrived, now: object) -> dict[str, object]:
    said = one.said
    return {
        "producer": said.producer,
        "epoch": said.epoch,
        "key": said.key,
        "seq": said.seq,
        "event_id": said.event_id,
        "type": said.type,
        "partition": one.record.partition,
        "offset": one.record.offset,
        "applied_at": now,
    }


_PLACE = ("producer", "epoch", "key", "seq")


def _awaiting(row: dict[str, object]) -> dict[str, object]:
    """Of an early row what changes while it waits: since when it does is kept."""
    return {name: row[name] for name in (*_PLACE, "waiting_on")}


def _early_row(one: Arrived, waiting_on: UUID, now: object) -> dict[str, object]:
    said = one.said
    return {
        "producer": said.producer,
        "epoch": said.epoch,
        "key": said.key,
        "seq": said.seq,
        "waiting_on": waiting_on,
        "record": record_to_json(one.record),
        "since": now,
    }
