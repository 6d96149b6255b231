"""A private half opens for whoever may open its purpose, as whose it is, and as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from messaging.wrapping import HPKE, MasterKeys, Wrapping

PURPOSES = ("about", "contact")
MASTERS = {purpose: X25519PrivateKey.generate() for purpose in PURPOSES}
PUBLIC = {purpose: key.public_key().public_bytes_raw() for purpose, key in MASTERS.items()}
PRIVATE = {purpose: key.private_bytes_raw() for purpose, key in MASTERS.items()}
HALF = os.urandom(32)
#: How much of what wraps a half is the sealed secret.
SECRET_BYTES = 80
SOMEBODY = uuid4()


def _each_by_itself(purpose: str, person: UUID) -> bytes:
    info = f"wrap|{purpose}|{person}|1".encode()
    return HPKE.encrypt(HALF, MASTERS[purpose].public_key(), info)


def _under_a_secret(purpose: str, person: UUID) -> bytes:
    return Wrapping(MasterKeys(public=PUBLIC, private={})).wrap(purpose, person, HALF)


Way = Callable[[str, UUID], bytes]


@pytest.fixture(params=[_each_by_itself, _under_a_secret])
def wrap(request: pytest.FixtureRequest) -> Way:
    """Either way in which a half was ever wrapped."""
    way: Way = request.param
    return way


@pytest.fixture
def opener() -> Wrapping:
    """A service that opens one of the purposes."""
    return Wrapping(MasterKeys(public=PUBLIC, private={"contact": PRIVATE["contact"]}))


def test_it_opens_for_whoever_may(opener: Wrapping, wrap: Way) -> None:
    assert opener.opens == {"contact"}
    assert opener.unwrap("contact", SOMEBODY, wrap("contact", SOMEBODY)) == HALF


def test_another_purpose_does_not_open(opener: Wrapping, wrap: Way) -> None:
    wrapped = wrap("about", SOMEBODY)

    with pytest.raises(KeyError):
        opener.unwrap("about", SOMEBODY, wrapped)
    with pytest.raises(InvalidTag):
        opener.unwrap("contact", SOMEBODY, wrapped)


def test_it_opens_as_whose_it_is_and_as_it_was(opener: Wrapping, wrap: Way) -> None:
    wrapped = wrap("contact", SOMEBODY)

    with pytest.raises(InvalidTag):
        opener.unwrap("contact", uuid4(), wrapped)
    for at in range(0, len(wrapped), 7):
        altered = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        with pytest.raises(InvalidTag):
            opener.unwrap("contact", SOMEBODY, altered)


def test_what_was_forgotten_wraps_nobody_else(opener: Wrapping) -> None:
    maker = Wrapping(MasterKeys(public=PUBLIC, private={}))
    one, another = (maker.wrap("contact", SOMEBODY, HALF) for _ in range(2))
    maker.forget()
    later = maker.wrap("contact", SOMEBODY, HALF)

    assert one[:SECRET_BYTES] == another[:SECRET_BYTES] != later[:SECRET_BYTES]
    assert len({one, another, later}) == 3
    assert {opener.unwrap("contact", SOMEBODY, each) for each in (one, another, later)} == {HALF}


def test_halves_of_two_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="contact"):
        Wrapping(MasterKeys(public=PUBLIC, private={"contact": PRIVATE["about"]}))
