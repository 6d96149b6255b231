"""Statements that are sent together are carried out one after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, text

from messaging.rows import ask_together
from tests.house import House
from tests.running import eventually

PERSONS = text("SELECT id FROM person WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
CONSENTS = text("SELECT channel FROM consent WHERE client_id = ANY(:ids) ORDER BY channel")
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


def _read(engine: Engine, client_id: UUID) -> list[list[Any]]:
    those = {"ids": [client_id]}
    with engine.begin() as conn:
        return ask_together(conn, (PERSONS, those), (CONSENTS, those))


def test_what_is_read_behind_a_lock_is_read_once_that_is_held(center: House) -> None:
    client_id = UUID(center.register(facility="south")["client_id"])
    engine = center.notifications.engine
    before = _read(engine, client_id)

    with ThreadPoolExecutor(1) as beside, engine.begin() as holder:
        holder.execute(PERSONS, {"ids": [client_id]})
        reading = beside.submit(_read, engine, client_id)
        with engine.connect() as onlooker:
            eventually(lambda: onlooker.execute(WAITING).scalar() >= 1)
        holder.execute(text("DELETE FROM consent WHERE client_id = :id"), {"id": client_id})
        holder.commit()
        after = reading.result(10)

    assert ([(client_id,)], True) == (before[0], len(before[1]) > 0)
    assert [[(client_id,)], []] == after


def test_the_first_that_fails_is_told_and_leaves_the_connection_as_it_was(center: House) -> None:
    engine = center.notifications.engine
    wrong = text("SELECT 1 / 0 AS nothing")

    with pytest.raises(psycopg.errors.DivisionByZero), engine.begin() as conn:
        ask_together(conn, (wrong, {}), (CONSENTS, {"ids": []}))

    with engine.begin() as conn:
        assert [[]] == ask_together(conn, (CONSENTS, {"ids": []}))
