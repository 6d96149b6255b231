"""PostgreSQL and Kafka for a test or a benchmark: running, with all databases, and nothing else."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.local.kafka import Kafka
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from deploy.local.settings import DATABASES, GUESTS, ROLES, password_setting, settings_for


@contextmanager
def running_engines(folder: Path) -> Iterator[dict[str, str]]:
    """Both engines over a data folder, yielding the settings of the product; ended at exit."""
    [front_port] = free_ports(1)
    settings = settings_for(folder.resolve(), front_port, environment={})
    postgres, kafka = postgres_of(folder, settings), kafka_of(folder, settings)
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        preparing = threads.submit(kafka.prepare)
        stack.callback(postgres.stop)
        postgres.start()
        preparing.result()
        stack.callback(kafka.stop)
        kafka.launch()
        provide_databases(postgres, settings)
        kafka.wait()
        yield settings


def postgres_of(folder: Path, settings: Mapping[str, str]) -> Postgres:
    return Postgres(folder / "postgres", int(settings["POSTGRES_PORT"]))


def kafka_of(folder: Path, settings: Mapping[str, str]) -> Kafka:
    return Kafka(
        folder / "kafka", int(settings["KAFKA_PORT"]), int(settings["KAFKA_CONTROLLER_PORT"])
    )


def provide_databases(postgres: Postgres, settings: Mapping[str, str]) -> None:
    """One role each, and each database for its owner and its guests alone; idempotent."""
    for role in ROLES:
        postgres.ensure_role(role, settings[password_setting(role)])
    for name, owner in DATABASES.items():
        postgres.ensure_database(name, owner, GUESTS.get(name, ()))
