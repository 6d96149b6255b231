"""What coordinators decide: another mentor, a mentor of their choice, and the mentors themselves.

Each decision carries the mark of what its page showed. Where that is not how things stand any
more, because somebody answered or decided meanwhile, nothing is done and ``MovedOn`` is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from contracts.event import Event
from contracts.matching import MentorErased, Why
from messaging import audit, releasing
from messaging.unavailable import Overtaken
from messaging.work import Command, Participant, Work
from services.matching.handlers import end
from services.matching.looking import mark_of
from services.matching.mentors import ids_of, mentor_state_changed, put_mentors
from services.matching.placing import NotPossible, place_by_hand
from services.matching.roster import MentorRow
from services.matching.store import Assignment, Client, Facility

ANOTHER = "coordinator_wants_another"


STOPPED = "mentor_stopped"


class MovedOn(Exception):
    """Somebody answered or decided since the page was shown."""


def ask_for_another(
    participant: Participant, facility: Facility, client_id: UUID, *, seen: str, by: UUID
) -> None:
    """End the offer or the assignment, and look for somebody else; never the same mentor again."""

    def command(work: Work) -> Iterable[Event]:
        client, current = _as_seen(work, facility, client_id, seen)
        if current is None:
            raise MovedOn
        work.store.refuse(client.id, current.mentor_id)
        return end(work, current, ANOTHER, then="seeking", by=by)

    _decide(participant, client_id, command)


def choose_mentor(
    participant: Participant,
    facility: Facility,
    client_id: UUID,
    mentor_id: UUID,
    *,
    seen: str,
    reason: str,
    by: UUID,
) -> None:
    """Ask or assign this mentor, in place of whoever there was.

    Raises ``NotPossible`` when a rule that nobody may set aside forbids it.
    """

    def command(work: Work) -> Iterator[Event]:
        _, current = _as_seen(work, facility, client_id, seen)
        if current is not None:
            yield from end(work, current, ANOTHER, then="seeking", by=by)
        client: Client = work.store.clients[client_id]
        why = Why(why=f"A coordinator chose them: {reason}")
        yield place_by_hand(work, facility, client, mentor_id, why, by)

    _decide(participant, client_id, command)


def _decide(participant: Participant, client_id: UUID, command: Command) -> None:
    """Carry out what was decided about a client who is locked meanwhile.

    Whoever had a place free in that time has passed over them: if nothing comes of it, they are
    looked at once more.
    """

    def look_again(work: Work) -> Iterable[Event]:
        work.store.load_clients([client_id])
        return ()

    try:
        participant.transact(command)
    except (NotPossible, MovedOn):
        participant.transact(look_again)
        raise


def erase_mentor(participant: Participant, mentor_id: UUID, *, by: object, because: str) -> bool:
    """Erase what is known of a mentor, for good; False when there is no such mentor.

    Somebody else is looked for, for each client whom they stood beside. ``because`` is one of
    ``shredding.BECAUSE``.
    """
    found = False

    def command(work: Work) -> Iterator[Event]:
        nonlocal found
        clients = work.store.clients_of(mentor_id)
        # Clients are locked before mentors, everywhere.
        work.store.load_clients(clients)
        found = work.store.mentor(mentor_id) is not None
        if not found:
            return
        if work.store.clients_of(mentor_id) != clients:
            # Somebody was given to them while this waited for the mentor.
            raise Overtaken
        releasing.forget(work, mentor_id)
        going_on = work.store.going_on(clients)
        for client_id in clients:
            current: Assignment | None = work.store.active(client_id)
            if current is not None and current.mentor_id == mentor_id:
                work.store.refuse(client_id, mentor_id)
                # What waits of them may say that they need nobody any more.
                then = "seeking" if client_id in going_on else "waiting"
                yield from end(work, current, STOPPED, then=then)
        work.store.forget_mentor(mentor_id)
        audit.note(work.conn, work.now, by, "erased", mentor_id, because=because)
        yield MentorErased(mentor_id=mentor_id, erased_at=work.now)

    participant.transact(command)
    return found


def _as_seen(
    work: Work, facility: Facility, client_id: UUID, seen: str
) -> tuple[Client, Assignment | None]:
    work.store.load_clients([client_id])
    client: Client | None = work.store.clients.get(client_id)
    current: Assignment | None = work.store.active(client_id)
    if (
        client is None
        or client.facility_id != facility.id
        or client.state not in ("waiting", "placed")
        or mark_of(client, current) != seen
        or client_id not in work.store.going_on([client_id])
    ):
        raise MovedOn
    return client, current


def save_mentor(participant: Participant, row: MentorRow, *, revision: int) -> UUID:
    """Store a mentor over the revision that was seen, 0 for a new one; the mentor's id."""
    ids = ids_of(participant, [row])

    def command(work: Work) -> Iterator[Event]:
        before = work.store.mentor(ids[row.code])
        if (before.revision if before else 0) != revision:
            raise MovedOn
        if before is not None and before.state != row.state:
            raise MovedOn
        yield from put_mentors(work, [row], ids)

    participant.transact(command)
    return ids[row.code]


def set_state(participant: Participant, mentor_id: UUID, *, active: bool) -> None:
    """Pause a mentor, or let them be asked again, as if they had texted it themselves."""
    word = "back" if active else "pause"
    participant.transact(lambda work: mentor_state_changed(work, mentor_id, word))
