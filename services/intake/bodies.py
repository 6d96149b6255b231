"""The shapes of what comes in, by any door, and what is refused with which remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any
from zoneinfo import available_timezones

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from marshmallow import ValidationError
from marshmallow.validate import Length, OneOf, Range, Validator

from contracts.wire import load_strictly
from hosting.hours import parse_hours
from services.intake.domain import CHANNELS, HIGH_RISK_FLAGS, REASONS
from services.wishes import AGE_BANDS, GENDERS, NEEDS, PATHWAYS

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Two of the names say nothing about a place.
_ZONES = frozenset(available_timezones()) - {"Factory", "localtime"}


class _Plain(Validator):
    """Text on one line, without what no keyboard makes."""

    def __call__(self, value: str) -> str:
        if _CONTROL.search(value):
            raise ValidationError("Leave out control characters and line breaks.")
        if not value.strip():
            raise ValidationError("Leave the field out instead of sending it empty.")
        return value


class _Zone(Validator):
    def __call__(self, value: str) -> str:
        if value not in _ZONES:
            raise ValidationError("Use a zone of the IANA list, such as America/Los_Angeles.")
        return value


class _Phone(Validator):
    def __call__(self, value: str) -> str:
        if e164(value) is None:
            raise ValidationError("Use a number that can be dialled, such as +15035550123.")
        return value


class _Email(Validator):
    def __call__(self, value: str) -> str:
        try:
            # Not every relay takes other letters than ASCII.
            validate_email(value, check_deliverability=False, allow_smtputf8=False)
            value.encode("ascii")
        except (EmailNotValidError, UnicodeEncodeError):
            raise ValidationError("Use an address such as sam@example.org.") from None
        return value


class _Language(Validator):
    def __call__(self, value: str) -> str:
        if not re.fullmatch(r"[a-z]{2,3}", value):
            raise ValidationError("Use a code of ISO 639, such as en or es.")
        return value


class _Born(Validator):
    def __call__(self, value: date) -> date:
        today = datetime.now(UTC).date()
        if not today.year - 120 <= value.year or value > today:
            raise ValidationError("Use the date of birth of a living person, as YYYY-MM-DD.")
        return value


class _Year(Validator):
    """A moment that a calendar in use could show; whether it is current is judged later."""

    def __call__(self, value: datetime) -> datetime:
        if not 1900 <= value.year <= datetime.now(UTC).year + 30:
            raise ValidationError("Use a date that can be meant, as 2026-11-23T10:00:00-08:00.")
        return value


class _Hours(Validator):
    def __call__(self, value: str) -> str:
        try:
            parse_hours(value)
        except ValueError:
            raise ValidationError("Use hours such as 09:00-17:00.") from None
        return value


_Number = Annotated[str, Length(max=64), _Plain()]
_Name = Annotated[str, Length(max=100), _Plain()]
_Words = Annotated[str, Length(max=300), _Plain()]
_Code = Annotated[str, Length(max=64), _Plain()]
_Channel = Annotated[str, OneOf(tuple(CHANNELS))]
_Need = Annotated[str, OneOf(NEEDS)]
_Pathway = Annotated[str, OneOf(PATHWAYS)]
_Flag = Annotated[str, OneOf(HIGH_RISK_FLAGS)]


@dataclass(frozen=True, kw_only=True)
class Name:
    given: _Name | None = None
    family: _Name | None = None
    called: _Name | None = None


@dataclass(frozen=True, kw_only=True)
class Consent:
    given_at: Annotated[datetime, _Year()]
    obtained_by: _Name
    method: Annotated[str, OneOf(["written", "verbal", "electronic"])]
    wording: _Code


@dataclass(frozen=True, kw_only=True)
class Consents:
    text: Consent | None = None
    email: Consent | None = None


@dataclass(frozen=True, kw_only=True)
class ContactBody:
    """How a client is reached: ``PUT /api/contact``. An explicit null removes what was known."""

    facility: _Code
    record_number: _Number
    mobile: Annotated[str, Length(max=32), _Phone()] | None = None
    email: Annotated[str, Length(max=254), _Email()] | None = None
    language: Annotated[str, _Language()] | None = None
    time_zone: Annotated[str, _Zone()] | None = None
    called: _Name | None = None
    channels: Annotated[tuple[_Channel, ...], Length(max=4)] | None = None
    safe_hours: Annotated[str, Length(max=40), _Hours()] | None = None


@dataclass(frozen=True, kw_only=True)
class ConsentsBody:
    """All that a client agrees to: ``PUT /api/consents``. What is absent is revoked."""

    facility: _Code
    record_number: _Number
    consents: Consents


@dataclass(frozen=True, kw_only=True)
class DischargeBody:
    """A discharge as it is entered: ``POST /api/discharges``."""

    facility: _Code
    record_number: _Number
    visit_number: _Number
    name: Name | None = None
    born_on: Annotated[date, _Born()] | None = None
    mobile: Annotated[str, Length(max=32), _Phone()] | None = None
    email: Annotated[str, Length(max=254), _Email()] | None = None
    language: Annotated[str, _Language()] | None = None
    time_zone: Annotated[str, _Zone()] | None = None
    channels: Annotated[tuple[_Channel, ...], Length(max=4)] | None = None
    safe_hours: Annotated[str, Length(max=40), _Hours()] | None = None
    discharged_at: Annotated[datetime, _Year()] | None = None
    reason: Annotated[str, OneOf(REASONS)] | None = None
    level_of_care: _Code | None = None
    moud: bool | None = None
    needs: Annotated[tuple[_Need, ...], Length(max=20)] | None = None
    pathways: Annotated[tuple[_Pathway, ...], Length(max=10)] | None = None
    substances: Annotated[tuple[_Code, ...], Length(max=20)] | None = None
    high_risk: Annotated[tuple[_Flag, ...], Length(max=10)] | None = None
    wants_gender: Annotated[str, OneOf(GENDERS)] | None = None
    wants_age_band: Annotated[str, OneOf(AGE_BANDS)] | None = None
    wishes: _Words | None = None
    unit: _Code | None = None
    service: _Code | None = None
    consents: Consents | None = None


@dataclass(frozen=True, kw_only=True)
class DoneBody:
    """Why a task is done: ``POST /api/tasks/{id}/done``."""

    reason: _Words


@dataclass(frozen=True, kw_only=True)
class PersonOfFacility:
    name: _Name
    phone: Annotated[str, Length(max=32), _Phone()]
    email: Annotated[str, Length(max=254), _Email()]


@dataclass(frozen=True, kw_only=True)
class FacilityEntry:
    """One facility of the facilities file."""

    code: _Code
    alias: Annotated[str, Length(max=40), _Plain()]
    time_zone: Annotated[str, _Zone()]
    coordinator: PersonOfFacility
    on_call: PersonOfFacility
    wording: dict[str, str]
    asks: bool = True
    language: Annotated[str, _Language()] = "en"
    promised_hours: Annotated[int, Range(min=1, max=168)] = 24
    quiet_hours: Annotated[str, _Hours()] = "09:00-20:00"
    units: tuple[_Code, ...] = ()
    services: tuple[_Code, ...] = ()


def read_body(cls: type[Any], data: Mapping[str, Any]) -> Any:
    """The body as a dataclass; raises marshmallow's ValidationError with every error."""
    return load_strictly(cls, data)


def usable(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a feed's message holds that can be used, and the names of what cannot.

    A feed is not a person who could correct a field: an unusable optional value is left out and
    named, so that the discharge is held for it instead of being refused.
    """
    kept = dict(values)
    left_out: list[str] = []
    while True:
        try:
            load_strictly(DischargeBody, kept)
            return kept, tuple(left_out)
        except ValidationError as error:
            wrong = [name for name in error.messages_dict if name in kept]
            identity = {"facility", "record_number", "visit_number"} & error.messages_dict.keys()
            if identity or not wrong:
                raise
            for name in wrong:
                kept.pop(name)
            left_out.extend(wrong)


def e164(text: str) -> str | None:
    """A phone number in E.164, read as one of the United States; None if it cannot be dialled.

    Behind an extension is a switchboard, and E.164 would drop the extension.
    """
    try:
        number = phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
