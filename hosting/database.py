"""Engines, and the migrations of every database."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text

_ROOT = Path(__file__).resolve().parent.parent


def engine_for(url: str, *, pool: int = 5) -> Engine:
    """An engine whose connections are checked before use, and never waited for in vain."""
    return create_engine(
        url,
        pool_size=pool,
        max_overflow=pool,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": "warm-handoff",
            # A statement or a transaction that hangs must not hold everybody's locks for ever.
            "options": "-c statement_timeout=60000 -c idle_in_transaction_session_timeout=120000"
            " -c timezone=UTC",
        },
    )


def answers(engine: Engine) -> bool:
    """Whether the database can be asked; never raises for one that is away."""
    try:
        with engine.connect() as conn:
            return bool(conn.execute(text("SELECT 1")).scalar())
    except Exception:
        return False


def migrate(url: str, *folders: str) -> None:
    """Bring a database to the newest revision of these migration folders (repository paths)."""
    config = Config()
    config.set_main_option("script_location", str(_ROOT / "hosting" / "migrating"))
    config.set_main_option("version_path_separator", "os")
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", ":".join(str(_ROOT / f) for f in folders))
    config.attributes["url"] = url
    command.upgrade(config, "heads")
