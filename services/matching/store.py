"""Matching's tables and the only SQL on them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from contracts.event import Event
from contracts.intake import AboutClient, FacilityChanged
from contracts.matching import Why
from messaging import parking
from messaging.at_hand import AtHand, assert_ones_own
from messaging.parking import goes_on
from messaging.rows import (
    NOTHING,
    among,
    among_given,
    ask_together,
    insert_many,
    upsert_many,
)
from messaging.sealing import nothing, to_json
from services.matching.choosing import Candidate, Lasting, Seeker
from services.matching.roster import MentorRow

if TYPE_CHECKING:
    from messaging.work import Work

log = logging.getLogger(__name__)

METADATA = MetaData()
_MOMENT = DateTime(timezone=True)
_ACTIVE = text("state <> 'ended'")

FACILITY = Table(
    "facility",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("time_zone", Text, nullable=False),
    Column("asks", Boolean, nullable=False),
    Column("quiet_hours", Text, nullable=False),
)
MENTOR = Table(
    "mentor",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("facility_ids", ARRAY(Uuid), nullable=False),
    Column("capacity", Integer, CheckConstraint("capacity >= 0"), nullable=False),
    Column("state", Text, nullable=False),
    Column("stopped", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("profile", JSONB, nullable=False),
    Index("mentor_facilities", "facility_ids", postgresql_using="gin"),
)
CLIENT = Table(
    "client",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("facility_id", Uuid, nullable=False),
    Column("discharge_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("high_risk", Boolean, nullable=False),
    Column("waiting_since", _MOMENT, nullable=False),
    Column("about", JSONB, nullable=False),
    Column("untold", Boolean, nullable=False, server_default=text("false")),
    Index(
        "client_waiting",
        "facility_id",
        "high_risk",
        "waiting_since",
        postgresql_where=text("state = 'waiting'"),
    ),
)
ASSIGNMENT = Table(
    "assignment",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Uuid, ForeignKey("client.id"), nullable=False),
    Column("discharge_id", Uuid, nullable=False),
    Column("mentor_id", Uuid, ForeignKey("mentor.id"), nullable=False),
    Column("place", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("offered_at", _MOMENT),
    Column("answer_by", _MOMENT),
    Column("assigned_at", _MOMENT),
    Column("contact_at", _MOMENT),
    Column("ended_at", _MOMENT),
    Column("end_reason", Text),
    Column("why", JSONB),
    Column("decided_by", Uuid),
    Index("assignment_client", "client_id"),
    Index("one_mentor", "client_id", unique=True, postgresql_where=_ACTIVE),
    Index("one_client_a_place", "mentor_id", "place", unique=True, postgresql_where=_ACTIVE),
    Index("one_open_offer", "mentor_id", unique=True, postgresql_where=text("state = 'offered'")),
)
ROSTER_LOAD = Table(
    "roster_load",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("facility_id", Uuid, nullable=False),
    Column("at", _MOMENT, nullable=False),
    Column("state", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("errors", JSONB, nullable=False),
)
ROSTER_CHUNK = Table(
    "roster_chunk",
    METADATA,
    Column("load_id", Uuid, ForeignKey("roster_load.id"), nullable=False),
    Column("place", Integer, nullable=False),
    Column("mentors", JSONB, nullable=False),
    PrimaryKeyConstraint("load_id", "place"),
)
REFUSAL = Table(
    "refusal",
    METADATA,
    Column("client_id", Uuid),
    Column("mentor_id", Uuid),
    Column("at", _MOMENT, nullable=False),
    PrimaryKeyConstraint("client_id", "mentor_id"),
)


@dataclass(frozen=True, kw_only=True)
class Facility:
    """What matching needs to know of a facility."""

    id: UUID
    code: str
    time_zone: str
    asks: bool
    quiet_hours: str


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client as matching sees one. ``about`` is None when their key was destroyed.

    ``state``: seeking (in this piece of work alone), waiting, placed, held, ended. ``untold``: they
    wait, and nobody was told so, since they could not be looked for when they began to.
    """

    id: UUID
    facility_id: UUID
    discharge_id: UUID
    state: str
    high_risk: bool
    waiting_since: datetime
    about: AboutClient | None
    untold: bool = False


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """This mentor, this client, from when to when.

    ``why`` they were chosen is sealed for matching; ``decided_by`` is the account of whoever chose
    by hand.
    """

    id: UUID
    client_id: UUID
    discharge_id: UUID
    mentor_id: UUID
    place: int
    state: str
    offered_at: datetime | None = None
    answer_by: datetime | None = None
    assigned_at: datetime | None = None
    contact_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    why: Any = None
    decided_by: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Mentor:
    """A mentor with the places that are taken. ``profile`` is what their file says of them."""

    id: UUID
    facility_ids: tuple[UUID, ...]
    capacity: int
    state: str
    stopped: bool
    revision: int
    profile: MentorRow
    taken: frozenset[int] = frozenset()
    has_open_offer: bool = False

    @cached_property
    def candidate(self) -> Candidate:
        """The mentor as choosing sees them now."""
        profile = self.profile
        return Candidate(
            mentor_id=self.id,
            facility_ids=frozenset(self.facility_ids),
            languages=frozenset(profile.languages),
            pathways=frozenset(profile.pathways),
            strengths=frozenset(profile.strengths),
            moud_friendly=profile.moud_friendly,
            gender=profile.gender,
            age_band=profile.age_band,
            time_zone=profile.time_zone,
            capacity=self.capacity,
            load=len(self.taken),
            active=self.state == "active",
            route=profile.route,
            route_ends_on=profile.route_ends_on,
            credential_ends_on=profile.credential_ends_on,
            recovery_since=profile.recovery_since,
            opted_in=profile.opted_in_at is not None and not self.stopped,
            has_open_offer=self.has_open_offer,
        )

    def free_place(self) -> int:
        """The lowest place that nobody holds; the caller has checked that there is one."""
        return next(n for n in range(1, self.capacity + 1) if n not in self.taken)


def _with_places(mentors: Mapping[UUID, Mentor], held: Iterable[Any]) -> dict[UUID, Mentor]:
    """Mentors with the places that are taken; all others are the same objects as before."""
    holding = {
        row.mentor_id: replace(
            mentors[row.mentor_id], taken=frozenset(row.places), has_open_offer=row.asked
        )
        for row in held
        if row.mentor_id in mentors
    }
    return {**mentors, **holding}


def seeker_of(client: Client, refused: frozenset[UUID]) -> Seeker | None:
    """The client as choosing sees them; None when nothing may be known of them any more."""
    about = client.about
    if about is None:
        return None
    return Seeker(
        client_id=client.id,
        facility_id=client.facility_id,
        language=about.language,
        moud=about.moud,
        needs=frozenset(about.needs),
        pathways=frozenset(about.pathways),
        high_risk=client.high_risk,
        wants_gender=about.wants_gender,
        wants_age_band=about.wants_age_band,
        time_zone=about.time_zone,
        refused=refused,
        waiting_since=client.waiting_since,
    )


def _client(row: Any, about: AboutClient | None) -> Client:
    values = {f.name: getattr(row, f.name) for f in fields(Client) if f.name != "about"}
    return Client(**values, about=about)


_TIMES = ("state", "discharge_id", "assigned_at", "contact_at", "ended_at", "end_reason")
_KEPT = tuple(column.name for column in ASSIGNMENT.c)
_CLIENTS = select(CLIENT).where(among_given(CLIENT.c.id)).order_by(CLIENT.c.id)
_MENTORS = (
    select(MENTOR)
    .where(MENTOR.c.facility_ids.contains(bindparam("facility", type_=ARRAY(Uuid))))
    .order_by(MENTOR.c.id)
)
_THESE_MENTORS = _MENTORS.where(among_given(MENTOR.c.id))
_LOCKING = {query: query.with_for_update() for query in (_CLIENTS, _MENTORS, _THESE_MENTORS)}
_ACTIVE_OF = select(ASSIGNMENT).where(among_given(ASSIGNMENT.c.client_id), _ACTIVE)
_HELD = (
    select(
        ASSIGNMENT.c.mentor_id,
        func.array_agg(ASSIGNMENT.c.place).label("places"),
        func.bool_or(ASSIGNMENT.c.state == "offered").label("asked"),
    )
    .where(_ACTIVE)
    .group_by(ASSIGNMENT.c.mentor_id)
)
_HELD_BY = _HELD.where(among_given(ASSIGNMENT.c.mentor_id))
_HELD_AT = _HELD.where(ASSIGNMENT.c.mentor_id.in_(_MENTORS.with_only_columns(MENTOR.c.id)))
#: Other numbers as soon as any of a facility's mentors has another row, or there are others.
_EDITION = text(
    "SELECT count(*), bit_xor(hashtextextended(id || ' ' || xmin, 0)) FROM mentor"
    " WHERE facility_ids @> CAST(:facility AS uuid[])"
)
#: A savepoint that goes with the lock it stands before, which saves two waits.
_MARK, _BACK_TO_MARK = text("SAVEPOINT tentatively"), text("ROLLBACK TO SAVEPOINT tentatively")
_FACILITIES = select(FACILITY).where(among_given(FACILITY.c.id))


#: The mentors of facilities, each in the edition in which they were read and opened, with what was
#: judged of them.
Rosters = dict[UUID, tuple[object, Mapping[UUID, Mentor], Lasting]]


class Store:
    """The clients at hand, their assignments, and the mentors of their facilities."""

    def __init__(self, work: Work, kept: Rosters) -> None:
        self._work = work
        self._conn = work.conn
        self._kept = kept
        self.clients: AtHand[Client] = AtHand()
        self.traces: dict[UUID, str] = {}
        #: Facilities where a place, a mentor or a rule changed, so that those who wait may go on.
        self.eased: set[UUID] = set()
        #: A page only looks: it locks nothing, so that nobody waits for a reader.
        self.only_looks = False
        #: Who was met, does not open, and is set aside at the end.
        self._unopened: dict[UUID, Exception] = {}
        self._opened_mentors = 0
        self._before: dict[UUID, Client] = {}
        self._active: dict[UUID, Assignment] = {}
        self._loaded: dict[UUID, Assignment] = {}
        self._ended: list[Assignment] = []
        self._new: dict[UUID, Assignment] = {}
        self._refusals: list[tuple[UUID, UUID]] = []

    def load(self, events: Sequence[Event]) -> None:
        """Lock and read the clients of these events with their assignments."""
        self.clients.erased.update(event.key for event in events if event.erases)
        self.load_clients({event.key for event in events})

    def load_clients(self, client_ids: Iterable[UUID]) -> None:
        """Lock and read these clients, in the order of their ids."""
        wanted = sorted({one for one in client_ids if not self.clients.is_read(one)})
        self._take_in(self._conn.execute(self._locked(_CLIENTS), {"ids": wanted}).all())

    def _locked(self, query: Select[Any]) -> Select[Any]:
        return query if self.only_looks else _LOCKING[query]

    def going_on(self, client_ids: Collection[UUID]) -> set[UUID]:
        """Those of these clients of whom nothing is parked or early."""
        query = select(CLIENT.c.id).where(among(CLIENT.c.id, client_ids), goes_on(CLIENT.c.id))
        return set(self._conn.execute(query).scalars())

    def load_untold(self, facility_id: UUID) -> list[Client]:
        """Lock and read those who wait at a facility, and of whom nobody was told."""
        query = (
            select(CLIENT)
            .where(CLIENT.c.facility_id == facility_id, CLIENT.c.state == "waiting")
            .where(CLIENT.c.untold, goes_on(CLIENT.c.id))
            .with_for_update(skip_locked=True)
        )
        rows = [row for row in self._conn.execute(query) if not self.clients.is_read(row.id)]
        self._take_in(rows, told_of="identity")
        return [self.clients[row.id] for row in rows if row.id in self.clients]

    def load_waiting(self, facility_id: UUID, *, beyond: Client | None, limit: int) -> list[Client]:
        """Lock the next clients who wait at a facility, riskiest and longest first.

        Those that somebody else is deciding on are passed over: waiting for them could deadlock.
        So is whoever waits for more than a mentor: what is parked or early may say something else.
        """
        # Their turn is read from rows: one at hand that stands elsewhere would be met for ever.
        self._write_clients()
        query = (
            select(CLIENT)
            .where(CLIENT.c.facility_id == facility_id, CLIENT.c.state == "waiting")
            .where(goes_on(CLIENT.c.id))
            .order_by(CLIENT.c.high_risk.desc(), CLIENT.c.waiting_since, CLIENT.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        if beyond is not None:
            query = query.where(
                text(
                    "(NOT high_risk, waiting_since, id) > (NOT CAST(:risk AS boolean), :at, :id)"
                ).bindparams(risk=beyond.high_risk, at=beyond.waiting_since, id=beyond.id)
            )
        rows = self._conn.execute(query).all()
        fresh = [row for row in rows if not self.clients.is_read(row.id)]
        # Whoever is placed is told of to intake, under a key of its own.
        self._take_in(fresh, told_of="identity")
        found = [self.clients[row.id] for row in rows if row.id in self.clients]
        unopened = self.clients.unopened
        troubled = {row.id: unopened[row.id] for row in rows if row.id in unopened}
        # Where mentors open, it is no trouble of ours.
        assert_ones_own(troubled.values(), len(rows) + self._opened_mentors)
        self._set_aside(troubled)
        if rows and not found:
            # They wait no longer, so that others come.
            return self.load_waiting(facility_id, beyond=beyond, limit=limit)
        return found

    def set_aside_unopened(self) -> None:
        """Those who were met and do not open, once nothing of this work is let go of any more."""
        self._set_aside(self._unopened)

    def _set_aside(self, unopened: Mapping[UUID, Exception]) -> None:
        """Whoever cannot be opened waits for a person, and nobody waits for them."""
        for key, error in unopened.items():
            if parking.set_aside(self._work, key, parking.caused_by("placing", error)):
                log.error("what is kept of somebody cannot be opened", exc_info=error)

    def _take_in(self, rows: Sequence[Any], *, told_of: str = "about") -> None:
        self._work.keys.need((purpose, row.id) for row in rows for purpose in ("about", told_of))
        for row in rows:
            opening = partial(self._about, row, told_of)
            client = self.clients.open(row.id, opening, partial(_client, row))
            if client is not None:
                self._before[row.id] = client
            elif row.state == "waiting":
                # Let go of, perhaps, though they do not open yet.
                self._unopened[row.id] = self.clients.unopened[row.id]
        ids = [row.id for row in rows]
        for row in self._conn.execute(_ACTIVE_OF, {"ids": ids}) if ids else ():
            assignment = Assignment(**row._mapping)
            self._active[row.client_id] = self._loaded[row.id] = assignment

    def _about(self, row: Any, told_of: str) -> Any:
        self._work.keys.assert_there(told_of, row.id)
        return self._work.keys.open_kept(AboutClient, row.about)

    def put(self, client: Client) -> None:
        """A client as they now stand."""
        self.clients[client.id] = client
        self._unopened.pop(client.id, None)
        self.traces.setdefault(client.id, self._work.traceparent)

    def stand(self, client_id: UUID, state: str) -> None:
        """Let a client stand so from now on.

        For whoever does not open nobody can be looked for: they wait, and are set aside.
        """
        if client_id not in self.clients.unopened:
            self.put(replace(self.clients[client_id], state=state, untold=state == "waiting"))
            return
        changes = {"state": state, "untold": state == "waiting"}
        if state == "seeking":
            self._unopened[client_id] = self.clients.unopened[client_id]
            changes = {"state": "waiting", "untold": True}
        self._conn.execute(update(CLIENT).where(CLIENT.c.id == client_id).values(changes))

    def active(self, client_id: UUID) -> Assignment | None:
        """The client's offer or assignment, if there is one."""
        return self._active.get(client_id)

    def begin(self, assignment: Assignment, why: Why) -> Assignment:
        """A new offer or assignment, and why it is this one."""
        bound = f"assignment/{assignment.id}/why"
        sealed = self._work.keys.seal(why, "about", assignment.client_id, bound)
        assignment = replace(assignment, why=to_json(sealed))
        self._active[assignment.client_id] = assignment
        self._new[assignment.id] = assignment
        return assignment

    def change(self, assignment: Assignment, **changes: Any) -> Assignment:
        """Move an offer or assignment on."""
        changed = replace(assignment, **changes)
        self._active[changed.client_id] = changed
        if changed.id in self._new:
            self._new[changed.id] = changed
        if changed.state == "ended":
            del self._active[changed.client_id]
            if changed.id not in self._new:
                self._ended.append(changed)
        return changed

    def refuse(self, client_id: UUID, mentor_id: UUID) -> None:
        """These two are not brought together again."""
        self._refusals.append((client_id, mentor_id))

    def mentor_of(self, client_id: UUID, assignment_id: UUID) -> UUID | None:
        """The mentor of a client's offer or assignment, whether or not it still stands."""
        query = select(ASSIGNMENT.c.client_id, ASSIGNMENT.c.mentor_id)
        stored = query.where(ASSIGNMENT.c.id == assignment_id)
        one = self._new.get(assignment_id) or self._conn.execute(stored).first()
        return one.mentor_id if one is not None and one.client_id == client_id else None

    def refused(self, client_ids: Iterable[UUID]) -> dict[UUID, frozenset[UUID]]:
        """For each client, the mentors who said no or to whom the client said no."""
        found: dict[UUID, set[UUID]] = {}
        # Of a client who was not known until now, nothing is stored.
        known = [client_id for client_id in client_ids if client_id in self._before]
        query = select(REFUSAL).where(among(REFUSAL.c.client_id, known))
        rows = self._conn.execute(query) if known else ()
        pairs = [(row.client_id, row.mentor_id) for row in rows]
        for client_id, mentor_id in [*pairs, *self._refusals]:
            found.setdefault(client_id, set()).add(mentor_id)
        return {client_id: frozenset(mentors) for client_id, mentors in found.items()}

    def mentors_of(
        self, facility_id: UUID, only: Iterable[UUID] | None = None, *, tentatively: bool = False
    ) -> dict[UUID, Mentor]:
        """Lock and read a facility's mentors, or some, with the places that are taken now.

        ``tentatively``: so that ``let_go`` can let go of them again.
        """
        self._write_assignments()
        those: dict[str, Any] = {"facility": [facility_id]}
        query, holding = _MENTORS, _HELD_AT
        if only is not None:
            query, holding, those["ids"] = _THESE_MENTORS, _HELD_BY, list(only)
        before: list[Any] = [(_MARK, {})] if tentatively else []
        *_, rows, held = ask_together(
            self._conn, *before, (self._locked(query), those), (holding, those)
        )
        return _with_places(self._opened(rows), held)

    def let_go(self) -> None:
        """Lock none of those who were locked tentatively."""
        self._conn.execute(_BACK_TO_MARK)

    def roster(self, facility_id: UUID) -> tuple[dict[UUID, Mentor], Lasting]:
        """A facility's mentors, locked by nobody: whoever is chosen is to be looked at again.

        They are kept from one piece of work to the next, with what was judged of them; only their
        places are read each time.
        """
        self._write_assignments()
        at = {"facility": [facility_id]}
        since = self._work.participant.keyring.remembers_since
        [[found], held] = ask_together(self._conn, (_EDITION, at), (_HELD_AT, at))
        edition = (*found, since)
        kept = self._kept.get(facility_id)
        if kept is None or kept[0] != edition:
            rows = self._conn.execute(_MENTORS, at).all()
            kept = (edition, self._opened(rows), Lasting())
            # Whoever does not open now may do so without another row.
            if len(kept[1]) == len(rows):
                self._kept[facility_id] = kept
        return _with_places(kept[1], held), kept[2]

    def _opened(self, rows: Sequence[Any]) -> dict[UUID, Mentor]:
        """Mentors as their rows say, holding no place; nobody whose keys were destroyed."""
        profiles = self._profiles(rows)
        return {
            row.id: Mentor(
                id=row.id,
                facility_ids=tuple(row.facility_ids),
                capacity=row.capacity,
                state=row.state,
                stopped=row.stopped,
                revision=row.revision,
                profile=profiles[row.id],
            )
            for row in rows
            if row.id in profiles
        }

    def mentor(self, mentor_id: UUID) -> Any | None:
        """A mentor's row, locked."""
        query = select(MENTOR).where(MENTOR.c.id == mentor_id).with_for_update()
        return self._conn.execute(query).first()

    def clients_of(self, mentor_id: UUID) -> list[UUID]:
        """Whom a mentor stands beside, or is asked about, in the order of their ids."""
        query = select(ASSIGNMENT.c.client_id).where(ASSIGNMENT.c.mentor_id == mentor_id, _ACTIVE)
        return list(self._conn.execute(query.order_by(ASSIGNMENT.c.client_id)).scalars())

    def forget_mentor(self, mentor_id: UUID) -> None:
        """A mentor who was erased is asked by nobody; their code in a roster is somebody new."""
        erased = {"state": "erased", "stopped": True, "facility_ids": []}
        changes = {**erased, "code": f"erased/{mentor_id}"}
        self._conn.execute(update(MENTOR).where(MENTOR.c.id == mentor_id).values(changes))

    def caseloads(self, mentor_ids: Iterable[UUID]) -> dict[UUID, int]:
        """How many clients each of these mentors stands beside, of those who have any."""
        query = (
            select(ASSIGNMENT.c.mentor_id, func.count().label("clients"))
            .where(among(ASSIGNMENT.c.mentor_id, mentor_ids))
            .where(ASSIGNMENT.c.state.in_(("assigned", "in_contact")))
            .group_by(ASSIGNMENT.c.mentor_id)
        )
        return {row.mentor_id: row.clients for row in self._conn.execute(query)}

    def mentor_facilities(self, mentor_id: UUID) -> list[UUID]:
        """Where a mentor may be asked."""
        query = select(MENTOR.c.facility_ids).where(MENTOR.c.id == mentor_id)
        found: list[UUID] = self._conn.execute(query).scalar() or []
        return found

    def _profiles(self, rows: Sequence[Any]) -> dict[UUID, MentorRow]:
        """What their files say; nothing of those whose keys were destroyed, or do not open."""
        # Why one of them is chosen is sealed for the client: one look finds all of these keys.
        seekers = [("identity", client_id) for client_id in self.clients]
        self._work.keys.need([*(("about", row.id) for row in rows), *seekers])
        profiles: AtHand[MentorRow | None] = AtHand()
        for row in rows:
            opening = partial(self._work.keys.open_kept, MentorRow, row.profile)
            profiles.open(row.id, opening)
        assert_ones_own(profiles.unopened.values(), len(rows))
        self._opened_mentors += len(profiles)
        self._unopened |= profiles.unopened
        return {key: profile for key, profile in profiles.items() if profile is not None}

    def facilities(self, ids: Iterable[UUID]) -> dict[UUID, Facility]:
        """Facilities by id."""
        rows = self._conn.execute(_FACILITIES, {"ids": list(ids)})
        return {row.id: Facility(**row._mapping) for row in rows}

    def put_facility(self, event: FacilityChanged) -> None:
        """A facility's settings as they now stand."""
        row = {f.name: getattr(event, f.name) for f in fields(Facility) if f.name != "id"}
        statement = upsert(FACILITY).values(id=event.facility_id, **row)
        self._conn.execute(
            statement.on_conflict_do_update(index_elements=[FACILITY.c.id], set_=row)
        )

    def flush(self) -> None:
        """Write what changed."""
        self._write_clients()
        self._write_assignments()
        refusals = [
            {"client_id": client_id, "mentor_id": mentor_id, "at": self._work.now}
            for client_id, mentor_id in self._refusals
        ]
        insert_many(self._conn, REFUSAL, refusals, NOTHING)
        self._refusals = []

    def _write_clients(self) -> None:
        rows = [
            self._client_row(client)
            for client in self.clients.values()
            if client != self._before.get(client.id)
        ]
        upsert_many(self._conn, CLIENT, rows, "id")
        self._before |= self.clients

    def _client_row(self, client: Client) -> dict[str, Any]:
        place = ("about", client.id, f"client/{client.id}/about")
        # Whoever is erased may still have their key for a moment.
        sealed = (
            nothing(*place) if client.about is None else self._work.keys.seal(client.about, *place)
        )
        row = {f.name: getattr(client, f.name) for f in fields(Client)}
        return row | {"about": to_json(sealed)}

    def _write_assignments(self) -> None:
        """Write what the guards must see: first what ended, then what moved, then what began."""
        current = {**{a.id: a for a in self._active.values()}, **{a.id: a for a in self._ended}}
        moved = [a for a in current.values() if a.id in self._loaded and a != self._loaded[a.id]]
        if moved:
            self._conn.execute(
                update(ASSIGNMENT)
                .where(ASSIGNMENT.c.id == bindparam("b_id"))
                .values({name: bindparam(f"b_{name}") for name in _TIMES}),
                [{f"b_{n}": getattr(a, n) for n in ("id", *_TIMES)} for a in moved],
            )
            self._loaded |= {a.id: a for a in moved}
        if self._new:
            self._write_clients()
            rows = [{n: getattr(a, n) for n in _KEPT} for a in self._new.values()]
            insert_many(self._conn, ASSIGNMENT, rows)
            self._loaded |= self._new
            self._new = {}
