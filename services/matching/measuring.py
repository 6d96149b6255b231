"""Count what waits at matching, for its worker's metrics: offers without an answer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from hosting.metrics import machine_time
from services.matching import metrics


def measure_offers(conn: Connection, now: datetime) -> None:
    """How many mentors have not answered, and since when."""
    number, oldest = conn.execute(_OFFERS).one()
    metrics.OPEN_OFFERS.set(number)
    metrics.OLDEST_OFFER.set(machine_time(oldest, now))


_OFFERS = text("SELECT count(*), min(offered_at) FROM assignment WHERE state = 'offered'")
