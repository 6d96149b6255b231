"""What clinic staff see and do on their pages, and who may call which."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from services.roles import ROLES
from tests.house import House

OPERATORS = {"operations", "administrator"}
#: Every page and who may call it; all others are shown the way out.
MAY = {
    # Operations are led on to the flow.
    ("GET", "/"): {"clerk", "coordinator", *OPERATORS},
    ("POST", "/tasks/<task_id>/done"): {"clerk", "coordinator"},
    ("POST", "/tasks/<task_id>/take"): {"clerk", "coordinator"},
    ("POST", "/tasks/<task_id>/give-back"): {"clerk", "coordinator"},
    ("GET", "/consents/new"): {"clerk", "coordinator"},
    ("POST", "/consents/new"): {"clerk", "coordinator"},
    ("GET", "/clients"): {"clerk", "coordinator"},
    ("POST", "/clients"): {"clerk", "coordinator"},
    ("GET", "/discharges/new"): {"clerk", "coordinator"},
    ("POST", "/discharges/new"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/sheet"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/contact"): {"clerk", "coordinator"},
    ("POST", "/discharges/<discharge_id>/contact"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/stop"): {"clerk", "coordinator"},
    ("POST", "/discharges/<discharge_id>/stop"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/cancel"): {"clerk", "coordinator"},
    ("POST", "/discharges/<discharge_id>/cancel"): {"clerk", "coordinator"},
    ("POST", "/sign-out"): set(ROLES),
    ("GET", "/ops/"): OPERATORS,
    ("GET", "/ops/now"): OPERATORS,
    ("GET", "/ops/list/<name>"): OPERATORS,
    ("GET", "/ops/messages"): OPERATORS,
    ("GET", "/ops/follow"): OPERATORS,
    **{
        (method, f"{prefix}/ops/{page}"): OPERATORS
        for prefix in ("", "/matching", "/messages")
        for method, page in (
            ("GET", "parked"),
            ("POST", "parked/replay"),
            ("POST", "parked/replay-group"),
            ("POST", "parked/close"),
            ("GET", "under-way"),
            ("GET", "hops"),
        )
    },
}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def _no_accounts(engines: dict[str, str]) -> None:
    owner = create_engine(engines["ACCESS_OWNER_URL"])
    with owner.begin() as conn:
        conn.execute(text("TRUNCATE account, session, sign_in_link"))
    owner.dispose()


def entered(**changes: Any) -> dict[str, Any]:
    """The form as somebody fills it in."""
    form: dict[str, Any] = {
        "key": "k1",
        "record_number": "R-7",
        "visit_number": "V-7",
        "given": "Sam",
        "family": "Doe",
        "called": "Sammy",
        "born_on-day": "2",
        "born_on-month": "4",
        "born_on-year": "1990",
        "mobile": "(503) 555-0123",
        "discharged_at-day": "24",
        "discharged_at-month": "11",
        "discharged_at-year": "2026",
        "discharged_at-time": "09:30",
        "reason": "completed",
        "agreed": ["text"],
        "obtained_by": "R. Lane",
        "method": "written",
    }
    return form | changes


def post(browser: FlaskClient, path: str, **form: Any) -> Any:
    """Send a form as its page would: with the session's token."""
    page = browser.get("/discharges/new").get_data(as_text=True)
    found = re.search(r'name="form_token" value="(\w+)"', page)
    return browser.post(path, data={**form, "form_token": found[1] if found else ""})


def test_a_discharge_is_entered_and_its_story_is_read(center: House) -> None:
    clerk = center.browser("clerk")

    answer = post(clerk, "/discharges/new", **entered())
    center.settle()

    assert 303 == answer.status_code
    page = clerk.get(answer.location).get_data(as_text=True)
    assert "Sam Doe" in page
    assert "A mentor is being asked" in page
    assert "You asked us to stay in touch" in center.network.to("+15035550123")[0]


def test_a_double_click_makes_one_discharge(center: House) -> None:
    clerk = center.browser("clerk")

    first, again = (post(clerk, "/discharges/new", **entered()) for _ in range(2))

    assert first.location == again.location
    assert 1 == len(center.rows("intake", "SELECT id FROM discharge"))


def test_nothing_typed_is_lost_when_something_is_wrong(center: House) -> None:
    wrong = entered(**{"mobile": "12", "born_on-day": "31", "born_on-month": "2"})

    answer = post(center.browser("clerk"), "/discharges/new", **wrong)

    page = answer.get_data(as_text=True)
    assert 422 == answer.status_code
    assert "There is a problem" in page
    assert "<title>Error: " in page
    for typed in ("R-7", "Sammy", "12", "31", "R. Lane"):
        assert f'value="{typed}"' in page, typed
    assert 'href="#mobile"' in page
    assert 'href="#born_on"' in page
    assert [] == center.rows("intake", "SELECT id FROM discharge")


def test_what_is_missing_is_a_task_that_can_be_done_there(center: House) -> None:
    clerk = center.browser("clerk")
    bare = {"record_number": "R-8", "visit_number": "V-8"}
    post(clerk, "/discharges/new", key="k2", **bare)

    page = clerk.get("/").get_data(as_text=True)
    [(task_id,)] = center.rows("intake", "SELECT id FROM task")
    without = post(clerk, f"/tasks/{task_id}/done")
    reason = {f"reason-{task_id}": "Called them"}
    with_reason = post(clerk, f"/tasks/{task_id}/done", **reason)

    assert "Complete what is missing" in page
    assert (422, 303) == (without.status_code, with_reason.status_code)
    assert "Nothing needs you" in clerk.get("/").get_data(as_text=True)


def test_a_discharge_is_cancelled_after_it_was_said_what_follows(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location

    asked = clerk.get(f"{where}/cancel").get_data(as_text=True)
    post(clerk, f"{where}/cancel")

    assert "messages that have not left are withdrawn" in asked
    assert "Closed" in clerk.get(where).get_data(as_text=True)


def test_another_facilitys_discharge_is_not_there(center: House) -> None:
    where = post(center.browser("clerk"), "/discharges/new", **entered()).location
    stranger = center.browser("clerk", "south")

    assert 404 == stranger.get(where).status_code
    assert 404 == stranger.get(f"{where}/cancel").status_code
    assert 404 == post(stranger, f"{where}/cancel").status_code


def test_a_person_reads_a_page_and_a_program_json_when_something_is_not_there(
    center: House,
) -> None:
    clerk, path = center.browser("clerk"), f"/discharges/{NOBODY}"

    page = clerk.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    for_program = clerk.get(path)

    assert (404, "text/html") == (page.status_code, page.mimetype)
    assert "There is no such thing here" in page.get_data(as_text=True)
    assert (404, "application/problem+json") == (for_program.status_code, for_program.mimetype)


def test_what_people_typed_is_shown_and_never_run(center: House) -> None:
    clerk = center.browser("clerk")
    script = "<script>alert(1)</script>"
    where = post(clerk, "/discharges/new", **entered(given=script, called=script)).location

    for path in (where, f"{where}/cancel", "/"):
        assert "<script>alert" not in clerk.get(path).get_data(as_text=True)


def apps(house: House) -> list[Flask]:
    """The webs of all services, as their pages are reached at the front door."""
    return [house.intake_app(), house.matching_app(), house.notifications_app()]


def whose(house: House, path: str) -> Flask:
    """The web that a path leads to at the front door."""
    intake, matching, notifications = apps(house)
    prefixes = {"matching": matching, "messages": notifications}
    return prefixes.get(path.split("/")[1], intake)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_call_what_the_table_says(center: House, role: str) -> None:
    browsers = {app.name: center.browser(role, app=app) for app in apps(center)}
    for (method, path), roles in MAY.items():
        address = re.sub("<.*?>", NOBODY, path)
        browser = browsers[whose(center, path).name]
        answer = browser.open(address, method=method, data={"form_token": "not ours"})
        # Of its own role a form is refused for its token, and a page is not found.
        refused = answer.status_code == 403
        assert refused == (role not in roles), f"{role} {method} {path}: {answer.status_code}"


def test_the_table_names_every_page(center: House) -> None:
    pages = {
        (method, rule.rule)
        for app in apps(center)
        for rule in app.url_map.iter_rules()
        if getattr(app.view_functions[rule.endpoint], "guard", "").startswith("roles")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert pages == set(MAY)


def test_who_is_not_signed_in_is_led_there_and_back(center: House) -> None:
    browser = center.intake_app().test_client()

    answer = browser.get("/discharges/new")

    assert "/sign-in?next=/discharges/new" == answer.location
    assert 200 == browser.get(answer.location).status_code


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_signing_in_leads_to_no_other_host(center: House, elsewhere: str) -> None:
    center.account("clerk", "north")
    browser = center.intake_app().test_client()

    form = {"email": "clerk@north.example", "password": "a long password", "next": elsewhere}
    answer = browser.post("/sign-in", data=form)

    assert (303, "/") == (answer.status_code, answer.location)


def test_behind_tls_a_session_goes_over_tls_only(center: House) -> None:
    form = {"email": center.account("clerk", "north"), "password": "a long password"}
    told = {"X-Forwarded-Proto": "https", "Origin": "https://localhost"}

    answer = center.intake_app().test_client().post("/sign-in", data=form, headers=told)

    assert 303 == answer.status_code
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(answer.headers["Set-Cookie"].split("; "))


def test_a_form_of_another_site_is_refused(center: House) -> None:
    clerk = center.browser("clerk")

    assert 400 == clerk.post("/discharges/new", data=entered()).status_code
    away = {"Origin": "https://evil.example"}
    assert 400 == clerk.post("/sign-in", data={}, headers=away).status_code


def test_signing_out_is_at_once(center: House) -> None:
    clerk, same = center.browser("clerk"), center.browser("clerk")

    post(clerk, "/sign-out")

    assert 303 == clerk.get("/").status_code
    assert 303 == same.get("/").status_code
