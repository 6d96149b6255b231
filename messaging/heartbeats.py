"""Know that one who is silent has nothing to say: a heartbeat on every partition of a topic.

The relay sends one when everything that was said is published. A consumer notes it when nothing
lay behind it, so that whatever somebody said who was heard a moment ago is applied or waits here.
The database's own clock measures the time in between: no two machines have to agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, false, func, select, text

from messaging.broker import Outgoing, Record
from messaging.tables import STORED_OFFSET

#: How often a heartbeat is sent, in seconds.
EVERY_SECONDS = 15.0
#: Who has not been heard for so long may have said what we do not know, in seconds.
HEARD_WITHIN_SECONDS = 60
#: Whoever read longer ago what is unsaid does not know that there is nothing, in seconds.
READ_WITHIN_SECONDS = 2.0
#: Whoever fetched a heartbeat longer ago does not know what has come behind it, in seconds.
NOTED_WITHIN_SECONDS = 15.0
_MARK = ("heartbeat", b"1")


def heartbeats(topic: str, partitions: Iterable[int]) -> list[Outgoing]:
    """One for each partition."""
    return [
        Outgoing(topic=topic, partition=number, key=None, value=b"", headers=[_MARK])
        for number in sorted(partitions)
    ]


def is_heartbeat(record: Record) -> bool:
    """Whether a record is one; it is no event, and nothing is applied."""
    return _MARK in record.headers


def note(conn: Connection, records: Sequence[Record]) -> None:
    """Note of which partitions these records brought a heartbeat, and nothing lay behind them."""
    last = {(record.topic_id, record.partition): record for record in records}
    heard = {(record.topic_id, record.partition) for record in records if is_heartbeat(record)}
    places = sorted(place for place in heard if last[place].offset + 1 >= last[place].end)
    if places:
        ids, numbers = zip(*places, strict=True)
        conn.execute(_NOTE, {"topics": list(ids), "parts": list(numbers)})


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
    "UPDATE stored_offset SET heard_at = clock_timestamp()"
    " FROM unnest(CAST(:topics AS uuid[]), CAST(:parts AS int[])) AS given(topic_id, part)"
    " WHERE stored_offset.topic_id = given.topic_id AND stored_offset.partition = given.part"
)
