"""The forms by which staff enter a discharge, and what a client agrees to before they leave."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from flask import Blueprint, Response, g, request
from marshmallow import ValidationError

from hosting.pages import see
from hosting.problems import flat_errors
from hosting.sign_in import needs_role
from hosting.typed_days import boxes_of
from services.intake import entry_form
from services.intake.bodies import DischargeBody, read_body
from services.intake.commands import Desk, Refused
from services.intake.domain import HIGH_RISK_FLAGS, REASONS, Facility
from services.intake.finding import same_person
from services.intake.page_parts import CHANNEL_NAMES, METHODS, STAFF, facility_of, named, page
from services.wishes import NEEDS, PATHWAYS


def add_entry_pages(pages: Blueprint, desk: Desk) -> None:
    """A discharge, and consents first."""
    _add_discharge(pages, desk)
    _add_admission(pages, desk)


def _add_discharge(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/new")
    @needs_role(*STAFF)
    def form() -> str:
        return _entry(desk, {}, {}, uuid4().hex)

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
                return _entry(desk, request.form, {}, key, alike=alike), 422
            # The form's own key makes a double click, or the page sent again, one discharge.
            token = desk.tokens.token("answer-key", key), desk.tokens.token("answer-body", key)
            accepted = desk.register(facility, body, caller=str(g.who.account_id), answer_key=token)
        except ValidationError as error:
            wrong = dict(flat_errors(error.messages))
            return _entry(desk, request.form, wrong, key), 422
        except Refused as error:
            return _entry(desk, request.form, {error.args[0]: error.args[1]}, key), 422
        if request.form.get("then") == "another":
            return see("/discharges/new")
        return see(f"/discharges/{accepted.id}")


def _entry(desk: Desk, typed: Any, wrong: dict[str, str], key: str, *, alike: Any = None) -> str:
    facility = facility_of(desk)
    errors = list(entry_form.fields_with_errors(wrong).items())
    if alike:
        errors = [("is_another", "This may be somebody who is known already.")]
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
        reasons=named(REASONS),
        needs=named(NEEDS),
        pathways=named(PATHWAYS),
        flags=named(HIGH_RISK_FLAGS),
    )


def _add_admission(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/consents/new")
    @needs_role(*STAFF)
    def ask() -> str:
        return _admission(desk, {}, {})

    @pages.post("/consents/new")
    @needs_role(*STAFF)
    def admit() -> Response | tuple[str, int]:
        facility, now = facility_of(desk), desk.participant.now()
        number = request.form.get("record_number", "").strip()
        contact, consents = entry_form.admission_of(request.form, facility, now, number)
        try:
            desk.admit(facility, *entry_form.read_admission(contact, consents))
        except ValidationError as error:
            return _admission(desk, request.form, dict(flat_errors(error.messages))), 422
        except Refused as error:
            return _admission(desk, request.form, {error.args[0]: error.args[1]}), 422
        return see(f"/consents/new?noted={len(request.form.getlist('agreed'))}")


def _admission(desk: Desk, typed: Any, wrong: dict[str, str]) -> str:
    facility = facility_of(desk)
    return page(
        "admit.html",
        facility,
        typed=typed,
        noted=request.args.get("noted", ""),
        chosen=typed.getlist if typed else lambda name: [],
        errors=list(entry_form.fields_with_errors(wrong).items()),
        agreements=agreements(facility),
        methods=METHODS,
    )


def agreements(facility: Facility) -> list[tuple[str, str, str]]:
    """What a client can agree to: the channel, its name, and the words that are read to them."""
    return [
        (channel, CHANNEL_NAMES[channel], words)
        for channel, (_, words) in entry_form.wordings(facility).items()
    ]
