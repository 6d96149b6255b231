"""What mentors type on their pages, read and checked; a fault is the name of its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Length, OneOf, Regexp

from contracts.notifications import MentorProfile
from hosting.hours import DAYS, Hours, parse_hours
from services.mentor_profile import read_capacity, read_hours
from services.notifications.mentors import Contact
from services.wishes import NEEDS

WAYS = ("call", "text", "in_person", "video")
LONGEST_STEP = 500
#: How far back a contact may be told of, and how far a clock may be ahead of ours.
LONGEST_AGO = timedelta(days=60)
SHORTLY = timedelta(minutes=5)


class Unusable(ValueError):
    """Some fields cannot be used; ``args[0]`` names them, in the order of the form."""


class _ContactSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    way = fields.String(required=True, validate=OneOf(WAYS))
    talked = fields.String(required=True, validate=OneOf(("yes", "no")))
    happened_at = fields.NaiveDateTime(required=True)
    next_step = fields.String(load_default="", validate=Length(max=LONGEST_STEP))


class _ProfileSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    capacity = fields.Function(deserialize=lambda text: _read(read_capacity, text), required=True)
    days = fields.List(fields.String(validate=OneOf(DAYS)), validate=Length(min=1))
    begins = fields.String(required=True, validate=Regexp("[0-9]{2}:[0-9]{2}$"))
    ends = fields.String(required=True, validate=Regexp("[0-9]{2}:[0-9]{2}$"))
    strengths = fields.List(fields.String(validate=OneOf(NEEDS)))


def _read(parse: Any, text: str) -> Any:
    try:
        return parse(text.strip())
    except ValueError:
        raise ValidationError("unusable") from None


def read_contact(form: Mapping[str, str], zone: str, now: datetime) -> Contact:
    """A contact as typed; raises ``Unusable``."""
    typed = _load(_ContactSchema(), form)
    happened_at = typed["happened_at"].replace(tzinfo=ZoneInfo(zone))
    if not now - LONGEST_AGO <= happened_at <= now + SHORTLY:
        raise Unusable(["happened_at"])
    return Contact(
        way=typed["way"],
        talked=typed["talked"] == "yes",
        happened_at=min(happened_at, now),
        next_step=typed["next_step"].strip(),
    )


def read_profile(form: Any) -> MentorProfile:
    """Hours, capacity and strengths as typed; raises ``Unusable``."""
    several = {name: form.getlist(name) for name in ("days", "strengths")}
    typed = _load(_ProfileSchema(), {**form.to_dict(), **several})
    ends = "24:00" if typed["ends"] == "00:00" else typed["ends"]
    chosen = [day for day in DAYS if day in typed["days"]]
    days = "" if len(chosen) == len(DAYS) else f"{','.join(chosen)} "
    try:
        hours = read_hours(f"{days}{typed['begins']}-{ends}")
    except ValueError:
        raise Unusable(["ends"]) from None
    strengths = tuple(dict.fromkeys(typed["strengths"]))
    return MentorProfile(hours=hours, capacity=typed["capacity"], strengths=strengths)


def hours_as_typed(text: str) -> dict[str, Any]:
    """Hours as the form shows them."""
    hours: Hours = parse_hours(text)
    return {
        "days": [DAYS[day] for day in sorted(hours.days)],
        "begins": f"{hours.start:%H:%M}",
        "ends": f"{hours.end:%H:%M}",
    }


def _load(schema: Schema, typed: Mapping[str, Any]) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(typed)
    except ValidationError as wrong:
        raise Unusable(_in_order(list(schema.fields), wrong.messages_dict)) from None
    return loaded


def _in_order(names: Sequence[str], wrong: Mapping[Any, Any]) -> list[str]:
    return [name for name in names if name in wrong]
