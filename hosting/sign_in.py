"""Signing in and out, and which roles may call a view."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, current_app, g, redirect, request
from sqlalchemy import Engine

from hosting.accounts import Accounts, SignedIn, signed_in
from hosting.auth import open_to_all
from hosting.pages import render
from hosting.problems import Problem

COOKIE = "warm_handoff"
#: How exactly it is noted that somebody is at work.
SEEN_EVERY = timedelta(minutes=1)

View = TypeVar("View", bound=Callable[..., Any])


def needs_role(*roles: str) -> Callable[[View], View]:
    """Let a view be called by these roles only, or by all of them; who it is is ``g.who``.

    Whoever is not signed in is asked to, and led back. A form must carry its session's token.
    """

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            who = who_is_it()
            if who is None and request.headers.get("HX-Request"):
                # A part of a page that refreshes itself: the whole page asks.
                return Response(status=401, headers={"HX-Refresh": "true"})
            if who is None:
                return _ask(request.full_path if request.method == "GET" else "/")
            if roles and who.role not in roles:
                raise Problem(403, "This is not for your role", "Ask whoever made your account.")
            if request.method == "POST" and not who.sent(request.form.get("form_token", "")):
                raise Problem(400, "This form did not come from here", "Open it again.")
            g.who = who
            return view(*args, **kwargs)

        guarded.guard = f"roles: {', '.join(roles) or 'all'}"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return guard


def who_is_it() -> SignedIn | None:
    """Whose session the request's cookie names, as it stands now."""
    access: Engine = current_app.extensions["access"]
    return signed_in(access, request.cookies.get(COOKIE, ""), _now())


def make_sign_in(accounts: Accounts) -> Blueprint:
    """Signing in, by password or by a link that works once, and signing out."""
    pages = Blueprint("sign_in", __name__)

    @pages.get("/sign-in")
    @open_to_all("asks who it is")
    def ask() -> str:
        return _form()

    @pages.post("/sign-in")
    @open_to_all("asks who it is")
    def sign_in() -> Response | tuple[str, int]:
        _from_here()
        email = request.form.get("email", "")
        secret = accounts.sign_in(email, request.form.get("password", ""), _now())
        if secret is None:
            wrong = "This address and password do not belong together, or were tried too often."
            return _form(email=email, errors=[("password", wrong)]), 422
        return _let_in(secret)

    @pages.get("/sign-in/<secret>")
    @open_to_all("asks whether a link is to be used")
    def link(secret: str) -> str:
        # Only a button uses the link up: whoever looks ahead for a person must not.
        return render("use_link.html", secret=secret)

    @pages.post("/sign-in/<secret>")
    @open_to_all("a link that works once")
    def use(secret: str) -> Response | tuple[str, int]:
        _from_here()
        session = accounts.use_link(secret, _now())
        if session is None:
            gone = "This link was used already, or is too old. Sign in with your password."
            return _form(errors=[("email", gone)]), 422
        return _let_in(session)

    @pages.post("/sign-out")
    @needs_role()
    def sign_out() -> Response:
        accounts.sign_out(g.who.account_id, _now())
        response = cast(Response, redirect("/sign-in", 303))
        response.delete_cookie(COOKIE)
        return response

    @pages.after_app_request
    def note(response: Response) -> Response:
        who: SignedIn | None = g.get("who")
        # A page that refreshes itself is nobody at work.
        asks_itself = "HX-Request" in request.headers
        if who is not None and not asks_itself and _now() - who.seen_at > SEEN_EVERY:
            accounts.seen(who.secret, _now())
        return response

    return pages


def _form(**values: Any) -> str:
    return render("sign_in.html", **{"email": "", "errors": [], "next": _next(), **values})


def _let_in(secret: str) -> Response:
    response = cast(Response, redirect(_next(), 303))
    # The front door ends TLS and says how it was asked.
    is_secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
    response.set_cookie(COOKIE, secret, httponly=True, samesite="Lax", secure=is_secure, path="/")
    return response


def _next() -> str:
    """Where somebody wanted to go: a page of this host, never another one."""
    wanted = request.values.get("next", "/")
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_ours else "/"


def _ask(then: str) -> Response:
    return cast(Response, redirect(f"/sign-in?next={quote(then.rstrip('?'))}", 303))


def _from_here() -> None:
    """Before there is a session, a form is believed when the browser says that it is our own."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Problem(400, "This form did not come from here", "Open it again.")


def _now() -> datetime:
    # Sessions are of this world: the sandbox's clock may be moved on by weeks.
    return datetime.now(UTC)
