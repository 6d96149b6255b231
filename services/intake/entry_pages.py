"""The forms by which staff enter a discharge, and what a client agrees to before they leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from flask import Blueprint, Response, g, request

from hosting.pages import see
from hosting.sign_in import needs_role
from hosting.typed_days import boxes_of
from services.intake import entry_form
from services.intake.bodies import DischargeBody, read_body
from services.intake.commands import Desk, NoSuchThing, Refused, mark_of
from services.intake.domain import (
    HIGH_RISK_FLAGS,
    REASONS,
    Details,
    Facility,
    Person,
    is_somebody_else,
)
from services.intake.finding import person_of, same_person
from services.intake.page_parts import (
    CHANNEL_NAMES,
    METHODS,
    STAFF,
    facility_of,
    id_in,
    named,
    page,
)
from services.intake.story import about_discharge
from services.wishes import NEEDS, PATHWAY_NAMES

#: What the forms of a discharge let one choose from.
_CHOICES = {
    "reasons": named(REASONS),
    "needs": named(NEEDS),
    "pathways": list(PATHWAY_NAMES.items()),
    "flags": named(HIGH_RISK_FLAGS),
}


def add_entry_pages(pages: Blueprint, desk: Desk) -> None:
    """A discharge, what is known of one later, and consents first."""
    _add_discharge(pages, desk)
    _add_correction(pages, desk)
    _add_admission(pages, desk)


#: What is sent with a form and says nothing of the client.
_BESIDE = frozenset({"form_token", "then", "is_another"})


def _add_discharge(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/new")
    @needs_role(*STAFF)
    def form() -> str:
        return _entry(desk, {}, [], uuid4().hex)

    @pages.post("/discharges/new")
    @needs_role(*STAFF)
    def enter() -> Response | tuple[str, int]:
        facility, now = facility_of(desk), desk.participant.now()
        typed = entry_form.body_of(request.form, facility, now)
        key = request.form.get("key", "")
        try:
            body: DischargeBody = read_body(DischargeBody, typed)
            alike = same_person(desk, facility, body)
            if alike and "is_another" not in request.form:
                asked = [("is_another", "This may be somebody who is known already.")]
                return _entry(desk, request.form, asked, key, alike=alike), 422
            # A double click, or the page sent again as it was, is one discharge. What was changed
            # on it is another matter, whatever became of it before.
            fields = request.form.items(multi=True)
            said = sorted(f"{name}={value}" for name, value in fields if name not in _BESIDE)
            token = desk.tokens.token("answer-key", *said), desk.tokens.token("answer-body", key)
            told, by = person_of(body), str(g.who.account_id)
            accepted = desk.register(
                facility,
                body,
                caller=by,
                answer_key=token,
                seen=lambda known, *_: _theirs(known, told),
            )
        except entry_form.NOT_TAKEN as error:
            return _entry(desk, request.form, entry_form.errors_of(error), key), 422
        if request.form.get("then") == "another":
            return see("/discharges/new")
        return see(f"/discharges/{accepted.id}")


def _theirs(known: Person, told: Person) -> bool:
    """Raise ``Refused`` where a record number is somebody else's: they would become one person."""
    if is_somebody_else(known, told):
        raise Refused(
            "record_number",
            "Somebody with another name and birthday has this record number. Check it; if theirs is"
            " wrong, correct it on the page of their discharge first.",
        )
    return True


def _entry(
    desk: Desk, typed: Any, errors: entry_form.Errors, key: str, *, alike: Any = None
) -> str:
    facility = facility_of(desk)
    return page(
        "enter.html",
        facility,
        typed=typed,
        chosen=typed.getlist if typed else lambda name: [],
        boxes=boxes_of(typed, ("born_on", "discharged_at")),
        errors=errors,
        alike=alike,
        key=key,
        agreements=agreements(facility),
        methods=METHODS,
        **_CHOICES,
    )


def _add_correction(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/<discharge_id>/correct")
    @needs_role(*STAFF)
    def ask_correction(discharge_id: str) -> str:
        return _correction(desk, discharge_id, None, [])

    @pages.post("/discharges/<discharge_id>/correct")
    @needs_role(*STAFF)
    def correct_discharge(discharge_id: str) -> Response | tuple[str, int]:
        facility, person, details = _known(desk, discharge_id)
        now, by = desk.participant.now(), str(g.who.account_id)
        typed, gone = entry_form.correction_of(request.form, facility, now, person, details)
        saw, mine = request.form.get("seen", ""), id_in(discharge_id)
        try:
            desk.register(
                facility,
                read_body(DischargeBody, typed),
                caller=by,
                deleted=gone,
                seen=lambda known, of, _: saw in ("", _mark(desk, known, of[mine])),
                of=mine,
            )
        except entry_form.NOT_TAKEN as error:
            wrong = entry_form.errors_of(error)
            return _correction(desk, discharge_id, request.form, wrong), 422
        return see(f"/discharges/{discharge_id}")


def _correction(desk: Desk, discharge_id: str, typed: Any, errors: entry_form.Errors) -> str:
    facility, person, details = _known(desk, discharge_id)
    known = typed is None
    shown = entry_form.as_typed(facility, person, details) if known else typed
    return page(
        "correct.html",
        facility,
        id=discharge_id,
        known={"record_number": person.record_number, "visit_number": details.visit_number},
        typed=shown,
        chosen=(lambda name: getattr(details, name)) if known else typed.getlist,
        boxes=boxes_of(shown, ("born_on", "discharged_at")),
        errors=errors,
        seen=entry_form.seen_of(typed, errors, _mark(desk, person, details)),
        **_CHOICES,
    )


def _mark(desk: Desk, person: Person, details: Details) -> str:
    """Of what the form is made from; what holds a discharge is looked at anew all the time."""
    return mark_of(desk.tokens, person, replace(details, held=()))


def _known(desk: Desk, discharge_id: str) -> tuple[Facility, Person, Details]:
    facility = facility_of(desk)
    found = about_discharge(desk.participant, facility.id, id_in(discharge_id))
    if found is None:
        raise NoSuchThing("id")
    return facility, *found


def _add_admission(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/consents/new")
    @needs_role(*STAFF)
    def ask() -> str:
        return _admission(desk, {}, [])

    @pages.post("/consents/new")
    @needs_role(*STAFF)
    def admit() -> Response | tuple[str, int]:
        facility, now = facility_of(desk), desk.participant.now()
        number = request.form.get("record_number", "").strip()
        contact, consents = entry_form.admission_of(request.form, facility, now, number)
        try:
            desk.admit(facility, *entry_form.read_admission(contact, consents))
        except entry_form.NOT_TAKEN as error:
            return _admission(desk, request.form, entry_form.errors_of(error)), 422
        return see(f"/consents/new?noted={len(request.form.getlist('agreed'))}")


def _admission(desk: Desk, typed: Any, errors: entry_form.Errors) -> str:
    facility = facility_of(desk)
    return page(
        "admit.html",
        facility,
        typed=typed,
        noted=request.args.get("noted", ""),
        chosen=typed.getlist if typed else lambda name: [],
        errors=errors,
        agreements=agreements(facility),
        methods=METHODS,
    )


def agreements(facility: Facility) -> list[tuple[str, str, str]]:
    """What a client can agree to: the channel, its name, and the words that are read to them."""
    return [
        (channel, CHANNEL_NAMES[channel], words)
        for channel, (_, words) in entry_form.wordings(facility).items()
    ]
