"""Workers are killed with work in flight, again and again: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import create_engine, text

from contracts.topics import TOPICS
from deploy.local.demo import next_morning
from hosting.clock import Clock, move_to
from messaging.heartbeats import is_heartbeat
from messaging.kafka import KafkaReader, ensure_topics, read_ids
from services.check import gather, judge
from services.intake.bodies import DischargeBody, read_body
from services.matching.mentors import load_roster
from tests.house import DEMO, House, a_discharge

KILLS = int(os.environ.get("WARM_HANDOFF_KILLS", "15"))
SEED = int(os.environ.get("WARM_HANDOFF_SEED", "20261124"))
SERVICES = ("intake", "matching", "notifications")
A_ROUND = 20
HEADER = (
    "code,called,mobile,email,opted_in_at,opted_in_how,time_zone,languages,moud_friendly,"
    "facilities,capacity,hours,route,state\n"
)

#: What is under way in a service, by name: rows that its worker still has to do something about.
IN_FLIGHT = {
    "unpublished": "SELECT count(*) FROM outbox WHERE published_at IS NULL",
    "leased": "SELECT count(*) FROM message WHERE state = 'leased'",
    "due": "SELECT count(*) FROM message WHERE state = 'planned'",
    "early": "SELECT count(*) FROM early",
}


class Workers:
    """The three workers and the sandbox, started by this test."""

    def __init__(self, settings: dict[str, str], folder: Path) -> None:
        self._environment = {**os.environ, **settings, "SANDBOX_FOLDER": str(folder / "spool")}
        self._folder = folder
        self._settings = settings
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.absorbed: Counter[str] = Counter()

    def start(self, name: str, *command: str) -> None:
        """Start a process that keeps its own log."""
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def worker(self, name: str) -> None:
        """Start a service's worker."""
        self.start(name, "services", "worker", name)

    def wait_until_ready(self, name: str) -> None:
        """Wait until a worker makes progress."""
        port = self._settings[f"{name.upper()}_WORKER_METRICS_PORT"]
        deadline = time.monotonic() + 30
        while True:
            try:
                if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok:
                    return
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, f"{name} does not become ready"
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """SIGKILL, after reading what it had absorbed."""
        self.count(name)
        self._running[name].send_signal(signal.SIGKILL)
        self._running[name].wait()

    def count(self, name: str) -> None:
        """Add what a worker has skipped because it had been applied before."""
        port = self._settings[f"{name.upper()}_WORKER_METRICS_PORT"]
        try:
            said = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=2).text
        except requests.RequestException:
            return
        for outcome in ("duplicate", "read_again"):
            found = re.findall(rf'consumer_records_total{{outcome="{outcome}".*}} ([\d.e+]+)', said)
            found += re.findall(
                rf'consumer_records_total{{.*outcome="{outcome}"}} ([\d.e+]+)', said
            )
            self.absorbed[outcome] += int(sum(float(number) for number in found))

    def stop(self) -> None:
        """End everything."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def workers(engines: dict[str, str], house: House, tmp_path: Path) -> Iterator[Workers]:
    """All three workers on real engines, with a roster that has a place for everybody."""
    ensure_topics(engines["KAFKA_SERVERS"], TOPICS.values(), 1)
    owner = create_engine(engines["ACCESS_OWNER_URL"])
    move_to(owner, next_morning(datetime.now(UTC)))
    owner.dispose()
    access = create_engine(engines["INTAKE_ACCESS_URL"])
    house.clock.moment = Clock(access, mode="sandbox").now()
    access.dispose()
    started = Workers(engines, tmp_path)
    started.start("sandbox", "deploy.sandbox")
    for name in SERVICES:
        started.worker(name)
    try:
        from services.intake.facilities import load_facilities

        load_facilities(house.desk, (DEMO / "demo-facilities.toml").read_bytes())
        deadline = time.monotonic() + 40
        while load_roster(house.matching, HEADER + _roster()).errors:
            assert time.monotonic() < deadline, "matching does not hear of the facilities"
            time.sleep(0.5)
        yield started
    finally:
        started.stop()


def _roster() -> str:
    return "".join(
        f"K-{n},Jo{n},+1503555{6000 + n},jo{n}@peers.example.org,2026-01-05T10:00:00-08:00,form,"
        "America/Los_Angeles,en,yes,south,200,00:00-23:59,workforce,active\n"
        for n in range(10)
    )


def test_killed_workers_lose_nothing_and_double_nothing(
    workers: Workers, house: House, engines: dict[str, str]
) -> None:
    chance = random.Random(SEED)
    phases: Counter[str] = Counter()
    accepted: list[str] = []
    expired: set[UUID] = set()
    rounds = kills = 0

    while kills < KILLS:
        assert rounds < 6 * KILLS, f"only {kills} of {rounds} kills hit work in flight"
        victim = SERVICES[kills % 3]
        rounds += 1
        # Nothing would flow to the victim while another one is still starting.
        for name in SERVICES:
            workers.wait_until_ready(name)
        with ThreadPoolExecutor(1) as pool:
            numbers = [rounds * A_ROUND + n for n in range(A_ROUND)]
            entering = pool.submit(lambda ns: [_register(house, n) for n in ns], numbers)
            holds_mark = rounds % 2 == 0
            if victim == "notifications" and not holds_mark:
                _slow_down_mail(engines["SANDBOX_URL"])
                _wait_for_work(house, victim, "leased")
            else:
                _wait_for_work(house, victim)
            # Some of the work is done by then, so that every phase of it is hit.
            time.sleep(chance.uniform(0, 0.4))
            with _mark_held_back(house, victim, held=holds_mark) as held:
                found = [*_in_flight(house, victim), *held]
                if found:
                    workers.kill(victim)
            accepted += entering.result()
        if not found:
            continue
        kills += 1
        phases.update(f"{victim}: {phase}" for phase in found)
        if victim == "notifications":
            expired |= _let_leases_run_out(house)
        workers.worker(victim)
    began = time.monotonic()
    _wait_for_quiet(house, len(accepted))
    quiet = time.monotonic() - began
    for name in SERVICES:
        workers.count(name)
    workers.absorbed["published twice"] = _published_twice(engines["KAFKA_SERVERS"])

    unconfirmed = _count(
        house, "notifications", "SELECT count(*) FROM message WHERE state = 'unconfirmed'"
    )
    print(f"\nseed {SEED}: {kills} kills in {rounds} rounds, {len(accepted)} discharges")
    for phase, times in sorted(phases.items()):
        print(f"  hit {phase}: {times}")
    print(f"  absorbed {dict(workers.absorbed)}, unconfirmed {unconfirmed}, quiet {quiet:.1f} s")

    assert KILLS < 3 or set(SERVICES) == {phase.split(":")[0] for phase in phases}
    assert sum(workers.absorbed.values()) > 0, "no kill was absorbed: the test proves nothing"
    _assert_nothing_lost(house, accepted)
    _assert_unconfirmed(house, expired)
    delivered = requests.get(f"{engines['SANDBOX_URL']}/messages.json", timeout=10).json()
    _assert_nothing_doubled(delivered)
    evidence = gather(
        engines,
        now=house.clock.now,
        in_kafka=read_ids(engines["KAFKA_SERVERS"], TOPICS.values()),
        delivered=delivered,
    )
    assert {} == {v.guarantee: v.violations for v in judge(evidence) if v.violations}


@contextmanager
def _mark_held_back(house: House, service: str, *, held: bool) -> Iterator[list[str]]:
    """Every other kill falls into the narrowest gap: acknowledged by Kafka and not marked.

    Locking the rows lets the relay read and publish them, and makes it wait with the mark.
    """
    with house.participants[service].engine.begin() as conn:
        locked: list[Any] = []
        deadline = time.monotonic() + (1.5 if held else 0)
        while not locked and time.monotonic() < deadline:
            unpublished = "SELECT 1 FROM outbox WHERE published_at IS NULL FOR UPDATE SKIP LOCKED"
            locked = list(conn.execute(text(unpublished)))
        if locked:
            time.sleep(0.5)
        yield ["acknowledged, not marked"] if locked else []
        # The server would carry out a dead relay's statement as soon as the rows are free.
        conn.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = current_user AND wait_event_type = 'Lock'"
                " AND query LIKE 'UPDATE outbox%'"
            )
        )


def _published_twice(servers: str) -> int:
    """Records that a relay sent again because it died before it could mark them."""
    reader = KafkaReader(servers, f"counting-{SEED}", [t.name for t in TOPICS.values()])
    seen: Counter[bytes] = Counter()
    idle = 0
    while idle < 15:
        records = reader.poll(0.2)
        idle = 0 if records else idle + 1
        seen.update(dict(r.headers)["ce_id"] for r in records if not is_heartbeat(r))
    reader.close()
    return sum(seen.values()) - len(seen)


def _register(house: House, number: int) -> str:
    body = a_discharge(
        house.clock.now(),
        facility="south",
        record_number=f"R-{number}",
        mobile=f"+1503555{number % 4000:04d}" if number < 4000 else None,
        email=f"sam{number}@example.org",
        channels=["email"],
    )
    entered: DischargeBody = read_body(DischargeBody, body)
    return str(house.desk.register(house.desk.facility("south"), entered, caller="test").id)


def _count(house: House, service: str, query: str) -> int:
    return int(house.rows(service, query)[0][0])


def _in_flight(house: House, service: str) -> list[str]:
    tables = {"leased", "due"} if service == "notifications" else set()
    names = [n for n in IN_FLIGHT if n in ("unpublished", "early") or n in tables]
    found = [name for name in names if _count(house, service, IN_FLIGHT[name])]
    unread = sum(
        _count(house, other, "SELECT count(*) FROM outbox WHERE published_at IS NOT NULL")
        for other in SERVICES
        if other != service
    ) - _count(house, service, "SELECT count(*) FROM inbox")
    return [*found, "unread"] if unread > 0 else found


def _wait_for_work(house: House, service: str, phase: str | None = None) -> None:
    """Wait until a worker has something to do, of this phase; else the kill may not count."""
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        found = _in_flight(house, service)
        if phase in found if phase else found:
            return
        time.sleep(0.02)


def _slow_down_mail(sandbox: str) -> None:
    """The next mails are stored at once and confirmed late: a death in between is unconfirmed."""
    late = {"channel": "email", "kind": "dot-delay", "times": 3, "seconds": 2}
    requests.put(f"{sandbox}/faults", json=[late], timeout=10).raise_for_status()


def _let_leases_run_out(house: House) -> set[UUID]:
    """The sender is dead: what it held, named here, is judged now instead of in four minutes."""
    with house.notifications.engine.begin() as conn:
        held = conn.execute(
            text(
                "UPDATE message SET lease_until = clock_timestamp() - interval '1 second'"
                " WHERE state = 'leased' RETURNING id"
            )
        )
        return set(held.scalars())


def _wait_for_quiet(house: House, accepted: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        busy = {name: _in_flight(house, name) for name in SERVICES}
        placed = _count(house, "matching", "SELECT count(*) FROM assignment")
        told = _count(house, "intake", "SELECT count(*) FROM discharge WHERE state = 'assigned'")
        if not any(busy.values()) and placed == told == accepted:
            return
        assert time.monotonic() < deadline, f"not quiet: {busy}, {placed} placed, {told} told"
        time.sleep(0.3)


def _assert_nothing_lost(house: House, accepted: list[str]) -> None:
    rows: list[Any] = house.rows(
        "notifications",
        "SELECT discharge_id, purpose, state FROM message WHERE recipient = 'client'",
    )
    for purpose in ("first", "introduction"):
        settled = {
            str(row.discharge_id)
            for row in rows
            if row.purpose == purpose and row.state in ("handed_over", "delivered", "unconfirmed")
        }
        assert set(accepted) == settled, purpose
    parked = sum(_count(house, name, "SELECT count(*) FROM parked_key") for name in SERVICES)
    assert 0 == parked


def _assert_unconfirmed(house: House, expired: set[UUID]) -> None:
    """What a dead sender held was tried once; only a receipt can say more of it."""
    rows = house.rows(
        "notifications",
        "SELECT state, attempts FROM message WHERE id = ANY(:ids)",
        ids=list(expired),
    )
    assert expired or KILLS < 6, "no kill hit a message that was being handed over"
    assert {(row.state, row.attempts) for row in rows} <= {("unconfirmed", 1), ("delivered", 1)}


def _assert_nothing_doubled(delivered: list[dict[str, Any]]) -> None:
    bodies = Counter((m["to"], m["body"]) for m in delivered if m["to"].startswith("sam"))

    assert [] == [pair for pair, times in bodies.items() if times > 1]
    assert [] == [i for i, n in Counter(m["message_id"] for m in delivered).items() if n > 1]
