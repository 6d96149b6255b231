"""Engines, and the migrations of every database."""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import Any

import orjson
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DisconnectionError

#: A connection that rested this long is asked whether it still lives, in seconds.
RESTED_SECONDS = 60.0
_ROOT = Path(__file__).resolve().parent.parent


def engine_for(url: str, *, pool: int = 5) -> Engine:
    """An engine whose connections are checked before use, and never waited for in vain."""
    engine = create_engine(
        url,
        pool_size=pool,
        max_overflow=pool,
        pool_timeout=5,
        json_deserializer=orjson.loads,
        # The connection that was used last has the statements at hand that are used most.
        pool_use_lifo=True,
        connect_args={
            "connect_timeout": 5,
            # Statements are few and come again and again: they are planned when they come twice.
            "prepare_threshold": 1,
            "application_name": "warm-handoff",
            # A server that falls silent without hanging up is given up, not waited for for ever.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            # A statement or a transaction that hangs must not hold everybody's locks for ever.
            # A session whose process is gone unheard gives back the locks it holds.
            "options": "-c statement_timeout=60000 -c idle_in_transaction_session_timeout=120000"
            " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
            " -c tcp_user_timeout=30000 -c timezone=UTC",
        },
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "checkin", _note_when_used)
    event.listen(engine, "checkout", _ask_whether_it_lives)
    return engine


def reading(engine: Engine) -> Connection:
    """A connection for single looks, without a transaction's two further round trips."""
    return engine.execution_options(isolation_level="AUTOCOMMIT").connect()


def _note_when_used(_: object, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _ask_whether_it_lives(connection: Any, record: Any, _: object) -> None:
    """A server that ended a connection has hung up, which is seen without asking it.

    Only one that rested for long may have died unheard, as behind a network that forgot it.
    """
    hung_up = select.poll()
    hung_up.register(connection.fileno(), select.POLLIN)
    if hung_up.poll(0):
        raise DisconnectionError
    if time.monotonic() - record.info.get("used_at", float("inf")) < RESTED_SECONDS:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise DisconnectionError from error


def _prepare(connection: Any, _: object) -> None:
    # As text, every element of an array is searched for what must be quoted.
    connection.adapters.register_dumper(list, ListBinaryDumper)
    # More than any service has: giving up a planned statement for another costs a round trip.
    connection.prepared_max = 500


def answers(engine: Engine) -> bool:
    """Whether the database can be asked; never raises for one that is away."""
    try:
        with engine.connect() as conn:
            return bool(conn.execute(text("SELECT 1")).scalar())
    except Exception:
        return False


def migrate(url: str, *folders: str) -> None:
    """Bring a database to the newest revision of these migration folders (repository paths)."""
    # Slow to import, and needed by one command alone.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_ROOT / "hosting" / "migrating"))
    config.set_main_option("version_path_separator", "os")
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", ":".join(str(_ROOT / f) for f in folders))
    config.attributes["url"] = url
    command.upgrade(config, "heads")
