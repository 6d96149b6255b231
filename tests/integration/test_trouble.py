"""Trouble with what the product stands on: nothing is lost, and everything goes on afterwards."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from time import sleep
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from kafka import KafkaProducer

from contracts.topics import TOPICS
from messaging import releasing
from tests.house import a_discharge
from tests.running import Running, a_running_system, eventually

SOUTH = "south"
PLACED = ("assigned", "waiting")
FIRST = "You asked us to stay in touch"
OPEN_TRANSACTIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"""
#: Of each publisher, an event that every reader of its topic reacts to.
HEARD = {
    "intake": "ClientDischarged",
    "matching": "MentorAssigned",
    "notifications": "ReplyReceived",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with a_running_system() as running:
        eventually(lambda: "the discharge is now: " in running.output, seconds=60)
        yield running


@pytest.fixture
def number(request: pytest.FixtureRequest) -> str:
    """A phone of this test alone."""
    return f"+1503556{zlib.crc32(request.node.name.encode()) % 10_000:04d}"


def enter(running: Running, number: str, **changes: Any) -> str:
    return running.register(
        facility=SOUTH, record_number=f"R-{number}", mobile=number, email=None, **changes
    )


def placed(running: Running, discharge_id: str, seconds: float = 60) -> dict[str, Any]:
    return running.wait_for(discharge_id, *PLACED, facility=SOUTH, seconds=seconds)


def once(running: Running, number: str, words: str = FIRST) -> dict[str, Any]:
    """The message to a number, of which there must be one only."""
    message = running.message(number, words, seconds=60)
    assert [message] == [m for m in running.messages(number) if words in m["body"]]
    return message


def engine_away(running: Running, how: str) -> Any:
    if how == "hangs":
        return running.hanging("kafka")
    return running.without("kafka", by=signal.SIGTERM)


@pytest.mark.parametrize("how", ["hangs", "is gone"])
def test_discharges_are_accepted_while_kafka_is_away(
    running: Running, number: str, how: str
) -> None:
    with engine_away(running, how):
        discharge_id = enter(running, number)
        story = running.story(discharge_id, SOUTH)

    assert "received" == story["state"]
    assert "on its way" == story["next"]["what"]
    placed(running, discharge_id, seconds=90)
    once(running, number)


def test_without_postgresql_doors_say_when_to_come_back_and_workers_wait(
    running: Running, number: str
) -> None:
    before = [enter(running, number.replace("+1503556", f"+150355{i}")) for i in (2, 3, 4)]
    body = a_discharge(running.now(), facility=SOUTH, record_number="R-pg", mobile=number)

    with running.without("postgres"):
        refused = running.api("POST", "/api/discharges", body, facility=SOUTH)
        asked = running.api("GET", f"/api/discharges/{before[0]}", facility=SOUTH)
        alive = requests.get(f"{running.access['url']}/healthz", timeout=10)
        ready = requests.get(f"{running.access['url']}/readyz", timeout=10)

    assert 503 == refused.status_code
    assert 0 < int(refused.headers["Retry-After"])
    assert "application/problem+json" == refused.headers["Content-Type"]
    assert 503 == asked.status_code
    assert 200 == alive.status_code
    assert 503 == ready.status_code
    accepted = eventually(
        lambda: _accepted(running.api("POST", "/api/discharges", body, facility=SOUTH)),
        otherwise="the door does not open again",
    )
    for discharge_id in (*before, accepted):
        placed(running, discharge_id)
    once(running, number)


def _accepted(answer: requests.Response) -> str | None:
    return str(answer.json()["id"]) if answer.status_code == 202 else None


def test_a_network_in_trouble_is_tried_again_and_gets_each_message_once(
    running: Running, number: str
) -> None:
    # A text network that is too busy, a mail server that is, and one that cannot store.
    refusals = {
        number: ("sms", "429"),
        f"r1{number[-4:]}@peers.example": ("email", "rcpt-450"),
        f"r2{number[-4:]}@peers.example": ("email", "dot-450"),
    }
    running.order(
        *(
            {"channel": channel, "kind": kind, "to": address, "times": 2}
            for address, (channel, kind) in refusals.items()
        )
    )

    # All at once, for each waits some seconds before it is tried again.
    entered = {
        address: enter(running, address) if channel == "sms" else _by_email(running, address)
        for address, (channel, _) in refusals.items()
    }

    for address, (channel, _) in refusals.items():
        assert channel == once(running, address)["channel"]
        # One refusal may have struck the introduction instead of the first message.
        _wait_until_settled(running, entered[address])
        assert 2 == _refusals_of(running, entered[address])
    assert [] == running.faults()


def test_a_mail_server_that_hangs_up_gets_each_message_once(running: Running, number: str) -> None:
    address = f"r{number[-4:]}@peers.example"
    # The connection is kept open for the next message, so that it is cut before it is refused.
    running.order(
        {"channel": "email", "kind": "mail-421"}, {"channel": "email", "kind": "connect-421"}
    )

    discharge_id = _by_email(running, address)

    once(running, address)
    _wait_until_settled(running, discharge_id)
    eventually(lambda: running.faults() == [], otherwise=lambda: str(running.faults()))


def _refusals_of(running: Running, discharge_id: str) -> int:
    """How often a message to the client of a discharge was tried in vain."""
    [(count,)] = running.sql(
        "notifications",
        "SELECT sum(attempts - 1) FROM message WHERE discharge_id = :id AND recipient = 'client'",
        id=discharge_id,
    )
    return int(count)


def _wait_until_settled(running: Running, discharge_id: str) -> None:
    """Wait until every message to the client of a discharge was handed over."""
    query = (
        "SELECT purpose, state FROM message WHERE discharge_id = :id AND recipient = 'client'"
        " AND state NOT IN ('handed_over', 'delivered')"
    )
    eventually(
        lambda: not running.sql("notifications", query, id=discharge_id),
        otherwise=lambda: str(running.sql("notifications", query, id=discharge_id)),
    )


def _by_email(running: Running, address: str) -> str:
    given = {"given_at": running.now().isoformat(), "obtained_by": "R. Lane"}
    consent = {**given, "method": "written", "wording": "email-1"}
    return running.register(
        facility=SOUTH,
        record_number=f"R-{address}",
        mobile=None,
        email=address,
        consents={"email": consent},
    )


def test_messages_wait_while_every_network_is_gone(running: Running, number: str) -> None:
    address = f"away{number[-4:]}@peers.example"
    with running.without("sandbox", by=signal.SIGTERM):
        enter(running, number)
        _by_email(running, address)
        eventually(
            lambda: running.sql(
                "notifications", "SELECT id FROM message WHERE state = 'planned' AND attempts > 0"
            ),
            otherwise="nothing was tried",
        )

    once(running, number)
    once(running, address)


def test_an_answer_that_never_came_is_unconfirmed_and_a_persons_task(
    running: Running, number: str
) -> None:
    running.order({"channel": "sms", "kind": "500", "to": number})

    discharge_id = enter(running, number)

    eventually(
        lambda: [
            task
            for task in running.tasks(SOUTH)
            if task["kind"] == "message_unconfirmed" and task["discharge_id"] == discharge_id
        ],
        otherwise="no task",
    )
    # The fault may have struck the introduction instead of the first message.
    eventually(lambda: len(running.messages(number)) == 1, otherwise="the other one")
    states = running.sql(
        "notifications",
        "SELECT state, attempts FROM message WHERE discharge_id = :id AND recipient = 'client'",
        id=discharge_id,
    )
    assert ("unconfirmed", 1) in states


def garbage() -> list[tuple[str, UUID, bytes, list[tuple[str, bytes]]]]:
    """Topic, key, body and headers of records that nobody can read, of each kind, on each topic."""
    records = []
    for publisher, topic in TOPICS.items():
        good = {
            "ce_specversion": "1.0",
            "ce_id": str(uuid4()),
            "ce_source": f"/{publisher}",
            "ce_type": HEARD[publisher],
            "ce_time": "2026-11-24T18:00:00+00:00",
            "ce_epoch": "1",
            "ce_sequence": "1",
            "ce_after": "[]",
            "traceparent": "",
        }
        for headers, body in (
            ({"ce_id": "\x00"}, b"{}"),
            (good, b'{"subject_id": '),
            ({**good, "ce_source": "/somebody"}, b"{}"),
            ({**good, "ce_sequence": "many"}, b"{}"),
            ({**good, "ce_after": "[1]"}, b"{}"),
            # Deeper than a parser goes, and a name that no JSON column can hold.
            (good, b'{"a":' * 20_000),
            ({**good, "ce_after": "[" * 20_000}, b"{}"),
            ({"a\x00b": "1"}, b"{}"),
        ):
            raw = [(name, value.encode()) for name, value in headers.items()]
            records.append((topic.name, uuid4(), body, raw))
        records.append((topic.name, uuid4(), b"\xff\xfe", [("ce_id", b"\xff")]))
    return records


def test_unreadable_records_are_parked_and_everybody_else_flows(
    running: Running, number: str
) -> None:
    records = garbage()
    producer = KafkaProducer(bootstrap_servers=running.settings["KAFKA_SERVERS"])
    for topic, key, body, headers in records:
        producer.send(topic, body, key=str(key).encode(), headers=headers)
    # A key that is not an id: the record's place stands for it.
    for known in TOPICS.values():
        producer.send(known.name, None, key=b"nobody", headers=[])
    producer.flush(timeout=20)
    producer.close()

    discharge_id = enter(running, number)

    placed(running, discharge_id)
    once(running, number)
    _expect_to_be_parked(running, [(topic, str(key)) for topic, key, _, _ in records])
    _close_all(running)
    assert set() == _parked(running)
    eventually(lambda: not _tasks_for_parked(running), otherwise="the tasks stay open")


def _expect_to_be_parked(running: Running, records: list[tuple[str, str]]) -> None:
    """By every reader of its topic, nothing else but the nameless ones, and told of."""
    readers = {
        TOPICS[publisher].name: [service for service in TOPICS if service != publisher]
        for publisher in TOPICS
    }
    expected = {(service, key) for name, key in records for service in readers[name]}
    count = len(expected) + sum(map(len, readers.values()))
    eventually(
        lambda: len(_parked(running)) == count,
        otherwise=lambda: f"{len(_parked(running))} of {count}",
    )
    assert expected <= _parked(running)
    assert _parked(running) == _listed(running)
    assert _tasks_for_parked(running)
    for service in TOPICS:
        worker = f"{service}-worker"
        eventually(partial(_metric_tells, running, worker), otherwise=f"the metric of {worker}")


def _metric_tells(running: Running, worker: str) -> bool:
    return running.metric(worker, "parked_keys") > 0


def _tasks_for_parked(running: Running) -> list[dict[str, Any]]:
    return [task for task in running.tasks(SOUTH) if task["kind"] == "parked"]


def _close_all(running: Running) -> None:
    """One as a person does it, and the others without waiting for a command to begin."""
    by_command, *others = sorted(_parked(running))
    _closed_by_command(running, *by_command)
    for service in TOPICS:
        _closed(running, service, [key for where, key in others if where == service])


def _closed_by_command(running: Running, service: str, key: str) -> None:
    """Nothing but closing helps against a record that stays unreadable."""
    shown = running.services("parked", "show", service, key)
    assert 0 == shown.returncode, shown.stderr
    again = running.services("parked", "replay", service, key)
    assert 1 == again.returncode, again.stdout + again.stderr
    closed = running.services("parked", "close", service, key, "--reason", "not_ours")
    assert 0 == closed.returncode, closed.stderr


def _closed(running: Running, service: str, keys: list[str]) -> None:
    """What the command does, in this process."""
    built = import_module(f"services.{service}.service").build(running.settings)
    for key in keys:
        assert not releasing.replay(built.participant, UUID(key))
        releasing.close(built.participant, UUID(key), because="not_ours")
    built.foundation.database.dispose()
    built.foundation.access.dispose()
    built.foundation.keyring.close()


def _parked(running: Running) -> set[tuple[str, str]]:
    """Service and key of all that is parked."""
    rows = {service: running.sql(service, "SELECT key FROM parked_key") for service in TOPICS}
    return {(service, str(row.key)) for service in TOPICS for row in rows[service]}


def _listed(running: Running) -> set[tuple[str, str]]:
    """Service and key of what ``parked list`` prints."""
    ran = running.services("parked", "list")
    assert 0 == ran.returncode, ran.stderr
    return {(line.split()[0], line.split()[1]) for line in ran.stdout.splitlines()}


def test_a_client_whose_event_was_closed_is_heard_again_afterwards(
    running: Running, number: str
) -> None:
    discharge_id = enter(running, number)
    client_id = placed(running, discharge_id)["client_id"]
    with _worker_hanging_idly(running, "intake"):
        _put_email(running, number, "first@peers.example")
        [(place, body)] = running.sql(
            "intake",
            "SELECT seq, body FROM outbox WHERE key = :key AND type = 'ContactDetailsChanged'"
            " AND published_at IS NULL",
            key=client_id,
        )
        _put_body(running, client_id, place, b"cut")
    parked = running.wait_for(discharge_id, "parked", facility=SOUTH)
    _put_body(running, client_id, place, bytes(body))
    assert {("notifications", client_id)} == _parked(running)

    closed = running.services(
        "parked", "close", "notifications", client_id, "--reason", "unreadable"
    )
    _put_email(running, number, "second@peers.example")

    assert client_id == parked["client_id"]
    assert 0 == closed.returncode, closed.stderr
    placed(running, discharge_id)
    for service in ("matching", "notifications"):
        eventually(
            partial(_is_heard, running, service, client_id),
            seconds=15,
            otherwise=f"{service} keeps later events of the client waiting",
        )


@contextmanager
def _worker_hanging_idly(running: Running, service: str) -> Iterator[None]:
    """Meanwhile a worker hangs, with no row locked: the door would have to wait for that."""
    for _ in range(100):
        with running.hanging(f"worker-{service}"):
            if not running.sql(service, OPEN_TRANSACTIONS):
                yield
                return
        sleep(0.05)
    raise AssertionError(f"the worker of {service} never has all its transactions closed")


def _put_email(running: Running, number: str, email: str) -> None:
    body = {"facility": SOUTH, "record_number": f"R-{number}", "mobile": number, "email": email}
    changed = running.api("PUT", "/api/contact", body, facility=SOUTH)
    assert 200 == changed.status_code, changed.text


def _put_body(running: Running, client_id: str, place: int, body: bytes) -> None:
    running.sql(
        "intake",
        "UPDATE outbox SET body = :body WHERE key = :key AND seq = :place",
        key=client_id,
        place=place,
        body=body,
    )


def _is_heard(running: Running, service: str, client_id: str) -> bool:
    """Whether a service has applied everything that intake said of a client."""
    [said] = running.sql("intake", "SELECT max(seq) FROM outbox WHERE key = :key", key=client_id)
    rows = running.sql(
        service,
        "SELECT seq FROM cursor WHERE key = :key AND producer = 'intake'",
        key=client_id,
    )
    return [said] == rows


def test_a_handler_that_failed_is_replayed_once_its_cause_is_gone(
    running: Running, number: str
) -> None:
    running.sql("matching", "ALTER TABLE client ADD CONSTRAINT broken CHECK (false) NOT VALID")
    try:
        discharge_id = enter(running, number)
        story = running.wait_for(discharge_id, "parked", facility=SOUTH)
        failed = running.services("parked", "replay", "matching", story["client_id"])
    finally:
        running.sql("matching", "ALTER TABLE client DROP CONSTRAINT broken")

    replayed = running.services("parked", "replay", "matching", story["client_id"])

    assert 1 == failed.returncode, failed.stdout + failed.stderr
    assert 0 == replayed.returncode, replayed.stdout + replayed.stderr
    placed(running, discharge_id)


def test_two_hundred_discharges_at_once_all_get_a_state(running: Running) -> None:
    now = running.now()
    bodies = [
        a_discharge(
            now,
            facility=SOUTH,
            record_number=f"R-many-{i}",
            mobile=f"+1503557{i:04d}",
            email=None,
        )
        for i in range(200)
    ]

    with ThreadPoolExecutor(16) as threads:
        answers = list(
            threads.map(
                lambda body: running.api("POST", "/api/discharges", body, facility=SOUTH), bodies
            )
        )

    assert {202} == {answer.status_code for answer in answers}
    ids = [answer.json()["id"] for answer in answers]
    states = eventually(lambda: _all_placed(running, ids), seconds=90, otherwise="some wait")
    assert set(PLACED) == set(states)
    over = running.sql(
        "matching",
        "SELECT m.code FROM mentor m JOIN assignment a ON a.mentor_id = m.id"
        " WHERE a.state <> 'ended' GROUP BY m.id HAVING count(*) > m.capacity",
    )
    assert [] == over


def _all_placed(running: Running, ids: list[str]) -> list[str] | None:
    rows = running.sql(
        "intake",
        "SELECT state FROM discharge WHERE id = ANY(CAST(:ids AS uuid[]))",
        ids=ids,
    )
    states = [row.state for row in rows]
    return states if set(states) <= set(PLACED) else None


def test_the_published_guarantees_hold_after_all_that(running: Running) -> None:
    checked = running.services("check")

    assert 0 == checked.returncode, checked.stdout + checked.stderr
    # Without Kafka it takes half a minute, and what it then says proves less.
    assert "Kafka could not be read" not in checked.stdout
