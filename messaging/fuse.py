"""Stop instead of setting everybody aside, when everything fails.

One subject whose event fails is at fault itself, and waits for a person. When subject after subject
fails and nothing succeeds in between, the fault is ours: the consumer stops, tries one record at a
time, and goes on by itself as soon as one succeeds.
"""

from __future__ import annotations

from uuid import UUID

from messaging import metrics


class Blown(Exception):
    """So many subjects failed in a row that no further one is set aside."""


class Fuse:
    """Counts the subjects that failed since anything succeeded."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._failed: set[UUID] = set()
        #: Whether only one record is tried at a time.
        self.is_blown = False

    def worked(self) -> None:
        """Something was applied: whatever failed before was at fault itself."""
        self._failed.clear()
        self._set(blown=False)

    def failed(self, key: UUID) -> None:
        """A subject's event cannot be handled; raises ``Blown`` when it must not be set aside."""
        if len(self._failed | {key}) > self._after:
            self._set(blown=True)
            raise Blown
        self._failed.add(key)

    def _set(self, *, blown: bool) -> None:
        self.is_blown = blown
        metrics.FUSE.set(blown)
