"""Read all that the guarantees are judged by: each database once, as it stood at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Executable, create_engine, text

from contracts.intake import ContactDetails
from contracts.matching import MentorContact
from contracts.sealed import PURPOSES, Destroyed
from hosting.settings import ServiceSettings, SettingsError, read
from messaging.sealing import NOT_OPENED, Keyring
from messaging.wrapping import MasterKeys
from services.check import records, tables
from services.check.evidence import CLOCKS_APART, SERVICES, Applied, Evidence, Row, Said, Waiting
from services.check.shapes import read_event

_SAID = (
    "SELECT event_id, key, epoch, seq, type, at, published_at, published_partition,"
    " published_offset, body FROM outbox ORDER BY key, epoch, seq"
)
#: One row a stream, not one an event: the ids lie behind each other, sixteen bytes each. Clocks of
#: two machines may be apart.
_APPLIED = (
    "SELECT producer, epoch, key, cursor.seq AS cursor,"
    " coalesce(array_agg(one.seq ORDER BY one.seq) FILTER (WHERE one.seq IS NOT NULL), '{}')"
    "  AS seqs,"
    " coalesce(string_agg(uuid_send(event_id), ''::bytea ORDER BY one.seq), '') AS ids,"
    " coalesce(max(applied_at), 'epoch') AS latest,"
    " count(*) FILTER (WHERE applied_at < before - :apart) AS backwards"
    " FROM (SELECT *, lag(applied_at) OVER (PARTITION BY producer, epoch, key ORDER BY seq)"
    "  AS before FROM inbox) AS one"
    " FULL JOIN cursor USING (producer, epoch, key) GROUP BY producer, epoch, key, cursor.seq"
)
_ROWS = {
    "parked": "SELECT key, parked_at, handler FROM parked_key",
    "held": "SELECT topic FROM held_topic",
    "timers": "SELECT key, name, due_at FROM timer WHERE due_at < :now",
    "early": "SELECT key, since, record, waiting_on FROM early",
    "behind": "SELECT key, since, record FROM parked_event ORDER BY place",
    "discharges": "SELECT id, client_id, facility_id, state, accepted_at FROM discharge",
    "facilities": "SELECT id FROM facility WHERE people IS NOT NULL",
    "tasks": "SELECT kind, about, owner, done_at FROM task",
    "assignments": "SELECT id, client_id, mentor_id, coalesce(offered_at, assigned_at) AS began_at,"
    " ended_at FROM assignment",
    "known": "SELECT id, client_id, mentor_id FROM assignment WHERE state <> 'ended'",
    "capacities": "SELECT id, capacity FROM mentor",
    "messages": "SELECT id, once, purpose, recipient, person_id, subject_id, discharge_id,"
    " assignment_id, facility_id, channel, is_answer, state, provider_id, first_due_at, due_at,"
    " lease_until FROM message",
    "persons": "SELECT id, mobile_token, email_token FROM person",
}
_OF_ALL = ("parked", "held", "timers", "early", "behind")
_OWN = {
    "intake": ("discharges", "facilities", "tasks"),
    "matching": ("assignments", "capacities"),
    "notifications": ("messages", "persons", "known"),
}
T = TypeVar("T")


def gather(
    environ: Mapping[str, str],
    *,
    now: Callable[[], datetime],
    in_kafka: records.Reading | None,
    delivered: Callable[[], Sequence[Row] | None] | Sequence[Row] | None,
    apart: timedelta = CLOCKS_APART,
    read_at: datetime | None = None,
) -> Evidence:
    """Read the databases as they stand now, and then the topics and what was delivered.

    Kafka and the sandbox are read last: whatever the databases say has happened is there by then.
    ``apart`` is by how much the clocks of the machines may differ from each other; ``read_at`` is
    when that was by them, later than now where nothing can come any more.
    """
    began, read_at = now(), read_at or datetime.now(UTC)
    with ExitStack() as stack:
        # Matching is read last: what the others know of an assignment was said by then.
        conns = {
            s: _snapshot(stack, environ[f"{s.upper()}_DATABASE_URL"])
            for s in ("intake", "notifications", "matching")
        }
        found = {
            service: {
                name: [dict(r._mapping) for r in conn.execute(text(_ROWS[name]), {"now": began})]
                for name in (*_OF_ALL, *_OWN[service])
            }
            for service, conn in conns.items()
        }
        same: dict[UUID, UUID] = {}
        said = {service: _said(conn, service, same) for service, conn in conns.items()}
        applied = {service: _applied(conn, same, apart) for service, conn in conns.items()}
        seals = [one for s, conn in conns.items() for one in tables.unsealed(conn, s)]
        open_text = [one for s, conn in conns.items() for one in tables.readable(conn, s)]
        if "INTAKE_ACCESS_URL" in environ:
            access = _snapshot(stack, environ["INTAKE_ACCESS_URL"])
            open_text += tables.readable(access, "access")
        erased, zones = _from_the_keys(stack, environ, conns["notifications"])
    own = found["intake"] | found["matching"] | found["notifications"]
    return Evidence(
        now=began,
        read_at=read_at,
        apart=apart,
        said=said,
        discharges=own["discharges"],
        facilities=frozenset(row["id"] for row in own["facilities"]),
        tasks=own["tasks"],
        assignments=own["assignments"],
        known=own["known"],
        capacities={row["id"]: row["capacity"] for row in own["capacities"]},
        messages=own["messages"],
        persons=own["persons"],
        applied=applied,
        parked_keys=_each(found, "parked", list),
        held=_each(found, "held", lambda rows: frozenset(row["topic"] for row in rows)),
        timers=_each(found, "timers", list),
        early=_each(found, "early", _kept),
        behind=_each(found, "behind", _kept),
        readable=(*(what for what, _ in seals if what), *open_text),
        looked_at=sum(count for _, count in seals),
        erased=erased,
        zones=zones,
        in_kafka=records.read_topics(in_kafka, said) if in_kafka else None,
        delivered=delivered() if callable(delivered) else delivered,
    )


def _snapshot(stack: ExitStack, url: str) -> Connection:
    """A connection that sees a database as it is now, and can change nothing."""
    engine = create_engine(url)
    stack.callback(engine.dispose)
    conn = stack.enter_context(engine.connect())
    conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    conn.execute(text("SELECT 1"))
    return conn


def _bit_by_bit(query: str) -> Executable:
    """A statement whose rows are fetched some at a time: never all of them as they are stored."""
    return text(query).execution_options(yield_per=2_000)


def _each(
    found: Mapping[str, Mapping[str, list[dict[str, Any]]]],
    name: str,
    made: Callable[[list[dict[str, Any]]], T],
) -> dict[str, T]:
    return {service: made(found[service][name]) for service in SERVICES}


def _kept(rows: Iterable[Row]) -> list[Waiting]:
    return [
        records.waiting(row["key"], row["since"], row["record"], row.get("waiting_on"))
        for row in rows
    ]


def _said(conn: Connection, service: str, same: dict[UUID, UUID]) -> list[Said]:
    """An outbox, row by row: what is sealed and long is looked at and let go."""
    said = []
    for row in conn.execute(_bit_by_bit(_SAID)):
        body, faults = read_event(service, row.event_id, row.key, row.type, row.body)
        placed = row.published_partition is not None
        said.append(
            Said(
                event_id=row.event_id,
                key=same.setdefault(row.key, row.key),
                epoch=row.epoch,
                seq=row.seq,
                type=row.type,
                at=row.at,
                published_at=row.published_at,
                body=body,
                place=(row.published_partition, row.published_offset) if placed else None,
                total=records.total_of(row.key, row.epoch, row.seq, row.type, row.body),
                faults=faults,
            )
        )
    return said


def _applied(conn: Connection, same: dict[UUID, UUID], apart: timedelta) -> list[Applied]:
    rows = conn.execute(_bit_by_bit(_APPLIED), {"apart": apart})
    return [
        Applied(**{**row._mapping, "key": same.setdefault(row.key, row.key), "ids": bytes(row.ids)})
        for row in rows
    ]


def _from_the_keys(
    stack: ExitStack, environ: Mapping[str, str], conn: Connection
) -> tuple[frozenset[UUID] | None, dict[UUID, str] | None]:
    """Who was erased; and, where the key of contacts is at hand, whose clocks are which."""
    url = environ.get("NOTIFICATIONS_KEYS_URL")
    if not url:
        return None, None
    keys = _snapshot(stack, url)
    gone = " UNION ".join(
        f"SELECT person FROM key_{purpose} WHERE destroyed_at IS NOT NULL"
        for purpose in PURPOSES
        if purpose != "record"
    )
    erased = frozenset(keys.execute(text(gone)).scalars())
    try:
        settings = read(ServiceSettings, "notifications", environ)
    except SettingsError:
        return erased, None
    if "contact" not in settings.private_keys:
        return erased, None
    master = MasterKeys(public=settings.public_keys, private=settings.private_keys)
    engine = create_engine(url)
    stack.callback(engine.dispose)
    return erased, _zones(conn, Keyring(engine, master))


def _zones(conn: Connection, keyring: Keyring) -> dict[UUID, str]:
    """By whose clocks somebody may be written to; of the rest of a contact nothing is kept."""
    zones: dict[UUID, str] = {}
    query = _bit_by_bit("SELECT id, kind, contact FROM person WHERE contact IS NOT NULL")
    for rows in conn.execute(query).partitions():
        view = keyring.view()
        view.need(("contact", row.id) for row in rows)
        for row in rows:
            content: type[Any] = ContactDetails if row.kind == "client" else MentorContact
            try:
                contact = view.open_kept(content, row.contact)
            except NOT_OPENED:
                # What cannot be opened is for G7 to tell.
                continue
            if not isinstance(contact, Destroyed):
                zones[row.id] = contact.time_zone
    return zones
