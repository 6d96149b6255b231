"""Replay many parked keys, all or those of one cause: a row says what is wanted, a worker does it.

One key after the other, in the order in which they were parked and with a pause between, so that
everything else goes on flowing. A worker that ends leaves the row as it stands, and the next one
goes on from there. Two people cannot begin two replays at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as ids
from sqlalchemy import ColumnElement, Connection, and_, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from messaging import audit, parking, releasing
from messaging.tables import PARKED_KEY, REPLAY
from messaging.work import Participant

#: So long nothing is replayed after each key, in seconds.
PAUSE_SECONDS = 0.05
#: After so many failures in a row the cause is not mended, and the others are left alone.
FAILURES = 3


def begin(
    participant: Participant, *, by: object, handler: str | None = None, error: str | None = None
) -> bool:
    """Ask for a replay of what is parked now, of one cause or of all; False when one is under way.

    Keys that were replayed ``parking.REPLAYS`` times in vain are left to a person.
    """
    now = participant.now()
    wanted = {"id": ids.uuid7(), "begun_at": now, "by": str(by), "handler": handler, "error": error}
    with participant.engine.begin() as conn:
        mine = insert(REPLAY).values(wanted).on_conflict_do_nothing().returning(REPLAY.c.id)
        if conn.execute(mine).first() is None:
            return False
        audit.note(conn, now, by, "replay begun", handler or "all", error=error)
    return True


@dataclass(frozen=True, kw_only=True)
class Run:
    """A replay of many: what it came to so far, and how many keys are ``left`` to it."""

    begun_at: datetime
    by: str
    handler: str | None
    error: str | None
    released: int
    failed: int
    left: int
    ended_at: datetime | None


def latest(participant: Participant) -> Run | None:
    """The replay that is under way, or else the last one; None when there never was one."""
    with participant.engine.connect() as conn:
        query = select(REPLAY).order_by(REPLAY.c.begun_at.desc(), REPLAY.c.id.desc()).limit(1)
        run = conn.execute(query).first()
        if run is None:
            return None
        left = select(func.count()).select_from(PARKED_KEY).where(_wanted(run))
        shown = {f.name: getattr(run, f.name) for f in fields(Run) if f.name != "left"}
        return Run(**shown, left=conn.execute(left).scalar_one())


class Replaying:
    """The loop that does what was asked for, a key at a time."""

    name = "replays"

    def __init__(self, participant: Participant, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._participant = participant
        self._pause = pause_seconds

    def step(self) -> bool:
        """Replay the next key; True when more may be waiting."""
        # The lock on the row keeps other workers of the service away while this one is at it.
        with self._participant.engine.begin() as conn:
            under_way = select(REPLAY).where(REPLAY.c.ended_at.is_(None))
            run = conn.execute(under_way.with_for_update(skip_locked=True)).first()
            if run is None:
                return False
            found = _next(conn, run)
            if found is None or run.failed_in_a_row >= FAILURES:
                self._end(conn, run)
                return False
            released = releasing.replay(self._participant, found.key, by=_who(run.by))
            counts = (REPLAY.c.released, REPLAY.c.failed)
            conn.execute(
                update(REPLAY)
                .where(REPLAY.c.id == run.id)
                .values(
                    at_parked=found.parked_at,
                    at_key=found.key,
                    **{counts[not released].name: counts[not released] + 1},
                    failed_in_a_row=0 if released else run.failed_in_a_row + 1,
                )
            )
        time.sleep(self._pause)
        return True

    def _end(self, conn: Connection, run: Any) -> None:
        now = self._participant.now()
        conn.execute(update(REPLAY).where(REPLAY.c.id == run.id).values(ended_at=now))
        counts = {"released": run.released, "failed": run.failed}
        audit.note(conn, now, run.by, "replay ended", run.handler or "all", **counts)


def _next(conn: Connection, run: Any) -> Any | None:
    """The next key of a replay, in the order in which they were parked."""
    place = (PARKED_KEY.c.parked_at, PARKED_KEY.c.key)
    return conn.execute(select(*place).where(_wanted(run)).order_by(*place).limit(1)).first()


def _wanted(run: Any) -> ColumnElement[bool]:
    """What is left of a replay: of its cause, parked before it began, behind where it stands."""
    begun: datetime = run.begun_at
    conditions = [PARKED_KEY.c.parked_at <= begun, PARKED_KEY.c.attempts <= parking.REPLAYS]
    if run.handler is not None:
        conditions += [PARKED_KEY.c.handler == run.handler, PARKED_KEY.c.error == run.error]
    if run.at_key is not None:
        stands = tuple_(run.at_parked, run.at_key)
        conditions.append(tuple_(PARKED_KEY.c.parked_at, PARKED_KEY.c.key) > stands)
    return and_(*conditions)


def _who(by: str) -> UUID | str:
    """The account of who began, or the name that was given."""
    try:
        return UUID(by)
    except ValueError:
        return by
