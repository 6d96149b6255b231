"""Tell trouble around us from trouble with an event: away, a lost race, or neither."""

from __future__ import annotations

import psycopg
import sqlalchemy.exc


class Unavailable(Exception):
    """A database, the broker or a provider is away: keep the work, back off, go on."""


class AnotherDatabase(Unavailable):
    """The database was restored, or another has taken its place: a worker has to begin anew."""


class Overtaken(Exception):
    """What was read is no longer so, and cannot be locked in the right order any more."""


#: Serialization failure, deadlock, unique and exclusion violations, lock not available.
_LOST_RACES = frozenset({"40001", "40P01", "23505", "23P01", "55P03"})

#: Classes of SQLSTATE that speak of the server's state, not of the statement.
_SERVER_CLASSES = ("08", "53", "57", "58")
#: Read-only, as a standby is; given up by the server because we stood still in a transaction.
_OURS_TO_WAIT_FOR = frozenset({"25006", "25P03"})


def is_lost_race(error: BaseException) -> bool:
    """Whether somebody else was faster; the same work may succeed when tried again."""
    return isinstance(error, Overtaken) or _sqlstate(error) in _LOST_RACES


def is_away(error: BaseException) -> bool:
    """Whether an engine that we depend on is away, so that nothing is wrong with the work."""
    # No connection came free in time: the server stalls, or everybody waits for something else.
    if isinstance(error, Unavailable | sqlalchemy.exc.TimeoutError):
        return True
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    state = _sqlstate(error)
    if state is None:
        return isinstance(_original(error), psycopg.OperationalError | psycopg.InterfaceError)
    return state.startswith(_SERVER_CLASSES) or state in _OURS_TO_WAIT_FOR


def _original(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error


def _sqlstate(error: BaseException) -> str | None:
    original = _original(error)
    return original.sqlstate if isinstance(original, psycopg.Error) else None
