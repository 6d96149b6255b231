"""An event is looked at when it is read: against what was recorded of it, and for open words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.check.shapes import looks_personal, read_event

SAMPLES = sorted((Path(__file__).parents[3] / "contracts/samples").glob("*.json"))


def _sample(path: Path) -> tuple[str, UUID, UUID, str, dict[str, Any]]:
    kept = json.loads(path.read_text())
    headers, body = kept["headers"], kept["body"]
    event_id, key, kind = UUID(headers["ce_id"]), UUID(kept["key"]), headers["ce_type"]
    for name, value in body.items():
        # A sample's boxes are words that say so, and its seals are bound to nothing.
        if isinstance(value, dict) and "box" in value:
            body[name] = value | {"bound": f"event/{event_id}/{kind}/{name}", "box": "A" * 88}
            body[name]["person"] = str(key)
    return headers["ce_source"].removeprefix("/"), event_id, key, kind, body


def _faults(path: Path, change: Callable[[dict[str, Any]], object] = id) -> list[str]:
    service, event_id, key, kind, body = _sample(path)
    change(body)
    _, faults = read_event(service, event_id, key, kind, json.dumps(body).encode())
    return [guarantee for guarantee, _ in faults]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_recorded_event_is_as_it_was_recorded(path: Path) -> None:
    assert [] == _faults(path)


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "a field is missing": ("G4", lambda body: body.pop("accepted_at")),
    "a moment has no zone": ("G4", lambda body: body.update(accepted_at="2026-11-24T10:00:00")),
    "an id is none": ("G4", lambda body: body.update(discharge_id="R-1")),
    "it is about another": ("G4", lambda body: body.update(client_id=body["discharge_id"])),
    "it is open": ("G7", lambda body: body.update(contact={"called": "Sam"})),
    "it is sealed for another purpose": (
        "G7",
        lambda body: body["about"].update(purpose="contact"),
    ),
    "it was moved from another event": ("G7", lambda body: body["about"].update(bound="event/x")),
    "its key has no version": ("G7", lambda body: body["about"].pop("version")),
    "its box is a word": ("G7", lambda body: body["about"].update(box="Sam")),
    "an address stands beside": ("G7", lambda body: body.update(note="sam@example.org")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_wrong_with_an_event_is_seen(change: str) -> None:
    guarantee, spoil = CHANGES[change]
    [path] = [path for path in SAMPLES if path.stem == "ClientDischarged"]

    assert [guarantee] == _faults(path, spoil)


def test_an_event_that_cannot_be_read_is_seen() -> None:
    nobody = UUID(int=1)

    for kind, raw in (
        ("ClientDied", b"{"),
        ("ClientDied", b"[]"),
        ("ClientDied", b"[" * 20_000),
        ("ClientMoved", b"{}"),
    ):
        _, faults = read_event("intake", nobody, nobody, kind, raw)
        assert ["G4"] == [guarantee for guarantee, _ in faults]


@pytest.mark.parametrize("text", ["sam@example.org", "+15035550123", "call 503-555-0123 now"])
def test_addresses_and_numbers_are_seen(text: str) -> None:
    assert looks_personal(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T18:00:00+00:00",
        "first/client/0b5e3c0e-4031-4a51-8c12-123456789012",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "mon-fri 09:00-20:00",
    ],
)
def test_ids_and_moments_are_no_numbers_of_people(text: str) -> None:
    assert not looks_personal(text)
