"""PostgreSQL and Kafka for a test or a benchmark: running, with all databases, and nothing else."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.kafka import Kafka
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from deploy.local.settings import DATABASES, GUESTS, ROLES, password_setting, settings_for


@dataclass(frozen=True, kw_only=True)
class Engines:
    """Both engines at hand, and the settings of the product that lead to them."""

    settings: dict[str, str]
    postgres: Postgres
    kafka: Kafka


@contextmanager
def running_engines(folder: Path) -> Iterator[dict[str, str]]:
    """Both engines over a data folder, yielding the settings of the product; ended at exit."""
    with engines_at_hand(folder) as engines:
        yield engines.settings


@contextmanager
def engines_at_hand(
    folder: Path, doors: Mapping[str, tuple[int, int]] | None = None
) -> Iterator[Engines]:
    """The same for whoever does them harm; ``doors`` are further listeners of the broker."""
    [front_port] = free_ports(1)
    settings = settings_for(folder.resolve(), front_port, environment={})
    postgres, kafka = postgres_of(folder, settings), kafka_of(folder, settings, doors)
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        preparing = threads.submit(kafka.prepare)
        stack.callback(postgres.stop)
        postgres.start()
        preparing.result()
        stack.callback(kafka.stop)
        kafka.launch()
        provide_databases(postgres, settings)
        kafka.wait()
        yield Engines(settings=settings, postgres=postgres, kafka=kafka)


def postgres_of(folder: Path, settings: Mapping[str, str]) -> Postgres:
    return Postgres(folder / "postgres", int(settings["POSTGRES_PORT"]))


def kafka_of(
    folder: Path,
    settings: Mapping[str, str],
    doors: Mapping[str, tuple[int, int]] | None = None,
) -> Kafka:
    port, controller_port = settings["KAFKA_PORT"], settings["KAFKA_CONTROLLER_PORT"]
    return Kafka(folder / "kafka", int(port), int(controller_port), doors)


def provide_databases(postgres: Postgres, settings: Mapping[str, str]) -> None:
    """One role each, and each database for its owner and its guests alone; idempotent."""
    for role in ROLES:
        postgres.ensure_role(role, settings[password_setting(role)])
    for name, owner in DATABASES.items():
        postgres.ensure_database(name, owner, GUESTS.get(name, ()))
