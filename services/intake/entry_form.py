"""The form by which staff enter a discharge: what was typed, as the body that every door makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import ValidationError

from hosting.problems import flat_errors
from hosting.typed_days import NO_DAY, NO_MOMENT, day_as_typed, day_typed, moment_typed
from services.intake.bodies import ConsentsBody, ContactBody, read_body
from services.intake.commands import Refused
from services.intake.domain import CHANNELS, Details, Facility, Person

#: What is wrong with what was typed: field and remedy, in the order of the page.
Errors = list[tuple[str, str]]

#: What says that something typed cannot be taken.
NOT_TAKEN = (ValidationError, Refused)

#: A form's field -> the body's field whose error it shows.
FIELD_OF = {
    "name.given": "given",
    "name.family": "family",
    "name.called": "called",
    "consents.text.obtained_by": "obtained_by",
    "consents.email.obtained_by": "obtained_by",
    "consents.text.method": "method",
    "consents.email.method": "method",
    "consents.text": "agreed",
    "consents.email": "agreed",
}
#: In the order of the page, in which its errors are listed.
_ORDER = (
    "record_number",
    "visit_number",
    "given",
    "family",
    "called",
    "born_on",
    "mobile",
    "email",
    "discharged_at",
    "reason",
    "agreed",
    "obtained_by",
    "method",
)
#: What a form says where the doors of programs speak of fields that are empty or left out.
_REMEDIES = {
    "record_number": "Enter the record number.",
    "visit_number": "Enter the visit number.",
    "obtained_by": "Enter who asked the client.",
    "method": "Choose how they agreed.",
}
_EMPTY = ("Missing data", "Leave the field out", "Must be one of")
_PLAIN = ("record_number", "visit_number", "mobile", "email", "reason", "wishes")
_CHOICES = ("needs", "pathways", "high_risk")
#: How a client is called and reached.
REACHED_BY = ("called", "mobile", "email", "safe_hours")
#: What comes back empty from a correction was emptied there.
_LINES, _DAYS = ("given", "family", "called", "wishes"), ("born_on", "discharged_at")


def body_of(form: Any, facility: Facility, now: datetime) -> dict[str, Any]:
    """The body of ``POST /api/discharges``; what was left empty is left out.

    A day that does not exist stays as it was typed, so that it is refused by its name.
    """
    body: dict[str, Any] = {"facility": facility.code}
    body |= {name: typed for name in _PLAIN if (typed := form.get(name, "").strip())}
    body |= {name: chosen for name in _CHOICES if (chosen := form.getlist(name))}
    name = {part: typed for part in ("given", "family", "called") if (typed := form.get(part, ""))}
    if name:
        body["name"] = name
    if born_on := day_typed(form, "born_on"):
        body["born_on"] = born_on
    if left_at := moment_typed(form, "discharged_at", facility.time_zone):
        body["discharged_at"] = left_at
    if agreed := form.getlist("agreed"):
        body["channels"] = agreed
        body["consents"] = _consents(form, agreed, facility, now)
    return body


def correction_of(
    form: Any, facility: Facility, now: datetime, person: Person, details: Details
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body for the same visit, and what is no longer known of the person.

    What helps is said whole, so that what is no longer ticked is no longer so.
    """
    which = {"record_number": person.record_number, "visit_number": details.visit_number}
    body = body_of(form, facility, now) | which | {n: form.getlist(n) for n in _CHOICES}
    emptied = [n for n in _LINES if n in form and not form[n].strip()]
    emptied += [n for n in _DAYS if f"{n}-day" in form and n not in body]
    return body, tuple(emptied)


def as_typed(facility: Facility, person: Person, details: Details) -> dict[str, Any]:
    """What somebody would have typed who had entered all that is known."""
    left_at = details.discharged_at
    local = left_at.astimezone(ZoneInfo(facility.time_zone)) if left_at else None
    named = ("given", "family", "called", "wishes")
    return (
        {name: getattr(person, name) for name in named}
        | day_as_typed("born_on", person.born_on)
        | day_as_typed("discharged_at", local)
        | {"discharged_at-time": f"{local:%H:%M}" if local else "", "reason": details.reason}
    )


def admission_of(
    form: Any,
    facility: Facility,
    now: datetime,
    record_number: str,
    *,
    keeping: frozenset[str] = frozenset(),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The bodies of ``PUT /api/contact`` and ``PUT /api/consents``, from one form.

    Consents that are kept as they were given are not said again.
    """
    who = {"facility": facility.code, "record_number": record_number}
    contact = {name: typed for name in REACHED_BY if (typed := form.get(name, "").strip())}
    agreed = form.getlist("agreed")
    if agreed:
        contact["channels"] = agreed
    fresh = [channel for channel in agreed if channel not in keeping]
    return who | contact, {**who, "consents": _consents(form, fresh, facility, now)}


def read_admission(
    contact: Mapping[str, Any], consents: Mapping[str, Any]
) -> tuple[ContactBody, ConsentsBody]:
    """Both bodies; raises marshmallow's ValidationError with the errors of both."""
    wrong: dict[str, Any] = {}
    read: list[Any] = []
    for kind, body in ((ContactBody, contact), (ConsentsBody, consents)):
        try:
            read.append(read_body(kind, body))
        except ValidationError as error:
            wrong |= error.messages_dict
    if wrong:
        raise ValidationError(wrong)
    return read[0], read[1]


def seen_of(typed: Any, errors: Errors, mark: str) -> str:
    """What a form that is shown says it was made from.

    One that was refused was made from what it was made from before: only who was told that there
    is something newer (``mark``) may save over it.
    """
    is_told = typed is None or any(field == "seen" for field, _ in errors)
    return mark if is_told else str(typed.get("seen", ""))


def errors_of(error: ValidationError | Refused) -> Errors:
    """What is wrong, by the field of the form that shows it."""
    if isinstance(error, Refused):
        return _shown([(error.args[0], error.args[1])])
    return _shown(flat_errors(error.messages))


def _shown(errors: Iterable[tuple[str, str]]) -> Errors:
    shown: dict[str, str] = {}
    for field, message in errors:
        name = next((FIELD_OF[f] for f in FIELD_OF if field.startswith(f)), field.split(".")[0])
        shown.setdefault(name, _remedy(name, message))
    places = {name: place for place, name in enumerate(_ORDER)}
    return sorted(shown.items(), key=lambda pair: places.get(pair[0], len(places)))


def _remedy(name: str, message: str) -> str:
    if message.startswith("Not a valid"):
        return {"born_on": NO_DAY, "discharged_at": NO_MOMENT}.get(name, message)
    return _REMEDIES.get(name, message) if message.startswith(_EMPTY) else message


def wordings(facility: Facility) -> dict[str, tuple[str, str]]:
    """For each channel, the code and the words of what a client agrees to."""
    found = {}
    for channel in CHANNELS:
        codes = [code for code in facility.wording if code.startswith(channel)]
        code = codes[-1] if codes else f"{channel}-1"
        found[channel] = (code, facility.wording.get(code, ""))
    return found


def _consents(
    form: Any, agreed: list[str], facility: Facility, now: datetime
) -> dict[str, dict[str, str]]:
    words = wordings(facility)
    said = {
        "given_at": now.isoformat(),
        "obtained_by": form.get("obtained_by", ""),
        "method": form.get("method", ""),
    }
    return {c: {**said, "wording": words[c][0]} for c in agreed if c in words}
