"""Disasters lose nothing and double nothing, once the runbook was followed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.fault.drills import DRILLS, ON_THREE_BROKERS, System, a_system, carry_out

#: What ``make test`` carries out; ``make drill`` and ``make fault`` carry out the long ones too.
SHORT = "reset_groups,wipe_kafka,restore_a_database,clocks_apart"
CHOSEN = os.environ.get("WARM_HANDOFF_DRILLS", SHORT).split(",")


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One system, which each disaster finds as the one before has left it."""
    with a_system() as system:
        yield system


@pytest.mark.parametrize("name", CHOSEN)
def test_a_disaster_loses_nothing_and_doubles_nothing(
    request: pytest.FixtureRequest, name: str
) -> None:
    if name in ON_THREE_BROKERS:
        with a_system(brokers=3) as three:
            carry_out(name, three)
    else:
        carry_out(name, request.getfixturevalue("system"))


def test_only_drills_that_exist_are_chosen() -> None:
    assert set(CHOSEN) <= set(DRILLS)
