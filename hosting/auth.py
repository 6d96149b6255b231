"""Who is calling: API tokens, kept as hashes in ``access``, each with one opaque scope."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar
from uuid import uuid4

from flask import current_app, g, request
from sqlalchemy import Engine, text

from hosting.database import reading
from hosting.problems import Problem

View = TypeVar("View", bound=Callable[..., Any])
_VALID = text("SELECT id, scope FROM valid_token WHERE hash = :hash")


def make_token(access: Engine, scope: str, now: datetime) -> str:
    """Make a token; it is shown this once and kept as a hash only."""
    token = f"wh_{secrets.token_urlsafe(32)}"
    with access.begin() as conn:
        conn.execute(
            text("INSERT INTO token (id, hash, scope, made_at) VALUES (:id, :hash, :scope, :now)"),
            {"id": uuid4(), "hash": hash_of(token), "scope": scope, "now": now},
        )
    return token


def needs_token(view: View) -> View:
    """Let a view be called only with a valid token; its scope is ``g.scope``."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "A token is needed", "Send 'Authorization: Bearer <token>'.")
        access: Engine = current_app.extensions["access"]
        with reading(access) as conn:
            row = conn.execute(_VALID, {"hash": hash_of(token)}).first()
        if row is None:
            raise Problem(401, "The token is not valid", "Ask your administrator for a new one.")
        g.scope = row.scope
        g.caller = str(row.id)
        return view(*args, **kwargs)

    guarded.guard = "token"  # type: ignore[attr-defined]
    return guarded  # type: ignore[return-value]


def open_to_all(reason: str) -> Callable[[View], View]:
    """Mark a view as needing no sign-in, and say why."""

    def mark(view: View) -> View:
        view.guard = f"open: {reason}"  # type: ignore[attr-defined]
        return view

    return mark


def is_secure() -> bool:
    """Whether people reach us by TLS, which ends in front of us: cookies go by it alone."""
    asked = request.headers.get("X-Forwarded-Proto", request.scheme)
    return asked == "https" or bool(current_app.config["SESSION_COOKIE_SECURE"])


def form_token_of(secret: str) -> str:
    """What a form of the session with this secret carries; another site cannot know it."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()


def hash_of(secret: str) -> str:
    """What is kept of a secret that only its holder has: long and random, so one pass is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()
