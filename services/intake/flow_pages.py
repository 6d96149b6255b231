"""The pages of operations: how everything flows, the lists behind the numbers, and one story.

They name nobody. The flow is refreshed by htmx as a part of the page; everything works without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Blueprint, g, request
from sqlalchemy import Connection

from hosting.moments import told
from hosting.ops_pages import to_the_second
from hosting.pages import render
from hosting.problems import Problem
from hosting.sign_in import needs_role
from messaging.heartbeats import HEARD_WITHIN_SECONDS
from messaging.work import Participant
from services.intake.client_pages import STATES
from services.intake.commands import NoSuchThing
from services.intake.flow import LISTS, PAGE, TURN, Flow, read_flow, read_list, read_messages
from services.intake.following import follow
from services.intake.processes import Running, ask_all
from services.intake.store import facility_by_code
from services.menu import MENU
from services.operating import OPERATORS, PLACES

TEMPLATES = Path(__file__).parent / "page_templates"
#: An event that is unpublished for so long is said to be stuck.
STUCK_SECONDS = 60
_UTC = "UTC"


def make_flow_pages(
    participant: Participant, processes: Mapping[str, str], kafka_servers: str
) -> Blueprint:
    """The blueprint; ``processes`` are the addresses of those that are asked how they are."""
    pages = Blueprint("flow", __name__, template_folder=str(TEMPLATES))
    _add_flow(pages, participant, lambda: ask_all(processes, kafka_servers))
    _add_lists(pages, participant)
    _add_following(pages, participant)
    return pages


def _add_flow(pages: Blueprint, participant: Participant, ask: Callable[[], Running]) -> None:
    def shown() -> dict[str, Any]:
        running = ask()
        with participant.engine.connect() as conn:
            flow, zone = read_flow(conn, participant.now()), _own_zone(conn)
        return {
            "menu": MENU,
            "places": PLACES,
            "flow": flow,
            "lists": LISTS,
            "bars": _bars(flow, zone),
            "running": running,
            "troubles": _troubles(running),
            "spoken": spoken,
            "when": lambda moment: told(moment, zone, flow.now),
        }

    @pages.get("/ops/")
    @needs_role(*OPERATORS)
    def overview() -> str:
        return render("ops_flow.html", **shown(), is_paused="pause" in request.args)

    @pages.get("/ops/now")
    @needs_role(*OPERATORS)
    def now() -> str:
        return render("ops_flow_now.html", **shown())


def _add_lists(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/ops/list/<name>")
    @needs_role(*OPERATORS)
    def one_list(name: str) -> str:
        if name not in LISTS:
            raise NoSuchThing("name")
        hour, page = _hour(), max(request.args.get("page", 1, type=int), 1)
        now = participant.now()
        with participant.engine.connect() as conn:
            count, rows = read_list(conn, name, now, hour, page)
            zone = _own_zone(conn)
        return render(
            "ops_list.html",
            menu=MENU,
            list=LISTS[name],
            name=name,
            count=count,
            rows=rows,
            hour=told(hour, zone, now) if hour else None,
            page=page,
            pages=-(-count // PAGE),
            states=STATES,
            turn=TURN,
            spoken=spoken,
            now=now,
            when=_in_its_zone(now),
        )

    @pages.get("/ops/messages")
    @needs_role(*OPERATORS)
    def messages() -> str:
        now = participant.now()
        with participant.engine.connect() as conn:
            groups = read_messages(conn)
        return render(
            "ops_messages.html", menu=MENU, groups=groups, now=now, when=_in_its_zone(now)
        )


def _add_following(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/ops/follow")
    @needs_role(*OPERATORS)
    def one() -> str | tuple[str, int]:
        given = request.args.get("id", "").strip()
        values: dict[str, Any] = {"menu": MENU, "given": given, "found": None, "errors": []}
        if not given:
            return render("ops_follow.html", **values)
        try:
            found = follow(participant, UUID(given))
        except ValueError:
            wrong = "Enter an id such as 019d2f6e-8a53-7c1e-9d2b-0c1f5a7b8e90."
            return render("ops_follow.html", **values | {"errors": [("id", wrong)]}), 422
        if found is None:
            wrong = (
                "Nothing is known by this id. Copy it from a list, a log or an answer of the API."
            )
            return render("ops_follow.html", **values | {"errors": [("id", wrong)]}), 404
        now, zone = participant.now(), found.zone or _UTC
        return render(
            "ops_follow.html",
            **values
            | {
                "found": found,
                "states": STATES,
                "turn": TURN,
                "places": PLACES,
                "now": now,
                "zone": zone,
                "spoken": spoken,
                "when": to_the_second(zone, now),
            },
        )


def spoken(seconds: float | None) -> str:
    """A duration as people say it."""
    if seconds is None:
        return "unknown"
    for limit, one, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / one:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _bars(flow: Flow, zone: str) -> list[dict[str, Any]]:
    """The hours of the last day as bars; a bar is at most 100 high."""
    most = max((count for _, count in flow.hours), default=0) or 1
    return [
        {
            "count": count,
            "height": round(100 * count / most),
            "x": 30 * number,
            "hour": hour,
            "told": told(hour, zone, flow.now),
        }
        for number, (hour, count) in enumerate(flow.hours)
    ]


def _troubles(running: Running) -> list[str]:
    """What keeps events from flowing, in sentences; empty when nothing is known to."""
    found = [] if running.kafka_answers else ["Kafka is away. " + _WAITS]
    for one in running.processes:
        if not one.is_ready:
            found.append(f"{one.name}: {one.says}")
        if one.outbox_age_seconds > STUCK_SECONDS:
            age = spoken(one.outbox_age_seconds)
            found.append(f"{one.service} has had an event unpublished for {age}")
        if one.name == "notifications-worker" and one.silent_seconds > HEARD_WITHIN_SECONDS:
            found.append(_SILENT)
    return found


_SILENT = (
    "notifications sends nothing: it does not hear intake, which may have learnt that somebody "
    "took a consent back. It goes on by itself once it does."
)
_WAITS = "What is entered is safe, and flows by itself once it is back."


def _hour() -> datetime | None:
    """The hour that a list is narrowed to."""
    given = request.args.get("hour", "")
    try:
        hour = datetime.fromisoformat(given) if given else None
    except ValueError:
        hour = None
    if given and (hour is None or hour.tzinfo is None):
        raise Problem(404, "There is no such hour", "Open it from the page of the flow.")
    return hour


def _own_zone(conn: Connection) -> str:
    """The zone of the account's own facility; several facilities may be shown on one page."""
    facility = facility_by_code(conn, g.who.scope)
    return facility.time_zone if facility else _UTC


def _in_its_zone(now: datetime) -> Any:
    """How a list tells a moment: where each row's facility is."""
    return lambda moment, zone: told(moment, zone or _UTC, now)
