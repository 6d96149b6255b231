"""Hold a topic by hand: a service does not read it, or does not publish its own.

The switch is a row with who turned it and why, so that whoever wonders can see it. What is held
waits where it is: in Kafka, or in the outbox.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.dialects.postgresql import insert

from messaging import audit
from messaging.tables import HELD_TOPIC

#: How long a look at the switches stands.
LOOK_EVERY_SECONDS = 2.0


class Holds:
    """The switches as a loop sees them: a look now and then, not one for each batch."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looked_at = float("-inf")
        self._held: frozenset[str] = frozenset()

    def now(self) -> frozenset[str]:
        """The topics that are held."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_SECONDS:
            with self._engine.connect() as conn:
                self._held = frozenset(row.topic for row in held(conn))
            self._looked_at = time.monotonic()
        return self._held


def held(conn: Connection) -> Sequence[Any]:
    """Every switch that is on: topic, since, by whom, and why."""
    return conn.execute(select(HELD_TOPIC).order_by(HELD_TOPIC.c.topic)).all()


def hold(engine: Engine, topic: str, *, by: str, because: str, now: datetime) -> None:
    """Turn the switch on; one that is on already keeps who turned it and why."""
    row = {"topic": topic, "since": now, "by": by, "because": because}
    mine = insert(HELD_TOPIC).values(row).on_conflict_do_nothing().returning(HELD_TOPIC.c.topic)
    with engine.begin() as conn:
        if conn.execute(mine).first() is not None:
            audit.note(conn, now, by, "held", topic)


def let_go(engine: Engine, topic: str, *, now: datetime, by: object = None) -> bool:
    """Turn the switch off; False when it was not on."""
    with engine.begin() as conn:
        gone = conn.execute(delete(HELD_TOPIC).where(HELD_TOPIC.c.topic == topic)).rowcount == 1
        if gone:
            audit.note(conn, now, by, "let go", topic)
        return gone
