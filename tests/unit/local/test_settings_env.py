"""The settings of the local run are made once, kept, and never readable by others."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from deploy.local import settings
from deploy.local.settings import DATABASE_URLS, IncompleteSettings, settings_for


def test_the_second_run_finds_the_settings_of_the_first(tmp_path: Path) -> None:
    first = settings_for(tmp_path, 8080, {})

    assert settings_for(tmp_path, 8080, {}) == first
    assert settings.read(tmp_path / "settings.env") == first


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    settings_for(tmp_path, 8080, {})

    assert stat.S_IMODE((tmp_path / "settings.env").stat().st_mode) == 0o600


def test_a_changed_port_changes_every_address_that_has_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    first = settings_for(tmp_path, 8080, {})
    settings.write(file, {**first, "POSTGRES_PORT": "5999"})

    changed = settings_for(tmp_path, 8080, {})

    password = first["MATCHING_PASSWORD"]
    assert changed["MATCHING_KEYS_URL"] == (
        f"postgresql+psycopg://matching:{password}@127.0.0.1:5999/keys"
    )


def test_the_front_door_follows_the_port_that_was_asked_for(tmp_path: Path) -> None:
    settings_for(tmp_path, 8080, {})

    assert settings_for(tmp_path, 8181, {})["PUBLIC_URL"] == "http://127.0.0.1:8181"


def test_each_public_key_belongs_to_its_private_key(tmp_path: Path) -> None:
    made = settings_for(tmp_path, 8080, {})

    for public, private in settings.MASTER_KEYS.items():
        key = X25519PrivateKey.from_private_bytes(settings.from_text(made[private]))
        assert settings.from_text(made[public]) == key.public_key().public_bytes_raw()


def test_no_two_ports_are_the_same(tmp_path: Path) -> None:
    made = settings_for(tmp_path, 8080, {})

    ports = [made[name] for name in settings.PORTS]
    assert len(set(ports)) == len(ports)


def test_a_kafka_of_your_own_wins_until_it_is_no_longer_named(tmp_path: Path) -> None:
    with_own = settings_for(tmp_path, 8080, {"KAFKA_SERVERS": "127.0.0.1:9092"})
    without = settings_for(tmp_path, 8080, {})

    assert with_own["KAFKA_SERVERS"] == "127.0.0.1:9092"
    assert without["KAFKA_SERVERS"] == f"127.0.0.1:{without['KAFKA_PORT']}"


def test_half_of_your_own_postgresql_is_refused_with_the_missing_names(tmp_path: Path) -> None:
    own = {name: "postgresql+psycopg://here/x" for name in DATABASE_URLS if name != "CLOCK_URL"}

    with pytest.raises(IncompleteSettings, match=r"set these as well: CLOCK_URL\.$"):
        settings_for(tmp_path, 8080, own)
