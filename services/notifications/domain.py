"""When a message may leave, and on which channel: decided from what is known at that moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

#: Consent is given to a way of being reached; a channel is how we do it.
CONSENT_OF_CHANNEL = {"sms": "text", "email": "email"}
CHANNEL_OF_CONSENT = {consent: channel for channel, consent in CONSENT_OF_CHANNEL.items()}

#: Routes by which a mentor may learn of a client; written consent comes with a later rule set.
OPEN_ROUTES = ("workforce", "qsoa")

#: What may be sent to somebody who has stopped messages: the confirmation, and what they ask for.
AFTER_STOP = frozenset(
    {"stopped", "mentor_stopped", "help", "mentor_help", "danger", "wrong_number"}
)

#: Confirms a stop, which the law allows within five minutes and not later (47 CFR 64.1200(a)(12)).
CONFIRMS_STOP, CONFIRMED_WITHIN = frozenset({"stopped", "mentor_stopped"}), timedelta(minutes=5)

#: What concerns life and limb or ends our messages waits for nothing, not even a parked client.
NEVER_WAITS = AFTER_STOP | {"on_call"}

#: What opens a conversation with a client; it needs a discharge that is under way.
_OUTREACH = frozenset({"first", "waiting", "check_in"})

#: Purposes that tell a mentor that there is a client, so that a route must be open.
DISCLOSING = frozenset(
    {"offer", "card", "card_code", "card_by_coordinator", "reminder", "wants_to_talk", "quiet"}
)

#: Where a client stands who said no to being helped, until they are discharged again.
DECLINED = "declined"

#: States of a client in which nobody is told of anybody: for good, or until a hold is lifted.
CALLED_OFF = ("died", "erased", "cancelled", "held", DECLINED)

#: What an assignment is while a mentor stands beside a client.
UNDER_WAY = ("assigned", "in_contact")
#: What tells a mentor that an offer or an assignment is over.
CLOSES = frozenset({"offer_closed", "ended_for_mentor"})

#: How long after a text became unconfirmed its network is asked about it, and after each answer.
ASK_AFTER = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))

#: A message that could not leave for this long goes to the next channel.
GIVE_UP_AFTER = timedelta(minutes=45)
_PAUSES = (5, 15, 60, 180, 600)

#: States and how far along they are: a later receipt never takes a message back.
RANK: Mapping[str, int] = {
    "planned": 0,
    "leased": 1,
    "suppressed": 2,
    "unconfirmed": 2,
    "handed_over": 3,
    "failed": 4,
    "delivered": 5,
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """All that decides whether a message may leave now."""

    recipient: Literal["client", "mentor", "on_call"]
    purpose: str
    person_state: str
    has_address: bool
    address_stopped: bool
    consented: bool
    opted_in: bool
    route: str | None
    route_ends_on: date | None
    assignment_state: str | None
    client_state: str
    today: date
    allowed_by_mode: bool
    is_stale: bool = False
    has_mentor: bool = False


def forbids(standing: Standing) -> str | None:
    """The rule that forbids the message, by name; None when it may leave."""
    if standing.purpose in CONFIRMS_STOP and standing.is_stale:
        return "withdrawn"
    if standing.purpose in AFTER_STOP and standing.has_address and standing.allowed_by_mode:
        return None
    for reason, forbidden in (
        (standing.person_state, standing.person_state in ("died", "erased")),
        ("no_address", not standing.has_address),
        ("not_on_allow_list", not standing.allowed_by_mode),
        (standing.person_state, _is_called_off(standing)),
        # Whoever is on call answers a page in words that may mean a stop, and is paged again.
        ("stopped", standing.address_stopped and standing.recipient != "on_call"),
        ("no_consent", standing.recipient == "client" and not standing.consented),
        ("not_opted_in", standing.recipient == "mentor" and not standing.opted_in),
        ("no_route", standing.purpose in DISCLOSING and not route_is_open(standing)),
        ("withdrawn", standing.is_stale or _is_over(standing)),
    ):
        if forbidden:
            return reason
    return None


def route_is_open(standing: Standing) -> bool:
    """Whether the mentor may know of clients today."""
    return may_disclose(standing.route, standing.route_ends_on, standing.today)


def may_disclose(route: str | None, ends_on: date | None, today: date) -> bool:
    """Whether a route is open today; its last day counts."""
    if route not in OPEN_ROUTES or (route == "qsoa" and ends_on is None):
        return False
    return ends_on is None or today <= ends_on


def today_in(time_zone: str, now: datetime) -> date:
    """The date where somebody is, which is not that of UTC for hours each day."""
    try:
        return now.astimezone(ZoneInfo(time_zone)).date()
    except (KeyError, ValueError, OSError):
        # Whoever is in no known zone is written to at no hour, so that nothing hangs on this date.
        return now.date()


def _is_called_off(standing: Standing) -> bool:
    return standing.purpose in _OUTREACH and standing.person_state in CALLED_OFF


#: What a message is about, by purpose: an assignment in one of these states.
NEEDS_ASSIGNMENT = {
    "offer": ("offered",),
    "card": UNDER_WAY,
    "card_code": UNDER_WAY,
    "card_by_coordinator": UNDER_WAY,
    "introduction": UNDER_WAY,
    "reminder": ("assigned",),
    "check_in": UNDER_WAY,
    "wants_to_talk": UNDER_WAY,
    "quiet": UNDER_WAY,
}


def _is_over(standing: Standing) -> bool:
    """What the message is about no longer stands.

    Matching ends an assignment as soon as it hears that the client died, or that their discharge
    is held or called off; here that may have been heard before.
    """
    if standing.purpose == "waiting":
        return standing.has_mentor
    needed = NEEDS_ASSIGNMENT.get(standing.purpose)
    gone = standing.client_state in CALLED_OFF
    return needed is not None and (gone or standing.assignment_state not in needed)


def pause_before(attempt: int) -> timedelta:
    """How long to wait before this attempt (the first retry is attempt 2)."""
    return timedelta(seconds=_PAUSES[min(attempt - 2, len(_PAUSES) - 1)])


def in_words(moment: datetime, language: str) -> str:
    """A day and time as a message says it; the moment is already in the reader's zone."""
    days = _DAYS["es" if language == "es" else "en"]
    return f"{days[moment.weekday()]} {moment:%H:%M}"


_DAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "es": ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
}

_LANGUAGES = {
    "en": {"en": "English", "es": "Spanish"},
    "es": {"en": "inglés", "es": "español"},
}


def language_in_words(code: str, language: str) -> str:
    """A language's name for a reader of another; its code where there is no name for it."""
    return _LANGUAGES.get(language, _LANGUAGES["en"]).get(code, code)
