"""What a sealed field looks like, and which service may make, open and destroy its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

#: What a person's keys are for. Each purpose is opened by one service alone.
PURPOSES = ("identity", "about", "contact", "record")

#: What is destroyed when a person is erased: the law wants consents and the ledger kept.
ERASED = tuple(purpose for purpose in PURPOSES if purpose != "record")

#: Service -> purpose -> what its database role may do with keys. Sealing *to* a key needs only
#: its public half, which everybody may read; nobody else can open what was sealed.
KEY_RIGHTS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "intake": {
        "identity": frozenset({"make", "open", "destroy"}),
        "about": frozenset({"make", "destroy"}),
        "contact": frozenset({"make", "destroy"}),
        "record": frozenset({"make", "open"}),
    },
    "matching": {
        "identity": frozenset({"make", "destroy"}),
        "about": frozenset({"make", "open", "destroy"}),
        "contact": frozenset({"make", "destroy"}),
        "record": frozenset({"make"}),
    },
    "notifications": {
        "identity": frozenset(),
        "about": frozenset(),
        "contact": frozenset({"open"}),
        "record": frozenset(),
    },
}


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A value that only the service of its purpose can open, and nobody once its key is gone.

    ``bound`` says where the value belongs (an event's id, type and field, or a table's row and
    column); it is part of what is authenticated, so that a value moved elsewhere does not open.
    ``box`` is base64 of the HPKE ciphertext, or ``own.`` and what was sealed without a pair, by the
    service that opens it or by whoever had just made the key.
    """

    purpose: str
    person: UUID
    version: int
    bound: str
    box: str

    def __repr__(self) -> str:
        return f"<sealed {self.purpose}>"


@dataclass(frozen=True)
class Destroyed:
    """What is left of a sealed value whose key was destroyed: a normal outcome of erasure."""


T = TypeVar("T")


@dataclass(frozen=True)
class Seal:
    """Marks a field as sealed for a purpose, under the key of the event's own subject."""

    purpose: str
    content: type[Any]


@dataclass(frozen=True)
class SealedField:
    """A sealed field as declared: its name, purpose and the dataclass inside."""

    name: str
    purpose: str
    content: type[Any]


def sealed_fields(cls: type[Any]) -> tuple[SealedField, ...]:
    """The sealed fields of an event class, in the order of their declaration."""
    found = _SEALED.get(cls)
    if found is None:
        hints = get_type_hints(cls, include_extras=True)
        found = tuple(
            SealedField(name, mark.purpose, mark.content)
            for name, hint in hints.items()
            if (mark := _seal_of(hint)) is not None
        )
        _SEALED[cls] = found
    return found


_SEALED: dict[type[Any], tuple[SealedField, ...]] = {}


def _seal_of(hint: Any) -> Seal | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((mark for mark in get_args(hint)[1:] if isinstance(mark, Seal)), None)


def opened(value: T | Sealed | Destroyed) -> T | None:
    """The value inside a field that this service opens; None when its key was destroyed.

    Raises ``TypeError`` when the field is sealed for another service: asking is a bug.
    """
    if isinstance(value, Sealed):
        raise TypeError(f"a field sealed for {value.purpose} was read by another service")
    return None if isinstance(value, Destroyed) else value
