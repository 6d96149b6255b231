"""Notice that a database was restored to an earlier time, before it says or hears anything.

What it has said since is still in its own topic. A restored service reads that back: each subject
about whom it has lost events is set aside, because nobody but a person can know what was decided;
and a new epoch begins, in which no number means another event than it did before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, select, text, update

from contracts.event import EVENTS, Event
from messaging import parking, shredding
from messaging.broker import Record
from messaging.cut import LAST_PUBLISHED, At, Published
from messaging.epoch import HERE
from messaging.inbox import Failure
from messaging.outbox import said_in
from messaging.rows import among_given
from messaging.tables import EPOCH, OUTBOX, STREAM
from messaging.unavailable import Unavailable
from messaging.work import Participant, Work

log = logging.getLogger(__name__)

#: Reads the service's own topic to its end, each partition from the offset that is given for it.
ReadBack = Callable[[Mapping[int, int]], Iterable[Record]]
LOST = Failure(handler="restored", error="EventsLost")
#: So many records are looked up together; a topic that was made anew is read from its beginning.
PAGE = 5_000


def notice(participant: Participant, topic_id: UUID, read_back: ReadBack, at: At) -> list[UUID]:
    """Begin a new epoch if this database is not the one that has spoken last.

    ``topic_id`` is that of the service's own topic now, and ``at`` tells what lies in it. The
    subjects about whom events were lost, who are set aside. Raises ``Unavailable`` while the broker
    is away: a service must not go on without knowing.
    """
    lost: list[UUID] = []

    def command(work: Work) -> Iterable[Event]:
        conn = work.conn
        # Workers that start together notice one after the other.
        conn.execute(select(EPOCH).with_for_update())
        # It may have been backed up before its relay had noticed that the log is another one.
        Published(at).look(conn)
        epoch, here = conn.execute(select(EPOCH)).one(), conn.execute(HERE).one()
        begin = _begin(conn, epoch, topic_id)
        found = _look(conn, topic_id, read_back(begin))
        lost[:] = sorted(found.lost)
        is_another = epoch.system is not None and (epoch.system, epoch.timeline) != tuple(here)
        if lost or is_another:
            # Rows are locked before the table is, as by everybody who is saying something.
            work.store.load([parking.parked(work, key, LOST) for key in lost])
            # Whoever has taken a number in the epoch before ends first, and who comes later takes
            # it in the new one: a number of neither would leave a gap.
            conn.execute(text("LOCK TABLE stream IN SHARE ROW EXCLUSIVE MODE"))
            # It may have gone back behind the beginning of its last epoch.
            begun = max(epoch.epoch, found.epoch)
            conn.execute(update(EPOCH).values(epoch=begun + 1))
            conn.execute(delete(STREAM))
            log.error("this database was restored", extra={"count": len(lost)})
        now = {"system": here.system, "timeline": here.timeline, "topic_id": topic_id}
        conn.execute(update(EPOCH).values(**now, read_back=begin | found.ends))
        # Who was erased, as the topic says, is erased again, whatever the database says.
        shredding.record(conn, found.erased, work.now)
        for key in lost:
            # What is said of this has its numbers in the new epoch already.
            parking.set_aside(work, key, LOST, anew=True)
        return ()

    participant.transact(command)
    return lost


def _begin(conn: Connection, epoch: Row[Any], topic_id: UUID) -> dict[int, int]:
    """Behind what was read back or published, in a topic that has been the same since then.

    A place in one that is gone says nothing of what lies in another, which may be longer.
    """
    if epoch.topic_id not in (None, topic_id):
        return {}
    begin = {int(number): offset for number, offset in epoch.read_back.items()}
    for row in conn.execute(LAST_PUBLISHED):
        begin[row.partition] = max(begin.get(row.partition, 0), row.last + 1)
    return begin


@dataclass(kw_only=True)
class _Found:
    """What a service's own topic tells: who was lost and erased, the last epoch, where it ends."""

    lost: set[UUID] = field(default_factory=set)
    erased: set[UUID] = field(default_factory=set)
    epoch: int = 0
    ends: dict[int, int] = field(default_factory=dict)


def _look(conn: Connection, topic_id: UUID, records: Iterable[Record]) -> _Found:
    """Look up what lies in the topic: what the outbox does not have was lost."""
    erasing = {name for name, event in EVENTS.items() if event.erases}
    found, left = _Found(), iter(records)
    while page := list(islice(left, PAGE)):
        if any(record.topic_id != topic_id for record in page):
            raise Unavailable("the topic was made anew while it was read")
        said = list(said_in(page))
        known = set(conn.execute(_KNOWN, {"ids": [one.event_id for one in said]}).scalars())
        found.lost |= {one.key for one in said if one.event_id not in known}
        found.erased |= {one.key for one in said if one.type in erasing}
        found.epoch = max([found.epoch, *(one.epoch for one in said)])
        found.ends |= {record.partition: record.offset + 1 for record in page}
    return found


_KNOWN: Any = select(OUTBOX.c.event_id).where(among_given(OUTBOX.c.event_id))
