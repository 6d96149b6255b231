"""Every page for every role: what anybody can use, on a wide screen and on a small one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.architecture.test_conventions import _apps
from tests.browser.pages import EVERY_PAGE, NOT_PAGES, PARTS, Places, address
from tests.browser.screens import NARROW, Screens
from tests.running import Running

AXE = Axe()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
OPTIONS = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
#: Rules that name two different things alike.
NAMED_APART = {
    "/messages/card/<token>": "/messages/card/<card>",
    "/matching/clients/<client_id>/choose/<mentor_id>": (
        "/matching/clients/<client_id>/choose/<another_id>"
    ),
}


def roles_of(guard: str) -> list[str]:
    """Whom a route's guard lets in."""
    kind, _, rest = guard.partition(": ")
    return {"visit": ["mentor"], "open": ["anybody"]}.get(kind) or rest.split(", ")


def test_every_page_of_every_role_is_listed() -> None:
    found = {
        (role, NAMED_APART.get(rule.rule, rule.rule))
        for app in _apps()
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not NOT_PAGES.match(rule.rule)
        for role in roles_of(app.view_functions[rule.endpoint].guard)
        if rule.rule not in PARTS
    }

    assert found == set(EVERY_PAGE)


class Watched:
    """What a screen does beside showing its page."""

    def __init__(self, page: Page, running: Running) -> None:
        ours = urlsplit(running.access["url"]).netloc
        self.troubles: list[str] = []
        page.on("request", lambda asked: self._look(asked.url, ours))
        page.on("console", lambda said: said.type == "error" and self.troubles.append(said.text))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))

    def _look(self, url: str, ours: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "data" and parts.netloc != ours:
            self.troubles.append(f"asks {url}")


@pytest.mark.parametrize(("role", "rule"), EVERY_PAGE)
def test_anybody_can_use_the_page(
    running: Running, screens: Screens, places: Places, role: str, rule: str
) -> None:
    visit = places["discharge_id"] if role == "mentor" else None
    with screens.of(role, visit=visit) as page:
        watched = Watched(page, running)

        answer = page.goto(address(rule, places))

        assert answer and 200 == answer.status, page.url
        assert [] == faults(page)
        page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        assert [] == faults(page)
        assert [] == watched.troubles


def faults(page: Page) -> list[str]:
    """What keeps somebody from using a page, in a line each."""
    found = [
        f"{one['id']}: {node['html']} {node['any']}"
        for one in AXE.run(page, options=OPTIONS).response["violations"]
        for node in one["nodes"]
    ]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append(f"scrolls sideways: {page.evaluate(WIDEST)}")
    if (count := page.locator("h1").count()) != 1:
        found.append(f"{count} first headings")
    if not page.title().strip():
        found.append("no title")
    return found


WIDEST = """() => [...document.querySelectorAll("main *")]
  .filter(one => one.getBoundingClientRect().right > innerWidth)
  .slice(0, 5).map(one => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("rule", ["/discharges/new", "/messages/card/<card>"])
def test_nothing_is_in_the_typeface_that_a_browser_takes_by_itself(
    screens: Screens, places: Places, rule: str
) -> None:
    with screens.of("clerk") as page:
        page.goto(address(rule, places))

        for part in ("body", "h1", "main input[type=text]", "main button"):
            family = page.locator(part).first.evaluate("one => getComputedStyle(one).fontFamily")
            assert "system-ui, Arial, sans-serif" == family, part


#: What of a button is seen where its colours are not.
EDGE = """one => {
  const style = getComputedStyle(one);
  const seen = (kind, colour) => kind !== "none" && colour !== "rgba(0, 0, 0, 0)";
  return {
    border: seen(style.borderTopStyle, style.borderTopColor) && style.borderTopWidth !== "0px",
    outline: seen(style.outlineStyle, style.outlineColor) && style.outlineWidth !== "0px",
    underline: style.textDecorationLine === "underline",
  };
}"""


@pytest.mark.parametrize(
    ("role", "rule"),
    [
        ("clerk", "/discharges/new"),
        ("clerk", "/"),
        ("mentor", "/messages/people/<assignment_id>"),
        ("mentor", "/messages/settings"),
        ("operations", "/ops/"),
    ],
)
def test_buttons_and_focus_are_seen_where_colours_are_forced(
    screens: Screens, places: Places, role: str, rule: str
) -> None:
    visit = places["discharge_id"] if role == "mentor" else None
    with screens.of(role, visit=visit, forced_colors="active") as page:
        page.goto(address(rule, places))
        buttons: list[Any] = page.locator("button:visible, .nhsuk-button:visible").all()

        assert buttons
        for button in buttons:
            edge = button.evaluate(EDGE)
            assert edge["border"] or edge["underline"], button.evaluate("one => one.outerHTML")
            button.focus()
            assert button.evaluate(EDGE)["outline"], button.evaluate("one => one.outerHTML")
