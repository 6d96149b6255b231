"""Destroy the keys of whoever was erased, and again whenever they are back.

The ledger is written in the transaction that says so, and holds ids and moments only. A process
that dies before it has destroyed the keys leaves that to this loop; and so does a database of keys
that was restored from before, which would bring everybody back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection, select

from messaging.rows import NOTHING, insert_many
from messaging.tables import SHREDDED

if TYPE_CHECKING:
    from messaging.work import Participant

log = logging.getLogger(__name__)

#: Why somebody is erased: codes, which are kept.
BECAUSE = ("asked", "court_order", "entered_in_error", "time_is_up")
#: How often the whole ledger is gone through.
LOOK_EVERY_SECONDS = 60.0


def record(conn: Connection, keys: Iterable[UUID], at: datetime) -> None:
    """Write into the ledger that these are erased, in the caller's transaction."""
    rows = [{"key": key, "at": at} for key in sorted(keys)]
    insert_many(conn, SHREDDED, rows, NOTHING)


class Shredding:
    """The loop that keeps destroyed what the ledger says."""

    name = "shredding"

    def __init__(self, participant: Participant) -> None:
        self._participant = participant
        self._looked_at = float("-inf")

    def step(self) -> bool:
        """Go through the ledger when it is time; there is never more to do at once."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_SECONDS:
            return False
        with self._participant.engine.connect() as conn:
            keys = conn.execute(select(SHREDDED.c.key)).scalars().all()
        gone = self._participant.keyring.destroy(keys) if keys else 0
        if gone:
            log.warning("keys of erased subjects were still there", extra={"count": gone})
        self._looked_at = time.monotonic()
        return False
