"""Rows at hand, each with a sealed part that may not open: that fails whoever needs it alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar
from uuid import UUID

from contracts.sealed import Destroyed
from messaging.sealing import NOT_OPENED

Value = TypeVar("Value")
#: So many of whom none opens may each be in trouble of their own; of more, the trouble is ours.
ONES_OWN = 3


class AtHand(dict[UUID, Value]):
    """Values by their id; to ask for one that could not be opened raises why it could not.

    Keys may have been put back from before a person was known, and a row be damaged. Who loads does
    so for many, and would fail for all of them; who asks fails for one, whose key is then parked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unopened: dict[UUID, Exception] = {}
        #: Whose erasure is applied: they go whether or not they can be opened.
        self.erased: set[UUID] = set()

    def open(
        self, key: UUID, opening: Callable[[], Any], made: Callable[[Any], Value] = lambda it: it
    ) -> Value | None:
        """Keep what is made of what opens, or of None where that is gone.

        Where it does not open, why that is so is kept, and None is returned.
        """
        try:
            opened = opening()
        except NOT_OPENED as error:
            if key not in self.erased:
                self.unopened[key] = error
                return None
            opened = Destroyed()
        value = self[key] = made(None if isinstance(opened, Destroyed) else opened)
        return value

    def is_read(self, key: UUID) -> bool:
        """Whether it was looked at, opened or not."""
        return key in self or key in self.unopened

    def __getitem__(self, key: UUID) -> Value:
        """The value; raises ``KeyError``, or why it could not be opened."""
        self._assert_opened(key)
        return super().__getitem__(key)

    def get(self, key: UUID, otherwise: Any = None) -> Any:
        """The value if it is there; raises why it could not be opened."""
        self._assert_opened(key)
        return super().get(key, otherwise)

    def __setitem__(self, key: UUID, value: Value) -> None:
        """Put a value; whatever was there, and did not open, is of the past."""
        self.unopened.pop(key, None)
        super().__setitem__(key, value)

    def _assert_opened(self, key: UUID) -> None:
        if key in self.unopened:
            raise self.unopened[key]


def assert_ones_own(errors: Collection[Exception], of: int) -> None:
    """Raise the first of these when nothing opens of so many: nobody is set aside for that."""
    if ONES_OWN < of == len(errors):
        raise next(iter(errors))
