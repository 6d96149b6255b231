"""Whether an event is what its recorded contract says, and readable only where it may be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts import intake, matching, notifications, parking
from contracts.event import EVENTS, Event

#: What was recorded of each event when it was released.
_RECORDED: Mapping[str, Mapping[str, Mapping[str, Any]]] = json.loads(
    (Path(intake.__file__).parent / "recorded.json").read_text(encoding="utf-8")
)
#: Every event that is said now; nothing else in this process need have asked for all of them.
_SAID: Mapping[str, type[Event]] = {
    name: EVENTS[name]
    for module in (intake, matching, notifications, parking)
    for name in vars(module).keys() & EVENTS.keys()
}
#: Fields of events that guarantees are judged by; all else is let go when it has been looked at.
_JUDGED_BY = frozenset(
    [
        "discharge_id",
        "assignment_id",
        "mentor_id",
        "message_id",
        "reply_id",
        "replaces",
        "reason",
        "meaning",
        "next_channel",
        "channel",
        "route",
        "route_ends_on",
        "sender_id",
        "handler",
        "closed",
        "quiet_hours",
    ]
)
#: Most events are about messages, and of these less is asked.
_OF_A_MESSAGE = frozenset(["message_id", "reason", "next_channel"])
#: What looks like an address or a number of a person; the same in SQL and here.
PERSONAL = (
    r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}"
    r"|(^|[^A-Za-z0-9/+=])\+[0-9]{8,15}($|[^A-Za-z0-9])"
    r"|(^|[^0-9-])\(?[0-9]{3}\)?[ .-][0-9]{3}[.-][0-9]{4}($|[^0-9-])"
)
_PERSONAL = re.compile(PERSONAL)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: What HPKE makes of the shortest value, in base64, or what a service seals for itself; nothing
#: where the key was destroyed.
BOX = r"([A-Za-z0-9+/]{64,}={0,2}|own\.[A-Za-z0-9+/]{40,}={0,2})?"
_BOX = re.compile(BOX)
_SEALED = {"purpose", "person", "version", "bound", "box"}

Faults = tuple[tuple[str, str], ...]


def looks_personal(text: str) -> bool:
    """Whether an e-mail address or a telephone number seems to stand in a text."""
    return len(text) > 5 and _PERSONAL.search(text) is not None


def read_event(
    service: str, event_id: UUID, key: UUID, kind: str, raw: bytes
) -> tuple[Mapping[str, Any], Faults]:
    """What is judged by of an event's body, and what is wrong with it."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return {}, (("G4", "cannot be read"),)
    event = _SAID.get(kind)
    if event is None or kind not in _RECORDED:
        return {}, (("G4", "is of a type that was never recorded"),)
    faults: list[tuple[str, str]] = []
    if service not in event.publishers or body.get(event.key_field) != str(key):
        faults.append(("G4", "is not its publisher's to say, or is about another key"))
    recorded = _RECORDED[kind]
    for name, shape in recorded.items():
        if name not in body:
            if shape["required"]:
                faults.append(("G4", f"lacks the field {name} of its contract"))
        elif shape["type"].startswith("sealed "):
            bound = f"event/{event_id}/{kind}/{name}"
            if not is_sealed(body[name], shape["type"].removeprefix("sealed "), key, bound):
                faults.append(("G7", f"holds {name} unsealed, or sealed for elsewhere"))
        elif not _fits(shape["type"], body[name]):
            faults.append(("G4", f"holds {name} unlike its contract"))
    for name, value in body.items():
        # What is an id, a moment or a number by its contract is nothing else.
        may_hold_words = name not in recorded or "str" in recorded[name]["type"].split()
        if may_hold_words and any(looks_personal(text) for text in _texts(value)):
            faults.append(("G7", f"shows an address or a number in {name}"))
    kept = _OF_A_MESSAGE if kind.startswith("Message") else _JUDGED_BY
    return {name: body[name] for name in body if name in kept}, tuple(faults)


def is_sealed(value: Any, purpose: str, person: UUID, bound: str) -> bool:
    """Whether a value is sealed for this purpose and person, and belongs where it stands."""
    return (
        isinstance(value, dict)
        and value.keys() == _SEALED
        and value["purpose"] == purpose
        and value["person"] == str(person)
        and type(value["version"]) is int
        and value["bound"] == bound
        and isinstance(value["box"], str)
        and _BOX.fullmatch(value["box"]) is not None
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _texts(one)


def _fits(kind: str, value: Any) -> bool:
    wanted, is_many, may_be_none = _read_kind(kind)
    if value is None:
        return may_be_none
    is_one = _IS[wanted]
    try:
        return (isinstance(value, list) and all(map(is_one, value))) if is_many else is_one(value)
    except (ValueError, TypeError, AttributeError):
        return False


@cache
def _read_kind(kind: str) -> tuple[str, bool, bool]:
    """A recorded type: of what, whether of many, and whether it may be left empty."""
    alternatives = kind.split(" or ")
    [wanted] = [one for one in alternatives if one != "none"]
    inner = wanted.removeprefix("tuple of ")
    return inner, inner != wanted, "none" in alternatives


_IS: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: type(value) is int,
    "bool": lambda value: type(value) is bool,
    "UUID": lambda value: _UUID.fullmatch(value) is not None,
    "datetime": lambda value: datetime.fromisoformat(value).tzinfo is not None,
    "date": lambda value: bool(date.fromisoformat(value)),
}
