"""Describe the API from its own routes and schemas."""

from __future__ import annotations

import inspect
import re
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask

from contracts.wire import schema_of
from services.intake.bodies import ConsentsBody, ContactBody, DischargeBody, DoneBody
from services.intake.domain import STATES, TASKS

_BODIES = {
    ("/api/discharges", "post"): DischargeBody,
    ("/api/consents", "put"): ConsentsBody,
    ("/api/contact", "put"): ContactBody,
    ("/api/tasks/{task_id}/done", "post"): DoneBody,
}
_SUMMARIES = {
    ("/api/discharges", "post"): "Enter a discharge; safe once answered.",
    ("/api/discharges/{discharge_id}", "get"): "The story of a discharge.",
    ("/api/discharges/{discharge_id}/cancel", "post"): "Call a discharge off.",
    ("/api/hl7", "post"): "One HL7 v2 message (ADT^A03); the answer is its acknowledgement.",
    ("/api/consents", "put"): "All that a client agrees to; what is absent is revoked.",
    ("/api/contact", "put"): (
        "How a client is called and reached; null removes a value, what is absent stays."
    ),
    ("/api/tasks", "get"): "What needs a person, riskiest first.",
    ("/api/tasks/{task_id}/done", "post"): "A task is done.",
    ("/openapi.json", "get"): "This description.",
}
_PROBLEM = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_STORY = {
    "type": "object",
    "required": ["id", "client_id", "state", "steps"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "client_id": {"type": "string", "format": "uuid"},
        "state": {"type": "string", "enum": list(STATES)},
        "closed_because": {"type": ["string", "null"]},
        "missing": {"type": "array", "items": {"type": "object"}},
        "next": {"type": ["object", "null"]},
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["at", "what", "service"],
                "properties": {
                    "at": {"type": "string", "format": "date-time"},
                    "what": {"type": "string"},
                    "service": {"type": "string"},
                },
            },
        },
    },
}
_ACCEPTED = {
    "type": "object",
    "required": ["id", "client_id", "state"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "client_id": {"type": "string", "format": "uuid"},
        "state": {"type": "string", "enum": list(STATES)},
    },
}
_CLIENT = {
    "type": "object",
    "required": ["client_id"],
    "properties": {"client_id": {"type": "string", "format": "uuid"}},
}
_CANCELLED = {
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "state": {"type": "string", "enum": list(STATES)},
    },
}
_DONE = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string", "format": "uuid"}},
}
_TASKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "kind", "owner", "risk", "age_seconds", "due_at", "next_action"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "kind": {"type": "string", "enum": list(TASKS)},
            "owner": {
                "type": "object",
                "properties": {"role": {"type": "string"}, "name": {"type": ["string", "null"]}},
            },
            "risk": {"type": "string", "enum": ["high", "ordinary"]},
            "opened_at": {"type": "string", "format": "date-time"},
            "age_seconds": {"type": "integer"},
            "due_at": {"type": "string", "format": "date-time"},
            "discharge_id": {"type": ["string", "null"], "format": "uuid"},
            "client_id": {"type": ["string", "null"], "format": "uuid"},
            "next_action": {"type": "string"},
        },
    },
}
#: What is answered when all is well, by route: status, words and schema.
_ANSWERS = {
    ("/api/discharges", "post"): ("202", "Safe.", "Accepted", _ACCEPTED),
    ("/api/discharges/{discharge_id}", "get"): ("200", "The story.", "Story", _STORY),
    ("/api/discharges/{discharge_id}/cancel", "post"): (
        "200",
        "Called off.",
        "Cancelled",
        _CANCELLED,
    ),
    ("/api/consents", "put"): ("200", "Stored.", "Client", _CLIENT),
    ("/api/contact", "put"): ("200", "Stored.", "Client", _CLIENT),
    ("/api/tasks", "get"): ("200", "The open tasks.", "Tasks", _TASKS),
    ("/api/tasks/{task_id}/done", "post"): ("200", "Done.", "Done", _DONE),
}


def describe(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of the routes that this app really has."""
    spec = APISpec(
        title="Warm Handoff",
        version="1",
        openapi_version="3.1.0",
        info={"description": "Discharges in, tasks and stories out."},
        plugins=[MarshmallowPlugin()],
    )
    spec.components.schema("Problem", _PROBLEM)
    for name, schema in {answer[2]: answer[3] for answer in _ANSWERS.values()}.items():
        spec.components.schema(name, schema)
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<([a-z_]+)>", r"{\1}", rule.rule)
        for method in ("get", "post", "put"):
            if (path, method) in _SUMMARIES and method.upper() in (rule.methods or ()):
                view = app.view_functions[rule.endpoint]
                spec.path(path, operations={method: _operation(path, method, view)})
    described = spec.to_dict()
    for schema in described["components"]["schemas"].values():
        for value in schema.get("properties", {}).values():
            # What is absent is not always what null means: only null removes an address.
            if value.get("default", ...) is None:
                del value["default"]
    return described


def _operation(path: str, method: str, view: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": _SUMMARIES[path, method],
        "responses": _responses(path, method),
    }
    names = re.findall(r"{([a-z_]+)}", path)
    if names:
        operation["parameters"] = [
            {"in": "path", "name": n, "required": True, "schema": {"type": "string"}} for n in names
        ]
    if getattr(inspect.unwrap(view), "guard", getattr(view, "guard", "")) == "token":
        operation["security"] = [{"token": []}]
    body = _BODIES.get((path, method))
    if body is not None:
        schema = schema_of(body, "raise")
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if path == "/api/hl7":
        content = {"application/hl7-v2": {"schema": {"type": "string"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(path: str, method: str) -> dict[str, Any]:
    problem = {
        "description": "A problem (RFC 9457).",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    if (path, method) in _ANSWERS:
        status, words, name, _ = _ANSWERS[path, method]
        return {status: _json(words, name), "default": problem}
    good: dict[str, Any] = {"description": "Done."}
    if path == "/api/hl7":
        good["content"] = {"application/hl7-v2": {"schema": {"type": "string"}}}
    return {"200": good, "default": problem}


def _json(description: str, schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {"application/json": {"schema": reference}}}
