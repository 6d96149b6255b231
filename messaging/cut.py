"""Notice that the broker has lost the end of a partition that it had acknowledged, and mend it.

A disk that lost power, or a replica that fell behind and became the leader, gives the broker a
shorter log than the one that was read and written. It goes on from there, and what is new takes
the offsets of what is gone. Two things would then be lost without a word:

* What was published and is gone: the outbox counts it as published. Offsets only grow, so the
  broker says it by itself, when it acknowledges a record at an offset that another one has, or
  when its partition ends before one (``Published``). Where an acknowledgement is lost as well, the
  log may have grown again unseen: a relay that begins, or has lost one, reads what lies where its
  outbox says that it published last. What is gone is unpublished then, and leaves again under its
  old ids; whoever had applied it skips it.
* What is new, for a reader who was further already: it would pass over the first records. But the
  broker counts its leaders' terms and writes the term into each record. A record of a later term
  than that of what was applied, at an offset that was applied already, says that the log was cut
  there (``goes_on_at``). The reader goes on from it; what comes again is skipped.

Both happen by themselves. Somebody is told, because a broker must not lose what it acknowledged.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, text

from messaging import metrics
from messaging.broker import Record, Written
from messaging.outbox import said_in
from messaging.rows import among_given
from messaging.tables import OUTBOX

log = logging.getLogger(__name__)

#: How often the ends of the partitions are looked at while nothing is written, in seconds.
LOOK_EVERY_SECONDS = 60.0
#: Reads what lies at these offsets of the service's own topic, by partition (``Producer.at``).
At = Callable[[Mapping[int, int]], Mapping[int, Record | None]]


class Published:
    """The last place in each partition that this service has written to."""

    def __init__(self, at: At) -> None:
        self._at = at
        self._last: dict[int, int] = {}
        self._looked_at = float("-inf")
        #: Whether the outbox and the log were compared; each answer that is lost asks for it again.
        self._is_compared = False

    def look(self, conn: Connection) -> None:
        """Compare with the log: what lies there at first, and now and then where it ends."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_SECONDS:
            return
        self._looked_at = time.monotonic()
        if not self._is_compared:
            self._last = {row.partition: row.last for row in conn.execute(LAST_PUBLISHED)}
        for number, record in self._at(self._last).items():
            if record is None or not (self._is_compared or _is_there(conn, record)):
                self._unpublish(conn, {number: _last_kept(conn, number, self._at) + 1})
        self._is_compared = True

    def acknowledged(self, conn: Connection, outcomes: Sequence[Written | Exception]) -> None:
        """Compare with where the broker has put what was just written, before it is marked."""
        firsts: dict[int, int] = {}
        lasts: dict[int, int] = {}
        # A record that was written by an earlier attempt may come back without its place.
        placed = [one for one in outcomes if isinstance(one, Written) and one.offset >= 0]
        for one in placed:
            firsts[one.partition] = min(firsts.get(one.partition, one.offset), one.offset)
            lasts[one.partition] = max(lasts.get(one.partition, 0), one.offset)
        if any(isinstance(one, Written) for one in outcomes) and len(placed) < len(outcomes):
            # What lies there without our knowing may hide a cut from all that is acknowledged.
            self._is_compared, self._looked_at = False, float("-inf")
            self.look(conn)
        self._unpublish(conn, {n: o for n, o in firsts.items() if o <= self._last.get(n, -1)})
        self._last |= lasts

    def _unpublish(self, conn: Connection, cut: Mapping[int, int]) -> None:
        """Count as unpublished what lay at these offsets, by partition, or behind them."""
        if not cut:
            return
        given = {"parts": list(cut), "firsts": list(cut.values())}
        gone = conn.execute(_UNPUBLISH, given).rowcount
        self._last |= {number: at - 1 for number, at in cut.items()}
        log.error("the broker has lost what it had; it is published again", extra={"count": gone})
        metrics.CUT.set_to_current_time()


def _last_kept(conn: Connection, number: int, at: At) -> int:
    """The last published offset of a partition at which its event still lies, or -1.

    Before a cut everything is there, and behind it nothing: a few looks find it in a long log.
    """

    def is_gone(offset: int) -> bool:
        # What the broker need not keep any longer is not gone.
        return any(not _is_there(conn, record) for record in at({number: offset}).values())

    offsets: list[int] = list(conn.execute(_OFFSETS, {"number": number}).scalars())
    return [-1, *offsets][bisect_left(offsets, True, key=is_gone)]


def _is_there(conn: Connection, record: Record | None) -> bool:
    """Whether this is what the outbox counts as published in this place."""
    if record is None:
        return False
    place = (record.partition, record.offset)
    ids = [one.event_id for one in said_in([record])]
    return any(tuple(row) == place for row in conn.execute(_PLACES_OF, {"ids": ids}))


def goes_on_at(next_offset: int, term: int, records: Iterable[Record]) -> int:
    """From where on records of a partition were not applied: the stored offset, or a cut before it.

    ``term`` is that of what was applied last, and negative where nobody knows it.
    """
    for record in records:
        if record.offset < next_offset and record.term > term >= 0:
            log.error("the broker has lost what was applied; the reader goes back")
            metrics.CUT.set_to_current_time()
            return record.offset
    return next_offset


#: The last place that is counted as published, by partition.
LAST_PUBLISHED: Any = (
    select(
        OUTBOX.c.published_partition.label("partition"),
        func.max(OUTBOX.c.published_offset).label("last"),
    )
    .where(OUTBOX.c.published_partition.is_not(None))
    .group_by(OUTBOX.c.published_partition)
)

_PLACES_OF: Any = select(OUTBOX.c.published_partition, OUTBOX.c.published_offset).where(
    among_given(OUTBOX.c.event_id)
)

_OFFSETS: Any = (
    select(OUTBOX.c.published_offset)
    .where(OUTBOX.c.published_partition == bindparam("number"))
    .order_by(OUTBOX.c.published_offset)
)

#: Nor was anything read back behind a cut, should the database be restored to now.
_UNPUBLISH = text(
    "WITH cut AS (SELECT * FROM unnest(CAST(:parts AS int[]), CAST(:firsts AS bigint[]))"
    "  AS given(part, first)),"
    " unread AS (UPDATE epoch SET read_back = read_back || coalesce("
    "  (SELECT jsonb_object_agg(part, first) FROM cut"
    "   WHERE first < (read_back ->> CAST(part AS text))::bigint), '{}'))"
    " UPDATE outbox"
    " SET published_at = NULL, published_partition = NULL, published_offset = NULL"
    " FROM cut WHERE published_partition = cut.part AND published_offset >= cut.first"
)
