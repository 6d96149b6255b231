"""Look again at what came too early: whoever took what it waited for may not have seen it.

Two workers may take two events at once, one that is early and the one that it waits for. Neither
sees what the other has not committed, so that one is kept and the other releases nothing.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy import bindparam, select

from messaging.fuse import FUSE_AFTER, Fuse
from messaging.releasing import apply_ready
from messaging.tables import EARLY, PARKED_KEY
from messaging.work import Participant

log = logging.getLogger(__name__)

#: How often somebody looks, in seconds.
REST_SECONDS = 2.0
#: What has waited for so long was seen by everybody who could release it.
SETTLED = timedelta(seconds=2)
#: So many keys are looked at together.
BATCH = 200
_FIRST = UUID(int=0)
_KEYS = (
    select(EARLY.c.key)
    .distinct()
    .where(EARLY.c.since <= bindparam("before"), EARLY.c.key > bindparam("beyond"))
    .where(EARLY.c.key.not_in(select(PARKED_KEY.c.key)))
    .order_by(EARLY.c.key)
    .limit(BATCH)
)


class Releasing:
    """The loop that looks, some keys at a time, and begins again when it has seen all."""

    name = "early"

    def __init__(self, participant: Participant, *, fuse: int = FUSE_AFTER) -> None:
        """``fuse``: how many subjects may fail in a row before the fault is taken for ours."""
        self._participant = participant
        self._fuse = Fuse(self.name, fuse)
        self._beyond = _FIRST
        #: Whether anything could not be set aside since this last began with the first.
        self._has_failed = False

    def step(self) -> bool:
        """Apply what is ready among the next keys; never more at once, for most of it waits."""
        given = {"before": self._participant.now() - SETTLED, "beyond": self._beyond}
        with self._participant.engine.connect() as conn:
            keys = conn.execute(_KEYS, given).scalars().all()
        if self._beyond == _FIRST:
            self._has_failed = False
        self._beyond = keys[-1] if len(keys) == BATCH else _FIRST
        try:
            applied = apply_ready(self._participant, keys, self._fuse)
        except Exception:
            self._has_failed = True
            raise
        if applied:
            log.info("early events were ready and are applied", extra={"count": applied})
        if self._beyond == _FIRST and not self._has_failed:
            self._fuse.nothing_left()
        return False
