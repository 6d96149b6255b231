"""Compare what was accepted with where the others have it, row by row, trusting no event.

Everything else that looks for lost discharges believes what it was told. This asks the other
databases themselves, for ids alone: whoever is open here has to be somewhere there. What is on its
way is nowhere for a moment, so only what stays nowhere counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Column, Engine, MetaData, Table, Text, Uuid, bindparam, select

from hosting.database import reading
from messaging.rows import among_given
from messaging.tables import PARKED_KEY
from messaging.work import Participant
from services.intake import metrics
from services.intake.store import DISCHARGE

#: Nothing is nowhere for longer than this.
WITHIN = timedelta(seconds=60)
#: So many discharges are compared at a time.
SLICE = 5_000
#: So many that are nowhere are remembered at most, and counted; memory must not grow while the
#: broker is away, and what to do is the same for more.
MOST = 10_000

_PLACED = Table("placed", MetaData(), Column("client_id", Uuid), Column("state", Text))
_OPEN = (
    select(DISCHARGE.c.id, DISCHARGE.c.client_id, DISCHARGE.c.state, DISCHARGE.c.said_at)
    .where(DISCHARGE.c.state.not_in(("closed", "held")))
    .where(DISCHARGE.c.accepted_at < bindparam("before"), DISCHARGE.c.id > bindparam("beyond"))
    .order_by(DISCHARGE.c.id)
    .limit(SLICE)
)
_THERE = select(_PLACED.c.client_id, _PLACED.c.state).where(among_given(_PLACED.c.client_id))
_PARKED_HERE = select(PARKED_KEY.c.key).where(among_given(PARKED_KEY.c.key))
#: Where matching has a client whose discharge stands like this.
_PLACES: Mapping[str, frozenset[str]] = {
    "waiting": frozenset({"waiting"}),
    **dict.fromkeys(
        ("offered", "assigned", "in_contact"), frozenset({"offered", "assigned", "in_contact"})
    ),
}
_FIRST = UUID(int=0)


class Conserving:
    """The loop that compares, a slice at a time, and begins again when it has seen all."""

    name = "conserving"

    def __init__(
        self,
        participant: Participant,
        matching: Engine,
        notifications: Engine,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._participant = participant
        self._others = {"matching": matching, "notifications": notifications}
        self._clock = clock
        self._beyond = _FIRST
        #: Since when a discharge is nowhere.
        self._nowhere: dict[UUID, float] = {}

    def step(self) -> bool:
        """Compare one slice; True when there are more."""
        given = {"before": self._participant.now() - WITHIN, "beyond": self._beyond}
        with reading(self._participant.engine) as conn:
            rows = conn.execute(_OPEN, given).all()
            clients = [row.client_id for row in rows]
            parked = set(conn.execute(_PARKED_HERE, {"ids": clients}).scalars())
        there = {name: _there(engine, clients) for name, engine in self._others.items()}
        now = self._clock()
        until = rows[-1].id if len(rows) == SLICE else UUID(int=2**128 - 1)
        still = {
            row.id
            for row in rows
            if row.client_id not in parked
            and not _is_somewhere(row.state, row.said_at is not None, row.client_id, there)
        }
        for gone in [one for one in self._nowhere if self._beyond < one <= until]:
            if gone not in still:
                del self._nowhere[gone]
        for one in sorted(still - self._nowhere.keys()):
            if len(self._nowhere) < MOST:
                self._nowhere[one] = now
        self._beyond = until if len(rows) == SLICE else _FIRST
        long_ago = now - WITHIN.total_seconds()
        metrics.UNPLACED.set(sum(since <= long_ago for since in self._nowhere.values()))
        return len(rows) == SLICE

    def close(self) -> None:
        """Let go of the other databases."""
        for engine in self._others.values():
            engine.dispose()


def _there(engine: Engine, clients: list[UUID]) -> dict[UUID, set[str]]:
    found: dict[UUID, set[str]] = {}
    with reading(engine) as conn:
        for row in conn.execute(_THERE, {"ids": clients}):
            found.setdefault(row.client_id, set()).add(row.state)
    return found


def _is_somewhere(
    state: str, was_said: bool, client: UUID, there: Mapping[str, Mapping[UUID, set[str]]]
) -> bool:
    """Whether both others have the client as this discharge says, or have set them aside."""
    placed, known = (there[name].get(client, set()) for name in ("matching", "notifications"))
    if "parked" in placed | known:
        return True
    if not was_said or not known:
        return False
    return bool(placed & _PLACES.get(state, frozenset()))
