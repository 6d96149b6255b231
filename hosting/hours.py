"""When a place is open by its own clocks, through every change of those clocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(7))
MIDNIGHT = time(0)


@dataclass(frozen=True)
class Hours:
    """From ``start`` to just before ``end`` on some days of the week (Monday is 0).

    An ``end`` of 00:00 is the midnight that closes the day. Hours through the night are two.
    """

    start: time
    end: time
    days: frozenset[int] = EVERY_DAY

    def __post_init__(self) -> None:
        if self.end != MIDNIGHT and self.end <= self.start:
            raise ValueError("hours end after they start, on the same day")
        if not self.days or not self.days <= EVERY_DAY:
            raise ValueError("hours need at least one day, from 0 (Monday) to 6 (Sunday)")
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("hours have no zone of their own")


@lru_cache(maxsize=1024)
def parse_hours(text: str) -> Hours:
    """Read ``mon-fri 09:00-20:00``, ``sat,sun 10:00-24:00`` or, for every day, ``09:00-20:00``."""
    found = _WRITTEN.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError("hours are written like 'mon-fri 09:00-20:00'")
    days, start, end = found.groups()
    return Hours(
        time.fromisoformat(start),
        MIDNIGHT if end == "24:00" else time.fromisoformat(end),
        _parse_days(days) if days else EVERY_DAY,
    )


def narrower(a: Hours, b: Hours) -> Hours | None:
    """The hours when both are open; None when they never are at once."""
    start, end, days = max(a.start, b.start), min(a.end, b.end, key=_closing), a.days & b.days
    if not days or (end != MIDNIGHT and end <= start):
        return None
    return Hours(start, end, days)


def is_open(moment: datetime, zone: str, hours: Hours) -> bool:
    """Whether the clocks of the zone show a time within the hours."""
    return _wall_is_open(_wall(moment, ZoneInfo(zone)), hours)


def next_opening(moment: datetime, zone: str, hours: Hours) -> datetime:
    """The first open moment from ``moment`` on, in UTC: itself when it is open."""
    place = ZoneInfo(zone)
    here = _utc(moment)
    while True:
        wall = _wall(here, place)
        there = here + (_wall_opening(wall, hours) - wall)
        if _offset(there, place) == _offset(here, place):
            return there
        # The clocks change on the way: look again from where they do.
        here = _clock_change(here, there, place)


def after_open_time(moment: datetime, zone: str, hours: Hours, duration: timedelta) -> datetime:
    """The moment, in UTC, by which ``duration`` of open time has passed since ``moment``."""
    if duration < timedelta(0):
        raise ValueError("a duration of open time is not negative")
    place = ZoneInfo(zone)
    left = duration
    here = next_opening(moment, zone, hours)
    while here + left > (stop := _closing_or_clock_change(here, place, hours)):
        left -= stop - here
        here = next_opening(stop, zone, hours)
    return here + left


_WRITTEN = re.compile(
    r"(?:([a-z]{3}(?:[-,][a-z]{3})*)\s+)?((?:[01]\d|2[0-3]):[0-5]\d)\s*-\s*"
    r"((?:[01]\d|2[0-3]):[0-5]\d|24:00)"
)


def _parse_days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, *last = (_day(name) for name in part.split("-"))
        if len(last) > 1:
            raise ValueError("a range of days has two ends, like 'mon-fri'")
        # A range may go over the end of the week, such as fri-mon.
        days |= {(first + n) % 7 for n in range((last[0] - first) % 7 + 1)} if last else {first}
    return frozenset(days)


def _day(name: str) -> int:
    if name not in DAYS:
        raise ValueError(f"days are written {', '.join(DAYS)}")
    return DAYS.index(name)


def _closing(end: time) -> timedelta:
    """How far into its day an end is; midnight closes the day."""
    return timedelta(hours=end.hour, minutes=end.minute, seconds=end.second) or timedelta(days=1)


def _wall_is_open(wall: datetime, hours: Hours) -> bool:
    return wall.weekday() in hours.days and wall.time() >= hours.start and wall < _end(wall, hours)


def _end(wall: datetime, hours: Hours) -> datetime:
    return datetime.combine(wall, MIDNIGHT) + _closing(hours.end)


def _wall_opening(wall: datetime, hours: Hours) -> datetime:
    """The first open reading from ``wall`` on, as if the clocks never changed."""
    if _wall_is_open(wall, hours):
        return wall
    starts = (
        datetime.combine(wall, hours.start) + timedelta(days=ahead)
        for ahead in range(8)
        if (wall.weekday() + ahead) % 7 in hours.days
    )
    return next(start for start in starts if start >= wall)


def _closing_or_clock_change(here: datetime, place: ZoneInfo, hours: Hours) -> datetime:
    wall = _wall(here, place)
    closing = here + (_end(wall, hours) - wall)
    if _offset(closing, place) == _offset(here, place):
        return closing
    return _clock_change(here, closing, place)


def _clock_change(before: datetime, after: datetime, place: ZoneInfo) -> datetime:
    """The second at which the zone leaves the offset that it has at ``before``."""
    low, high = 0, int((after - before) / timedelta(seconds=1)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        same = _offset(before + timedelta(seconds=middle), place) == _offset(before, place)
        low, high = (middle, high) if same else (low, middle)
    # Zones change on whole seconds, whatever fraction the search began with.
    return (before + timedelta(seconds=high)).replace(microsecond=0)


def _utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError("a moment needs a zone")
    return moment.astimezone(UTC)


def _wall(moment: datetime, place: ZoneInfo) -> datetime:
    """What the clocks of the place show, without a zone, so that it can be counted with."""
    return _utc(moment).astimezone(place).replace(tzinfo=None, fold=0)


def _offset(moment: datetime, place: ZoneInfo) -> timedelta | None:
    return moment.astimezone(place).utcoffset()
