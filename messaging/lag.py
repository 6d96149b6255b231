"""See from outside the consumer how far behind it is, and that it stands still.

The consumer cannot say either by itself: one that stands still would go on showing its last word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from sqlalchemy import Engine, select

from messaging import metrics
from messaging.broker import Backlog
from messaging.tables import STORED_OFFSET

#: How long the numbers stand before they are looked up anew.
REST_SECONDS = 5.0
#: A partition that holds more, of which nothing was applied for so long, stands still.
STALLED_AFTER_SECONDS = 30.0

Place = tuple[str, int]


class LagWatch:
    """The loop that compares what the broker holds with what the service has applied.

    ``stalled`` is told of partitions that stand still, again and again while they do.
    """

    name = "lag"

    def __init__(
        self,
        engine: Engine,
        backlog: Backlog,
        stalled: Callable[[Collection[Place]], None] = lambda places: None,
    ) -> None:
        self._engine = engine
        self._backlog = backlog
        self._stalled = stalled
        self._since: dict[Place, tuple[int, float]] = {}

    def step(self) -> bool:
        """Look once."""
        with self._engine.connect() as conn:
            stored = {
                (row.topic_id, row.partition): row.next_offset
                for row in conn.execute(select(STORED_OFFSET))
            }
        behind = self._backlog.behind(stored)
        oldest_at = behind.oldest_at
        metrics.LAG.set(0 if oldest_at is None else max(time.time() - oldest_at, 0))
        metrics.LOST.set(sum(behind.lost.values()))
        # Where records are gone a person has to say that those behind them are read.
        at = {place: offset for place, offset in behind.at.items() if place not in behind.lost}
        self._stalled(self._standing(at, time.monotonic()))
        return False

    def _standing(self, at: Mapping[Place, int], now: float) -> list[Place]:
        """Which of those that are behind have not moved for long."""
        before = self._since
        self._since = {
            place: before[place] if before.get(place, (-1, now))[0] == offset else (offset, now)
            for place, offset in at.items()
        }
        standing = [p for p, (_, at) in self._since.items() if now - at >= STALLED_AFTER_SECONDS]
        # Whether it helped to tell of them is seen after as long again.
        self._since |= {place: (at[place], now) for place in standing}
        return standing

    def close(self) -> None:
        """Let go of the network."""
        self._backlog.close()
