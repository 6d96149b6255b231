"""The API's own description is valid, whole, and true of what the API answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.house import House, a_discharge


@pytest.fixture
def described(house: House) -> dict[str, Any]:
    """The document as anybody may fetch it."""
    caller = house.api()
    caller.environ_base.pop("HTTP_AUTHORIZATION")
    found: dict[str, Any] = caller.get("/openapi.json").get_json()
    return found


def test_the_description_is_valid(described: dict[str, Any]) -> None:
    validate(described)


def test_every_route_of_the_api_is_described(house: House, described: dict[str, Any]) -> None:
    routes = {
        (re.sub(r"<([a-z_]+)>", r"{\1}", rule.rule), method.lower())
        for rule in house.api().application.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    documented = {
        (path, method)
        for path, operations in described["paths"].items()
        for method in operations
        if path.startswith("/api/")
    }

    assert routes == documented


def test_absent_and_null_are_described_apart(described: dict[str, Any]) -> None:
    contact = described["paths"]["/api/contact"]["put"]
    schemas = described["components"]["schemas"]
    shape = schemas[contact["requestBody"]["content"]["application/json"]["schema"]["$ref"][21:]]

    assert "null removes" in contact["summary"]
    assert ["string", "null"] == shape["properties"]["mobile"]["type"]
    assert "default" not in shape["properties"]["mobile"]


def test_every_call_of_the_api_needs_a_token(described: dict[str, Any]) -> None:
    open_calls = [
        path
        for path, operations in described["paths"].items()
        for operation in operations.values()
        if path.startswith("/api/") and operation.get("security") != [{"token": []}]
    ]

    assert [] == open_calls


def test_the_example_of_a_discharge_is_as_described(
    house: House, described: dict[str, Any]
) -> None:
    body = a_discharge(house.clock.now())
    content = described["paths"]["/api/discharges"]["post"]["requestBody"]["content"]

    errors = list(against(described, content["application/json"]["schema"]).iter_errors(body))

    assert [] == errors


def against(described: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    whole = {"components": described["components"], **schema}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


CALLS: dict[str, tuple[str, str, Callable[[House], Any]]] = {
    "a discharge": (
        "/api/discharges",
        "post",
        lambda h: h.api().post("/api/discharges", json=a_discharge(h.clock.now())),
    ),
    "a discharge that cannot be": (
        "/api/discharges",
        "post",
        lambda h: h.api().post("/api/discharges", json={"facility": "north", "mobile": "1"}),
    ),
    "a body that is no JSON": (
        "/api/discharges",
        "post",
        lambda h: h.api().post("/api/discharges", data="{", content_type="application/json"),
    ),
    "a story": (
        "/api/discharges/{discharge_id}",
        "get",
        lambda h: h.api().get(f"/api/discharges/{h.register()['id']}"),
    ),
    "a story of what is held": (
        "/api/discharges/{discharge_id}",
        "get",
        lambda h: h.api().get(f"/api/discharges/{h.register(consents=None)['id']}"),
    ),
    "a story that is not there": (
        "/api/discharges/{discharge_id}",
        "get",
        lambda h: h.api().get("/api/discharges/nowhere"),
    ),
    "a cancelled discharge": (
        "/api/discharges/{discharge_id}/cancel",
        "post",
        lambda h: h.api().post(f"/api/discharges/{h.register()['id']}/cancel"),
    ),
    "consents": (
        "/api/consents",
        "put",
        lambda h: h.api().put(
            "/api/consents", json={"facility": "north", "record_number": "R-1", "consents": {}}
        ),
    ),
    "an address": (
        "/api/contact",
        "put",
        lambda h: h.api().put(
            "/api/contact",
            json={"facility": "north", "record_number": "R-1", "mobile": "+15035550123"},
        ),
    ),
    "tasks": (
        "/api/tasks",
        "get",
        lambda h: h.register(consents=None) and h.api().get("/api/tasks"),
    ),
    "a task done": (
        "/api/tasks/{task_id}/done",
        "post",
        lambda h: (
            h.register(consents=None)
            and h.api().post(f"/api/tasks/{h.tasks()[0]['id']}/done", json={"reason": "called"})
        ),
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_is_answered_is_as_described(center: House, call: str) -> None:
    path, method, make = CALLS[call]

    answer = make(center)

    described = center.api().get("/openapi.json").get_json()
    responses = described["paths"][path][method]["responses"]
    response = responses.get(str(answer.status_code), responses["default"])
    schema = response["content"][answer.mimetype]["schema"]
    assert [] == list(against(described, schema).iter_errors(answer.get_json()))
