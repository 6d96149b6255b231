"""Know that one who is silent has nothing to say: a heartbeat on every partition of a topic.

The relay sends one when everything that was said is published. A consumer that has come to it has
applied all that was said before, or has it waiting; it notes since when that is so. How old that is
is measured by one machine and then by the database: no two clocks have to agree.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, false, func, select, text

from messaging.broker import Outgoing, Record
from messaging.tables import STORED_OFFSET

#: How often a heartbeat is sent, in seconds: at first often, then ever more seldom.
FIRST_SECONDS, EVERY_SECONDS = 1.0, 15.0
#: Who has not been heard for so long may have said what we do not know, in seconds.
HEARD_WITHIN_SECONDS = 60
#: Whoever read longer ago what is unsaid does not know that there is nothing, in seconds.
READ_WITHIN_SECONDS = 2.0
#: So many earlier ends are kept of a partition, for a reader who is behind by some heartbeats.
_ENDS_KEPT = 16
_MARK = ("heartbeat", b"1")
#: Goes on while the machine sleeps, where there is such a clock.
_UPTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds by a clock that is never set and never stands still."""
    return time.clock_gettime(_UPTIME)


def heartbeats(topic: str, partitions: Iterable[int]) -> list[Outgoing]:
    """One for each partition."""
    return [
        Outgoing(topic=topic, partition=number, key=None, value=b"", headers=[_MARK])
        for number in sorted(partitions)
    ]


def is_heartbeat(record: Record) -> bool:
    """Whether a record is one; it is no event, and nothing is applied."""
    return _MARK in record.headers


class Ends:
    """Where partitions ended, and when: what lies behind such an end was written later.

    A heartbeat may have lain in the broker, in the library or in a process that stood still. So it
    does not count from when it is read, but from the last time at which its partition is known to
    have ended before it, and nobody's clock has to be right for that.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], deque[tuple[int, float]]] = {}

    def learn(self, ends: Mapping[tuple[str, int], int], at: float) -> None:
        """At this moment of ``uptime`` these partitions ended there, or further."""
        for place, end in ends.items():
            self._known.setdefault(place, deque(maxlen=_ENDS_KEPT)).append((end, at))

    def note(self, conn: Connection, records: Iterable[Record]) -> None:
        """Note since when the partitions of these records were silent or read, as of now."""
        heard: dict[tuple[UUID, int], float] = {}
        for record in filter(is_heartbeat, records):
            known = self._known.get((record.topic, record.partition), ())
            after = max((at for end, at in known if end <= record.offset), default=None)
            if after is not None:
                heard[record.topic_id, record.partition] = after
        if heard:
            now, places = uptime(), sorted(heard)
            ids, numbers = zip(*places, strict=True)
            ages = [now - heard[place] for place in places]
            conn.execute(_NOTE, {"topics": list(ids), "parts": list(numbers), "ages": ages})


def heard_lately(topic: str) -> ColumnElement[bool]:
    """Whether all partitions of a topic were heard within the time: a condition for a query."""
    # A topic that was made again has other rows, and those of the old one are heard no more.
    last = select(func.max(STORED_OFFSET.c.heard_at).label("at"))
    mine = last.where(STORED_OFFSET.c.topic == topic)
    heard = mine.group_by(STORED_OFFSET.c.partition).subquery()
    least = select(func.bool_and(func.coalesce(heard.c.at > _SINCE, false())))
    return func.coalesce(least.scalar_subquery(), false())


_SINCE = text(f"clock_timestamp() - interval '{HEARD_WITHIN_SECONDS} seconds'")


_NOTE = text(
    "UPDATE stored_offset"
    " SET heard_at = greatest(heard_at, clock_timestamp() - given.age * interval '1 second')"
    " FROM unnest(CAST(:topics AS uuid[]), CAST(:parts AS int[]), CAST(:ages AS float8[]))"
    " AS given(topic_id, part, age)"
    " WHERE stored_offset.topic_id = given.topic_id AND stored_offset.partition = given.part"
)
