"""Many rows in one statement, whose columns are arrays, and many statements in one wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import orjson
from psycopg.rows import namedtuple_row
from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Table,
    TextClause,
    any_,
    bindparam,
    literal,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql.compiler import SQLCompiler


@contextmanager
def together(conn: Connection) -> Iterator[None]:
    """Send the statements within one after the other, and wait once for all of them.

    Nothing within may look at a result: there is none yet. Raises what the driver raises for the
    first that failed, of which SQLAlchemy does not hear.
    """
    driver: Any = conn.connection.driver_connection
    with driver.pipeline():
        yield


def ask_together(
    conn: Connection,
    *asked: tuple[ClauseElement, Mapping[str, Any]],
    behind: Iterable[Callable[[], object]] = (),
) -> list[list[Any]]:
    """The rows of each statement, none for one that has none, all sent and waited for at once.

    They go ``behind`` what these write, for which nobody waits either.

    They are carried out one after the other, each seeing what those before it have locked or
    written. Statements are built once and kept; values travel as they are. Raises what the driver
    raises for the first that failed, of which SQLAlchemy does not hear.
    """
    driver: Any = conn.connection.driver_connection
    cursors = [driver.cursor(row_factory=namedtuple_row) for _ in asked]
    with together(conn):
        for write in behind:
            write()
        for cursor, (statement, values) in zip(cursors, asked, strict=True):
            compiled = _compiled(statement, conn.dialect)
            cursor.execute(compiled.string, compiled.construct_params(dict(values)))
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


@cache
def _compiled(statement: ClauseElement, dialect: Dialect) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiled, SQLCompiler)
    return compiled


def among(column: Column[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column holds one of these values, which travel as one array.

    A list of a thousand placeholders costs more to read than the rows cost to find.
    """
    return column == any_(literal(list(values), ARRAY(column.type)))


def among_given(column: Column[Any], name: str = "ids") -> ColumnElement[bool]:
    """The same for a statement that is built once: the values come when it is run, by this name.

    To build a statement takes as long as to run it, which is felt where somebody waits.
    """
    return column == any_(bindparam(name, type_=ARRAY(column.type)))


#: What to do with a row that is there already.
NOTHING = "ON CONFLICT DO NOTHING"


def insert_many(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], then: str = ""
) -> None:
    """Insert rows, which all have the same columns; ``then`` is what follows in the statement.

    Neither an executemany (the driver sends it row by row) nor one long VALUES (the driver reads
    every placeholder of it again) comes near the speed of arrays.
    """
    if rows:
        conn.execute(*inserting(table, rows, then))


def inserting(
    table: Table, rows: Sequence[Mapping[str, Any]], then: str = ""
) -> tuple[TextClause, dict[str, list[Any]]]:
    """The statement that inserts these rows, of which there are some, and what it is given."""
    names = tuple(rows[0])
    return _inserting(table, names, then), _columns(table, names, rows)


def upsert_many(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *keys: str
) -> None:
    """Insert rows, or replace those that have the same keys."""
    if rows:
        insert_many(conn, table, rows, replacing(tuple(rows[0]), *keys))


def update_many(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *keys: str, only: str = ""
) -> None:
    """Change rows that are there, each found by its keys; ``only`` is one more condition."""
    if rows:
        names = tuple(rows[0])
        conn.execute(_updating(table, names, keys, only), _columns(table, names, rows))


@cache
def replacing(names: tuple[str, ...], *keys: str) -> str:
    """The clause that replaces everything but the keys."""
    changes = ", ".join(f'"{n}" = excluded."{n}"' for n in names if n not in keys)
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"


def _columns(
    table: Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, list[Any]]:
    columns = {name: [row[name] for row in rows] for name in names}
    for name in names:
        if isinstance(table.c[name].type, JSONB):
            columns[name] = [None if v is None else orjson.dumps(v).decode() for v in columns[name]]
    return columns


@cache
def _inserting(table: Table, names: tuple[str, ...], then: str) -> TextClause:
    given, values = _given(table, names)
    columns = ", ".join(f'"{name}"' for name in names)
    return text(
        f"INSERT INTO {table.name} ({columns}) SELECT {', '.join(values.values())} {given} {then}"
    )


@cache
def _updating(table: Table, names: tuple[str, ...], keys: tuple[str, ...], only: str) -> TextClause:
    given, values = _given(table, names)
    changes = ", ".join(f'"{n}" = {value}' for n, value in values.items() if n not in keys)
    found = " AND ".join(f'{table.name}."{key}" = given."{key}"' for key in keys)
    return text(
        f"UPDATE {table.name} SET {changes} {given} WHERE {found}{f' AND {only}' if only else ''}"
    )


def _given(table: Table, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The arrays as rows of ``given``, and each column's value from there."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    arrays, values = [], {}
    for name in names:
        kind = table.c[name].type
        # An array of JSON would be read as JSON itself, so it travels as text.
        plain = "text" if isinstance(kind, JSONB) else kind.compile(dialect)
        arrays.append(f"CAST(:{name} AS {plain}[])")
        values[name] = f'given."{name}"'
        if isinstance(kind, JSONB):
            values[name] = f"CAST({values[name]} AS jsonb)"
    columns = ", ".join(f'"{name}"' for name in names)
    return f"FROM unnest({', '.join(arrays)}) AS given({columns})", values
