"""Connections that are used again, and writes that are sent together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from hosting.database import engine_for
from messaging.rows import insert_many, together
from messaging.tables import PARKED_KEY
from messaging.unavailable import is_away, is_lost_race

PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def intake(engines: dict[str, str]) -> Iterator[Engine]:
    """A pool of its own."""
    engine = engine_for(engines["INTAKE_DATABASE_URL"])
    yield engine
    engine.dispose()


def test_a_connection_that_the_server_ended_is_not_used_again(intake: Engine) -> None:
    with intake.connect() as conn:
        ended = conn.scalar(PID)
    with intake.connect() as one, intake.connect() as other:
        # The last that was used is the first to be used again.
        assert ended == one.scalar(PID)
        kept = other.scalar(PID)
        one.close()
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": ended})

    with intake.connect() as first, intake.connect() as second:
        pids = {first.scalar(PID), second.scalar(PID)}

    assert kept in pids
    assert ended not in pids


def test_of_what_is_sent_together_nothing_stays_when_one_fails(intake: Engine) -> None:
    fine, twice = uuid4(), uuid4()
    rows = [
        {"key": key, "parked_at": datetime.now(UTC), "attempts": 1, "handler": "x", "error": "y"}
        for key in (fine, twice, twice)
    ]

    with pytest.raises(psycopg.errors.UniqueViolation) as failed:
        _write(intake, rows)

    assert is_lost_race(failed.value)
    assert not is_away(failed.value)
    with intake.connect() as conn:
        found = text("SELECT count(*) FROM parked_key WHERE key = ANY(:keys)")
        assert 0 == conn.scalar(found, {"keys": [fine, twice]})


def test_a_server_that_goes_away_in_the_midst_is_said_to_be_away(intake: Engine) -> None:
    with pytest.raises((psycopg.Error, DBAPIError)) as failed:
        _write(intake, [], before=text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert is_away(failed.value)
    with intake.connect() as conn:
        assert 1 == conn.scalar(text("SELECT 1"))


def _write(engine: Engine, rows: list[dict[str, object]], before: object = None) -> None:
    with engine.begin() as conn, together(conn):
        if before is not None:
            conn.execute(before)  # type: ignore[call-overload]
        for row in rows:
            insert_many(conn, PARKED_KEY, [row])
