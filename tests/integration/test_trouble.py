"""Trouble with what the product stands on: nothing is lost, and everything goes on afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from kafka import KafkaProducer

from contracts.topics import TOPICS
from tests.house import a_discharge
from tests.running import Running, a_running_system, eventually

SOUTH = "south"
PLACED = ("assigned", "waiting")
FIRST = "You asked us to stay in touch"
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
    return f"+1503556{abs(hash(request.node.name)) % 10_000:04d}"


def enter(running: Running, number: str, **changes: Any) -> str:
    return running.register(
        facility=SOUTH, record_number=f"R-{number}", mobile=number, email=None, **changes
    )


def placed(running: Running, discharge_id: str, seconds: float = 60) -> dict[str, Any]:
    return running.wait_for(discharge_id, *PLACED, facility=SOUTH, seconds=seconds)


def once(running: Running, number: str, words: str = FIRST) -> dict[str, Any]:
    """The message to a number, of which there must be one only."""
    message = running.message(number, words, seconds=60)
    assert 1 == len([m for m in running.messages(number) if words in m["body"]])
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
    before = [enter(running, f"{number[:-1]}{digit}") for digit in range(3)]
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


REFUSALS = {
    "a text network that is too busy": ("sms", "429"),
    "a mail server that hangs up at once": ("email", "connect-421"),
    "a mail server that is busy at the recipient": ("email", "rcpt-450"),
    "a mail server that cannot store": ("email", "dot-450"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_network_in_trouble_is_tried_again_and_gets_the_message_once(
    running: Running, number: str, refusal: str
) -> None:
    channel, kind = REFUSALS[refusal]
    address = number if channel == "sms" else f"r{number[-4:]}@peers.example"
    phase = kind.partition("-")[0]
    aimed = {"to": address} if channel == "sms" or phase in ("rcpt", "dot") else {}
    running.order({"channel": channel, "kind": kind, "times": 2, **aimed})

    if channel == "sms":
        discharge_id = enter(running, number)
    else:
        discharge_id = _by_email(running, address)
    message = once(running, address)

    assert channel == message["channel"]
    # The fault may have struck the introduction as well as the first message.
    eventually(lambda: _settled(running, discharge_id), otherwise="some message is still due")
    attempts = running.sql(
        "notifications",
        "SELECT sum(attempts - 1) FROM message WHERE discharge_id = :id AND recipient = 'client'",
        id=discharge_id,
    )
    assert [(2,)] == attempts or not aimed


def _settled(running: Running, discharge_id: str) -> bool:
    """Whether every message of a client's discharge was handed over."""
    states = running.sql(
        "notifications",
        "SELECT state FROM message WHERE discharge_id = :id AND recipient = 'client'",
        id=discharge_id,
    )
    return {row.state for row in states} <= {"handed_over", "delivered"}


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
    for topic in TOPICS.values():
        producer.send(topic.name, None, key=b"nobody", headers=[])
    producer.flush(timeout=20)
    producer.close()

    discharge_id = enter(running, number)

    placed(running, discharge_id)
    once(running, number)
    expected = {
        (service, str(key))
        for topic, key, _, headers in records
        for service in TOPICS
        if TOPICS[service].name != topic
        and (len(headers) == 1 or dict(headers)["ce_source"] == b"/somebody")
    }
    listed = eventually(lambda: _parked(running, at_least=expected), otherwise="not all are parked")
    assert 6 == len({key for _, key in listed} - {str(key) for _, key, _, _ in records}) + 3
    assert any(task["kind"] == "parked" for task in running.tasks(SOUTH))
    assert 0 < running.metric("matching-worker", "parked_keys")
    for service, key in listed:
        _closed(running, service, key)
    assert set() == _parked(running)
    eventually(lambda: [t for t in running.tasks(SOUTH) if t["kind"] == "parked"] == [])


def _closed(running: Running, service: str, key: str) -> None:
    """Nothing but closing helps against a record that stays unreadable."""
    shown = running.services("parked", "show", service, key)
    assert 0 == shown.returncode, shown.stderr
    again = running.services("parked", "replay", service, key)
    assert 1 == again.returncode, again.stdout + again.stderr
    closed = running.services("parked", "close", service, key, "--reason", "not ours")
    assert 0 == closed.returncode, closed.stderr


def _parked(running: Running, at_least: set[tuple[str, str]] | None = None) -> Any:
    """Service and key of what ``parked list`` prints; None until all expected are there."""
    ran = running.services("parked", "list")
    assert 0 == ran.returncode, ran.stderr
    found = {(line.split()[0], line.split()[1]) for line in ran.stdout.splitlines()}
    return found if at_least is None or at_least <= found else None


def test_a_client_whose_event_was_closed_is_heard_again_afterwards(
    running: Running, number: str
) -> None:
    discharge_id = enter(running, number)
    client_id = placed(running, discharge_id)["client_id"]
    with running.hanging("worker-intake"):
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

    closed = running.services("parked", "close", "notifications", client_id, "--reason", "cut")
    _put_email(running, number, "second@peers.example")

    assert client_id == parked["client_id"]
    assert 0 == closed.returncode, closed.stderr
    placed(running, discharge_id)
    for service in ("matching", "notifications"):
        eventually(
            lambda service=service: _is_heard(running, service, client_id),
            seconds=15,
            otherwise=f"{service} keeps later events of the client waiting",
        )


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
