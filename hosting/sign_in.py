"""Signing in and out, which roles may call a view, and how a session ends without a loss.

A form that is sent after its session has ended is neither carried out nor dropped: what was typed
waits in the answer that asks who it is, in a hidden field, and after signing in a button sends
it. It is kept nowhere else, since an address would be logged, and a row would be one more place
that holds what identifies a person, with nobody to clear it away.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from flask import Blueprint, Response, current_app, g, make_response, request
from sqlalchemy import Engine

from hosting.accounts import Accounts, SignedIn, nobodys_hash, signed_in
from hosting.auth import form_token_of, is_secure, open_to_all
from hosting.moments import told
from hosting.pages import render, see
from hosting.problems import Problem

COOKIE = "warm_handoff"
#: How exactly it is noted that somebody is at work.
SEEN_EVERY = timedelta(minutes=1)
#: So long before a session ends, its pages say so.
WARNED_BEFORE = timedelta(minutes=5)

View = TypeVar("View", bound=Callable[..., Any])


def needs_role(*roles: str) -> Callable[[View], View]:
    """Let a view be called by these roles only, or by all of them; who it is is ``g.who``.

    Whoever is not signed in is asked to, and led back with what they typed. A form must carry its
    session's token; one of an earlier session of this browser is sent again by hand.
    """

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            who = who_is_it()
            if who is None and request.headers.get("HX-Request"):
                # A part of a page that refreshes itself: the whole page asks.
                return Response(status=401, headers={"HX-Refresh": "true"})
            if who is None:
                return _ask()
            if roles and who.role not in roles:
                raise Problem(403, "This is not for your role", "Ask whoever made your account.")
            if request.method == "POST" and not who.sent(request.form.get("form_token", "")):
                return _of_earlier_session(who)
            g.who = who
            return view(*args, **kwargs)

        guarded.guard = f"roles: {', '.join(roles) or 'all'}"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return guard


def who_is_it() -> SignedIn | None:
    """Whose session the request's cookie names, as it stands now."""
    access: Engine = current_app.extensions["access"]
    return signed_in(access, request.cookies.get(COOKIE, ""), _now())


def session_waits() -> dict[str, Any]:
    """How long the page that is shown waits, and whether somebody must still be noted at work.

    Only one web writes sessions: pages of all others have it note, by a picture of no size.
    """
    who: SignedIn = g.who
    now = _now()
    unnoted = now - who.seen_at > SEEN_EVERY
    ends_at = who.ends_at(now if unnoted else None)
    return {"ends": told(ends_at, "UTC", now)["told"], "unnoted": unnoted}


def make_sign_in(accounts: Accounts) -> Blueprint:
    """Signing in, by password or by a link that works once, and signing out."""
    pages = Blueprint("sign_in", __name__)
    # Made before anybody is answered, for the first answer must not tell by its time either.
    nobodys_hash()

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
        response = see("/sign-in")
        response.delete_cookie(COOKIE)
        return response

    _add_staying(pages, accounts)

    @pages.after_app_request
    def note(response: Response) -> Response:
        who: SignedIn | None = g.get("who")
        # A page that refreshes itself is nobody at work.
        asks_itself = "HX-Request" in request.headers
        if who is not None and not asks_itself and _now() - who.seen_at > SEEN_EVERY:
            accounts.seen(who.secret, _now())
        return response

    return pages


def _add_staying(pages: Blueprint, accounts: Accounts) -> None:
    @pages.get("/seen")
    @needs_role()
    def seen() -> tuple[str, int]:
        return "", 204

    @pages.get("/session")
    @open_to_all("says only how long a session lasts; looking does not lengthen it")
    def time_left() -> str:
        return _time_left()

    @pages.post("/session")
    @open_to_all("a session that is over is told so, and never led away from what was typed")
    def stay() -> str:
        who = who_is_it()
        if who is not None and who.sent(request.form.get("form_token", "")):
            accounts.seen(who.secret, _now())
        return _time_left()


def _time_left() -> str:
    who = who_is_it()
    left = who.ends_at() - _now() if who else timedelta(0)
    return render(
        "session.html",
        who=who,
        minutes=max(1, round(left.total_seconds() / 60)) if left <= WARNED_BEFORE else None,
        may_stay=who is not None and who.ends_at() < who.latest_end,
    )


def _form(**values: Any) -> str:
    kept = {"next": _next(), "typed": request.form.get("typed", "")}
    return render("sign_in.html", **{"email": "", "errors": [], **kept, **values})


def _let_in(secret: str) -> Response:
    typed = request.form.get("typed", "")
    if typed:
        response = make_response(_again(_next(), typed, form_token_of(secret)))
    else:
        response = see(_next())
    response.set_cookie(COOKIE, secret, httponly=True, samesite="Lax", secure=is_secure(), path="/")
    return response


def _next() -> str:
    """Where somebody wanted to go: a page of this host, never another one."""
    wanted = request.values.get("next", "/")
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    # Browsers and libraries drop tabs and the like, and a slash behind one leads elsewhere.
    return wanted if is_ours and wanted.isprintable() else "/"


def _ask() -> Response | tuple[str, int]:
    """Ask who it is, and lead back."""
    if request.method == "POST" and _is_ours():
        return _form(next=_here(), typed=_typed()), 401
    then = _here() if request.method == "GET" else "/"
    return see(f"/sign-in?next={quote(then)}")


def _of_earlier_session(who: SignedIn) -> tuple[str, int]:
    """Somebody signed in again elsewhere in this browser, and then sent what they had typed."""
    if not _is_ours():
        raise Problem(400, "This form did not come from here", "Open it again.")
    return _again(_here(), _typed(), who.form_token()), 409


def _again(path: str, typed: str, form_token: str) -> str:
    """What was typed, with a button that sends it; the button is a person's own decision."""
    fields = parse_qsl(typed, keep_blank_values=True)
    return render("send_again.html", path=path, fields=fields, form_token=form_token)


def _here() -> str:
    return request.full_path.rstrip("?")


def _typed() -> str:
    """The fields of a form as one; those that choose a file are chosen again."""
    fields = request.form.items(multi=True)
    return urlencode([(name, value) for name, value in fields if name != "form_token"])


def _is_ours() -> bool:
    """Whether the browser says that a form is of one of our own pages."""
    return urlsplit(request.headers.get("Origin", "")).netloc == request.host


def _from_here() -> None:
    """Before there is a session, a form is believed unless the browser says otherwise."""
    if "Origin" in request.headers and not _is_ours():
        raise Problem(400, "This form did not come from here", "Open it again.")


def _now() -> datetime:
    # Sessions are of this world: the sandbox's clock may be moved on by weeks.
    return datetime.now(UTC)
