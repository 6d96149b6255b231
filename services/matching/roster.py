"""Read a CSV file of mentors into plain values, with an error for each cell that cannot be used."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any
from zoneinfo import available_timezones

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from marshmallow import Schema, ValidationError, fields, validates_schema

from services.mentor_profile import MOST_CAPACITY, read_capacity, read_hours
from services.wishes import AGE_BANDS, GENDERS, NEEDS, PATHWAYS

ROUTES = ("workforce", "qsoa")
STATES = ("active", "paused")

LONGEST_NAME = 40
LONGEST_TEXT = 100
MOST_ITEMS = 50
YEARS = range(1900, 2101)

CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
LANGUAGE = re.compile(r"[a-z]{2,3}")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, kw_only=True)
class MentorRow:
    """A mentor as the file tells it; the first language is the one to write to them in."""

    code: str
    called: str
    mobile: str | None = None
    email: str | None = None
    opted_in_at: datetime | None = None
    opted_in_how: str | None = None
    time_zone: str
    languages: tuple[str, ...]
    pathways: tuple[str, ...] = ()
    strengths: tuple[str, ...] = ()
    moud_friendly: bool
    age_band: str | None = None
    gender: str | None = None
    facilities: tuple[str, ...]
    capacity: int
    hours: str
    recovery_since: date | None = None
    credential: str | None = None
    credential_ends_on: date | None = None
    route: str
    route_ends_on: date | None = None
    state: str


@dataclass(frozen=True, kw_only=True)
class RowError:
    """What is wrong in a line, and what to do. It never repeats what a cell holds."""

    line: int
    field: str
    message: str


@dataclass(frozen=True, kw_only=True)
class RosterRead:
    """The mentors of the lines without an error with their lines, and the errors of the others."""

    mentors: tuple[MentorRow, ...]
    lines: tuple[int, ...]
    errors: tuple[RowError, ...]


def read_mentors(
    text: str | bytes, *, reveals: Callable[[str], bool] = lambda words: False
) -> RosterRead:
    """A file whose encoding, quotes or header are wrong is refused whole, other faults by line."""
    try:
        header, *lines = _lines(_decoded(text))
        columns = _columns(header)
    except _FileRefusedError as refused:
        return RosterRead(mentors=(), lines=(), errors=refused.errors)
    mentors: list[MentorRow] = []
    numbers: list[int] = []
    errors: list[RowError] = []
    first_lines: dict[str, int] = {}
    for line in lines:
        read = _mentor(columns, line, first_lines, reveals)
        if isinstance(read, MentorRow):
            mentors.append(read)
            numbers.append(line.number)
        else:
            errors.extend(read)
    return RosterRead(mentors=tuple(mentors), lines=tuple(numbers), errors=tuple(errors))


class _FileRefusedError(Exception):
    """No line of the file can be trusted."""

    def __init__(self, *errors: RowError) -> None:
        super().__init__()
        self.errors = errors


@dataclass(frozen=True, kw_only=True)
class _Line:
    number: int
    cells: Sequence[str]


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = text.count(b"\n", 0, wrong.start) + 1
        message = "This line is not in UTF-8: save the file as CSV UTF-8."
        raise _FileRefusedError(RowError(line=line, field="file", message=message)) from None


def _lines(text: str) -> list[_Line]:
    first = text.lstrip().partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[_Line] = []
    number = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append(_Line(number=number, cells=cells))
            number = reader.line_num + 1
    except csv.Error:
        message = "The cells cannot be told apart from here on: look for a stray quotation mark."
        raise _FileRefusedError(RowError(line=number, field="file", message=message)) from None
    if not lines:
        message = "The file is empty: name the columns in the first line."
        raise _FileRefusedError(RowError(line=1, field="file", message=message))
    return lines


def _columns(header: _Line) -> Sequence[str]:
    columns = [cell.strip().lower() for cell in header.cells]
    faults = list(_faults_of_columns(columns))
    if faults:
        raise _FileRefusedError(
            *(RowError(line=header.number, field=field, message=text) for field, text in faults)
        )
    return columns


def _faults_of_columns(columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    known = MENTOR.fields
    for position, column in enumerate(columns, start=1):
        # A file without a header has a mentor in its first line, so its cells are not repeated.
        if column not in known:
            yield f"column {position}", f"Name this column as one of: {', '.join(known)}."
    for column, count in Counter(columns).items():
        if column in known and count > 1:
            yield column, "Keep only one column of this name."
    for column, field in known.items():
        if field.required and column not in columns:
            yield column, "Add this column."


def _mentor(
    columns: Sequence[str],
    line: _Line,
    first_lines: dict[str, int],
    reveals: Callable[[str], bool],
) -> MentorRow | Sequence[RowError]:
    """``first_lines`` remembers on which line each code came first."""
    if len(line.cells) != len(columns):
        message = (
            f"This line has {len(line.cells)} cells and the header {len(columns)}: look for a "
            "separator too many or too few, and put a cell that holds one in quotation marks."
        )
        return [RowError(line=line.number, field="row", message=message)]
    cells = {
        column: cell.strip()
        for column, cell in zip(columns, line.cells, strict=True)
        if cell.strip()
    }
    values, faults = read_cells(cells, reveals)
    first = first_lines.setdefault(cells.get("code", "").casefold(), line.number)
    if "code" in cells and first != line.number:
        faults["code"] = [f"This code is on line {first} already: give each mentor their own."]
    if not faults:
        return MentorRow(**values)
    return [
        RowError(line=line.number, field=column, message=message)
        for column in MENTOR.fields
        for message in faults.get(column, ())
    ]


def read_cells(
    cells: Mapping[str, str], reveals: Callable[[str], bool]
) -> tuple[Mapping[str, Any], dict[str, list[str]]]:
    """One mentor's cells, without the empty ones: their values, and what is wrong by column."""
    values: Mapping[str, Any] = {}
    faults: dict[str, list[str]] = {}
    try:
        values = MENTOR.load(cells)
    except ValidationError as wrong:
        faults = dict(wrong.messages_dict)
    if reveals(cells.get("called", "")):
        faults["called"] = ["Write a name that says to nobody why people come: clients read it."]
    return values, faults


def _text(longest: int) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        # A spreadsheet that opens a later export would run such a cell as a formula.
        if cell[0] in "=+-@" or len(cell) > longest:
            raise ValueError
        if any(unicodedata.category(character)[0] == "C" for character in cell):
            raise ValueError
        return cell

    return parse


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        if not pattern.fullmatch(cell):
            raise ValueError
        return cell

    return parse


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        return choices[choices.index(cell.lower())]

    return parse


def _several(parse_item: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    def parse(cell: str) -> tuple[str, ...]:
        items = tuple(dict.fromkeys(parse_item(item.strip()) for item in cell.split("|")))
        if len(items) > MOST_ITEMS:
            raise ValueError
        return items

    return parse


def _yes_or_no(cell: str) -> bool:
    return _one_of(("no", "yes"))(cell) == "yes"


def _mobile(cell: str) -> str:
    number = phonenumbers.parse(cell, "US")
    if number.extension or not phonenumbers.is_valid_number(number):
        raise ValueError
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _email(cell: str) -> str:
    # The demo and the sandbox write to reserved domains, which never receive real mail.
    checked = validate_email(
        cell, check_deliverability=False, test_environment=True, allow_smtputf8=False
    )
    return checked.normalized


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(cell: str) -> str:
    if cell not in _zones():
        raise ValueError
    return cell


def _date(cell: str) -> date:
    day = date.fromisoformat(_matching(DATE)(cell))
    if day.year not in YEARS:
        raise ValueError
    return day


def _moment(cell: str) -> datetime:
    moment = datetime.fromisoformat(cell)
    _date(cell[:10])
    if moment.tzinfo is None:
        raise ValueError
    return moment


def _cell(parse: Callable[[str], Any], remedy: str, *, required: bool = False) -> fields.Function:
    def parse_or_say(cell: str) -> Any:
        try:
            return parse(cell)
        except (ValueError, phonenumbers.NumberParseException, EmailNotValidError):
            raise ValidationError(remedy) from None

    return fields.Function(
        deserialize=parse_or_say,
        required=required,
        error_messages={"required": f"This cell is empty. {remedy}"},
    )


def _text_cell(what: str, longest: int, *, required: bool = False) -> fields.Function:
    remedy = (
        f"Write {what}: at most {longest} characters, no line breaks or invisible characters, "
        "and none of = + - @ in front."
    )
    return _cell(_text(longest), remedy, required=required)


class _MentorSchema(Schema):
    code = _cell(
        _matching(CODE),
        "Write a code of up to 40 letters, digits, dots, dashes and underscores.",
        required=True,
    )
    called = _text_cell("the name they go by", LONGEST_NAME, required=True)
    mobile = _cell(
        _mobile, "Write a number that exists, without extension, such as +1 503 555 0123."
    )
    email = _cell(_email, "Write one e-mail address, such as name@example.org.")
    opted_in_at = _cell(
        _moment, "Write the moment with its offset, such as 2026-11-02T09:30:00-08:00."
    )
    opted_in_how = _text_cell("how they agreed", LONGEST_TEXT)
    time_zone = _cell(
        _zone, "Write a time zone by its name, such as America/Los_Angeles.", required=True
    )
    languages = _cell(
        _several(lambda item: _matching(LANGUAGE)(item.lower())),
        "Write languages by their codes of two or three letters, such as en|es.",
        required=True,
    )
    pathways = _cell(_several(_one_of(PATHWAYS)), f"Use these words only: {'|'.join(PATHWAYS)}.")
    strengths = _cell(_several(_one_of(NEEDS)), f"Use these words only: {'|'.join(NEEDS)}.")
    moud_friendly = _cell(_yes_or_no, "Write yes or no.", required=True)
    age_band = _cell(_one_of(AGE_BANDS), f"Write one of: {', '.join(AGE_BANDS)}.")
    gender = _cell(_one_of(GENDERS), f"Write one of: {', '.join(GENDERS)}.")
    facilities = _cell(
        _several(_matching(CODE)),
        "Write the codes of their facilities, such as north|south.",
        required=True,
    )
    capacity = _cell(
        read_capacity, f"Write a whole number from 0 to {MOST_CAPACITY}.", required=True
    )
    hours = _cell(
        read_hours, "Write hours such as 09:00-20:00 or mon-fri 09:00-20:00.", required=True
    )
    recovery_since = _cell(_date, "Write a date such as 2019-05-31.")
    credential = _text_cell("the credential", LONGEST_TEXT)
    credential_ends_on = _cell(_date, "Write its last day, such as 2027-05-31.")
    route = _cell(_one_of(ROUTES), f"Write one of: {', '.join(ROUTES)}.", required=True)
    route_ends_on = _cell(_date, "Write its last day, such as 2027-05-31.")
    state = _cell(_one_of(STATES), f"Write one of: {', '.join(STATES)}.", required=True)

    # Looks at the cells as written, so that a bad cell is not also called a missing one.
    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _cells_fit_together(
        self, values: Mapping[str, Any], cells: Mapping[str, str], **_: Any
    ) -> None:
        faults: dict[str, list[str]] = {}
        if "mobile" not in cells and "email" not in cells:
            faults["mobile"] = ["Fill in the mobile number, the e-mail address or both."]
        if "opted_in_at" in cells and "opted_in_how" not in cells:
            faults["opted_in_how"] = ["Say how they agreed, or leave opted_in_at empty too."]
        if "opted_in_how" in cells and "opted_in_at" not in cells:
            faults["opted_in_at"] = ["Say when they agreed, or leave opted_in_how empty too."]
        if values.get("route") == "qsoa" and "route_ends_on" not in cells:
            faults["route_ends_on"] = ["Write the last day of the QSOA, such as 2027-05-31."]
        if faults:
            raise ValidationError(faults)


MENTOR = _MentorSchema()
