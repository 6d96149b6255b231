"""The form of one mentor: what was typed, as the cells of a roster's row, and back again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from hosting.typed_days import NO_DAY, day_as_typed, day_typed, moment_typed
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
#: What is typed as a day; the moment of agreeing has a time beside it.
DATES = ("recovery_since", "credential_ends_on", "route_ends_on")
#: Where the words for a file would mislead somebody who looks at a form.
_TOLD = {
    "languages": "Write languages by their codes of two or three letters, such as en, es.",
    "opted_in_at": "Enter the day on which they agreed, or leave out how they agreed too.",
    "opted_in_how": "Say how they agreed, in at most 100 characters, or leave the day empty too.",
    "moud_friendly": "Choose whether they support clients who take medication (MOUD).",
    "recovery_since": NO_DAY,
    "credential_ends_on": NO_DAY,
    "route_ends_on": NO_DAY,
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
    typed |= {name: day_typed(form, name) for name in DATES}
    typed["languages"] = "|".join(re.findall(r"[^\s,;|]+", form.get("languages", "")))
    typed["opted_in_at"] = moment_typed(form, "opted_in_at", zone)
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
        typed.update(day_as_typed(name, getattr(row, name)))
    if row.opted_in_at is not None:
        local = row.opted_in_at.astimezone(ZoneInfo(zone))
        typed.update(day_as_typed("opted_in_at", local))
        typed["opted_in_at-time"] = f"{local:%H:%M:%S}".removesuffix(":00")
    return typed
