"""The real engines start together, keep their data over a stop, and leave nothing running."""

import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.local.children import started_at
from deploy.local.engines import postgres_of, running_engines


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def pids_of_engines(folder: Path) -> list[int]:
    """Every process whose command names the data folder, which is of this test alone."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command:
                found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def test_what_was_written_is_there_after_a_stop_and_a_start(folder: Path) -> None:
    with running_engines(folder) as settings:
        with connect(settings["INTAKE_DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'row' AS text")
        admin = KafkaAdminClient(bootstrap_servers=settings["KAFKA_SERVERS"])
        admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=settings["KAFKA_SERVERS"], acks="all")
        producer.send("kept", b"record").get(timeout=20)
        producer.close()

    with running_engines(folder) as settings:
        with connect(settings["INTAKE_DATABASE_URL"]) as connection:
            rows = connection.execute("SELECT text FROM kept").fetchall()
        consumer = KafkaConsumer(
            bootstrap_servers=settings["KAFKA_SERVERS"],
            group_id=None,
            auto_offset_reset="earliest",
            consumer_timeout_ms=20_000,
        )
        consumer.assign([TopicPartition("kept", 0)])
        record = next(consumer).value
        consumer.close()

    assert rows == [("row",)]
    assert record == b"record"


def test_a_stop_leaves_nothing_running(folder: Path) -> None:
    with running_engines(folder):
        during = pids_of_engines(folder)

    assert len(during) == 2
    assert [pid for pid in during if started_at(pid) is not None] == []


def test_a_service_can_enter_its_own_database_and_the_shared_ones_only(folder: Path) -> None:
    with running_engines(folder) as settings:
        for own in ("MATCHING_DATABASE_URL", "MATCHING_KEYS_URL", "MATCHING_ACCESS_URL"):
            connect(settings[own]).close()
        address, _, _ = settings["MATCHING_DATABASE_URL"].rpartition("/")

        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(f"{address}/intake")


def test_a_server_that_an_earlier_run_left_is_ended_by_the_next(folder: Path) -> None:
    with running_engines(folder) as settings:
        pass
    postgres = postgres_of(folder, settings)
    abandoned = subprocess.Popen(postgres.child.command, stderr=subprocess.DEVNULL)
    try:
        while not postgres.is_ready():
            assert abandoned.poll() is None
            time.sleep(0.05)

        postgres.start()
        postgres.stop()

        assert abandoned.wait(timeout=10) == 0
    finally:
        abandoned.kill()
        abandoned.wait()
