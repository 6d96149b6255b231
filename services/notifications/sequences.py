"""Sequences of messages over days: a data file each, looked at as a whole when we start."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates

from hosting.settings import SettingsError

SEQUENCES = Path(__file__).with_name("sequences")


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """When the steps of a sequence are due, and what follows from answers and from silence."""

    days: tuple[int, ...]
    jitter_minutes: int
    stale_after_hours: int
    unanswered: int
    answer_within_hours: int
    contact_within_hours: int


class _SequenceSchema(Schema):
    days = fields.List(
        fields.Integer(strict=True, validate=validate.Range(min=1, max=3650)),
        required=True,
        validate=validate.Length(min=1),
    )
    jitter_minutes = fields.Integer(
        strict=True, required=True, validate=validate.Range(min=0, max=240)
    )
    stale_after_hours = fields.Integer(
        strict=True, required=True, validate=validate.Range(min=1, max=23)
    )
    unanswered = fields.Integer(strict=True, required=True, validate=validate.Range(min=1))
    answer_within_hours = fields.Integer(strict=True, required=True, validate=validate.Range(min=1))
    contact_within_hours = fields.Integer(
        strict=True, required=True, validate=validate.Range(min=1)
    )

    @validates("days")
    def _in_order(self, days: list[int], **_: Any) -> None:
        if days != sorted(set(days)):
            raise ValidationError("Name each day once, the earliest first.")

    @post_load
    def _make(self, values: dict[str, Any], **_: Any) -> Sequence:
        return Sequence(**(values | {"days": tuple(values["days"])}))


@cache
def sequence(name: str, folder: Path = SEQUENCES) -> Sequence:
    """The sequence of this name; raises ``SettingsError``, which says what to mend."""
    path = folder / f"{name}.toml"
    try:
        found: Sequence = _SequenceSchema().load(tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise SettingsError(f"the sequence in {path.name} cannot be read: {error}") from None
    return found
