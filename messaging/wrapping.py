"""Wrap persons' private halves for the service that may open their purpose, and for nobody else.

A purpose's master key is an X25519 pair whose private half only that service holds. Sealing to it
is HPKE (RFC 9180): X25519, HKDF-SHA256, AES-256-GCM. It seals a secret, under which the halves of
whoever is made until that is forgotten are wrapped by AES-256-GCM: who opened the one opens all of
them, and neither side multiplies on the curve for each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
#: The only version of keys and of what is sealed by them.
VERSION = 1
NONCE_BYTES = 12
#: What HPKE makes of 32 bytes: the sender's public half, as many bytes as there were, and a tag.
_SEALED_BYTES = 32 + 32 + 16


@dataclass(frozen=True, kw_only=True)
class MasterKeys:
    """Raw X25519 halves by purpose: every public one, and the private ones a service may hold."""

    public: Mapping[str, bytes]
    private: Mapping[str, bytes]


class Wrapping:
    """What wraps the halves of every purpose, and unwraps those that a service may open."""

    def __init__(self, master: MasterKeys) -> None:
        self._public = {
            purpose: X25519PublicKey.from_public_bytes(raw)
            for purpose, raw in master.public.items()
        }
        self._private = {
            purpose: X25519PrivateKey.from_private_bytes(raw)
            for purpose, raw in master.private.items()
        }
        for purpose, key in self._private.items():
            if key.public_key().public_bytes_raw() != master.public[purpose]:
                # All that was ever sealed would seem to be damaged.
                raise ValueError(f"the halves of the master key for {purpose} are of two keys")
        #: The secrets under which halves are wrapped, by their sealed form.
        self._secret = lru_cache(maxsize=4_096)(self._opened)
        #: By purpose, the sealed form and the cipher of what wraps at present.
        self._wraps = lru_cache(maxsize=None)(self._drawn)

    @property
    def opens(self) -> frozenset[str]:
        """The purposes that this service can open."""
        return frozenset(self._private)

    def wrap(self, purpose: str, person: UUID, half: bytes) -> bytes:
        """A private half as the database keeps it."""
        sealed, secret = self._wraps(purpose)
        nonce = os.urandom(NONCE_BYTES)
        return sealed + nonce + secret.encrypt(nonce, half, _half_info(purpose, person))

    def unwrap(self, purpose: str, person: UUID, wrapped: bytes) -> bytes:
        """The private half.

        Raises ``InvalidTag`` for what was altered or is another person's, ``ValueError`` for what
        was cut so short that nothing can be tried.
        """
        info = _half_info(purpose, person)
        sealed, rest = wrapped[:_SEALED_BYTES], wrapped[_SEALED_BYTES:]
        if not rest:
            # Before decision 16 each was sealed to the master key by itself.
            return HPKE.decrypt(sealed, self._private[purpose], info)
        secret = AESGCM(self._secret(purpose, sealed))
        return secret.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], info)

    def forget(self) -> None:
        """Keep no secret; whoever is made from now on is wrapped under another one."""
        self._secret.cache_clear()
        self._wraps.cache_clear()

    def _drawn(self, purpose: str) -> tuple[bytes, AESGCM]:
        secret = AESGCM.generate_key(256)
        return HPKE.encrypt(secret, self._public[purpose], _secret_info(purpose)), AESGCM(secret)

    def _opened(self, purpose: str, sealed: bytes) -> bytes:
        return HPKE.decrypt(sealed, self._private[purpose], _secret_info(purpose))


def _half_info(purpose: str, person: UUID) -> bytes:
    return f"wrap|{purpose}|{person}|{VERSION}".encode()


def _secret_info(purpose: str) -> bytes:
    return f"wrap|{purpose}|{VERSION}".encode()
