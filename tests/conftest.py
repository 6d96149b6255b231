"""The engines that tests share; everything is set up by itself and ended afterwards."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from hypothesis import settings as examples
from kafka.net.inet import KafkaNetSocket
from kafka.net.selector import NetworkSelector

from deploy.local.engines import running_engines
from messaging.memory import MemoryBroker
from tests.house import House, a_house_like, an_empty_house, let_go, migrate
from tests.kept import Kept, keep

# How long an example takes is for the benchmarks: a busy machine is no failure.
examples.register_profile("patient", examples.default, deadline=None)
examples.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def kafka_hangs_up() -> Iterator[None]:
    """Close what kafka-python was connecting or still writing to when it was closed.

    It leaves that to the garbage collector, whose warning would fail whichever test runs then.
    """
    made: dict[NetworkSelector, list[socket]] = defaultdict(list)
    connect, close = KafkaNetSocket.sock_connect, NetworkSelector.close

    async def noted(
        self: KafkaNetSocket, net: NetworkSelector, one: socket, *of: Any, **how: Any
    ) -> Any:
        made[net].append(one)
        return await connect(self, net, one, *of, **how)

    def hangs_up(self: NetworkSelector) -> None:
        close(self)
        for one in made.pop(self, ()):
            one.close()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(KafkaNetSocket, "sock_connect", noted)
        patched.setattr(NetworkSelector, "close", hangs_up)
        yield


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
