"""What the databases of a house hold: emptied, kept, and put back, for a house soon ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg import Connection, connect
from psycopg.sql import SQL, Identifier

#: The databases that belong to a house, and what in them belongs to the test run.
DATABASES = (
    "INTAKE_DATABASE_URL",
    "MATCHING_DATABASE_URL",
    "NOTIFICATIONS_DATABASE_URL",
    "KEYS_OWNER_URL",
)
# What people did by hand can be removed by nobody, a test included.
_STAYS = ("alembic_version", "epoch", "audit", "audit_chain")


@dataclass(frozen=True)
class Kept:
    """The rows of each table that had any, and where each counter stood."""

    tables: dict[str, bytes]
    counters: dict[str, int]


def keep(settings: Mapping[str, str]) -> dict[str, Kept]:
    """All that the databases hold, by their setting."""
    kept = {}
    for name in DATABASES:
        with _connected(settings[name]) as conn:
            rows = {table: _rows(conn, table) for table in _tables(conn)}
            counters = conn.execute(
                "SELECT sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
            )
            kept[name] = Kept(
                tables={table: copied for table, copied in rows.items() if copied},
                counters=dict(counters.fetchall()),
            )
    return kept


def put_back(
    settings: Mapping[str, str], kept: Mapping[str, Kept], among: Iterable[str] = DATABASES
) -> None:
    """Let the databases hold what was kept, and nothing else; nothing at all where nothing was."""
    for name in among:
        with _connected(settings[name]) as conn:
            # Emptied as a whole, a table is a new one to every connection, which then plans all of
            # its statements again: that took longer than most tests. What refers comes first.
            empty = [SQL("DELETE FROM {}").format(Identifier(t)) for t in reversed(_tables(conn))]
            conn.execute(SQL("; ").join(empty))
            if name in kept:
                _fill(conn, kept[name])


def _fill(conn: Connection, kept: Kept) -> None:
    for table, rows in kept.tables.items():
        with conn.cursor().copy(SQL("COPY {} FROM STDIN").format(Identifier(table))) as into:
            into.write(rows)
    for counter, value in kept.counters.items():
        # A counter is named for its table; what stays has gone on being counted.
        if not counter.startswith(_STAYS):
            conn.execute("SELECT setval(%s::regclass, %s)", [counter, value])


def _rows(conn: Connection, table: str) -> bytes:
    with conn.cursor().copy(SQL("COPY {} TO STDOUT").format(Identifier(table))) as out:
        return b"".join(map(bytes, out))


def _tables(conn: Connection) -> list[str]:
    """In the order in which they were made, so that what is referred to comes first."""
    found = conn.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace ORDER BY oid"
    )
    return [name for (name,) in found if name not in _STAYS]


def _connected(url: str) -> Connection:
    return connect(url.replace("+psycopg", ""))
