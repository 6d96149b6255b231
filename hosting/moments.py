"""A moment as people say it, and exactly, by the clocks of a place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

_Step = tuple[float, float, int]
#: Up to which size, in minutes, a length is told in so many minutes; and the unit's place.
_STEPS: tuple[_Step, ...] = ((90, 1, 0), (48 * 60, 60, 1), (float("inf"), 1440, 2))
_UNITS = ("min", "h", "days")
_STEPS_OF_DAYS: tuple[_Step, ...] = ((60, 1, 0), (730, 30.4, 1), (float("inf"), 365.25, 2))
_UNITS_OF_DAYS = ("days", "months", "years")


def how_far(moment: datetime, now: datetime) -> tuple[int, int, int]:
    """Minutes ahead (past ones are negative), and how that is told: a count, and its unit's place.

    The units are minutes, hours and days, for whoever speaks another language.
    """
    minutes = round((moment - now).total_seconds() / 60)
    return minutes, *_told_in(abs(minutes), _STEPS)


def _told_in(size: float, steps: Sequence[_Step]) -> tuple[int, int]:
    return next((round(size / one), place) for limit, one, place in steps if size < limit)


def told(moment: datetime, zone: str, now: datetime) -> dict[str, str]:
    """``{"told": "2 h ago", "exact": "Tue 24 Nov 2026, 10:00 PST"}``."""
    minutes, count, place = how_far(moment, now)
    said = f"{count} {_UNITS[place]}"
    words = f"in {said}" if minutes > 0 else f"{said} ago" if minutes else "now"
    exact = f"{moment.astimezone(ZoneInfo(zone)):%a %d %b %Y, %H:%M %Z}"
    return {"told": words, "exact": exact, "at": moment.isoformat()}


def day_told(day: date, today: date) -> str:
    """``in 9 days (Thu 03 Dec 2026)``."""
    days = (day - today).days
    exact = f"{day:%a %d %b %Y}"
    if abs(days) <= 1:
        return f"{('yesterday', 'today', 'tomorrow')[days + 1]} ({exact})"
    count, place = _told_in(abs(days), _STEPS_OF_DAYS)
    said = f"{count} {_UNITS_OF_DAYS[place]}"
    return f"in {said} ({exact})" if days > 0 else f"{said} ago ({exact})"
