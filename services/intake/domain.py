"""Clients, discharges and consents as intake sees them, and what holds a discharge back."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

#: What a client may be agreed to be reached by, and the contact that each needs.
CHANNELS = {"text": "mobile", "email": "email"}

REASONS = (
    "completed",
    "left_against_advice",
    "terminated",
    "transferred",
    "incarcerated",
    "died",
    "other",
)
#: Any of these, or leaving against advice, means that the first days are the most dangerous.
HIGH_RISK_FLAGS = ("recent_overdose", "suicide_risk", "homeless", "lives_alone", "no_support")

STATES = (
    "received",
    "held",
    "waiting",
    "offered",
    "assigned",
    "in_contact",
    "closed",
    "parked",
)

#: A discharge told longer ago than this is not acted on without a person's word.
STALE_AFTER = timedelta(days=90)
#: A discharge may be entered this long before the client leaves.
AHEAD = timedelta(days=1)
ADULT = 18

#: What holds a discharge -> what a person is asked to do about it.
HOLDS = {
    "name": "Enter the client's name.",
    "born_on": "Enter the client's date of birth.",
    "discharged_at": "Enter when the client left: it is missing, long ago, or in the future.",
    "channel": "Record a mobile or e-mail address and the client's consent to its use.",
    "under_18": "The client is under 18: decide with the guardian how to go on.",
    "unit": "Map the unit that the feed names, or correct it.",
    "service": "Map the service that the feed names, or correct it.",
    "incarcerated": "The client was taken into custody: say when they are free.",
    "transferred": "The client was moved to another provider: say when they leave it.",
}
#: These stop support that has already begun; the others only keep it from beginning.
STOPPING = ("under_18", "incarcerated", "transferred")


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who a client is and how they are reached."""

    record_number: str
    given: str | None = None
    family: str | None = None
    called: str | None = None
    born_on: date | None = None
    mobile: str | None = None
    email: str | None = None
    language: str | None = None
    time_zone: str | None = None
    channels: tuple[str, ...] = ()
    safe_hours: str | None = None
    wants_gender: str | None = None
    wants_age_band: str | None = None
    wishes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Details:
    """What is known of one discharge. ``held`` are the reasons that hold it, by name."""

    visit_number: str
    discharged_at: datetime | None = None
    reason: str = "other"
    level_of_care: str | None = None
    moud: bool = False
    needs: tuple[str, ...] = ()
    pathways: tuple[str, ...] = ()
    substances: tuple[str, ...] = ()
    high_risk: tuple[str, ...] = ()
    unit: str | None = None
    service: str | None = None
    held: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facility:
    """A facility's settings. ``units`` and ``services`` are empty where nothing is mapped."""

    id: UUID
    code: str
    alias: str
    time_zone: str
    language: str
    asks: bool
    promised_hours: int
    quiet_hours: str
    wording: dict[str, str]
    units: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


#: How much of a name or a number has to be typed to find somebody by it.
_SHORTEST = 3
_WHOLE = 10
_ENDS = range(4, _WHOLE + 1)


def plain(text: str) -> str:
    """Text as it is searched for: without accents, capitals and what surrounds it."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).strip()


def found_by(person: Person) -> set[str]:
    """What a client is found by: beginnings of their names, record number, end of their number."""
    names = [plain(part) for part in (person.given, person.family, person.called) if part]
    words = [word for name in names for word in name.split()]
    found = {word[:size] for word in words for size in range(_SHORTEST, len(word))}
    digits = _digits(person)
    ends = {digits[-size:] for size in _ENDS if len(digits) >= size}
    return {*found, *words, *ends, *looks_like(person), plain(person.record_number)}


def looks_like(person: Person) -> set[str]:
    """By what somebody is probably known already: name and birthday, or a whole number."""
    digits = _digits(person)
    alike = {digits[-_WHOLE:]} if len(digits) >= _WHOLE else set()
    if person.given and person.family and person.born_on:
        who = plain(f"{person.given} {person.family}")
        alike.add(f"{who} {person.born_on.isoformat()}")
    return alike


def is_somebody_else(known: Person, told: Person) -> bool:
    """Whether nothing of what tells people apart is the same: a mistyped number, not a new name."""
    pairs = [(getattr(known, name), getattr(told, name)) for name in ("given", "family", "born_on")]
    return all(a and b and plain(str(a)) != plain(str(b)) for a, b in pairs)


def _digits(person: Person) -> str:
    return re.sub(r"\D", "", person.mobile or "")


def sought(text: str) -> set[frozenset[str]]:
    """What was typed to find somebody: they have to be found by every part of one of these."""
    digits = re.sub(r"[\s().+-]", "", text)
    if digits.isdigit() and len(digits) >= _ENDS.start:
        parts = {digits[-_WHOLE:]}
    else:
        parts = {plain(word) for word in text.split()}
    # A record number may be written as a phone's, or in words.
    ways = (frozenset({plain(text)}), frozenset(parts))
    return {way for way in ways if way and "" not in way}


def updated(kept: Any, given: dict[str, Any]) -> Any:
    """The dataclass with what was given; what was not given stays as it was."""
    return replace(kept, **given)


def is_high_risk(details: Details) -> bool:
    """Whether this client is served first."""
    return bool(details.high_risk) or details.reason == "left_against_advice"


def holds(
    person: Person, details: Details, agreed: frozenset[str], facility: Facility, now: datetime
) -> tuple[str, ...]:
    """What keeps a discharge from being acted on, by name; empty when nothing does."""
    found = {
        "name": not (person.called or person.given),
        "born_on": person.born_on is None,
        "discharged_at": not _current(details.discharged_at, now),
        "channel": not reachable_by(person, agreed),
        "under_18": person.born_on is not None and _age(person.born_on, now, facility) < ADULT,
        "unit": bool(facility.units) and details.unit not in (None, *facility.units),
        "service": bool(facility.services) and details.service not in (None, *facility.services),
        "incarcerated": details.reason == "incarcerated",
        "transferred": details.reason == "transferred",
    }
    return tuple(name for name, holding in found.items() if holding)


def reachable_by(person: Person, agreed: frozenset[str]) -> tuple[str, ...]:
    """The channels that have both an address and consent, in the client's order."""
    order = [*person.channels, *(c for c in CHANNELS if c not in person.channels)]
    return tuple(c for c in order if c in agreed and getattr(person, CHANNELS[c]) is not None)


def _current(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and now - STALE_AFTER <= moment <= now + AHEAD


def _age(born_on: date, now: datetime, facility: Facility) -> int:
    today = now.astimezone(ZoneInfo(facility.time_zone)).date()
    return today.year - born_on.year - ((today.month, today.day) < (born_on.month, born_on.day))


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """A kind of task: who owns it, how soon it is due, and the one thing to do next."""

    owner: str
    due: timedelta
    action: str


#: Everything that needs a person. ``coordinator`` and ``on_call`` are people of the facility.
TASKS = {
    "held": TaskKind(
        owner="coordinator",
        due=timedelta(hours=24),
        action="Complete what is missing; the discharge then goes on by itself.",
    ),
    "nobody_available": TaskKind(
        owner="coordinator",
        due=timedelta(hours=4),
        action="Read why nobody could be asked, and change one thing or call the client.",
    ),
    "first_contact_late": TaskKind(
        owner="coordinator",
        due=timedelta(hours=4),
        action="Call the mentor, and the client if the mentor cannot be reached.",
    ),
    "message_failed": TaskKind(
        owner="coordinator",
        due=timedelta(hours=1),
        action="Call the recipient, and correct their address.",
    ),
    "message_unconfirmed": TaskKind(
        owner="coordinator",
        due=timedelta(minutes=15),
        action="Ask the recipient whether the message came; it is not sent again by itself.",
    ),
    "message_suppressed": TaskKind(
        owner="coordinator",
        due=timedelta(hours=4),
        action="The message may not be sent: reach the person in another way they agreed to.",
    ),
    "danger": TaskKind(
        owner="on_call",
        due=timedelta(minutes=15),
        action="Call the client now.",
    ),
    "unclear_reply": TaskKind(
        owner="coordinator",
        due=timedelta(hours=1),
        action="Read the reply with the mentor and answer it.",
    ),
    "shared_number": TaskKind(
        owner="coordinator",
        due=timedelta(hours=1),
        action="Somebody answered from a number that several clients share: call the client, and"
        " record a number of their own.",
    ),
    "wrong_number": TaskKind(
        owner="coordinator",
        due=timedelta(hours=4),
        action="Find out the right number; the wrong one is no longer used.",
    ),
    "stopped": TaskKind(
        owner="coordinator",
        due=timedelta(hours=24),
        action="Automated messages have ended: make sure that the mentor can still be reached.",
    ),
    "wants_to_talk": TaskKind(
        owner="coordinator",
        due=timedelta(hours=1),
        action="The client would like to talk: call the mentor, and else the client.",
    ),
    "mentor_paused": TaskKind(
        owner="coordinator",
        due=timedelta(hours=24),
        action="The mentor takes nobody new: ask whether they go on with the clients they have.",
    ),
    "client_declined": TaskKind(
        owner="coordinator",
        due=timedelta(hours=24),
        action="The client said no to the mentor: offer to talk when they are ready.",
    ),
    "call_mentor": TaskKind(
        owner="coordinator",
        due=timedelta(hours=1),
        action="Call the mentor: they have no second channel for the introduction.",
    ),
    "repeated_after_cancel": TaskKind(
        owner="coordinator",
        due=timedelta(hours=4),
        action="A cancelled discharge was sent again: enter it under a new visit if it is real.",
    ),
    "earlier_ended": TaskKind(
        owner="coordinator",
        due=timedelta(hours=4),
        action="The discharge that was cancelled had ended an earlier one of this client: enter"
        " that one again, under a new visit, if support is to go on.",
    ),
    "unopened": TaskKind(
        owner="coordinator",
        due=timedelta(hours=1),
        action="What came of this client was refused, since what is kept of them cannot be read:"
        " look after them by hand, and have it sent again once operations has mended it.",
    ),
    "not_placed": TaskKind(
        owner="operations",
        due=timedelta(minutes=15),
        action="Look why matching has not answered.",
    ),
    "given_up": TaskKind(
        owner="coordinator",
        due=timedelta(hours=1),
        action="An event of this client was given up by a person: look after them by hand.",
    ),
    "parked": TaskKind(
        owner="operations",
        due=timedelta(hours=1),
        action="Look at 'python -m services parked list', mend the cause, and replay.",
    ),
}
#: High risk, and leaving against advice, bring a task this much nearer.
HIGH_RISK_DUE = 0.25
