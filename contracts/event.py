"""What an event is: one frozen dataclass in the past tense, said about one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

EVENTS: dict[str, type[Event]] = {}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that has happened; the class name is the wire type.

    ``publishers`` are the services that may say it. ``key_field`` names the field whose id keys
    the event; ``also_fields`` name further subjects that a reader must know before it can
    understand the event (the mentor of an assignment). One that ``erases`` says that the keys of
    its subject are destroyed: nothing waits for them any more.
    """

    publishers: ClassVar[tuple[str, ...]] = ()
    key_field: ClassVar[str] = ""
    also_fields: ClassVar[tuple[str, ...]] = ()
    erases: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        says: str | tuple[str, ...] = (),
        key: str = "",
        also: tuple[str, ...] = (),
        *,
        erases: bool = False,
    ) -> None:
        super().__init_subclass__()
        cls.erases = erases
        if says:
            cls.publishers = (says,) if isinstance(says, str) else says
        if key:
            cls.key_field = key
        if also:
            cls.also_fields = also
        if cls.publishers:
            EVENTS[cls.__name__] = cls

    @property
    def key(self) -> UUID:
        """The opaque id of the subject, which orders this event among its others."""
        value: UUID = getattr(self, self.key_field)
        return value

    @property
    def also(self) -> tuple[UUID, ...]:
        """The other subjects that this event names, without those left empty."""
        values = (getattr(self, name) for name in self.also_fields)
        return tuple(value for value in values if value is not None)


def type_of(event: Event) -> str:
    """The name under which an event travels."""
    return type(event).__name__
