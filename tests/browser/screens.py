"""Screens at which people sit: one Chromium, with whom it is signed in as, and how they see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page

from tests.needs import program
from tests.running import Running

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 320, "height": 700}
PATIENCE_MS = 20_000


def chromium() -> str:
    """Debian's Chromium."""
    return program("chromium", "chromium")


class Screens:
    """Contexts of the browser, each signed in as a role; nobody signs in twice."""

    def __init__(self, browser: Browser, running: Running) -> None:
        self._browser = browser
        self._running = running
        self._signed_in: dict[str, Any] = {"anybody": None}

    @contextmanager
    def of(self, role: str, visit: str | None = None, **how: Any) -> Iterator[Page]:
        """An empty screen of a role; ``visit`` is the discharge whose mentor it is."""
        who = f"{role} {visit}" if visit else role
        if who not in self._signed_in:
            self._signed_in[who] = self._sign_in(role, visit)
        with self._context(storage_state=self._signed_in[who], **how) as context:
            yield context.new_page()

    def _sign_in(self, role: str, visit: str | None) -> Any:
        with self._context() as context:
            page = context.new_page()
            if visit:
                open_card(page, *self._running.card_of(visit))
            else:
                page.goto(self._link(role))
                page.click("main button")
                page.get_by_role("button", name="Sign out").wait_for()
            return context.storage_state()

    def _context(self, **how: Any) -> BrowserContext:
        how = {"viewport": WIDE, "base_url": self._running.access["url"], **how}
        context = self._browser.new_context(**how)
        context.set_default_timeout(PATIENCE_MS)
        return context

    def _link(self, role: str) -> str:
        found = re.search(rf"sign in once, as {role}: (\S+)", self._running.output)
        assert found, f"no link for {role}: {self._running.output}"
        return found[1]


def say_yes(running: Running, discharge_id: str) -> None:
    """The mentor who is asked about a discharge answers by phone."""
    phone = running.sent(discharge_id, "offer")["to"]
    running.reply(phone, "YES")
    running.wait_for(discharge_id, "assigned")


def open_card(page: Page, link: str, code: str) -> None:
    """Follow the link and enter the code."""
    page.goto(link)
    page.fill("#code", code)
    page.click("main button")
    page.wait_for_url("**/people/*")
