"""Who is signed in: accounts with a role and a scope, and sessions that end everywhere at once.

Passwords are kept as argon2id hashes, names for signing in and sessions as tokens. Intake's web
writes; every web reads one view for each request, so that a session that was ended, or a role
that was changed, counts from the next request on, whoever answers it.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Engine, text

from hosting.auth import form_token_of, hash_of
from hosting.database import reading
from messaging.sealing import SearchTokens

#: After so many wrong passwords in a row an account is locked for a while.
TRIES = 5
LOCKED_FOR = timedelta(minutes=15)
#: A session ends when nothing was asked for so long, and at the latest after a working day.
IDLE_FOR = timedelta(minutes=30)
ENDS_AFTER = timedelta(hours=12)
#: How long a sign-in link may be used, once.
LINK_FOR = timedelta(hours=24)

_HASHER = PasswordHasher()


@cache
def nobodys_hash() -> str:
    """Verified when there is no such account, so that the time of an answer does not tell.

    It is as slow to make as to verify, so that only a process which signs people in makes it.
    """
    return _HASHER.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """Whose request it is."""

    account_id: UUID
    role: str
    scope: str
    #: The session's own secret, from which its form tokens are made.
    secret: str
    began_at: datetime
    seen_at: datetime

    @property
    def latest_end(self) -> datetime:
        """When the session ends, whatever is done."""
        return self.began_at + ENDS_AFTER

    def ends_at(self, seen_at: datetime | None = None) -> datetime:
        """When the session ends if nothing more is asked for than was by then."""
        return min((seen_at or self.seen_at) + IDLE_FOR, self.latest_end)

    def form_token(self) -> str:
        """What a form of this session carries; another site cannot know it."""
        return form_token_of(self.secret)

    def sent(self, token: str) -> bool:
        """Whether a form came from this session."""
        return hmac.compare_digest(self.form_token().encode(), token.encode())


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """The accounts in ``access``."""

    access: Engine
    tokens: SearchTokens

    def make(self, login: str, password: str, role: str, scope: str, now: datetime) -> UUID:
        """Make an account, or give an existing one this password, role and scope.

        Whoever is signed in with it is signed out: a changed role acts at once.
        """
        row = {
            "id": uuid4(),
            "login": self._login(login),
            "hash": _HASHER.hash(password),
            "role": role,
            "scope": scope,
            "now": now,
        }
        with self.access.begin() as conn:
            account_id: UUID = conn.execute(_MAKE, row).scalar_one()
            _end_sessions(conn, account_id, now)
        return account_id

    def sign_in(self, login: str, password: str, now: datetime) -> str | None:
        """A new session's secret; None when name or password are wrong, or after too many tries."""
        with self.access.begin() as conn:
            row = conn.execute(_BY_LOGIN, {"login": self._login(login)}).first()
            right = _is_right(row.password_hash if row else nobodys_hash(), password)
            if row is None or (row.locked_until is not None and row.locked_until > now):
                return None
            if not right:
                failures = row.failures + 1
                locked = now + LOCKED_FOR if failures >= TRIES else None
                kept = {"id": row.id, "locked": locked, "failures": 0 if locked else failures}
                conn.execute(_FAILED, kept)
                return None
            conn.execute(_FAILED, {"id": row.id, "locked": None, "failures": 0})
            return _begin(conn, row.id, now)

    def make_link(self, login: str, now: datetime) -> str:
        """A secret that signs this account in once, without its password.

        Raises ``LookupError`` when there is no such account.
        """
        secret = secrets.token_urlsafe(24)
        given = {"hash": hash_of(secret), "login": self._login(login), "now": now}
        with self.access.begin() as conn:
            if conn.execute(_LINK, given).first() is None:
                raise LookupError("no such account")
        return secret

    def use_link(self, secret: str, now: datetime) -> str | None:
        """A new session's secret; None when the link was used, or is too old."""
        with self.access.begin() as conn:
            given = {"hash": hash_of(secret), "now": now, "since": now - LINK_FOR}
            account_id = conn.execute(_USE_LINK, given).scalar()
            return _begin(conn, account_id, now) if account_id else None

    def called(self, login: str) -> tuple[UUID, str, str] | None:
        """The account of this name with its role and scope; None when there is none."""
        with reading(self.access) as conn:
            row = conn.execute(_CALLED, {"login": self._login(login)}).first()
        return (row.id, row.role, row.scope) if row else None

    def sign_out(self, account_id: UUID, now: datetime) -> None:
        """End every session of an account."""
        with self.access.begin() as conn:
            _end_sessions(conn, account_id, now)

    def seen(self, secret: str, now: datetime) -> None:
        """Somebody is still at work in this session."""
        with reading(self.access) as conn:
            conn.execute(_SEEN, {"hash": hash_of(secret), "now": now})

    def _login(self, login: str) -> str:
        return self.tokens.token("login", login.strip().casefold())


def signed_in(access: Engine, secret: str, now: datetime) -> SignedIn | None:
    """Whose session a secret is; None when it was ended, or nobody was at work in it for long."""
    if not secret:
        return None
    with reading(access) as conn:
        row: Any = conn.execute(_SESSION, {"hash": hash_of(secret)}).first()
    if row is None:
        return None
    who = SignedIn(
        account_id=row.account_id,
        role=row.role,
        scope=row.scope,
        secret=secret,
        began_at=row.began_at,
        seen_at=row.seen_at,
    )
    return who if now <= who.ends_at() else None


def _begin(conn: Connection, account_id: UUID, now: datetime) -> str:
    secret = secrets.token_urlsafe(32)
    conn.execute(_BEGIN, {"hash": hash_of(secret), "id": account_id, "now": now})
    return secret


def _end_sessions(conn: Connection, account_id: UUID, now: datetime) -> None:
    conn.execute(_END, {"id": account_id, "now": now})


def _is_right(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


_MAKE = text(
    "INSERT INTO account (id, login_token, password_hash, role, scope, made_at)"
    " VALUES (:id, :login, :hash, :role, :scope, :now)"
    " ON CONFLICT (login_token) DO UPDATE SET password_hash = excluded.password_hash,"
    " role = excluded.role, scope = excluded.scope, failures = 0, locked_until = NULL,"
    " ended_at = NULL RETURNING id"
)
_BY_LOGIN = text(
    "SELECT id, password_hash, failures, locked_until FROM account"
    " WHERE login_token = :login AND ended_at IS NULL FOR UPDATE"
)
_CALLED = text(
    "SELECT id, role, scope FROM account WHERE login_token = :login AND ended_at IS NULL"
)
_FAILED = text("UPDATE account SET failures = :failures, locked_until = :locked WHERE id = :id")
_LINK = text(
    "INSERT INTO sign_in_link (hash, account_id, made_at) SELECT :hash, id, :now FROM account"
    " WHERE login_token = :login AND ended_at IS NULL RETURNING account_id"
)
_USE_LINK = text(
    "UPDATE sign_in_link SET used_at = :now WHERE hash = :hash AND used_at IS NULL"
    " AND made_at > :since RETURNING account_id"
)
_BEGIN = text(
    "INSERT INTO session (hash, account_id, began_at, seen_at) VALUES (:hash, :id, :now, :now)"
)
_END = text("UPDATE session SET ended_at = :now WHERE account_id = :id AND ended_at IS NULL")
_SEEN = text(
    "UPDATE session SET seen_at = :now WHERE hash = :hash AND ended_at IS NULL AND seen_at < :now"
)
_SESSION = text(
    "SELECT account_id, role, scope, began_at, seen_at FROM valid_session WHERE hash = :hash"
)
