"""Write many rows in one statement of constant length: a column is an array, unnested."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Table,
    TextClause,
    any_,
    literal,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB


def among(column: Column[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column holds one of these values, which travel as one array.

    A list of a thousand placeholders costs more to read than the rows cost to find.
    """
    return column == any_(literal(list(values), ARRAY(column.type)))


#: What to do with a row that is there already.
NOTHING = "ON CONFLICT DO NOTHING"


def insert_many(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], then: str = ""
) -> CursorResult[Any] | None:
    """Insert rows, which all have the same columns; ``then`` is what follows in the statement.

    Neither an executemany (the driver sends it row by row) nor one long VALUES (the driver reads
    every placeholder of it again) comes near the speed of arrays.
    """
    if not rows:
        return None
    names = tuple(rows[0])
    columns = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSONB):
            columns[name] = [None if v is None else json.dumps(v) for v in columns[name]]
    return conn.execute(_statement(table, names, then), columns)


def upsert_many(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *keys: str
) -> None:
    """Insert rows, or replace those that have the same keys."""
    if rows:
        insert_many(conn, table, rows, replacing(tuple(rows[0]), *keys))


@cache
def replacing(names: tuple[str, ...], *keys: str) -> str:
    """The clause that replaces everything but the keys."""
    changes = ", ".join(f'"{n}" = excluded."{n}"' for n in names if n not in keys)
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"


@cache
def _statement(table: Table, names: tuple[str, ...], then: str) -> TextClause:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    columns = ", ".join(f'"{name}"' for name in names)
    arrays, values = [], []
    for name in names:
        kind = table.c[name].type
        plain = "text" if isinstance(kind, JSONB) else kind.compile(dialect)
        arrays.append(f"CAST(:{name} AS {plain}[])")
        values.append(f'CAST("{name}" AS jsonb)' if isinstance(kind, JSONB) else f'"{name}"')
    return text(
        f"INSERT INTO {table.name} ({columns}) SELECT {', '.join(values)}"
        f" FROM unnest({', '.join(arrays)}) AS given({columns}) {then}"
    )
