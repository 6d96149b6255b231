"""What is sealed opens where it belongs, for the service of its purpose, while its key is there."""

from __future__ import annotations

import gc
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from contracts.sealed import Destroyed, Sealed
from messaging.sealing import KeyView, NotOurs, to_json
from messaging.work import Work
from services.check.shapes import is_sealed
from tests.house import House

BOUND = "person/1/contact"
WORDS = "Sam, after six"


@pytest.fixture
def person(house: House) -> UUID:
    """Somebody whom intake gave keys."""
    made = uuid4()
    house.intake.keyring.make([made])
    return made


def _own(house: House, person: UUID) -> Sealed:
    """Sealed by the service that opens it, which needs no pair of keys for that."""
    sealed = house.notifications.keyring.view().seal(WORDS, "contact", person, BOUND)
    assert sealed.box.startswith("own.")
    return sealed


def _others(house: House, person: UUID) -> Sealed:
    """Sealed by a service that cannot open it."""
    return house.intake.keyring.view().seal(WORDS, "contact", person, BOUND)


SEALED_BY = (_own, _others)


@pytest.fixture(params=SEALED_BY)
def sealed(request: pytest.FixtureRequest, house: House, person: UUID) -> Sealed:
    """The words, sealed in either way."""
    made: Sealed = request.param(house, person)
    return made


def _view(house: House) -> KeyView:
    return house.notifications.keyring.view()


def test_it_opens_for_the_service_of_its_purpose_alone(
    house: House, person: UUID, sealed: Sealed
) -> None:
    assert _view(house).open_as(str, sealed) == WORDS
    assert is_sealed(to_json(sealed), "contact", person, BOUND)
    for other in (house.intake, house.matching):
        with pytest.raises(NotOurs):
            other.keyring.view().open_as(str, sealed)


def test_it_opens_nowhere_else_and_not_when_it_was_altered(house: House, sealed: Sealed) -> None:
    somebody = uuid4()
    house.intake.keyring.make([somebody])
    view = _view(house)

    for altered in (
        replace(sealed, bound="person/2/contact"),
        replace(sealed, person=somebody),
        replace(sealed, box=sealed.box[:-8]),
        replace(sealed, box=sealed.box[:8]),
        replace(sealed, box="own." + sealed.box.removeprefix("own.")[4:]),
        replace(sealed, box=sealed.box.removeprefix("own.")[4:]),
    ):
        with pytest.raises(NotOurs):
            view.open_as(str, altered)


def test_it_is_gone_with_its_key(house: House, person: UUID, sealed: Sealed) -> None:
    assert _view(house).open_as(str, sealed) == WORDS

    house.intake.keyring.destroy([person])

    assert _view(house).open_as(str, sealed) == Destroyed()


def test_who_has_just_made_a_key_seals_without_a_pair_and_opens_nothing(house: House) -> None:
    maker, somebody = house.intake.keyring.view(), uuid4()
    maker.make(somebody)

    sealed = maker.seal(WORDS, "contact", somebody, BOUND)

    assert sealed.box.startswith("own.")
    assert _view(house).open_as(str, sealed) == WORDS
    assert is_sealed(to_json(sealed), "contact", somebody, BOUND)
    for view in (maker, house.intake.keyring.view(), house.matching.keyring.view()):
        with pytest.raises(NotOurs):
            view.open_as(str, sealed)
    house.intake.keyring.destroy([somebody])
    assert _view(house).open_as(str, sealed) == Destroyed()


def test_a_key_does_not_tell_what_it_opens(house: House) -> None:
    made = house.intake.keyring.make([uuid4()])

    for key in made.values():
        assert key.made
        assert "a private half" in repr(key.made)
        assert all(repr(secret)[2:-1] not in repr(key) for secret in (key.made.half, key.made.own))


def test_who_has_keys_keeps_them(house: House, person: UUID) -> None:
    maker, somebody = house.intake.keyring.view(), uuid4()

    maker.make(person, somebody, somebody)

    for one in (person, somebody):
        sealed = maker.seal(WORDS, "contact", one, BOUND)
        assert _view(house).open_as(str, sealed) == WORDS


def test_nobody_is_wrapped_under_a_secret_for_longer_than_anything_is_remembered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def secrets(*persons: UUID) -> set[bytes]:
        kept = house.notifications.keyring.fetch({"contact": persons})
        return {key.wrapped[:80] for key in kept.values() if key.wrapped}

    one, another, later = (uuid4() for _ in range(3))
    house.intake.keyring.make([one])
    house.intake.keyring.make([another])
    monkeypatch.setattr("messaging.sealing.FORGET_AFTER_SECONDS", 0)
    house.intake.keyring.make([later])

    assert len(secrets(one, another)) == 1
    assert len(secrets(one, later)) == 2


def test_what_intake_says_first_of_a_client_needs_no_pair(center: House) -> None:
    center.register(facility="south")

    said = "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM outbox"
    [row] = center.rows("intake", f"{said} WHERE type = 'ClientDischarged'")

    assert row.body["about"]["box"].startswith("own.")
    assert row.body["contact"]["box"].startswith("own.")


def test_the_same_words_never_look_the_same(house: House, person: UUID) -> None:
    for sealed_by in SEALED_BY:
        assert sealed_by(house, person).box != sealed_by(house, person).box


def test_what_was_opened_goes_with_the_work_that_opened_it(center: House) -> None:
    gc.collect()
    gc.disable()
    try:
        center.register(facility="south")
        center.settle()
        left = [one for one in gc.get_objects() if type(one) is Work]
    finally:
        gc.enable()

    assert center.rows("notifications", "SELECT id FROM message")
    assert not left


def test_what_was_opened_is_sealed_anew_where_it_is_kept(center: House) -> None:
    center.register(facility="south")

    kept = "SELECT 'person/' || id || '/contact' AS place, contact FROM person"
    rows = center.rows("notifications", f"{kept} WHERE kind = 'client'")
    rows += center.rows(
        "matching", "SELECT 'client/' || id || '/about' AS place, about AS contact FROM client"
    )

    assert 2 == len(rows)
    for row in rows:
        assert row.contact["bound"] == row.place
        assert row.contact["box"].startswith("own.")
