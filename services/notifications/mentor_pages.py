"""The mentor's pages: their own clients, what they note of them, and themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, g, request

from hosting.hours import DAYS
from services.notifications import hello
from services.notifications.answer_pages import id_of
from services.notifications.domain import language_in_words
from services.notifications.door import Door, needs_visit, see
from services.notifications.mentor_forms import (
    LONGEST_STEP,
    WAYS,
    Unusable,
    hours_as_typed,
    read_contact,
    read_profile,
)
from services.notifications.mentors import MentorDesk, NoRoute, NotTheirs, OwnClient, Self
from services.notifications.page_words import WORDS, note, page, page_language, when
from services.wishes import NEEDS

#: What a page may say of what was just done.
_DONE = frozenset(
    {"recorded", "passed_on", "paused", "is_back", "profile_saved", "hello_saved", "hello_gone"}
)
_Answer = Response | tuple[str, int]


def add_mentor_pages(pages: Blueprint, door: Door) -> None:
    """Everything here is about the mentor of the visit, and finds their own clients alone."""
    desk = MentorDesk(participant=door.participant)
    _add_people(pages, door, desk)
    _add_contact(pages, door, desk)
    _add_pass_on(pages, door, desk)
    _add_settings(pages, door, desk)

    @pages.errorhandler(NotTheirs)
    def not_theirs(_: NotTheirs) -> tuple[str, int]:
        return note("over"), 410

    @pages.errorhandler(NoRoute)
    def no_route(_: NoRoute) -> tuple[str, int]:
        return note("no_route"), 410


def _add_people(pages: Blueprint, door: Door, desk: MentorDesk) -> None:
    @pages.get("/people")
    @needs_visit(door)
    def people() -> str:
        me = _me(desk)
        found = [(one, _by(desk, me, one)) for one in desk.clients(g.visit.mentor_id)]
        return _page("people.html", me, people=found)

    @pages.get("/people/<assignment_id>")
    @needs_visit(door)
    def person(assignment_id: str) -> str:
        me = _me(desk)
        return _person(desk, me, desk.client(g.visit.mentor_id, id_of(assignment_id), "person"))

    @pages.post("/people/<assignment_id>/replies/<reply_id>/read")
    @needs_visit(door)
    def mark_read(assignment_id: str, reply_id: str) -> Response:
        desk.mark_read(g.visit.mentor_id, id_of(assignment_id), id_of(reply_id))
        return see("messages.person", assignment_id=assignment_id)


def _person(desk: MentorDesk, me: Self, client: OwnClient) -> str:
    contact, language = client.contact, _language(me)
    there = desk.participant.now().astimezone(ZoneInfo(contact.time_zone))
    return _page(
        "person.html",
        me,
        client=client,
        by=_by(desk, me, client),
        speaks=language_in_words(contact.language, language),
        there=f"{there:%H:%M}",
        replies=[(one, _when(desk, me, one.received_at)) for one in client.replies],
        contacts=[(one, _when(desk, me, one.happened_at)) for one in client.contacts],
    )


def _add_contact(pages: Blueprint, door: Door, desk: MentorDesk) -> None:
    @pages.get("/people/<assignment_id>/contact")
    @needs_visit(door)
    def contact(assignment_id: str) -> str:
        client = desk.client(g.visit.mentor_id, id_of(assignment_id), "contact")
        me, now = _me(desk), desk.participant.now()
        here = now.astimezone(ZoneInfo(me.contact.time_zone))
        typed = {"happened_at": f"{here:%Y-%m-%dT%H:%M}", "once": str(uuid4())}
        return _contact_form(me, client, typed, [])

    @pages.post("/people/<assignment_id>/contact")
    @needs_visit(door)
    def record(assignment_id: str) -> _Answer:
        me, mentor_id, about = _me(desk), g.visit.mentor_id, id_of(assignment_id)
        try:
            told = read_contact(request.form, me.contact.time_zone, desk.participant.now())
        except Unusable as wrong:
            client = desk.client(mentor_id, about, "contact")
            return _contact_form(me, client, request.form, wrong.args[0]), 422
        desk.record(mentor_id, about, told, once=id_of(request.form.get("once", "")))
        return see("messages.person", assignment_id=assignment_id, done="recorded")


def _contact_form(me: Self, client: OwnClient, typed: Any, wrong: list[str]) -> str:
    words = WORDS[_language(me)]
    return _page(
        "contact.html",
        me,
        client=client,
        typed=typed,
        errors=_told(me, wrong),
        ways=[(way, words[f"way_{way}"]) for way in WAYS],
        reached=[(said, words[f"talked_{said}"]) for said in ("yes", "no")],
        longest=LONGEST_STEP,
    )


def _add_pass_on(pages: Blueprint, door: Door, desk: MentorDesk) -> None:
    @pages.get("/people/<assignment_id>/pass-on")
    @needs_visit(door)
    def ask_to_pass_on(assignment_id: str) -> str:
        client = desk.client(g.visit.mentor_id, id_of(assignment_id), "pass_on")
        return _page("pass_on.html", _me(desk), client=client)

    @pages.post("/people/<assignment_id>/pass-on")
    @needs_visit(door)
    def pass_on(assignment_id: str) -> Response:
        desk.pass_on(g.visit.mentor_id, id_of(assignment_id))
        return see("messages.people", done="passed_on")


def _add_settings(pages: Blueprint, door: Door, desk: MentorDesk) -> None:
    @pages.get("/settings")
    @needs_visit(door)
    def settings() -> str:
        return _settings(_me(desk))

    @pages.post("/settings/state")
    @needs_visit(door)
    def change_state() -> Response:
        word = "back" if request.form.get("state") == "back" else "pause"
        desk.change_state(g.visit.mentor_id, word)
        return see("messages.settings", done="is_back" if word == "back" else "paused")

    @pages.post("/settings/profile")
    @needs_visit(door)
    def give_profile() -> _Answer:
        me = _me(desk)
        try:
            profile = read_profile(request.form)
        except Unusable as wrong:
            several = {name: request.form.getlist(name) for name in ("days", "strengths")}
            typed = request.form.to_dict() | several
            return _settings(me, typed=typed, errors=_told(me, wrong.args[0])), 422
        known, had = me.contact.capacity, request.form.get("had_capacity")
        if known is not None and had == str(profile.capacity):
            # The mentor left it as it was, and a coordinator may have lowered it since.
            profile = replace(profile, capacity=known)
        desk.give_profile(g.visit.mentor_id, profile)
        return see("messages.settings", done="profile_saved")

    @pages.post("/settings/hello")
    @needs_visit(door)
    def write_hello() -> _Answer:
        me, words = _me(desk), " ".join(request.form.get("hello", "").split())
        faults = list(hello.faults(words, alias=me.facility.alias, called=me.contact.called))
        if faults:
            return _settings(me, wrote=words, errors=_hello_errors(me, faults)), 422
        desk.write_hello(g.visit.mentor_id, words)
        return see("messages.settings", done="hello_saved" if words else "hello_gone")


def _settings(
    me: Self,
    *,
    typed: dict[str, Any] | None = None,
    wrote: str | None = None,
    errors: list[tuple[str, str]] | None = None,
) -> str:
    language, contact = _language(me), me.contact
    words = WORDS[language]
    stands = hours_as_typed(contact.hours)
    stands |= {"capacity": contact.capacity, "strengths": contact.strengths}
    stands["had_capacity"] = contact.capacity
    read_so = None
    if me.hello and wrote is None:
        names = {"alias": me.facility.alias, "called": contact.called}
        read_so = hello.preview(me.hello, language, **names)
    return _page(
        "settings.html",
        me,
        typed=typed or stands,
        wrote=wrote if wrote is not None else me.hello or "",
        read_so=read_so,
        errors=errors or [],
        days=[(day, words[day]) for day in DAYS],
        strengths=[(need, words[need].capitalize()) for need in NEEDS],
        longest=hello.LONGEST_HELLO,
    )


def _hello_errors(me: Self, faults: list[tuple[str, str]]) -> list[tuple[str, str]]:
    words, most = WORDS[_language(me)], hello.LONGEST_HELLO
    return [("hello", words[f"fault_{name}"].format(words=at, most=most)) for name, at in faults]


def _me(desk: MentorDesk) -> Self:
    found = desk.who(g.visit.mentor_id)
    if found is None:
        raise NotTheirs
    return found


def _page(template: str, me: Self, **values: Any) -> str:
    """A page in the mentor's language, with what every one of them has."""
    language = _language(me)
    done = request.args.get("done", "")
    people = me.facility.people
    return page(
        template,
        language,
        **{"errors": [], **values},
        me=me,
        form_token=g.visit.form_token(),
        done=WORDS[language][done] if done in _DONE else None,
        coordinator=f"{people.coordinator_name}, {people.coordinator_phone}" if people else "",
    )


def _told(me: Self, wrong: list[str]) -> list[tuple[str, str]]:
    words = WORDS[_language(me)]
    return [(name, words[f"wrong_{name}"]) for name in wrong]


def _language(me: Self) -> str:
    return page_language(me.contact.language)


def _by(desk: MentorDesk, me: Self, client: OwnClient) -> dict[str, str] | None:
    """Until when a first call is promised; None when they have talked."""
    assignment = client.assignment
    if assignment.state == "in_contact" or assignment.call_by is None:
        return None
    return _when(desk, me, assignment.call_by)


def _when(desk: MentorDesk, me: Self, moment: datetime) -> dict[str, str]:
    return when(moment, me.contact.time_zone, desk.participant.now(), _language(me))
