"""The roster's pages: every mentor at a glance, one mentor, and the forms that change one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from hosting.pages import see
from hosting.sign_in import needs_role
from hosting.typed_days import boxes_of
from messaging.work import Participant
from services.matching import telling
from services.matching.coordinating import MovedOn, save_mentor, set_state
from services.matching.loading import own_rows
from services.matching.looking import clients_of, mentor_of, roster, waiting
from services.matching.mentor_form import DATES, in_order_of, read_form, typed_of
from services.matching.page_parts import (
    facility_here,
    id_of,
    moved_on,
    not_here,
    page,
    today_at,
)
from services.matching.roster import ROUTES, MentorRow
from services.matching.store import Facility, Mentor
from services.revealing import reveals
from services.wishes import AGE_BANDS, GENDERS, NEEDS, PATHWAY_NAMES

#: How many mentors stand on one page.
PAGE = 50
#: How many of those who wait are named on the roster's page.
WAITING = 20
#: What belongs to the sending of a form, and not to what was typed.
_NOT_TYPED = ("form_token", "revision", "confirmed")


def add_roster(pages: Blueprint, participant: Participant) -> None:
    """The list, a mentor, the form for one, and pausing one."""
    _add_list(pages, participant)
    _add_mentor(pages, participant)
    _add_form(pages, participant)
    _add_state(pages, participant)


def _add_list(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/")
    @needs_role("coordinator", "administrator")
    def mentors() -> str:
        facility, now = facility_here(participant), participant.now()
        everyone = roster(participant, facility)
        state = request.args.get("state", "")
        shown = [m for m in everyone if state in ("", telling.state_of(m))]
        number = max(1, request.args.get("page", 1, int))
        here = shown[(number - 1) * PAGE : number * PAGE]
        counts = dict.fromkeys(telling.STATES, 0)
        for mentor in everyone:
            counts[telling.state_of(mentor)] += 1
        return page(
            "roster.html",
            facility,
            now,
            mentors=here,
            everyone=everyone,
            counts=counts,
            state=state,
            number=number,
            last=max(1, -(-len(shown) // PAGE)),
            # The widest bar is the largest caseload on the page.
            widest=max((max(m.capacity, len(m.taken)) for m in here), default=1) or 1,
            endings=telling.endings(everyone, today_at(facility, now)),
            waiting=waiting(participant, facility, WAITING),
        )


def _add_mentor(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/mentors/<mentor_id>")
    @needs_role("coordinator")
    def mentor(mentor_id: str) -> str:
        facility, found = _found(participant, mentor_id)
        clients = clients_of(participant, facility, found.id)
        return page("mentor.html", facility, participant.now(), mentor=found, clients=clients)


@dataclass(frozen=True, kw_only=True)
class _Filled:
    """A form as it was sent. ``before`` is the mentor whom it changes, None for a new one."""

    facility: Facility
    before: Mentor | None
    typed: MultiDict[str, str]
    revision: int


def _add_form(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/mentors/new")
    @needs_role("coordinator")
    def new() -> str:
        facility = facility_here(participant)
        usual = {"time_zone": facility.time_zone, "hours": facility.quiet_hours, "languages": "en"}
        typed = MultiDict(usual | {"route": "workforce"})
        return _form(
            participant, _Filled(facility=facility, before=None, typed=typed, revision=0), {}
        )

    @pages.post("/mentors/new")
    @needs_role("coordinator")
    def add() -> Any:
        facility = facility_here(participant)
        filled = _Filled(facility=facility, before=None, typed=request.form, revision=0)
        row, wrong = _read(participant, filled)
        if row is None:
            return _form(participant, filled, wrong), 422
        return _save(participant, filled, row)

    @pages.get("/mentors/<mentor_id>/edit")
    @needs_role("coordinator")
    def edit(mentor_id: str) -> str:
        facility, before = _found(participant, mentor_id)
        typed = typed_of(before.profile, facility.time_zone)
        filled = _Filled(facility=facility, before=before, typed=typed, revision=before.revision)
        return _form(participant, filled, {})

    @pages.post("/mentors/<mentor_id>/edit")
    @needs_role("coordinator")
    def change(mentor_id: str) -> Any:
        facility, before = _found(participant, mentor_id)
        typed = MultiDict(request.form)
        typed["code"] = before.profile.code
        seen = request.form.get("revision", 0, int)
        filled = _Filled(facility=facility, before=before, typed=typed, revision=seen)
        row, wrong = _read(participant, filled)
        if row is None or request.form.get("confirmed") == "no":
            return _form(participant, filled, wrong), 422 if wrong else 200
        if request.form.get("confirmed") == "yes":
            return _save(participant, filled, row)
        return _check(participant, filled, row)


def _read(participant: Participant, filled: _Filled) -> tuple[MentorRow | None, dict[str, str]]:
    facility, before = filled.facility, filled.before
    row, wrong = read_form(
        filled.typed,
        before.profile.facilities if before else (facility.code,),
        before.state if before else "active",
        facility.time_zone,
        reveals=reveals,
    )
    if row is None:
        return None, wrong
    if before is not None:
        return in_order_of(before.profile, row), {}
    with participant.engine.connect() as conn:
        _, errors = own_rows(conn, facility, [(0, row)])
    if errors:
        return None, {"code": errors[0].message}
    return row, {}


def _save(participant: Participant, filled: _Filled, row: MentorRow) -> Any:
    try:
        mentor_id = save_mentor(participant, row, revision=filled.revision)
    except MovedOn:
        if filled.before is None:
            taken = "A mentor of yours has this code: give each their own."
            return _form(participant, filled, {"code": taken}), 422
        now = _Filled(
            facility=filled.facility,
            before=filled.before,
            typed=filled.typed,
            revision=filled.before.revision,
        )
        meanwhile = (
            "Somebody else changed this mentor meanwhile. What you typed stands below: look"
            " through it, and save it again if it should replace what they wrote."
        )
        return _form(participant, now, {"": meanwhile}), 409
    return see(f"/matching/mentors/{mentor_id}")


def _form(participant: Participant, filled: _Filled, wrong: dict[str, str]) -> str:
    return page(
        "mentor_form.html",
        filled.facility,
        participant.now(),
        before=filled.before,
        typed=filled.typed,
        chosen=filled.typed.getlist,
        boxes=boxes_of(filled.typed, (*DATES, "opted_in_at")),
        revision=filled.revision,
        errors=list(wrong.items()),
        pathways=list(PATHWAY_NAMES.items()),
        needs=[(code, code.capitalize()) for code in NEEDS],
        genders=[(code, code.capitalize()) for code in GENDERS],
        ages=[(band, band) for band in AGE_BANDS],
        routes=[(code, telling.ROUTES[code]) for code in ROUTES],
    )


def _check(participant: Participant, filled: _Filled, row: MentorRow) -> Any:
    """What a change will do, before it is made."""
    assert filled.before is not None
    now = participant.now()
    before = telling.with_state(filled.before.profile, filled.before.state)
    changes = telling.changes(before, row)
    if not changes:
        return see(f"/matching/mentors/{filled.before.id}")
    today = today_at(filled.facility, now)
    return page(
        "mentor_check.html",
        filled.facility,
        now,
        mentor=filled.before,
        changes=changes,
        effects=list(telling.effects_of_change(filled.before, row, today)),
        revision=filled.revision,
        sent=[(n, v) for n, v in filled.typed.items(multi=True) if n not in _NOT_TYPED],
    )


def _add_state(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/mentors/<mentor_id>/state")
    @needs_role("coordinator")
    def ask_for_state(mentor_id: str) -> str:
        facility, found = _found(participant, mentor_id)
        active = found.state != "active"
        effects = list(telling.effects_of_state(found, active=active))
        values = {"mentor": found, "active": active, "effects": effects}
        return page("mentor_state.html", facility, participant.now(), **values)

    @pages.post("/mentors/<mentor_id>/state")
    @needs_role("coordinator")
    def change_state(mentor_id: str) -> Response | tuple[str, int]:
        facility, found = _found(participant, mentor_id)
        back = f"/matching/mentors/{found.id}"
        if request.form.get("seen") != found.state:
            return moved_on(facility, participant.now(), back)
        set_state(participant, found.id, active=found.state != "active")
        return see(back)


def _found(participant: Participant, mentor_id: str) -> tuple[Facility, Mentor]:
    facility = facility_here(participant)
    mentor = mentor_of(participant, facility, id_of(mentor_id))
    if mentor is None:
        raise not_here()
    return facility, mentor
