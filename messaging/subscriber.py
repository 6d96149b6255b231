"""The consumer loop: a batch is one transaction, and the stored offset alone decides."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, select, text, tuple_, update

from messaging import cut, heartbeats, metrics
from messaging.applying import apply_all
from messaging.arrived import key_or_place
from messaging.broker import Consumer, ReaderBroken, Record
from messaging.fuse import FUSE_AFTER, Fuse
from messaging.heartbeats import is_heartbeat
from messaging.holding import Holds
from messaging.inbox import Failure, Inbox
from messaging.parking import HandlerFailed, caused_by
from messaging.points import reached
from messaging.rows import NOTHING, insert_many
from messaging.tables import STORED_OFFSET
from messaging.unavailable import is_away, is_lost_race
from messaging.work import RACES, Participant, Work, new_traceparent

log = logging.getLogger(__name__)

#: How often the broker is told how far we are: that takes as long as a statement, and what was just
#: committed is on its way meanwhile. So it is told when there is nothing to do.
HINT_EVERY_SECONDS = 1.0
#: How often while there is always something to do.
HINT_WHEN_BUSY_SECONDS = 10.0


class Subscriber:
    """Reads every topic that the service hears, and applies what it reads."""

    name = "consumer"

    def __init__(
        self,
        participant: Participant,
        open_consumer: Callable[[], Consumer],
        *,
        fuse: int = FUSE_AFTER,
    ) -> None:
        """``fuse``: how many subjects may fail in a row before the fault is taken for ours."""
        self._participant = participant
        self._open = open_consumer
        self._consumer = open_consumer()
        self._joined: list[tuple[UUID, str, int]] = []
        self._fuse = Fuse(self.name, fuse)
        self._holds = Holds(participant.engine)
        self._stalled: frozenset[tuple[str, int]] = frozenset()
        self._hints: dict[tuple[str, int], int] = {}
        self._hinted_at = float("-inf")
        self._ends = heartbeats.Ends()

    def step(self) -> bool:
        """Read and apply one batch; True when there was one."""
        self._open_anew_if_stalled()
        held = self._holds.now()
        self._consumer.hold(held)
        try:
            records = [one for one in self._consumer.poll(0.2) if one.topic not in held]
        except ReaderBroken:
            self._open_anew()
            raise
        metrics.LAST_POLL.set_to_current_time()
        reached("batch.polled", records)
        if self._begin_where_stored(records):
            return True
        self._look_at_ends({(r.topic, r.partition) for r in records if is_heartbeat(r)})
        if not records:
            self._hint(HINT_EVERY_SECONDS)
            return False
        if self._fuse.is_blown:
            records = self._only_one(records)
        try:
            self._take(records, {})
        except Exception:
            self._read_again(records)
            raise
        self._participant.wake()
        self._hints |= {place: group[-1].offset + 1 for place, group in _by_partition(records)}
        self._hint(HINT_WHEN_BUSY_SECONDS)
        return True

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def stalled(self, places: Collection[tuple[str, int]]) -> None:
        """These partitions stand still; called by whoever watches, from another thread."""
        self._stalled = frozenset(places)

    def _hint(self, every_seconds: float) -> None:
        """Tell the broker, now and then, how far we are."""
        now = time.monotonic()
        if self._hints and now - self._hinted_at > every_seconds:
            hints, self._hints, self._hinted_at = self._hints, {}, now
            self._consumer.hint(hints)
            reached("batch.hinted")

    def _open_anew_if_stalled(self) -> None:
        """Make a consumer that stands still anew: the library has lost its way before.

        One without partitions may be waiting for some for ever.
        """
        stalled, self._stalled = self._stalled, frozenset()
        ours = self._consumer.ours() or stalled
        if self._fuse.is_blown or not any(
            place in stalled and place[0] not in self._holds.now() for place in ours
        ):
            return
        log.error("the consumer stands still and is made anew")
        self._open_anew()

    def _open_anew(self) -> None:
        metrics.REOPENED.inc()
        self._consumer.close()
        self._consumer, self._joined = self._open(), []

    def _only_one(self, records: Sequence[Record]) -> list[Record]:
        """The first record of any one partition; the others are left for later."""
        firsts = [group[0] for _, group in _by_partition(records)]
        chosen = secrets.choice(firsts)
        self._read_again([record for record in records if record != chosen])
        return [chosen]

    def _begin_where_stored(self, records: Sequence[Record]) -> bool:
        """Read partitions that became ours from the stored offset; True when there are any.

        The broker begins at its own hint, which is ahead of a database that was restored.
        """
        self._joined += self._consumer.joined()
        if not self._joined:
            return False
        # Some of them may have gone to another, who is further.
        self._hints = {}
        self._read_again(records)
        places = {(topic_id, part): topic for topic_id, topic, part in self._joined}
        with self._participant.engine.begin() as conn:
            _begin(conn, places)
            for row in conn.execute(select(STORED_OFFSET).where(_at(places))):
                self._consumer.seek(row.topic, row.partition, row.next_offset, row.term)
        self._joined = []
        self._look_at_ends({(topic, part) for (_, part), topic in places.items()})
        return True

    def _look_at_ends(self, places: Collection[tuple[str, int]]) -> None:
        """Learn where partitions end, so that later heartbeats are known to be later."""
        if places:
            at = heartbeats.uptime()
            self._ends.learn(self._consumer.ends(places), at)

    def _read_again(self, records: Sequence[Record]) -> None:
        """The records are still in the broker: read them once more from where they began."""
        for (topic, partition), group in _by_partition(records):
            self._consumer.seek(topic, partition, group[0].offset, group[0].term)

    def _take(self, records: Sequence[Record], failing: dict[UUID, Failure]) -> None:
        """Apply the records; a batch that fails is halved until the key at fault is found."""
        for attempt in range(1, RACES + 1):
            try:
                self._apply(records, failing)
                return
            except Exception as error:
                if is_away(error):
                    raise
                if is_lost_race(error) and attempt < RACES:
                    continue
                cause = error
                break
        if len(records) > 1:
            middle = len(records) // 2
            self._take(records[:middle], failing)
            self._take(records[middle:], failing)
            return
        key, failure = _fault(records[0], cause)
        if key in failing:
            # Parking it failed as well: nothing more can be done for it without losing it.
            raise cause
        if not failure.is_damage:
            self._fuse.failed(key)
        log.warning("an event cannot be handled", exc_info=cause)
        self._take(records, {**failing, key: failure})

    def _apply(self, records: Sequence[Record], failing: dict[UUID, Failure]) -> None:
        with self._participant.engine.begin() as conn:
            claimed = self._claim(conn, records)
            self._ends.note(conn, claimed)
            fresh = [record for record in claimed if not is_heartbeat(record)]
            if not fresh:
                return
            reached("batch.claimed")
            work = Work(self._participant, conn, new_traceparent())
            inbox = Inbox(work, fresh)
            work.store.load(inbox.events())
            reached("batch.loaded")
            apply_all(work, inbox, failing)
            reached("batch.applied")
            work.finish(inbox.flush)
            reached("batch.written")
        reached("batch.committed")
        work.follow_up()
        if inbox.has_handled:
            self._fuse.worked()
        for one in inbox.arrived:
            if one.envelope is not None:
                age = (work.now - one.envelope.at).total_seconds()
                metrics.age(one.record.topic).observe(max(age, 0))

    def _claim(self, conn: Connection, records: Sequence[Record]) -> list[Record]:
        """Lock and move the stored offsets; only records that continue them are returned.

        The row lock is the fence against a consumer that lost its partitions without knowing.
        """
        groups = dict(_by_partition(records))
        places = {(g[0].topic_id, g[0].partition): g for g in groups.values()}
        moved = {(row.topic_id, row.partition) for row in conn.execute(_MOVE, _moves(places))}
        # All of it continues what was applied, but for a doubled or a missing record.
        left = {place: group for place, group in places.items() if place not in moved}
        taken = [r for r in records if (r.topic_id, r.partition) in moved]
        return [*taken, *self._claim_part(conn, left)] if left else taken

    def _claim_part(
        self, conn: Connection, places: dict[tuple[UUID, int], list[Record]]
    ) -> list[Record]:
        """Claim of each partition what continues it, and read the rest again from there."""
        _begin(conn, {place: group[0].topic for place, group in places.items()})
        fresh: dict[tuple[UUID, int], list[Record]] = {}
        for row in _locked(conn, places):
            group = places[row.topic_id, row.partition]
            goes_on = cut.goes_on_at(row.next_offset, row.term, group)
            later = [record for record in group if record.offset >= goes_on]
            again = metrics.read(row.topic, "read_again")
            again.inc(len(group) - len(later))
            if later and later[0].offset == goes_on:
                fresh[row.topic_id, row.partition] = later
                _go_back(conn, row, goes_on)
            else:
                self._consumer.seek(row.topic, row.partition, row.next_offset, row.term)
        conn.execute(_MOVE, _moves(fresh))
        return [record for group in fresh.values() for record in group]


#: Moves what continues its stored offset, all in one round trip; rows are locked in one order.
_MOVE = text(
    "WITH mine AS MATERIALIZED ("
    " SELECT stored.topic_id, stored.partition, given.next, given.term FROM stored_offset AS stored"
    " JOIN unnest(CAST(:topics AS uuid[]), CAST(:parts AS int[]), CAST(:firsts AS bigint[]),"
    " CAST(:nexts AS bigint[]), CAST(:terms AS int[]))"
    " AS given(topic_id, partition, first, next, term)"
    " ON stored.topic_id = given.topic_id AND stored.partition = given.partition"
    " AND stored.next_offset = given.first"
    " ORDER BY stored.topic_id, stored.partition FOR UPDATE OF stored)"
    " UPDATE stored_offset SET next_offset = mine.next, term = mine.term FROM mine"
    " WHERE stored_offset.topic_id = mine.topic_id AND stored_offset.partition = mine.partition"
    " RETURNING stored_offset.topic_id, stored_offset.partition"
)


def _moves(places: Mapping[tuple[UUID, int], Sequence[Record]]) -> dict[str, list[Any]]:
    return {
        "topics": [topic_id for topic_id, _ in places],
        "parts": [part for _, part in places],
        "firsts": [group[0].offset for group in places.values()],
        "nexts": [group[-1].offset + 1 for group in places.values()],
        "terms": [group[-1].term for group in places.values()],
    }


def _go_back(conn: Connection, row: Row[Any], offset: int) -> None:
    """Let a partition go on where it was cut; nothing changes where it was not."""
    if offset < row.next_offset:
        conn.execute(
            update(STORED_OFFSET)
            .where(_at([(row.topic_id, row.partition)]))
            .values(next_offset=offset)
        )


def _begin(conn: Connection, places: Mapping[tuple[UUID, int], str]) -> None:
    """Let partitions, each with its topic's name, that were never read begin at their beginning."""
    rows = [
        {"topic_id": topic_id, "partition": part, "topic": topic, "next_offset": 0}
        for (topic_id, part), topic in sorted(places.items())
    ]
    insert_many(conn, STORED_OFFSET, rows, NOTHING)


def _locked(conn: Connection, places: Collection[tuple[UUID, int]]) -> Sequence[Row[Any]]:
    return conn.execute(
        select(STORED_OFFSET)
        .where(_at(places))
        .order_by(STORED_OFFSET.c.topic_id, STORED_OFFSET.c.partition)
        .with_for_update()
    ).all()


def _at(places: Collection[tuple[UUID, int]]) -> ColumnElement[bool]:
    return tuple_(STORED_OFFSET.c.topic_id, STORED_OFFSET.c.partition).in_(list(places))


def _fault(record: Record, cause: Exception) -> tuple[UUID, Failure]:
    if isinstance(cause, HandlerFailed):
        return cause.key, cause.failure
    return key_or_place(record), caused_by("writing", cause)


def _by_partition(records: Sequence[Record]) -> list[tuple[tuple[str, int], list[Record]]]:
    def place(record: Record) -> tuple[str, int]:
        return record.topic, record.partition

    ordered = sorted(records, key=lambda r: (r.topic, r.partition, r.offset))
    return [(where, list(group)) for where, group in groupby(ordered, key=place)]
