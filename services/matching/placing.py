"""Find a mentor for everyone who seeks one in this piece of work, riskiest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from contracts.event import Event
from contracts.matching import (
    AssignmentOffered,
    MentorAssigned,
    NobodyAvailable,
    Why,
)
from hosting.hours import after_open_time, narrower, next_opening, parse_hours
from messaging.work import Work
from services.matching.choosing import Candidate, Chosen, Nobody, Rules, Seeker, choose, turn
from services.matching.roster import MentorRow
from services.matching.store import Assignment, Client, Facility, Mentor, seeker_of

#: How long a mentor has to answer, in their own hours.
ANSWER_WITHIN = timedelta(hours=2)
#: How soon an assigned mentor is to call.
CALL_WITHIN = timedelta(hours=24)
#: How many who wait are looked at together.
PAGE = 100


def place_seekers(work: Work) -> Iterator[Event]:
    """Place everyone who seeks, and those who wait where something has eased."""
    seeking: dict[UUID, list[Client]] = {}
    for client in work.store.clients.values():
        if client.state == "seeking":
            seeking.setdefault(client.facility_id, []).append(client)
    at = sorted(work.store.eased | seeking.keys())
    facilities = work.store.facilities(at)
    for facility_id in at:
        facility = facilities.get(facility_id)
        if facility is not None:
            desk = _Desk(work, facility)
            yield from desk.place(seeking.get(facility_id, []))
            if facility_id in work.store.eased:
                yield from desk.place_waiting()


class _Desk:
    """One facility's mentors during one piece of work."""

    def __init__(self, work: Work, facility: Facility) -> None:
        self._work = work
        self._facility = facility
        self._mentors: dict[UUID, Mentor] | None = None
        self._candidates: dict[UUID, Candidate] = {}
        today = work.now.astimezone(ZoneInfo(facility.time_zone)).date()
        self._rules = Rules(today=today, asks=facility.asks)

    def place(self, clients: list[Client]) -> Iterator[Event]:
        """Choose for each of these, in their turn."""
        refused = self._work.store.refused(client.id for client in clients)
        seekers = [
            seeker
            for client in clients
            if (seeker := seeker_of(client, refused.get(client.id, frozenset()))) is not None
        ]
        for seeker in sorted(seekers, key=turn):
            self._load_mentors()
            self._work.traceparent = self._work.store.traces.get(
                seeker.client_id, self._work.traceparent
            )
            answer = choose(seeker, self._candidates.values(), self._rules)
            if isinstance(answer, Chosen):
                yield self._assign(seeker, answer)
            else:
                yield from self._wait(seeker, answer)

    def place_waiting(self) -> Iterator[Event]:
        """Try those who wait again, as long as anybody has a place."""
        last: Client | None = None
        self._load_mentors()
        while any(c.load < c.capacity and c.active for c in self._candidates.values()):
            page = self._work.store.load_waiting(self._facility.id, beyond=last, limit=PAGE)
            if not page:
                return
            last = page[-1]
            yield from self.place([client for client in page if client.state == "waiting"])

    def _load_mentors(self) -> None:
        """Read the mentors late and once: clients are locked before mentors, everywhere."""
        if self._mentors is None:
            self._mentors = {m.id: m for m in self._work.store.mentors_of(self._facility.id)}
            self._candidates = {m.id: m.candidate() for m in self._mentors.values()}

    def _assign(self, seeker: Seeker, chosen: Chosen) -> Event:
        assert self._mentors is not None
        work, mentor = self._work, self._mentors[chosen.mentor_id]
        client: Client = work.store.clients[seeker.client_id]
        work.store.put(replace(client, state="placed"))
        place = mentor.free_place()
        asks = self._facility.asks
        self._hold_place(mentor, place)
        assignment = Assignment(
            id=uuid4(),
            client_id=client.id,
            discharge_id=client.discharge_id,
            mentor_id=mentor.id,
            place=place,
            state="offered" if asks else "assigned",
            offered_at=work.now if asks else None,
            answer_by=answer_by(mentor.profile, self._facility, work.now) if asks else None,
            assigned_at=None if asks else work.now,
        )
        work.store.begin(assignment)
        why = Why(why=chosen.why)
        return offered(work, assignment, why) if asks else assigned(work, assignment, why)

    def _hold_place(self, mentor: Mentor, place: int) -> None:
        assert self._mentors is not None
        changed = replace(mentor, taken=mentor.taken | {place}, has_open_offer=self._facility.asks)
        self._mentors[mentor.id] = changed
        self._candidates[mentor.id] = changed.candidate()

    def _wait(self, seeker: Seeker, nobody: Nobody) -> Iterator[Event]:
        work = self._work
        client: Client = work.store.clients[seeker.client_id]
        if client.state == "waiting":
            return
        work.store.put(replace(client, state="waiting"))
        yield NobodyAvailable(
            client_id=client.id,
            discharge_id=client.discharge_id,
            facility_id=client.facility_id,
            since=client.waiting_since,
            why=Why(why=nobody.why, change=nobody.change),
        )


def offered(work: Work, assignment: Assignment, why: Why) -> AssignmentOffered:
    """A mentor is asked, until the deadline."""
    assert assignment.answer_by is not None
    work.timers.set(assignment.client_id, f"answer/{assignment.id}", assignment.answer_by)
    return AssignmentOffered(
        client_id=assignment.client_id,
        discharge_id=assignment.discharge_id,
        assignment_id=assignment.id,
        mentor_id=assignment.mentor_id,
        offered_at=assignment.offered_at or work.now,
        answer_by=assignment.answer_by,
        why=why,
    )


def assigned(work: Work, assignment: Assignment, why: Why, *, kept: bool = False) -> MentorAssigned:
    """A mentor stands beside the client from now on."""
    return MentorAssigned(
        client_id=assignment.client_id,
        discharge_id=assignment.discharge_id,
        assignment_id=assignment.id,
        mentor_id=assignment.mentor_id,
        assigned_at=assignment.assigned_at or work.now,
        call_by=(assignment.assigned_at or work.now) + CALL_WITHIN,
        why=why,
        kept=kept,
    )


def answer_by(profile: MentorRow, facility: Facility, now: datetime) -> datetime:
    """The end of two hours of the mentor's own hours, within those in which texts may leave."""
    zone, own = profile.time_zone, parse_hours(profile.hours)
    allowed = parse_hours(facility.quiet_hours)
    hours = narrower(own, allowed) or own
    return after_open_time(next_opening(now, zone, hours), zone, hours, ANSWER_WITHIN)
