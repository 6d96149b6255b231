"""Derive a marshmallow schema from a dataclass: the one clever file."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date, datetime
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import orjson
from marshmallow import EXCLUDE, RAISE, Schema, post_load, validate
from marshmallow import fields as f

from contracts.reading import Reader, reader_of
from contracts.sealed import Seal, Sealed

_SCALARS: dict[type, type[f.Field[Any]]] = {
    str: f.String,
    int: f.Integer,
    bool: f.Boolean,
    UUID: f.UUID,
    datetime: f.AwareDateTime,
    date: f.Date,
}


class _Schema(Schema):
    #: Reads what is well-formed; only for those who ignore what they do not know.
    directly: Reader


def schema_of(cls: type[Any], unknown: str = EXCLUDE) -> _Schema:
    """The schema of a dataclass.

    Readers of events ignore what they do not know (``EXCLUDE``: a publisher may be ahead);
    doors refuse it (``RAISE``). Naive datetimes are refused. Defaults become optional fields.
    """
    if (cls, unknown) not in _SCHEMAS:
        _SCHEMAS[cls, unknown] = _derived(cls, unknown)
    return _SCHEMAS[cls, unknown]


_SCHEMAS: dict[tuple[type[Any], str], _Schema] = {}


def _derived(cls: type[Any], unknown: str) -> _Schema:
    hints = get_type_hints(cls, include_extras=True)
    members: dict[str, Any] = {
        field.name: _field(hints[field.name], field, unknown) for field in fields(cls)
    }

    def build(_: Schema, data: Mapping[str, Any], **__: Any) -> Any:
        return cls(**data)

    members["_build"] = post_load(build)
    members["Meta"] = type("Meta", (), {"unknown": unknown})
    schema: _Schema = type(f"{cls.__name__}Schema", (_Schema,), members)()
    if unknown == EXCLUDE:
        schema.directly = reader_of(schema, cls)
    return schema


def _field(hint: Any, declared: Field[Any], unknown: str) -> f.Field[Any]:
    options: dict[str, Any] = {}
    if declared.default is not MISSING:
        options["load_default"] = declared.default
    elif declared.default_factory is not MISSING:
        options["load_default"] = declared.default_factory
    else:
        options["required"] = True
    return _typed(hint, options, unknown)


def _typed(hint: Any, options: dict[str, Any], unknown: str) -> f.Field[Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        marks = arguments[1:]
        if any(isinstance(mark, Seal) for mark in marks):
            optional = type(None) in get_args(arguments[0])
            return _typed(Sealed | None if optional else Sealed, options, unknown)
        metadata: dict[str, Any] = {}
        for mark in marks:
            metadata |= mark if isinstance(mark, dict) else {}
        rules = [mark for mark in marks if isinstance(mark, validate.Validator)]
        return _typed(
            arguments[0], {**options, "validate": rules or None, "metadata": metadata}, unknown
        )
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"a wire field holds one type or None, not {hint}")
        return _typed(inner[0], {**options, "allow_none": True}, unknown)
    if origin is tuple:
        return _Tuple(_typed(arguments[0], {}, unknown), **options)
    if origin is dict:
        values = _typed(arguments[1], {}, unknown)
        return f.Dict(keys=_typed(arguments[0], {}, unknown), values=values, **options)
    if isinstance(hint, type) and is_dataclass(hint):
        return f.Nested(schema_of(hint, unknown), **options)
    if hint in (int, bool):
        # A door that turned "yes" into true or "7" into 7 would hide a feed's mistake.
        options.setdefault("truthy" if hint is bool else "strict", {True} if hint is bool else True)
        if hint is bool:
            options.setdefault("falsy", {False})
    return _SCALARS[hint](**options)


class _Tuple(f.List[Any]):
    """A list on the wire, a tuple inside, so that frozen values stay frozen."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(*args, **kwargs))


def dump(value: Any) -> dict[str, Any]:
    """The JSON-able form of a dataclass."""
    return dict(schema_of(type(value)).dump(value))


def written(value: Any) -> bytes:
    """The same, or whatever else is JSON-able, as it travels."""
    return orjson.dumps(value)


def load(cls: type[Any], data: Any) -> Any:
    """A dataclass from its wire form; raises marshmallow's ValidationError with every error."""
    schema = schema_of(cls)
    try:
        return schema.directly(data)
    except (TypeError, ValueError, KeyError):
        return schema.load(data)


def load_strictly(cls: type[Any], data: Any) -> Any:
    """Like ``load``, and refuses fields that the dataclass does not have (for doors)."""
    return schema_of(cls, RAISE).load(data)


def shape_of(cls: type[Any]) -> dict[str, dict[str, Any]]:
    """Field -> type, required: what is recorded of a released event, sealed content included."""
    hints = get_type_hints(cls, include_extras=True)
    shape: dict[str, dict[str, Any]] = {}
    for field in fields(cls):
        hint = hints[field.name]
        required = field.default is MISSING and field.default_factory is MISSING
        shape[field.name] = {"type": _name(hint), "required": required}
        content = _content(hint)
        if content is not None:
            shape[field.name]["holds"] = shape_of(content)
    return shape


def _name(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        mark = next((m for m in arguments[1:] if isinstance(m, Seal)), None)
        return f"sealed {mark.purpose}" if mark else _name(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(sorted(_name(argument) for argument in arguments))
    if origin in (tuple, dict):
        inner = ", ".join(_name(a) for a in arguments if a is not Ellipsis)
        return f"{origin.__name__} of {inner}"
    return "none" if hint is type(None) else str(hint.__name__)


def _content(hint: Any) -> type[Any] | None:
    if get_origin(hint) is Annotated:
        mark = next((m for m in get_args(hint)[1:] if isinstance(m, Seal)), None)
        return mark.content if mark else _content(get_args(hint)[0])
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and is_dataclass(candidate):
            return candidate
    return None
