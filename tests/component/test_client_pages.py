"""A client's page and what is done there, finding a client, and consents that come first."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hosting.typed_days import PARTS
from services.intake.journey import journey
from tests.component.test_staff_pages import entered, post
from tests.house import House

pytestmark = pytest.mark.usefixtures("no_accounts")
MOBILE = "+15035550123"


def accept(center: House) -> None:
    """The mentor who was asked says yes."""
    # Whoever it is: several fit equally well, and not all of them speak English.
    offer = next(letter for _, letter in center.network.letters if letter.to != MOBILE)
    center.text(offer.to, "yes")


def find(browser: Any, text: str) -> str:
    """The page that looking for somebody shows."""
    return post(browser, "/clients", sought=text).get_data(as_text=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "text", ["sam doe", "DOE", "Döe", "sammy", "r-7", "0123", "(503) 555-0123"]
)
def test_a_client_is_found_by_what_staff_know(center: House, text: str) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location

    page = find(clerk, text)

    assert "One client is found" in page
    assert where in page


@pytest.mark.parametrize("text", ["", "do", "smith", "sam smith", "9999", "3"])
def test_others_are_not_found(center: House, text: str) -> None:
    clerk = center.browser("clerk")
    post(clerk, "/discharges/new", **entered())

    assert "Nobody is found" in find(clerk, text)


def test_a_name_is_found_nowhere_in_the_tokens_and_by_no_other_facility(center: House) -> None:
    post(center.browser("clerk"), "/discharges/new", **entered())

    tokens = {row.token for row in center.rows("intake", "SELECT token FROM search_token")}

    assert all(len(token) == 64 for token in tokens)
    assert "Nobody is found" in find(center.browser("clerk", "south"), "sam doe")


def test_a_corrected_name_is_found_and_the_old_one_no_more(center: House) -> None:
    clerk = center.browser("clerk")
    post(clerk, "/discharges/new", **entered())
    post(clerk, "/discharges/new", **entered(key="k2", family="Dorsey"))

    assert "One client is found" in find(clerk, "dorsey")
    assert "Nobody is found" in find(clerk, "sam doe")


def test_consents_first_make_the_discharge_need_nobody(center: House) -> None:
    clerk = center.browser("clerk")
    first = {"record_number": "R-7", "called": "Sammy", "mobile": MOBILE, "agreed": ["text"]}

    noted = post(clerk, "/consents/new", **first, obtained_by="R. Lane", method="verbal")
    ready = find(clerk, "r-7")
    bare = entered(mobile="", agreed=[], obtained_by="")
    where = post(clerk, "/discharges/new", **bare).location
    center.settle()

    assert 303 == noted.status_code
    assert "Walk-out ready" in ready
    assert "A mentor is being asked" in clerk.get(where).get_data(as_text=True)
    assert "1 of 1 discharges" in clerk.get("/").get_data(as_text=True)


def test_consents_without_who_asked_are_refused_and_nothing_typed_is_lost(center: House) -> None:
    first = {"record_number": "R-7", "called": "Sammy", "mobile": "12", "agreed": ["text"]}

    answer = post(center.browser("clerk"), "/consents/new", **first, method="verbal")

    page = answer.get_data(as_text=True)
    assert 422 == answer.status_code
    assert all(f'value="{typed}"' in page for typed in ("R-7", "Sammy", "12"))
    assert 'href="#mobile"' in page
    assert [] == center.rows("intake", "SELECT id FROM client")


def test_somebody_who_looks_alike_is_asked_about_once(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location
    again = entered(key="k2", record_number="R-8")

    warned = post(clerk, "/discharges/new", **again)
    saved = post(clerk, "/discharges/new", **again, is_another="yes")

    assert 422 == warned.status_code
    assert where in warned.get_data(as_text=True)
    assert 303 == saved.status_code
    assert 2 == len(center.rows("intake", "SELECT id FROM client"))


def test_a_held_discharge_is_completed_on_its_own_page(center: House) -> None:
    clerk = center.browser("clerk")
    days = {f"{day}-{part}": "" for day in ("born_on", "discharged_at") for part in PARTS}
    where = post(clerk, "/discharges/new", **entered(**days, reason="other")).location
    held = clerk.get(where).get_data(as_text=True)
    form = clerk.get(f"{where}/correct").get_data(as_text=True)

    whole = entered(reason="completed", needs=["job"], wishes="Quiet")
    answer = post(clerk, f"{where}/correct", **whole)
    center.settle()
    again = clerk.get(f"{where}/correct").get_data(as_text=True)
    accept(center)

    assert "Held: something is missing" in held
    assert f"{where}/correct" in held
    assert 'value="Sammy"' in form
    assert 303 == answer.status_code
    assert 1 == len(center.rows("intake", "SELECT id FROM discharge"))
    assert "A mentor is assigned" in clerk.get(where).get_data(as_text=True)
    typed = re.findall(r'id="(?:born_on|discharged_at)[\w-]*"[^>]*value="([\d:]+)"', again)
    assert ["4", "2", "1990", "11", "24", "2026", "09:30"] == typed
    assert re.search(r'value="job"[^>]*checked', again)
    assert ">Quiet</textarea>" in again


def test_what_is_no_longer_ticked_no_longer_helps(center: House) -> None:
    clerk = center.browser("clerk")
    known = entered(needs=["job", "housing"], wishes="Quiet", high_risk=["homeless"])
    where = post(clerk, "/discharges/new", **known).location
    day = {f"discharged_at-{part}": "99" for part in PARTS}

    wrong = post(clerk, f"{where}/correct", **entered(**day, wishes="Loud", needs=["family"]))
    post(clerk, f"{where}/correct", **entered(needs=["housing"], wishes=""))

    form = clerk.get(f"{where}/correct").get_data(as_text=True)
    assert 422 == wrong.status_code
    assert 'href="#discharged_at"' in wrong.get_data(as_text=True)
    assert ">Loud</textarea>" in wrong.get_data(as_text=True)
    ticked = re.findall(r'value="(\w+)"[^>]*checked', form)
    assert ["housing"] == ticked
    assert "Quiet" not in form
    assert 404 == center.browser("clerk", "south").get(f"{where}/correct").status_code


@pytest.mark.parametrize("form", ["correct", "contact"])
def test_a_form_is_not_saved_over_what_has_come_since_it_was_opened(
    center: House, form: str
) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered(agreed=["text"])).location

    def save(seen: str) -> int:
        typed = entered(agreed=["text"], wishes="Quiet", mobile="503 555 0123", method="written")
        return post(clerk, f"{where}/{form}", **typed, seen=seen).status_code

    before = seen_in(clerk.get(f"{where}/{form}"))
    save_news(center, where, form)
    center.settle()

    assert 422 == save(before)
    assert 303 == save(seen_in(clerk.get(f"{where}/{form}")))


def seen_in(answer: Any) -> str:
    """What a form says it was made from."""
    [seen] = re.findall(r'name="seen" value="(\w+)"', answer.get_data(as_text=True))
    return str(seen)


def save_news(center: House, where: str, form: str) -> None:
    """Somebody else saves the same form meanwhile."""
    news = {"correct": {"reason": "incarcerated"}, "contact": {"mobile": "503 555 0188"}}[form]
    typed = entered(agreed=["text"], **news)
    assert 303 == post(center.browser("clerk"), f"{where}/{form}", **typed).status_code


@pytest.mark.parametrize("form", ["correct", "contact"])
def test_a_form_that_was_refused_for_something_else_is_no_newer_than_it_was(
    center: House, form: str
) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered(agreed=["text"])).location
    seen = seen_in(clerk.get(f"{where}/{form}"))
    wrong = {"correct": {"discharged_at-day": "99"}, "contact": {"email": "nobody"}}[form]
    save_news(center, where, form)

    refused = post(clerk, f"{where}/{form}", **entered(agreed=["text"], **wrong), seen=seen)
    mended = post(clerk, f"{where}/{form}", **entered(agreed=["text"]), seen=seen)

    assert 422 == refused.status_code
    assert seen == seen_in(refused)
    assert 422 == mended.status_code
    # Whoever is told of it is led to what there is now, and may save over that.
    told = mended.get_data(as_text=True)
    assert 'href="#seen"' in told
    assert f'<a id="seen" href="{where}">' in told
    assert seen != seen_in(mended)


def test_what_is_emptied_on_a_page_is_no_longer_so(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered(agreed=["text"])).location
    days = {f"born_on-{part}": "" for part in PARTS}

    post(clerk, f"{where}/contact", **entered(agreed=["text"], called=""))
    called = clerk.get(f"{where}/contact").get_data(as_text=True)
    post(clerk, f"{where}/correct", **entered(called="", **days))
    corrected = clerk.get(f"{where}/correct").get_data(as_text=True)

    assert "Sammy" not in called
    assert "Sammy" not in corrected
    assert 'value="1990"' not in corrected
    assert 'value="Sam"' in corrected


def test_a_record_number_of_somebody_else_makes_no_one_of_the_two(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location
    other = {"given": "Al", "family": "Reyes", "called": "", "born_on-year": "1970"}
    another = entered(key="k2", visit_number="V-8", mobile="503 555 0188", **other)

    refused = post(clerk, "/discharges/new", **another)
    renamed = {"family": "Roe", "visit_number": "V-9", "key": "k3"}
    married = post(clerk, "/discharges/new", **entered(**renamed))

    assert 422 == refused.status_code
    assert 'href="#record_number"' in refused.get_data(as_text=True)
    assert 303 == married.status_code
    assert "Sam Roe" in clerk.get(where).get_data(as_text=True)


def test_who_cancels_what_had_ended_an_earlier_discharge_is_asked_about_that(
    center: House,
) -> None:
    clerk = center.browser("clerk")
    post(clerk, "/discharges/new", **entered())
    later = post(clerk, "/discharges/new", **entered(visit_number="V-8", key="k2")).location

    post(clerk, f"{later}/cancel")

    assert ["earlier_ended"] == [task["kind"] for task in center.tasks()]


@pytest.mark.parametrize("number", ["12-34567", "2024 0012", "100200300400"])
def test_a_client_is_found_by_any_record_number(center: House, number: str) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered(record_number=number)).location

    assert where in find(clerk, number)


def test_contact_is_corrected_and_unsent_messages_follow(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered(agreed=["text"])).location
    form = clerk.get(f"{where}/contact").get_data(as_text=True)

    changed = {"called": "Sammy", "mobile": "503 555 0188", "agreed": ["text"]}
    answer = post(clerk, f"{where}/contact", **changed, method="written")
    center.settle()

    assert "(503) 555-0123" in form
    assert 303 == answer.status_code
    assert [] == center.network.to(MOBILE)
    assert center.network.to("+15035550188")
    # The consent stays as it was given: it is not recorded a second time.
    assert 1 == len(center.rows("intake", "SELECT channel FROM consent"))


def test_a_consent_that_is_unticked_ends_at_once(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location
    center.settle()
    before = len(center.network.to(MOBILE))

    post(clerk, f"{where}/contact", called="Sammy", mobile=MOBILE, method="written")
    accept(center)

    assert "Consent revoked (text)" in clerk.get(where).get_data(as_text=True)
    assert before == len(center.network.to(MOBILE))


def test_messages_are_stopped_and_the_mentor_stays(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location
    center.settle()
    before = len(center.network.to(MOBILE))

    asked = clerk.get(f"{where}/stop").get_data(as_text=True)
    post(clerk, f"{where}/stop")
    center.settle()
    accept(center)

    assert "Their mentor stays" in asked
    assert before == len(center.network.to(MOBILE))
    assert "A mentor is assigned" in clerk.get(where).get_data(as_text=True)


def test_the_page_shows_the_way_and_the_sheet_names_the_mentor(center: House) -> None:
    clerk = center.browser("clerk")
    where = post(clerk, "/discharges/new", **entered()).location
    center.settle()
    asked = clerk.get(f"{where}/sheet").get_data(as_text=True)
    accept(center)

    page = clerk.get(where).get_data(as_text=True)
    sheet = clerk.get(f"{where}/sheet").get_data(as_text=True)
    name = re.search(r"Mentor: <strong>([^<]+)</strong>", page)[1]  # type: ignore[index]

    assert 'role="img"' in page
    assert f'<p class="wh-sheet__name">{name}</p>' in sheet
    # Who is only asked may say no.
    assert "wh-sheet__name" not in asked
    assert "Somebody will be in touch with you." in asked
    assert "Sammy" in sheet
    assert "Doe" not in sheet.split("<main")[1]


def test_a_task_is_taken_over_and_handed_back(center: House) -> None:
    clerk, colleague = center.browser("clerk"), center.browser("coordinator")
    post(clerk, "/discharges/new", key="k2", record_number="R-8", visit_number="V-8")
    [(task_id,)] = center.rows("intake", "SELECT id FROM task")

    post(clerk, f"/tasks/{task_id}/take")

    assert "taken by you" in clerk.get("/").get_data(as_text=True)
    assert "taken by a colleague" in colleague.get("/").get_data(as_text=True)
    post(colleague, f"/tasks/{task_id}/give-back")
    assert "taken by" not in clerk.get("/").get_data(as_text=True)
    assert 404 == post(center.browser("clerk", "south"), f"/tasks/{task_id}/take").status_code


def test_a_task_is_handed_over_to_a_colleague_of_the_same_facility(center: House) -> None:
    clerk, colleague = center.browser("clerk"), center.browser("coordinator")
    center.browser("mentor"), center.browser("clerk", "south")
    post(clerk, "/discharges/new", key="k3", record_number="R-9", visit_number="V-9")
    [(task_id,)] = center.rows("intake", "SELECT id FROM task")
    to, field = f"/tasks/{task_id}/hand-over", f"colleague-{task_id}"

    strangers = ("mentor@north.example", "clerk@south.example", "nobody@north.example", "")
    refused = [post(clerk, to, **{field: name}) for name in strangers]
    post(clerk, to, **{field: " Coordinator@North.example "})

    assert [422] * 4 == [answer.status_code for answer in refused]
    assert "a colleague at this facility signs in" in refused[0].get_data(as_text=True)
    assert "taken by you" in colleague.get("/").get_data(as_text=True)
    assert "taken by a colleague" in clerk.get("/").get_data(as_text=True)
    taken = "SELECT count(*) FROM step WHERE what = 'task_handed_over'"
    assert [(1,)] == [tuple(row) for row in center.rows("intake", taken)]


def step(what: str, **words: str) -> dict[str, Any]:
    """A step of a story."""
    return {"what": what, **words}


FIRST = step("message_handed_over", to="client", purpose="first")
INTRODUCTION = step("message_handed_over", to="client", purpose="introduction")


@pytest.mark.parametrize(
    "steps, state, states",
    [
        ([step("received")], "held", "passed next ahead ahead ahead ahead"),
        ([step("received"), FIRST], "waiting", "passed passed next ahead ahead ahead"),
        (
            [step("received"), FIRST, step("offered"), step("declined")],
            "received",
            "passed passed next ahead ahead ahead",
        ),
        (
            [step("received"), FIRST, step("assigned"), INTRODUCTION],
            "assigned",
            "passed passed passed passed passed next",
        ),
        ([step("received"), step("closed")], "closed", "passed ahead ahead ahead ahead ahead"),
    ],
)
def test_a_journey(steps: list[dict[str, Any]], state: str, states: str) -> None:
    assert states.split() == [station.state for station in journey(steps, state)]


def test_words_of_danger_stand_above_everything(center: House) -> None:
    clerk = center.browser("clerk")
    post(clerk, "/discharges/new", **entered())
    held = {"record_number": "R-8", "visit_number": "V-8", "high_risk": ["suicide_risk"]}
    post(clerk, "/discharges/new", key="k2", **held)
    center.settle()
    center.text(MOBILE, "I want to die")

    page = clerk.get("/").get_data(as_text=True)

    assert page.index("Call the client now") < page.index("Complete what is missing")
