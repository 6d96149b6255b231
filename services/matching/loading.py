"""Roster files that coordinators load: judged at once, then worked off in pieces by the worker.

A file speaks of persons. Its bytes are read in memory and never kept; its good rows are kept
sealed, under a key of the load's own, until the piece of work that stores them, which removes
them too. Where nobody decides, they are removed a day later. With the last of them the key is
destroyed, so that no backup opens them either. Errors name lines and fields, and never repeat what
a cell holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, case, delete, select, update

from contracts.event import Event
from contracts.sealed import Destroyed
from messaging.rows import among, insert_many
from messaging.sealing import NOT_OPENED, to_json
from messaging.timers import Timer
from messaging.work import Participant, Work
from services.matching.mentors import BATCH, known_ids, put_mentors, with_new_ids
from services.matching.roster import MentorRow, RowError, read_mentors
from services.matching.store import FACILITY, MENTOR, ROSTER_CHUNK, ROSTER_LOAD, Facility

log = logging.getLogger(__name__)

#: How long good rows wait for somebody to decide.
DECIDE_WITHIN = timedelta(days=1)
_UNOPENED = RowError(
    line=0,
    field="file",
    message=f"Up to {BATCH} rows could not be read again and were not stored: load the file again.",
)
_ERASED = RowError(
    line=0,
    field="code",
    message="Whoever had this code was erased after the file was looked through, so the row was not"
    " stored: give somebody new a code of their own.",
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A piece of a file, as it is sealed; ``known`` are the mentors of its codes at that time."""

    mentors: tuple[MentorRow, ...]
    known: dict[str, UUID] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Load:
    """A file that was judged, and how far it is loaded. ``state``: judged, loading, done, dropped.

    ``rows`` counts the good ones, ``done`` those worked off, ``stored`` those that changed a thing.
    """

    id: UUID
    facility_id: UUID
    at: datetime
    state: str
    rows: int
    done: int
    stored: int
    errors: tuple[RowError, ...]


def judge_file(
    participant: Participant,
    facility: Facility,
    file: bytes,
    *,
    reveals: Callable[[str], bool] = lambda words: False,
) -> UUID:
    """Keep a file's good rows and its errors until somebody decides; the load's id."""
    read = read_mentors(file, reveals=reveals)
    with participant.engine.connect() as conn:
        rows, errors = own_rows(conn, facility, zip(read.lines, read.mentors, strict=True))
        known = known_ids(conn, rows)
    load_id = uuid4()
    if rows:
        participant.keyring.make([load_id])

    def command(work: Work) -> Iterator[Event]:
        load = {
            "id": load_id,
            "facility_id": facility.id,
            "at": work.now,
            "state": "judged",
            "rows": len(rows),
            "done": 0,
            "stored": 0,
            "errors": [_plain(e) for e in sorted((*read.errors, *errors), key=lambda e: e.line)],
        }
        insert_many(work.conn, ROSTER_LOAD, [load])
        insert_many(work.conn, ROSTER_CHUNK, _chunks(work, load_id, rows, known))
        work.timers.set(load_id, "forget", work.now + DECIDE_WITHIN)
        yield from ()

    participant.transact(command)
    return load_id


def own_rows(
    conn: Connection, facility: Facility, rows: Iterable[tuple[int, MentorRow]]
) -> tuple[list[MentorRow], list[RowError]]:
    """The rows that a facility may store: of its own mentors, whose other facilities stay."""
    rows = list(rows)
    known = _facilities_of(conn, [row.code for _, row in rows])
    kept: list[MentorRow] = []
    errors: list[RowError] = []
    for line, row in rows:
        before = known.get(row.code, frozenset({facility.code}))
        if facility.code not in before:
            message = "This code belongs to a mentor of another facility: give yours another one."
            errors.append(RowError(line=line, field="code", message=message))
        elif before != set(row.facilities):
            message = (
                f"Write {'|'.join(sorted(before))}: mentors of {facility.code} are loaded here,"
                " and other facilities are neither given to them nor taken away."
            )
            errors.append(RowError(line=line, field="facilities", message=message))
        else:
            kept.append(row)
    return kept, errors


def _facilities_of(conn: Connection, codes: Sequence[str]) -> dict[str, frozenset[str]]:
    names = {row.id: row.code for row in conn.execute(select(FACILITY.c.id, FACILITY.c.code))}
    query = select(MENTOR.c.code, MENTOR.c.facility_ids).where(among(MENTOR.c.code, codes))
    return {
        row.code: frozenset(names[at] for at in row.facility_ids) for row in conn.execute(query)
    }


def _chunks(
    work: Work, load_id: UUID, rows: Sequence[MentorRow], known: Mapping[str, UUID]
) -> list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = []
    for place, start in enumerate(range(0, len(rows), BATCH)):
        mentors = tuple(rows[start : start + BATCH])
        piece = Rows(
            mentors=mentors, known={r.code: known[r.code] for r in mentors if r.code in known}
        )
        sealed = work.keys.seal(piece, "about", load_id, f"roster_load/{load_id}/{place}")
        chunks.append({"load_id": load_id, "place": place, "mentors": to_json(sealed)})
    return chunks


def _plain(error: RowError) -> list[Any]:
    return [error.line, error.field, error.message]


def find_load(participant: Participant, facility_id: UUID, load_id: UUID) -> Load | None:
    """A load of this facility."""
    query = select(ROSTER_LOAD).where(
        ROSTER_LOAD.c.id == load_id, ROSTER_LOAD.c.facility_id == facility_id
    )
    with participant.engine.connect() as conn:
        row = conn.execute(query).first()
    if row is None:
        return None
    plain = {f.name: getattr(row, f.name) for f in fields(Load) if f.name != "errors"}
    errors = (RowError(line=line, field=f, message=told) for line, f, told in row.errors)
    return Load(**plain, errors=tuple(errors))


def decide(participant: Participant, load: Load, *, wanted: bool) -> None:
    """Load the good rows, or drop them; once only, whoever asks and however often."""

    def command(work: Work) -> Iterator[Event]:
        mine = update(ROSTER_LOAD).where(
            ROSTER_LOAD.c.id == load.id, ROSTER_LOAD.c.state == "judged", ROSTER_LOAD.c.rows > 0
        )
        state = "loading" if wanted else "dropped"
        if work.conn.execute(mine.values(state=state)).rowcount and not wanted:
            _drop(work, load.id)
        work.timers.revoke(load.id, "forget")
        yield from ()

    participant.transact(command)
    participant.wake()


def forget(timer: Timer, work: Work) -> Iterable[Event]:
    """Nobody has decided: what the file said of people is not kept any longer."""
    mine = update(ROSTER_LOAD).where(ROSTER_LOAD.c.id == timer.key, ROSTER_LOAD.c.state == "judged")
    if work.conn.execute(mine.values(state="dropped")).rowcount:
        _drop(work, timer.key)
    return ()


def _drop(work: Work, load_id: UUID) -> None:
    work.conn.execute(delete(ROSTER_CHUNK).where(ROSTER_CHUNK.c.load_id == load_id))
    work.shred(load_id)


class RosterLoader:
    """Works off the files that somebody decided to load, a piece in each step."""

    name = "roster"

    def __init__(self, participant: Participant) -> None:
        self._participant = participant

    def step(self) -> bool:
        """Load the next piece; True when there was one."""
        query = (
            select(ROSTER_CHUNK, ROSTER_LOAD.c.facility_id, ROSTER_LOAD.c.rows, FACILITY)
            .join(ROSTER_LOAD, ROSTER_LOAD.c.id == ROSTER_CHUNK.c.load_id)
            .join(FACILITY, FACILITY.c.id == ROSTER_LOAD.c.facility_id)
            .where(ROSTER_LOAD.c.state == "loading")
            .order_by(ROSTER_LOAD.c.at, ROSTER_CHUNK.c.load_id, ROSTER_CHUNK.c.place)
            .limit(1)
        )
        with self._participant.engine.connect() as conn:
            row = conn.execute(query).first()
            if row is None:
                return False
            known, kept, errors = _still_good(conn, row, self._opened(row))
        worked_off = min(BATCH, row.rows - BATCH * row.place)
        self._load(row, kept, known, worked_off, errors)
        return True

    def _opened(self, chunk: Any) -> Rows | None:
        try:
            piece = self._participant.keyring.view().open_kept(Rows, chunk.mentors)
        except NOT_OPENED:
            # Whoever loads the file is told; to try for ever would hold up all files after it.
            log.exception("a piece of a roster does not open", extra={"key": str(chunk.load_id)})
            return None
        return None if isinstance(piece, Destroyed) else piece

    def _load(
        self,
        chunk: Any,
        rows: Sequence[MentorRow],
        known: Mapping[str, UUID],
        worked_off: int,
        errors: Sequence[RowError],
    ) -> None:
        ids = with_new_ids(self._participant, rows, known)
        mine = delete(ROSTER_CHUNK).where(
            ROSTER_CHUNK.c.load_id == chunk.load_id, ROSTER_CHUNK.c.place == chunk.place
        )

        def command(work: Work) -> Iterator[Event]:
            if not work.conn.execute(mine).rowcount:
                # Another worker was faster.
                return
            stored = yield from put_mentors(work, rows, ids)
            is_last = _count(work.conn, chunk.load_id, worked_off, stored, errors)
            # Those who wait here are tried once, when the best of the whole file can be chosen; a
            # mentor of several facilities may be who others wait for.
            work.store.eased.discard(chunk.facility_id)
            if is_last:
                work.store.eased.add(chunk.facility_id)
                work.shred(chunk.load_id)

        self._participant.transact(command)


def _still_good(
    conn: Connection, chunk: Any, piece: Rows | None
) -> tuple[dict[str, UUID], list[MentorRow], list[RowError]]:
    """Who is known by these codes now, the rows that may be stored, and why others may not.

    Since the file was judged a code may have been given to another facility's mentor, and a mentor
    been erased: the file would bring back what was known of them.
    """
    if piece is None:
        return {}, [], [_UNOPENED]
    facility = Facility(**{f.name: getattr(chunk, f.name) for f in fields(Facility)})
    known = known_ids(conn, piece.mentors)
    kept, errors = own_rows(conn, facility, ((0, one) for one in piece.mentors))
    erased = [r for r in kept if piece.known.get(r.code) not in (None, known.get(r.code))]
    errors += [_ERASED for _ in erased]
    return known, [row for row in kept if row not in erased], errors


def _count(
    conn: Connection, load_id: UUID, worked_off: int, stored: int, errors: Sequence[RowError]
) -> bool:
    """Note what was done of a load; whether that was all of it."""
    done = ROSTER_LOAD.c.done + worked_off
    values: Mapping[str, Any] = {
        "done": done,
        "stored": ROSTER_LOAD.c.stored + stored,
        "state": case((done >= ROSTER_LOAD.c.rows, "done"), else_="loading"),
        "errors": ROSTER_LOAD.c.errors.concat([_plain(error) for error in errors]),
    }
    counting = update(ROSTER_LOAD).where(ROSTER_LOAD.c.id == load_id).values(**values)
    return bool(conn.execute(counting.returning(ROSTER_LOAD.c.state)).scalar_one() == "done")
