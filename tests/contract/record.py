"""``make samples``: record a sample and the shape of every event that has none yet.

A sample is added once and never edited: it is what travelled on the day the event was released.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from uuid import UUID, uuid5

import contracts
from contracts import intake, matching, notifications, parking
from contracts.envelope import After, Envelope, to_headers
from contracts.event import EVENTS, Event, type_of
from contracts.sealed import Seal, Sealed
from contracts.wire import dump, shape_of

FOLDER = Path(contracts.__file__).parent
SAMPLES, RECORDED = FOLDER / "samples", FOLDER / "recorded.json"
SAID = (intake, matching, notifications, parking)
_NAMES = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
_MOMENT = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


def an_example(cls: type[Any]) -> Any:
    """An instance of an event or of what is sealed in it, the same at every call."""
    hints = get_type_hints(cls, include_extras=True)
    return cls(**{f.name: _value(f.name, hints[f.name]) for f in fields(cls)})


def _value(name: str, hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        mark = next((m for m in get_args(hint)[1:] if isinstance(m, Seal)), None)
        if mark is not None:
            return Sealed(
                purpose=mark.purpose,
                person=uuid5(_NAMES, "person"),
                version=1,
                bound="event/sample",
                box="c2VhbGVk",
            )
        return _value(name, get_args(hint)[0])
    if get_origin(hint) is tuple:
        return (_value(name, get_args(hint)[0]),)
    options = [option for option in get_args(hint) if option is not type(None)] or [hint]
    plain = options[0]
    if is_dataclass(plain):
        return an_example(plain)  # type: ignore[arg-type]
    values = {
        str: name,
        int: 1,
        bool: True,
        UUID: uuid5(_NAMES, name),
        datetime: _MOMENT,
        date: _MOMENT.date(),
    }
    return values[plain]


def a_record(event: Event) -> dict[str, Any]:
    """An event as it travels: key, headers and body."""
    envelope = Envelope(
        event_id=uuid5(_NAMES, type_of(event)),
        type=type_of(event),
        at=_MOMENT,
        producer=event.publishers[0],
        epoch=1,
        seq=1,
        key=event.key,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        after=(After(key=event.key, producer="intake", epoch=1, seq=3),),
    )
    headers = {name: value.decode() for name, value in to_headers(envelope)}
    return {"key": str(event.key), "headers": headers, "body": dump(event)}


def required_of(cls: type[Any]) -> list[str]:
    """The fields of a dataclass that have no default."""
    return [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]


def main() -> None:
    """Write what is not there yet, and the shapes as they now are."""
    SAMPLES.mkdir(exist_ok=True)
    for name, cls in EVENTS.items():
        path = SAMPLES / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(a_record(an_example(cls)), indent=2) + "\n")
    shapes = {name: shape_of(cls) for name, cls in sorted(EVENTS.items())}
    RECORDED.write_text(json.dumps(shapes, indent=1) + "\n")


if __name__ == "__main__":
    main()
