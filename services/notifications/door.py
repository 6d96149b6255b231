"""The door to the mentor's pages: link and code begin a visit, which every page asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Blueprint, Response, g, request, url_for

from hosting.auth import is_secure, open_to_all
from hosting.pages import see as see_path
from messaging.sealing import SearchTokens
from messaging.work import Participant, Work
from services.notifications import cards, visits
from services.notifications.page_words import WORDS, note, page, page_language

COOKIE = "visit"
#: What a visit that is about to rest is told.
WARNED_BEFORE = timedelta(minutes=5)

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Door:
    """Lets mentors in, and asks again for the code of whoever was away."""

    participant: Participant
    tokens: SearchTokens

    def visit(self) -> visits.Visit | None:
        """The visit that the request's cookie names."""
        secret = request.cookies.get(COOKIE, "")
        return visits.find(self.participant.engine, secret, _now()) if secret else None

    def seen(self, visit: visits.Visit) -> None:
        """The visit goes on."""
        visits.seen(self.participant.engine, visit.secret, _now())

    def open_card(self, token: str, code: str) -> tuple[cards.Opened, str]:
        """What came of link and code, and the secret of the visit that they began."""
        found: list[tuple[cards.Opened, str]] = []

        def command(work: Work) -> tuple[()]:
            opened, secret = cards.open_card(work, self.tokens, token, code), ""
            if opened.assignment is not None and opened.card_id is not None:
                mentor_id = opened.assignment.mentor_id
                secret = visits.begin(work, mentor_id, opened.card_id, _now())
            found[:] = [(opened, secret)]
            return ()

        self.participant.transact(command)
        return found[0]

    def open_again(self, visit: visits.Visit, code: str) -> str:
        """What came of the code of a visit that rests; it goes on when it is shown."""
        found: list[str] = []

        def command(work: Work) -> tuple[()]:
            opened = cards.open_again(work, self.tokens, visit.card_id, code)
            found[:] = [opened.outcome]
            return ()

        self.participant.transact(command)
        if found[0] == "shown":
            self.seen(visit)
        return found[0]

    def end(self) -> None:
        """The visit is over for good."""
        visits.end(self.participant.engine, request.cookies.get(COOKIE, ""), _now())


def needs_visit(door: Door) -> Callable[[View], View]:
    """Let a view be called within a visit only, which is ``g.visit``.

    Whoever was away too long is asked for the code of their card, and what they typed is kept.
    """

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            visit = door.visit()
            if visit is None:
                return note("closed"), 401
            if request.method == "POST" and not visit.sent(request.form.get("form_token", "")):
                return note("not_from_here"), 400
            if visit.is_resting and (refusal := _wake(door, visit)) is not None:
                return refusal
            door.seen(visit)
            g.visit = visit
            return view(*args, **kwargs)

        guarded.guard = "visit"  # type: ignore[attr-defined]
        return cast(View, guarded)

    return guard


def _wake(door: Door, visit: visits.Visit) -> tuple[str, int] | None:
    """Ask for the code of a visit that rests; None when it was right, and the visit goes on."""
    code = request.form.get("code", "")
    outcome = door.open_again(visit, code) if code else "asked"
    if outcome == "shown":
        return None
    if outcome not in ("asked", "wrong_code"):
        return note("closed"), 401
    typed = [pair for pair in request.form.items(multi=True) if pair[0] != "code"]
    is_form = request.method == "POST"
    path = request.path if is_form else url_for("messages.again")
    hidden = typed if is_form else [("form_token", visit.form_token())]
    return _ask_code("wrong" if code else None, path, hidden, rested=True, typed=is_form), 401


def add_door(pages: Blueprint, door: Door) -> None:
    """Coming in, staying, and leaving."""

    @pages.get("/card/<token>")
    @open_to_all("shows a form for the code only")
    def ask_code(token: str) -> str:
        return _ask_code(None, request.path)

    @pages.post("/card/<token>")
    @open_to_all("opened by its address and its code together")
    def come_in(token: str) -> Response | tuple[str, int]:
        opened, secret = door.open_card(token, request.form.get("code", ""))
        if opened.outcome == "wrong_code":
            return _ask_code("wrong", request.path), 403
        if opened.assignment is None:
            return note("no_route" if opened.outcome == "no_route" else "over"), 410
        response = see("messages.person", assignment_id=opened.assignment.id)
        response.set_cookie(
            COOKIE, secret, httponly=True, samesite="Strict", secure=is_secure(), path="/messages"
        )
        return response

    @pages.post("/again")
    @needs_visit(door)
    def again() -> Response:
        return see("messages.people")

    @pages.get("/time")
    @open_to_all("says only how long a visit lasts; looking does not lengthen it")
    def time_left() -> str:
        visit = door.visit()
        if visit is None:
            return ""
        left = visit.rests_at - _now()
        minutes = max(1, round(left.total_seconds() / 60))
        return page(
            "time.html",
            page_language(request.args.get("lang", "en")),
            minutes=minutes if timedelta(0) < left <= WARNED_BEFORE else None,
            is_over=left <= timedelta(0),
            form_token=visit.form_token(),
        )

    @pages.post("/stay")
    @needs_visit(door)
    def stay() -> str:
        return ""

    @pages.post("/exit")
    @open_to_all("whoever wants to be gone is not asked anything")
    def leave() -> Response:
        door.end()
        response = see("messages.elsewhere")
        response.delete_cookie(COOKIE, path="/messages")
        return response

    @pages.get("/page")
    @open_to_all("an empty page, to be seen by whoever looks over a shoulder")
    def elsewhere() -> str:
        return page("elsewhere.html", page_language())


def see(endpoint: str, **values: Any) -> Response:
    """Lead to another of our pages."""
    return see_path(url_for(endpoint, **values))


def _ask_code(
    wrong: str | None, path: str, hidden: Any = (), *, rested: bool = False, typed: bool = False
) -> str:
    language = page_language()
    errors = [("code", WORDS[language][wrong])] if wrong else []
    return page(
        "code.html",
        language,
        errors=errors,
        path=path,
        hidden=list(hidden),
        rested=rested,
        typed=typed,
    )


def _now() -> datetime:
    # Visits are of this world: the sandbox's clock may be moved on by weeks.
    return datetime.now(UTC)
