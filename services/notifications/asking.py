"""Ask a network about the texts of which nobody knows whether it took them.

Nothing is sent again whatever it says. A text that lies there, to that number and in those words,
was taken; one that does not may still be on its way, so a person decides, as before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, select, update

from contracts.event import Event
from contracts.sealed import Destroyed
from messaging.fuse import FUSE_AFTER, Fuse
from messaging.parking import attempt, goes_on
from messaging.unavailable import is_away
from messaging.work import Participant, Work
from services.notifications.channels import Asked, Lying
from services.notifications.domain import ASK_AFTER
from services.notifications.incoming import apply_receipt
from services.notifications.store import MESSAGE

log = logging.getLogger(__name__)

BATCH = 20
#: What a network calls today may be yesterday here.
_A_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class _Said:
    subject: str
    text: str


class Asking:
    """The loop that asks, a few times for each text and longer apart each time."""

    name = "asking"

    def __init__(
        self,
        participant: Participant,
        open_channel: Callable[[], Asked],
        *,
        fuse: int = FUSE_AFTER,
    ) -> None:
        """``fuse``: how many subjects may fail in a row before the fault is taken for ours."""
        self._participant = participant
        self._open = open_channel
        self._channel: Asked | None = None
        self._fuse = Fuse(self.name, fuse)

    def step(self) -> bool:
        """Ask about what is to be asked about; True when there may be more."""
        now = self._participant.now()
        due = select(MESSAGE).where(MESSAGE.c.ask_at <= now, goes_on(MESSAGE.c.subject_id))
        # Of those that wait for longest each may be at fault.
        any_one = due.order_by(func.random()).limit(1)
        query = any_one if self._fuse.is_blown else due.order_by(MESSAGE.c.ask_at).limit(BATCH)
        with self._participant.engine.connect() as conn:
            rows = conn.execute(query).all()
        if not rows:
            self._fuse.nothing_left()
        for row in rows:
            settle = partial(_settle, asked=row, found=self._found(row), fuse=self._fuse)
            attempt(self._participant, row.subject_id, self.name, settle, self._fuse)
        return len(rows) == BATCH

    def close(self) -> None:
        """Let go of the network."""
        if self._channel is not None:
            self._channel.close()

    def _found(self, row: Any) -> list[Lying] | None:
        """What was found, nothing where asking failed by a fault of ours: others are asked about.

        A person has the task anyway.
        """
        try:
            return self._ask(row)
        except Exception as error:
            if is_away(error):
                raise
            log.exception("a text cannot be asked about", extra={"message_id": str(row.id)})
            return []

    def _ask(self, row: Any) -> list[Lying] | None:
        """What lies in the network like this text; nothing is asked about who was erased."""
        keys = self._participant.keyring.view()
        said = keys.open_kept(_Said, row.said)
        to = keys.open_kept(str, row.address)
        if isinstance(said, Destroyed) or isinstance(to, Destroyed):
            return []
        if self._channel is None:
            self._channel = self._open()
        return self._channel.find(to, said.text, (row.due_at - _A_DAY).date())


def _settle(work: Work, *, asked: Any, found: list[Lying] | None, fuse: Fuse) -> Iterable[Event]:
    row = work.conn.execute(select(MESSAGE).where(MESSAGE.c.id == asked.id).with_for_update()).one()
    if row.state != "unconfirmed" or row.ask_at != asked.ask_at:
        # A receipt has come, or another worker has asked.
        return
    work.afterwards.append(fuse.worked)
    again = None
    if found is None or row.asked + 1 < len(ASK_AFTER):
        again = work.now + ASK_AFTER[row.asked if found is None else row.asked + 1]
    changes = {"ask_at": again, "asked": row.asked + (found is not None)}
    work.conn.execute(update(MESSAGE).where(MESSAGE.c.id == row.id).values(changes))
    # The same words may have gone to the same number before: those are another message's.
    ids = [one.provider_id for one in found or ()]
    taken = select(MESSAGE.c.provider_id).where(MESSAGE.c.provider_id.in_(ids))
    others = set(work.conn.execute(taken).scalars()) if ids else set()
    mine = next((one for one in found or () if one.provider_id not in others), None)
    if mine is not None:
        yield from apply_receipt(work, row, mine.status, mine.provider_id, mine.code)
