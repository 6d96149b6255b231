"""What our pages say to clients and mentors, in English and Spanish, and how they are rendered.

Nothing here says why somebody hears from us: a page is seen by whoever looks over a shoulder.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flask import request

from hosting.moments import how_far
from hosting.pages import render

_FOLDER = Path(__file__).with_name("words")
#: Language -> the name of what is said -> what is said.
WORDS: Mapping[str, Mapping[str, str]] = {
    path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.toml"))
}
_SHORT_DAYS = {
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "es": ("lun", "mar", "mié", "jue", "vie", "sáb", "dom"),
}
_MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "es": ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"),
}
_UNITS = {"en": ("min", "h", "days"), "es": ("min", "h", "días")}
_RELATIVE = {
    "en": {"ahead": "in {}", "past": "{} ago", "now": "now"},
    "es": {"ahead": "en {}", "past": "hace {}", "now": "ahora"},
}


def page_language(wanted: str | None = None) -> str:
    """The language of a page: the reader's own where we know and write it."""
    if wanted is not None:
        spoken = re.split("[-_]", wanted)[0]
        return spoken if spoken in WORDS else "en"
    return request.accept_languages.best_match(list(WORDS), default="en") or "en"


def page(template: str, language: str, **values: Any) -> str:
    """One of our pages in a language."""
    return render(template, lang=language, words=WORDS[language], **values)


def note(name: str, language: str | None = None) -> str:
    """A page that says one thing."""
    chosen = language or page_language()
    return page("note.html", chosen, said=WORDS[chosen][name])


def when(moment: datetime, zone: str, now: datetime, language: str) -> dict[str, str]:
    """A moment as people say it, and exactly, on the clocks of a zone."""
    at = moment.astimezone(ZoneInfo(zone))
    day = f"{_SHORT_DAYS[language][at.weekday()]} {at.day} {_MONTHS[language][at.month - 1]}"
    return {"told": _relative(moment, now, language), "exact": f"{day}, {at:%H:%M}"}


def _relative(moment: datetime, now: datetime, language: str) -> str:
    minutes, count, place = how_far(moment, now)
    said = _RELATIVE[language]["ahead" if minutes > 0 else "past" if minutes else "now"]
    return said.format(f"{count} {_UNITS[language][place]}")
