"""Seal what names a person: one key pair per (person, purpose), opened by one service alone.

A person's public half seals, so every service can write to a purpose; the private half is
wrapped for the one service that opens it. Sealing is HPKE; ``info`` binds a value to where it
belongs. Who knows the private half, having opened it or just made it, needs no pair: a key derived
from it seals.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from marshmallow import ValidationError
from sqlalchemy import Engine, TextClause, text

from contracts.sealed import ERASED, PURPOSES, Destroyed, Sealed
from contracts.wire import load, written
from messaging.points import reached
from messaging.wrapping import HPKE, NONCE_BYTES, VERSION, MasterKeys, Wrapping

#: Begins what was sealed without a pair; base64, which HPKE's boxes are, has no dot.
_OWN = "own."
#: What was opened is in memory for so long at most, whatever is destroyed elsewhere meanwhile.
FORGET_AFTER_SECONDS = 600.0
Content = TypeVar("Content")


class KeyAbsent(Exception):
    """A key that should exist does not: trouble, unlike one that was destroyed on purpose."""


class NotOurs(Exception):
    """A sealed value was altered, or moved from where it belongs."""


#: What opening raises for a value whose key is absent, or that is not what is expected there.
NOT_OPENED = (KeyAbsent, NotOurs, ValidationError)


@dataclass(frozen=True, kw_only=True)
class _Key:
    public: bytes
    wrapped: bytes | None
    destroyed: bool
    #: What whoever has just made it seals by.
    made: _Private | None = field(default=None, repr=False)


class _Private(NamedTuple):
    """A person's private half, and the key by which whoever knows it seals.

    Thousands are remembered, so they are kept raw: a cipher made of one takes 2.4 KB and 1.4 us.
    """

    half: bytes
    own: bytes

    def __repr__(self) -> str:
        return "<a private half>"

    def seal(self, plain: bytes, info: bytes) -> str:
        nonce = os.urandom(NONCE_BYTES)
        return (
            _OWN + base64.b64encode(nonce + AESGCM(self.own).encrypt(nonce, plain, info)).decode()
        )

    def open(self, box: str, info: bytes) -> bytes:
        if not box.startswith(_OWN):
            half = X25519PrivateKey.from_private_bytes(self.half)
            return HPKE.decrypt(base64.b64decode(box), half, info)
        own = base64.b64decode(box.removeprefix(_OWN))
        return AESGCM(self.own).decrypt(own[:NONCE_BYTES], own[NONCE_BYTES:], info)


class Keyring:
    """A service's way to the ``keys`` database, within the rights of its role."""

    def __init__(self, engine: Engine, master: MasterKeys) -> None:
        # One statement needs no transaction around it, which would be two round trips more.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._wrapping = Wrapping(master)
        self.unwrapped = lru_cache(maxsize=20_000)(self._unwrapped)
        #: What was opened, by its key's wrapped form: a look at the keys precedes every use.
        self.opened = lru_cache(maxsize=20_000)(self._open)
        #: When everything was last forgotten; whatever others keep of what was opened ends with it.
        self.remembers_since = time.monotonic()

    @property
    def opens(self) -> frozenset[str]:
        """The purposes that this service can open."""
        return self._wrapping.opens

    def make(self, persons: Iterable[UUID]) -> dict[tuple[str, UUID], _Key]:
        """Make every purpose's key for these persons, committed before this returns.

        Who has keys already keeps them: what is returned is of those who had none.
        """
        self._forget_in_time()
        people = list(dict.fromkeys(persons))
        made: dict[str, Any] = {"persons": people, "versions": [VERSION] * len(people)}
        keys: dict[tuple[str, UUID], _Key] = {}
        for purpose in PURPOSES:
            fresh = [self._fresh(purpose, person) for person in people]
            made[f"publics_{purpose}"] = [key.public for key, _ in fresh]
            made[f"wraps_{purpose}"] = [wrapped for _, wrapped in fresh]
            keys |= {(purpose, one): key for one, (key, _) in zip(people, fresh, strict=True)}
        with self._engine.connect() as conn:
            new = set(conn.execute(_MAKE, made).scalars())
        reached("keys.made")
        return {place: key for place, key in keys.items() if place[1] in new}

    def destroy(self, persons: Iterable[UUID]) -> int:
        """Destroy these persons' keys but for ``record``, for good; how many were there still.

        Persons whose keys are destroyed already stay as they are.
        """
        with self._engine.connect() as conn:
            gone: int = conn.execute(_DESTROY, {"persons": list(persons)}).scalar_one()
        if gone:
            self.forget()
        return gone

    def forget(self) -> None:
        """Keep nothing of what was opened."""
        self.unwrapped.cache_clear()
        self.opened.cache_clear()
        self._wrapping.forget()
        self.remembers_since = time.monotonic()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def view(self) -> KeyView:
        """The keys as they stand now: a fresh look for each piece of work."""
        self._forget_in_time()
        return KeyView(self)

    def fetch(self, wanted: Mapping[str, Iterable[UUID]]) -> dict[tuple[str, UUID], _Key]:
        """Read keys by purpose and person in one statement; wrapped only what may be opened."""
        given: dict[str, Any] = {"version": VERSION}
        given |= {purpose: list(persons) for purpose, persons in wanted.items()}
        reading = _reading(tuple(wanted), self.opens.intersection(wanted))
        with self._engine.connect() as conn:
            rows = conn.execute(reading, given)
            return {
                (row.purpose, row.person): _Key(
                    public=row.public, wrapped=row.wrapped, destroyed=row.destroyed
                )
                for row in rows
            }

    def _forget_in_time(self) -> None:
        if time.monotonic() - self.remembers_since > FORGET_AFTER_SECONDS:
            self.forget()

    def _fresh(self, purpose: str, person: UUID) -> tuple[_Key, bytes]:
        """A new key, as its maker may use it, and its wrapped half."""
        pair = X25519PrivateKey.generate()
        half = pair.private_bytes_raw()
        wrapped = self._wrapping.wrap(purpose, person, half)
        key = _Key(
            public=pair.public_key().public_bytes_raw(),
            wrapped=wrapped if purpose in self.opens else None,
            destroyed=False,
            made=_known(purpose, person, half),
        )
        return key, wrapped

    def _unwrapped(self, purpose: str, person: UUID, wrapped: bytes) -> _Private:
        """A person's private half; remembered by its wrapped form, which destruction removes."""
        return _known(purpose, person, self._wrapping.unwrap(purpose, person, wrapped))

    def _open(self, content: type[Any], wrapped: bytes, sealed: Sealed) -> Any:
        info = _info(sealed.purpose, sealed.person, sealed.bound)
        try:
            private = self.unwrapped(sealed.purpose, sealed.person, wrapped)
            plain = orjson.loads(private.open(sealed.box, info))
        except (InvalidTag, ValueError) as error:
            raise NotOurs("a sealed value does not open where it stands") from error
        return plain if content is str else load(content, plain)


class KeyView:
    """Keys read once for one piece of work."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._keys: dict[tuple[str, UUID], _Key] = {}

    def need(self, wanted: Iterable[tuple[str, UUID]]) -> None:
        """Read these (purpose, person) keys together, instead of one by one later."""
        missing: dict[str, set[UUID]] = {}
        for purpose, person in wanted:
            if (purpose, person) not in self._keys:
                missing.setdefault(purpose, set()).add(person)
        if missing:
            self._keys |= self._keyring.fetch(missing)

    def assert_there(self, purpose: str, person: UUID) -> None:
        """Raise ``KeyAbsent`` where nothing could be sealed; a destroyed key is there."""
        self._key(purpose, person)

    def make(self, *persons: UUID) -> None:
        """Make the keys of people of whom nobody knows yet; they need not be read."""
        self._keys |= self._keyring.make(persons)

    def seal(self, value: Any, purpose: str, person: UUID, bound: str) -> Sealed:
        """Seal a dataclass or what is JSON-able; nothing is kept where the key is destroyed."""
        key = self._key(purpose, person)
        box, info = "", _info(purpose, person, bound)
        if key.made is not None:
            box = key.made.seal(written(value), info)
        elif key.wrapped is not None:
            box = self._keyring.unwrapped(purpose, person, key.wrapped).seal(written(value), info)
        elif not key.destroyed:
            public = X25519PublicKey.from_public_bytes(key.public)
            box = base64.b64encode(HPKE.encrypt(written(value), public, info)).decode()
        return Sealed(purpose=purpose, person=person, version=VERSION, bound=bound, box=box)

    def open_as(self, content: type[Content], sealed: Sealed) -> Content | Destroyed:
        """The frozen dataclass or the text inside, or ``Destroyed``.

        Raises ``KeyAbsent`` when there never was such a key, ``NotOurs`` when it does not fit.
        """
        key = self._key(sealed.purpose, sealed.person)
        if key.destroyed or not sealed.box:
            return Destroyed()
        if key.wrapped is None:
            raise NotOurs(f"this service does not open {sealed.purpose}")
        kind: Any = content
        value: Content = self._keyring.opened(kind, key.wrapped, sealed)
        return value

    def open_kept(self, content: type[Content], kept: Any) -> Content | Destroyed:
        """The same of what ``to_json`` made of it, as a table keeps it."""
        return self.open_as(content, from_json(kept))

    def _key(self, purpose: str, person: UUID) -> _Key:
        self.need([(purpose, person)])
        try:
            return self._keys[purpose, person]
        except KeyError:
            raise KeyAbsent(f"no {purpose} key for a subject") from None


_MAKE = text(
    "WITH "
    + ", ".join(
        f"made_{purpose} AS (INSERT INTO key_{purpose} (person, version, public, wrapped)"
        " SELECT * FROM unnest(CAST(:persons AS uuid[]), CAST(:versions AS int[]),"
        f" CAST(:publics_{purpose} AS bytea[]), CAST(:wraps_{purpose} AS bytea[]))"
        " ON CONFLICT DO NOTHING RETURNING person)"
        for purpose in PURPOSES
    )
    + f" SELECT person FROM made_{PURPOSES[0]}"
)


_DESTROY = text(
    "WITH "
    + ", ".join(
        f"gone_{purpose} AS (UPDATE key_{purpose} SET wrapped = NULL, destroyed_at ="
        " clock_timestamp() WHERE person = ANY(:persons) AND destroyed_at IS NULL RETURNING 1)"
        for purpose in ERASED
    )
    + f" SELECT {' + '.join(f'(SELECT count(*) FROM gone_{purpose})' for purpose in ERASED)}"
)


#: Tokens were made of this form, with its spaces; another would find nothing again.
_SAID = json.JSONEncoder(ensure_ascii=False)


class SearchTokens:
    """Keyed tokens that stand beside sealed values, so that equals can be found."""

    def __init__(self, key: bytes) -> None:
        # To begin with a key takes twice as long as to go on from where one began.
        self._begun = hmac.new(key, digestmod="sha256")

    def token(self, kind: str, *parts: str) -> str:
        """The token of a value; kinds keep equal values of different fields apart."""
        begun = self._begun.copy()
        begun.update(_SAID.encode([kind, *parts]).encode())
        return begun.hexdigest()


def nothing(purpose: str, person: UUID, bound: str) -> Sealed:
    """What is left of a value that is gone: it opens as one whose key is destroyed."""
    return Sealed(purpose=purpose, person=person, version=VERSION, bound=bound, box="")


def to_json(sealed: Sealed) -> dict[str, Any]:
    """A sealed value as a table keeps it."""
    return {
        "purpose": sealed.purpose,
        "person": str(sealed.person),
        "version": sealed.version,
        "bound": sealed.bound,
        "box": sealed.box,
    }


def from_json(kept: Any) -> Sealed:
    """A sealed value from a table; raises ``NotOurs`` for what is none."""
    try:
        values = {name: str(kept[name]) for name in ("purpose", "bound", "box")}
        sealed = Sealed(**values, person=UUID(kept["person"]), version=int(kept["version"]))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise NotOurs("what is kept is no sealed value") from error
    # Keys are looked for by it.
    if sealed.purpose not in PURPOSES:
        raise NotOurs("what is kept is sealed for nothing that we know")
    return sealed


@cache
def _reading(purposes: tuple[str, ...], opened: frozenset[str]) -> TextClause:
    """Reads the keys of these purposes, and the wrapped half of those that may be opened."""
    wrapped = {p: "wrapped" if p in opened else "CAST(NULL AS bytea)" for p in purposes}
    return text(
        " UNION ALL ".join(
            f"SELECT '{purpose}' AS purpose, person, public, {wrapped[purpose]} AS wrapped,"
            f" destroyed_at IS NOT NULL AS destroyed FROM key_{purpose}"
            f" WHERE version = :version AND person = ANY(:{purpose})"
            for purpose in purposes
        )
    )


def _info(purpose: str, person: UUID, bound: str) -> bytes:
    return f"{purpose}|{person}|{VERSION}|{bound}".encode()


def _known(purpose: str, person: UUID, half: bytes) -> _Private:
    info = f"own|{purpose}|{person}|{VERSION}".encode()
    return _Private(half, HKDF(SHA256(), 32, salt=None, info=info).derive(half))
