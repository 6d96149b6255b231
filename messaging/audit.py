"""What people do by hand is written down beside its effect, and chained afterwards by a worker.

The writer only adds a row, in the transaction of what was done: a chain made by writers would let
one of them wait for another. Rows can be neither changed nor removed; who takes that protection
away breaks the chain, which ``python -m services audit verify`` tells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select

from messaging.tables import AUDIT, AUDIT_CHAIN

#: Who is named for what was typed where nobody signs in.
COMMAND_LINE = "command line"
#: So many entries are chained at a time.
BATCH = 500
_LOCK = 4_813_002_771


def note(
    conn: Connection, at: datetime, by: object, did: str, about: object, **details: object
) -> None:
    """Write down, in the caller's transaction, that somebody did this to that.

    ``by`` is an account, or a name that was given; ``details`` are codes and counts, for what a
    person wrote is kept elsewhere, sealed.
    """
    told = {name: value for name, value in details.items() if value is not None}
    row = {"at": at, "by": str(by or COMMAND_LINE), "did": did, "about": str(about)}
    conn.execute(insert(AUDIT).values({**row, "details": told}))


def entries(conn: Connection, most: int = 200) -> Sequence[Any]:
    """The newest entries, newest first."""
    return conn.execute(select(AUDIT).order_by(AUDIT.c.place.desc()).limit(most)).all()


class Chaining:
    """The loop that chains what was written down since."""

    name = "audit"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def step(self) -> bool:
        """Chain the entries that are not; True when there may be more."""
        with self._engine.begin() as conn:
            if not conn.execute(select(func.pg_try_advisory_xact_lock(_LOCK))).scalar():
                return False
            chained = select(AUDIT_CHAIN.c.place).where(AUDIT_CHAIN.c.place == AUDIT.c.place)
            query = select(AUDIT).where(~chained.exists()).order_by(AUDIT.c.place).limit(BATCH)
            fresh = conn.execute(query).all()
            last = conn.execute(
                select(AUDIT_CHAIN).order_by(AUDIT_CHAIN.c.link.desc()).limit(1)
            ).first()
            link, so_far = (last.link, last.hash) if last else (0, b"")
            links = []
            for entry in fresh:
                link, so_far = link + 1, _hash(so_far, entry)
                links.append({"link": link, "place": entry.place, "hash": so_far})
            if links:
                conn.execute(insert(AUDIT_CHAIN), links)
        return len(fresh) == BATCH


def broken_at(conn: Connection) -> int | None:
    """The first link that does not fit what it was made of; None where all do.

    An entry that was removed leaves its link behind, and one that was altered has another hash.
    """
    query = select(AUDIT_CHAIN, *(AUDIT.c[n] for n in ("at", "by", "did", "about", "details")))
    links = query.outerjoin(AUDIT, AUDIT.c.place == AUDIT_CHAIN.c.place)
    so_far = b""
    for expected, entry in enumerate(conn.execute(links.order_by(AUDIT_CHAIN.c.link)), start=1):
        is_gone = entry.at is None or entry.link != expected
        if is_gone or entry.hash != (so_far := _hash(so_far, entry)):
            return expected
    return None


def _hash(so_far: bytes, entry: Any) -> bytes:
    """The hash of an entry and of all before it."""
    at = entry.at.astimezone(UTC).isoformat()
    told = [entry.place, at, entry.by, entry.did, entry.about, entry.details]
    return hashlib.sha256(so_far + json.dumps(told, sort_keys=True).encode()).digest()
