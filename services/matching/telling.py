"""What coordinators are told: how a mentor stands, what ends, what a change will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any

from services.matching.choosing import PART_TOLD, PREFERRED, REQUIRED, TOLD, Judged
from services.matching.roster import MentorRow
from services.matching.store import Mentor
from services.wishes import PATHWAY_NAMES

#: How long ahead it is said that something ends.
AHEAD = timedelta(days=30)
STATES = {
    "active": ("Active", "green"),
    "paused": ("Paused", "grey"),
    "stopped": ("Stopped", "red"),
}
ROUTES = {"workforce": "Workforce", "qsoa": "Agreement (QSOA)"}
LANGUAGES = {
    "ar": "Arabic",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "ko": "Korean",
    "pt": "Portuguese",
    "ru": "Russian",
    "so": "Somali",
    "tl": "Tagalog",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
FIELDS = {
    "code": "Code",
    "called": "Name they go by",
    "mobile": "Mobile",
    "email": "E-mail",
    "opted_in_at": "Agreed to messages on",
    "opted_in_how": "How they agreed",
    "time_zone": "Time zone",
    "languages": "Languages",
    "pathways": "Pathways",
    "strengths": "Strengths",
    "moud_friendly": "Supports clients who take MOUD",
    "age_band": "Age",
    "gender": "Gender",
    "facilities": "Facilities",
    "capacity": "Places",
    "hours": "Hours",
    "recovery_since": "In recovery since",
    "credential": "Credential",
    "credential_ends_on": "Credential ends on",
    "route": "Route",
    "route_ends_on": "Route ends on",
    "state": "State",
}
#: How an offer or an assignment is told.
STANDS = {"offered": "is being asked", "assigned": "is assigned", "in_contact": "is in contact"}
ENDED = {
    "mentor_declined": "said no, or passed the client on",
    "expired": "did not answer in time",
    "client_declined": "the client wanted nobody",
    "client_wants_another": "the client asked for somebody else",
    "coordinator_wants_another": "a coordinator asked for another mentor",
    "mentor_stopped": "stopped",
    "cancelled": "the discharge was cancelled",
    "held": "the discharge was held",
    "died": "the client died",
    "erased": "what is known of the client was erased",
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Something of a mentor's that ends soon, or has ended."""

    mentor: Mentor
    what: str
    on: date


def state_of(mentor: Mentor) -> str:
    """active, paused or stopped: whoever stopped stays so until they text START themselves."""
    return "stopped" if mentor.stopped else mentor.state


def languages_of(codes: Iterable[str]) -> str:
    """Languages by name, those that staff meet rarely by their code."""
    return ", ".join(LANGUAGES.get(code, code) for code in codes)


def pathways_of(codes: Iterable[str]) -> str:
    """Pathways by name."""
    return ", ".join(PATHWAY_NAMES[code] for code in codes)


def in_words(value: Any) -> str:
    """A value of a mentor's row as people read it."""
    if value in (None, (), ""):
        return "(nothing)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(one).replace("_", " ") for one in value)
    if isinstance(value, date):
        return f"{value:%a %d %b %Y}"
    return str(value)


def endings(mentors: Iterable[Mentor], today: date) -> list[Ending]:
    """Credentials and routes that end soon or have ended, the first of them first."""
    found = [
        Ending(mentor=mentor, what=what, on=on)
        for mentor in mentors
        for what, on in (
            ("credential", mentor.profile.credential_ends_on),
            ("route", mentor.profile.route_ends_on),
        )
        if on is not None and on <= today + AHEAD
    ]
    return sorted(found, key=lambda one: one.on)


def changes(before: MentorRow, after: MentorRow) -> list[tuple[str, str, str]]:
    """What is different: the field, what it was, what it will be."""
    return [
        (FIELDS[f.name], in_words(getattr(before, f.name)), in_words(getattr(after, f.name)))
        for f in fields(MentorRow)
        if getattr(before, f.name) != getattr(after, f.name)
    ]


def effects_of_change(before: Mentor, after: MentorRow, today: date) -> Iterator[str]:
    """What a changed row does to a mentor's clients and to those who wait."""
    load, was = len(before.taken), before.profile
    if load:
        yield f"They keep the {_clients(load)} they have: no assignment ends by this."
    if after.capacity < load:
        yield (
            f"They will have {after.capacity} places and {_clients(load)}: nobody new is given"
            " to them until they have fewer."
        )
    if (was.route, was.route_ends_on) != (after.route, after.route_ends_on):
        yield _effect_of_route(load, after, today)
    if (was.mobile, was.email) != (after.mobile, after.email):
        yield (
            "Messages that have not left go to the new address, and only from there do answers"
            " count. Check that they agreed to messages there."
        )
    if after.opted_in_at is None and was.opted_in_at is not None:
        yield "Without their agreement they get no message and are not asked any more."
    yield "Clients who wait are tried again at once: somebody may be asked within seconds."


def _effect_of_route(load: int, after: MentorRow, today: date) -> str:
    if after.route_ends_on is not None and after.route_ends_on < today:
        return (
            "Their route has ended: no page about a client opens for them any more, and nobody new"
            f" is given. Ask for another mentor for {_clients(load)}."
        )
    return "Whether they may learn who a client is follows the new route at once."


def effects_of_state(mentor: Mentor, *, active: bool) -> Iterator[str]:
    """What pausing a mentor does, or letting them be asked again."""
    load = len(mentor.taken)
    if not active:
        yield "Nobody new is given to them until they are active again; they can also text BACK."
        if load:
            yield f"They keep the {_clients(load)} they have; open one who needs somebody else."
        if mentor.has_open_offer:
            yield "The question that they were sent stays open until they answer or it runs out."
        return
    free = max(0, mentor.capacity - load)
    yield f"They have {free} of {mentor.capacity} places free."
    yield "Clients who wait are tried again at once: they may be asked within seconds."
    if mentor.stopped:
        yield "They texted STOP: they are not asked until they text START themselves."


def effects_of_ending(state: str, name: str) -> Iterator[str]:
    """What ending an offer or an assignment does to the one who had it."""
    if state == "offered":
        yield f"The question to {name} is withdrawn; they are told that it is not open any more."
        return
    yield f"{name}'s assignment ends, and the client's page closes to them."
    yield f"If {name} has heard of the client, they are told that it is over."
    if state == "in_contact":
        yield f"{name} and the client have talked already: tell both of them yourself first."


def effect_of_choosing(name: str, *, asks: bool) -> str:
    """What becomes of the mentor who is chosen."""
    if asks:
        return f"{name} is asked by text at once, and has two hours of their own hours to answer."
    return f"{name} is assigned at once; the client hears their first name and when they will call."


def parts_told(judged: Judged) -> list[str]:
    """The named parts of a score, each with the most that it could bring."""
    return [f"{PART_TOLD[name]} {got:,} of {PREFERRED[name][0]:,}" for name, got in judged.parts]


def against(judged: Judged) -> str:
    """The rules that keep a mentor out, in a few words."""
    return ", ".join(TOLD[name].removes for name in REQUIRED if name in judged.failed)


def with_state(row: MentorRow, state: str) -> MentorRow:
    """The row with the state that the mentor has now, whatever a file once said."""
    return replace(row, state=state)


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"
