"""What is to happen later: a row per (key, name), revocable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from messaging.rows import upsert_many
from messaging.tables import TIMER


@dataclass(frozen=True, kw_only=True)
class Timer:
    """A timer that is due. ``data`` holds opaque ids only."""

    key: UUID
    name: str
    due_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What handles it: the name up to a slash; what follows tells timers of a key apart."""
        return self.name.partition("/")[0]


class Timers:
    """The timers that one piece of work sets and revokes."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._wanted: dict[tuple[UUID, str], Timer | None] = {}

    def set(self, key: UUID, name: str, due_at: datetime, **data: str) -> None:
        """Set a timer, in place of the one of the same key and name."""
        self._wanted[key, name] = Timer(key=key, name=name, due_at=due_at, data=data)

    def revoke(self, key: UUID, name: str) -> None:
        """Take a timer back, if it is set."""
        self._wanted[key, name] = None

    def flush(self) -> None:
        """Write what was set and revoked."""
        revoked = [place for place, timer in self._wanted.items() if timer is None]
        if revoked:
            keys, names = zip(*revoked, strict=True)
            self._conn.execute(_REVOKE, {"keys": list(keys), "names": list(names)})
        rows = [
            {"key": t.key, "name": t.name, "due_at": t.due_at, "data": dict(t.data)}
            for t in self._wanted.values()
            if t is not None
        ]
        upsert_many(self._conn, TIMER, rows, "key", "name")


_REVOKE = text(
    "DELETE FROM timer USING unnest(CAST(:keys AS uuid[]), CAST(:names AS text[]))"
    " AS gone(key, name) WHERE timer.key = gone.key AND timer.name = gone.name"
)
