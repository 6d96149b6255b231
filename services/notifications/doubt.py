"""Hold a channel back whose network, several times in a row, has not said what it took.

Each of these is a message of which nobody knows, and a call for a person. While a network is in
that trouble it is tried with one message at a time, after pauses that grow.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from services.notifications.channels import Outcome

#: So many in a row are no coincidence.
IN_A_ROW = 3
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 60.0


@dataclass
class Doubt:
    """What the latest messages of each channel came to, in one process."""

    clock: Callable[[], float] = time.monotonic
    _in_a_row: Counter[str] = field(default_factory=Counter)
    _until: dict[str, float] = field(default_factory=dict)

    def holds_back(self, channel: str) -> bool:
        """Whether nothing is to be handed over now. Whoever hears no may go, as a trial."""
        until = self._until.get(channel)
        if until is None:
            return False
        if self.clock() < until:
            return True
        # This one is the trial: the others wait for what becomes of it.
        self._pause(channel)
        return False

    def learn(self, channel: str, outcome: Outcome) -> None:
        """Take note of what became of a message."""
        if outcome.kind == "unknown":
            self._in_a_row[channel] += 1
            if self._in_a_row[channel] >= IN_A_ROW:
                self._pause(channel)
        elif outcome.kind != "not_sent":
            # The network has spoken, whatever it said.
            self._in_a_row[channel] = 0
            self._until.pop(channel, None)

    def _pause(self, channel: str) -> None:
        times = max(0, self._in_a_row[channel] - IN_A_ROW)
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(times, 10), LONGEST_PAUSE_SECONDS)
        self._until[channel] = self.clock() + pause
