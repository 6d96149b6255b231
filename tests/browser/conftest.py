"""One start of the product and one Chromium for the whole folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.pages import Places, places_of
from tests.browser.screens import Screens, chromium
from tests.running import Running, a_running_system, eventually


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """The product, when the story of its first discharge has been told."""
    chromium()
    with a_running_system() as running:
        eventually(
            lambda: "the discharge is now: assigned" in running.output,
            seconds=90,
            otherwise=lambda: running.output,
        )
        yield running


@pytest.fixture(scope="session")
def screens(running: Running) -> Iterator[Screens]:
    """Screens of everybody."""
    with sync_playwright() as playwright:
        # Tests run as root in containers, where Chromium's own sandbox cannot.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield Screens(browser, running)
        browser.close()


@pytest.fixture(scope="session")
def places(running: Running, screens: Screens) -> Places:
    """What the addresses of pages name, of the first discharge."""
    [(first,)] = running.sql("intake", "SELECT id FROM discharge ORDER BY accepted_at LIMIT 1")
    return places_of(running, screens, str(first))
