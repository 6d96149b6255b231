"""When a message failed on one channel, say it on the next agreed one; after a STOP, on none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import uuid_utils.compat as ids
from sqlalchemy import insert, select

from contracts.notifications import ReplyReceived
from messaging import parking
from messaging.sealing import NOT_OPENED
from services.notifications import check_ins
from services.notifications.planning import channels_of, withdraw
from services.notifications.store import MESSAGE, PERSON, Person

if TYPE_CHECKING:
    from messaging.work import Work

#: What goes on one channel only: an answer to where it was asked, a code apart from its link.
_ONE_CHANNEL = frozenset({"card", "card_code"})
#: How a text fails whose recipient has sent STOP to the carrier: at once, or by a receipt.
_STOPPED = frozenset({"twilio_21610", "receipt_21610"})


def next_channel_after(work: Work, row: Any, reason: str) -> str | None:
    """Plan the message on the next channel that was not tried; its name, or None.

    What has become of it is written whether or not the person opens; of one who does not, no other
    channel is known, and their key waits for a person.
    """
    if row.person_id is None:
        return None
    work.store.load_persons([row.person_id])
    if reason in _STOPPED:
        _end_messages(work, row)
        return None
    if row.is_answer or row.purpose in _ONE_CHANNEL:
        return None
    try:
        person: Person | None = work.store.persons.get(row.person_id)
    except NOT_OPENED as error:
        parking.set_aside(work, row.person_id, parking.caused_by("retrying", error))
        return None
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
            id=ids.uuid7(),
            channel=left[0],
            state="planned",
            due_at=work.now,
            first_due_at=work.now,
            attempts=0,
        )
    )
    return left[0]


def _end_messages(work: Work, row: Any) -> None:
    """They said STOP to the carrier, which does not pass it on: it ends every channel like ours."""
    known = (PERSON.c.id, PERSON.c.kind, PERSON.c.mobile_token, PERSON.c.email_token)
    person = work.conn.execute(select(*known).where(PERSON.c.id == row.person_id)).first()
    if person is None:
        return
    addresses = {token for token in (person.mobile_token, person.email_token) if token}
    had_ended = addresses <= work.store.is_stopped(addresses)
    for address in addresses:
        work.store.stop(address)
    work.store.load_planned_to(person.id)
    work.say_all(withdraw(work, "stop", person_id=person.id))
    work.say_all(check_ins.end(work, person.id, "stop"))
    if had_ended:
        return
    work.say(
        ReplyReceived(
            subject_id=row.subject_id,
            reply_id=uuid4(),
            sender=person.kind,
            sender_id=person.id,
            meaning="stop",
            channel=row.channel,
            received_at=work.now,
            assignment_id=row.assignment_id,
            discharge_id=row.discharge_id,
            facility_id=row.facility_id,
        )
    )
