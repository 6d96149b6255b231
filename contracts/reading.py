"""Read what is well-formed without asking a schema field by field, which takes five times as long.

A reader is made of a schema and converts with the functions that its fields use. It refuses
whatever is not plainly of its type; then the schema itself reads it, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from marshmallow import Schema
from marshmallow import fields as f

Reader = Callable[[Any], Any]


def reader_of(schema: Schema, build: Callable[..., Any]) -> Reader:
    """Reads an object that is plain.

    Raises ``TypeError``, ``ValueError`` or ``KeyError`` when it is not.
    ``build`` makes the value and knows what stands for a field that is left out.
    """
    members = [(n, field.required, _reading(field)) for n, field in schema.load_fields.items()]

    def read(data: Any) -> Any:
        found = {}
        for name, required, reading in members:
            if required or name in data:
                found[name] = reading(data[name])
        return build(**found)

    return _of(dict, read)


def _reading(field: f.Field[Any]) -> Reader:
    reading = _left_to_the_schema if field.validators else _kind(field)
    return _or_none(reading) if field.allow_none else reading


def _kind(field: f.Field[Any]) -> Reader:
    if isinstance(field, f.Nested):
        nested: Any = field.schema
        directly: Reader = nested.directly
        return directly
    if isinstance(field, f.List):
        item = _reading(field.inner)
        return _of(list, lambda values: tuple(item(value) for value in values))
    if isinstance(field, f.Dict):
        assert field.key_field is not None
        assert field.value_field is not None
        key, item = _reading(field.key_field), _reading(field.value_field)
        return _of(dict, lambda values: {key(k): item(v) for k, v in values.items()})
    return _SCALARS[type(field)]


def _of(kind: type, reading: Reader) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return reading(value)

    return read


def _or_none(reading: Reader) -> Reader:
    return lambda value: None if value is None else reading(value)


def _left_to_the_schema(_: Any) -> Any:
    """What has rules of its own is judged in one place alone."""
    raise TypeError


def _same(value: Any) -> Any:
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment


_SCALARS: dict[type[f.Field[Any]], Reader] = {
    f.String: _of(str, _same),
    f.Integer: _of(int, _same),
    f.Boolean: _of(bool, _same),
    f.UUID: _of(str, UUID),
    f.AwareDateTime: _of(str, _moment),
    f.Date: _of(str, date.fromisoformat),
}
