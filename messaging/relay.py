"""Move what was recorded from the outbox to the broker, in order, one relay at a time."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, bindparam, select, text

from contracts.envelope import After, Envelope, to_headers
from contracts.topics import TOPICS
from messaging import epoch, heartbeats, metrics
from messaging.broker import Outgoing, Producer, Record, Written
from messaging.cut import Published
from messaging.holding import Holds
from messaging.points import reached
from messaging.tables import OUTBOX
from messaging.unavailable import Unavailable

log = logging.getLogger(__name__)

BATCH = 1000
#: Longer than any send takes: whoever has asked nothing for so long stands still.
STANDS_STILL_SECONDS = 60
_FIRST = UUID(int=0)
_UNPUBLISHED = (
    select(OUTBOX)
    .where(OUTBOX.c.published_at.is_(None), OUTBOX.c.key > bindparam("beyond"))
    .order_by(OUTBOX.c.key, OUTBOX.c.epoch, OUTBOX.c.seq)
    .limit(bindparam("count"))
)

_MARK = text(
    "UPDATE outbox SET published_at = clock_timestamp(), published_partition = sent.part,"
    " published_offset = sent.place"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:parts AS int[]), CAST(:places AS bigint[]))"
    " AS sent(id, part, place) WHERE outbox.event_id = sent.id"
)


class Relay:
    """Publishes unpublished rows by (key, epoch, seq), waits for every acknowledgement, then marks.

    It never remembers how far it came: a transaction that commits late would be passed over. But it
    goes round, so that what a partition does not take keeps back nothing that another would.

    The advisory lock is taken on its own session before anything is read, so that a second relay of
    the same service waits instead of overtaking. The server ends that session when nothing is heard
    on it: a process that was stopped would keep the lock for as long as it is.
    """

    name = "relay"
    #: What this session knows of what was published.
    _published: Published

    def __init__(
        self, service: str, engine: Engine, producer: Producer, *, beats: bool = False
    ) -> None:
        """``beats``: whether others are told from time to time that nothing is unsaid."""
        self._service = service
        self._topic = TOPICS[service].name
        self._beats = beats
        self._holds = Holds(engine)
        self._beaten_at = float("-inf")
        # Whoever begins with us hears the first one that is sent after it has begun.
        self._beats_every = heartbeats.FIRST_SECONDS
        self._engine = engine
        self._producer = producer
        self._conn: Connection | None = None
        #: Whose rows were read last in this round.
        self._beyond = _FIRST

    def step(self) -> bool:
        """Publish one batch; True when there may be more."""
        try:
            if self._topic in self._holds.now():
                self.close()
                return False
            conn = self._session()
            if conn is None:
                return False
            self._published.look(conn)
            read_at = time.monotonic()
            begins, rows = self._beyond == _FIRST, self._unpublished(conn)
            ends = len(rows) < BATCH
            self._beyond = _FIRST if ends else rows[-1].key
            if rows:
                self._publish(conn, rows)
            else:
                # Who has nothing to say would not notice that the database is another one.
                epoch.look(conn)
            if begins and ends and self._beats:
                self._beat(conn, read_at)
            return not (begins and ends)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the lock back."""
        if self._conn is not None:
            conn, self._conn = self._conn, None
            conn.invalidate()
            conn.close()

    def _session(self) -> Connection | None:
        """The session that holds the lock; None while another relay holds it."""
        if self._conn is None:
            conn = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            lock = zlib.crc32(f"relay/{self._service}".encode())
            if not conn.execute(select(text(f"pg_try_advisory_lock({lock})"))).scalar():
                conn.close()
                return None
            # From here on the lock is held, and is given back whatever happens.
            self._conn = conn
            conn.execute(text(f"SET idle_session_timeout = '{STANDS_STILL_SECONDS}s'"))
            self._published = Published(self._at)
            epoch.look(conn)
        return self._conn

    def _at(self, places: Mapping[int, int]) -> Mapping[int, Record | None]:
        return self._producer.at(self._topic, places)

    def _unpublished(self, conn: Connection) -> Sequence[Row[Any]]:
        return conn.execute(_UNPUBLISHED, {"beyond": self._beyond, "count": BATCH}).all()

    def _publish(self, conn: Connection, rows: Sequence[Row[Any]]) -> None:
        reached("relay.read")
        outcomes = self._producer.send([self._outgoing(row) for row in rows])
        reached("relay.sent")
        self._published.acknowledged(conn, outcomes)
        # What was written by an earlier attempt may come back without its place, by which alone it
        # would be known that it is gone: it is written once more, and skipped by whoever has it.
        sent = [
            (row.event_id, outcome.partition, outcome.offset)
            for row, outcome in zip(rows, outcomes, strict=True)
            if isinstance(outcome, Written) and outcome.offset >= 0
        ]
        if sent:
            ids, parts, places = zip(*sent, strict=True)
            conn.execute(_MARK, {"ids": list(ids), "parts": list(parts), "places": list(places)})
            reached("relay.marked")
            metrics.PUBLISHED.inc(len(sent))
        _raise_first(outcomes)

    def _beat(self, conn: Connection, read_at: float) -> None:
        """Tell, when it is time, that all that was committed by now is published."""
        if time.monotonic() - self._beaten_at < self._beats_every:
            return
        partitions = self._producer.partitions(self._topic)
        if time.monotonic() - read_at > heartbeats.READ_WITHIN_SECONDS:
            # A process that stood still has not seen what was committed meanwhile.
            return
        outcomes = self._producer.send(heartbeats.heartbeats(self._topic, partitions))
        self._published.acknowledged(conn, outcomes)
        _raise_first(outcomes)
        reached("relay.beaten")
        self._beaten_at = time.monotonic()
        self._beats_every = min(2 * self._beats_every, heartbeats.EVERY_SECONDS)

    def _outgoing(self, row: Row[Any]) -> Outgoing:
        envelope = Envelope(
            event_id=row.event_id,
            type=row.type,
            at=row.at,
            producer=self._service,
            epoch=row.epoch,
            seq=row.seq,
            key=row.key,
            traceparent=row.traceparent,
            after=tuple(After(key=k, producer=p, epoch=e, seq=s) for k, p, e, s in row.after),
        )
        return Outgoing(
            topic=self._topic,
            key=str(row.key).encode(),
            value=row.body,
            headers=to_headers(envelope),
        )


def _raise_first(outcomes: Iterable[Written | Exception]) -> None:
    """Raise ``Unavailable`` when the broker did not take every record."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failures:
        raise Unavailable("the broker did not take every record") from failures[0]
