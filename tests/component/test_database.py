"""Connections that are used again, and writes that are sent together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

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


def test_a_server_that_lets_everybody_wait_is_away_and_no_fault_of_the_work(
    engines: dict[str, str],
) -> None:
    engine = create_engine(
        engines["INTAKE_DATABASE_URL"], pool_size=1, max_overflow=0, pool_timeout=0.1
    )
    with engine.connect(), pytest.raises(PoolTimeout) as failed:
        engine.connect()
    engine.dispose()

    assert is_away(failed.value)


def test_who_stood_still_in_a_transaction_is_tried_again() -> None:
    assert is_away(psycopg.errors.IdleInTransactionSessionTimeout())


def test_a_session_whose_process_is_gone_unheard_ends_at_the_server_too(intake: Engine) -> None:
    with intake.connect() as conn:
        seconds = conn.scalar(text("SHOW tcp_keepalives_idle"))
        timeout = conn.scalar(text("SHOW tcp_user_timeout"))

    assert ("10", "30000") == (seconds, timeout)


def _write(engine: Engine, rows: list[dict[str, object]], before: object = None) -> None:
    with engine.begin() as conn, together(conn):
        if before is not None:
            conn.execute(before)  # type: ignore[call-overload]
        for row in rows:
            insert_many(conn, PARKED_KEY, [row])
