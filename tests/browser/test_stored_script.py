"""What people typed is shown as they typed it, and never run, even where no policy forbids it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page

from tests.browser.pages import PAGES, Places, address, places_of
from tests.browser.screens import Screens, say_yes
from tests.running import Running, eventually

NAME = "<script>ran=1</script>"
SCRIPT = f'"><img src=x onerror=ran=1>{NAME}'
#: The picture by which a page notes who is at work, once somebody was last seen a minute ago.
OURS = '<img src="/seen" alt="" width="0" height="0">'
#: What a page runs or holds that is not its own.
FOREIGN = f"""() => [
  ...("ran" in window ? ["it ran"] : []),
  ...[...document.querySelectorAll("img, body script, [onerror]")].map(one => one.outerHTML),
].filter(one => one !== '{OURS}')"""
#: Pages that show what was typed; all others are looked at as well.
SHOWN = {
    ("clerk", "/discharges/<discharge_id>"),
    ("clerk", "/discharges/<discharge_id>/sheet"),
    ("clerk", "/discharges/<discharge_id>/correct"),
    ("clerk", "/discharges/<discharge_id>/contact"),
    ("coordinator", "/matching/"),
    ("coordinator", "/matching/mentors/<mentor_id>"),
    ("mentor", "/messages/people"),
    ("mentor", "/messages/people/<assignment_id>"),
    ("mentor", "/messages/people/<assignment_id>/contact"),
}
#: What is read on a page, and what stands in its boxes.
ALL_WORDS = """() => document.body.innerText +
  [...document.querySelectorAll("input, textarea")].map(one => one.value).join()"""
TYPED = "input[type=text], input[type=tel], input[type=email], textarea"
PHONE = "+15035550179"


@pytest.fixture(scope="module")
def everywhere(running: Running, screens: Screens) -> Places:
    """What addresses name, when everybody typed it wherever one can type."""
    discharge_id = running.register(
        record_number=SCRIPT,
        visit_number=SCRIPT,
        name={"given": SCRIPT, "family": SCRIPT, "called": SCRIPT},
        mobile=PHONE,
        email=None,
        wishes=SCRIPT,
    )
    say_yes(running, discharge_id)
    running.reply(PHONE, SCRIPT)
    eventually(lambda: running.tasks(), otherwise="nobody has to read the reply")
    with screens.of("clerk", bypass_csp=True) as page:
        finish_a_task(page)
    with screens.of("mentor", visit=discharge_id, bypass_csp=True) as page:
        note_a_contact(page)
    with screens.of("coordinator", bypass_csp=True) as page:
        mentor_id = add_a_mentor(page)
    return {**places_of(running, screens, discharge_id), "mentor_id": mentor_id}


def finish_a_task(page: Page) -> None:
    """Say with it why a task is done."""
    page.goto("/")
    page.get_by_text("Done, with a reason").first.click()
    page.fill("[name^=reason] >> nth=0", SCRIPT)
    with page.expect_navigation():
        page.get_by_role("button", name="Done", exact=True).first.click()


def note_a_contact(page: Page) -> None:
    """Say with it what comes next."""
    page.goto("/messages/people")
    page.click("main li a")
    page.click("main a.nhsuk-button")
    page.check("[name=way][value=call]")
    page.check("[name=talked][value=no]")
    page.fill("#next_step", SCRIPT)
    page.click("main button")
    page.wait_for_url("**done=recorded*")


def add_a_mentor(page: Page) -> str:
    """Put it where a mentor's words are free; the mentor's id."""
    page.goto("/matching/mentors/new")
    page.fill("#code", "M-92")
    page.fill("#called", NAME)
    for name in ("opted_in_how", "credential"):
        page.fill(f"#{name}", SCRIPT)
    page.fill("#email", "m92@peers.example.org")
    for part, typed in (("day", "5"), ("month", "1"), ("year", "2026")):
        page.fill(f"[name=opted_in_at-{part}]", typed)
    page.fill("#capacity", "0")
    page.check("[name=moud_friendly][value=yes]")
    page.get_by_role("button", name="Add the mentor").click()
    page.wait_for_url(re.compile("/mentors/[0-9a-f-]{36}$"))
    return page.url.rpartition("/")[2]


def test_a_script_that_got_into_a_page_would_be_found(screens: Screens) -> None:
    with screens.of("anybody", bypass_csp=True) as page:
        page.goto("/sign-in")
        page.set_content(f'<input value="{SCRIPT}">')

        assert "it ran" in page.evaluate(FOREIGN)


def test_no_page_runs_what_was_stored(screens: Screens, everywhere: Places) -> None:
    shown, foreign = set(), {}
    for role in PAGES:
        visit = everywhere["discharge_id"] if role == "mentor" else None
        with screens.of(role, visit=visit, bypass_csp=True) as page:
            for rule in PAGES[role]:
                page.goto(address(rule, everywhere))
                if found := page.evaluate(FOREIGN):
                    foreign[role, rule] = found
                if "<script>" in page.evaluate(ALL_WORDS):
                    shown.add((role, rule))

    assert {} == foreign
    assert shown >= SHOWN


@pytest.mark.parametrize(
    ("role", "rule"),
    [
        ("clerk", "/discharges/new"),
        ("clerk", "/consents/new"),
        ("clerk", "/discharges/<discharge_id>/contact"),
        ("clerk", "/clients"),
        ("coordinator", "/matching/mentors/new"),
        ("mentor", "/messages/people/<assignment_id>/contact"),
        ("mentor", "/messages/settings"),
        ("anybody", "/sign-in"),
    ],
)
def test_no_form_runs_what_is_typed(
    screens: Screens, everywhere: Places, role: str, rule: str
) -> None:
    visit = everywhere["discharge_id"] if role == "mentor" else None
    with screens.of(role, visit=visit, bypass_csp=True) as page:
        page.goto(address(rule, everywhere))
        form = page.locator("main form").filter(has=page.locator(TYPED)).first
        # A box for dates takes nothing else from a keyboard, but a program may send it.
        form.locator("input").evaluate_all(
            "all => all.forEach(one => { if (/date|time/.test(one.type)) one.type = 'text' })"
        )
        for box in form.locator(TYPED).all():
            box.fill(SCRIPT, force=True)
        with page.expect_navigation():
            form.get_by_role("button").first.click()

        assert [] == page.evaluate(FOREIGN)
        assert "<script>" in page.evaluate(ALL_WORDS)
