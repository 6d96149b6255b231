"""The whole story in browsers that run no script."""

from __future__ import annotations

from datetime import timedelta

from playwright.sync_api import Page

from tests.browser.screens import Screens, open_card, say_yes
from tests.running import Running


def test_the_whole_story_needs_no_script(running: Running, screens: Screens) -> None:
    with screens.of("clerk", java_script_enabled=False) as clerk:
        enter(clerk, running)
        discharge_id = clerk.url.rpartition("/")[2]
        say_yes(running, discharge_id)

        with screens.of("anybody", java_script_enabled=False) as mentor:
            open_card(mentor, *running.card_of(discharge_id))
            # Whoever was asked, the page speaks their language.
            mentor.click("main a.nhsuk-button")
            mentor.check("[name=way][value=call]")
            mentor.check("[name=talked][value=yes]")
            mentor.click("main button")
            mentor.wait_for_url("**done=recorded*")

        running.wait_for(discharge_id, "in_contact")
        clerk.reload()
        assert "In contact" == clerk.locator(".nhsuk-tag").first.inner_text()


def enter(page: Page, running: Running) -> None:
    """The form, as a clerk fills it in."""
    left = running.now() - timedelta(days=1)
    page.goto("/discharges/new")
    for name, words in {
        "record_number": "R-70002",
        "visit_number": "V-1",
        "given": "Noor",
        "family": "Haddad",
        "called": "Noor",
        "born_on-month": "6",
        "born_on-day": "9",
        "born_on-year": "1979",
        "mobile": "+15035550178",
        "discharged_at-month": f"{left.month}",
        "discharged_at-day": f"{left.day}",
        "discharged_at-year": f"{left.year}",
        "obtained_by": "R. Lane",
    }.items():
        page.fill(f"[name={name}]", words)
    page.locator("[name=agreed][value=text]").check()
    page.check("[name=method][value=written]")
    # A mentor without a mailbox has no card; these needs are the strengths of one who has.
    page.locator("main details summary").first.click()
    for name, value in (("needs", "job"), ("needs", "cravings"), ("pathways", "smart")):
        page.locator(f"[name={name}][value={value}]").check()
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/discharges/*-*")
