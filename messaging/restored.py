"""Notice that a database was restored to an earlier time, before it says or hears anything.

What it has said since is still in its own topic. A restored service reads that back: each subject
about whom it has lost events is set aside, because nobody but a person can know what was decided;
and a new epoch begins, in which no number means another event than it did before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from sqlalchemy import Connection, delete, select, text, update

from contracts.event import EVENTS, Event
from messaging import parking, shredding
from messaging.broker import Record
from messaging.cut import LAST_PUBLISHED
from messaging.epoch import HERE
from messaging.inbox import Failure
from messaging.outbox import said_in
from messaging.rows import among
from messaging.tables import EPOCH, OUTBOX, STREAM
from messaging.work import Participant, Work

log = logging.getLogger(__name__)

#: Reads the service's own topic to its end, each partition from the offset that is given for it.
ReadBack = Callable[[Mapping[int, int]], Iterable[Record]]
LOST = Failure(handler="restored", error="EventsLost")


def notice(participant: Participant, read_back: ReadBack) -> list[UUID]:
    """Begin a new epoch if this database is not the one that has spoken last.

    The subjects about whom events were lost, who are set aside. Raises ``Unavailable`` while the
    broker is away: a service must not go on without knowing.
    """
    lost: list[UUID] = []

    def command(work: Work) -> Iterable[Event]:
        conn = work.conn
        # Workers that start together notice one after the other.
        epoch = conn.execute(select(EPOCH).with_for_update()).one()
        here = conn.execute(HERE).one()
        begin = {int(number): offset for number, offset in epoch.read_back.items()}
        for row in conn.execute(LAST_PUBLISHED):
            begin[row.partition] = max(begin.get(row.partition, 0), row.last + 1)
        records = list(read_back(begin))
        lost[:] = _lost(conn, records)
        is_another = epoch.system is not None and (epoch.system, epoch.timeline) != tuple(here)
        if lost or is_another:
            # Rows are locked before the table is, as by everybody who is saying something.
            work.store.load([parking.parked(work, key, LOST) for key in lost])
            # Whoever has taken a number in the epoch before ends first, and who comes later takes
            # it in the new one: a number of neither would leave a gap.
            conn.execute(text("LOCK TABLE stream IN SHARE ROW EXCLUSIVE MODE"))
            # It may have gone back behind the beginning of its last epoch.
            begun = max([epoch.epoch, *(one.epoch for one in said_in(records))])
            conn.execute(update(EPOCH).values(epoch=begun + 1))
            conn.execute(delete(STREAM))
            log.error("this database was restored", extra={"count": len(lost)})
        ends = begin | {record.partition: record.offset + 1 for record in records}
        now = {"system": here.system, "timeline": here.timeline, "read_back": ends}
        conn.execute(update(EPOCH).values(now))
        shredding.record(conn, _erased(records), work.now)
        for key in lost:
            # What is said of this has its numbers in the new epoch already.
            parking.set_aside(work, key, LOST, anew=True)
        return ()

    participant.transact(command)
    return lost


def _erased(records: Iterable[Record]) -> set[UUID]:
    """Who was erased, as the topic says: that is done again, whatever the database says."""
    erasing = {name for name, event in EVENTS.items() if event.erases}
    return {envelope.key for envelope in said_in(records) if envelope.type in erasing}


def _lost(conn: Connection, records: Iterable[Record]) -> list[UUID]:
    """The subjects of events that were published and are not in the outbox, in order."""
    said = {envelope.event_id: envelope.key for envelope in said_in(records)}
    known = set(
        conn.execute(select(OUTBOX.c.event_id).where(among(OUTBOX.c.event_id, said))).scalars()
    )
    return sorted({key for event_id, key in said.items() if event_id not in known})
