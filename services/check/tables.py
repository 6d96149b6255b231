"""What stands readable in the tables: declared seals are looked at, and all other text is searched.

Searched are all columns of text, lists of text and JSON, in the three databases and in what intake
may read of ``access``, for what looks like an e-mail address or a telephone number, outside of
the boxes of sealed values. Names and words look like nothing and are not found by this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, text

from services.check.shapes import BOX, PERSONAL


class SealedColumn(NamedTuple):
    """A column that holds a sealed value, for whom, and where that belongs; in terms of its row."""

    table: str
    column: str
    purpose: str
    person: str = "id"
    bound: str = ""
    value: str = ""

    @property
    def where(self) -> str:
        """The place that the value is bound to, as SQL; by default the row and column."""
        return self.bound or f"'{self.table}/' || {self.person} || '/{self.column}'"


SEALED = {
    "intake": (
        SealedColumn("facility", "people", "identity"),
        SealedColumn("client", "person", "identity"),
        SealedColumn(
            "discharge", "details", "identity", "client_id", "'discharge/' || id || '/details'"
        ),
        SealedColumn(
            # The moment in it is written as Python does.
            "consent",
            "obtained_by",
            "record",
            "client_id",
            "'consent/' || client_id || '/' || channel || '/'"
            " || split_part(obtained_by ->> 'bound', '/', 4)",
        ),
        SealedColumn("mentor_name", "name", "identity", "mentor_id", "'mentor_name/' || mentor_id"),
        SealedColumn(
            "step",
            "words",
            "identity",
            "client_id",
            "'step/' || event_id || '/why'",
            "(words -> 'why')",
        ),
    ),
    "matching": (
        SealedColumn("mentor", "profile", "about"),
        SealedColumn("client", "about", "about"),
        SealedColumn("assignment", "why", "about", "client_id", "'assignment/' || id || '/why'"),
        SealedColumn(
            "roster_chunk",
            "mentors",
            "about",
            "load_id",
            "'roster_load/' || load_id || '/' || place",
        ),
    ),
    "notifications": (
        SealedColumn("facility", "people", "contact"),
        SealedColumn("person", "contact", "contact"),
        *(
            SealedColumn(
                "message",
                column,
                "contact",
                "coalesce(person_id, facility_id)",
                f"'message/' || id || '/{column}'",
            )
            for column in ("said", "address")
        ),
        SealedColumn("reply", "words", "contact", "person_id", "'reply/' || id || '/words'"),
        SealedColumn(
            "contact_record",
            "next_step",
            "contact",
            "client_id",
            "'contact_record/' || id || '/next_step'",
        ),
        SealedColumn("hello", "words", "contact", "mentor_id"),
    ),
}
#: Records as they travelled, in base64; what they hold is looked at where it was said.
_ENCODED = {("early", "record"), ("parked_event", "record")}
#: A box without the value that it belongs to.
_BOXES = {("task", "done_words")}


def unsealed(conn: Connection, service: str) -> Iterator[tuple[str | None, int]]:
    """What of the declared columns is not sealed as it should be, and how many were looked at."""
    for one in SEALED[service]:
        value = one.value or one.column
        given = f"{value} IS NOT NULL AND jsonb_typeof({value}) <> 'null'"
        # What is kept unopened keeps the seal of the event that brought it. Earlier versions kept
        # what they had opened so as well.
        fits = (
            f"jsonb_typeof({value}) = 'object' AND jsonb_typeof({value} -> 'version') = 'number'"
            f" AND {value} - CAST(:parts AS text[]) = '{{}}' AND {value} ->> 'purpose' = :purpose"
            f" AND {value} ->> 'person' = CAST({one.person} AS text)"
            f" AND ({value} ->> 'bound' = {one.where} OR {value} ->> 'bound' ~ :event)"
            f" AND {value} ->> 'box' ~ :box"
        )
        found = conn.execute(
            text(
                f"SELECT count(*) AS looked_at, count(*) FILTER (WHERE NOT coalesce({fits}, false))"
                f" AS broken FROM {one.table} WHERE {given}"
            ),
            {
                "parts": ["purpose", "person", "version", "bound", "box"],
                "purpose": one.purpose,
                "event": "^event/[0-9a-f-]{36}/[A-Za-z]+/[a-z]+$",
                "box": f"^{BOX}$",
            },
        ).one()
        yield None, found.looked_at
        if found.broken:
            place = f"{service}'s {one.table}.{one.column}"
            yield f"{place} is not sealed where it stands in {found.broken} rows", 0


def readable(conn: Connection, database: str) -> Iterator[str]:
    """Columns in which an address or a number of a person seems to stand."""
    by_table: dict[str, list[tuple[str, str]]] = {}
    for row in conn.execute(_COLUMNS):
        by_table.setdefault(row.table_name, []).append((row.column_name, row.data_type))
    for table, columns in by_table.items():
        looks = {name: _looks(table, name) for name, _ in columns if (table, name) not in _ENCODED}
        if not looks:
            continue
        counts = ", ".join(
            f'count(*) FILTER (WHERE {look}) AS "{name}"' for name, look in looks.items()
        )
        given = {"personal": PERSONAL, "boxes": f'"box": "{BOX}"', "box": f"^{BOX}$"}
        found = conn.execute(text(f'SELECT {counts} FROM "{table}"'), given).one()
        for name, count in found._mapping.items():
            if count:
                place = f"{database}'s {table}.{name}"
                yield f"{place} shows an address or a number in {count} rows"


def _looks(table: str, column: str) -> str:
    if (table, column) in _BOXES:
        return f'"{column}" !~ :box'
    return f"regexp_replace(CAST(\"{column}\" AS text), :boxes, '', 'g') ~ :personal"


_COLUMNS = text(
    "SELECT table_name, column_name, data_type FROM information_schema.columns"
    " JOIN information_schema.tables USING (table_schema, table_name)"
    " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    " AND (data_type IN ('text', 'character varying', 'jsonb') OR udt_name = '_text')"
    " ORDER BY table_name, column_name"
)
