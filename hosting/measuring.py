"""Count what waits in a service's database, every few seconds, for its worker's metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from hosting import metrics
from hosting.database import reading
from hosting.metrics import machine_time
from messaging.work import Participant

#: Counts something and sets its gauges; given a connection for single looks, and the moment.
Measure = Callable[[Connection, datetime], None]
#: How long the numbers stand before they are counted anew.
REST_SECONDS = 5.0


class Measuring:
    """The loop that counts. Only workers count: each web process would count the same again."""

    name = "measuring"

    def __init__(
        self,
        participant: Participant,
        measures: Sequence[Measure],
        *,
        gap_after_seconds: int = 120,
    ) -> None:
        """``gap_after_seconds``: how long an event may be early before one is missing."""
        self._participant = participant
        self._gap_after = timedelta(seconds=gap_after_seconds)
        self._measures = (_measure_events, self._measure_gaps, *measures)

    def _measure_gaps(self, conn: Connection, now: datetime) -> None:
        given = {"before": now - self._gap_after}
        metrics.GAPS.set(conn.execute(_GAPS, given).scalar_one())

    def step(self) -> bool:
        """Count everything once."""
        now = self._participant.now()
        with reading(self._participant.engine) as conn:
            for measure in self._measures:
                measure(conn, now)
        return False


def _measure_events(conn: Connection, now: datetime) -> None:
    """What every service has: events to be published, early ones, and parked keys."""
    pending, oldest = conn.execute(_PENDING).one()
    metrics.OUTBOX_PENDING.set(pending)
    metrics.OUTBOX_OLDEST.set(machine_time(oldest, now))
    parked, longest = conn.execute(_PARKED).one()
    metrics.PARKED.set(parked)
    metrics.PARKED_OLDEST.set(machine_time(longest, now))
    metrics.EARLY.set(conn.execute(_EARLY).scalar_one())
    metrics.HELD.set(conn.execute(_HELD).scalar_one())
    heard = conn.execute(_HEARD).scalar()
    metrics.HEARD.set(heard.timestamp() if heard else 0)


_PENDING = text("SELECT count(*), min(at) FROM outbox WHERE published_at IS NULL")
_PARKED = text("SELECT count(*), min(parked_at) FROM parked_key")
_EARLY = text("SELECT count(*) FROM early")
_GAPS = text("SELECT count(*) FROM early WHERE since < :before")
_HELD = text("SELECT count(*) FROM held_topic")
#: Of the topics on which heartbeats come; the machines' clocks, as everything between processes.
_HEARD = text(
    "SELECT min(coalesce(heard, 'epoch')) FROM"
    " (SELECT topic, max(heard_at) AS heard FROM stored_offset GROUP BY topic, partition) AS each"
    " WHERE topic IN (SELECT topic FROM stored_offset WHERE heard_at IS NOT NULL)"
)
