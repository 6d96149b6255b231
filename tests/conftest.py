"""The engines that tests share; everything is set up by itself and ended afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as examples

from deploy.local.engines import running_engines
from messaging.memory import MemoryBroker
from tests.house import House, a_house_like, an_empty_house, let_go, migrate
from tests.kept import Kept, keep

# How long an example takes is for the benchmarks: a busy machine is no failure.
examples.register_profile("patient", examples.default, deadline=None)
examples.load_profile("patient")


@pytest.fixture(scope="session")
def engines() -> Iterator[dict[str, str]]:
    """Real PostgreSQL and Kafka on free ports, migrated; the settings that lead to them."""
    with tempfile.TemporaryDirectory(prefix="warm-handoff-") as folder:
        Path(folder).chmod(0o755)
        with running_engines(Path(folder)) as settings:
            migrate(settings, os.environ)  # type: ignore[arg-type]
            yield settings
            let_go(settings)


@pytest.fixture
def house(engines: dict[str, str]) -> Iterator[House]:
    """The three services in one process over empty databases."""
    with an_empty_house(engines) as house:
        yield house


@pytest.fixture(scope="session")
def demo(engines: dict[str, str]) -> tuple[dict[str, Kept], MemoryBroker]:
    """What a house holds once the demo's two facilities and twelve mentors are loaded."""
    with an_empty_house(engines) as house:
        house.load_demo()
        return keep(engines), house.broker


@pytest.fixture
def center(engines: dict[str, str], demo: tuple[dict[str, Kept], MemoryBroker]) -> Iterator[House]:
    """A house with the demo's two facilities and twelve mentors."""
    with a_house_like(engines, *demo) as house:
        yield house
