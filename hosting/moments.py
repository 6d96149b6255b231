"""A moment as people say it, and exactly, by the clocks of a place."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

_STEPS = ((90, 1, "min"), (48 * 60, 60, "h"), (float("inf"), 1440, "days"))


def told(moment: datetime, zone: str, now: datetime) -> dict[str, str]:
    """``{"told": "2 h ago", "exact": "Tue 24 Nov 2026, 10:00 PST"}``."""
    minutes = round((moment - now).total_seconds() / 60)
    size = abs(minutes)
    count, unit = next((round(size / one), unit) for limit, one, unit in _STEPS if size < limit)
    words = f"in {count} {unit}" if minutes > 0 else f"{count} {unit} ago" if size else "now"
    exact = f"{moment.astimezone(ZoneInfo(zone)):%a %d %b %Y, %H:%M %Z}"
    return {"told": words, "exact": exact, "at": moment.isoformat()}


def day_told(day: date, today: date) -> str:
    """``in 9 days (Thu 03 Dec 2026)``."""
    days = (day - today).days
    exact = f"{day:%a %d %b %Y}"
    if abs(days) <= 1:
        return f"{('yesterday', 'today', 'tomorrow')[days + 1]} ({exact})"
    steps = ((60, 1, "days"), (730, 30.4, "months"), (float("inf"), 365.25, "years"))
    size = abs(days)
    count, unit = next((round(size / one), unit) for limit, one, unit in steps if size < limit)
    return f"in {count} {unit} ({exact})" if days > 0 else f"{count} {unit} ago ({exact})"
