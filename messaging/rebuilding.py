"""Bring back what the broker no longer has: publish it again, and read it again.

Both are safe beside running workers, and safe to do twice: what was applied is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from sqlalchemy import Engine, select, text

from messaging.broker import Record
from messaging.outbox import said_in
from messaging.rows import insert_many
from messaging.tables import OUTBOX, STORED_OFFSET


def republish(engine: Engine, read_topic: Callable[[], Iterable[Record]]) -> tuple[int, int]:
    """Count as unpublished what was published and is not in the topic: how many, and of how many.

    The outbox is read before the topic: what it counts as published by then is there, or is lost.
    """
    with engine.connect() as conn:
        published = set(
            conn.execute(select(OUTBOX.c.event_id).where(OUTBOX.c.published_at.is_not(None)))
            .scalars()
            .all()
        )
    gone = published - {one.event_id for one in said_in(read_topic())}
    if gone:
        with engine.begin() as conn:
            conn.execute(_UNPUBLISH, {"ids": list(gone)})
    return len(gone), len(published)


def reread(engine: Engine, topic: str, topic_id: UUID, begins: Mapping[int, int]) -> None:
    """Let a service read a topic again from where its partitions begin now.

    The stored offsets alone decide: a worker that runs goes there with the next record, or when it
    is seen to stand still, which takes half a minute.
    """
    rows = [
        {"topic_id": topic_id, "partition": number, "topic": topic, "next_offset": at}
        for number, at in sorted(begins.items())
    ]
    with engine.begin() as conn:
        insert_many(conn, STORED_OFFSET, rows, _FROM_THERE)


_FROM_THERE = (
    "ON CONFLICT (topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset, term = -1"
)
_UNPUBLISH = text(
    "UPDATE outbox"
    " SET published_at = NULL, published_partition = NULL, published_offset = NULL"
    " WHERE event_id = ANY(:ids)"
)
