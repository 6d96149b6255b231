"""The engines that tests share; everything is set up by itself and ended afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.engines import running_engines
from tests.house import House, an_empty_house, migrate


@pytest.fixture(scope="session")
def engines() -> Iterator[dict[str, str]]:
    """Real PostgreSQL and Kafka on free ports, migrated; the settings that lead to them."""
    with tempfile.TemporaryDirectory(prefix="warm-handoff-") as folder:
        Path(folder).chmod(0o755)
        with running_engines(Path(folder)) as settings:
            migrate(settings, os.environ)  # type: ignore[arg-type]
            yield settings


@pytest.fixture
def house(engines: dict[str, str]) -> Iterator[House]:
    """The three services in one process over empty databases."""
    with an_empty_house(engines) as house:
        yield house


@pytest.fixture
def center(house: House) -> House:
    """A house with the demo's two facilities and twelve mentors."""
    house.load_demo()
    return house
