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
from bench.processes import cpu_seconds
from contracts.event import Event
from contracts.intake import AboutClient, ClientDischarged, ConsentGiven, ContactDetails
from contracts.topics import TOPICS, Topic
from deploy.local.children import ALLOCATING
from deploy.local.engines import Engines, engines_at_hand
from messaging.kafka import ensure_topics
from messaging.work import Work
from services.command_line import main as services

AIM, AIM_RATE = 0.6, 480
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
        with engines_at_hand(Path(folder)) as engines:
            settings = engines.settings
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
            seconds = _product(Path(folder), engines, count)
    rate, whole = count / seconds, count / sum(bare.values())
    span = sum(v for k, v in bare.items() if k not in ("store", "lease and mark"))
    each = 1e6 * seconds / count
    print(f"product: {rate:.0f} discharges/s (aim >= {AIM_RATE}), {each:.0f} us each")
    print(f"ratio to the bare loop: {rate / whole:.2f}  (aim >= {AIM})")
    print(f"ratio to its four middle stages alone: {rate * span / count:.2f}")


def _print_bare(bare: dict[str, float], count: int) -> None:
    for name, seconds in bare.items():
        print(f"  bare {name:24} {1e6 * seconds / count:6.0f} us per discharge")
    print(f"bare loop: {count / sum(bare.values()):.0f} discharges/s")


def _product(folder: Path, engines: Engines, count: int) -> float:
    from services.intake import service as intake
    from services.intake.facilities import load_facilities
    from services.matching import service as matching
    from services.matching.mentors import load_roster

    built = intake.build()
    assert load_facilities(built.desk, FACILITY.encode())[1] == []
    workers = [start(folder, name) for name in ("matching", "notifications")]
    relay = start(folder, "intake")
    try:
        roster = HEADER + "".join(mentor(n) for n in range(MENTORS))
        participant = matching.build().participant
        while load_roster(participant, roster).errors:
            time.sleep(0.2)
        wait_for("notifications", "SELECT count(*) FROM person WHERE kind = 'mentor'", MENTORS)
        # The relay is stopped while everything is stored, so that all of it waits at the start.
        stop(relay)
        facility = built.desk.facility("south").id
        store(built.participant, facility, count)
        before = _cpu(engines, workers)
        relay = start(folder, "intake")
        wait_for("notifications", "SELECT count(*) FROM message", 4 * count, seconds=300)
        after = _cpu(engines, [*workers, relay])
        ended = datetime.now(UTC)
        began = the_one(
            "intake", "SELECT min(published_at) FROM outbox WHERE type = 'ConsentGiven'"
        )
    finally:
        for worker in (*workers, relay):
            stop(worker)
    placed = the_one("matching", "SELECT count(*) FROM assignment WHERE ended_at IS NULL")
    assert placed == count, placed
    _print_stages(count)
    taken = {name: 1e6 * (after[name] - before.get(name, 0.0)) / count for name in after}
    print("CPU us per discharge: " + ", ".join(f"{n} {us:.0f}" for n, us in taken.items()))
    for name in ("matching", "notifications"):
        print(f"{name}'s consumer, by function: " + _profile(folder, name))
    return float((ended - began).total_seconds())


def store(
    participant: Any, facility: UUID, count: int, channel: str = "text", at: datetime | None = None
) -> None:
    """Store so many discharges, of clients who agreed to this channel."""
    now = at or datetime.now(UTC)
    for first in range(0, count, PAGE):
        clients = [uuid4() for _ in range(min(PAGE, count - first))]

        def command(
            work: Work, clients: list[UUID] = clients, first: int = first
        ) -> Iterator[Event]:
            work.keys.make(*clients)
            for number, client in enumerate(clients):
                given = {"client_id": client, "wording": "text-1", "given_at": now}
                yield ConsentGiven(**given, channel=channel)
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
                        mobile=f"+1503{first + number:07d}",
                        email=f"sam{first + number}@example.org",
                        channels=(channel,),
                        what_helps=("job",),
                    ),
                )

        participant.transact(command)


def mentor(number: int) -> str:
    """A line of a roster."""
    return (
        f"B-{number},Jo{number},+1503555{number:04d},jo{number}@peers.example.org,"
        "2026-01-05T10:00:00-08:00,form,America/Los_Angeles,en,12_step|smart,"
        f"job|family,yes,south,{PLACES},00:00-23:59,workforce,active\n"
    )


#: From its first to its last row; all run at the same time, so that their sum says nothing.
STAGES = {
    "relay to matching": ("intake", "outbox", "published_at", "type = 'ClientDischarged'"),
    "match": ("matching", "inbox", "applied_at", "type = 'ClientDischarged'"),
    "relay to notifications": ("matching", "outbox", "published_at", "type = 'MentorAssigned'"),
    "plan the first messages": ("notifications", "inbox", "applied_at", "producer = 'intake'"),
    "plan the others": ("notifications", "inbox", "applied_at", "type = 'MentorAssigned'"),
}


def _print_stages(count: int) -> None:
    for name, (service, table, column, which) in STAGES.items():
        spent = f"extract(epoch FROM max({column}) - min({column}))"
        seconds = float(the_one(service, f"SELECT {spent} FROM {table} WHERE {which}"))
        print(f"  product {name:24} {1e6 * seconds / count:6.0f} us per discharge")


def _cpu(engines: Engines, workers: list[subprocess.Popen[bytes]]) -> dict[str, float]:
    """Processor seconds so far, by process."""
    named = {str(worker.args[-1]): worker.pid for worker in workers}  # type: ignore[index]
    for engine in (engines.postgres, engines.kafka):
        assert engine.process is not None
        named[type(engine).__name__] = engine.process.pid
    return {name: cpu_seconds(pid) for name, pid in named.items()}


def _profile(folder: Path, service: str) -> str:
    """What its worker wrote when it was stopped."""
    return ", ".join((folder / f"{service}.txt").read_text("utf-8").splitlines())


def start(folder: Path, service: str, *command: str) -> subprocess.Popen[bytes]:
    """Start a service's worker without its sender, or another command under its name."""
    with (folder / f"bench-{service}.log").open("ab") as log:
        module = [sys.executable, "-m", *(command or ("bench.worker", service))]
        environment = {**os.environ, **ALLOCATING, "BENCH_PROFILE": str(folder)}
        return subprocess.Popen(module, env=environment, stdout=log, stderr=subprocess.STDOUT)


def stop(worker: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and see that it does."""
    worker.terminate()
    worker.wait(20)


def wait_for(service: str, query: str, expected: int, seconds: float = 60) -> None:
    """Wait until a query finds so many."""
    deadline = time.monotonic() + seconds
    while the_one(service, query) < expected:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{service}: {the_one(service, query)} of {expected}")
        # Counting costs the database more with every row; a quarter of a second is no error here.
        time.sleep(0.25)


_ENGINES: dict[str, Any] = {}


def the_one(service: str, query: str) -> Any:
    """What a query finds in a service's database."""
    url = os.environ[f"{service.upper()}_DATABASE_URL"]
    engine = _ENGINES.setdefault(url, create_engine(url))
    with engine.connect() as conn:
        return conn.execute(text(query)).scalar()
