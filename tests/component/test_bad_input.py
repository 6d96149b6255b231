"""Whatever is sent: a clear answer that names field and remedy, and nothing half-stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from marshmallow import ValidationError
from sqlalchemy import select

from messaging.work import Work, new_traceparent
from services.intake.bodies import (
    ConsentsBody,
    ContactBody,
    DischargeBody,
    DoneBody,
    FacilityEntry,
    read_body,
)
from services.intake.domain import Person
from services.intake.sources.hl7v2 import Message, Refused, read
from services.intake.store import CLIENT
from tests.house import MORNING, House, a_discharge, an_empty_house
from tests.needs import SHARED, only_with

NAUGHTY = SHARED / "messy" / "naughty-strings" / "blns.json"
STRINGS: list[str] = json.loads(NAUGHTY.read_text("utf-8")) if NAUGHTY.is_file() else []
needs_strings = only_with(NAUGHTY)


@pytest.fixture(scope="module")
def center(engines: dict[str, str]) -> Iterator[House]:
    """One center for all bad input: what one request leaves behind, the next would meet."""
    with an_empty_house(engines) as house:
        house.load_demo()
        yield house


@pytest.fixture(scope="module")
def caller(center: House) -> FlaskClient:
    """The API, as north calls it."""
    return center.api()


def filled(**changes: Any) -> dict[str, Any]:
    """A discharge with every field that there is."""
    everything = {
        "channels": ["text", "email"],
        "safe_hours": "09:00-17:00",
        "level_of_care": "residential_short",
        "moud": True,
        "substances": ["alcohol"],
        "high_risk": ["lives_alone"],
        "wants_gender": "woman",
        "wants_age_band": "36-50",
        "wishes": "Calls after work",
        "unit": "West 2",
        "service": "Detox",
    }
    return a_discharge(MORNING, **everything) | changes


def stored(center: House) -> list[int]:
    """How much there is of everything that a request may store."""
    tables = ("client", "discharge", "consent", "task", "step", "outbox", "answered", "timer")
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    return list(center.rows("intake", f"SELECT {counts}")[0])


def fields_of(answer: Any, *statuses: int) -> set[str]:
    """The fields that a refusal names; each comes with a remedy."""
    assert answer.status_code in statuses, answer.get_data(as_text=True)[:500]
    assert "application/problem+json" == answer.content_type
    problem = answer.get_json()
    assert all(error["message"] for error in problem["errors"])
    assert problem["errors"] or problem["detail"]
    return {error["field"] for error in problem["errors"]}


UNREADABLE = {
    "nothing": b"",
    "half an object": b'{"facility": "north", "record_number": "R-1"',
    "a number that is none": b'{"facility": "north", "record_number": NaN}',
    "a number without end": b'{"facility": "north", "moud": -Infinity}',
    "a list": b"[]",
    "a word": b'"north"',
    "null": b"null",
    "bytes that are no text": b'{"facility": "\xff\xfe"}',
    "another encoding": '{"facility": "north"}'.encode("utf-16"),
    "ten thousand brackets": b"[" * 10_000,
    "a number of a megabyte": b'{"moud": ' + b"9" * 1_000_000 + b"}",
    "two objects": b"{}{}",
    "a comment": b'{"facility": "north"} // north',
}


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/discharges"), ("PUT", "/api/consents"), ("PUT", "/api/contact")],
)
def test_what_is_not_a_json_object_is_refused(
    center: House, caller: FlaskClient, what: str, method: str, path: str
) -> None:
    before = stored(center)

    answer = caller.open(
        path, method=method, data=UNREADABLE[what], content_type="application/json"
    )

    fields_of(answer, 400)
    assert before == stored(center)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"facility": "north", "facility": "south"}', "facility"),
        ('{"facility": "north", "name": {"given": "A", "given": "B"}}', "given"),
    ],
)
def test_a_field_that_comes_twice_is_not_guessed_at(
    center: House, caller: FlaskClient, body: str, field: str
) -> None:
    answer = caller.post("/api/discharges", data=body, content_type="application/json")

    assert {field} == fields_of(answer, 400)


CONSENT = a_discharge(MORNING)["consents"]["text"]
REFUSED: list[tuple[str, Any]] = [
    ("facility", None),
    ("facility", 7),
    ("facility", ["north"]),
    *[("record_number", value) for value in (None, "", "  ", 7, "R\x00", "R\n1", "x" * 65)],
    *[("visit_number", value) for value in (None, "", True, "V\u2028", "\ud800", {})],
    *[("name", value) for value in ("Sam", [], 7)],
    *[
        ("name.given", {"given": value})
        for value in ("", 7, "Sam\tDoe", "Sam\x1b[31m", "\x7f", "x" * 101)
    ],
    ("name.middle", {"given": "Sam", "middle": "J"}),
    *[
        ("born_on", value)
        for value in ("1990-02-30", "0000-00-00", "02/04/1990", 19900402, "1850-01-01", "")
    ],
    *[
        ("mobile", value)
        for value in (
            *("12345", "911", "+1503555012345678", "call me", 5035550123, "+1 503 555"),
            "+1 503 555 0123 ext 5",
        )
    ],
    *[
        ("email", value)
        for value in (
            *("sam", "sam@", "a@b@c", "sam@exa mple.org", "sam@x.org\r\nBcc: y@z.org"),
            *("sám@example.org", "sam@exämple.org", "\ud800@example.org"),
        )
    ],
    *[("language", value) for value in ("english", "EN", "", "e")],
    *[
        ("time_zone", value)
        for value in ("Mars/Base", "../../etc/passwd", "PST8PDT9", "", "localtime")
    ],
    *[("channels.0", value) for value in (["fax"], [7])],
    *[("channels", value) for value in ("text", ["text"] * 5)],
    *[("safe_hours", value) for value in ("25:00-26:00", "17:00-09:00", "always", "9-5")],
    *[
        ("discharged_at", value)
        for value in (
            "yesterday",
            "2026-11-23",
            "2026-11-23T10:00:00",
            "2026-11-23T10:00:00+99:00",
            "2026-13-45T10:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-12:00",
            1795000000,
        )
    ],
    *[("reason", value) for value in ("better", "DIED", 7, [])],
    *[("moud", value) for value in ("yes", 2, "true", [])],
    *[("needs", value) for value in ("job", {"job": True}, ["job"] * 21)],
    *[("needs.1", value) for value in (["job", "jobs"], ["job", None])],
    *[("pathways.0", value) for value in (["twelve"], [[]])],
    *[("substances.0", value) for value in ([""], [7])],
    ("high_risk.0", ["bored"]),
    ("wants_gender", "any"),
    ("wants_age_band", "18"),
    ("wishes", "x" * 301),
    ("ssn", "123-45-6789"),
    ("consents", "text"),
    ("consents.fax", {"fax": CONSENT}),
    ("consents.text", {"text": True}),
    ("consents.text.given_at", {"text": CONSENT | {"given_at": "2026-11-23"}}),
    ("consents.text.given_at", {"text": CONSENT | {"given_at": "2027-01-01T00:00:00Z"}}),
    ("consents.text.method", {"text": CONSENT | {"method": "telepathy"}}),
    ("consents.text.wording", {"text": CONSENT | {"wording": "text-9"}}),
    ("consents.text.obtained_by", {"text": {k: CONSENT[k] for k in CONSENT if k != "obtained_by"}}),
]


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_a_field_that_cannot_be_used_is_named(
    center: House, caller: FlaskClient, field: str, value: Any
) -> None:
    before = stored(center)
    body = filled(**{field.partition(".")[0]: value})

    answer = caller.post("/api/discharges", json=body)

    assert {field} == fields_of(answer, 422)
    assert before == stored(center)


@pytest.mark.parametrize("days", [1, 400, 40_000])
def test_nobody_is_born_in_the_future(caller: FlaskClient, days: int) -> None:
    born = date.today() + timedelta(days=days + 1)

    answer = caller.post("/api/discharges", json=filled(born_on=born.isoformat()))

    assert {"born_on"} == fields_of(answer, 422)


def test_every_error_is_named_at_once(caller: FlaskClient) -> None:
    body = filled(mobile="1", email="x", born_on="y", needs=["z"], extra=1)

    answer = caller.post("/api/discharges", json=body)

    assert {"mobile", "email", "born_on", "needs.0", "extra"} == fields_of(answer, 422)


@pytest.mark.parametrize("name", ["wishes", "record_number", "visit_number", "mobile", "email"])
def test_a_megabyte_of_text_harms_nothing(center: House, caller: FlaskClient, name: str) -> None:
    before = stored(center)

    long = caller.post("/api/discharges", json=filled(**{name: "a" * 1_000_000}))
    longer = caller.post("/api/discharges", json=filled(**{name: "a" * 1_200_000}))

    assert {name} == fields_of(long, 422)
    fields_of(longer, 413)
    assert before == stored(center)


def test_a_body_of_another_content_type_is_refused(caller: FlaskClient) -> None:
    form = caller.post("/api/discharges", data={"facility": "north"})
    text = caller.post("/api/hl7", data="MSH|", content_type="text/plain")

    fields_of(form, 415)
    fields_of(text, 415)


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_a_key_of_no_use_is_refused(caller: FlaskClient, key: str) -> None:
    answer = caller.post("/api/discharges", json=filled(), headers={"Idempotency-Key": key})

    assert {"Idempotency-Key"} == fields_of(answer, 400)


def test_after_all_of_it_a_discharge_is_taken_as_ever(center: House, caller: FlaskClient) -> None:
    answer = caller.post("/api/discharges", json=filled(record_number="R-last"))
    center.settle()

    assert 202 == answer.status_code
    assert "offered" == center.story(answer.get_json()["id"])["state"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value could be replaced: every member, and every member of those."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else []
    if isinstance(value, list):
        inner = list(enumerate(value))
    for name, member in inner:
        yield from places(member, (*path, name))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


PERSON = {"name": "Robin", "phone": "+15035550181", "email": "r@north.example.org"}
BODIES: dict[type[Any], dict[str, Any]] = {
    DischargeBody: filled(),
    ConsentsBody: {name: filled()[name] for name in ("facility", "record_number", "consents")},
    ContactBody: {
        name: filled()[name]
        for name in (
            *("facility", "record_number", "mobile", "email", "language", "time_zone"),
            *("channels", "safe_hours"),
        )
    }
    | {"called": "Sam"},
    DoneBody: {"reason": "called"},
    FacilityEntry: {
        "code": "north",
        "alias": "Bridge North",
        "time_zone": "America/Los_Angeles",
        "coordinator": PERSON,
        "on_call": PERSON,
        "wording": {"text-1": "I agree."},
        "asks": True,
        "language": "en",
        "promised_hours": 24,
        "quiet_hours": "09:00-20:00",
        "units": ["West 2"],
        "services": ["Detox"],
    },
}


@needs_strings
@pytest.mark.parametrize("shape", BODIES)
def test_each_string_in_each_field_is_kept_whole_or_refused(shape: type[Any]) -> None:
    body = BODIES[shape]
    assert is_dataclass(shape)
    assert {field.name for field in fields(shape)} == body.keys()

    refused: list[dict[str, Any]] = []
    for path in places(body):
        for text in STRINGS:
            try:
                loaded = read_body(shape, replaced(body, path, text))
            except ValidationError as error:
                refused.append(error.messages_dict)
            else:
                assert text == found(loaded, path), path
    assert all(refused)


def found(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        is_inner = isinstance(value, (dict, tuple))
        value = value[name] if is_inner else getattr(value, name)
    return str(value) if isinstance(value, date) else value


def discharges(center: House) -> set[str]:
    return {str(row.id) for row in center.rows("intake", "SELECT id FROM discharge")}


def persons(center: House, facility: str) -> dict[UUID, Person]:
    """Everybody whom intake knows at a facility, opened."""
    place = center.desk.facility(facility).id
    with center.intake.engine.connect() as conn:
        query = select(CLIENT.c.id, CLIENT.c.person).where(CLIENT.c.facility_id == place)
        rows = conn.execute(query).all()
        work = Work(center.intake, conn, new_traceparent())
        work.keys.need([("identity", row.id) for row in rows])
        opened = {row.id: work.keys.open_kept(Person, row.person) for row in rows}
    return {key: person for key, person in opened.items() if isinstance(person, Person)}


def assert_nothing_is_half_stored(center: House) -> None:
    """Every discharge has its client, its first step and what was said of it."""
    without = center.rows(
        "intake",
        """
        SELECT d.id FROM discharge d
        WHERE NOT EXISTS (SELECT FROM client c WHERE c.id = d.client_id)
           OR NOT EXISTS (SELECT FROM step s WHERE s.discharge_id = d.id AND s.what = 'received')
           OR NOT EXISTS (SELECT FROM outbox o WHERE o.key = d.client_id
                          AND o.type IN ('ClientDischarged', 'DischargeHeld'))
           OR (d.state = 'held') != EXISTS (SELECT FROM task t WHERE t.discharge_id = d.id)
        """,
    )
    lonely = center.rows(
        "intake",
        "SELECT id FROM client c WHERE NOT EXISTS"
        " (SELECT FROM discharge d WHERE d.client_id = c.id)",
    )
    assert ([], []) == (without, lonely)


@needs_strings
def test_each_string_through_the_json_door_is_kept_whole_or_refused(
    center: House, caller: FlaskClient
) -> None:
    before = discharges(center)
    kept: dict[str, tuple[str, dict[str, str]]] = {}

    for number, text in enumerate(STRINGS):
        short = text if len(text) <= 64 else f"R-{number}"
        body = filled(
            record_number=short,
            visit_number=short,
            name={"given": text, "family": text, "called": text},
            wishes=text,
            level_of_care=short,
            substances=[short],
            unit=short,
            service=short,
        )
        body["consents"]["text"] = body["consents"]["text"] | {"obtained_by": text}
        answer = caller.post("/api/discharges", json=body)
        if answer.status_code == 202:
            kept[answer.get_json()["client_id"]] = (answer.get_json()["id"], body)
        else:
            assert fields_of(answer, 422), text

    known = persons(center, "north")
    assert len(kept) > 400
    assert {found_id for found_id, _ in kept.values()} == discharges(center) - before
    for client_id, (_, body) in kept.items():
        person = known[UUID(client_id)]
        assert body["name"]["given"] == person.given == person.family == person.called
        assert body["wishes"] == person.wishes
        assert body["record_number"].strip() == person.record_number
    assert_nothing_is_half_stored(center)


def escaped(text: str) -> str:
    names = dict(zip("|^~\\&", "FSRET", strict=True))
    return "".join(f"\\{names[letter]}\\" if letter in names else letter for letter in text)


def feed(number: int, text: str) -> bytes:
    """A discharge as a record system tells it, with every field that is read set to the text."""
    return (
        f"MSH|^~\\&|{text}|{text}|WH|P|20261124||ADT^A03|C-{number}|P|2.5.1||||||UNICODE UTF-8\r"
        f"EVN||20261124\r"
        f"PID|||{text}^^^N^MR||{text}^{text}||19900402||||||{text}^PRN^CP~(503)555-0123^PRN^CP"
        f"||{text}\r"
        f"PV1||I|{text}|||||||{text}{'|' * 9}{text}{'|' * 17}01|||||||||20261123\r"
    ).encode("utf-8", "surrogatepass")


@needs_strings
def test_each_string_in_a_feed_is_read_or_refused() -> None:
    for number, text in enumerate(STRINGS):
        for written in (text, escaped(text)):
            try:
                answer: Message | Refused = read(feed(number, written), default_zone="UTC")
            except Refused as refused:
                answer = refused
            assert isinstance(answer, Message) or answer.remedy


@needs_strings
def test_each_string_through_the_hl7_door_is_acknowledged(center: House) -> None:
    caller = center.api("south")
    codes = set()
    taken: dict[str, str] = {}

    for number, text in enumerate(STRINGS):
        answer = caller.post(
            "/api/hl7", data=feed(number, escaped(text)), content_type="application/hl7-v2"
        )
        body = answer.get_data(as_text=True)
        code = re.search(r"\rMSA.(A[AE])", body)
        assert answer.status_code == 200, text
        assert code is not None, body
        codes.add(code[1])
        if code[1] == "AA":
            taken[text.strip()] = " ".join(text.split())
        else:
            assert re.search(r"\rERR\|\|[A-Z0-9]{3}\^1[^\r]*\|[^|\r]+\r", body), body

    known = {person.record_number: person for person in persons(center, "south").values()}
    assert {"AA", "AE"} == codes
    assert taken.keys() == known.keys()
    for record_number, words in taken.items():
        if words.isprintable() and len(words) <= 100 and words != '""':
            assert words == known[record_number].given == known[record_number].family
    assert_nothing_is_half_stored(center)
