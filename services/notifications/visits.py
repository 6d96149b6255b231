"""A mentor's visit to their pages: a short session, begun by a card and its code."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine, insert, select, update

from hosting.auth import form_token_of, hash_of
from hosting.database import reading
from messaging.work import Work
from services.notifications.store import MENTOR_SESSION

#: A visit rests when nothing was asked for so long; its code wakes it, until it ends for good.
IDLE_FOR = timedelta(minutes=30)
ENDS_AFTER = timedelta(hours=12)


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Whose pages are open, and until when if nothing more is asked."""

    mentor_id: UUID
    card_id: UUID
    secret: str
    rests_at: datetime
    is_resting: bool

    def form_token(self) -> str:
        """What a form of this visit carries."""
        return form_token_of(self.secret)

    def sent(self, token: str) -> bool:
        """Whether a form came from this visit."""
        return hmac.compare_digest(self.form_token().encode(), token.encode())


def begin(work: Work, mentor_id: UUID, card_id: UUID, now: datetime) -> str:
    """A new visit's secret, kept as a hash only."""
    secret = secrets.token_urlsafe(32)
    row = {"hash": hash_of(secret), "mentor_id": mentor_id, "card_id": card_id}
    work.conn.execute(insert(MENTOR_SESSION).values(**row, began_at=now, seen_at=now))
    return secret


def find(engine: Engine, secret: str, now: datetime) -> Visit | None:
    """The visit of a secret; None when it was ended, or is too old."""
    query = select(MENTOR_SESSION).where(
        MENTOR_SESSION.c.hash == hash_of(secret),
        MENTOR_SESSION.c.ended_at.is_(None),
        MENTOR_SESSION.c.began_at > now - ENDS_AFTER,
    )
    with reading(engine) as conn:
        row = conn.execute(query).first()
    if row is None:
        return None
    rests_at = min(row.seen_at + IDLE_FOR, row.began_at + ENDS_AFTER)
    return Visit(
        mentor_id=row.mentor_id,
        card_id=row.card_id,
        secret=secret,
        rests_at=rests_at,
        is_resting=now > rests_at,
    )


def seen(engine: Engine, secret: str, now: datetime) -> None:
    """Somebody is at work in this visit."""
    _set(engine, secret, "seen_at", now)


def end(engine: Engine, secret: str, now: datetime) -> None:
    """The visit is over for good."""
    _set(engine, secret, "ended_at", now)


def _set(engine: Engine, secret: str, column: str, now: datetime) -> None:
    mine = MENTOR_SESSION.c.hash == hash_of(secret)
    with reading(engine) as conn:
        conn.execute(
            update(MENTOR_SESSION)
            .where(mine, MENTOR_SESSION.c.ended_at.is_(None))
            .values({column: now})
        )
