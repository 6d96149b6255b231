"""The web side of the sandbox: who may call it, and what every answer carries."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from werkzeug.serving import WSGIRequestHandler

from deploy.sandbox.desk import desk_pages, open_desk
from deploy.sandbox.pages import pages
from deploy.sandbox.parts import Sandbox
from deploy.sandbox.settings import LOOPBACK_NAMES
from deploy.sandbox.twilio import twilio_api

LARGEST_REQUEST_BYTES = 1_000_000
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def create_app(sandbox: Sandbox) -> Flask:
    """The page, its JSON, and the text-message API."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST_BYTES
    app.register_blueprint(twilio_api(sandbox))
    app.register_blueprint(pages(sandbox))
    if sandbox.settings.desk is not None:
        app.register_blueprint(desk_pages(open_desk(sandbox, sandbox.settings.desk)))

    @app.before_request
    def keep_other_sites_out() -> None:
        # A page elsewhere can point its own name at this machine; then its origin matches,
        # and only the name gives it away.
        name = urlsplit(f"//{request.host}").hostname
        if sandbox.settings.is_loopback_only and name not in LOOPBACK_NAMES:
            abort(403, "The sandbox answers to names of this machine only.")
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and origin != request.host_url.rstrip("/")
        if request.method not in SAFE_METHODS and is_foreign:
            abort(403, "The request comes from another site.")

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        # With no-referrer a browser hides the origin of this page's own forms as well.
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        if response.status_code >= 400:
            # The body may be unread, and would be taken for the next request.
            response.headers["Connection"] = "close"
        return response

    return app


class QuietHandler(WSGIRequestHandler):
    """Serves requests without a log of them, because addresses stand in the queries."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""
