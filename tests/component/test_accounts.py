"""Accounts, sessions and links: who gets in, and that they are out at once, everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, create_engine, text

from hosting.accounts import ENDS_AFTER, IDLE_FOR, LINK_FOR, TRIES, Accounts, signed_in
from messaging.sealing import SearchTokens

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
EMAIL, PASSWORD = "ann@north.example", "correct horse battery"


@pytest.fixture
def access(engines: dict[str, str], no_accounts: None) -> Iterator[Engine]:
    """The database as intake sees it, empty of accounts."""
    intake = create_engine(engines["INTAKE_ACCESS_URL"])
    yield intake
    intake.dispose()


@pytest.fixture
def accounts(access: Engine) -> Accounts:
    """Accounts with one clerk."""
    made = Accounts(access=access, tokens=SearchTokens(b"k" * 32))
    made.make(EMAIL, PASSWORD, "clerk", "north", NOW)
    return made


def test_name_and_password_begin_a_session(accounts: Accounts) -> None:
    secret = accounts.sign_in(" Ann@North.example ", PASSWORD, NOW)

    assert secret is not None
    who = signed_in(accounts.access, secret, NOW)
    assert who is not None
    assert ("clerk", "north") == (who.role, who.scope)
    assert who.sent(who.form_token())
    assert not who.sent("")


@pytest.mark.parametrize(("email", "password"), [(EMAIL, "wrong"), ("no@one.example", PASSWORD)])
def test_who_is_wrong_does_not_get_in(accounts: Accounts, email: str, password: str) -> None:
    assert accounts.sign_in(email, password, NOW) is None


def test_too_many_tries_lock_the_account_for_a_while(accounts: Accounts) -> None:
    for _ in range(TRIES):
        accounts.sign_in(EMAIL, "wrong", NOW)

    assert accounts.sign_in(EMAIL, PASSWORD, NOW) is None
    assert accounts.sign_in(EMAIL, PASSWORD, NOW + timedelta(minutes=16)) is not None


def test_a_session_ends_when_nobody_is_at_work(accounts: Accounts) -> None:
    secret = accounts.sign_in(EMAIL, PASSWORD, NOW) or ""
    later = NOW + IDLE_FOR - timedelta(minutes=1)
    accounts.seen(secret, later)

    assert signed_in(accounts.access, secret, later + IDLE_FOR) is not None
    assert signed_in(accounts.access, secret, later + IDLE_FOR + timedelta(seconds=1)) is None


def test_a_session_ends_after_a_day_at_work(accounts: Accounts) -> None:
    secret = accounts.sign_in(EMAIL, PASSWORD, NOW) or ""
    accounts.seen(secret, NOW + ENDS_AFTER)

    assert signed_in(accounts.access, secret, NOW + ENDS_AFTER + timedelta(seconds=1)) is None


def test_signing_out_ends_every_session_for_every_service(
    accounts: Accounts, engines: dict[str, str]
) -> None:
    secrets = [accounts.sign_in(EMAIL, PASSWORD, NOW) or "" for _ in range(2)]
    elsewhere = create_engine(engines["MATCHING_ACCESS_URL"])
    who = signed_in(elsewhere, secrets[0], NOW)
    assert who is not None

    accounts.sign_out(who.account_id, NOW)

    assert [None, None] == [signed_in(elsewhere, secret, NOW) for secret in secrets]
    elsewhere.dispose()


def test_a_changed_role_ends_the_sessions_of_the_old_one(accounts: Accounts) -> None:
    secret = accounts.sign_in(EMAIL, PASSWORD, NOW) or ""

    accounts.make(EMAIL, PASSWORD, "coordinator", "north", NOW)

    assert signed_in(accounts.access, secret, NOW) is None
    again = signed_in(accounts.access, accounts.sign_in(EMAIL, PASSWORD, NOW) or "", NOW)
    assert again is not None
    assert "coordinator" == again.role


def test_a_link_works_once_and_not_for_long(accounts: Accounts) -> None:
    used, old = (accounts.make_link(EMAIL, NOW) for _ in range(2))

    assert accounts.use_link(used, NOW) is not None
    assert accounts.use_link(used, NOW) is None
    assert accounts.use_link(old, NOW + LINK_FOR) is None


def test_nothing_stored_lets_anybody_in_or_names_them(accounts: Accounts) -> None:
    secret = accounts.sign_in(EMAIL, PASSWORD, NOW) or ""

    with accounts.access.connect() as conn:
        kept = " ".join(
            str(tuple(row))
            for table in ("account", "session")
            for row in conn.execute(text(f"SELECT * FROM {table}"))
        )
    for private in (EMAIL, "ann", PASSWORD, secret):
        assert private not in kept
