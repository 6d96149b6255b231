"""Every command that operations are told is run against the product, and ends as it is told."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from contracts.topics import TOPICS
from messaging import parking
from messaging.inbox import Failure
from messaging.kafka import bounds
from services.matching import service as matching
from tests.running import Running, a_running_system, eventually

ROOT = Path(__file__).resolve().parents[2]
INTAKE = TOPICS["intake"].name
_COMMAND = r"(?:python -m|docker|make|curl|kubectl|UPDATE|INSERT|DELETE|SELECT)\b"

#: What stands in the document for a value of one's own. KEY and STUCK are made by the fixture.
VALUES = {
    "FILE": "deploy/local/demo-mentors.csv",
    "SERVICE": "matching",
    "TOPIC": INTAKE,
    "FACILITY": "south",
    "EMAIL": "clerk@south.example",
    "NAME": "R. Lane",
    "N": "1",
}
#: Each command, in the order in which it is run here, and how it ends; twice where that depends.
RUN = (
    ("topics --replication N", 0),
    ("facilities load FACILITIES", 0),
    ("mentors load FILE", 0),
    ("token FACILITY", 0),
    ("account clerk FACILITY EMAIL", 0),
    ("migrate", 0),
    ("migrate [DATABASE]", 0),
    ("hold on SERVICE TOPIC --by NAME --because why", 0),
    ("hold list SERVICE", 0),
    ("hold off SERVICE TOPIC", 0),
    ("parked list SERVICE", 0),
    ("parked list [SERVICE]", 0),
    ("parked show SERVICE STUCK", 0),
    # What cannot be read fails again, and may only be closed.
    ("parked try SERVICE STUCK", 1),
    ("parked replay SERVICE STUCK", 1),
    ("parked close SERVICE STUCK --reason not_ours", 0),
    # What was set aside for another reason is applied.
    ("parked try SERVICE KEY", 0),
    ("parked replay SERVICE KEY", 0),
    ("parked replay-all SERVICE", 0),
    ("audit list SERVICE", 0),
    ("audit verify SERVICE", 0),
    ("erase CLIENT --because asked --by NAME", 0),
    ("republish", 0),
    ("republish SERVICE", 0),
    ("reread SERVICE TOPIC", 0),
    ("check", 0),
)
#: What is told and not run here, and why.
NOT_RUN = {
    "python -m services X Y": "stands for any of them",
    "docker compose exec worker-SERVICE python -m services X Y": "there are no containers here",
    "docker compose --profile sandbox up --build": "there are no containers here",
    "docker compose --profile sandbox down": "there are no containers here",
    "docker compose run --rm check": "there are no containers here",
    "docker compose ps": "there are no containers here",
    "python -m services web SERVICE": "the running system is made of them",
    "python -m services worker SERVICE": "the running system is made of them",
    "python -m deploy.new_env": "writes into the checkout; tests/unit/deploy runs it elsewhere",
    "make drill": "tests/fault carries the disasters out",
    "make run": "is what every test here starts, on a folder of its own",
    "make setup": "makes the environment in which this runs",
    "curl": "what it asks is asked below",
}


def told() -> set[str]:
    """Every command of the document, without its comment."""
    text = (ROOT / "docs/operations.md").read_text()
    lines = re.findall(rf"^    ({_COMMAND}.*)$", text, re.MULTILINE)
    spans = re.findall(rf"`({_COMMAND}[^`]*)`", text)
    return {re.sub(r"\s+", " ", command.split(" #")[0]).strip() for command in (*lines, *spans)}


def asked(command: str) -> str:
    """A command as it stands in the document."""
    as_told = command.replace("STUCK", "KEY").replace("FACILITIES", "FILE")
    as_told = as_told.replace("CLIENT", "KEY")
    return f"python -m services {as_told}".replace("--because why", '--because "why"')


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with a_running_system() as running:
        eventually(lambda: "the discharge is now: " in running.output, seconds=120)
        yield running


@pytest.fixture(scope="module")
def keys(running: Running) -> dict[str, str]:
    """Two keys that are parked in matching: one by a record, and one without."""
    stuck, key = uuid4(), uuid4()
    producer = KafkaProducer(bootstrap_servers=running.settings["KAFKA_SERVERS"])
    producer.send(INTAKE, b"{", key=str(stuck).encode(), headers=[])
    producer.close()
    built = matching.build(running.settings)
    participant = built.participant
    lost = Failure(handler="restored", error="EventsLost")
    participant.transact(lambda work: [parking.set_aside(work, key, lost)][:0])
    eventually(lambda: {stuck, key} <= {one.key for one in parking.listed(participant)})
    built.foundation.database.dispose()
    built.foundation.access.dispose()
    built.foundation.keyring.close()
    [[client]] = running.sql("intake", "SELECT client_id FROM discharge LIMIT 1")
    return {"STUCK": str(stuck), "KEY": str(key), "CLIENT": str(client)}


def test_what_is_told_is_run_here_or_said_not_to_be() -> None:
    assert told() == {asked(command) for command, _ in RUN} | set(NOT_RUN)


@pytest.mark.parametrize(("command", "code"), RUN, ids=[command for command, _ in RUN])
def test_a_command_ends_as_it_is_told(
    running: Running, keys: dict[str, str], command: str, code: int
) -> None:
    values = {**VALUES, **keys, "FACILITIES": "deploy/local/demo-facilities.toml"}
    values |= {"[SERVICE]": "matching", "[DATABASE]": "keys"}

    ran = running.services(*(values.get(word, word) for word in shlex.split(command)))

    assert code == ran.returncode, ran.stdout + ran.stderr
    assert ran.stdout


def test_what_kafka_deleted_unread_is_heard_after_the_two_commands(running: Running) -> None:
    servers = running.settings["KAFKA_SERVERS"]
    with running.without("worker-matching", by=15):  # type: ignore[arg-type]
        entered = running.register(facility="south", record_number="R-deleted", email=None)
        unsaid = "SELECT 1 FROM outbox WHERE published_at IS NULL"
        eventually(lambda: not running.sql("intake", unsaid), otherwise="it is not published")
        ends = {number: end for number, (_, end) in bounds(servers, INTAKE).items()}
        admin = KafkaAdminClient(bootstrap_servers=servers)
        admin.delete_records({TopicPartition(INTAKE, number): end for number, end in ends.items()})
        admin.close()
    eventually(lambda: _lost(running), seconds=60, otherwise="nobody is told")
    assert "received" == running.story(entered, "south")["state"]

    assert 0 == running.services("republish", "intake").returncode
    assert 0 == running.services("reread", "matching", INTAKE).returncode

    running.wait_for(entered, "assigned", "waiting", facility="south", seconds=90)
    eventually(lambda: _lost(running) == 0, seconds=60, otherwise="it is still told")
    checked = running.services("check")
    assert 0 == checked.returncode, checked.stdout


def _lost(running: Running) -> float | None:
    """What matching's worker says that it has lost; None while it is starting."""
    try:
        return running.metric("matching-worker", "consumer_lost_records")
    except requests.RequestException:
        return None
