"""The pages about one client: their way so far, what can be done, the sheet; and finding one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, request

from hosting.pages import see
from hosting.sign_in import needs_role
from services.intake import entry_form
from services.intake.commands import Desk, NoSuchThing, mark_of
from services.intake.domain import Facility, Person
from services.intake.entry_pages import agreements
from services.intake.finding import MOST, find
from services.intake.journey import journey
from services.intake.page_parts import METHODS, STAFF, facility_of, id_in, page, when
from services.intake.story import about_client, discharge_story, shown

#: How a state is told; what comes next stands beside it.
STATES = {
    "received": "Received",
    "held": "Held: something is missing",
    "waiting": "Waiting for a mentor",
    "offered": "A mentor is being asked",
    "assigned": "A mentor is assigned",
    "in_contact": "In contact",
    "closed": "Closed",
    "parked": "Stopped by a fault",
}
#: Who is awaited in a state, while something is.
_TURNS = {
    "received": "The system's turn",
    "held": "Your turn",
    "waiting": "The coordinator's turn",
    "offered": "The mentor's turn",
    "assigned": "The mentor's turn",
    "parked": "Operations' turn",
}


def add_client_pages(pages: Blueprint, desk: Desk) -> None:
    """A client's page with its actions, and the search for one."""
    _add_search(pages, desk)
    _add_page(pages, desk)
    _add_contact(pages, desk)
    _add_endings(pages, desk)


def _add_search(pages: Blueprint, desk: Desk) -> None:
    # What is looked for names a person, so that it is posted and stands in no address.
    @pages.get("/clients")
    @needs_role(*STAFF)
    def clients() -> str:
        return _search(facility_of(desk), "", None)

    @pages.post("/clients")
    @needs_role(*STAFF)
    def found() -> str:
        text = request.form.get("sought", "")
        facility = facility_of(desk)
        return _search(facility, text, find(desk, facility, text))


def _search(facility: Facility, sought: str, found: Any) -> str:
    return page(
        "clients.html",
        facility,
        sought=sought,
        found=found,
        most=MOST,
        states=STATES,
        errors=[],
    )


def _add_page(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/<discharge_id>")
    @needs_role(*STAFF)
    def show(discharge_id: str) -> str:
        return page("discharge.html", **_page(desk, discharge_id), errors=[])

    @pages.get("/discharges/<discharge_id>/sheet")
    @needs_role(*STAFF)
    def sheet(discharge_id: str) -> str:
        facility, now = facility_of(desk), desk.participant.now()
        printed = when(now, facility, now)
        return page("sheet.html", **_page(desk, discharge_id), printed=printed, errors=[])


def _page(desk: Desk, discharge_id: str) -> dict[str, Any]:
    """All that is told of a discharge and its client."""
    facility, now = facility_of(desk), desk.participant.now()
    story = discharge_story(desk.participant, facility.id, id_in(discharge_id))
    if story is None:
        raise NoSuchThing("id")
    for step in story["steps"]:
        step["when"] = when(step["at"], facility, now)
        step["told"] = _told(step)
    if story["next"] and story["next"]["by"]:
        story["next"]["when"] = when(story["next"]["by"], facility, now)
    person, agreed = about_client(desk.participant, facility.id, id_in(discharge_id))
    return {
        "facility": facility,
        "story": story,
        "person": shown(person) if person else None,
        "reached": person,
        "agreed": agreed,
        "mentor": next((s["mentor"] for s in reversed(story["steps"]) if s.get("mentor")), None)
        if story["state"] in ("offered", "assigned", "in_contact")
        else None,
        "stations": journey(story["steps"], story["state"]),
        "state": STATES[story["state"]],
        "turn": _TURNS.get(story["state"], ""),
    }


def _told(step: dict[str, Any]) -> str:
    """A step of the story in words: what, of which kind, to whom."""
    said = step["what"].replace("_", " ").capitalize()
    names = ("to", "purpose", "channel", "kind", "meaning", "mentor", "fields")
    details = [step[name] for name in names if step.get(name)]
    return f"{said} ({', '.join(details).replace('_', ' ')})" if details else said


def _add_contact(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/<discharge_id>/contact")
    @needs_role(*STAFF)
    def ask_contact(discharge_id: str) -> str:
        return _contact(desk, discharge_id, None, [])

    @pages.post("/discharges/<discharge_id>/contact")
    @needs_role(*STAFF)
    def correct(discharge_id: str) -> Response | tuple[str, int]:
        facility, person, before = _client(desk, discharge_id)
        kept = frozenset(before) & set(request.form.getlist("agreed"))
        saw = request.form.get("seen", "")
        contact, consents = entry_form.admission_of(
            request.form, facility, desk.participant.now(), person.record_number, keeping=kept
        )
        try:
            bodies = entry_form.read_admission(contact, consents)
            gone = tuple(n for n in entry_form.REACHED_BY if n not in contact)
            desk.admit(
                facility,
                *bodies,
                deleted=gone,
                keeping=kept,
                seen=lambda known, _, agreed: saw in ("", _mark(desk, known, agreed)),
                of=id_in(discharge_id),
            )
        except entry_form.NOT_TAKEN as error:
            wrong = entry_form.errors_of(error)
            return _contact(desk, discharge_id, request.form, wrong), 422
        return see(f"/discharges/{discharge_id}")


def _contact(desk: Desk, discharge_id: str, typed: Any, errors: entry_form.Errors) -> str:
    facility, person, agreed = _client(desk, discharge_id)
    return page(
        "contact.html",
        facility,
        id=discharge_id,
        person=shown(person),
        typed=person if typed is None else typed,
        chosen=agreed if typed is None else typed.getlist("agreed"),
        agreements=agreements(facility),
        methods=METHODS,
        errors=errors,
        seen=entry_form.seen_of(typed, errors, _mark(desk, person, agreed)),
    )


def _mark(desk: Desk, person: Person, agreed: Iterable[str]) -> str:
    return mark_of(desk.tokens, person, sorted(agreed))


def _add_endings(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/<discharge_id>/cancel")
    @needs_role(*STAFF)
    def ask_to_cancel(discharge_id: str) -> str:
        return _ask_to_end("cancel.html", desk, discharge_id)

    @pages.post("/discharges/<discharge_id>/cancel")
    @needs_role(*STAFF)
    def cancel(discharge_id: str) -> Response:
        found = desk.cancel(facility_of(desk), id_in(discharge_id))
        return see(f"/discharges/{found.id}")

    @pages.get("/discharges/<discharge_id>/stop")
    @needs_role(*STAFF)
    def ask_to_stop(discharge_id: str) -> str:
        return _ask_to_end("stop.html", desk, discharge_id)

    @pages.post("/discharges/<discharge_id>/stop")
    @needs_role(*STAFF)
    def stop(discharge_id: str) -> Response:
        facility, person, _ = _client(desk, discharge_id)
        desk.stop_outreach(facility, person.record_number, of=id_in(discharge_id))
        return see(f"/discharges/{discharge_id}")


def _ask_to_end(template: str, desk: Desk, discharge_id: str) -> str:
    facility, person, _ = _client(desk, discharge_id)
    return page(template, facility, id=discharge_id, person=shown(person), errors=[])


def _client(desk: Desk, discharge_id: str) -> tuple[Facility, Person, list[str]]:
    """Who a discharge of this facility is about, and what they agreed to."""
    facility = facility_of(desk)
    person, agreed = about_client(desk.participant, facility.id, id_in(discharge_id))
    if person is None:
        raise NoSuchThing("id")
    return facility, person, agreed
