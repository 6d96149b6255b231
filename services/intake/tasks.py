"""Take a task over, give it back, and finish it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Row, or_, select, update

from contracts.event import Event
from messaging.work import Participant, Work
from services.intake.commands import NoSuchThing, Refused
from services.intake.store import TASK


def finish(
    participant: Participant, facility_id: UUID, task_id: UUID, *, because: str, by: str
) -> None:
    """Mark a facility's task as done, with the reason and who said so; done twice is once.

    The reason is a person's words: it is sealed under the client's own key, or the mentor's.
    Raises ``NoSuchThing`` for a task of another facility, and ``Refused`` for that of a discharge
    which stays held.
    """

    def command(work: Work) -> Iterable[Event]:
        row = _locked(work, facility_id, task_id)
        if row.done_at is None and row.kind == "held":
            # Without it nobody would be asked for as long as the discharge is held.
            raise Refused(
                "reason",
                "This is done by itself when what is missing is complete, or the discharge is"
                " cancelled.",
            )
        if row.done_at is None:
            # A mentor who is erased takes along what was written about them.
            about = row.about if row.kind == "mentor_paused" else facility_id
            whose = row.client_id or about
            sealed = work.keys.seal(because, "identity", whose, f"task/{task_id}/reason")
            work.conn.execute(
                update(TASK)
                .where(TASK.c.id == task_id)
                .values(
                    done_at=work.now, done_because="a person", done_by=by, done_words=sealed.box
                )
            )
            if row.client_id is not None:
                work.store.step(row.client_id, row.discharge_id, "task_done", kind=row.kind)
        return ()

    participant.transact(command)


def take(participant: Participant, facility_id: UUID, task_id: UUID, *, by: str) -> None:
    """Somebody takes a facility's task over; raises ``NoSuchThing`` for another facility's."""
    _give(participant, facility_id, task_id, to=by, what="task_taken")


def hand_over(participant: Participant, facility_id: UUID, task_id: UUID, *, to: str) -> None:
    """A colleague has a facility's task from now on; raises ``NoSuchThing`` as above."""
    _give(participant, facility_id, task_id, to=to, what="task_handed_over")


def give_back(participant: Participant, facility_id: UUID, task_id: UUID) -> None:
    """A facility's task is its owner's again; raises ``NoSuchThing`` as above."""
    _give(participant, facility_id, task_id, to=None, what="task_given_back")


def _give(
    participant: Participant, facility_id: UUID, task_id: UUID, *, to: str | None, what: str
) -> None:
    def command(work: Work) -> Iterable[Event]:
        row = _locked(work, facility_id, task_id)
        if row.done_at is None:
            taken = {"taken_by": to, "taken_at": work.now if to else None}
            work.conn.execute(update(TASK).where(TASK.c.id == task_id).values(taken))
            if row.client_id is not None:
                work.store.step(row.client_id, row.discharge_id, what, kind=row.kind)
        return ()

    participant.transact(command)


def _locked(work: Work, facility_id: UUID, task_id: UUID) -> Row[Any]:
    row = work.conn.execute(
        select(TASK)
        .where(TASK.c.id == task_id)
        .where(or_(TASK.c.facility_id == facility_id, TASK.c.facility_id.is_(None)))
        .with_for_update()
    ).first()
    if row is None:
        raise NoSuchThing("id")
    return row
