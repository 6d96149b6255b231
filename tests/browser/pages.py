"""Every page that can be opened, by whom, and what their addresses name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.browser.screens import Screens
from tests.running import Running

#: The parts in pointed brackets of an address -> what stands there.
Places = Mapping[str, str]

_OF_A_CLIENT = [
    "/discharges/<discharge_id>",
    "/discharges/<discharge_id>/sheet",
    "/discharges/<discharge_id>/correct",
    "/discharges/<discharge_id>/contact",
    "/discharges/<discharge_id>/stop",
    "/discharges/<discharge_id>/cancel",
]
_STAFF = ["/", "/clients", "/consents/new", "/discharges/new", *_OF_A_CLIENT]
_FLOW = ["/ops/", "/ops/list/<name>", "/ops/messages", "/ops/follow"]
_PREFIXES = ("", "/matching", "/messages")
_SIDES = [f"{prefix}/ops/{page}" for prefix in _PREFIXES for page in ("parked", "under-way")]
_HOPS = [f"{prefix}/ops/hops" for prefix in _PREFIXES]
#: Role -> the rules of all pages that it may open.
PAGES = {
    "clerk": _STAFF,
    "coordinator": [
        *_STAFF,
        "/matching/",
        "/matching/clients/<client_id>",
        "/matching/clients/<client_id>/another",
        "/matching/clients/<client_id>/choose/<another_id>",
        "/matching/loads/<load_id>",
        "/matching/loads/new",
        "/matching/mentors/<mentor_id>",
        "/matching/mentors/<mentor_id>/edit",
        "/matching/mentors/<mentor_id>/state",
        "/matching/mentors/new",
    ],
    "operations": ["/", *_FLOW, *_SIDES, *_HOPS],
    "administrator": ["/", "/matching/", *_FLOW, *_SIDES, *_HOPS],
    "mentor": [
        "/messages/people",
        "/messages/people/<assignment_id>",
        "/messages/people/<assignment_id>/contact",
        "/messages/people/<assignment_id>/pass-on",
        "/messages/settings",
    ],
    "anybody": [
        "/sign-in",
        "/sign-in/<secret>",
        "/messages/answer/<question_id>",
        "/messages/card/<card>",
        "/messages/page",
        "/messages/unsubscribe/<token>",
    ],
}
EVERY_PAGE = [(role, rule) for role, rules in PAGES.items() for rule in rules]
#: Parts that scripts put into pages, looked at within those.
PARTS = {"/ops/now", "/messages/time", "/session", "/seen"}
#: What programs ask for.
NOT_PAGES = re.compile(r"/api/|/openapi\.json|/metrics|(/\w+)?/(healthz|readyz|static/<name>)")
#: These show nothing until they are asked about something.
_ASKED = {"/ops/follow": "discharge_id", **dict.fromkeys(_HOPS, "client_id")}


def address(rule: str, places: Places) -> str:
    """Where a page is."""
    query = f"?id={places[_ASKED[rule]]}" if rule in _ASKED else ""
    return re.sub("<(.*?)>", lambda named: places[named[1]], rule) + query


def places_of(running: Running, screens: Screens, discharge_id: str) -> Places:
    """What the addresses name that have to do with a discharge whose mentor said yes."""
    by_discharge = {"id": discharge_id}
    [(assignment_id, mentor_id, client_id)] = running.sql(
        "matching",
        "SELECT id, mentor_id, client_id FROM assignment"
        " WHERE discharge_id = :id AND state IN ('assigned', 'in_contact')",
        **by_discharge,
    )
    [(question_id,)] = running.sql(
        "notifications", "SELECT id FROM question WHERE state <> 'closed' LIMIT 1"
    )
    [(token,)] = running.sql(
        "notifications", "SELECT email_token FROM person WHERE id = :id", id=client_id
    )
    return {
        "discharge_id": discharge_id,
        "assignment_id": str(assignment_id),
        "mentor_id": str(mentor_id),
        "client_id": str(client_id),
        "question_id": str(question_id),
        "token": token,
        "card": running.card_of(discharge_id)[0].rpartition("/")[2],
        "another_id": another_mentor(screens, client_id),
        "load_id": looked_through(screens),
        "name": "assigned",
        "secret": "a-link-that-was-used",
    }


def another_mentor(screens: Screens, client_id: object) -> str:
    """The id of a mentor whom a coordinator could choose for a client instead."""
    with screens.of("coordinator") as page:
        page.goto(f"/matching/clients/{client_id}")
        chosen = page.locator("a[href*='/choose/']").first.get_attribute("href")
        return str(chosen).rpartition("/")[2]


def looked_through(screens: Screens) -> str:
    """The id of a file of mentors in which not everything is right."""
    lines = b"code,called,mobile\nM-91,Lou,12\n"
    with screens.of("coordinator") as page:
        page.goto("/matching/loads/new")
        page.set_input_files("#file", {"name": "a.csv", "mimeType": "text/csv", "buffer": lines})
        page.get_by_role("button", name="Look through the file").click()
        page.wait_for_url(re.compile("/loads/[0-9a-f-]{36}$"))
        return page.url.rpartition("/")[2]
