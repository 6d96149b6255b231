"""A day and a time as somebody typed them, in the boxes of ``forms.html``'s date field.

What does not exist stays as it was typed, so that it is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

PARTS = ("day", "month", "year")
NO_DAY = "Enter a day that there is, as month, day and year."
NO_MOMENT = f"{NO_DAY[:-1]}, and a time such as 9:30."
#: A time as people write it: 9:30, 09:30 or 9.30.
_TIME = re.compile(r"(\d{1,2})[:.](\d{2})")


def day_typed(form: Any, name: str) -> str:
    """The three boxes of a day as ``YYYY-MM-DD``; empty when all of them are."""
    day, month, year = (form.get(f"{name}-{part}", "").strip() for part in PARTS)
    if not (day or month or year):
        return ""
    return f"{year}-{month.zfill(2)}-{day.zfill(2)}"


def moment_typed(form: Any, name: str, zone: str) -> str:
    """A day with the time beside it, by the clocks of a zone; noon where nobody knows the time."""
    day = day_typed(form, name)
    if not day:
        return ""
    time = form.get(f"{name}-time", "").strip() or "12:00"
    if found := _TIME.fullmatch(time):
        time = f"{found[1].zfill(2)}:{found[2]}"
    typed = f"{day}T{time}"
    try:
        local = datetime.fromisoformat(typed)
    except ValueError:
        return typed
    return local.replace(tzinfo=local.tzinfo or ZoneInfo(zone)).isoformat()


def day_as_typed(name: str, day: date | None) -> dict[str, str]:
    """What somebody would have typed into the three boxes of a day."""
    if day is None:
        return {}
    return {f"{name}-{part}": str(getattr(day, part)) for part in PARTS}


def boxes_of(typed: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The boxes of each day with what was typed into them."""
    return {name: {part: typed.get(f"{name}-{part}", "") for part in PARTS} for name in names}
