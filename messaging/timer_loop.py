"""Fire the timers that are due."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, func, select

from contracts.event import Event
from messaging.fuse import FUSE_AFTER, Fuse
from messaging.parking import attempt, goes_on
from messaging.points import reached
from messaging.tables import TIMER
from messaging.timers import Timer
from messaging.work import Participant, Work

#: How many timers are read at a time.
BATCH = 50
_ALL_DUE = select(TIMER).where(TIMER.c.due_at <= bindparam("now")).where(goes_on(TIMER.c.key))
_DUE = _ALL_DUE.order_by(TIMER.c.due_at).limit(BATCH)
_ANY_DUE = _ALL_DUE.order_by(func.random()).limit(1)


class TimerLoop:
    """Fires due timers, each in a transaction of its own.

    Those of a key of which anything waits, parked or early, wait with it.
    """

    name = "timers"

    def __init__(self, participant: Participant, *, fuse: int = FUSE_AFTER) -> None:
        """``fuse``: how many subjects may fail in a row before the fault is taken for ours."""
        self._participant = participant
        self._fuse = Fuse(self.name, fuse)

    def step(self) -> bool:
        """Fire what is due; True when more may be due."""
        due = self._due()
        if not due:
            self._fuse.nothing_left()
        for timer in due:
            reached("timer.due")
            self._fire(timer)
        return len(due) == BATCH

    def _due(self) -> list[Timer]:
        # Of those that are due for longest each may be at fault.
        query = _ANY_DUE if self._fuse.is_blown else _DUE
        with self._participant.engine.connect() as conn:
            rows = conn.execute(query, {"now": self._participant.now()})
            return [Timer(**row._mapping) for row in rows]

    def _fire(self, timer: Timer) -> None:
        def fire(work: Work) -> Iterable[Event]:
            # The timer may have been fired, moved or revoked since it was read; its row decides.
            mine = delete(TIMER).where(
                TIMER.c.key == timer.key,
                TIMER.c.name == timer.name,
                TIMER.c.due_at == timer.due_at,
                goes_on(TIMER.c.key),
            )
            if work.conn.execute(mine).rowcount != 1:
                return ()
            work.afterwards.append(self._fuse.worked)
            # One that nobody knows parks its own key; all others fire.
            return self._participant.timers[timer.kind](timer, work)

        attempt(self._participant, timer.key, timer.name, fire, self._fuse)
