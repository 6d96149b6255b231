"""Every event that was ever recorded can be read, and nothing that was promised is taken back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError
from marshmallow.validate import Length

from contracts.envelope import BadEnvelope, from_headers, to_headers
from contracts.event import EVENTS
from contracts.recorded import broken_promises
from contracts.sealed import KEY_RIGHTS, PURPOSES, sealed_fields
from contracts.wire import dump, load, schema_of, shape_of, written
from tests.contract.record import RECORDED, SAMPLES, an_example, required_of


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_recorded_sample_is_read_and_written_alike(name: str) -> None:
    sample = json.loads((SAMPLES / f"{name}.json").read_text())
    headers = tuple((k, v.encode()) for k, v in sample["headers"].items())

    envelope = from_headers(headers, sample["key"].encode())
    event = load(EVENTS[name], sample["body"])

    assert name == envelope.type
    assert envelope.key == event.key
    assert sample["body"] == {key: dump(event)[key] for key in sample["body"]}
    assert dict(headers) == dict(to_headers(envelope))


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_no_promise_of_a_released_event_is_broken(name: str) -> None:
    recorded = json.loads(RECORDED.read_text())

    assert name in recorded, f"run 'make samples' to record {name}"
    assert [] == list(broken_promises(name, recorded[name], shape_of(EVENTS[name])))


def test_every_recorded_event_still_exists() -> None:
    assert set() == json.loads(RECORDED.read_text()).keys() - EVENTS.keys()


def _shape(**fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"at": {"type": "datetime", "required": True}, **fields}


@pytest.mark.parametrize(
    ("current", "sentence"),
    [
        ({}, "removed or renamed: leave it, and add the new one beside it"),
        ({"at": {"type": "str", "required": True}}, "add a new field beside it, or say a new"),
        (_shape(why={"type": "str", "required": True}), "is new and required"),
    ],
)
def test_a_change_that_readers_stumble_over_is_refused_with_a_remedy(
    current: dict[str, Any], sentence: str
) -> None:
    found = list(broken_promises("MentorAssigned", _shape(), current))

    assert 1 == len(found)
    assert "MentorAssigned." in found[0]
    assert sentence in found[0]


def test_a_field_that_becomes_required_is_refused() -> None:
    optional = {"why": {"type": "str", "required": False}}
    required = {"why": {"type": "str", "required": True}}

    assert "became required" in next(broken_promises("X", optional, required))


def test_a_change_within_a_sealed_field_is_seen() -> None:
    was = {"contact": {"type": "sealed contact", "required": True, "holds": _shape()}}
    now = {"contact": {"type": "sealed contact", "required": True, "holds": {}}}

    assert "X.contact.at was removed" in next(broken_promises("X", was, now))


def test_a_new_field_with_a_default_is_fine() -> None:
    grown = _shape(why={"type": "str", "required": False})

    assert [] == list(broken_promises("X", _shape(), grown))


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_reader_ignores_what_it_does_not_know(name: str) -> None:
    body = dump(an_example(EVENTS[name]))

    assert load(EVENTS[name], body) == load(EVENTS[name], body | {"from_the_future": 1})


#: What might stand in a field instead of what belongs there.
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.uuids().map(str),
    st.datetimes(timezones=st.none() | st.just(UTC)).map(datetime.isoformat),
    st.dates().map(str),
    st.lists(st.text(max_size=3) | st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers(), max_size=2),
)
#: Every dataclass that travels, alone or within another.
SHAPES = sorted(
    {*EVENTS.values(), *(field.content for cls in EVENTS.values() for field in sealed_fields(cls))},
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_what_is_read_directly_is_what_the_schema_reads(
    shape: type[Any], data: st.DataObject
) -> None:
    body = dump(an_example(shape))
    names = sorted(body)
    for name in data.draw(st.lists(st.sampled_from(names), max_size=3)):
        body[name] = data.draw(ANYTHING)
    for name in data.draw(st.lists(st.sampled_from(names), max_size=2)):
        body.pop(name, None)
    schema = schema_of(shape)

    try:
        found = schema.directly(body)
    except (TypeError, ValueError, KeyError):
        return

    assert schema.load(body) == found


@pytest.mark.parametrize("shape", SHAPES)
def test_what_travels_is_what_the_schema_would_write(shape: type[Any]) -> None:
    example = an_example(shape)

    assert dump(example) == json.loads(written(example))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_well_formed_is_read_directly(shape: type[Any]) -> None:
    body = json.loads(json.dumps(dump(an_example(shape))))

    assert schema_of(shape).load(body) == schema_of(shape).directly(body)


@dataclass(frozen=True)
class _WithRules:
    short: Annotated[str, Length(max=2)]
    count: int


def test_a_rule_that_is_broken_is_told_with_all_other_mistakes() -> None:
    with pytest.raises(ValidationError) as error:
        load(_WithRules, {"short": "long", "count": "many"})

    assert {"short", "count"} == error.value.messages_dict.keys()
    assert _WithRules("ok", 1) == load(_WithRules, {"short": "ok", "count": 1})


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        load(EVENTS[name], {})

    assert set(required_of(EVENTS[name])) == error.value.messages_dict.keys()


def test_a_moment_without_an_offset_is_refused() -> None:
    body = dump(an_example(EVENTS["ClientDied"])) | {"learnt_at": "2026-11-24T10:00:00"}

    with pytest.raises(ValidationError):
        load(EVENTS["ClientDied"], body)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ce_id": None}, "ce_id is missing"),
        ({"ce_type": None}, "ce_type is missing"),
        ({"ce_sequence": b"many"}, "cannot be read"),
        ({"ce_time": b"2026-11-24T10:00:00"}, "no offset"),
        ({"ce_after": b"{"}, "cannot be read"),
        ({"ce_after": b"[" * 20_000}, "cannot be read"),
        ({"ce_id": b"\xff"}, "not UTF-8"),
    ],
)
def test_headers_that_are_no_events_say_what_is_wrong(
    changes: dict[str, bytes | None], said: str
) -> None:
    sample = json.loads((SAMPLES / "ClientDied.json").read_text())
    headers: dict[str, bytes | None] = {k: v.encode() for k, v in sample["headers"].items()}
    headers |= changes

    with pytest.raises(BadEnvelope, match=said):
        from_headers([(k, v) for k, v in headers.items() if v is not None], sample["key"].encode())


def test_each_purpose_is_opened_by_one_service_alone() -> None:
    for purpose in PURPOSES:
        opening = [who for who, rights in KEY_RIGHTS.items() if "open" in rights[purpose]]
        assert 1 == len(opening), purpose


def test_what_identifies_nobody_is_all_that_stands_in_clear() -> None:
    """Fields in clear are ids, moments, states and codes; whatever could be a name is sealed."""
    allowed = {
        "alias", "because", "channel", "code", "error", "handler", "language", "meaning",
        "next_channel", "purpose", "quiet_hours", "reason", "recipient", "route", "sender",
        "service", "state", "template", "time_zone", "wording",
    }  # fmt: skip
    texts = {
        field
        for cls in EVENTS.values()
        for field, shape in shape_of(cls).items()
        if "str" in shape["type"].split() and not shape["type"].startswith("sealed")
    }

    assert set() == texts - allowed
