"""The two doors, consents and contact, tasks and stories: intake's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, current_app, g, jsonify, request
from marshmallow import ValidationError

from hosting.auth import needs_token, open_to_all
from hosting.problems import Problem
from hosting.web import answer_with, json_body
from services.intake import tasks
from services.intake.bodies import (
    ConsentsBody,
    ContactBody,
    DischargeBody,
    DoneBody,
    read_body,
)
from services.intake.commands import Desk, NoSuchThing, Refused
from services.intake.domain import Facility
from services.intake.openapi import describe
from services.intake.sources.hl7door import CONTENT_TYPE, Hl7Door
from services.intake.story import discharge_story, open_tasks

LONGEST_KEY = 200


def make_api(desk: Desk, *, mode: str) -> Blueprint:
    """The blueprint of intake's API; a token's scope is the code of its facility."""
    api = Blueprint("api", __name__)
    _add_doors(api, desk, mode)
    _add_corrections(api, desk)
    _add_reading(api, desk)
    _add_errors(api)
    return api


def _add_doors(api: Blueprint, desk: Desk, mode: str) -> None:
    door = Hl7Door(desk=desk, acts_on_tests=mode == "sandbox")

    @api.post("/api/discharges")
    @needs_token
    def register() -> tuple[Response, int]:
        data = json_body()
        facility = _own_facility(desk, data)
        body: DischargeBody = read_body(DischargeBody, data)
        accepted = desk.register(facility, body, caller=g.scope, answer_key=_answer_key(desk, data))
        response = jsonify(accepted.as_json())
        response.headers["Location"] = f"/api/discharges/{accepted.id}"
        return response, 202

    @api.post("/api/hl7")
    @needs_token
    def hl7() -> Response:
        if request.mimetype != CONTENT_TYPE:
            raise Problem(415, "The content type is not HL7 v2", f"Send '{CONTENT_TYPE}'.")
        facility = _facility(desk, g.scope)
        return Response(
            door.answer(request.get_data(), facility, caller=g.scope), content_type=CONTENT_TYPE
        )


def _add_corrections(api: Blueprint, desk: Desk) -> None:
    @api.put("/api/consents")
    @needs_token
    def consents() -> Response:
        data = json_body()
        facility = _own_facility(desk, data)
        client_id = desk.put_consents(facility, read_body(ConsentsBody, data))
        return jsonify({"client_id": str(client_id)})

    @api.put("/api/contact")
    @needs_token
    def contact() -> Response:
        data = json_body()
        facility = _own_facility(desk, data)
        body: ContactBody = read_body(ContactBody, data)
        deleted = tuple(name for name, value in data.items() if value is None)
        client_id = desk.put_contact(facility, body, deleted=deleted)
        return jsonify({"client_id": str(client_id)})

    @api.post("/api/discharges/<discharge_id>/cancel")
    @needs_token
    def cancel(discharge_id: str) -> Response:
        found = desk.cancel(_facility(desk, g.scope), _id(discharge_id))
        return jsonify({"id": str(found.id), "state": found.state})

    @api.post("/api/tasks/<task_id>/done")
    @needs_token
    def done(task_id: str) -> Response:
        body: DoneBody = read_body(DoneBody, json_body())
        facility = _facility(desk, g.scope)
        tasks.finish(desk.participant, facility.id, _id(task_id), because=body.reason, by=g.caller)
        return jsonify({"id": task_id})


def _add_reading(api: Blueprint, desk: Desk) -> None:
    @api.get("/api/discharges/<discharge_id>")
    @needs_token
    def story(discharge_id: str) -> Response:
        facility = _facility(desk, g.scope)
        found = discharge_story(desk.participant, facility.id, _id(discharge_id))
        if found is None:
            raise NoSuchThing("id")
        return jsonify(found)

    @api.get("/api/tasks")
    @needs_token
    def list_tasks() -> Response:
        facility = _facility(desk, g.scope)
        return jsonify(open_tasks(desk.participant, facility.id, desk.participant.now()))

    @api.get("/openapi.json")
    @open_to_all("describes the API, holds no data")
    def openapi() -> Response:
        return jsonify(describe(current_app))


def _add_errors(api: Blueprint) -> None:
    @api.app_errorhandler(NoSuchThing)
    def missing(error: NoSuchThing) -> Any:
        problem = Problem(404, "There is no such thing here", errors=[(str(error), "Not found.")])
        return answer_with(problem)

    @api.app_errorhandler(Refused)
    def refused(error: Refused) -> Any:
        field, remedy = error.args
        return answer_with(Problem(422, "This cannot be done", errors=[(field, remedy)]))


def _facility(desk: Desk, code: str) -> Facility:
    try:
        return desk.facility(code)
    except NoSuchThing:
        raise Problem(403, "The token's facility is not known here") from None


def _own_facility(desk: Desk, data: Mapping[str, Any]) -> Facility:
    """The facility of the body, which must be the token's own."""
    named = data.get("facility")
    if not isinstance(named, str):
        raise ValidationError({"facility": ["Name the facility of your token."]})
    if named != g.scope:
        raise Problem(
            403,
            "The token is for another facility",
            errors=[("facility", "Use the facility of your token.")],
        )
    return _facility(desk, named)


def _answer_key(desk: Desk, data: Mapping[str, Any]) -> tuple[str, str] | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key or len(key) > LONGEST_KEY:
        raise Problem(
            400,
            "The idempotency key cannot be used",
            errors=[("Idempotency-Key", f"Use 1 to {LONGEST_KEY} characters.")],
        )
    body = json.dumps(data, sort_keys=True, ensure_ascii=True)
    return desk.tokens.token("answer-key", key), desk.tokens.token("answer-body", body)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NoSuchThing("id") from None
