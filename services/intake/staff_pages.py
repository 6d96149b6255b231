"""The pages of clinic staff: today's tasks, a discharge and its story, the form to enter one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, g, redirect, request
from marshmallow import ValidationError

from hosting.pages import render
from hosting.problems import Problem, flat_errors
from hosting.sign_in import needs_role
from services.intake import entry_form, tasks
from services.intake.bodies import DischargeBody, DoneBody, read_body
from services.intake.commands import Desk, NoSuchThing, Refused
from services.intake.domain import HIGH_RISK_FLAGS, NEEDS, PATHWAYS, REASONS, Facility
from services.intake.story import client_of, discharge_story, open_tasks, people_of

TEMPLATES = Path(__file__).parent / "page_templates"
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
_STAFF = ("clerk", "coordinator")


def make_staff_pages(desk: Desk) -> Blueprint:
    """The blueprint; who is signed in has one facility, whose discharges alone are found."""
    pages = Blueprint("staff", __name__, template_folder=str(TEMPLATES))
    _add_today(pages, desk)
    _add_entry(pages, desk)
    _add_discharge(pages, desk)
    return pages


def _add_today(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/")
    @needs_role(*_STAFF)
    def today() -> str:
        return _today(desk, [])

    @pages.post("/tasks/<task_id>/done")
    @needs_role(*_STAFF)
    def done(task_id: str) -> Response | tuple[str, int]:
        field = f"reason-{task_id}"
        try:
            body: DoneBody = read_body(DoneBody, {"reason": request.form.get(field, "")})
        except ValidationError:
            return _today(desk, [(field, "Say in a few words what was done.")]), 422
        facility, by = _facility(desk), str(g.who.account_id)
        tasks.finish(desk.participant, facility.id, _id(task_id), because=body.reason, by=by)
        return _see("/")


def _today(desk: Desk, errors: list[tuple[str, str]]) -> str:
    facility, now = _facility(desk), desk.participant.now()
    found = open_tasks(desk.participant, facility.id, now)
    about = [UUID(task["discharge_id"]) for task in found if task["discharge_id"]]
    people = people_of(desk.participant, facility.id, about)
    wrong = {field for field, _ in errors}
    for task in found:
        task["due"] = _when(task["due_at"], facility, now)
        task["person"] = people.get(task["discharge_id"])
        task["error"] = f"reason-{task['id']}" in wrong
    return render("today.html", tasks=found, facility=facility, errors=errors)


def _add_entry(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/new")
    @needs_role(*_STAFF)
    def form() -> str:
        return _entry(desk, {}, {}, uuid4().hex)

    @pages.post("/discharges/new")
    @needs_role(*_STAFF)
    def enter() -> Response | tuple[str, int]:
        facility, now = _facility(desk), desk.participant.now()
        typed = entry_form.body_of(request.form, facility, now)
        key = request.form.get("key", "")
        try:
            body: DischargeBody = read_body(DischargeBody, typed)
            # The form's own key makes a double click, or the page sent again, one discharge.
            token = desk.tokens.token("answer-key", key), desk.tokens.token("answer-body", key)
            accepted = desk.register(facility, body, caller=str(g.who.account_id), answer_key=token)
        except ValidationError as error:
            wrong = dict(flat_errors(error.messages))
            return _entry(desk, request.form, wrong, key), 422
        except Refused as error:
            return _entry(desk, request.form, {error.args[0]: error.args[1]}, key), 422
        if request.form.get("then") == "another":
            return _see("/discharges/new")
        return _see(f"/discharges/{accepted.id}")


def _entry(desk: Desk, typed: Any, wrong: dict[str, str], key: str) -> str:
    facility = _facility(desk)
    parts = ("day", "month", "year")
    return render(
        "enter.html",
        facility=facility,
        typed=typed,
        chosen=typed.getlist if typed else lambda name: [],
        boxes={
            name: {part: typed.get(f"{name}-{part}", "") for part in parts}
            for name in ("born_on", "discharged_at")
        },
        errors=list(entry_form.fields_with_errors(wrong).items()),
        key=key,
        agreements=[
            (channel, _CHANNELS[channel], words)
            for channel, (_, words) in entry_form.wordings(facility).items()
        ],
        reasons=_named(REASONS),
        needs=_named(NEEDS),
        pathways=_named(PATHWAYS),
        flags=_named(HIGH_RISK_FLAGS),
    )


_CHANNELS = {"text": "Texts", "email": "E-mails"}


def _named(codes: Iterable[str]) -> list[tuple[str, str]]:
    return [(code, code.replace("_", " ").capitalize()) for code in codes]


def _add_discharge(pages: Blueprint, desk: Desk) -> None:
    @pages.get("/discharges/<discharge_id>")
    @needs_role(*_STAFF)
    def show(discharge_id: str) -> str:
        facility = _facility(desk)
        story = discharge_story(desk.participant, facility.id, _id(discharge_id))
        if story is None:
            raise NoSuchThing("id")
        now = desk.participant.now()
        for step in story["steps"]:
            step["when"] = _when(step["at"], facility, now)
            step["told"] = _told(step)
        if story["next"] and story["next"]["by"]:
            story["next"]["when"] = _when(story["next"]["by"], facility, now)
        return render(
            "discharge.html",
            story=story,
            person=client_of(desk.participant, facility.id, _id(discharge_id)),
            state=STATES[story["state"]],
            errors=[],
        )

    @pages.get("/discharges/<discharge_id>/cancel")
    @needs_role(*_STAFF)
    def ask_to_cancel(discharge_id: str) -> str:
        person = client_of(desk.participant, _facility(desk).id, _id(discharge_id))
        if person is None:
            raise NoSuchThing("id")
        return render("cancel.html", id=discharge_id, person=person, errors=[])

    @pages.post("/discharges/<discharge_id>/cancel")
    @needs_role(*_STAFF)
    def cancel(discharge_id: str) -> Response:
        found = desk.cancel(_facility(desk), _id(discharge_id))
        return _see(f"/discharges/{found.id}")


def _told(step: dict[str, Any]) -> str:
    """A step of the story in words: what, of which kind, to whom."""
    said = step["what"].replace("_", " ").capitalize()
    details = [step[name] for name in ("to", "purpose", "channel", "kind") if step.get(name)]
    return f"{said} ({', '.join(details).replace('_', ' ')})" if details else said


def _facility(desk: Desk) -> Facility:
    try:
        return desk.facility(g.who.scope)
    except NoSuchThing:
        raise Problem(403, "Your account's facility is not known here") from None


def _when(moment: str, facility: Facility, now: datetime) -> dict[str, str]:
    """A moment as people say it, and exactly, where the facility is."""
    at = datetime.fromisoformat(moment).astimezone(ZoneInfo(facility.time_zone))
    minutes = round((at - now).total_seconds() / 60)
    size = abs(minutes)
    steps = ((90, 1, "min"), (48 * 60, 60, "h"), (float("inf"), 1440, "days"))
    count, unit = next((round(size / one), unit) for limit, one, unit in steps if size < limit)
    told = f"in {count} {unit}" if minutes > 0 else f"{count} {unit} ago" if size else "now"
    return {"told": told, "exact": f"{at:%a %d %b %Y, %H:%M %Z}"}


def _see(path: str) -> Response:
    found: Any = redirect(path, 303)
    return found  # type: ignore[no-any-return]


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NoSuchThing("id") from None
