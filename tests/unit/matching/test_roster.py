"""Tests of reading mentors from a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosting.hours import parse_hours
from services.intake import bodies as intake
from services.matching.roster import (
    MENTOR,
    NEEDS,
    PATHWAYS,
    MentorRow,
    RosterRead,
    read_mentors,
)
from tests.needs import SHARED, only_with

MESSY = SHARED / "messy" / "csv-spectrum" / "csvs"

ROBIN = {
    "code": "M-1",
    "called": "Robin",
    "mobile": "(503) 555-0123",
    "email": "robin@Bridge.example",
    "opted_in_at": "2026-11-02T09:30:00-08:00",
    "opted_in_how": "signed form",
    "time_zone": "America/Los_Angeles",
    "languages": "en|ES",
    "pathways": "12_step | medication",
    "strengths": "job|self-esteem",
    "moud_friendly": "Yes",
    "age_band": "36-50",
    "gender": "woman",
    "facilities": "north|south",
    "capacity": "5",
    "hours": "Mon-Fri  09:00-20:00",
    "recovery_since": "2018-02-28",
    "credential": "CPRS",
    "credential_ends_on": "2027-05-31",
    "route": "qsoa",
    "route_ends_on": "2027-12-31",
    "state": "active",
}


def a_row(**cells: str) -> dict[str, str]:
    return ROBIN | cells


def a_file(*rows: Mapping[str, str], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(
        out, list(rows[0]), delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL
    )
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def places(read: RosterRead) -> list[tuple[int, str]]:
    return [(error.line, error.field) for error in read.errors]


def test_every_column_becomes_a_value() -> None:
    read = read_mentors(a_file(a_row()))

    assert read == RosterRead(
        mentors=(
            MentorRow(
                code="M-1",
                called="Robin",
                mobile="+15035550123",
                email="robin@bridge.example",
                opted_in_at=datetime(2026, 11, 2, 17, 30, tzinfo=UTC),
                opted_in_how="signed form",
                time_zone="America/Los_Angeles",
                languages=("en", "es"),
                pathways=("12_step", "medication"),
                strengths=("job", "self-esteem"),
                moud_friendly=True,
                age_band="36-50",
                gender="woman",
                facilities=("north", "south"),
                capacity=5,
                hours="mon-fri 09:00-20:00",
                recovery_since=date(2018, 2, 28),
                credential="CPRS",
                credential_ends_on=date(2027, 5, 31),
                route="qsoa",
                route_ends_on=date(2027, 12, 31),
                state="active",
            ),
        ),
        lines=(2,),
        errors=(),
    )


def test_the_columns_are_the_fields_of_a_row() -> None:
    assert list(MENTOR.fields) == [field.name for field in fields(MentorRow)]


def test_mentors_are_described_in_the_words_that_clients_are() -> None:
    assert set(intake.NEEDS) == set(NEEDS)
    assert set(intake.PATHWAYS) == set(PATHWAYS)


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_files_of_common_spreadsheets_are_read(
    delimiter: str, encoding: str, line_end: str
) -> None:
    text = a_file(a_row(called="Zoë"), delimiter=delimiter).replace("\n", line_end)

    read = read_mentors(text.encode(encoding))

    assert ["Zoë"] == [mentor.called for mentor in read.mentors]


def test_columns_may_come_in_any_order_and_optional_ones_may_be_left_out() -> None:
    kept = [name for name in ROBIN if name not in ("email", "age_band", "pathways")]

    read = read_mentors(a_file({name: ROBIN[name] for name in reversed(kept)}))

    assert [(None, None, ())] == [(row.email, row.age_band, row.pathways) for row in read.mentors]


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("code", "M 1"),
        ("code", "M" * 41),
        ("called", "R" * 41),
        ("called", "=HYPERLINK(1)"),
        ("called", "+Robin"),
        ("called", "-Robin"),
        ("called", "@Robin"),
        ("called", "Ro\x07bin"),
        ("called", "Ro\nbin"),
        ("called", "Ro\u202ebin"),
        ("mobile", "+1 503 555 012"),
        ("mobile", "503-555-0123 x4"),
        ("mobile", "call me"),
        ("mobile", "+15035550123|+15035550124"),
        ("email", "robin"),
        ("email", "robin@localhost"),
        ("email", "röbin@bridge.example"),
        ("email", "robin@bridge.example\nBcc: x@bridge.example"),
        ("opted_in_at", "2026-11-02"),
        ("opted_in_at", "2026-11-02T09:30:00"),
        ("opted_in_at", "0001-01-01T00:00:00Z"),
        ("opted_in_how", "=1+1"),
        ("time_zone", "Pacific"),
        ("time_zone", "../../etc/passwd"),
        ("languages", "English"),
        ("languages", "en||es"),
        ("pathways", "12-step"),
        ("strengths", "juggling"),
        ("moud_friendly", "maybe"),
        ("age_band", "40"),
        ("gender", "x"),
        ("facilities", "no rth"),
        ("facilities", "|".join(f"f{n}" for n in range(51))),
        ("capacity", "201"),
        ("capacity", "-1"),
        ("capacity", "2.5"),
        ("capacity", "٣"),
        ("hours", "20:00-09:00"),
        ("hours", "09:00-24:30"),
        ("hours", "weekdays 09:00-20:00"),
        ("recovery_since", "31/05/2019"),
        ("recovery_since", "2019-02-30"),
        ("recovery_since", "0019-05-31"),
        ("credential", "C" * 101),
        ("credential_ends_on", "next year"),
        ("route", "friend"),
        ("route_ends_on", "2027-13-01"),
        ("state", "gone"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(field: str, cell: str) -> None:
    read = read_mentors(a_file(a_row(code="M-0"), a_row(**{field: cell})))

    assert [(3, field)] == places(read)
    assert ["M-0"] == [mentor.code for mentor in read.mentors]


@pytest.mark.parametrize("hours", ["Sat,Sun 10:00-24:00", "fri-mon  09:00 - 20:00"])
def test_hours_are_written_as_they_are_everywhere_else(hours: str) -> None:
    (mentor,) = read_mentors(a_file(a_row(hours=hours))).mentors

    assert parse_hours(hours) == parse_hours(mentor.hours)


def test_no_error_repeats_a_name_a_number_or_an_address() -> None:
    row = a_row(called="=Quillon", mobile="503 867 53091", email="quillon@", credential="=Quillon")

    errors = read_mentors(a_file(row)).errors

    assert ["called", "mobile", "email", "credential"] == [error.field for error in errors]
    assert not [e for e in errors for held in ("quillon", "867") if held in e.message.lower()]


@pytest.mark.parametrize(
    "field",
    [
        "code",
        "called",
        "time_zone",
        "languages",
        "moud_friendly",
        "facilities",
        "capacity",
        "hours",
        "route",
        "state",
        "route_ends_on",
        "opted_in_at",
        "opted_in_how",
    ],
)
def test_a_cell_that_must_not_be_empty_is_named(field: str) -> None:
    assert [(2, field)] == places(read_mentors(a_file(a_row(**{field: " "}))))


def test_a_mentor_without_mobile_and_email_cannot_be_reached() -> None:
    assert [(2, "mobile")] == places(read_mentors(a_file(a_row(mobile="", email=""))))


def test_a_bad_number_is_not_also_called_missing() -> None:
    assert [(2, "mobile")] == places(read_mentors(a_file(a_row(mobile="1", email=""))))


def test_a_mentor_of_the_workforce_needs_no_end_of_the_route() -> None:
    read = read_mentors(a_file(a_row(route="workforce", route_ends_on="")))

    assert () == read.errors


@pytest.mark.parametrize("domain", ["bridge.example", "bridge.test", "bridge.org"])
def test_reserved_domains_are_taken_for_the_sandbox(domain: str) -> None:
    (mentor,) = read_mentors(a_file(a_row(email=f"robin@{domain}"))).mentors

    assert f"robin@{domain}" == mentor.email


def test_a_mentor_who_never_opted_in_is_read_as_such() -> None:
    (mentor,) = read_mentors(a_file(a_row(opted_in_at="", opted_in_how=""))).mentors

    assert mentor.opted_in_at is None


def test_all_errors_of_a_row_are_told_at_once() -> None:
    row = a_row(capacity="many", state="", mobile="1", route_ends_on="")

    fields_told = [field for _, field in places(read_mentors(a_file(row)))]

    assert ["mobile", "capacity", "route_ends_on", "state"] == fields_told


def test_a_code_that_comes_again_is_an_error_of_the_later_row() -> None:
    read = read_mentors(a_file(a_row(), a_row(code="M-2"), a_row(code="m-1")))

    assert [(4, "code")] == places(read)
    assert "line 2" in read.errors[0].message


def test_lines_are_counted_as_an_editor_shows_them() -> None:
    rows = a_file(a_row(opted_in_how="a\nb"), a_row(code="M-2", state="gone"))

    assert [(4, "opted_in_how"), (7, "state")] == places(
        read_mentors("\n\n" + rows.replace('\n"M-2', '\n\n"M-2'))
    )


def test_a_row_with_cells_too_many_or_too_few_is_an_error() -> None:
    text = a_file(a_row(), a_row(code="M-2"), a_row(code="M-3")).splitlines()

    read = read_mentors("\n".join([text[0], text[1], text[2] + ",x", text[3].rpartition(",")[0]]))

    assert [(3, "row"), (4, "row")] == places(read)


def test_a_misspelt_a_missing_and_a_double_column_refuse_the_file() -> None:
    header, rest = a_file(a_row()).split("\n", 1)
    wrong = header.replace("moud_friendly", "mud").replace("email", "mobile")

    read = read_mentors(f"{wrong}\n{rest}")

    assert [(1, "column 11"), (1, "mobile"), (1, "moud_friendly")] == places(read)


def test_a_file_without_a_header_is_refused_without_repeating_its_first_mentor() -> None:
    read = read_mentors(a_file(a_row()).split("\n", 1)[1])

    assert () == read.mentors
    told = " ".join(f"{error.field} {error.message}" for error in read.errors).lower()
    assert not [word for word in ("robin", "0123", "bridge") if word in told]


@pytest.mark.parametrize("text", ["", b"", "\ufeff", "\n \n", b"\xef\xbb\xbf\r\n"])
def test_an_empty_file_is_told(text: str | bytes) -> None:
    assert [(1, "file")] == places(read_mentors(text))


def test_another_encoding_is_named_with_its_line() -> None:
    read = read_mentors(a_file(a_row(), a_row(code="M-2", called="Zoë")).encode("latin-1"))

    assert [(3, "file")] == places(read)


def test_a_quotation_mark_left_open_is_named_with_its_line() -> None:
    text = a_file(a_row(), a_row(code="M-2")).replace('"M-2"', '"M-2')

    assert [(3, "file")] == places(read_mentors(text))


def test_an_enormous_cell_is_refused() -> None:
    assert [(2, "file")] == places(read_mentors(a_file(a_row(called="R" * 1_000_000))))


@only_with(MESSY)
def test_files_of_other_people_are_answered_with_errors() -> None:
    reads = {path.name: read_mentors(path.read_bytes()) for path in MESSY.glob("*.csv")}

    assert reads
    assert not [name for name, read in reads.items() if read.mentors or not read.errors]


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary())
def test_anything_is_answered(text: str | bytes) -> None:
    read = read_mentors(text)

    assert () == read.mentors
    assert read.errors


@settings(max_examples=150, deadline=None)
@given(field=st.sampled_from(list(ROBIN)), cell=st.text(max_size=60))
def test_any_cell_is_either_used_or_named(field: str, cell: str) -> None:
    read = read_mentors(a_file(a_row(**{field: cell})))

    assert (len(read.mentors) == 1) != bool(read.errors)
    assert {error.field for error in read.errors} <= {field}


@given(st.lists(st.sampled_from(NEEDS), min_size=1, max_size=30))
def test_strengths_keep_their_order_and_come_once(strengths: list[str]) -> None:
    (mentor,) = read_mentors(a_file(a_row(strengths="|".join(strengths)))).mentors

    assert tuple(dict.fromkeys(strengths)) == mentor.strengths
