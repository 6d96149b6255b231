"""Choose the mentor for a client, and say in a sentence why this one or why nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo


@dataclass(frozen=True, kw_only=True)
class Seeker:
    """A client for whom a mentor is looked for."""

    client_id: UUID
    facility_id: UUID
    language: str
    moud: bool
    needs: frozenset[str]
    pathways: frozenset[str]
    high_risk: bool
    wants_gender: str | None = None
    wants_age_band: str | None = None
    time_zone: str
    refused: frozenset[UUID] = frozenset()
    waiting_since: datetime


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A mentor as they stand at the moment of choosing."""

    mentor_id: UUID
    facility_ids: frozenset[UUID]
    languages: frozenset[str]
    pathways: frozenset[str]
    strengths: frozenset[str]
    moud_friendly: bool
    gender: str | None
    age_band: str | None
    time_zone: str
    capacity: int
    load: int
    active: bool
    route: str
    route_ends_on: date | None
    credential_ends_on: date | None
    recovery_since: date | None
    opted_in: bool
    has_open_offer: bool


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the facility decides about choosing, and the day it is applied on."""

    today: date
    asks: bool
    minimum_recovery_years: int = 2


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The mentor chosen; ``parts`` are named and sum to ``points``."""

    mentor_id: UUID
    points: int
    parts: tuple[tuple[str, int], ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How a mentor stands to a client now: the rules that keep them out, or what speaks for them.

    Points, parts and reasons are those of mentors who may be chosen by somebody.
    """

    mentor_id: UUID
    failed: tuple[str, ...]
    points: int = 0
    parts: tuple[tuple[str, int], ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def may_be_chosen_by_hand(self) -> bool:
        """Whether nothing but soft rules keeps them out."""
        return SOFT.issuperset(self.failed)


@dataclass(frozen=True, kw_only=True)
class Nobody:
    """Nobody can be chosen: how many mentors each rule removes, and for how many it is the
    only one that does. Rules that remove nobody are left out.
    """

    removed: Mapping[str, int]
    only_blocker: Mapping[str, int]
    why: str
    change: str


def choose(seeker: Seeker, candidates: Iterable[Candidate], rules: Rules) -> Chosen | Nobody:
    """The best of the mentors for one client; for many clients, one ``Choice`` is quicker."""
    return Choice(candidates, rules).choose(seeker)


#: For so many kinds of client who are alike what was judged is kept at most.
KINDS_KEPT = 64


class Lasting:
    """What was judged of mentors and does not change while their places are taken.

    It is judged once for all clients who are alike in what it looks at; clients of one facility
    are alike in a language, a time zone, or a pathway. It holds for the same mentors in the same
    order; a mentor is meant by their place there.
    """

    def __init__(self) -> None:
        self._let_through: dict[object, list[int]] = {}
        self._points: dict[object, list[int | None]] = {}
        self._places: dict[UUID, int] = {}

    def place_of(self, mentor_id: UUID, everyone: Sequence[Candidate]) -> int:
        """Where a mentor stands."""
        if not self._places:
            self._places = {one.mentor_id: place for place, one in enumerate(everyone)}
        return self._places[mentor_id]

    def let_through(
        self, seeker: Seeker, everyone: Sequence[Candidate], rules: Rules
    ) -> Sequence[int]:
        """The places of those whom every rule lets through, but for those that pass."""
        alike = (rules, _WISHES(seeker))
        left = self._let_through.get(alike)
        if left is None:
            left = list(range(len(everyone)))
            for allows in (allows for name, allows in REQUIRED.items() if name not in PASSING):
                left = [place for place in left if allows(seeker, everyone[place], rules)]
            self._keep(self._let_through, alike, left)
        return left

    def points(
        self,
        name: str,
        seeker: Seeker,
        suitable: Iterable[int],
        everyone: Sequence[Candidate],
        rules: Rules,
    ) -> Sequence[int | None]:
        """The points of a part by place, for those who are suitable."""
        alike = (name, rules, LASTING[name](seeker))
        points = self._points.get(alike)
        if points is None:
            points = [None] * len(everyone)
            self._keep(self._points, alike, points)
        most, share = PREFERRED[name]
        for place in suitable:
            if points[place] is None:
                points[place] = most * share(seeker, everyone[place], rules) // 1000
        return points

    @staticmethod
    def _keep(kept: dict[object, Any], alike: object, judged: object) -> None:
        if len(kept) >= KINDS_KEPT:
            kept.clear()
        kept[alike] = judged


class Choice:
    """Chooses for one client after the other among the same mentors, whose places are taken."""

    def __init__(
        self, candidates: Iterable[Candidate], rules: Rules, lasting: Lasting | None = None
    ) -> None:
        """``lasting``: what was judged before of the same mentors, in the same order."""
        self._everyone = list(candidates)
        self._rules = rules
        self._lasting = lasting or Lasting()

    def changed(self, candidate: Candidate) -> None:
        """A mentor who has taken a place since, or is being asked; all else is as it was."""
        self._everyone[self._lasting.place_of(candidate.mentor_id, self._everyone)] = candidate

    def choose(self, seeker: Seeker) -> Chosen | Nobody:
        """The mentor for this client as all stand now."""
        rules = self._rules
        suitable = self._suitable(seeker)
        if not suitable:
            return _nobody(seeker, self._everyone, rules)
        best = self._best(seeker, suitable)
        parts = _parts(seeker, best, rules)
        return Chosen(
            mentor_id=best.mentor_id,
            points=sum(points for _, points in parts),
            parts=parts,
            why=_why_this_one(seeker, best, rules, among=len(suitable)),
        )

    def _suitable(self, seeker: Seeker) -> list[int]:
        """The places of those whom every rule lets through, those that last judged before."""
        everyone, rules = self._everyone, self._rules
        left = list(self._lasting.let_through(seeker, everyone, rules))
        for name in PASSING:
            # Most clients have refused nobody, and nobody them.
            if name != "refused" or seeker.refused:
                allows = REQUIRED[name]
                left = [place for place in left if allows(seeker, everyone[place], rules)]
        return left

    def _best(self, seeker: Seeker, suitable: Sequence[int]) -> Candidate:
        everyone = self._everyone
        lasting = [
            self._lasting.points(name, seeker, suitable, everyone, self._rules) for name in LASTING
        ]
        most, room = PREFERRED["room"]
        ranks = []
        for place in suitable:
            candidate = everyone[place]
            points = most * room(seeker, candidate, self._rules) // 1000
            for part in lasting:
                points += part[place] or 0
            ranks.append((points, -candidate.load))
        highest = max(ranks)
        equals = [everyone[p] for p, rank in zip(suitable, ranks, strict=True) if rank == highest]
        return min(equals, key=lambda candidate: _lot(seeker, candidate))


def rank(seeker: Seeker, candidates: Iterable[Candidate], rules: Rules) -> list[Judged]:
    """Every mentor: first those who can be chosen, in the order in which they would be."""
    known = {candidate.mentor_id: candidate for candidate in candidates}

    def order(judged: Judged) -> tuple[bool, bool, int, int, bytes]:
        candidate = known[judged.mentor_id]
        by_hand = judged.may_be_chosen_by_hand
        lot = _lot(seeker, candidate)
        return (bool(judged.failed), not by_hand, -judged.points, candidate.load, lot)

    return sorted((judge(seeker, one, rules) for one in known.values()), key=order)


def judge(seeker: Seeker, candidate: Candidate, rules: Rules) -> Judged:
    """What every rule says of one mentor."""
    failed = _failed(seeker, candidate, rules)
    if not SOFT.issuperset(failed):
        return Judged(mentor_id=candidate.mentor_id, failed=failed)
    parts = _parts(seeker, candidate, rules)
    return Judged(
        mentor_id=candidate.mentor_id,
        failed=failed,
        points=sum(points for _, points in parts),
        parts=parts,
        reasons=tuple(_reasons(seeker, candidate, rules)),
    )


def turn(seeker: Seeker) -> tuple[bool, datetime, UUID]:
    """Sorts the clients who wait: high risk first, then the longest wait."""
    return (not seeker.high_risk, seeker.waiting_since, seeker.client_id)


def is_active(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return candidate.active


def has_opted_in(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return candidate.opted_in


def has_room(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return candidate.load < candidate.capacity


def may_be_asked(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return not (rules.asks and candidate.has_open_offer)


def shares_the_language(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return seeker.language in candidate.languages


def supports_moud(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return candidate.moud_friendly or not seeker.moud


def has_the_wished_gender(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return seeker.wants_gender in (None, candidate.gender)


def has_the_wished_age(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return seeker.wants_age_band in (None, candidate.age_band)


def works_with_the_facility(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return seeker.facility_id in candidate.facility_ids


def has_an_open_route(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    """An agreement (QSOA) opens a route only while its end is known and not past."""
    ends_on = candidate.route_ends_on
    if candidate.route == "workforce":
        return ends_on is None or ends_on >= rules.today
    return candidate.route == "qsoa" and ends_on is not None and ends_on >= rules.today


def has_no_expired_credential(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    ends_on = candidate.credential_ends_on
    return ends_on is None or ends_on >= rules.today


def is_long_enough_in_recovery(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    since, today = candidate.recovery_since, rules.today
    if since is None:
        return True
    years = today.year - since.year - ((today.month, today.day) < (since.month, since.day))
    return years >= rules.minimum_recovery_years


def was_not_refused(seeker: Seeker, candidate: Candidate, rules: Rules) -> bool:
    return candidate.mentor_id not in seeker.refused


REQUIRED: Mapping[str, Callable[[Seeker, Candidate, Rules], bool]] = MappingProxyType(
    {
        "active": is_active,
        "opted_in": has_opted_in,
        "capacity": has_room,
        "open_offer": may_be_asked,
        "facility": works_with_the_facility,
        "language": shares_the_language,
        "moud": supports_moud,
        "gender": has_the_wished_gender,
        "age_band": has_the_wished_age,
        "route": has_an_open_route,
        "credential": has_no_expired_credential,
        "recovery": is_long_enough_in_recovery,
        "refused": was_not_refused,
    }
)

#: The rules whose answer changes while places are taken, or is one client's alone.
PASSING = ("capacity", "open_offer", "refused")
#: What all the others look at in a client.
_WISHES = attrgetter("facility_id", "language", "moud", "wants_gender", "wants_age_band")

#: What a coordinator who gives a reason may set aside: what the client wished or is at ease with,
#: and what the facility asks for. Never law, route, capacity, state, or somebody's no.
SOFT = frozenset({"language", "gender", "age_band", "recovery"})


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a rule is told to a coordinator."""

    removes: str
    lets_through: str


TOLD: Mapping[str, Told] = MappingProxyType(
    {
        "active": Told(removes="paused", lets_through="if they were active again"),
        "opted_in": Told(
            removes="no agreement to messages", lets_through="if they agreed to get messages"
        ),
        "capacity": Told(removes="no free place", lets_through="if they had a free place"),
        "open_offer": Told(
            removes="asked already", lets_through="once their open offer is answered"
        ),
        "facility": Told(
            removes="not with this facility", lets_through="if they worked with this facility too"
        ),
        "language": Told(
            removes="no shared language",
            lets_through="if the client were at ease in a language that they speak",
        ),
        "moud": Told(
            removes="not MOUD-friendly",
            lets_through="if they were ready to support a client who takes MOUD",
        ),
        "gender": Told(
            removes="not of the wished gender",
            lets_through="if the client accepted a mentor of any gender",
        ),
        "age_band": Told(
            removes="not of the wished age",
            lets_through="if the client accepted a mentor of any age",
        ),
        "route": Told(
            removes="no open route",
            lets_through="if they had an open route (workforce, or a QSOA that has not ended)",
        ),
        "credential": Told(
            removes="credential expired", lets_through="if their credential were renewed"
        ),
        "recovery": Told(
            removes="too short a time in recovery",
            lets_through="if less time in recovery were required",
        ),
        "refused": Told(
            removes="turned down before", lets_through="if the client and they agreed to try again"
        ),
    }
)

# Shares are thousandths, so that all scoring is done in integers and can be repeated exactly.
# Counting shared items, not the fraction of the client's, keeps those who tell much from losing.
SHARE_OF_COUNT = (0, 700, 900, 1000)
SHARE_OF_UNKNOWN = 500
FARTHEST_MINUTES = 6 * 60


def shared_pathways(seeker: Seeker, candidate: Candidate, rules: Rules) -> int:
    return _share_in_common(seeker.pathways, candidate.pathways)


def needs_met(seeker: Seeker, candidate: Candidate, rules: Rules) -> int:
    return _share_in_common(seeker.needs, candidate.strengths)


def room_on_caseload(seeker: Seeker, candidate: Candidate, rules: Rules) -> int:
    return 1000 * (candidate.capacity - candidate.load) // candidate.capacity


def closeness_of_zones(seeker: Seeker, candidate: Candidate, rules: Rules) -> int:
    apart = _minutes_apart(seeker.time_zone, candidate.time_zone, rules.today)
    if apart is None:
        return SHARE_OF_UNKNOWN
    return 1000 * max(0, FARTHEST_MINUTES - apart) // FARTHEST_MINUTES


# The most points each part can bring; they sum to 10,000. The pathway weighs most because
# it is the attribute with the best evidence for a good relationship (Tillson & Lewis 2024).
PREFERRED: Mapping[str, tuple[int, Callable[[Seeker, Candidate, Rules], int]]] = MappingProxyType(
    {
        "pathways": (3_500, shared_pathways),
        "needs": (3_000, needs_met),
        "room": (2_000, room_on_caseload),
        "zone": (1_500, closeness_of_zones),
    }
)

#: The parts that stay as they are while places are taken, and what they look at in a client.
LASTING: Mapping[str, Callable[[Seeker], object]] = MappingProxyType(
    {
        "pathways": attrgetter("pathways"),
        "needs": attrgetter("needs"),
        "zone": attrgetter("time_zone"),
    }
)

#: How a part of the points is told to a coordinator.
PART_TOLD: Mapping[str, str] = MappingProxyType(
    {
        "pathways": "shared pathways",
        "needs": "strengths for the needs",
        "room": "room on the caseload",
        "zone": "same time of day",
    }
)


def _lot(seeker: Seeker, candidate: Candidate) -> bytes:
    """Breaks ties the same way every time, without favouring any mentor over all clients."""
    return blake2b(seeker.client_id.bytes + candidate.mentor_id.bytes, digest_size=8).digest()


def _parts(seeker: Seeker, candidate: Candidate, rules: Rules) -> tuple[tuple[str, int], ...]:
    return tuple(
        (name, most * share(seeker, candidate, rules) // 1000)
        for name, (most, share) in PREFERRED.items()
    )


def _share_in_common(asked: frozenset[str], given: frozenset[str]) -> int:
    if not asked or not given:
        return SHARE_OF_UNKNOWN
    return SHARE_OF_COUNT[min(len(asked & given), len(SHARE_OF_COUNT) - 1)]


# ZoneInfo keeps few zones itself, and reading one from disk costs more than all else here.
@lru_cache(maxsize=4096)
def _minutes_apart(one: str, other: str, on: date) -> int | None:
    here, there = _offset_minutes(one, on), _offset_minutes(other, on)
    if here is None or there is None:
        return None
    # A day apart is the same time of day, which is what counts for a call.
    apart = abs(here - there) % (24 * 60)
    return min(apart, 24 * 60 - apart)


def _offset_minutes(time_zone: str, on: date) -> int | None:
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        return None
    offset = datetime.combine(on, time(12), UTC).astimezone(zone).utcoffset()
    return None if offset is None else offset // timedelta(minutes=1)


def _why_this_one(seeker: Seeker, best: Candidate, rules: Rules, *, among: int) -> str:
    opening = "The only suitable mentor" if among == 1 else f"The best of {among} suitable mentors"
    return f"{opening}: {', '.join(_reasons(seeker, best, rules))}."


def _reasons(seeker: Seeker, best: Candidate, rules: Rules) -> Iterator[str]:
    if pathways := len(seeker.pathways & best.pathways):
        yield f"shares {_counted(pathways, 'pathway')}"
    if needs := len(seeker.needs & best.strengths):
        yield f"has strengths for {_counted(needs, 'need')}"
    yield f"has {best.capacity - best.load} of {_counted(best.capacity, 'place')} free"
    apart = _minutes_apart(seeker.time_zone, best.time_zone, rules.today)
    if apart is not None:
        yield f"is {apart / 60:g} h away by the clock" if apart else "has the same time of day"


def _nobody(seeker: Seeker, everyone: Sequence[Candidate], rules: Rules) -> Nobody:
    failed = [_failed(seeker, candidate, rules) for candidate in everyone]
    removed = _in_order_of_rules(Counter(name for names in failed for name in names))
    only_blocker = _in_order_of_rules(Counter(names[0] for names in failed if len(names) == 1))
    return Nobody(
        removed=removed,
        only_blocker=only_blocker,
        why=_why_nobody(removed, among=len(everyone)),
        change=_change(only_blocker),
    )


def _failed(seeker: Seeker, candidate: Candidate, rules: Rules) -> tuple[str, ...]:
    return tuple(n for n, allows in REQUIRED.items() if not allows(seeker, candidate, rules))


def _in_order_of_rules(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in REQUIRED if name in counts}


def _why_nobody(removed: Mapping[str, int], *, among: int) -> str:
    if not among:
        return "No mentors are on the roster."
    most_first = sorted(removed.items(), key=lambda item: -item[1])
    counted = ", ".join(f"{TOLD[name].removes} {count}" for name, count in most_first)
    twice = " (some are counted more than once)" if sum(removed.values()) > among else ""
    return f"None of {_counted(among, 'mentor')} can be chosen: {counted}{twice}."


def _change(only_blocker: Mapping[str, int]) -> str:
    if not only_blocker:
        return ""
    name, count = max(only_blocker.items(), key=lambda item: item[1])
    return f"{_counted(count, 'mentor')} could be chosen {TOLD[name].lets_through}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
