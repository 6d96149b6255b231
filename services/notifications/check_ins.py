"""Check-ins with a client after the introduction: asked on some days, ended by whatever ends them.

Days are counted from the moment at which the introduction may arrive: when the mentor was assigned
or, outside the client's hours, at their next opening. That is known in the same piece of work,
while the network may say much later, or never, that it took the message. Where it did not take
it, nobody is asked how they are by somebody of whom they have not heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID
from zoneinfo import ZoneInfo

from hosting.hours import is_open, next_opening
from messaging.timers import Timer
from services.notifications.domain import UNDER_WAY
from services.notifications.planning import Planner, channels_of, hours_of, withdraw
from services.notifications.sequences import sequence
from services.notifications.store import Assignment, Person

if TYPE_CHECKING:
    from contracts.event import Event
    from messaging.sealing import SearchTokens
    from messaging.work import Work

#: Names of the client's timers: of the next check-in, and of silence after those that were asked.
NEXT, SILENCE = "check_in", "check_in_silence"


def begin(work: Work, tokens: SearchTokens, assignment: Assignment, at: datetime) -> None:
    """The client is introduced, or keeps their mentor after another discharge."""
    client: Person | None = work.store.persons.get(assignment.client_id)
    if client is None or client.contact is None:
        return
    hours = hours_of(client, work.store.facility(client.facility_id))
    introduced_at = next_opening(at, client.contact.time_zone, hours)
    work.timers.revoke(client.id, SILENCE)
    _set_next(work, tokens, client, assignment, introduced_at, unanswered=0)


def end(work: Work, client_id: UUID, reason: str) -> Iterator[Event]:
    """No check-in of this client is asked any more; what has not left does not leave."""
    for name in (NEXT, SILENCE):
        work.timers.revoke(client_id, name)
    question = work.store.open_question(client_id, "check_in")
    if question is not None:
        work.store.close_questions(question.assignment_id, "check_in")
    for purpose in ("check_in", "quiet"):
        yield from withdraw(work, reason, subject_id=client_id, purpose=purpose)


def ask(timer: Timer, work: Work, tokens: SearchTokens) -> Iterator[Event]:
    """A day of the sequence has come."""
    found = _standing(timer, work)
    if found is None:
        return
    client, assignment = found
    planner = Planner(work=work, tokens=tokens)
    unanswered = _unanswered(timer, work, assignment)
    if unanswered >= sequence(NEXT).unanswered:
        yield from _tell_of_silence(work, planner, assignment)
        return
    introduced_at = datetime.fromisoformat(timer.data["introduced_at"])
    agreed = work.store.consents.get(client.id, set())
    introduced = work.store.was_handed_over(f"introduction/client/{assignment.id}")
    if introduced and channels_of(client, agreed):
        # What was asked before needs no answer any more: one question at a time.
        work.store.close_questions(assignment.id, "check_in")
        work.store.ask("check_in", client.id, assignment)
        once = _once(assignment, timer.data["day"])
        yield from planner.tell_client(
            "check_in", client.id, assignment.id, assignment=assignment, once=once
        )
        if unanswered + 1 >= sequence(NEXT).unanswered:
            late = work.now + timedelta(hours=sequence(NEXT).answer_within_hours)
            work.timers.set(client.id, SILENCE, late, assignment_id=str(assignment.id))
    _set_next(work, tokens, client, assignment, introduced_at, unanswered, timer.data["day"])


def silence(timer: Timer, work: Work, tokens: SearchTokens) -> Iterator[Event]:
    """The last check-in has waited long enough for its answer."""
    found = _standing(timer, work)
    if found is not None and work.store.question_about(found[1].id, "check_in") is not None:
        work.timers.revoke(timer.key, NEXT)
        yield from _tell_of_silence(work, Planner(work=work, tokens=tokens), found[1])


def answered(work: Work, assignment_id: UUID, client_id: UUID) -> None:
    """The client has answered: nothing follows from silence."""
    work.timers.revoke(client_id, SILENCE)
    work.store.close_questions(assignment_id, "check_in")


def _standing(timer: Timer, work: Work) -> tuple[Person, Assignment] | None:
    """The client and assignment of a timer, while both are as they were."""
    work.store.load_persons([timer.key])
    client: Person | None = work.store.persons.get(timer.key)
    assignment: Assignment | None = work.store.assignments.get(UUID(timer.data["assignment_id"]))
    if client is None or client.state != "active" or client.contact is None:
        return None
    if assignment is None or assignment.state not in UNDER_WAY:
        return None
    work.store.load_persons([assignment.mentor_id])
    return client, assignment


def _unanswered(timer: Timer, work: Work, assignment: Assignment) -> int:
    """How many check-ins in a row reached the client, as far as we know, without an answer."""
    if work.store.question_about(assignment.id, "check_in") is None:
        return 0
    reached = work.store.was_handed_over(_once(assignment, timer.data["before"]))
    return int(timer.data["unanswered"]) + int(reached)


def _tell_of_silence(work: Work, planner: Planner, assignment: Assignment) -> Iterator[Event]:
    work.store.ask("contact", assignment.mentor_id, assignment)
    once = f"quiet/mentor/{assignment.id}/{assignment.discharge_id}"
    yield from planner.tell_mentor("quiet", assignment.mentor_id, assignment, once=once)


def _set_next(
    work: Work,
    tokens: SearchTokens,
    client: Person,
    assignment: Assignment,
    introduced_at: datetime,
    unanswered: int,
    before: str = "0",
) -> None:
    """Set the timer of the next day that has not passed (a parked client's days go by)."""
    for day in sequence(NEXT).days:
        due_at = _due(work, tokens, client, assignment, introduced_at, day)
        if day > int(before) and due_at > work.now:
            work.timers.set(
                client.id,
                NEXT,
                due_at,
                assignment_id=str(assignment.id),
                introduced_at=introduced_at.isoformat(),
                day=str(day),
                before=before,
                unanswered=str(unanswered),
            )
            return


def _due(
    work: Work,
    tokens: SearchTokens,
    client: Person,
    assignment: Assignment,
    introduced_at: datetime,
    day: int,
) -> datetime:
    """When a check-in is due: the same from the same facts, so that a repetition moves nothing."""
    assert client.contact is not None
    zone, widest = client.contact.time_zone, sequence(NEXT).jitter_minutes
    drawn = int(tokens.token("check-in", _once(assignment, str(day))), 16)
    jitter = timedelta(minutes=drawn % (2 * widest + 1) - widest)
    # Days are counted by the client's own clocks, which change twice a year.
    wall = introduced_at.astimezone(ZoneInfo(zone)) + timedelta(days=day)
    due_at = wall.astimezone(UTC) + jitter
    hours = hours_of(client, work.store.facility(client.facility_id))
    if is_open(due_at, zone, hours):
        return due_at
    opening = next_opening(due_at, zone, hours)
    later = opening + abs(jitter)
    return later if is_open(later, zone, hours) else opening


def _once(assignment: Assignment, day: str) -> str:
    return f"check_in/client/{assignment.id}/{assignment.discharge_id}/{day}"
