"""What the pages of coordinators share: whose facility it is, how they look, what is not there."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import g

from hosting.moments import day_told, told
from hosting.pages import render
from hosting.problems import Problem
from messaging.work import Participant
from services.matching import telling
from services.matching.looking import facility_named
from services.matching.store import Facility, Mentor
from services.menu import MENU

TEMPLATES = Path(__file__).parent / "page_templates"


def facility_here(participant: Participant) -> Facility:
    """The facility of whoever is signed in."""
    found = facility_named(participant, g.who.scope)
    if found is None:
        raise Problem(403, "Your account's facility is not known here")
    return found


def page(template: str, facility: Facility, now: datetime, **values: Any) -> str:
    """A page of this facility, whose clocks it shows."""
    today = today_at(facility, now)
    return render(
        template,
        navigation=MENU[g.who.role],
        sign_out="/sign-out",
        form_token=g.who.form_token(),
        facility=facility,
        today=today,
        tell=telling,
        when=lambda moment: told(moment, facility.time_zone, now),
        day=lambda on: day_told(on, today),
        name_of=name_of,
        **{"errors": [], **values},
    )


def moved_on(facility: Facility, now: datetime, back: str) -> tuple[str, int]:
    """A decision came too late: somebody answered or decided since the page was shown."""
    return page("moved_on.html", facility, now, back=back), 409


def today_at(facility: Facility, now: datetime) -> date:
    """The day that it is at the facility."""
    return now.astimezone(ZoneInfo(facility.time_zone)).date()


def name_of(mentor: Mentor | None) -> str:
    """The name a mentor goes by; not all are of this facility, and some were erased."""
    return mentor.profile.called if mentor else "a mentor who is not on this roster"


def not_here() -> Problem:
    """The same answer for what there is not and for what another facility has."""
    return Problem(404, "There is no such thing here", "Go back to the list and look again.")


def id_of(text: str) -> UUID:
    """An id from an address."""
    try:
        return UUID(text)
    except ValueError:
        raise not_here() from None
