"""What the pages of staff share: whose facility it is, ids in addresses, moments in words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import g

from hosting.moments import told
from hosting.pages import render
from hosting.problems import Problem
from services.intake.commands import Desk, NoSuchThing
from services.intake.domain import Facility
from services.menu import MENU

STAFF = ("clerk", "coordinator")
#: How a channel that a client agrees to is called.
CHANNEL_NAMES = {"text": "Texts", "email": "E-mails"}
METHODS = [("written", "In writing"), ("verbal", "Out loud"), ("electronic", "On a screen")]


def facility_of(desk: Desk) -> Facility:
    """The facility of whoever is signed in; whoever works at none is told so."""
    try:
        return desk.facility(g.who.scope)
    except NoSuchThing:
        raise Problem(403, "Your account's facility is not known here") from None


def page(template: str, facility: Facility, **values: Any) -> str:
    """A page of this facility for its staff."""
    return render(template, menu=MENU, facility=facility, **values)


def id_in(text: str) -> UUID:
    """An id in an address; one that is none names nothing."""
    try:
        return UUID(text)
    except ValueError:
        raise NoSuchThing("id") from None


def when(moment: str | datetime, facility: Facility, now: datetime) -> dict[str, str]:
    """A moment as people say it, and exactly, where the facility is."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return told(at, facility.time_zone, now)


def named(codes: Iterable[str]) -> list[tuple[str, str]]:
    """Codes with their words, as choices of a form."""
    return [(code, code.replace("_", " ").capitalize()) for code in codes]
