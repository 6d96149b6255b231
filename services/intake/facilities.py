"""Facilities from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass

from marshmallow import ValidationError

from hosting.problems import flat_errors
from services.intake.bodies import FacilityEntry, read_body
from services.intake.commands import Desk


@dataclass(frozen=True, kw_only=True)
class FileError:
    """What is wrong with an entry, and what to do. It never repeats a value but the code."""

    facility: str
    field: str
    message: str


def load_facilities(
    desk: Desk, text: bytes, *, reveals: Callable[[str], bool] = lambda words: False
) -> tuple[list[str], list[FileError]]:
    """Store every entry that has no error; the codes stored, and the errors of the others.

    ``reveals`` says of words whether they must not stand in a message.
    """
    try:
        entries = tomllib.loads(text.decode("utf-8")).get("facility", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return [], [FileError(facility="file", field="toml", message="The file is not TOML.")]
    stored: list[str] = []
    errors: list[FileError] = []
    for number, entry in enumerate(entries, start=1):
        code = str(entry.get("code", f"entry {number}"))
        try:
            parsed: FacilityEntry = read_body(FacilityEntry, entry)
        except ValidationError as error:
            errors += [
                FileError(facility=code, field=field, message=message)
                for field, message in flat_errors(error.messages)
            ]
            continue
        if reveals(parsed.alias):
            remedy = "Use a name that says to nobody why people come, without words like recovery."
            errors.append(FileError(facility=code, field="alias", message=remedy))
            continue
        desk.put_facility(parsed)
        stored.append(code)
    return stored, errors
