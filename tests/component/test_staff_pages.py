"""What clinic staff see and do on their pages, and who may call which."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text
from werkzeug.datastructures import MultiDict

from hosting.sign_in import COOKIE
from services.roles import ROLES
from tests.component.test_coordinator_pages import MAY as COORDINATORS_MAY
from tests.house import House

pytestmark = pytest.mark.usefixtures("no_accounts")

OPERATORS = {"operations", "administrator"}
#: Every page and who may call it; all others are shown the way out.
MAY = {
    # Operations are led on to the flow.
    ("GET", "/"): {"clerk", "coordinator", *OPERATORS},
    ("POST", "/tasks/<task_id>/done"): {"clerk", "coordinator"},
    ("POST", "/tasks/<task_id>/take"): {"clerk", "coordinator"},
    ("POST", "/tasks/<task_id>/give-back"): {"clerk", "coordinator"},
    ("POST", "/tasks/<task_id>/hand-over"): {"clerk", "coordinator"},
    ("GET", "/consents/new"): {"clerk", "coordinator"},
    ("POST", "/consents/new"): {"clerk", "coordinator"},
    ("GET", "/clients"): {"clerk", "coordinator"},
    ("POST", "/clients"): {"clerk", "coordinator"},
    ("GET", "/discharges/new"): {"clerk", "coordinator"},
    ("POST", "/discharges/new"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/sheet"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/correct"): {"clerk", "coordinator"},
    ("POST", "/discharges/<discharge_id>/correct"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/contact"): {"clerk", "coordinator"},
    ("POST", "/discharges/<discharge_id>/contact"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/stop"): {"clerk", "coordinator"},
    ("POST", "/discharges/<discharge_id>/stop"): {"clerk", "coordinator"},
    ("GET", "/discharges/<discharge_id>/cancel"): {"clerk", "coordinator"},
    ("POST", "/discharges/<discharge_id>/cancel"): {"clerk", "coordinator"},
    ("POST", "/sign-out"): set(ROLES),
    ("GET", "/seen"): set(ROLES),
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
            ("POST", "parked/try"),
            ("POST", "parked/replay"),
            ("POST", "parked/replay-all"),
            ("POST", "parked/close"),
            ("GET", "under-way"),
            ("GET", "hops"),
        )
    },
}
NOBODY = "00000000-0000-4000-8000-000000000000"


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


def test_reasons_that_do_not_open_hold_up_nothing_else(center: House) -> None:
    """They stay sealed until somebody looks, so that nobody has tried before."""
    story = center.register()
    moved = (
        "UPDATE step SET words = jsonb_set(words, '{why,bound}', '\"event/other\"')"
        " WHERE words -> 'why' IS NOT NULL"
    )
    before = center.story(story["id"])["steps"]

    with center.participants["intake"].engine.begin() as conn:
        assert 1 == conn.execute(text(moved)).rowcount

    after = center.story(story["id"])["steps"]
    assert [step["what"] for step in before] == [step["what"] for step in after]
    [reasons] = [step["why"] for step in after if "why" in step]
    assert "The reasons cannot be read." == reasons
    assert ["G7"] == list(center.violated())


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


def test_what_is_changed_on_a_page_that_is_sent_again_is_taken(center: House) -> None:
    clerk = center.browser("clerk")
    same = [post(clerk, "/discharges/new", **entered()).location for _ in range(2)]

    post(clerk, "/discharges/new", **entered(mobile="(503) 555-0177"))
    post(clerk, "/discharges/new", **entered(record_number="R-9", given="Robin"))

    assert same[0] == same[1]
    assert 2 == len(center.rows("intake", "SELECT id FROM discharge"))
    said = [row.type for row in center.rows("intake", "SELECT type FROM outbox ORDER BY at, seq")]
    assert 1 == said.count("DischargeCorrected") + said.count("ContactDetailsChanged")


def test_what_is_missing_is_a_task_that_ends_when_it_is_complete(center: House) -> None:
    clerk = center.browser("clerk")
    bare = {"record_number": "R-8", "visit_number": "V-8"}
    where = post(clerk, "/discharges/new", key="k2", **bare).location

    page = clerk.get("/").get_data(as_text=True)
    [(task_id,)] = center.rows("intake", "SELECT id FROM task")
    # From a page that was opened when it was something else.
    reason = {f"reason-{task_id}": "Called them"}
    refused = post(clerk, f"/tasks/{task_id}/done", **reason)
    post(clerk, f"{where}/cancel")

    assert "Complete what is missing" in page
    assert "Done, with a reason" not in page
    assert 422 == refused.status_code
    assert "when what is missing is complete" in refused.get_data(as_text=True)
    assert "Nothing needs you" in clerk.get("/").get_data(as_text=True)


def test_a_task_is_done_with_a_reason(center: House) -> None:
    clerk = center.browser("clerk")
    post(clerk, "/discharges/new", **entered())
    center.settle()
    center.text("+15035550123", "I want to quit drinking")

    page = clerk.get("/").get_data(as_text=True)
    [(task_id,)] = center.rows("intake", "SELECT id FROM task")
    without = post(clerk, f"/tasks/{task_id}/done")
    reason = {f"reason-{task_id}": "Called them"}
    with_reason = post(clerk, f"/tasks/{task_id}/done", **reason)

    assert "Read the reply with the mentor" in page
    assert (422, 303) == (without.status_code, with_reason.status_code)
    assert "Nothing needs you" in clerk.get("/").get_data(as_text=True)


def test_a_discharge_is_cancelled_after_it_was_said_what_follows(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location

    asked = clerk.get(f"{where}/cancel").get_data(as_text=True)
    post(clerk, f"{where}/cancel")

    assert "messages that have not left are withdrawn" in asked
    assert "Closed" in clerk.get(where).get_data(as_text=True)


@pytest.mark.parametrize(
    "changes, field, remedy",
    [
        ({"visit_number": ""}, "visit_number", "Enter the visit number."),
        ({"obtained_by": ""}, "obtained_by", "Enter who asked the client."),
        ({"method": ""}, "method", "Choose how they agreed."),
        ({"discharged_at-time": "soon"}, "discharged_at", "and a time such as 9:30."),
        ({"born_on-day": "40"}, "born_on", "Enter a day that there is"),
    ],
)
def test_what_is_missing_is_named_as_people_say_it(
    center: House, changes: dict[str, str], field: str, remedy: str
) -> None:
    answer = post(center.browser("clerk"), "/discharges/new", **entered(**changes))

    page = answer.get_data(as_text=True)
    assert 422 == answer.status_code
    assert all(said in page for said in (f'href="#{field}"', f'id="{field}"', remedy))


@pytest.mark.parametrize("typed", ["9:30", "09:30", "9.30"])
def test_a_time_is_read_as_people_write_it(center: House, typed: str) -> None:
    clerk = center.browser("clerk")
    form = entered() | {"discharged_at-time": typed}

    where = post(clerk, "/discharges/new", **form).location

    assert 'value="09:30"' in clerk.get(f"{where}/correct").get_data(as_text=True)


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

    assert pages == set(MAY) | set(COORDINATORS_MAY)


def test_who_is_not_signed_in_is_led_there_and_back(center: House) -> None:
    browser = center.intake_app().test_client()

    answer = browser.get("/discharges/new")

    assert "/sign-in?next=/discharges/new" == answer.location
    assert 200 == browser.get(answer.location).status_code


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example"],
)
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


def test_where_people_come_by_tls_it_is_tls_whatever_the_front_door_is_told(center: House) -> None:
    form = {"email": center.account("clerk", "north"), "password": "a long password"}
    app = center.intake_app()
    app.config["SESSION_COOKIE_SECURE"] = True

    answer = app.test_client().post("/sign-in", data=form)

    assert "Secure" in answer.headers["Set-Cookie"].split("; ")
    assert "max-age=" in answer.headers["Strict-Transport-Security"]


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


OURS = {"Origin": "http://localhost"}


def _age(house: House, **by: float) -> None:
    """Nobody has been at work for so long; sessions go by the clock of this world."""
    owner = create_engine(house.settings["ACCESS_OWNER_URL"])
    with owner.begin() as conn:
        query = text("UPDATE session SET seen_at = :at, began_at = least(began_at, :at)")
        conn.execute(query, {"at": datetime.now(UTC) - timedelta(**by)})
    owner.dispose()


def _fields(page: str) -> list[tuple[str, str]]:
    """What a page's hidden fields would send."""
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return [(name, unescape(value)) for name, value in found]


def _sent(fields: list[tuple[str, str]], **more: str) -> MultiDict[str, str]:
    return MultiDict([*fields, *more.items()])


def _password(house: House) -> dict[str, str]:
    return {"email": house.account("clerk", "north"), "password": "a long password"}


def test_what_was_typed_outlives_its_session(center: House) -> None:
    clerk = center.browser("clerk")
    form = entered(called='Sam & "Co" +1', agreed=["text", "email"], email="sam@example.org")
    form["form_token"] = _fields(clerk.get("/discharges/new").get_data(as_text=True))[0][1]
    _age(center, minutes=31)

    asked = clerk.post("/discharges/new", data=form, headers=OURS)
    fields = _fields(asked.get_data(as_text=True))
    wrong = clerk.post("/sign-in", data=_sent(fields, email="x", password="y"), headers=OURS)
    kept = _fields(wrong.get_data(as_text=True))
    signed_in = clerk.post("/sign-in", data=_sent(kept, **_password(center)), headers=OURS)
    again = _fields(signed_in.get_data(as_text=True))
    nothing_yet = center.rows("intake", "SELECT id FROM discharge")
    done = clerk.post("/discharges/new", data=_sent(again), headers=OURS)

    assert (401, 422, 200, 303) == tuple(
        answer.status_code for answer in (asked, wrong, signed_in, done)
    )
    assert 'action="/discharges/new"' in signed_in.get_data(as_text=True)
    assert [] == nothing_yet
    typed = [(n, v) for n, v in again if n != "form_token"]
    sent = [(n, v) for n, v in MultiDict(form).items(multi=True) if n != "form_token"]
    assert sorted(sent) == sorted(typed)
    page = clerk.get(done.location).get_data(as_text=True)
    assert "Sam &amp; &#34;Co&#34; +1" in page


def test_what_was_typed_outlives_a_sign_in_beside_it(center: House) -> None:
    clerk = center.browser("clerk")
    old = _fields(clerk.get("/discharges/new").get_data(as_text=True))[0][1]
    clerk.post("/sign-in", data=_password(center), headers=OURS)

    form = entered(form_token=old)
    asked = clerk.post("/discharges/new", data=form, headers=OURS)
    again = _sent(_fields(asked.get_data(as_text=True)))
    done = clerk.post("/discharges/new", data=again, headers=OURS)

    assert (409, 303) == (asked.status_code, done.status_code)


@pytest.mark.parametrize("origin", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_what_another_site_sends_is_never_kept(center: House, origin: dict[str, str]) -> None:
    stranger, clerk = center.intake_app().test_client(), center.browser("clerk")

    unknown = stranger.post("/discharges/new", data=entered(), headers=origin)
    known = clerk.post("/discharges/new", data=entered(), headers=origin)

    assert (303, "/sign-in?next=/") == (unknown.status_code, unknown.location)
    assert 400 == known.status_code


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0, None), (24, None), (26, "signed out in 4 minutes"), (31, "You are signed out")],
)
def test_a_page_says_before_its_session_ends(center: House, minutes: int, said: str | None) -> None:
    clerk = center.browser("clerk")
    _age(center, minutes=minutes)

    told = clerk.get("/session", headers={"HX-Request": "true"}).get_data(as_text=True).strip()

    assert said in told if said else told == ""
    assert ("Stay signed in" in told) == (minutes == 26)


def test_staying_gives_the_whole_time_again(center: House) -> None:
    clerk, htmx = center.browser("clerk"), {"HX-Request": "true"}
    _age(center, minutes=26)
    token = dict(_fields(clerk.get("/session", headers=htmx).get_data(as_text=True)))

    clerk.post("/session", data={"form_token": "not ours"}, headers=htmx)
    refused = clerk.get("/session", headers=htmx).get_data(as_text=True)
    clerk.post("/session", data=token, headers=htmx)

    assert "signed out in 4 minutes" in refused
    assert "" == clerk.get("/session", headers=htmx).get_data(as_text=True).strip()


def test_nothing_lengthens_a_working_day(center: House) -> None:
    clerk = center.browser("clerk")
    _age(center, hours=11, minutes=57)
    owner = create_engine(center.settings["ACCESS_OWNER_URL"])
    with owner.begin() as conn:
        conn.execute(text("UPDATE session SET seen_at = :now"), {"now": datetime.now(UTC)})
    owner.dispose()

    told = clerk.get("/session").get_data(as_text=True)

    assert "signed out in 3 minutes" in told
    assert "Stay signed in" not in told


def test_a_page_says_how_long_it_waits(center: House) -> None:
    page = center.browser("clerk").get("/discharges/new").get_data(as_text=True)

    assert "this page signs you out in 30 min" in page


def test_work_on_another_services_pages_keeps_the_session(center: House) -> None:
    coordinator = center.browser("coordinator", app=center.matching_app())
    fresh = coordinator.get("/matching/").get_data(as_text=True)
    _age(center, minutes=29)
    page = coordinator.get("/matching/").get_data(as_text=True)
    secret = coordinator.get_cookie(COOKIE)
    assert secret is not None
    intake = center.intake_app().test_client()
    intake.set_cookie(COOKIE, secret.value)

    # Where scripts run a part asks by itself, and is nobody at work.
    intake.get("/seen", headers={"HX-Request": "true"})
    before = intake.get("/session").get_data(as_text=True)
    picture = re.search('<img src="([^"]+)"', page)
    assert picture is not None
    answer = intake.get(picture[1])

    assert "/seen" not in fresh
    assert "signs you out in 30 min" in page
    assert "signed out in 1 minute" in before
    assert 204 == answer.status_code
    assert "" == intake.get("/session").get_data(as_text=True).strip()
