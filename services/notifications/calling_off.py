"""Where a client stands, and what is not said any more because of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

from contracts.event import Event
from messaging.work import Work
from services.notifications import check_ins
from services.notifications.domain import DECLINED, NEEDS_ASSIGNMENT
from services.notifications.planning import Planner
from services.notifications.store import Person


def stand(work: Work, planner: Planner, client_id: UUID, state: str) -> Iterator[Event]:
    """A client, who is loaded, is held, called off or dead: nobody is told of them any more.

    Nothing follows a death, and a hold does not set aside that they declined.
    """
    person: Person | None = work.store.persons.get(client_id)
    if person is None or person.state == "died" or (person.state, state) == (DECLINED, "held"):
        return
    work.store.put(replace(person, state=state))
    work.timers.revoke(client_id, "waiting")
    yield from check_ins.end(work, client_id, state)
    yield from planner.withdraw(state, person_id=client_id)
    for purpose in NEEDS_ASSIGNMENT:
        yield from planner.withdraw(state, subject_id=client_id, purpose=purpose)


def declined(work: Work, client_id: UUID, discharge_id: UUID) -> bool:
    """Whether the client wants nobody for this discharge: nothing said later of it changes that."""
    person: Person | None = work.store.persons.get(client_id)
    return person is not None and (person.state, person.discharge_id) == (DECLINED, discharge_id)
