"""Say how many seconds a service is behind, seen from outside its consumer."""

from __future__ import annotations

import time

from sqlalchemy import Engine, select

from messaging import metrics
from messaging.broker import Backlog
from messaging.tables import STORED_OFFSET

#: How long the number stands before it is looked up anew.
REST_SECONDS = 5.0


class LagWatch:
    """The loop that compares what the broker holds with what the service has applied.

    The consumer cannot say it by itself: one that stands still would go on showing its last word.
    """

    name = "lag"

    def __init__(self, engine: Engine, backlog: Backlog) -> None:
        self._engine = engine
        self._backlog = backlog

    def step(self) -> bool:
        """Look once."""
        with self._engine.connect() as conn:
            stored = {
                (row.topic_id, row.partition): row.next_offset
                for row in conn.execute(select(STORED_OFFSET))
            }
        oldest_at = self._backlog.oldest_at(stored)
        metrics.LAG.set(0 if oldest_at is None else max(time.time() - oldest_at, 0))
        return False

    def close(self) -> None:
        """Let go of the network."""
        self._backlog.close()
