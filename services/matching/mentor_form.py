"""The form of one mentor: what was typed, as the cells of a roster's row, and back again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from services.matching.roster import MENTOR, MentorRow, read_cells

_PLAIN = (
    "code",
    "called",
    "mobile",
    "email",
    "opted_in_how",
    "time_zone",
    "moud_friendly",
    "age_band",
    "gender",
    "capacity",
    "hours",
    "credential",
    "route",
)
_CHOICES = ("pathways", "strengths")
DATES = ("recovery_since", "credential_ends_on", "route_ends_on")
_PARTS = ("day", "month", "year")
_NO_DAY = "Enter a day that there is, as month, day and year."
#: Where the words for a file would mislead somebody who looks at a form.
_TOLD = {
    "languages": "Write languages by their codes of two or three letters, such as en, es.",
    "opted_in_at": "Enter the day on which they agreed, or leave out how they agreed too.",
    "opted_in_how": "Say how they agreed, in at most 100 characters, or leave the day empty too.",
    "recovery_since": _NO_DAY,
    "credential_ends_on": _NO_DAY,
    "route_ends_on": _NO_DAY,
}


def read_form(
    form: Any,
    facilities: Sequence[str],
    state: str,
    zone: str,
    *,
    reveals: Callable[[str], bool],
) -> tuple[MentorRow | None, dict[str, str]]:
    """The mentor that was typed; or None, and what is wrong by field in the order of the page."""
    typed = {name: form.get(name, "").strip() for name in _PLAIN}
    typed |= {name: "|".join(form.getlist(name)) for name in _CHOICES}
    typed |= {name: _day(form, name) for name in DATES}
    typed["languages"] = "|".join(re.findall(r"[^\s,;|]+", form.get("languages", "")))
    typed["opted_in_at"] = _moment(form, zone)
    typed |= {"facilities": "|".join(facilities), "state": state}
    values, faults = read_cells({name: cell for name, cell in typed.items() if cell}, reveals)
    if not faults:
        return MentorRow(**values), {}
    return None, {name: _told(name, faults[name][0]) for name in MENTOR.fields if name in faults}


def _told(name: str, message: str) -> str:
    if name == "route_ends_on" and message.startswith("Write the last day"):
        return "Enter the last day of the agreement (QSOA)."
    return _TOLD.get(name, message.removeprefix("This cell is empty. "))


def in_order_of(before: MentorRow, row: MentorRow) -> MentorRow:
    """The row with lists that only differ in their order, which a form does not know, as before."""
    same = {
        name: getattr(before, name)
        for name in _CHOICES
        if set(getattr(before, name)) == set(getattr(row, name))
    }
    return replace(row, **same)


def typed_of(row: MentorRow, zone: str) -> MultiDict[str, str]:
    """A mentor as the form shows them."""
    typed: MultiDict[str, str] = MultiDict()
    for name in _PLAIN:
        typed[name] = str(getattr(row, name) or "")
    typed["capacity"] = str(row.capacity)
    typed["moud_friendly"] = "yes" if row.moud_friendly else "no"
    typed["languages"] = ", ".join(row.languages)
    for name in _CHOICES:
        typed.setlist(name, list(getattr(row, name)))
    for name in DATES:
        _put_day(typed, name, getattr(row, name))
    if row.opted_in_at is not None:
        local = row.opted_in_at.astimezone(ZoneInfo(zone))
        _put_day(typed, "opted_in_at", local)
        typed["opted_in_at-time"] = f"{local:%H:%M:%S}".removesuffix(":00")
    return typed


def boxes_of(typed: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The three boxes of each day, as the date parts of a form want them."""
    return {
        name: {part: typed.get(f"{name}-{part}", "") for part in _PARTS}
        for name in (*DATES, "opted_in_at")
    }


def _put_day(typed: MultiDict[str, str], name: str, day: Any) -> None:
    if day is not None:
        for part in _PARTS:
            typed[f"{name}-{part}"] = str(getattr(day, part))


def _day(form: Any, name: str) -> str:
    day, month, year = (form.get(f"{name}-{part}", "").strip() for part in _PARTS)
    if not (day or month or year):
        return ""
    return f"{year}-{month.zfill(2)}-{day.zfill(2)}"


def _moment(form: Any, zone: str) -> str:
    """When they agreed, by the facility's clocks; noon where nobody knows the time."""
    day = _day(form, "opted_in_at")
    if not day:
        return ""
    typed = f"{day}T{form.get('opted_in_at-time', '').strip() or '12:00'}"
    try:
        return datetime.fromisoformat(typed).replace(tzinfo=ZoneInfo(zone)).isoformat()
    except ValueError:
        # It stays as it was typed, so that it is refused by its name.
        return typed
