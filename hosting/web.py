"""The Flask app of every service: errors, security headers, request ids, health, metrics."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from flask import Blueprint, Flask, Response, abort, g, request
from marshmallow import ValidationError
from sqlalchemy import Engine
from werkzeug.exceptions import HTTPException

from hosting import metrics
from hosting.auth import open_to_all
from hosting.database import answers
from hosting.pages import add_pages, render
from hosting.problems import Problem, flat_errors
from hosting.sign_in import session_waits
from messaging.unavailable import is_away, is_lost_race

log = logging.getLogger(__name__)

#: The largest request body that is read, in bytes.
LARGEST_BODY = 1_100_000

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Pages run the scripts that this host serves, which may ask this host; none are inside a page.
_POLICY_OF_PAGES = f"{_POLICY}; script-src 'self'; connect-src 'self'"
_HEADERS = {
    # With no-referrer a browser hides the origin of our own forms as well, and they are refused.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Permissions-Policy": "interest-cohort=()",
}


def make_app(
    name: str,
    *,
    prefix: str,
    database: Engine,
    access: Engine,
    metrics_port: int,
    blueprints: Iterable[Blueprint],
    is_secure: bool = False,
) -> Flask:
    """An app with the service's blueprints under its prefix.

    ``is_secure``: whether people reach it by TLS, whatever the front door is told of that.
    """
    app = Flask(name, static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["SESSION_COOKIE_SECURE"] = is_secure
    app.extensions["access"] = access
    for blueprint in blueprints:
        app.register_blueprint(blueprint, url_prefix=prefix + (blueprint.url_prefix or ""))
    add_pages(app, prefix)
    app.jinja_env.globals["session_waits"] = session_waits
    _add_health(app, prefix, database, metrics_port)
    _add_requests(app)
    _add_errors(app)
    return app


def _add_health(app: Flask, prefix: str, database: Engine, metrics_port: int) -> None:
    @app.get(f"{prefix}/healthz")
    @open_to_all("says only that the process lives")
    def healthz() -> Response:
        return Response("alive\n", mimetype="text/plain")

    @app.get(f"{prefix}/readyz")
    @open_to_all("says only whether work can be done")
    def readyz() -> Response:
        if answers(database):
            return Response("ready\n", mimetype="text/plain")
        return Response("the database is away\n", status=503, mimetype="text/plain")

    @app.get("/metrics")
    @open_to_all("answers on the port of metrics only")
    def read_metrics() -> Response:
        # The port is taken from the listening socket, so a Host header cannot open it.
        if request.environ.get("SERVER_PORT") != str(metrics_port):
            abort(404)
        body, content_type = metrics.exposition(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)


def _add_requests(app: Flask) -> None:
    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        g.request_id = uuid4().hex

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.get("request_id", "")
        policy = _POLICY_OF_PAGES if g.get("is_page") else _POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        for header, value in _HEADERS.items():
            response.headers.setdefault(header, value)
        if app.config["SESSION_COOKIE_SECURE"]:
            response.headers.setdefault("Strict-Transport-Security", _ONLY_BY_TLS)
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.REQUESTS.labels(
            method=request.method if request.method in _METHODS else "other",
            route=route,
            code=str(response.status_code),
        ).observe(time.perf_counter() - g.get("began", time.perf_counter()))
        return response


#: For a year, as is usual.
_ONLY_BY_TLS = "max-age=31536000"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def _add_errors(app: Flask) -> None:
    @app.errorhandler(Problem)
    def problem(error: Problem) -> Response:
        return answer_with(error)

    @app.errorhandler(ValidationError)
    def invalid(error: ValidationError) -> Response:
        return answer_with(
            Problem(422, "Some fields cannot be used", errors=flat_errors(error.messages))
        )

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        answer = answer_with(
            Problem(error.code or 500, error.name, _REMEDIES.get(error.code or 500, ""))
        )
        for header, value in error.get_headers():
            if header in ("Allow", "Retry-After"):
                answer.headers[header] = value
        return answer

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        if is_away(error) or is_lost_race(error):
            log.warning("a request met an engine that is away", extra={"error": type(error)})
            return answer_with(
                Problem(
                    503,
                    "Not now",
                    "Nothing was stored. Send the same request again in a few seconds.",
                    headers={"Retry-After": "5"},
                )
            )
        log.exception("a request failed", extra={"request_id": g.get("request_id")})
        return answer_with(Problem(500, "Something went wrong here", f"Request {g.request_id}."))


_REMEDIES = {
    400: "Send a request that can be read.",
    404: "Look up the address in /openapi.json.",
    405: "Look up the methods in /openapi.json.",
    413: "Send less than 1 MB.",
    415: "Send the content type named in /openapi.json.",
}


def answer_with(error: Problem) -> Response:
    """A problem as whoever asked can read it: a program its JSON, a person in a browser a page."""
    kinds = ("application/problem+json", "text/html")
    # Who takes anything is a program, and gets the first.
    kind = request.accept_mimetypes.best_match(kinds, default=kinds[0])
    if kind == "text/html":
        response = Response(render("problem.html", problem=error), mimetype=kind)
    else:
        response = Response(json.dumps(error.body()), content_type=kind)
    response.status_code = error.status
    response.headers.update(error.headers)
    return response


def json_body() -> dict[str, Any]:
    """The request's JSON object; raises a ``Problem`` that says what is wrong with it."""
    if request.mimetype != "application/json":
        raise Problem(415, "The content type is not JSON", "Send 'application/json'.")
    try:
        body = json.loads(
            request.get_data().decode("utf-8"),
            parse_constant=_no_constant,
            object_pairs_hook=_each_once,
        )
    except (ValueError, RecursionError):
        raise Problem(
            400, "The body is not JSON", "Send one JSON object, encoded as UTF-8."
        ) from None
    if not isinstance(body, dict):
        raise Problem(400, "The body is not a JSON object", "Send one JSON object.")
    return body


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; readers differ in which of two equal names they believe, so none is guessed."""
    body = dict(pairs)
    if len(body) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem(400, "A field is given twice", errors=[(twice, "Give this field once.")])
    return body


def _no_constant(name: str) -> Any:
    raise ValueError(name)
