"""The mentor's pages: who gets in, what is shown to whom, and what follows from what is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from services.matching import coordinating
from services.matching.looking import facility_named
from services.notifications.mentors import MentorDesk
from services.roles import ROLES
from tests.house import DEMO, House

CLIENT, JO, JO_MAIL = "+15035550123", "+15035550101", "jo@peers.example.org"
LUZ, LUZ_MAIL = "+15035550102", "luz@peers.example.org"
#: A client whom Luz suits best.
FOR_LUZ: dict[str, Any] = {"language": "es", "wants_gender": "woman", "wants_age_band": "36-50"}
SCRIPT = "<script>alert(1)</script>"
NOBODY = "00000000-0000-4000-8000-000000000000"
#: Every page of a visit; all others of notifications are open, and say why.
IN_A_VISIT = {
    ("GET", "/messages/people"),
    ("GET", "/messages/people/<assignment_id>"),
    ("GET", "/messages/people/<assignment_id>/contact"),
    ("POST", "/messages/people/<assignment_id>/contact"),
    ("GET", "/messages/people/<assignment_id>/pass-on"),
    ("POST", "/messages/people/<assignment_id>/pass-on"),
    ("POST", "/messages/people/<assignment_id>/replies/<reply_id>/read"),
    ("GET", "/messages/settings"),
    ("POST", "/messages/settings/state"),
    ("POST", "/messages/settings/profile"),
    ("POST", "/messages/settings/hello"),
    ("POST", "/messages/again"),
    ("POST", "/messages/stay"),
}


def assigned(center: House, phone: str = JO, **changes: Any) -> dict[str, Any]:
    """A client whom this mentor said yes to."""
    story = center.register(**changes)
    center.text(phone, "yes")
    return story


def link_of(center: House, phone: str = JO) -> str:
    """The link that was texted to a mentor last."""
    said = [words for words in center.network.to(phone) if "/card/" in words][-1]
    return "/messages/card/" + said.split("/card/")[1].split()[0]


def code_of(center: House, mail: str = JO_MAIL) -> str:
    """The code that was mailed to a mentor last."""
    return [found[0] for m in center.network.to(mail) if (found := re.findall(r"\b\d{6}\b", m))][-1]


def visiting(center: House, phone: str = JO, mail: str = JO_MAIL) -> tuple[FlaskClient, str]:
    """A browser in which a mentor's pages are open, and the address of their client's page."""
    browser = center.pages()
    answer = browser.post(link_of(center, phone), data={"code": code_of(center, mail)})
    assert 303 == answer.status_code
    return browser, answer.location


def read(browser: FlaskClient, path: str) -> str:
    """A page that is shown."""
    answer = browser.get(path)
    assert 200 == answer.status_code, path
    return answer.get_data(as_text=True)


def token_of(browser: FlaskClient) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', read(browser, "/messages/settings"))
    assert found
    return found[1]


def post(browser: FlaskClient, path: str, **form: Any) -> Any:
    """Send a form as its page would."""
    return browser.post(path, data={**form, "form_token": token_of(browser)})


def contact(**changes: Any) -> dict[str, Any]:
    """A contact as somebody tells of it; ten o'clock is now."""
    form = {
        "once": "11111111-0000-4000-8000-000000000000",
        "way": "call",
        "talked": "yes",
        "happened_at": "2026-11-24T09:30",
        "next_step": "Call again on Friday",
    }
    return form | changes


def profile(**changes: Any) -> dict[str, Any]:
    """A mentor's own wishes as typed."""
    form = {
        "capacity": "1",
        "days": ["mon", "tue"],
        "begins": "10:00",
        "ends": "18:00",
        "strengths": ["housing", "job"],
    }
    return form | changes


# Coming in


def test_the_page_shows_what_is_needed_and_nothing_else(center: House) -> None:
    assigned(center, wishes="Evenings are hard")

    browser, path = visiting(center)

    for page in (read(browser, path), read(browser, "/messages/people")):
        assert "Sam" in page
        for hidden in ("Doe", "1990", "R-1001", "V-1", "north", "completed", "Warm Handoff"):
            assert hidden not in page
    for shown in (CLIENT, "finding work", "Evenings are hard", "America/Los_Angeles", "English"):
        assert shown in read(browser, path)


def test_without_the_code_nothing_is_shown_and_five_wrong_ones_end_it(center: House) -> None:
    assigned(center)
    browser, link = center.pages(), link_of(center)
    asked = browser.get(link).get_data(as_text=True)

    wrong = [browser.post(link, data={"code": "000000"}) for _ in range(5)]
    after = browser.post(link, data={"code": code_of(center)})

    assert "Sam" not in asked
    assert [403] * 5 == [answer.status_code for answer in wrong]
    assert 410 == after.status_code
    assert 401 == browser.get("/messages/people").status_code
    assert 6 == center.rows("notifications", "SELECT count(*) AS n FROM card_opening")[0].n


def test_wrong_codes_count_until_the_right_one(center: House) -> None:
    assigned(center)
    codes = [*["000000"] * 4, code_of(center), *["000000"] * 4, code_of(center)]

    answers = [center.pages().post(link_of(center), data={"code": code}) for code in codes]

    assert ([403] * 4 + [303]) * 2 == [answer.status_code for answer in answers]


def test_a_scanner_that_follows_a_link_changes_nothing(center: House) -> None:
    assigned(center)

    answer = center.pages().get(link_of(center))

    assert 200 == answer.status_code
    assert "Set-Cookie" not in answer.headers
    assert [] == center.rows("notifications", "SELECT * FROM card_opening")


def test_a_visit_is_a_cookie_that_scripts_and_other_sites_cannot_use(center: House) -> None:
    assigned(center)
    told = {"X-Forwarded-Proto": "https"}

    answer = center.pages().post(link_of(center), data={"code": code_of(center)}, headers=told)

    kept = answer.headers["Set-Cookie"]
    secret = kept.split("visit=")[1].split(";")[0]
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/messages"} <= set(kept.split("; "))
    assert [] == center.rows(
        "notifications", "SELECT 1 FROM mentor_session WHERE hash LIKE :secret", secret=secret
    )


def test_every_time_that_a_client_is_shown_is_kept(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)

    read(browser, path)
    read(browser, "/messages/people")

    shown = center.rows("notifications", "SELECT page FROM client_shown ORDER BY place")
    assert ["person", "people"] == [row.page for row in shown]


def test_the_pages_are_in_the_mentors_language(center: House) -> None:
    assigned(center, LUZ, **FOR_LUZ)
    browser, path = visiting(center, LUZ, LUZ_MAIL)

    page = read(browser, path)

    assert '<html lang="es">' in page
    for shown in ("Cómo comunicarse", "Salir de esta página", "encontrar trabajo", "español"):
        assert shown in page


# Whose, and for how long


def test_another_mentors_client_is_not_there(center: House) -> None:
    assigned(center)
    _, of_jo = visiting(center)
    assigned(center, LUZ, record_number="R-2", mobile="+15035550130", email=None, **FOR_LUZ)
    luz, _ = visiting(center, LUZ, LUZ_MAIL)

    answers = [luz.get(of_jo + more) for more in ("", "/contact", "/pass-on")]
    answers += [post(luz, f"{of_jo}/contact", **contact()), post(luz, f"{of_jo}/pass-on")]
    answers.append(post(luz, f"{of_jo}/replies/{NOBODY}/read"))

    assert {410} == {answer.status_code for answer in answers}
    assert not any("Sam" in answer.get_data(as_text=True) for answer in answers)
    assert "assigned" == center.rows("matching", "SELECT state FROM assignment")[0].state


def test_a_route_that_ends_shows_no_client_any_more(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)
    last = text("UPDATE person SET route = 'qsoa', route_ends_on = '2026-11-24'")
    with center.notifications.engine.begin() as conn:
        conn.execute(last)
    seen = []

    # Ten in the morning in Los Angeles, where Jo is; then nearly and just past midnight.
    for hours in (0, 13, 2):
        center.clock.move(hours=hours)
        seen.append([browser.get(page).status_code for page in (path, "/messages/people")])

    assert [[200, 200], [200, 200], [410, 410]] == seen
    assert 410 == center.pages().post(link_of(center), data={"code": code_of(center)}).status_code
    assert 410 == post(browser, f"{path}/pass-on").status_code


@pytest.mark.parametrize("cause", ["someone else", "cancelled", "passed on"])
def test_an_assignment_that_ended_shows_nothing_any_more(center: House, cause: str) -> None:
    story = assigned(center)
    browser, path = visiting(center)
    if cause == "someone else":
        center.text(CLIENT, cause)
    elif cause == "cancelled":
        center.api().post(f"/api/discharges/{story['id']}/cancel")
        center.settle()
    else:
        # At once, before matching has heard of it.
        post(browser, f"{path}/pass-on")

    again = center.pages().post(link_of(center), data={"code": code_of(center)})

    assert [410, 410] == [browser.get(path).status_code, again.status_code]
    assert "Sam" not in read(browser, "/messages/people")


def _rest(center: House, **by: float) -> None:
    """The visits were last seen so long ago."""
    seen_at = datetime.now(UTC) - timedelta(**by)
    with center.notifications.engine.begin() as conn:
        conn.execute(text("UPDATE mentor_session SET seen_at = :at"), {"at": seen_at})


def test_whoever_was_away_loses_nothing_that_was_typed(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)
    form = contact(next_step="Bring the map") | {"form_token": token_of(browser)}
    _rest(center, minutes=31)

    asked = browser.post(f"{path}/contact", data=form)
    wrong = browser.post(f"{path}/contact", data=form | {"code": "000000"})
    right = browser.post(f"{path}/contact", data=form | {"code": code_of(center)})

    assert [401, 401, 303] == [asked.status_code, wrong.status_code, right.status_code]
    for page in (asked.get_data(as_text=True), wrong.get_data(as_text=True)):
        assert 'name="next_step" value="Bring the map"' in page
        assert "Sam" not in page
    assert "Bring the map" in read(browser, path)


def test_a_page_that_rests_opens_again_with_its_code(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)
    token = token_of(browser)
    _rest(center, minutes=31)

    asked = browser.get(path)
    form = {"form_token": token, "code": code_of(center)}
    answer = browser.post("/messages/again", data=form)

    assert 401 == asked.status_code
    assert 'action="/messages/again"' in asked.get_data(as_text=True)
    assert "/messages/people" == answer.location
    assert "Sam" in read(browser, "/messages/people")


def test_codes_that_are_tried_on_a_page_that_rests_are_counted(center: House) -> None:
    assigned(center)
    browser, _ = visiting(center)
    form = {"form_token": token_of(browser), "code": "000000"}
    _rest(center, minutes=31)

    for _ in range(5):
        browser.post("/messages/again", data=form)
    answer = browser.post("/messages/again", data=form | {"code": code_of(center)})

    assert 401 == answer.status_code
    assert "is closed" in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(10, ""), (26, "closes in 4 minutes"), (31, "will be asked for your code")],
)
def test_a_visit_says_before_it_rests(center: House, minutes: int, said: str) -> None:
    assigned(center)
    browser, path = visiting(center)
    assert 'hx-get="/messages/time?lang=en"' in read(browser, path)
    _rest(center, minutes=minutes)

    # To look is not to be at work: the same is said a second time.
    told = [browser.get("/messages/time").get_data(as_text=True).strip() for _ in range(2)]

    assert told[0] == told[1]
    assert said in told[0] and bool(said) == bool(told[0])


def test_staying_gives_the_whole_time_again(center: House) -> None:
    assigned(center)
    browser, _ = visiting(center)
    token = token_of(browser)
    _rest(center, minutes=29)

    answer = browser.post("/messages/stay", data={"form_token": token})

    assert (200, "") == (answer.status_code, answer.get_data(as_text=True))
    assert "" == browser.get("/messages/time").get_data(as_text=True).strip()


def test_a_visit_ends_for_good_after_half_a_day(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)
    with center.notifications.engine.begin() as conn:
        conn.execute(text("UPDATE mentor_session SET began_at = began_at - interval '12 hours'"))

    assert 401 == browser.get(path).status_code
    assert "follow the link" in browser.get(path).get_data(as_text=True)


def test_leaving_is_at_once_and_leads_to_a_page_that_says_nothing(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)
    secret = browser.get_cookie("visit", path="/messages")
    assert secret

    answer = browser.post("/messages/exit")
    browser.set_cookie("visit", secret.value, path="/messages")

    page = read(browser, answer.location)
    assert "<title>–</title>" in page
    assert "" == re.sub("<[^>]*>|–|Skip to main content", "", page.split("<body>")[1]).strip()
    assert 401 == browser.get(path).status_code


def test_a_form_of_another_site_is_refused(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)

    answers = [
        browser.post(re.sub("/messages/people/<.*?>", path, address), data=contact())
        for method, address in sorted(IN_A_VISIT)
        if method == "POST"
    ]

    assert {400} == {answer.status_code for answer in answers}
    assert [] == center.rows("notifications", "SELECT * FROM contact_record")


# What is said there


@pytest.mark.parametrize(("talked", "state"), [("yes", "in_contact"), ("no", "assigned")])
def test_a_contact_is_recorded(center: House, talked: str, state: str) -> None:
    story = assigned(center)
    browser, path = visiting(center)

    answer = post(browser, f"{path}/contact", **contact(talked=talked))
    at_once = read(browser, path)
    center.settle()

    assert (talked == "yes") == ("You have talked" in at_once)
    assert f"{path}?done=recorded" == answer.location
    assert state == center.story(story["id"])["state"]
    page = read(browser, answer.location)
    assert "Your contact is noted" in page
    assert "Call again on Friday" in page
    assert "30 min ago" in page
    kept = center.rows("notifications", "SELECT next_step::text AS step FROM contact_record")
    assert "Friday" not in kept[0].step


def test_the_door_opens_when_they_talked_and_not_when_it_was_told(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)
    center.clock.move(hours=6)

    post(browser, f"{path}/contact", **contact(happened_at="2026-11-24T11:00"))
    center.settle()

    made = center.rows("matching", "SELECT contact_at FROM assignment")[0].contact_at
    assert datetime(2026, 11, 24, 19, 0, tzinfo=UTC) == made


def test_they_cannot_have_talked_before_they_knew_of_each_other(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)

    post(browser, f"{path}/contact", **contact(happened_at="2026-11-20T11:00"))
    center.settle()

    row = center.rows("matching", "SELECT assigned_at, contact_at FROM assignment")[0]
    assert row.assigned_at == row.contact_at


def test_whoever_has_an_address_that_was_the_mentors_sees_nothing_more(center: House) -> None:
    """The link and the code went there; a person calls the mentor about each client."""
    assigned(center)
    browser, path = visiting(center)
    read(browser, path)
    roster = (DEMO / "demo-mentors.csv").read_text()

    center.load_mentors(roster.replace(JO, "+15035550777"))

    assert 200 != browser.get(path).status_code
    again = center.pages().post(link_of(center), data={"code": code_of(center)})
    assert 410 == again.status_code
    assert ["call_mentor"] == [task["kind"] for task in center.tasks()]


def test_a_double_click_records_one_contact(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)

    for _ in range(2):
        post(browser, f"{path}/contact", **contact())
    center.settle()

    assert 1 == len(center.rows("notifications", "SELECT id FROM contact_record"))
    said = "SELECT body FROM outbox WHERE convert_from(body, 'UTF8') LIKE '%\"talked\"%'"
    assert 1 == len(center.rows("notifications", said))


def test_a_form_that_is_sent_again_with_something_else_in_it_is_noted(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)

    for talked in ("no", "yes"):
        post(browser, f"{path}/contact", **contact(talked=talked))
    center.settle()

    assert 2 == len(center.rows("notifications", "SELECT id FROM contact_record"))
    assert ["in_contact"] == [r.state for r in center.rows("intake", "SELECT state FROM discharge")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("way", "pigeon"),
        ("talked", ""),
        ("happened_at", "yesterday"),
        ("happened_at", "2026-11-24T10:30"),
        ("happened_at", "2026-08-01T10:30"),
        ("happened_at", "0001-01-01T00:00"),
        ("happened_at", "9999-12-31T23:59"),
        ("next_step", "x" * 501),
    ],
)
def test_a_contact_that_cannot_be_is_refused_and_nothing_typed_is_lost(
    center: House, field: str, value: str
) -> None:
    assigned(center)
    browser, path = visiting(center)

    typed = contact(**{"next_step": "Bring the map", field: value})
    answer = post(browser, f"{path}/contact", **typed)

    page = answer.get_data(as_text=True)
    assert 422 == answer.status_code
    assert f'href="#{field}"' in page
    assert "<title>Error: " in page
    assert typed["next_step"] in page
    assert [] == center.rows("notifications", "SELECT id FROM contact_record")


def test_a_client_is_passed_on_after_it_was_said_what_follows(center: House) -> None:
    story = assigned(center)
    browser, path = visiting(center)

    asked = read(browser, f"{path}/pass-on")
    answer = post(browser, f"{path}/pass-on")
    center.settle()

    assert "You will no longer see Sam here" in asked
    assert "We look for someone else now" in read(browser, answer.location)
    assert "offered" == center.story(story["id"])["state"]


def _pass_on(center: House) -> tuple[UUID, UUID]:
    """What stands is passed on, and its mentor's word is on its way; the assignment, and whose."""
    [one] = center.rows("notifications", "SELECT id, mentor_id FROM assignment")
    MentorDesk(participant=center.notifications).pass_on(one.mentor_id, one.id)
    return one.id, one.mentor_id


@pytest.mark.parametrize("when", ["before", "while it is on its way"])
def test_what_a_client_wrote_is_not_for_whoever_they_are_passed_on_to(
    center: House, when: str
) -> None:
    words = "please tell nobody of my brother"
    center.register(facility="south")
    if when == "before":
        center.text(CLIENT, words)
    _, passed_on_by = _pass_on(center)
    if when != "before":
        center.text_only(CLIENT, words)

    center.settle()

    [new] = center.rows(
        "notifications", "SELECT id, mentor_id FROM assignment WHERE state = 'assigned'"
    )
    assert passed_on_by != new.mentor_id
    shown = MentorDesk(participant=center.notifications).client(new.mentor_id, new.id, "client")
    assert () == tuple(shown.replies)


def test_whoever_is_passed_on_while_a_coordinator_decides_is_left_with_nothing_of_it(
    center: House,
) -> None:
    story = center.register(facility="south")
    passed_on, _ = _pass_on(center)
    south = facility_named(center.matching, "south")
    [row] = center.rows("matching", "SELECT discharge_id, id, state FROM assignment")
    client_id, seen = UUID(story["client_id"]), f"{row.discharge_id}/{row.id}/{row.state}"
    coordinating.ask_for_another(center.matching, south, client_id, seen=seen, by=uuid4())
    center.settle()

    ended = "SELECT assignment_id FROM card WHERE ended_at IS NOT NULL"
    assert [passed_on] == [row.assignment_id for row in center.rows("notifications", ended)]
    told = "SELECT state FROM message WHERE purpose = 'ended_for_mentor'"
    assert [] == center.rows("notifications", told)
    standing = "SELECT mentor_id FROM assignment WHERE state <> 'ended'"
    before = center.rows("matching", standing)
    center.text(CLIENT, "SOMEONE ELSE")
    assert before != center.rows("matching", standing)


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_no_that_crosses_a_pass_on_is_heard(center: House, comes_back: bool) -> None:
    center.register(facility="south")
    if comes_back:
        center.register(facility="south", visit_number="V-2")
    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE mentor SET state = 'paused'"))
    _pass_on(center)
    center.run("notifications relay", "matching consumer")

    center.text_only(CLIENT, "NO")
    center.settle()

    [client] = center.rows("matching", "SELECT state FROM client")
    assert "ended" == client.state


def test_whoever_said_yes_at_night_hears_that_it_is_over(center: House) -> None:
    story = center.register()
    with center.matching.engine.begin() as conn:
        # They were asked late in the evening.
        conn.execute(text("UPDATE timer SET due_at = due_at + interval '1 day'"))
    center.clock.move(hours=13)
    center.text(JO, "yes")
    center.desk.erase(UUID(story["client_id"]), by="ops", because="asked")
    center.settle()
    center.clock.move(hours=14)
    center.settle()

    query = "SELECT state FROM message WHERE purpose = 'ended_for_mentor'"
    assert ["handed_over"] == [row.state for row in center.rows("notifications", query)]


def test_a_reply_waits_until_the_mentor_has_read_it(center: House) -> None:
    assigned(center)
    center.text(CLIENT, "can you call after six, my bus is late")
    center.text(CLIENT, "help")
    browser, path = visiting(center)
    before = read(browser, path), read(browser, "/messages/people")

    found = re.search(rf'action="({path}/replies/[\w-]+/read)"', before[0])
    assert found
    post(browser, found[1])
    after = read(browser, path), read(browser, "/messages/people")

    assert "my bus is late" in before[0]
    assert "1 reply waits for you" in before[1]
    assert before[0].count("I have read this") == 1
    assert "my bus" not in after[0]
    assert "waits for you" not in after[1]


def test_words_of_danger_are_shown_with_who_was_told(center: House) -> None:
    assigned(center)
    center.text(CLIENT, "i want to die")
    browser, path = visiting(center)

    page = read(browser, path)

    assert "i want to die" in page
    assert "The person on call was told at once" in page
    assert "call or text 988" in page


def test_a_pause_and_its_end_are_what_matching_goes_by(center: House) -> None:
    assigned(center)
    browser, _ = visiting(center)
    states = []

    for state in ("pause", "back"):
        answer = post(browser, "/messages/settings/state", state=state)
        shown = read(browser, answer.location)
        center.settle()
        where = "SELECT state FROM mentor WHERE code = 'M-01'"
        states.append((center.rows("matching", where)[0].state, "taking a break." in shown))

    assert [("paused", True), ("active", False)] == states
    assert "assigned" == center.rows("matching", "SELECT state FROM assignment")[0].state


def test_hours_capacity_and_strengths_are_what_matching_goes_by(center: House) -> None:
    assigned(center)
    browser, _ = visiting(center)
    before = read(browser, "/messages/settings")

    post(browser, "/messages/settings/profile", **profile())
    shown = read(browser, "/messages/settings")
    center.settle()
    again = read(browser, "/messages/settings")

    assert 'value="3"' in before and 'value="1"' in shown
    assert shown == again
    row = center.rows("matching", "SELECT capacity FROM mentor WHERE code = 'M-01'")[0]
    assert 1 == row.capacity
    said = center.rows("matching", "SELECT body FROM outbox WHERE type = 'MentorChanged'")
    assert not any(b"mon,tue" in row.body or b"housing" in row.body for row in said)
    center.register(record_number="R-9", mobile="+15035550131", email=None)
    # Jo's one place is taken: somebody else is asked.
    assert 1 == len([words for words in center.network.to(JO) if "YES or NO" in words])


def test_a_capacity_that_was_left_as_it_was_does_not_undo_one_that_came_since(
    center: House,
) -> None:
    assigned(center)
    browser, _ = visiting(center)
    [had] = re.findall(r'name="had_capacity" value="(\d+)"', read(browser, "/messages/settings"))
    roster = (DEMO / "demo-mentors.csv").read_text().splitlines(keepends=True)
    [jo] = [line for line in roster if line.startswith("M-01,")]
    fewer = jo.replace(f",{had},", ",1,", 1)
    assert fewer != jo
    center.load_mentors(roster[0] + fewer)

    post(browser, "/messages/settings/profile", **profile(capacity=had), had_capacity=had)
    center.settle()

    [row] = center.rows("matching", "SELECT capacity FROM mentor WHERE code = 'M-01'")
    assert 1 == row.capacity


def test_a_place_more_lets_somebody_in_who_waits(center: House) -> None:
    assigned(center, LUZ, **FOR_LUZ)
    browser, _ = visiting(center, LUZ, LUZ_MAIL)
    post(browser, "/messages/settings/profile", **profile())
    center.settle()
    waits = {"record_number": "R-9", "mobile": "+15035550131", "email": None}
    story = center.register(**waits, **FOR_LUZ)
    before = center.story(story["id"])["state"]

    post(browser, "/messages/settings/profile", **profile(capacity="2"))
    center.settle()

    assert ("waiting", "offered") == (before, center.story(story["id"])["state"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("capacity", "201"),
        ("capacity", "-1"),
        ("capacity", ""),
        ("days", []),
        ("days", ["someday"]),
        ("begins", "25:00"),
        ("ends", "10:00"),
        ("ends", "late"),
        ("strengths", ["flying"]),
    ],
)
def test_wishes_out_of_bounds_are_refused_and_nothing_typed_is_lost(
    center: House, field: str, value: Any
) -> None:
    assigned(center)
    browser, _ = visiting(center)

    typed = profile(**{field: value})
    answer = post(browser, "/messages/settings/profile", **typed)
    center.settle()

    page = answer.get_data(as_text=True)
    assert 422 == answer.status_code
    assert re.search(r'href="#(capacity|days|begins|ends|strengths)"', page)
    assert re.search(r'value="housing"\s+checked', page) or field == "strengths"
    row = center.rows("matching", "SELECT capacity FROM mentor WHERE code = 'M-01'")[0]
    assert 3 == row.capacity


def _hello(center: House, words: str) -> tuple[FlaskClient, Any]:
    assigned(center)
    browser, _ = visiting(center)
    return browser, post(browser, "/messages/settings/hello", hello=words)


def _nobody_else(center: House, code: str) -> None:
    """This mentor alone can be asked from now on."""
    with center.matching.engine.begin() as conn:
        others = text("UPDATE mentor SET state = 'paused' WHERE code <> :code")
        conn.execute(others, {"code": code})


@pytest.mark.parametrize("channel", ["text", "email"])
def test_a_hello_is_read_in_the_introduction(center: House, channel: str) -> None:
    browser, answer = _hello(center, "Glad to meet you, I like long walks.")
    shown = read(browser, answer.location)
    center.network.letters.clear()

    _nobody_else(center, "M-01")
    where = {"mobile": "+15035550130", "email": "r2@example.org", "channels": [channel]}
    assigned(center, record_number="R-2", **where)

    to = {"text": "+15035550130", "email": "r2@example.org"}[channel]
    [introduction] = [words for words in center.network.to(to) if "will call you" in words]
    assert 'Jo says: "Glad to meet you, I like long walks."' in introduction
    assert 'Jo says: "Glad to meet you, I like long walks."' in shown.replace("&#34;", '"')
    kept = center.rows("notifications", "SELECT words::text AS words FROM hello")
    assert "walks" not in kept[0].words


def test_a_hello_is_for_those_who_read_its_language(center: House) -> None:
    assigned(center, LUZ, **FOR_LUZ)
    browser, _ = visiting(center, LUZ, LUZ_MAIL)
    post(browser, "/messages/settings/hello", hello="¿Cómo está? Le llamo pronto.")

    _nobody_else(center, "M-02")
    for number, language in ((2, "es"), (3, "en")):
        where = {"record_number": f"R-{number}", "mobile": f"+1503555013{number}", "email": None}
        assigned(center, LUZ, language=language, **where)

    spanish, english = (center.network.to(f"+1503555013{number}")[-1] for number in (2, 3))
    # A text that keeps its accents would hold half as much.
    assert 'Le dice: "¿Como esta? Le llamo pronto."' in spanish
    assert "Luz will call you" in english
    assert "?" not in english


def test_an_empty_hello_is_none(center: House) -> None:
    browser, _ = _hello(center, "Glad to meet you.")

    answer = post(browser, "/messages/settings/hello", hello="  ")

    assert answer.location.endswith("hello_gone")
    assert [] == center.rows("notifications", "SELECT * FROM hello")


def test_a_hello_that_says_why_is_refused_with_the_word(center: House) -> None:
    _, answer = _hello(center, "Ten years sober, call me!")

    page = answer.get_data(as_text=True)
    assert 422 == answer.status_code
    assert "Please leave out: sober" in page
    assert "Ten years sober, call me!" in page
    assert [] == center.rows("notifications", "SELECT * FROM hello")


# Everywhere


def test_what_people_typed_is_shown_and_never_run(center: House) -> None:
    name = {"given": SCRIPT, "family": "Doe", "called": SCRIPT}
    assigned(center, name=name, wishes=SCRIPT)
    center.text(CLIENT, f"{SCRIPT} are you there")
    browser, path = visiting(center)
    post(browser, f"{path}/contact", **contact(next_step=SCRIPT))
    refused = [
        post(browser, f"{path}/contact", **contact(way=SCRIPT, happened_at=SCRIPT, once=SCRIPT)),
        post(browser, "/messages/settings/hello", hello=SCRIPT * 9),
        post(browser, "/messages/settings/profile", **profile(capacity=SCRIPT, begins=SCRIPT)),
        browser.get(f"/messages/settings?done={SCRIPT}"),
    ]
    _rest(center, minutes=31)
    refused.append(browser.post(f"{path}/contact", data=contact() | {"next_step": SCRIPT}))

    pages = [answer.get_data(as_text=True) for answer in refused]
    _rest(center, minutes=0)
    pages += [read(browser, path + more) for more in ("", "/contact", "/pass-on")]
    pages.append(read(browser, "/messages/people"))

    assert not [page for page in pages if "<script>alert" in page]
    assert pages[-4].count("&lt;script&gt;") >= 4


def test_titles_and_addresses_say_nothing(center: House) -> None:
    assigned(center)
    browser, path = visiting(center)
    everywhere = (path, f"{path}/contact", f"{path}/pass-on", "/messages/people")

    for address in (*everywhere, "/messages/settings", link_of(center), "/messages/page"):
        [title] = re.findall("<title>(.*?)</title>", read(browser, address))
        assert len(title) <= 24
        assert not {"Sam", "client", "mentor", "handoff"} & set(title.lower().split())


def test_the_table_names_every_page_of_a_visit(center: House) -> None:
    app = center.pages().application
    guards = {
        (method, rule.rule): app.view_functions[rule.endpoint].guard
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {address for address, guard in guards.items() if guard == "visit"} == IN_A_VISIT
    assert all(g == "visit" or g.startswith("open: ") for g in guards.values())


@pytest.mark.parametrize("role", [*ROLES, None])
def test_no_role_opens_a_mentors_page(center: House, role: str | None) -> None:
    browser = center.pages()
    if role is not None:
        signed_in = center.browser(role).get_cookie("warm_handoff")
        assert signed_in
        browser.set_cookie("warm_handoff", signed_in.value)

    for method, path in sorted(IN_A_VISIT):
        answer = browser.open(re.sub("<.*?>", NOBODY, path), method=method)
        assert 401 == answer.status_code, path
