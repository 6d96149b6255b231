"""What matching makes of intake's facts and of replies; ``placing`` then finds the mentors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.event import Event
from contracts.intake import (
    ClientDied,
    ClientDischarged,
    ClientErased,
    DischargeCancelled,
    DischargeCorrected,
    DischargeHeld,
    FacilityChanged,
)
from contracts.matching import (
    AssignmentDeclined,
    AssignmentEnded,
    FirstContactMade,
    OfferExpired,
    Why,
)
from contracts.notifications import MentorProfileGiven, ReplyReceived
from contracts.sealed import opened
from messaging.timers import Timer
from messaging.work import Work
from services.matching.loading import forget
from services.matching.mentors import mentor_state_changed, profile_given
from services.matching.placing import assigned, offered
from services.matching.store import Assignment, Client


def facility_changed(event: FacilityChanged, work: Work) -> Iterable[Event]:
    """A facility's rules may let somebody through who waits."""
    work.store.put_facility(event)
    work.store.eased.add(event.facility_id)
    return ()


def client_discharged(event: ClientDischarged, work: Work) -> Iterable[Event]:
    """A client needs a mentor, or keeps the one they have."""
    about = opened(event.about)
    if about is None:
        return ()
    client = Client(
        id=event.client_id,
        facility_id=event.facility_id,
        discharge_id=event.discharge_id,
        state="seeking",
        high_risk=about.high_risk,
        waiting_since=event.accepted_at,
        about=about,
    )
    current: Assignment | None = work.store.active(event.client_id)
    if current is None:
        work.store.put(client)
        return ()
    work.store.put(replace(client, state="placed"))
    return _keep(work, current, event.discharge_id)


def discharge_corrected(event: DischargeCorrected, work: Work) -> Iterable[Event]:
    """What is known has changed: it matters while nobody is beside the client."""
    about = opened(event.about)
    if about is None:
        return ()
    known: Client | None = work.store.clients.get(event.client_id)
    if known is not None and (known.state, known.discharge_id) == ("ended", event.discharge_id):
        # The client said no, or it was called off, while the correction was on its way.
        return ()
    placed = work.store.active(event.client_id) is not None
    work.store.put(
        Client(
            id=event.client_id,
            facility_id=event.facility_id,
            discharge_id=event.discharge_id,
            state="placed" if placed else "seeking",
            high_risk=about.high_risk,
            waiting_since=known.waiting_since if known else event.corrected_at,
            about=about,
        )
    )
    return ()


def discharge_held(event: DischargeHeld, work: Work) -> Iterable[Event]:
    """Nothing may go on for now."""
    return _end_of_discharge(work, event.client_id, event.discharge_id, "held")


def discharge_cancelled(event: DischargeCancelled, work: Work) -> Iterable[Event]:
    """The offer or the assignment is withdrawn."""
    return _end_of_discharge(work, event.client_id, event.discharge_id, "cancelled")


def client_died(event: ClientDied, work: Work) -> Iterable[Event]:
    """All that was under way ends."""
    client: Client | None = work.store.clients.get(event.client_id)
    return _end_of_discharge(work, event.client_id, client.discharge_id if client else None, "died")


def client_erased(event: ClientErased, work: Work) -> Iterable[Event]:
    """All that was under way ends, and what was known of them is not kept."""
    client: Client | None = work.store.clients.get(event.client_id)
    if client is None:
        return ()
    work.store.put(replace(client, about=None))
    return _end_of_discharge(work, event.client_id, client.discharge_id, "erased")


def reply_received(event: ReplyReceived, work: Work) -> Iterable[Event]:
    """An answer to an offer or about an assignment, or a mentor's own state."""
    if event.sender == "mentor":
        if event.meaning in ("stop", "start", "pause", "back"):
            yield from mentor_state_changed(work, event.sender_id, event.meaning)
        yield from _mentor_answered(event, work)
    elif event.sender == "client":
        yield from _client_answered(event, work)


def _mentor_answered(event: ReplyReceived, work: Work) -> Iterable[Event]:
    current = _meant(event, work)
    if current is None:
        if event.meaning in ("no", "pass_on"):
            _keep_apart(work, event)
        return ()
    if event.meaning == "yes" and current.state == "offered":
        return _accept(work, current)
    if event.meaning in ("no", "pass_on", "stop", "pause"):
        # Who stops or pauses while being asked is not taking this one; their clients stay theirs.
        if current.state == "offered" or event.meaning in ("no", "pass_on"):
            return _decline(work, current)
        return ()
    if event.meaning == "talked" and current.state == "assigned":
        return _contact(work, current, event.talked_at or work.now)
    return ()


def _client_answered(event: ReplyReceived, work: Work) -> Iterable[Event]:
    current: Assignment | None = work.store.active(event.subject_id)
    if current is None:
        # A hold, or a mentor's no, came before; the client's holds for what would have followed.
        client: Client | None = work.store.clients.get(event.subject_id)
        if event.meaning == "no" and client and client.discharge_id == event.discharge_id:
            work.store.put(replace(client, state="ended"))
        elif event.meaning == "someone_else":
            _keep_apart(work, event)
        return ()
    if event.meaning == "no":
        return end(work, current, "client_declined", then="ended")
    if event.meaning == "someone_else" and event.assignment_id in (None, current.id):
        work.store.refuse(current.client_id, current.mentor_id)
        return end(work, current, "client_wants_another", then="seeking")
    return ()


def _keep_apart(work: Work, event: ReplyReceived) -> None:
    """What was said about one that is over, as by a hold that crossed it, still holds."""
    if event.assignment_id is None:
        return
    mentor_id = work.store.mentor_of(event.subject_id, event.assignment_id)
    if mentor_id is not None and event.sender_id in (event.subject_id, mentor_id):
        work.store.refuse(event.subject_id, mentor_id)


def _meant(event: ReplyReceived, work: Work) -> Assignment | None:
    """The offer or assignment that a mentor's answer is about, if it still stands."""
    current: Assignment | None = work.store.active(event.subject_id)
    if current is None or current.mentor_id != event.sender_id:
        return None
    return current if event.assignment_id in (None, current.id) else None


def _accept(work: Work, current: Assignment) -> Iterable[Event]:
    work.timers.revoke(current.client_id, f"answer/{current.id}")
    taken = work.store.change(current, state="assigned", assigned_at=work.now)
    _ease(work, current)
    return (assigned(work, taken, Why(why="The mentor said yes.")),)


def _decline(work: Work, current: Assignment) -> Iterable[Event]:
    _finish(work, current, "mentor_declined", then="seeking")
    work.store.refuse(current.client_id, current.mentor_id)
    return (
        AssignmentDeclined(
            client_id=current.client_id,
            discharge_id=current.discharge_id,
            assignment_id=current.id,
            mentor_id=current.mentor_id,
            declined_at=work.now,
        ),
    )


def _contact(work: Work, current: Assignment, talked_at: datetime) -> Iterable[Event]:
    # They may have talked before the mentor said so, but not before they knew of each other.
    made_at = min(max(talked_at, current.assigned_at or talked_at), work.now)
    work.store.change(current, state="in_contact", contact_at=made_at)
    return (
        FirstContactMade(
            client_id=current.client_id,
            discharge_id=current.discharge_id,
            assignment_id=current.id,
            mentor_id=current.mentor_id,
            made_at=made_at,
        ),
    )


def _keep(work: Work, current: Assignment, discharge_id: UUID) -> Iterable[Event]:
    """A later discharge of a client who has a mentor: support goes on with the same one."""
    moved = work.store.change(current, discharge_id=discharge_id)
    why = Why(why="The client keeps the mentor they had.")
    if moved.state == "offered":
        yield offered(work, moved, why)
        return
    yield assigned(work, moved, why, kept=True)
    if moved.state == "in_contact":
        yield FirstContactMade(
            client_id=moved.client_id,
            discharge_id=discharge_id,
            assignment_id=moved.id,
            mentor_id=moved.mentor_id,
            made_at=moved.contact_at or work.now,
        )


def _end_of_discharge(
    work: Work, client_id: UUID, discharge_id: UUID | None, reason: str
) -> Iterable[Event]:
    client: Client | None = work.store.clients.get(client_id)
    if client is None or client.discharge_id != discharge_id:
        # An earlier discharge was called off; the client's support is about a later one.
        return ()
    if client.state == "ended":
        # What the client declined stays declined, though a hold was on its way.
        return ()
    current: Assignment | None = work.store.active(client_id)
    then = "held" if reason == "held" else "ended"
    if current is None:
        work.store.put(replace(client, state=then))
        return ()
    return end(work, current, reason, then=then)


def end(
    work: Work, current: Assignment, reason: str, *, then: str, by: UUID | None = None
) -> Iterable[Event]:
    """An offer or assignment is over; ``by`` is the account of the person who ended it."""
    _finish(work, current, reason, then=then)
    return (
        AssignmentEnded(
            client_id=current.client_id,
            discharge_id=current.discharge_id,
            assignment_id=current.id,
            mentor_id=current.mentor_id,
            reason=reason,
            ended_at=work.now,
            decided_by=by,
        ),
    )


def _finish(work: Work, current: Assignment, reason: str, *, then: str) -> None:
    work.timers.revoke(current.client_id, f"answer/{current.id}")
    work.store.change(current, state="ended", ended_at=work.now, end_reason=reason)
    work.store.stand(current.client_id, then)
    _ease(work, current)


def _ease(work: Work, current: Assignment) -> None:
    """The mentor can be asked again, or has a place again: those who wait are tried."""
    row = work.store.mentor_facilities(current.mentor_id)
    work.store.eased.update(row)


def answer_is_late(timer: Timer, work: Work) -> Iterable[Event]:
    """The mentor did not answer in time: somebody else is asked."""
    work.store.load_clients([timer.key])
    current: Assignment | None = work.store.active(timer.key)
    if current is None or current.state != "offered" or f"answer/{current.id}" != timer.name:
        return ()
    _finish(work, current, "expired", then="seeking")
    work.store.refuse(current.client_id, current.mentor_id)
    return (
        OfferExpired(
            client_id=current.client_id,
            discharge_id=current.discharge_id,
            assignment_id=current.id,
            mentor_id=current.mentor_id,
            expired_at=work.now,
        ),
    )


ON: dict[type[Event], list[Any]] = {
    FacilityChanged: [facility_changed],
    ClientDischarged: [client_discharged],
    DischargeCorrected: [discharge_corrected],
    DischargeHeld: [discharge_held],
    DischargeCancelled: [discharge_cancelled],
    ClientDied: [client_died],
    ClientErased: [client_erased],
    ReplyReceived: [reply_received],
    MentorProfileGiven: [profile_given],
}

TIMERS: dict[str, Any] = {"answer": answer_is_late, "forget": forget}
