"""Stop instead of setting everybody aside, when everything fails.

One subject whose event or timer fails is at fault itself, and waits for a person. When subject
after subject fails and nothing succeeds in between, the fault is ours: the loop sets nobody else
aside, tries one at a time, and goes on by itself as soon as one succeeds.
"""

from __future__ import annotations

from uuid import UUID

from messaging import metrics

#: How many subjects may fail in a row, unless it is set otherwise.
FUSE_AFTER = 10


class Blown(Exception):
    """So many subjects failed in a row that no further one is set aside."""


class Fuse:
    """Counts the subjects that failed in one loop since anything succeeded there."""

    def __init__(self, loop: str, after: int) -> None:
        self._loop = loop
        self._after = after
        self._failed: set[UUID] = set()
        #: Whether only one is tried at a time.
        self.is_blown = False
        self._set(blown=False)

    def nothing_left(self) -> None:
        """Nothing is to be done: what failed is gone in another way."""
        if self.is_blown:
            self.worked()

    def worked(self) -> None:
        """Something was done: whatever failed before was at fault itself."""
        self._failed.clear()
        self._set(blown=False)

    def failed(self, key: UUID) -> None:
        """What is to be done of a subject fails; raises ``Blown`` if it must not be set aside."""
        if len(self._failed | {key}) > self._after:
            self._set(blown=True)
            raise Blown
        self._failed.add(key)

    def _set(self, *, blown: bool) -> None:
        self.is_blown = blown
        metrics.FUSE.labels(loop=self._loop).set(blown)
