"""Find a mentor for everyone who seeks one in this piece of work, riskiest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from services.matching.choosing import (
    SOFT,
    Choice,
    Lasting,
    Nobody,
    Rules,
    Seeker,
    judge,
    turn,
)
from services.matching.roster import MentorRow
from services.matching.store import Assignment, Client, Facility, Mentor, seeker_of

#: How long a mentor has to answer, in their own hours.
ANSWER_WITHIN = timedelta(hours=2)
#: How soon an assigned mentor is to call.
CALL_WITHIN = timedelta(hours=24)
#: How many who wait are looked at together.
PAGE = 100


def place_seekers(work: Work) -> Iterator[Event]:
    """Place everyone who seeks, and those who wait where something has eased.

    Whoever was at hand here while something eased elsewhere was passed over there.
    """
    seeking: dict[UUID, list[Client]] = {}
    untold = [client.id for client in work.store.clients.values() if _is_untold(client)]
    going_on = work.store.going_on(untold) if untold else set()
    for client in work.store.clients.values():
        if client.state == "seeking" or client.id in going_on:
            seeking.setdefault(client.facility_id, []).append(client)
        elif client.state == "waiting":
            work.store.eased.add(client.facility_id)
    at = sorted(work.store.eased | seeking.keys())
    facilities = work.store.facilities(at)
    for facility_id in at:
        facility = facilities.get(facility_id)
        if facility is not None:
            desk = _Desk(work, facility)
            here = seeking.get(facility_id, [])
            if facility_id in work.store.eased:
                here += work.store.load_untold(facility_id)
            yield from desk.place(here)
            if facility_id in work.store.eased:
                yield from desk.place_waiting()
        else:
            # Its own key is late or parked; they are tried when it comes.
            for client in seeking.get(facility_id, []):
                work.store.put(replace(client, state="waiting", untold=True))
    work.store.set_aside_unopened()


def _is_untold(client: Client) -> bool:
    return client.state == "waiting" and client.untold


class NotPossible(Exception):
    """A hard rule keeps a mentor from a client; ``failed`` names it."""

    def __init__(self, failed: tuple[str, ...]) -> None:
        super().__init__(*failed)
        self.failed = failed


def rules_of(facility: Facility, now: datetime) -> Rules:
    """What the facility decides about choosing, on its own day."""
    return Rules(today=now.astimezone(ZoneInfo(facility.time_zone)).date(), asks=facility.asks)


def place_by_hand(
    work: Work, facility: Facility, client: Client, mentor_id: UUID, why: Why, by: UUID
) -> Event:
    """Give a client the mentor whom a person chose, within the rules that nobody may set aside."""
    return _Desk(work, facility).place_by_hand(client, mentor_id, why, by)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The next free place of a mentor as they stood before it was given, and why it is this one."""

    mentor: Mentor
    why: Why
    by: UUID | None = None

    def taken(self, *, asks: bool) -> Mentor:
        """The mentor once this place is held."""
        held = self.mentor.taken | {self.mentor.free_place()}
        return replace(self.mentor, taken=held, has_open_offer=asks)


class _Desk:
    """One facility's mentors during one piece of work."""

    def __init__(self, work: Work, facility: Facility) -> None:
        self._work = work
        self._facility = facility
        self._mentors: dict[UUID, Mentor] | None = None
        self._rules = rules_of(facility, work.now)

    def place(self, clients: list[Client]) -> Iterator[Event]:
        """Choose for each of these, in their turn."""
        refused = self._work.store.refused(client.id for client in clients)
        seekers = [
            seeker
            for client in clients
            if (seeker := seeker_of(client, refused.get(client.id, frozenset()))) is not None
        ]
        for seeker, answer in self._answers(sorted(seekers, key=turn)):
            self._work.traceparent = self._work.store.traces.get(
                seeker.client_id, self._work.traceparent
            )
            if isinstance(answer, Nobody):
                yield from self._wait(seeker, answer)
            else:
                yield self._assign(seeker.client_id, answer)

    def place_waiting(self) -> Iterator[Event]:
        """Try those who wait again, as long as anybody has a place."""
        last: Client | None = None
        mentors = self._standing_still()
        while any(m.candidate.load < m.capacity and m.candidate.active for m in mentors.values()):
            page = self._work.store.load_waiting(self._facility.id, beyond=last, limit=PAGE)
            if not page:
                return
            last = page[-1]
            yield from self.place([client for client in page if client.state == "waiting"])

    def place_by_hand(self, client: Client, mentor_id: UUID, why: Why, by: UUID) -> Event:
        """The mentor whom a person chose; raises ``NotPossible`` when a hard rule forbids it."""
        refused = self._work.store.refused([client.id]).get(client.id, frozenset())
        seeker = seeker_of(client, refused)
        mentor = self._work.store.mentors_of(self._facility.id, [mentor_id]).get(mentor_id)
        if seeker is None or mentor is None:
            raise NotPossible(("facility",))
        judged = judge(seeker, mentor.candidate, self._rules)
        if not judged.may_be_chosen_by_hand:
            raise NotPossible(tuple(name for name in judged.failed if name not in SOFT))
        return self._assign(client.id, _Place(mentor=mentor, why=why, by=by))

    def _answers(self, seekers: Sequence[Seeker]) -> list[tuple[Seeker, _Place | Nobody]]:
        """What is decided about each; whoever is chosen is locked then.

        To lock and open a roster takes longer than all the rest. So they are chosen from what is
        seen, and those who are chosen are looked at again. Nobody is found only among mentors who
        stand still: somebody who frees a place at the same time does not see who is to wait.
        """
        if not seekers:
            return []
        if self._mentors is None:
            seen, lasting = self._work.store.roster(self._facility.id)
            answers = list(self._choose(seekers, dict(seen), lasting))
            given = [answer for _, answer in answers if isinstance(answer, _Place)]
            if len(given) == len(answers):
                chosen = {place.mentor.id for place in given}
                store = self._work.store
                still = store.mentors_of(self._facility.id, chosen, tentatively=True)
                if still == {mentor_id: seen[mentor_id] for mentor_id in chosen}:
                    return answers
                # Whoever locks all of them may hold none before.
                store.let_go()
        return list(self._choose(seekers, self._standing_still()))

    def _standing_still(self) -> dict[UUID, Mentor]:
        """All mentors, read late and once: clients are locked before mentors, everywhere."""
        if self._mentors is None:
            self._mentors = self._work.store.mentors_of(self._facility.id)
        return self._mentors

    def _choose(
        self,
        seekers: Sequence[Seeker],
        mentors: dict[UUID, Mentor],
        lasting: Lasting | None = None,
    ) -> Iterator[tuple[Seeker, _Place | Nobody]]:
        """Choose for one after the other; each place that is given is marked as taken."""
        choice = Choice((m.candidate for m in mentors.values()), self._rules, lasting)
        for seeker in seekers:
            answer = choice.choose(seeker)
            if isinstance(answer, Nobody):
                yield seeker, answer
                continue
            place = _Place(mentor=mentors[answer.mentor_id], why=Why(why=answer.why))
            taken = mentors[answer.mentor_id] = place.taken(asks=self._facility.asks)
            choice.changed(taken.candidate)
            yield seeker, place

    def _assign(self, client_id: UUID, given: _Place) -> Event:
        work, asks = self._work, self._facility.asks
        client: Client = work.store.clients[client_id]
        work.store.put(replace(client, state="placed", untold=False))
        answer_until = answer_by(given.mentor.profile, self._facility, work.now) if asks else None
        assignment = Assignment(
            id=uuid4(),
            client_id=client.id,
            discharge_id=client.discharge_id,
            mentor_id=given.mentor.id,
            place=given.mentor.free_place(),
            state="offered" if asks else "assigned",
            offered_at=work.now if asks else None,
            answer_by=answer_until,
            assigned_at=None if asks else work.now,
            decided_by=given.by,
        )
        assignment = work.store.begin(assignment, given.why)
        say = offered if asks else assigned
        return say(work, assignment, given.why)

    def _wait(self, seeker: Seeker, nobody: Nobody) -> Iterator[Event]:
        work = self._work
        client: Client = work.store.clients[seeker.client_id]
        if client.state == "waiting" and not client.untold:
            return
        work.store.put(replace(client, state="waiting", untold=False))
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
        decided_by=assignment.decided_by,
    )


def assigned(work: Work, assignment: Assignment, why: Why, *, kept: bool = False) -> MentorAssigned:
    """A mentor stands beside the client from now on."""
    assigned_at = assignment.assigned_at or work.now
    # Whoever has come back is called anew, however long ago the two were introduced.
    call_by = (work.now if kept else assigned_at) + CALL_WITHIN
    return MentorAssigned(
        client_id=assignment.client_id,
        discharge_id=assignment.discharge_id,
        assignment_id=assignment.id,
        mentor_id=assignment.mentor_id,
        assigned_at=assigned_at,
        call_by=call_by,
        why=why,
        kept=kept,
        decided_by=assignment.decided_by,
    )


def answer_by(profile: MentorRow, facility: Facility, now: datetime) -> datetime:
    """The end of two hours of the mentor's own hours, within those in which texts may leave."""
    zone, own = profile.time_zone, parse_hours(profile.hours)
    allowed = parse_hours(facility.quiet_hours)
    hours = narrower(own, allowed) or allowed
    return after_open_time(next_opening(now, zone, hours), zone, hours, ANSWER_WITHIN)
