"""Stored discharges through matching to message rows, against the bare loop of the same run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import create_engine, text

from bench.bare import bare_loop
from contracts.event import Event
from contracts.intake import AboutClient, ClientDischarged, ConsentGiven, ContactDetails
from contracts.topics import TOPICS, Topic
from deploy.local.engines import running_engines
from messaging.kafka import ensure_topics
from messaging.work import Work
from services.command_line import main as services

PAGE = 200
MENTORS, PLACES = 100, 100
FACILITY = """
[[facility]]
code = "south"
alias = "Bridge South"
time_zone = "America/Los_Angeles"
asks = false
wording = {}
coordinator = { name = "Casey Moss", phone = "+15035550183", email = "casey@south.example.org" }
on_call = { name = "Jordan Pike", phone = "+15035550184", email = "oncall@south.example.org" }
"""
HEADER = (
    "code,called,mobile,email,opted_in_at,opted_in_how,time_zone,languages,pathways,strengths,"
    "moud_friendly,facilities,capacity,hours,route,state\n"
)


def run(count: int) -> None:
    """Print the rates and their ratio."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        with running_engines(Path(folder)) as settings:
            os.environ.update(settings)
            assert services(["migrate"]) == 0
            servers = settings["KAFKA_SERVERS"]
            bare_topics = ("bare-one", "bare-two")
            made = [
                Topic(name=n, publisher="bare", partitions=12, retention_ms=10**8, because="-")
                for n in bare_topics
            ]
            ensure_topics(servers, [*TOPICS.values(), *made], 1)
            url = settings["INTAKE_DATABASE_URL"].replace("+psycopg", "")
            bare = bare_loop(url, servers, count, bare_topics)
            _print_bare(bare, count)
            seconds = _product(Path(folder), count)
    rate, whole = count / seconds, count / sum(bare.values())
    span = sum(v for k, v in bare.items() if k not in ("store", "lease and mark"))
    print(f"product: {rate:.0f} discharges/s, {1e6 * seconds / count:.0f} us each")
    print(f"ratio to the bare loop: {rate / whole:.2f}  (aim >= 0.3)")
    print(f"ratio to its four middle stages alone: {rate * span / count:.2f}")


def _print_bare(bare: dict[str, float], count: int) -> None:
    for name, seconds in bare.items():
        print(f"  bare {name:24} {1e6 * seconds / count:6.0f} us per discharge")
    print(f"bare loop: {count / sum(bare.values()):.0f} discharges/s")


def _product(folder: Path, count: int) -> float:
    from services.intake import service as intake
    from services.intake.facilities import load_facilities
    from services.matching import service as matching
    from services.matching.mentors import load_roster

    built = intake.build()
    assert load_facilities(built.desk, FACILITY.encode())[1] == []
    workers = [_start(folder, name) for name in ("matching", "notifications")]
    relay = _start(folder, "intake")
    try:
        roster = HEADER + "".join(_mentor(n) for n in range(MENTORS))
        participant = matching.build().participant
        while load_roster(participant, roster).errors:
            time.sleep(0.2)
        _wait("notifications", "SELECT count(*) FROM person WHERE kind = 'mentor'", MENTORS)
        # The relay is stopped while everything is stored, so that all of it waits at the start.
        _stop(relay)
        facility = built.desk.facility("south").id
        _store(built.participant, facility, count)
        relay = _start(folder, "intake")
        _wait("notifications", "SELECT count(*) FROM message", 4 * count, seconds=300)
        ended = datetime.now(UTC)
        began = _one("intake", "SELECT min(published_at) FROM outbox WHERE type = 'ConsentGiven'")
    finally:
        for worker in (*workers, relay):
            _stop(worker)
    placed = _one("matching", "SELECT count(*) FROM assignment WHERE ended_at IS NULL")
    assert placed == count, placed
    return float((ended - began).total_seconds())


def _store(participant: Any, facility: UUID, count: int) -> None:
    now = datetime.now(UTC)
    for start in range(0, count, PAGE):
        clients = [uuid4() for _ in range(min(PAGE, count - start))]
        participant.keyring.make(clients)

        def command(
            work: Work, clients: list[UUID] = clients, start: int = start
        ) -> Iterator[Event]:
            work.keys.need((p, c) for p in ("about", "contact") for c in clients)
            for number, client in enumerate(clients):
                given = {"client_id": client, "wording": "text-1", "given_at": now}
                yield ConsentGiven(**given, channel="text")
                yield ClientDischarged(
                    client_id=client,
                    discharge_id=uuid4(),
                    facility_id=facility,
                    accepted_at=now,
                    about=AboutClient(
                        language="en",
                        time_zone="America/Los_Angeles",
                        high_risk=number % 10 == 0,
                        needs=("job", "housing"),
                        pathways=("12_step",),
                    ),
                    contact=ContactDetails(
                        called="Sam",
                        language="en",
                        time_zone="America/Los_Angeles",
                        mobile=f"+1503{start + number:07d}",
                        channels=("text",),
                        what_helps=("job",),
                    ),
                )

        participant.transact(command)


def _mentor(number: int) -> str:
    return (
        f"B-{number},Jo{number},+1503555{number:04d},jo{number}@peers.example.org,"
        "2026-01-05T10:00:00-08:00,form,America/Los_Angeles,en,12_step|smart,"
        f"job|family,yes,south,{PLACES},00:00-23:59,workforce,active\n"
    )


def _start(folder: Path, service: str) -> subprocess.Popen[bytes]:
    with (folder / f"bench-{service}.log").open("ab") as log:
        command = [sys.executable, "-m", "bench.worker", service]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    worker.wait(20)


def _wait(service: str, query: str, expected: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while _one(service, query) < expected:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{service}: {_one(service, query)} of {expected}")
        # Counting costs the database more with every row; a quarter of a second is no error here.
        time.sleep(0.25)


_ENGINES: dict[str, Any] = {}


def _one(service: str, query: str) -> Any:
    url = os.environ[f"{service.upper()}_DATABASE_URL"]
    engine = _ENGINES.setdefault(url, create_engine(url))
    with engine.connect() as conn:
        return conn.execute(text(query)).scalar()
