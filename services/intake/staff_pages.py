"""The pages of clinic staff put together, and the first of them: today's tasks."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from flask import Blueprint, Response, g, request
from marshmallow import ValidationError

from hosting.accounts import Accounts
from hosting.pages import see
from hosting.sign_in import needs_role
from services.intake import tasks
from services.intake.bodies import DoneBody, read_body
from services.intake.client_pages import add_client_pages
from services.intake.commands import Desk, Refused
from services.intake.entry_pages import add_entry_pages
from services.intake.finding import needed_nobody
from services.intake.page_parts import STAFF, facility_of, id_in, page, when
from services.intake.story import open_tasks, persons_of, shown
from services.operating import OPERATORS

TEMPLATES = Path(__file__).parent / "page_templates"


def make_staff_pages(desk: Desk, accounts: Accounts) -> Blueprint:
    """The blueprint; who is signed in has one facility, whose discharges alone are found."""
    pages = Blueprint("staff", __name__, template_folder=str(TEMPLATES))
    _add_today(pages, desk, accounts)
    add_entry_pages(pages, desk)
    add_client_pages(pages, desk)
    return pages


def _add_today(pages: Blueprint, desk: Desk, accounts: Accounts) -> None:
    @pages.get("/")
    @needs_role(*STAFF, *OPERATORS)
    def today() -> str | Response:
        return see("/ops/") if g.who.role in OPERATORS else _today(desk, [])

    @pages.post("/tasks/<task_id>/done")
    @needs_role(*STAFF)
    def done(task_id: str) -> Response | tuple[str, int]:
        field = f"reason-{task_id}"
        try:
            body: DoneBody = read_body(DoneBody, {"reason": request.form.get(field, "")})
        except ValidationError:
            return _today(desk, [(field, "Say in a few words what was done.")]), 422
        facility, by = facility_of(desk), str(g.who.account_id)
        try:
            tasks.finish(desk.participant, facility.id, id_in(task_id), because=body.reason, by=by)
        except Refused as refused:
            return _today(desk, [(field, refused.args[1])]), 422
        return see("/")

    @pages.post("/tasks/<task_id>/take")
    @needs_role(*STAFF)
    def take(task_id: str) -> Response:
        facility, by = facility_of(desk), str(g.who.account_id)
        tasks.take(desk.participant, facility.id, id_in(task_id), by=by)
        return see("/")

    @pages.post("/tasks/<task_id>/give-back")
    @needs_role(*STAFF)
    def give_back(task_id: str) -> Response:
        tasks.give_back(desk.participant, facility_of(desk).id, id_in(task_id))
        return see("/")

    @pages.post("/tasks/<task_id>/hand-over")
    @needs_role(*STAFF)
    def hand_over(task_id: str) -> Response | tuple[str, int]:
        field = f"colleague-{task_id}"
        found = accounts.called(request.form.get(field, ""))
        if found is None or found[1] not in STAFF or found[2] != g.who.scope:
            remedy = "Enter the name with which a colleague at this facility signs in."
            return _today(desk, [(field, remedy)]), 422
        facility, to = facility_of(desk), str(found[0])
        tasks.hand_over(desk.participant, facility.id, id_in(task_id), to=to)
        return see("/")


def _today(desk: Desk, errors: list[tuple[str, str]]) -> str:
    facility, now = facility_of(desk), desk.participant.now()
    found = open_tasks(desk.participant, facility.id, now)
    about = {UUID(task["client_id"]) for task in found if task["client_id"]}
    people = persons_of(desk.participant, facility.id, about)
    shown_of = {str(key): shown(person) for key, person in people.items()}
    wrong = {field for field, _ in errors}
    for task in found:
        task["due"] = when(task["due_at"], facility, now)
        task["since"] = when(task["opened_at"], facility, now)
        task["person"] = shown_of.get(task["client_id"])
        task["wrong"] = {f.partition("-")[0] for f in wrong if f.endswith(task["id"])}
        task["is_mine"] = task["taken_by"] == str(g.who.account_id)
    ready, every = needed_nobody(desk, facility)
    share = {"ready": ready, "every": every}
    return page("today.html", facility, tasks=found, share=share, errors=errors)
