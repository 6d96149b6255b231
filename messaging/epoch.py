"""Know whether this database is the one that has begun its epoch.

One that was restored has forgotten what it said: until a worker has noticed it (``restored.py``),
nothing is said under numbers that may be taken, and nobody is written to again. A cluster has an
identifier of its own, and counts a timeline more whenever it is recovered to an earlier point or
takes over from another. What was put back in any other way is told apart by what is lost alone.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, literal_column, select, text

from messaging.unavailable import AnotherDatabase

#: One that has just taken over tells its timeline as that of its last checkpoint for minutes.
_TIMELINE = "GREATEST(timeline_id, min_recovery_end_timeline)"
_CONTROL = "pg_control_system(), pg_control_checkpoint(), pg_control_recovery()"
#: Which database this is.
HERE: Any = text(f"SELECT system_identifier AS system, {_TIMELINE} AS timeline FROM {_CONTROL}")
#: The epoch; null in a database that has not begun it. One that never began any may speak.
CURRENT = (
    f"(SELECT epoch FROM epoch, {_CONTROL}"
    f" WHERE system IS NULL OR (system, timeline) = (system_identifier, {_TIMELINE}))"
)


def is_ours() -> ColumnElement[bool]:
    """Whether this database has begun its epoch: a condition for what is done by itself."""
    return literal_column(CURRENT).is_not(None)


def look(conn: Connection) -> None:
    """Raise ``AnotherDatabase`` if this is not the one that has begun its epoch."""
    if not conn.execute(select(is_ours())).scalar_one():
        raise AnotherDatabase
