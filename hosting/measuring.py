"""Count what waits in a service's database, every few seconds, for its worker's metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

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

    def __init__(self, participant: Participant, measures: Sequence[Measure]) -> None:
        self._participant = participant
        self._measures = (_measure_events, *measures)

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


_PENDING = text("SELECT count(*), min(at) FROM outbox WHERE published_at IS NULL")
_PARKED = text("SELECT count(*), min(parked_at) FROM parked_key")
_EARLY = text("SELECT count(*) FROM early")
