"""What several of these files start from."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text


@pytest.fixture
def no_accounts(engines: dict[str, str]) -> None:
    """Nobody has an account, a session or a link."""
    owner = create_engine(engines["ACCESS_OWNER_URL"])
    with owner.begin() as conn:
        conn.execute(text("TRUNCATE account, session, sign_in_link"))
    owner.dispose()
