"""What coordinators see and decide on the pages of matching, and who may call which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from contracts.event import Event
from services.check import gather, judge
from services.matching import coordinating, mentors
from services.matching.coordinating import MovedOn, choose_mentor
from services.matching.loading import RosterLoader, Rows
from services.matching.looking import facility_named, stand_of
from services.matching.placing import NotPossible
from services.roles import ROLES
from tests.house import House

pytestmark = pytest.mark.usefixtures("no_accounts")

ONLY = {"coordinator"}
#: Every page and who may call it; all others are shown the way out.
MAY = {
    ("GET", "/matching/"): {"coordinator", "administrator"},
    ("GET", "/matching/mentors/<mentor_id>"): ONLY,
    ("GET", "/matching/mentors/new"): ONLY,
    ("POST", "/matching/mentors/new"): ONLY,
    ("GET", "/matching/mentors/<mentor_id>/edit"): ONLY,
    ("POST", "/matching/mentors/<mentor_id>/edit"): ONLY,
    ("GET", "/matching/mentors/<mentor_id>/state"): ONLY,
    ("POST", "/matching/mentors/<mentor_id>/state"): ONLY,
    ("GET", "/matching/loads/new"): ONLY,
    ("POST", "/matching/loads/new"): ONLY,
    ("GET", "/matching/loads/<load_id>"): ONLY,
    ("POST", "/matching/loads/<load_id>"): ONLY,
    ("GET", "/matching/clients/<client_id>"): ONLY,
    ("GET", "/matching/clients/<client_id>/another"): ONLY,
    ("POST", "/matching/clients/<client_id>/another"): ONLY,
    ("GET", "/matching/clients/<client_id>/choose/<mentor_id>"): ONLY,
    ("POST", "/matching/clients/<client_id>/choose/<mentor_id>"): ONLY,
}
NOBODY = "00000000-0000-4000-8000-000000000000"
JO = "+15035550101"
HEADER = (
    "code,called,mobile,opted_in_at,opted_in_how,time_zone,languages,moud_friendly,facilities,"
    "capacity,hours,route,route_ends_on,state\n"
)


@pytest.fixture
def robin(center: House) -> FlaskClient:
    """The coordinator of the north."""
    return center.browser("coordinator", app=center.matching_app())


@pytest.fixture
def casey(center: House) -> FlaskClient:
    """The coordinator of the south, whose mentors are assigned without being asked."""
    return center.browser("coordinator", "south", center.matching_app())


def read(browser: FlaskClient, path: str, status: int = 200) -> str:
    answer = browser.get(path)
    page = answer.get_data(as_text=True)
    assert status == answer.status_code, page
    return page


def post(browser: FlaskClient, path: str, form: dict[str, Any] | None = None) -> Any:
    """Send a form as its page would: with the session's token."""
    page = browser.get("/matching/loads/new").get_data(as_text=True)
    found = re.search(r'name="form_token" value="(\w+)"', page)
    return browser.post(path, data={**(form or {}), "form_token": found[1] if found else ""})


def hidden(page: str, name: str) -> str:
    """What a page's form sends along by itself."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return found[1]


def decide(browser: FlaskClient, path: str, **form: str) -> Any:
    """Open the page that says what will happen, and confirm it."""
    return post(browser, path, {"seen": hidden(read(browser, path), "seen"), **form})


def mentor_id(center: House, code: str) -> str:
    return str(center.rows("matching", "SELECT id FROM mentor WHERE code = :c", c=code)[0].id)


def active(center: House, client_id: str) -> list[Any]:
    query = (
        "SELECT a.*, m.code FROM assignment a JOIN mentor m ON m.id = a.mentor_id"
        " WHERE client_id = :c AND a.state <> 'ended'"
    )
    return center.rows("matching", query, c=client_id)


def violated(center: House) -> list[str]:
    found = gather(center.settings, now=center.clock.now, in_kafka=None, delivered=None)
    return [verdict.guarantee for verdict in judge(found) if verdict.violations]


# --- who may


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_call_what_the_table_says(center: House, role: str) -> None:
    browser = center.browser(role, app=center.matching_app())
    for (method, path), roles in MAY.items():
        address = re.sub("<.*?>", NOBODY, path)
        answer = browser.open(address, method=method, data={"form_token": "not ours"})
        assert (answer.status_code == 403) == (role not in roles), f"{role} {method} {path}"


def test_the_table_names_every_page(center: House) -> None:
    app = center.matching_app()
    pages = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        if getattr(app.view_functions[rule.endpoint], "guard", "").startswith("roles")
        # Those of operations stand in the table of intake's pages, for every service.
        if "/ops/" not in rule.rule
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert pages == set(MAY)


def test_nothing_of_another_facility_is_there(
    center: House, robin: FlaskClient, casey: FlaskClient
) -> None:
    story = center.register()
    load = upload(robin, HEADER + a_line("F-1", 1)).location
    jo, luz = mentor_id(center, "M-01"), mentor_id(center, "M-02")
    client = f"/matching/clients/{story['client_id']}"

    here = [f"/matching/mentors/{jo}", client, f"{client}/another", load]
    for path in [*here, f"/matching/mentors/{jo}/edit", f"/matching/mentors/{jo}/state"]:
        assert 200 == robin.get(path).status_code, path
        assert 404 == casey.get(path).status_code, path
    for path in (
        load,
        f"{client}/another",
        f"{client}/choose/{luz}",
        f"/matching/mentors/{jo}/edit",
        f"/matching/mentors/{jo}/state",
    ):
        assert 404 == post(casey, path, {"seen": "x", "choice": "load"}).status_code, path
    assert "M-01" not in read(casey, "/matching/")
    assert 404 == robin.get(f"{client}/choose/{mentor_id(center, 'M-08')}").status_code


def test_a_form_of_another_site_is_refused(center: House, robin: FlaskClient) -> None:
    assert 400 == robin.post("/matching/mentors/new", data=typed()).status_code


# --- the roster


def test_the_roster_tells_who_there_is_and_how_full(center: House, robin: FlaskClient) -> None:
    center.register()

    page = read(robin, "/matching/")

    assert re.search(r"Jo</a> <span[^>]*>\(M-01\)", page)
    assert "1 of 3 taken" in page
    assert "one of them asked" in page
    assert "Spanish, English" in page
    assert "<svg" in page
    assert "Theo" not in page


def test_the_roster_is_filtered_by_state(center: House, casey: FlaskClient) -> None:
    page = read(casey, "/matching/?state=paused")

    assert "Gus" in page
    assert "Theo" not in page
    assert "paused (1)" in page


def test_what_ends_is_said_ahead_of_time(center: House, robin: FlaskClient) -> None:
    soon = a_line("F-1", 1, facilities="north", route="qsoa", route_ends_on="2026-12-20")
    later = a_line("F-2", 2, facilities="north", route="qsoa", route_ends_on="2027-03-20")
    center.load_mentors(HEADER + soon + later)

    [said] = re.findall(
        r'<section class="nhsuk-warning-callout">.*?</section>', read(robin, "/matching/"), re.S
    )

    assert re.search(r"M1</a>: route ends in 26 days \(Sun 20 Dec 2026\)", said)
    assert "M2" not in said


def test_a_long_roster_has_pages(center: House, robin: FlaskClient) -> None:
    center.load_mentors(
        HEADER + "".join(a_line(f"F-{n}", n, facilities="north") for n in range(60))
    )

    first, second = read(robin, "/matching/"), read(robin, "/matching/?page=2")

    assert "Page 1 of 2" in first
    assert 50 == first.count('class="nhsuk-table__row"')
    assert first.count("(F-") + second.count("(F-") == 60


def test_those_who_wait_are_led_to(center: House, robin: FlaskClient) -> None:
    story = center.register(language="fr")

    page = read(robin, "/matching/")

    assert "1 client waits for a mentor" in page
    assert f'href="/matching/clients/{story["client_id"]}"' in page


def test_an_administrator_sees_names_and_no_way_to_change_them(center: House) -> None:
    page = read(center.browser("administrator", app=center.matching_app()), "/matching/")

    assert re.search(r"Jo <span[^>]*>\(M-01\)", page)
    assert "/matching/mentors/" not in page


# --- one mentor


def typed(**changes: Any) -> dict[str, Any]:
    """The form of a mentor as somebody fills it in."""
    form: dict[str, Any] = {
        "code": "M-20",
        "called": "Pat",
        "mobile": "(503) 555-0177",
        "opted_in_at-day": "5",
        "opted_in_at-month": "1",
        "opted_in_at-year": "2026",
        "opted_in_how": "signed form",
        "languages": "fr, en",
        "hours": "09:00-20:00",
        "time_zone": "America/Los_Angeles",
        "capacity": "2",
        "route": "workforce",
        "moud_friendly": "yes",
        "pathways": ["smart"],
        "strengths": ["job", "family"],
    }
    return form | changes


def test_a_mentor_is_added_and_asked_for_the_one_who_waits(
    center: House, robin: FlaskClient
) -> None:
    story = center.register(language="fr")

    answer = post(robin, "/matching/mentors/new", typed())
    center.settle()

    assert 303 == answer.status_code
    page = read(robin, answer.location)
    assert "+15035550177" in page
    assert "French, English" in page
    assert "Mon 05 Jan 2026, 12:00 PST" in page
    assert "offered" == center.story(story["id"])["state"]


def test_nothing_typed_is_lost_when_something_is_wrong(center: House, robin: FlaskClient) -> None:
    wrong = typed(
        **{"mobile": "12", "credential_ends_on-day": "31", "credential_ends_on-month": "2"}
    )

    answer = post(robin, "/matching/mentors/new", wrong)

    page = answer.get_data(as_text=True)
    assert 422 == answer.status_code
    assert "<title>Error: " in page
    for kept in ("M-20", "Pat", "12", "31", "signed form", "fr, en"):
        assert f'value="{kept}"' in page, kept
    # Two radios, and what was ticked.
    assert 2 + 3 == page.count(" checked")
    assert 'href="#mobile"' in page
    assert 'href="#credential_ends_on"' in page
    assert "cell" not in page
    assert [] == center.rows("matching", "SELECT id FROM mentor WHERE code = 'M-20'")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "M-01"}, "A mentor of yours has this code"),
        ({"code": "M-08"}, "another facility"),
        ({"called": "Sober Pat"}, "says to nobody why people come"),
        ({"route": "qsoa"}, "Enter the last day of the agreement"),
        ({"mobile": ""}, "Fill in the mobile number"),
        ({"capacity": ""}, "Write a whole number from 0 to 200"),
        ({"languages": ""}, "such as en, es"),
    ],
)
def test_what_cannot_be_is_refused_with_its_remedy(
    center: House, robin: FlaskClient, change: dict[str, str], said: str
) -> None:
    before = center.rows("matching", "SELECT code, revision FROM mentor ORDER BY code")

    answer = post(robin, "/matching/mentors/new", typed(**change))

    assert 422 == answer.status_code
    assert said in answer.get_data(as_text=True)
    assert before == center.rows("matching", "SELECT code, revision FROM mentor ORDER BY code")


def _form_of(page: str) -> dict[str, Any]:
    """What a browser would send of a mentor's form that nobody touched."""
    form: dict[str, Any] = {}
    for tag in re.findall(r"<input[^>]*>", page):
        kind, name = re.search(r'type="(\w+)"', tag), re.search(r'name="([\w-]+)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        if name is None or name[1] == "form_token":
            continue
        if kind and kind[1] in ("radio", "checkbox"):
            if " checked" in tag:
                form.setdefault(name[1], []).append(value[1] if value else "")
        else:
            form[name[1]] = value[1] if value else ""
    for name, options in re.findall(r'<select[^>]*name="(\w+)".*?>(.*?)</select>', page, re.S):
        found = re.search(r'value="([^"]*)" selected', options)
        form[name] = found[1] if found else ""
    return form


def test_a_form_that_nobody_touched_changes_nothing(center: House, robin: FlaskClient) -> None:
    path = f"/matching/mentors/{mentor_id(center, 'M-04')}"

    answer = post(robin, f"{path}/edit", _form_of(read(robin, f"{path}/edit")))

    assert (303, path) == (answer.status_code, answer.location)


def test_a_change_is_told_before_it_is_made(center: House, robin: FlaskClient) -> None:
    center.register()
    path = f"/matching/mentors/{mentor_id(center, 'M-01')}"
    form = _form_of(read(robin, f"{path}/edit")) | {"capacity": "0", "called": "Joanna"}

    check = post(robin, f"{path}/edit", form).get_data(as_text=True)
    untouched = read(robin, path)
    back = post(robin, f"{path}/edit", _form_of(check) | form | {"confirmed": "no"})
    saved = post(robin, f"{path}/edit", _form_of(check) | {"confirmed": "yes"})

    assert "They will have 0 places and 1 client" in check
    assert "Joanna" in check
    assert "Joanna" not in untouched
    assert 'value="Joanna"' in back.get_data(as_text=True)
    assert 303 == saved.status_code
    assert "1 of 0 taken" in read(robin, path)
    center.settle()
    assert [] == violated(center)


def test_who_saves_over_somebody_elses_change_is_told(center: House, robin: FlaskClient) -> None:
    path = f"/matching/mentors/{mentor_id(center, 'M-01')}/edit"
    form = _form_of(read(robin, path)) | {"confirmed": "yes"}

    first = post(robin, path, form | {"called": "Joanna"})
    second = post(robin, path, form | {"called": "Josefa"})

    page = second.get_data(as_text=True)
    assert (303, 409) == (first.status_code, second.status_code)
    assert "Somebody else changed this mentor meanwhile" in page
    assert 'value="Josefa"' in page
    again = post(robin, path, _form_of(page) | {"confirmed": "yes"})
    assert 303 == again.status_code
    assert "Josefa" in read(robin, again.location)


def test_a_mentor_is_paused_and_set_active(center: House, robin: FlaskClient) -> None:
    path = f"/matching/mentors/{mentor_id(center, 'M-01')}"

    asked = read(robin, f"{path}/state")
    decide(robin, f"{path}/state")
    center.settle()
    story = center.register()

    assert "Nobody new is given to them" in asked
    assert "Paused" in read(robin, path)
    assert "M-01" != active(center, story["client_id"])[0].code
    decide(robin, f"{path}/state")
    assert "Active" in read(robin, path)


def test_a_mentor_who_texts_meanwhile_is_not_overruled(center: House, robin: FlaskClient) -> None:
    path = f"/matching/mentors/{mentor_id(center, 'M-01')}/state"
    seen = hidden(read(robin, path), "seen")
    center.text(JO, "pause")

    answer = post(robin, path, {"seen": seen})

    assert 409 == answer.status_code
    assert "paused" == center.rows("matching", "SELECT state FROM mentor WHERE code='M-01'")[0][0]


def test_clients_of_another_facility_are_counted_and_not_shown(
    center: House, robin: FlaskClient, casey: FlaskClient
) -> None:
    luz = mentor_id(center, "M-02")
    south = center.register(facility="south", language="es", wants_gender="woman")
    assert "M-02" == active(center, south["client_id"])[0].code

    page = read(robin, f"/matching/mentors/{luz}")

    assert south["client_id"] not in page
    assert "1 more of another facility" in page
    assert south["client_id"] in read(casey, f"/matching/mentors/{luz}")


# --- a file


def a_line(code: str, number: int, **changes: Any) -> str:
    row = {
        "code": code,
        "called": f"M{number}",
        "mobile": f"+1503555{2000 + number}",
        "opted_in_at": "2026-01-05T10:00:00-08:00",
        "opted_in_how": "form",
        "time_zone": "America/Los_Angeles",
        "languages": "fr",
        "moud_friendly": "yes",
        "facilities": "north",
        "capacity": "1",
        "hours": "09:00-20:00",
        "route": "workforce",
        "route_ends_on": "",
        "state": "active",
    } | {name: str(value) for name, value in changes.items()}
    return ",".join(row.values()) + "\n"


def upload(browser: FlaskClient, roster: str) -> Any:
    return post(browser, "/matching/loads/new", {"file": (BytesIO(roster.encode()), "m.csv")})


def test_a_file_is_looked_through_and_its_good_rows_are_loaded(
    center: House, robin: FlaskClient
) -> None:
    story = center.register(language="fr")
    roster = HEADER + a_line("F-1", 1) + a_line("F-2", 2, capacity="many") + a_line("F-3", 3)

    where = upload(robin, roster).location
    looked = read(robin, where)
    stored_before = center.rows("matching", "SELECT id FROM mentor WHERE code LIKE 'F-%'")
    post(robin, where, {"choice": "load"})
    loading = read(robin, where)
    center.settle()
    done = read(robin, where)

    assert "2 good rows, 1 line with errors" in looked
    assert re.search(r"<span>3</span>.*?<span>capacity</span>.*?whole number", looked, re.S)
    assert "many" not in looked
    assert [] == stored_before
    assert "0 of 2 rows are loaded" in loading
    assert '<noscript><meta http-equiv="refresh"' in loading
    assert f'hx-get="{where}"' in loading
    assert "2 mentors added or changed, 0 unchanged" in done
    assert f'hx-get="{where}"' not in done
    assert "offered" == center.story(story["id"])["state"]
    assert [] == center.rows("matching", "SELECT * FROM roster_chunk")


def test_the_same_file_again_changes_nothing(center: House, robin: FlaskClient) -> None:
    roster = HEADER + a_line("F-1", 1) + a_line("F-2", 2)
    for _ in range(2):
        where = upload(robin, roster).location
        post(robin, where, {"choice": "load"})
        center.settle()

    assert "0 mentors added or changed, 2 unchanged" in read(robin, where)
    said = "SELECT count(*) FROM outbox WHERE type = 'MentorChanged'"
    assert 12 + 2 == center.rows("matching", said)[0][0]


def test_a_file_touches_no_other_facility(center: House, robin: FlaskClient) -> None:
    roster = HEADER + (
        a_line("M-08", 1)  # Bo is of the south.
        + a_line("F-1", 2, facilities="south")
        + a_line("M-02", 3)  # Luz is of both, and would leave the south.
        + a_line("F-2", 4, facilities="north|south")
        + a_line("M-11", 5, facilities="north|south")
    )

    page = read(robin, upload(robin, roster).location)

    assert "1 good row, 4 lines with errors" in page
    assert "belongs to a mentor of another facility" in page
    assert "Write north|south" in page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Choose a CSV file"),
        ("nothing,like,it\n1,2,3\n", "Nothing can be loaded"),
        (HEADER, "Nothing can be loaded"),
        ("\ufeff" + HEADER.replace(",", ";") + a_line("F-1", 1).replace(",", ";"), "1 good row"),
    ],
)
def test_a_file_of_any_kind_is_answered(
    center: House, robin: FlaskClient, content: str, said: str
) -> None:
    answer = upload(robin, content)

    page = read(robin, answer.location) if answer.location else answer.get_data(as_text=True)
    assert said in page


def test_a_load_is_decided_once(center: House, robin: FlaskClient) -> None:
    where = upload(robin, HEADER + a_line("F-1", 1)).location

    post(robin, where, {"choice": "drop"})
    post(robin, where, {"choice": "load"})
    center.settle()

    assert "Nothing was loaded" in read(robin, where)
    assert [] == center.rows("matching", "SELECT * FROM roster_chunk")
    assert [] == center.rows("matching", "SELECT id FROM mentor WHERE code = 'F-1'")
    assert 400 == post(robin, where, {"choice": "perhaps"}).status_code


def test_what_a_file_says_is_sealed_and_forgotten_after_a_day(
    center: House, robin: FlaskClient
) -> None:
    where = upload(robin, HEADER + a_line("F-1", 1, called="Wilhelmina")).location
    kept = str(center.rows("matching", "SELECT * FROM roster_chunk, roster_load"))

    center.clock.move(hours=25)
    center.settle()

    assert "box" in kept
    assert not {"Wilhelmina", "15035552001"} & set(re.findall(r"\w+", kept))
    assert [] == center.rows("matching", "SELECT * FROM roster_chunk")
    assert "Nothing was loaded" in read(robin, where)


def test_the_key_of_a_file_is_destroyed_with_the_last_of_it(
    center: House, robin: FlaskClient
) -> None:
    def opened(where: str, choice: str | None) -> bool:
        """Whether what was kept of a file, as a backup has it, opens once it is decided."""
        [kept] = center.rows("matching", "SELECT mentors FROM roster_chunk")
        if choice:
            post(robin, where, {"choice": choice})
        center.clock.move(hours=25)
        center.settle()
        return isinstance(center.matching.keyring.view().open_kept(Rows, kept.mentors), Rows)

    for choice in ("load", "drop", None):
        where = upload(robin, HEADER + a_line("F-1", 1, called="Wilhelmina")).location
        assert not opened(where, choice)
    assert {} == center.violated(at_rest=True)


@pytest.mark.parametrize("how", ["altered", "its key is destroyed"])
def test_a_piece_that_does_not_open_is_told_of_and_holds_up_no_other(
    center: House, robin: FlaskClient, how: str
) -> None:
    first = upload(robin, HEADER + a_line("F-1", 1) + a_line("F-2", 2)).location
    if how == "altered":
        altered = """UPDATE roster_chunk SET mentors = jsonb_set(mentors, '{box}', '"own.AAAA"')"""
        with center.matching.engine.begin() as conn:
            conn.execute(text(altered))
    else:
        center.matching.keyring.destroy([UUID(first.rpartition("/")[2])])
    second = upload(robin, HEADER + a_line("F-3", 3)).location

    for where in (first, second):
        post(robin, where, {"choice": "load"})
    center.settle()

    assert "0 mentors added" in read(robin, first)
    assert "Up to 100 rows could not be read again" in read(robin, first)
    assert "1 mentor added or changed, 0 unchanged" in read(robin, second)
    assert [] == center.rows("matching", "SELECT * FROM roster_chunk")


def test_a_file_does_not_bring_back_whoever_was_erased_since(
    center: House, robin: FlaskClient
) -> None:
    roster = HEADER + a_line("F-1", 1, called="Wilhelmina") + a_line("F-2", 2)
    for choice in ("load", None):
        where = upload(robin, roster).location
        if choice:
            post(robin, where, {"choice": choice})
            center.settle()
    [row] = center.rows("matching", "SELECT id FROM mentor WHERE code = 'F-1'")
    assert coordinating.erase_mentor(center.matching, row.id, by="ops", because="asked")

    post(robin, where, {"choice": "load"})
    center.settle()

    assert [] == center.rows("matching", "SELECT id FROM mentor WHERE code = 'F-1'")
    assert "was erased after the file was looked through" in read(robin, where)
    # A new file with this code is about somebody new.
    where = upload(robin, roster).location
    post(robin, where, {"choice": "load"})
    center.settle()
    [new] = center.rows("matching", "SELECT id FROM mentor WHERE code = 'F-1'")
    assert row.id != new.id


def test_whoever_is_erased_while_they_are_stored_stays_erased(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    [row] = center.rows("matching", "SELECT id FROM mentor WHERE code = 'M-01'")
    put = mentors.put_mentors

    def once_erased(*given: Any) -> Any:
        monkeypatch.undo()
        assert coordinating.erase_mentor(center.matching, row.id, by="ops", because="asked")
        return put(*given)

    monkeypatch.setattr(mentors, "put_mentors", once_erased)
    assert () == mentors.load_roster(center.matching, HEADER + a_line("M-01", 1)).errors
    center.settle()

    stands = "SELECT state, code FROM mentor WHERE id = :id"
    assert ("erased", f"erased/{row.id}") == tuple(center.rows("matching", stands, id=row.id)[0])


def test_two_workers_load_each_piece_once(center: House, robin: FlaskClient) -> None:
    lines = [a_line(f"F-{n}", n, languages="en") for n in range(350)]
    where = upload(robin, HEADER + "".join(lines)).location
    post(robin, where, {"choice": "load"})

    def work_off() -> None:
        loader = RosterLoader(center.matching)
        while loader.step():
            pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: work_off(), range(2)))

    assert "350 mentors added or changed, 0 unchanged" in read(robin, where)
    count = "SELECT count(*) FROM mentor WHERE code LIKE 'F-%'"
    assert 350 == center.rows("matching", count)[0][0]


# --- a client


def test_a_clients_page_says_why_this_mentor_and_who_else(
    center: House, robin: FlaskClient
) -> None:
    story = center.register(moud=True)

    page = read(robin, f"/matching/clients/{story['client_id']}")

    assert "Jo is being asked" in page
    assert re.search(r"The best of \d suitable mentors: shares 1 pathway", page)
    assert "Who could be asked instead, in this order" in page
    assert re.search(r"shared pathways \d,\d{3} of 3,500", page)
    assert "Luz" in page
    assert re.search(r"<li>Ana: no shared language, not MOUD-friendly</li>", page)
    assert f'href="/discharges/{story["id"]}"' in page
    assert "Sam Doe" not in page


def test_a_clients_page_says_why_nobody_and_what_would_help(
    center: House, robin: FlaskClient
) -> None:
    story = center.register(language="fr")

    page = read(robin, f"/matching/clients/{story['client_id']}")

    assert "The client waits for a mentor" in page
    assert "no shared language" in page
    assert "What would help:" in page
    assert "Whom only you can choose, with a reason" in page
    assert "Ask for another mentor" not in page


@pytest.mark.parametrize("state", ["held", "ended"])
def test_nothing_is_decided_for_whom_nobody_is_looked_for(
    center: House, robin: FlaskClient, state: str
) -> None:
    story = center.register()
    if state == "ended":
        center.api().post(f"/api/discharges/{story['id']}/cancel")
        center.settle()
    else:
        center.register(reason="incarcerated")
    client = f"/matching/clients/{story['client_id']}"

    page = read(robin, client)

    assert {"held": "is held", "ended": "has ended"}[state] in page
    assert "/choose/" not in page
    assert 409 == robin.get(f"{client}/another").status_code
    luz = mentor_id(center, "M-02")
    assert 409 == robin.get(f"{client}/choose/{luz}").status_code
    form = {"seen": f"{story['id']}/{state}", "reason": "They know each other"}
    assert 409 == post(robin, f"{client}/choose/{luz}", form).status_code
    assert [] == active(center, story["client_id"])


def test_another_mentor_is_asked_for(center: House, robin: FlaskClient) -> None:
    story = center.register()
    path = f"/matching/clients/{story['client_id']}/another"

    asked = read(robin, path)
    answer = decide(robin, path)
    center.settle()

    assert "The question to Jo is withdrawn" in asked
    assert "Jo is not chosen for this client again" in asked
    assert re.search(r"As things stand now: \w+ is asked by text at once", asked)
    assert 303 == answer.status_code
    [now] = active(center, story["client_id"])
    assert "M-01" != now.code
    assert "no longer open" in center.network.to(JO)[-1]
    told = center.story(story["id"])
    assert "offered" == told["state"]
    ended = next(step for step in told["steps"] if step["what"] == "assignment_ended")
    assert "coordinator_wants_another" == ended["because"]
    assert "a coordinator asked for another mentor" in read(
        robin, f"/matching/clients/{story['client_id']}"
    )
    assert [] == violated(center)


def test_where_nobody_else_is_there_the_client_waits_with_a_task(
    center: House, casey: FlaskClient
) -> None:
    center.load_mentors(HEADER + a_line("F-1", 1, facilities="south"))
    story = center.register(language="fr", facility="south")
    path = f"/matching/clients/{story['client_id']}/another"

    asked = read(casey, path)
    decide(casey, path)
    center.settle()

    assert "Nobody else can be asked now" in asked
    assert "waiting" == center.story(story["id"], "south")["state"]
    assert "nobody_available" in [task["kind"] for task in center.tasks("south")]


def choose(browser: FlaskClient, client_id: str, mentor: str, **form: str) -> Any:
    path = f"/matching/clients/{client_id}/choose/{mentor}"
    return decide(browser, path, **{"reason": "They know each other", **form})


def test_a_coordinator_chooses_somebody_further_down(center: House, robin: FlaskClient) -> None:
    story = center.register()
    ray = mentor_id(center, "M-05")

    answer = choose(robin, story["client_id"], ray)
    center.settle()

    assert 303 == answer.status_code
    assert [("M-05", "offered")] == [(a.code, a.state) for a in active(center, story["client_id"])]
    page = read(robin, answer.location)
    assert "A coordinator chose them: They know each other" in page
    steps = center.story(story["id"])["steps"]
    assert "A coordinator chose them: They know each other" in [s.get("why") for s in steps]
    by_rules, by_hand = center.rows(
        "matching", "SELECT body FROM outbox WHERE type = 'AssignmentOffered' ORDER BY seq"
    )
    assert json.loads(by_rules.body)["decided_by"] is None
    assert UUID(json.loads(by_hand.body)["decided_by"])
    assert b"know each other" not in by_hand.body
    # Jo was not refused, and may be chosen again.
    assert (
        200
        == robin.get(
            f"/matching/clients/{story['client_id']}/choose/{mentor_id(center, 'M-01')}"
        ).status_code
    )
    assert [] == violated(center)


def test_a_soft_rule_is_set_aside_with_a_reason(center: House, casey: FlaskClient) -> None:
    story = center.register(language="fr", facility="south")
    theo = mentor_id(center, "M-10")
    path = f"/matching/clients/{story['client_id']}/choose/{theo}"

    asked = read(casey, path)
    without = choose(casey, story["client_id"], theo, reason=" ")
    waits = center.story(story["id"], "south")["state"]
    choose(casey, story["client_id"], theo, reason="Their sister translates")
    center.settle()

    assert "Against it: no shared language." in asked
    assert "Theo is assigned at once" in asked
    assert 422 == without.status_code
    assert "Say why" in without.get_data(as_text=True)
    assert "waiting" == waits
    assert "assigned" == center.story(story["id"], "south")["state"]
    assert [] == violated(center)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("capacity", {"capacity": 0}),
        ("active", {"state": "paused"}),
        ("route", {"route": "qsoa", "route_ends_on": "2026-11-23"}),
        ("opted_in", {"opted_in_at": "", "opted_in_how": ""}),
    ],
)
def test_a_hard_rule_is_never_set_aside(
    center: House, casey: FlaskClient, rule: str, change: dict[str, Any]
) -> None:
    center.load_mentors(HEADER + a_line("F-1", 1, facilities="south", **change))
    story = center.register(language="fr", facility="south")
    client, f1 = f"/matching/clients/{story['client_id']}", mentor_id(center, "F-1")
    page = read(casey, client)
    seen = {"seen": f"{story['id']}/waiting", "reason": "They know each other"}

    assert f"{client}/choose/{f1}" not in page
    assert 409 == casey.get(f"{client}/choose/{f1}").status_code
    assert 409 == post(casey, f"{client}/choose/{f1}", seen).status_code
    assert [] == active(center, story["client_id"])


def test_somebodys_no_is_never_set_aside(center: House, robin: FlaskClient) -> None:
    story = center.register()
    center.text(JO, "no")
    path = f"/matching/clients/{story['client_id']}/choose/{mentor_id(center, 'M-01')}"

    assert 409 == robin.get(path).status_code


def _jo_says_yes(center: House, story: dict[str, Any]) -> None:
    center.text(JO, "yes")


def _it_is_cancelled(center: House, story: dict[str, Any]) -> None:
    center.api().post(f"/api/discharges/{story['id']}/cancel")
    center.settle()


@pytest.mark.parametrize("meanwhile", [_jo_says_yes, _it_is_cancelled])
@pytest.mark.parametrize("action", ["another", "choose"])
def test_who_comes_too_late_is_told_and_nothing_is_done(
    center: House,
    robin: FlaskClient,
    action: str,
    meanwhile: Callable[[House, dict[str, Any]], None],
) -> None:
    story = center.register()
    client = f"/matching/clients/{story['client_id']}"
    path = f"{client}/another"
    if action == "choose":
        path = f"{client}/choose/{mentor_id(center, 'M-05')}"
    seen = hidden(read(robin, path), "seen")
    meanwhile(center, story)
    before = active(center, story["client_id"])

    answer = post(robin, path, {"seen": seen, "reason": "They know each other"})

    page = answer.get_data(as_text=True)
    assert 409 == answer.status_code
    assert "Something changed meanwhile" in page
    assert f'href="{client}"' in page
    assert before == active(center, story["client_id"])


def test_nothing_is_decided_while_a_fault_is_looked_at(center: House, robin: FlaskClient) -> None:
    story = center.register()
    path = f"/matching/clients/{story['client_id']}"
    seen = hidden(read(robin, f"{path}/another"), "seen")
    center.park("matching", story["client_id"])

    assert "stopped by a fault" in read(robin, path)
    assert 409 == post(robin, f"{path}/another", {"seen": seen}).status_code


def _races(center: House) -> Iterator[tuple[UUID, UUID]]:
    """Many clients, each wanted for the same two mentors, by two coordinators at once."""
    clients = [
        center.register(
            record_number=f"R-{n}",
            mobile=f"+1503555{3000 + n}",
            email=None,
            language="fr",
            facility="south",
        )["client_id"]
        for n in range(4)
    ]
    wanted = [mentor_id(center, code) for code in ("M-10", "F-1")]
    for client in clients:
        for mentor in wanted:
            yield UUID(client), UUID(mentor)


def test_who_was_passed_over_while_a_choice_came_to_nothing_is_looked_at_again(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.load_mentors(HEADER + a_line("F-1", 1, facilities="south", languages="fr", capacity=0))
    waits = center.register(facility="south", language="fr")
    client = UUID(waits["client_id"])
    facility: Any = facility_named(center.matching, "south")
    stand: Any = stand_of(center.matching, facility, client)

    def is_not_possible(*_: object) -> Event:
        # Somebody else has a place free, and passes over whoever is locked here.
        center.load_mentors(HEADER + a_line("F-1", 1, facilities="south", languages="fr"))
        raise NotPossible(("capacity",))

    monkeypatch.setattr(coordinating, "place_by_hand", is_not_possible)
    with pytest.raises(NotPossible):
        choose_mentor(
            center.matching,
            facility,
            client,
            uuid4(),
            seen=stand.mark,
            reason="They know each other",
            by=UUID(NOBODY),
        )
    center.settle()

    assert "assigned" == center.story(waits["id"], "south")["state"]


def test_choices_at_once_break_no_guarantee(center: House) -> None:
    """Whatever comes first: one mentor a client, and nobody over capacity."""
    center.load_mentors(HEADER + a_line("F-1", 1, facilities="south", languages="en"))
    races = list(_races(center))
    facility: Any = facility_named(center.matching, "south")
    stands: Any = {c: stand_of(center.matching, facility, c) for c, _ in races}

    def choose_one(pair: tuple[UUID, UUID]) -> str:
        client, mentor = pair
        try:
            choose_mentor(
                center.matching,
                facility,
                client,
                mentor,
                seen=stands[client].mark,
                reason="They know each other",
                by=UUID(NOBODY),
            )
        except (MovedOn, NotPossible) as late:
            return type(late).__name__
        return "done"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(choose_one, races))
    center.settle()

    # F-1 has one place, and each client is decided on once.
    assert outcomes.count("done") == 4
    assert {"MovedOn", "done"} <= set(outcomes)
    held = center.rows(
        "matching",
        "SELECT m.code, m.capacity, count(*) AS n FROM assignment a"
        " JOIN mentor m ON m.id = a.mentor_id WHERE a.state <> 'ended' GROUP BY 1, 2",
    )
    assert all(row.n <= row.capacity for row in held)
    assert 4 == sum(row.n for row in held)
    assert [] == violated(center)


def test_what_people_typed_is_shown_and_never_run(center: House, robin: FlaskClient) -> None:
    script = "<script>alert(1)</script>"
    where = post(robin, "/matching/mentors/new", typed(called=script)).location
    story = center.register()
    choose(robin, story["client_id"], mentor_id(center, "M-05"), reason=script)

    client = f"/matching/clients/{story['client_id']}"
    for path in (where, f"{where}/edit", f"{where}/state", "/matching/", client):
        page = read(robin, path)
        assert "<script>alert" not in page, path
    assert "&lt;script&gt;alert" in read(robin, client)
