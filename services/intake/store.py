"""Intake's tables and the only SQL on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from contracts.event import Event
from contracts.sealed import PURPOSES, Destroyed, Sealed
from contracts.wire import load as load_wire
from messaging.rows import (
    NOTHING,
    among_given,
    insert_many,
    update_many,
    upsert_many,
)
from messaging.sealing import NOT_OPENED, to_json
from services.intake.domain import HIGH_RISK_DUE, TASKS, Details, Facility, Person

if TYPE_CHECKING:
    from messaging.work import Work

METADATA = MetaData()
_MOMENT = DateTime(timezone=True)

FACILITY = Table(
    "facility",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("settings", JSONB, nullable=False),
    Column("people", JSONB, nullable=False),
)
CLIENT = Table(
    "client",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("facility_id", Uuid, ForeignKey("facility.id"), nullable=False),
    Column("record_token", Text, nullable=False),
    Column("person", JSONB, nullable=False),
    Column("died_at", _MOMENT),
    UniqueConstraint("facility_id", "record_token"),
)
DISCHARGE = Table(
    "discharge",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Uuid, ForeignKey("client.id"), nullable=False),
    Column("facility_id", Uuid, ForeignKey("facility.id"), nullable=False),
    Column("visit_token", Text, nullable=False),
    Column("details", JSONB, nullable=False),
    Column("high_risk", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("unparked_state", Text),
    Column("closed_because", Text),
    Column("accepted_at", _MOMENT, nullable=False),
    Column("said_at", _MOMENT),
    Column("next_what", Text),
    Column("next_by", _MOMENT),
    UniqueConstraint("client_id", "visit_token"),
    Index("discharge_entered", "accepted_at"),
    Index(
        "discharge_under_way",
        "state",
        "accepted_at",
        postgresql_where=text("state NOT IN ('closed', 'in_contact')"),
    ),
)
CONSENT = Table(
    "consent",
    METADATA,
    Column("client_id", Uuid, ForeignKey("client.id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("wording", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("given_at", _MOMENT, nullable=False),
    Column("obtained_by", JSONB, nullable=False),
    Column("recorded_at", _MOMENT, nullable=False),
    Column("revoked_at", _MOMENT),
    Index(
        "consent_in_force",
        "client_id",
        "channel",
        unique=True,
        postgresql_where=text("revoked_at IS NULL"),
    ),
)
TASK = Table(
    "task",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("about", Uuid, nullable=False),
    Column("facility_id", Uuid),
    Column("client_id", Uuid),
    Column("discharge_id", Uuid),
    Column("owner", Text, nullable=False),
    Column("high_risk", Boolean, nullable=False),
    Column("opened_at", _MOMENT, nullable=False),
    Column("due_at", _MOMENT, nullable=False),
    Column("done_at", _MOMENT),
    Column("done_because", Text),
    Column("done_by", Text),
    Column("done_words", Text),
    Column("taken_by", Text),
    Column("taken_at", _MOMENT),
    Index("task_open", "kind", "about", unique=True, postgresql_where=text("done_at IS NULL")),
    Index("task_of_facility", "facility_id", "due_at", postgresql_where=text("done_at IS NULL")),
    Index("task_of_kind", "kind", "opened_at", postgresql_where=text("done_at IS NULL")),
)
#: The id that a step names beside client and discharge, and the two steps that are measured; in
#: these very words, so that the indexes are used.
NAMED = "(coalesce(words ->> 'message_id', words ->> 'assignment_id'))"
WELCOMED = "(what = 'message_handed_over' AND words ->> 'purpose' = 'first')"
TALKED = "(what = 'first_contact')"
STEP = Table(
    "step",
    METADATA,
    Column("place", BigInteger, primary_key=True, autoincrement=True),
    Column("client_id", Uuid, nullable=False),
    Column("discharge_id", Uuid),
    Column("at", _MOMENT, nullable=False),
    Column("service", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("event_id", Uuid, unique=True),
    Column("words", JSONB, nullable=False),
    Index("step_of_client", "client_id", "place"),
    # What else a step names: a message, or an assignment.
    Index("step_naming", text(NAMED), postgresql_where=text(f"{NAMED} IS NOT NULL")),
    Index("step_reached", "what", "at", postgresql_where=text(f"{WELCOMED} OR {TALKED}")),
)
#: What services say when they cannot go on with a client, and when they can again.
_PARKINGS = ("parked", "released")
_PARKINGS_OF = (
    select(STEP.c.service, STEP.c.what)
    .where(STEP.c.client_id == bindparam("client"), STEP.c.what.in_(_PARKINGS))
    .order_by(STEP.c.place)
)
#: What clients are found by: keyed tokens of beginnings of names, and of ends of numbers.
SEARCH_TOKEN = Table(
    "search_token",
    METADATA,
    Column("token", Text),
    Column("client_id", Uuid, ForeignKey("client.id")),
    PrimaryKeyConstraint("token", "client_id"),
    Index("search_token_of_client", "client_id"),
)
#: The names that mentors go by, for the facility's own staff.
MENTOR_NAME = Table(
    "mentor_name",
    METADATA,
    Column("mentor_id", Uuid, primary_key=True),
    Column("name", JSONB, nullable=False),
)
ANSWERED = Table(
    "answered",
    METADATA,
    Column("caller", Text),
    Column("key_token", Text),
    Column("body_token", Text, nullable=False),
    Column("answer", JSONB, nullable=False),
    Column("at", _MOMENT, nullable=False),
    PrimaryKeyConstraint("caller", "key_token"),
)


@dataclass(frozen=True, kw_only=True)
class Discharge:
    """A discharge's row, without what is sealed in it."""

    id: UUID
    client_id: UUID
    facility_id: UUID
    high_risk: bool
    state: str
    unparked_state: str | None
    closed_because: str | None
    accepted_at: datetime
    said_at: datetime | None
    next_what: str | None
    next_by: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to look after it."""
        return self.state != "closed"

    @property
    def stands(self) -> str:
        """Its state; of a parked one, that which it has once it is released."""
        return self.unparked_state or self.state if self.state == "parked" else self.state


_SHOWN = [column for column in DISCHARGE.c if column.name not in ("visit_token", "details")]
_SHOWN_NAMES = tuple(column.name for column in _SHOWN)
_LOCKED = (
    select(CLIENT.c.id).where(among_given(CLIENT.c.id)).order_by(CLIENT.c.id).with_for_update()
)
_OF_RECORD = and_(
    CLIENT.c.facility_id == bindparam("facility"), CLIENT.c.record_token == bindparam("record")
)
_CLIENT_LOCKED = (
    select(CLIENT.c.id, CLIENT.c.person, CLIENT.c.died_at).where(_OF_RECORD).with_for_update()
)
_FACILITY_BY_CODE = select(FACILITY).where(FACILITY.c.code == bindparam("code"))
_DISCHARGES_OF = (
    select(*_SHOWN)
    .where(among_given(DISCHARGE.c.client_id))
    .order_by(DISCHARGE.c.accepted_at, DISCHARGE.c.id)
)
_CHANGING = (
    "high_risk",
    "state",
    "unparked_state",
    "closed_because",
    "said_at",
    "next_what",
    "next_by",
)


class Store:
    """The discharges of the clients at hand, with the steps and tasks that a piece of work adds."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._conn = work.conn
        self._locked: set[UUID] = set()
        self._loaded: dict[UUID, Discharge] = {}
        self._now: dict[UUID, Discharge] = {}
        self._new: dict[UUID, str] = {}
        self._details: dict[UUID, tuple[UUID, Details]] = {}
        self._steps: list[dict[str, Any]] = []
        self._tasks: list[dict[str, Any]] = []
        self._done: list[dict[str, Any]] = []
        self._later: list[Callable[[], Any]] = []

    def later(self, write: Callable[..., Any], *values: Any) -> None:
        """Write this with the rest, before it and in the order of these calls."""
        self._later.append(partial(write, *values))

    def load(self, events: Sequence[Event]) -> None:
        """Lock and read the discharges of these events' clients."""
        self.load_clients({event.key for event in events})

    def load_clients(self, client_ids: Iterable[UUID]) -> None:
        """Lock and read the discharges of these clients; the client's row is the lock.

        What is at hand is not read again: that would take back what was changed since.
        """
        wanted = sorted(set(client_ids) - self._locked)
        if not wanted:
            return
        self._locked.update(wanted)
        those = {"ids": wanted}
        self._conn.execute(_LOCKED, those)
        for row in self._conn.execute(_DISCHARGES_OF, those):
            self._loaded[row.id] = self._now[row.id] = Discharge(**row._mapping)

    def discharge(self, discharge_id: UUID | None) -> Discharge | None:
        """A loaded discharge."""
        return self._now.get(discharge_id) if discharge_id else None

    def discharges_of(self, client_id: UUID) -> list[Discharge]:
        """A client's discharges, oldest first."""
        return [d for d in self._now.values() if d.client_id == client_id]

    def latest_open(self, client_id: UUID) -> Discharge | None:
        """The discharge that the client's support is about now."""
        still = [d for d in self.discharges_of(client_id) if d.is_open]
        return still[-1] if still else None

    def change(self, discharge: Discharge, **changes: Any) -> None:
        """Move a discharge on; a parked one shows its new state once it is released."""
        unparking = "unparked_state" in changes
        moving = changes.get("state") not in (None, "closed")
        if discharge.state == "parked" and moving and not unparking:
            changes["unparked_state"] = changes.pop("state")
        self._now[discharge.id] = replace(self._now[discharge.id], **changes)

    def add(self, discharge: Discharge, visit_token: str) -> None:
        """A new discharge, written with the rest; its details are still to come."""
        self._new[discharge.id] = visit_token
        self._now[discharge.id] = discharge

    def detail(self, client_id: UUID, discharge_id: UUID, details: Details) -> None:
        """What is now known of a discharge."""
        self._details[discharge_id] = client_id, details

    def step(self, client_id: UUID, discharge_id: UUID | None, what: str, **words: Any) -> None:
        """Add a step to the story. ``words`` name no one: codes, channels, purposes, moments."""
        cause = self._work.cause
        self._steps.append(
            {
                "client_id": client_id,
                "discharge_id": discharge_id,
                "at": cause.at if cause else self._work.now,
                "service": cause.producer if cause else self._work.participant.name,
                "what": what,
                "event_id": cause.event_id if cause else None,
                "words": words,
            }
        )

    def is_parked_elsewhere(self, client_id: UUID, than: str) -> bool:
        """Whether another service than this one cannot go on with this client."""
        rows = self._conn.execute(_PARKINGS_OF, {"client": client_id})
        latest = {row.service: row.what for row in rows}
        for one in self._steps:
            if one["client_id"] == client_id and one["what"] in _PARKINGS:
                latest[one["service"]] = one["what"]
        return any(what == "parked" for who, what in latest.items() if who != than)

    def open_task(
        self,
        kind: str,
        about: UUID,
        discharge: Discharge | None,
        *,
        facility_id: UUID | None = None,
        client_id: UUID | None = None,
    ) -> None:
        """Ask a person for something; the same thing is asked once at a time.

        ``client_id`` is whom it is about where no discharge says so. What belongs to no facility
        (a stranger's words of danger) is everybody's.
        """
        if discharge is not None and discharge.closed_because == "erased":
            # Nobody could tell any more whom it is about.
            return
        made = TASKS[kind]
        urgent = discharge is not None and discharge.high_risk
        self._tasks.append(
            {
                "id": uuid4(),
                "kind": kind,
                "about": about,
                "facility_id": discharge.facility_id if discharge else facility_id,
                "client_id": discharge.client_id if discharge else client_id,
                "discharge_id": discharge.id if discharge else None,
                "owner": made.owner,
                "high_risk": urgent,
                "opened_at": self._work.now,
                "due_at": self.task_due(kind, discharge),
            }
        )

    def task_due(self, kind: str, discharge: Discharge | None) -> datetime:
        """By when a task opened now is due: much sooner for a client at high risk."""
        due: timedelta = TASKS[kind].due
        if discharge is not None and discharge.high_risk:
            due = due * HIGH_RISK_DUE
        return self._work.now + due

    def close_tasks(self, about: UUID, *kinds: str, because: str) -> None:
        """What was asked has come about by itself."""
        for kind in kinds:
            self._tasks = [t for t in self._tasks if (t["kind"], t["about"]) != (kind, about)]
            if about not in self._new:
                self._done.append({"kind": kind, "about": about, "done_because": because})

    def close_every_task(self, client_id: UUID, *, because: str, but: str = "") -> None:
        """Nobody is asked for anything about this client any more, but for one kind of task."""
        self._tasks = [t for t in self._tasks if t["client_id"] != client_id or t["kind"] == but]
        self._conn.execute(
            update(TASK)
            .where(TASK.c.client_id == client_id, TASK.c.done_at.is_(None), TASK.c.kind != but)
            .values(done_at=self._work.now, done_because=because, done_by="itself")
        )

    def flush(self) -> None:
        """Write what changed."""
        for write in self._later:
            write()
        self._later = []
        details = {
            key: to_json(_sealed_details(self._work, client_id, key, plain))
            for key, (client_id, plain) in self._details.items()
        }
        new = [
            {name: getattr(self._now[key], name) for name in _SHOWN_NAMES}
            | {"visit_token": token, "details": details.pop(key)}
            for key, token in self._new.items()
        ]
        insert_many(self._conn, DISCHARGE, new)
        changed = [
            {name: getattr(now, name) for name in ("id", *_CHANGING)}
            for now in self._now.values()
            if now.id not in self._new and now != self._loaded[now.id]
        ]
        update_many(self._conn, DISCHARGE, changed, "id")
        detailed = [{"id": key, "details": kept} for key, kept in details.items()]
        update_many(self._conn, DISCHARGE, detailed, "id")
        by_itself = {"done_at": self._work.now, "done_by": "itself"}
        done = [one | by_itself for one in self._done]
        update_many(self._conn, TASK, done, "kind", "about", only="task.done_at IS NULL")
        if self._tasks:
            insert_many(self._conn, TASK, self._tasks, NOTHING)
        insert_many(self._conn, STEP, self._steps)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A client whose row is locked, with what is known of their discharges."""

    id: UUID
    person: Person | Destroyed
    details: dict[UUID, Details]
    died: bool


class Unopened(Exception):
    """What is kept of a client does not open; carries who it is."""

    def __init__(self, client_id: UUID) -> None:
        super().__init__("what is kept of a client does not open")
        self.client_id = client_id


def lock_client(work: Work, facility_id: UUID, record_token: str) -> Known | None:
    """The client of a record number, opened, if there is one; their row stays locked.

    Raises ``Unopened`` where what is kept of them does not open.
    """
    record = {"facility": facility_id, "record": record_token}
    row = work.conn.execute(_CLIENT_LOCKED, record).first()
    if row is None:
        return None
    work.keys.need((purpose, row.id) for purpose in PURPOSES)
    try:
        person = work.keys.open_kept(Person, row.person)
        details = _details_of(work, row.id)
    except NOT_OPENED as error:
        raise Unopened(row.id) from error
    return Known(id=row.id, person=person, details=details, died=row.died_at is not None)


def insert_client(
    work: Work, client_id: UUID, facility_id: UUID, record_token: str, person: Person
) -> None:
    """A client whom intake did not know."""
    row = {
        "id": client_id,
        "facility_id": facility_id,
        "record_token": record_token,
        "person": to_json(_sealed_person(work, client_id, person)),
    }
    work.fresh.add(client_id)
    work.store.later(insert_many, work.conn, CLIENT, [row])


def update_client(work: Work, client_id: UUID, person: Person) -> None:
    """What is now known of a client."""
    work.conn.execute(
        update(CLIENT)
        .where(CLIENT.c.id == client_id)
        .values(person=to_json(_sealed_person(work, client_id, person)))
    )


def find_by(work: Work, client_id: UUID, tokens: Iterable[str]) -> None:
    """A client is found by these tokens as well."""
    rows = [{"token": token, "client_id": client_id} for token in tokens]
    work.store.later(insert_many, work.conn, SEARCH_TOKEN, rows)


def find_no_more(work: Work, client_id: UUID) -> None:
    """A client is found by nothing that was known of them until now."""
    work.conn.execute(delete(SEARCH_TOKEN).where(SEARCH_TOKEN.c.client_id == client_id))


#: Begins what stands where a token was by which somebody was found; none has a stroke.
_ERASED = "erased/"


def find_nevermore(work: Work, client_id: UUID) -> None:
    """Nothing leads to a client who was erased: their record and visit numbers are somebody new."""
    find_no_more(work, client_id)
    erased = f"{_ERASED}{client_id}"
    work.conn.execute(update(CLIENT).where(CLIENT.c.id == client_id).values(record_token=erased))
    visit = func.concat(_ERASED, cast(DISCHARGE.c.id, Text))
    mine = DISCHARGE.c.client_id == client_id
    work.conn.execute(update(DISCHARGE).where(mine).values(visit_token=visit))


def is_client(conn: Connection, client_id: UUID) -> bool:
    """Whether there is, or was, such a client."""
    return conn.execute(select(CLIENT.c.id).where(CLIENT.c.id == client_id)).first() is not None


def home_of(conn: Connection, client_id: UUID) -> UUID | None:
    """The facility of a client; None for one who was erased, of whom nobody could tell any more."""
    erased = CLIENT.c.record_token.startswith(_ERASED)
    query = select(CLIENT.c.facility_id).where(CLIENT.c.id == client_id, ~erased)
    found: UUID | None = conn.execute(query).scalar()
    return found


def name_mentor(work: Work, mentor_id: UUID, name: dict[str, Any]) -> None:
    """The name that a mentor goes by, sealed."""
    upsert_many(work.conn, MENTOR_NAME, [{"mentor_id": mentor_id, "name": name}], "mentor_id")


def forget_mentor(work: Work, mentor_id: UUID) -> None:
    """A mentor who was erased has no name any more."""
    work.conn.execute(delete(MENTOR_NAME).where(MENTOR_NAME.c.mentor_id == mentor_id))


def mark_died(work: Work, client_id: UUID) -> None:
    """A client has died."""
    died = update(CLIENT).where(CLIENT.c.id == client_id).values(died_at=work.now)
    work.store.later(work.conn.execute, died)


def _sealed_person(work: Work, client_id: UUID, person: Person) -> Sealed:
    return work.keys.seal(person, "identity", client_id, f"client/{client_id}/person")


def _sealed_details(work: Work, client_id: UUID, discharge_id: UUID, details: Details) -> Sealed:
    return work.keys.seal(details, "identity", client_id, f"discharge/{discharge_id}/details")


def _details_of(work: Work, client_id: UUID) -> dict[UUID, Details]:
    """The opened details of a client's discharges; those whose key is destroyed are left out."""
    query = select(DISCHARGE.c.id, DISCHARGE.c.details).where(DISCHARGE.c.client_id == client_id)
    opened = {row.id: work.keys.open_kept(Details, row.details) for row in work.conn.execute(query)}
    return {key: value for key, value in opened.items() if isinstance(value, Details)}


def discharge_of_visit(conn: Any, client_id: UUID, visit_token: str) -> UUID | None:
    """The discharge of a client's visit, if there is one."""
    query = select(DISCHARGE.c.id).where(
        DISCHARGE.c.client_id == client_id, DISCHARGE.c.visit_token == visit_token
    )
    found: UUID | None = conn.execute(query).scalar()
    return found


def client_of_discharge(conn: Any, facility_id: UUID, discharge_id: UUID) -> UUID | None:
    """Whose discharge it is, if it is one of this facility."""
    query = select(DISCHARGE.c.client_id).where(
        DISCHARGE.c.id == discharge_id, DISCHARGE.c.facility_id == facility_id
    )
    found: UUID | None = conn.execute(query).scalar()
    return found


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A consent in force."""

    channel: str
    wording: str
    method: str
    given_at: datetime


def agreements(conn: Any, client_id: UUID) -> dict[str, Agreement]:
    """A client's consents in force, by channel."""
    query = select(
        CONSENT.c.channel, CONSENT.c.wording, CONSENT.c.method, CONSENT.c.given_at
    ).where(CONSENT.c.client_id == client_id, CONSENT.c.revoked_at.is_(None))
    return {row.channel: Agreement(**row._mapping) for row in conn.execute(query)}


def revocations(conn: Any, client_id: UUID) -> dict[str, datetime]:
    """When a client last took back their consent, by channel."""
    query = (
        select(CONSENT.c.channel, func.max(CONSENT.c.revoked_at).label("at"))
        .where(CONSENT.c.client_id == client_id, CONSENT.c.revoked_at.is_not(None))
        .group_by(CONSENT.c.channel)
    )
    return {row.channel: row.at for row in conn.execute(query)}


def revoke(work: Work, client_id: UUID, channel: str) -> None:
    """A consent is taken back from now on; what was done under it stays on record."""
    work.conn.execute(
        update(CONSENT)
        .where(CONSENT.c.client_id == client_id, CONSENT.c.channel == channel)
        .where(CONSENT.c.revoked_at.is_(None))
        .values(revoked_at=work.now)
    )


def give(work: Work, client_id: UUID, given: Sequence[tuple[Agreement, str]]) -> None:
    """Consents, each with who obtained it, are in force from now on."""
    rows = []
    for agreement, obtained_by in given:
        bound = f"consent/{client_id}/{agreement.channel}/{agreement.given_at.isoformat()}"
        sealed = work.keys.seal(obtained_by, "record", client_id, bound)
        rows.append(
            asdict(agreement)
            | {"client_id": client_id, "obtained_by": to_json(sealed), "recorded_at": work.now}
        )
    work.store.later(insert_many, work.conn, CONSENT, rows)


def facility_by_code(conn: Any, code: str) -> Facility | None:
    """A facility by the code that its tokens and files use."""
    row = conn.execute(_FACILITY_BY_CODE, {"code": code}).first()
    return _facility(row) if row else None


def facility_by_id(conn: Any, facility_id: UUID) -> Facility:
    """A facility that exists."""
    return _facility(conn.execute(select(FACILITY).where(FACILITY.c.id == facility_id)).one())


def _facility(row: Any) -> Facility:
    facility: Facility = load_wire(Facility, {"id": str(row.id), "code": row.code, **row.settings})
    return facility


def put_facility(work: Work, facility: Facility, settings: dict[str, Any], people: Sealed) -> None:
    """A facility's settings as they now stand."""
    row = {"id": facility.id, "code": facility.code, "settings": settings}
    statement = upsert(FACILITY).values(**row, people=to_json(people))
    work.conn.execute(
        statement.on_conflict_do_update(
            index_elements=[FACILITY.c.id],
            set_={"settings": statement.excluded.settings, "people": statement.excluded.people},
        )
    )


def earlier_answer(work: Work, caller: str, key_token: str) -> tuple[str, dict[str, Any]] | None:
    """What was answered to this key before, and the token of what was asked."""
    row = work.conn.execute(
        select(ANSWERED).where(ANSWERED.c.caller == caller, ANSWERED.c.key_token == key_token)
    ).first()
    return (row.body_token, row.answer) if row else None


def remember_answer(
    work: Work, caller: str, key_token: str, body_token: str, answer: dict[str, Any]
) -> None:
    """Keep an answer, so that the same request gets it again."""
    work.conn.execute(
        insert(ANSWERED).values(
            caller=caller, key_token=key_token, body_token=body_token, answer=answer, at=work.now
        )
    )


def close(work: Work, discharge: Discharge, because: str) -> None:
    """End a discharge: nothing is expected of anybody any more."""
    work.store.change(
        discharge, state="closed", closed_because=because, next_what=None, next_by=None
    )
    work.store.close_tasks(discharge.id, "held", because=because)
    end_support(work, discharge, because)


def end_support(work: Work, discharge: Discharge, because: str) -> None:
    """Nothing is expected any more of whoever stood beside the client, or was to find somebody."""
    asked = ("nobody_available", "first_contact_late", "not_placed")
    work.store.close_tasks(discharge.id, *asked, because=because)
    for name in ("placed", "contact"):
        work.timers.revoke(discharge.client_id, f"{name}/{discharge.id}")
