"""Mentors come and change: the roster file, and what a mentor says of their own state."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from contracts.event import Event
from contracts.matching import MentorChanged, MentorContact, MentorName
from contracts.notifications import MentorProfileGiven
from contracts.sealed import opened
from messaging.at_hand import AtHand, assert_ones_own
from messaging.rows import among
from messaging.sealing import to_json
from messaging.work import Participant, Work
from services.matching.roster import MentorRow, RosterRead, RowError, read_mentors
from services.matching.store import FACILITY, MENTOR

#: How many rows are stored in one transaction.
BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What came of a roster file."""

    stored: int
    unchanged: int
    errors: tuple[RowError, ...]


def load_roster(
    participant: Participant,
    text: str | bytes,
    *,
    reveals: Callable[[str], bool] = lambda words: False,
) -> Loaded:
    """Store the mentors of a roster file; rows with an error are named and left out.

    Loading a file again updates the mentors that it names, and leaves the others alone.
    ``reveals`` says of words whether they must not stand in a message.
    """
    read = read_mentors(text, reveals=reveals)
    with participant.engine.connect() as conn:
        rows = conn.execute(select(FACILITY.c.code, FACILITY.c.id))
        facilities = {row.code: row.id for row in rows}
    known, errors = _at_known_facilities(read, facilities)
    stored = 0
    for start in range(0, len(known), BATCH):
        stored += _store(participant, known[start : start + BATCH])
    return Loaded(stored=stored, unchanged=len(known) - stored, errors=(*read.errors, *errors))


def _at_known_facilities(
    read: RosterRead, facilities: Mapping[str, UUID]
) -> tuple[list[MentorRow], list[RowError]]:
    known: list[MentorRow] = []
    errors: list[RowError] = []
    for line, row in zip(read.lines, read.mentors, strict=True):
        if set(row.facilities) <= facilities.keys():
            known.append(row)
        else:
            message = f"Use facilities that are loaded here: {', '.join(sorted(facilities))}"
            errors.append(RowError(line=line, field="facilities", message=message))
    return known, errors


def _store(participant: Participant, rows: Sequence[MentorRow]) -> int:
    ids = ids_of(participant, rows)
    stored = 0

    def command(work: Work) -> Iterator[Event]:
        nonlocal stored
        stored = yield from put_mentors(work, rows, ids)

    participant.transact(command)
    return stored


def ids_of(participant: Participant, rows: Sequence[MentorRow]) -> dict[str, UUID]:
    """The id of each mentor by code, a new one where there is none; all of them have keys then."""
    with participant.engine.connect() as conn:
        known = known_ids(conn, rows)
    return with_new_ids(participant, rows, known)


def known_ids(conn: Connection, rows: Iterable[MentorRow]) -> dict[str, UUID]:
    """The ids of those whom these codes name now; whoever was erased has no code any more."""
    codes = [row.code for row in rows]
    query = select(MENTOR.c.code, MENTOR.c.id).where(among(MENTOR.c.code, codes))
    return {row.code: row.id for row in conn.execute(query)}


def with_new_ids(
    participant: Participant, rows: Sequence[MentorRow], known: Mapping[str, UUID]
) -> dict[str, UUID]:
    """The same with a new id for each code that names nobody; all of them have keys then."""
    ids = {row.code: known.get(row.code) or uuid4() for row in rows}
    participant.keyring.make(ids.values())
    return ids


def put_mentors(
    work: Work, rows: Sequence[MentorRow], ids: Mapping[str, UUID]
) -> Generator[Event, None, int]:
    """Store those that differ from what is known of them; how many did.

    Where what is known of one does not open, they are stored as the file says, but for a state in
    which nobody is asked: that stays. Where nothing opens, nobody is stored, and why is raised.
    """
    work.keys.need(("about", mentor_id) for mentor_id in ids.values())
    query = select(MENTOR).where(MENTOR.c.id.in_(ids.values())).order_by(MENTOR.c.id)
    current = {row.id: row for row in work.conn.execute(query.with_for_update())}
    known = work.conn.execute(select(FACILITY.c.code, FACILITY.c.id))
    facilities = {row.code: row.id for row in known}
    caseloads = work.store.caseloads(ids.values())
    profiles: AtHand[Any] = AtHand()
    for mentor_id, kept in current.items():
        profiles.open(mentor_id, partial(work.keys.open_kept, MentorRow, kept.profile))
    assert_ones_own(profiles.unopened.values(), len(current))
    stored = 0
    for row in rows:
        mentor_id = ids[row.code]
        before = current.get(mentor_id)
        if before is not None and before.state == "erased":
            # Since their id was looked up by their code.
            continue
        is_opened = mentor_id not in profiles.unopened
        profile = profiles.get(mentor_id) if is_opened else None
        if profile == row:
            continue
        stored += 1
        # What the file says as it said before is no newer than what the mentor texted since.
        said = profile.state if isinstance(profile, MentorRow) else None
        stays = said == row.state or (not is_opened and row.state == "active")
        state = before.state if before is not None and stays else row.state
        at = tuple(facilities[code] for code in row.facilities)
        work.store.eased.update(at)
        _put(work, mentor_id, row, at, state, before)
        yield _changed(work, mentor_id, row, at, state, caseloads.get(mentor_id, 0))
    return stored


def _put(
    work: Work, mentor_id: UUID, row: MentorRow, at: Sequence[UUID], state: str, before: Any
) -> None:
    sealed = work.keys.seal(row, "about", mentor_id, f"mentor/{mentor_id}/profile")
    values = {
        "code": row.code,
        "facility_ids": list(at),
        "capacity": row.capacity,
        "state": state,
        # A mentor who texted STOP stays stopped until they text START themselves.
        "stopped": before.stopped if before is not None else False,
        "revision": before.revision + 1 if before is not None else 1,
        "profile": to_json(sealed),
    }
    statement = upsert(MENTOR).values(id=mentor_id, **values)
    work.conn.execute(statement.on_conflict_do_update(index_elements=[MENTOR.c.id], set_=values))


def mentor_state_changed(work: Work, mentor_id: UUID, word: str) -> Iterable[Event]:
    """A mentor texted STOP, START, PAUSE or BACK: what they are asked changes at once."""
    row = work.store.mentor(mentor_id)
    if row is None or row.state == "erased":
        return
    stopped = {"stop": True, "start": False}.get(word, row.stopped)
    state = {"pause": "paused", "back": "active", "start": "active"}.get(word, row.state)
    if (stopped, state) == (row.stopped, row.state):
        return
    work.conn.execute(
        update(MENTOR).where(MENTOR.c.id == mentor_id).values(stopped=stopped, state=state)
    )
    work.store.eased.update(row.facility_ids)
    work.keys.need([("about", mentor_id)])
    profile = work.keys.open_kept(MentorRow, row.profile)
    if isinstance(profile, MentorRow):
        caseload = work.store.caseloads([mentor_id]).get(mentor_id, 0)
        yield _changed(work, mentor_id, profile, row.facility_ids, state, caseload)


def profile_given(event: MentorProfileGiven, work: Work) -> Iterable[Event]:
    """A mentor told how they are to be chosen: those who wait are tried again.

    A capacity below the caseload ends nothing; nobody new is asked until there is a place.
    """
    given, row = opened(event.profile), work.store.mentor(event.mentor_id)
    # Whoever is erased may still have their key for a moment.
    if given is None or row is None or row.state == "erased":
        return
    work.keys.need([("about", event.mentor_id)])
    before = work.keys.open_kept(MentorRow, row.profile)
    if not isinstance(before, MentorRow):
        return
    profile = replace(before, hours=given.hours, capacity=given.capacity, strengths=given.strengths)
    if profile == before:
        return
    work.store.eased.update(row.facility_ids)
    _put(work, event.mentor_id, profile, row.facility_ids, row.state, row)
    caseload = work.store.caseloads([event.mentor_id]).get(event.mentor_id, 0)
    yield _changed(work, event.mentor_id, profile, row.facility_ids, row.state, caseload)


def _changed(
    work: Work, mentor_id: UUID, row: MentorRow, at: Sequence[UUID], state: str, caseload: int
) -> MentorChanged:
    return MentorChanged(
        mentor_id=mentor_id,
        facility_ids=tuple(at),
        state=state,
        route=row.route,
        route_ends_on=row.route_ends_on,
        changed_at=work.now,
        contact=MentorContact(
            called=row.called,
            language=row.languages[0] if row.languages else "en",
            time_zone=row.time_zone,
            hours=row.hours,
            mobile=row.mobile,
            email=row.email,
            opted_in_at=row.opted_in_at,
            opted_in_how=row.opted_in_how,
            capacity=row.capacity,
            strengths=row.strengths,
        ),
        name=MentorName(called=row.called),
        caseload=caseload,
    )
