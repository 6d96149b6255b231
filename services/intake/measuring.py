"""Count what waits at intake, for its worker's metrics: discharges, welcomes, promises, tasks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from hosting.metrics import machine_time
from services.intake import metrics
from services.intake.domain import STATES, TASKS
from services.intake.flow import LISTS

#: In the other states nobody waits, and there may be very many of them.
_WAITED_FOR = tuple(state for state in STATES if state not in ("in_contact", "closed"))


def measure_discharges(conn: Connection, now: datetime) -> None:
    """How many discharges are in each state, since when, and what of them is overdue."""
    found = {row.state: row for row in conn.execute(_BY_STATE)}
    for state in _WAITED_FOR:
        row = found.get(state)
        metrics.DISCHARGES.labels(state=state).set(row.number if row else 0)
        oldest = machine_time(row.oldest if row else None, now)
        metrics.OLDEST_DISCHARGE.labels(state=state).set(oldest)
    last, overdue = conn.execute(_ENDS).one()
    metrics.LAST_ACCEPTED.set(machine_time(last, now))
    metrics.OVERDUE_PLACING.set(machine_time(overdue, now))
    metrics.PAST_PROMISE.set(conn.execute(_PAST_PROMISE, {"now": now}).scalar_one())
    number, oldest = conn.execute(_UNWELCOMED, {"now": now}).one()
    metrics.UNWELCOMED.set(number)
    metrics.OLDEST_UNWELCOMED.set(machine_time(oldest, now))


def measure_tasks(conn: Connection, now: datetime) -> None:
    """How many tasks of each kind are open, and since when one waits that nobody took over."""
    found = {row.kind: row for row in conn.execute(_TASKS)}
    for kind in TASKS:
        row = found.get(kind)
        metrics.TASKS.labels(kind=kind).set(row.number if row else 0)
        oldest = machine_time(row.oldest if row else None, now)
        metrics.OLDEST_TASK.labels(kind=kind).set(oldest)


# The condition is written as the index has it, so that only what is under way is read.
_UNDER_WAY = "state NOT IN ('closed', 'in_contact')"

_BY_STATE = text(
    "SELECT state, count(*) AS number, min(accepted_at) AS oldest FROM discharge"
    f" WHERE {_UNDER_WAY} GROUP BY state"
)
_ENDS = text(
    "SELECT (SELECT max(accepted_at) FROM discharge), (SELECT min(next_by) FROM discharge"
    f" WHERE {_UNDER_WAY} AND state = 'received')"
)
_PAST_PROMISE = text(
    "SELECT count(*) FROM discharge JOIN facility ON facility.id = discharge.facility_id"
    f" WHERE {_UNDER_WAY} AND state = 'waiting' AND accepted_at"
    " + make_interval(hours => CAST(facility.settings ->> 'promised_hours' AS integer)) < :now"
)
_UNWELCOMED = text(f"SELECT count(*), min(since) FROM ({LISTS['unwelcomed'].rows}) AS listed")
_TASKS = text(
    "SELECT kind, count(*) AS number, min(opened_at) FILTER (WHERE taken_at IS NULL) AS oldest"
    " FROM task WHERE done_at IS NULL GROUP BY kind"
)
