"""When a message failed on one channel, say it on the next agreed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import insert, select

from services.notifications.planning import channels_of
from services.notifications.store import MESSAGE, Person

if TYPE_CHECKING:
    from messaging.work import Work

#: What goes on one channel only: an answer to where it was asked, a code apart from its link.
_ONE_CHANNEL = frozenset({"card", "card_code"})


def next_channel_after(work: Work, row: Any) -> str | None:
    """Plan the message on the next channel that was not tried; its name, or None."""
    if row.is_answer or row.purpose in _ONE_CHANNEL or row.person_id is None:
        return None
    work.store.load_persons([row.person_id])
    person: Person | None = work.store.persons.get(row.person_id)
    if person is None:
        return None
    tried = set(
        work.conn.execute(select(MESSAGE.c.channel).where(MESSAGE.c.once == row.once)).scalars()
    )
    agreed = work.store.consents.get(person.id, set())
    left = [channel for channel in channels_of(person, agreed) if channel not in tried]
    if not left:
        return None
    names = (
        "once",
        "person_id",
        "recipient",
        "subject_id",
        "discharge_id",
        "assignment_id",
        "facility_id",
        "purpose",
        "is_answer",
    )
    work.conn.execute(
        insert(MESSAGE).values(
            **{name: getattr(row, name) for name in names},
            id=uuid4(),
            channel=left[0],
            state="planned",
            due_at=work.now,
            first_due_at=work.now,
            attempts=0,
        )
    )
    return left[0]
