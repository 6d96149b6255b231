"""The three workers on real engines, started by a test that does them harm; and what must hold."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import requests
from kafka.admin import KafkaAdminClient
from sqlalchemy import create_engine, text

from contracts.topics import TOPICS
from deploy.local.demo import next_morning
from hosting.clock import Clock, move_to
from messaging.heartbeats import is_heartbeat
from messaging.kafka import KafkaReader, ensure_topics
from services.check import gather, judge, kafka
from services.check.evidence import CLOCKS_APART, Evidence, Row
from services.intake.bodies import DischargeBody, read_body
from services.intake.facilities import load_facilities
from tests.fault.mentors import ENOUGH, offer_places
from tests.house import DEMO, House, a_discharge
from tests.running import eventually

SERVICES = ("intake", "matching", "notifications")
#: Long after a test, whose house has a clock that stands still; no reminder is due by then.
LATER = timedelta(hours=1)
#: What is under way in a service, by name: rows that its worker still has to do something about.
IN_FLIGHT = {
    "unpublished": "SELECT count(*) FROM outbox WHERE published_at IS NULL",
    "leased": "SELECT count(*) FROM message WHERE state = 'leased'",
    "due": "SELECT count(*) FROM message WHERE state = 'planned'",
    "early": "SELECT count(*) FROM early",
}


class Workers:
    """The three workers and the sandbox, started by this test."""

    def __init__(
        self,
        settings: dict[str, str],
        folder: Path,
        ways: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """``ways``: settings of single workers, such as those that lead through proxies."""
        self._ways = ways or {}
        self._environment = {**os.environ, **settings, "SANDBOX_FOLDER": str(folder / "spool")}
        self._folder = folder
        self.settings = settings
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.absorbed: Counter[str] = Counter()

    def start(self, name: str, *command: str, code: Path | None = None, **environment: str) -> None:
        """Start a process that keeps its own log; ``code`` is where its modules are."""
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=code,
                env=self.environment(**environment),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def worker(self, name: str, *, code: Path | None = None, **environment: str) -> None:
        """Start a service's worker; the second of matching is called matching-2."""
        service = name.partition("-")[0]
        own = {**self._ways.get(name, {}), **environment}
        self.start(name, "services", "worker", service, code=code, **own)

    def environment(self, **more: str) -> dict[str, str]:
        """What every process is started with."""
        return {**self._environment, **more}

    def log(self, name: str) -> Path:
        """What a process has written."""
        return self._folder / f"{name}.log"

    def wait_until_ready(self, name: str) -> None:
        """Wait until a worker makes progress."""
        port = self._metrics_port(name)
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
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()

    def count(self, name: str) -> None:
        """Add what a worker has skipped because it had been applied before."""
        self.absorbed += self.skipped(name)

    def skipped(self, name: str) -> Counter[str]:
        """What a worker has skipped since it was started, by why; nothing of one that is gone."""
        port = self._metrics_port(name)
        try:
            said = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=2).text
        except requests.RequestException:
            return Counter()
        samples = re.findall(r"^consumer_records_total\{(.*)\} ([\d.e+]+)$", said, re.MULTILINE)
        return Counter(
            {
                outcome: int(sum(float(n) for labels, n in samples if f'"{outcome}"' in labels))
                for outcome in ("duplicate", "read_again")
            }
        )

    def _metrics_port(self, name: str) -> str:
        setting = f"{name.partition('-')[0].upper()}_WORKER_METRICS_PORT"
        return {**self.settings, **self._ways.get(name, {})}[setting]

    def stop(self) -> None:
        """End everything."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def running_workers(
    settings: dict[str, str],
    house: House,
    folder: Path,
    ways: Mapping[str, Mapping[str, str]] | None = None,
    *,
    copies: int = 1,
    places: int = ENOUGH,
) -> Iterator[Workers]:
    """All three workers on topics made anew; each mentor has so many places."""
    _make_topics_anew(settings["KAFKA_SERVERS"], copies)
    owner = create_engine(settings["ACCESS_OWNER_URL"])
    move_to(owner, next_morning(datetime.now(UTC)))
    owner.dispose()
    house.clock.moment = time_of(settings)
    started = Workers(settings, folder, ways)
    started.start("sandbox", "deploy.sandbox")
    for name in SERVICES:
        started.worker(name)
    try:
        load_facilities(house.desk, (DEMO / "demo-facilities.toml").read_bytes())
        eventually(
            lambda: offer_places(house, places),
            seconds=40,
            otherwise="matching does not hear of the facilities",
        )
        yield started
    finally:
        started.stop()


def time_of(settings: Mapping[str, str]) -> datetime:
    """The product's time."""
    access = create_engine(settings["INTAKE_ACCESS_URL"])
    try:
        return Clock(access, mode="sandbox").now()
    finally:
        access.dispose()


def _make_topics_anew(servers: str, copies: int) -> None:
    """What lies in them was said by databases that are empty now."""
    names = {topic.name for topic in TOPICS.values()}
    admin = KafkaAdminClient(bootstrap_servers=servers.split(","))
    try:
        if there := names & set(admin.list_topics()):
            admin.delete_topics(sorted(there))
            eventually(lambda: not names & set(admin.list_topics()), otherwise="topics stay")
    finally:
        admin.close()
    ensure_topics(servers, TOPICS.values(), copies)


def count(house: House, service: str, query: str, **values: Any) -> int:
    """The one number that a query finds."""
    return int(house.rows(service, query, **values)[0][0])


def parked(house: House) -> set[tuple[str, UUID]]:
    """Which keys are parked in which service."""
    query = "SELECT key FROM parked_key"
    return {(name, row.key) for name in SERVICES for row in house.rows(name, query)}


def in_flight(house: House, service: str) -> list[str]:
    """What a service's worker still has to do something about; what it has to read comes first."""
    tables = {"leased", "due"} if service == "notifications" else set()
    names = [n for n in IN_FLIGHT if n in ("unpublished", "early") or n in tables]
    found = ["unread"] if _unread(house, service) else []
    return found + [name for name in names if count(house, service, IN_FLIGHT[name])]


def _unread(house: House, service: str) -> set[UUID]:
    """The events that the others have published and this one has not taken in.

    What is said of a parked key is read, and waits for a person.
    """
    aside = [key for name, key in parked(house) if name == service]
    published = "SELECT event_id FROM outbox WHERE published_at IS NOT NULL AND key <> ALL(:aside)"
    said = {
        row.event_id
        for other in SERVICES
        if other != service
        for row in house.rows(other, published, aside=aside)
    }
    return said - {row.event_id for row in house.rows(service, "SELECT event_id FROM inbox")}


def readers(servers: str, service: str) -> list[str]:
    """Who reads for a service, by the name that each gave itself: its process is part of it."""
    admin = KafkaAdminClient(bootstrap_servers=servers.split(","))
    try:
        group = admin.describe_groups([service])[service]
        return [member["client_id"] for member in group["members"]]
    finally:
        admin.close()


def register(house: House, number: int) -> str:
    """Enter one discharge of a client of its own; its id."""
    entered: DischargeBody = read_body(DischargeBody, a_body(house.clock.now(), number))
    return str(house.desk.register(house.desk.facility("south"), entered, caller="test").id)


def a_body(now: datetime, number: int) -> dict[str, Any]:
    """What is entered of this client."""
    return a_discharge(
        now,
        facility="south",
        record_number=f"R-{number}",
        mobile=f"+1503555{number % 4000:04d}" if number < 4000 else None,
        email=f"sam{number}@example.org",
        channels=["email"],
    )


def let_leases_run_out(house: House) -> set[UUID]:
    """The sender is dead: what it held, named here, is judged now instead of in four minutes."""
    with house.notifications.engine.begin() as conn:
        held = conn.execute(
            text(
                "UPDATE message SET lease_until = clock_timestamp() - interval '1 second'"
                " WHERE state = 'leased' RETURNING id"
            )
        )
        return set(held.scalars())


#: Who has a mentor; who declined or let an offer run out has none.
WITH_MENTOR = "SELECT count(*) FROM assignment WHERE state = 'assigned'"


def wait_for_quiet(house: House, accepted: int) -> list[str]:
    """Wait until nothing is under way and everybody has a mentor; what that took, longest first.

    Not to get there is a failure.
    """
    began = looked_at = time.monotonic()
    waited: defaultdict[str, float] = defaultdict(float)
    while True:
        busy = {name: in_flight(house, name) for name in SERVICES}
        placed = count(house, "matching", WITH_MENTOR)
        told = count(house, "intake", "SELECT count(*) FROM discharge WHERE state = 'assigned'")
        if not any(busy.values()) and placed == told == accepted:
            longest = sorted(waited, key=lambda what: -waited[what])[:3]
            return [f"{what} {waited[what]:.0f} s" for what in longest]
        assert looked_at < began + 120, f"not quiet: {busy}, {placed} placed, {told} told"
        time.sleep(0.3)
        before, looked_at = looked_at, time.monotonic()
        those = [f"{name}'s {what}" for name, found in busy.items() for what in found]
        for what in those or ["somebody without a mentor"]:
            waited[what] += looked_at - before


def assert_nothing_lost(
    house: House, accepted: Collection[str], poisoned: Collection[tuple[str, UUID]] = ()
) -> None:
    """Everybody was written to, or it is said that nobody can know; only poison is parked."""
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
    assert set(poisoned) == parked(house)


def assert_nothing_doubled(delivered: Sequence[Row]) -> None:
    """Nobody got the same words twice, and no message left twice."""
    bodies = Counter((m["to"], m["body"]) for m in delivered if _is_of_client(m["to"]))

    assert [] == [pair for pair, times in bodies.items() if times > 1]
    assert [] == [i for i, n in Counter(m["message_id"] for m in delivered).items() if n > 1]


def _is_of_client(address: str) -> bool:
    """As ``a_body`` has them; mentors do get the same words again, about somebody else."""
    return address.startswith("sam") or re.fullmatch(r"\+1503555[0-3]\d{3}", address) is not None


def assert_every_guarantee_holds(
    house: House, engines: dict[str, str], *, apart: timedelta = CLOCKS_APART
) -> None:
    """What ``check`` judges, once all is quiet; and nobody got anything twice.

    ``apart`` is by how much the clocks of the processes differed.
    """
    evidence = _at_rest(house, engines, apart)
    assert evidence.delivered is not None
    read = (evidence.in_kafka, evidence.erased, evidence.zones)
    assert None not in read, "not everything could be read"
    assert_nothing_doubled(evidence.delivered)
    found = {v.guarantee: v.violations for v in judge(evidence) if v.violations}
    assert not found, found


def _at_rest(house: House, engines: dict[str, str], apart: timedelta) -> Evidence:
    """All that is judged, read while nothing was said: networks are asked again long after.

    What is said while databases and topics are read one after the other would be in some of them
    only, and counts as an hour old here.
    """

    def said() -> list[int]:
        return [count(house, name, "SELECT count(*) FROM outbox") for name in SERVICES]

    def is_busy() -> bool:
        return any(in_flight(house, name) for name in SERVICES)

    deadline = time.monotonic() + 60
    while True:
        # A receipt that came just now is in flight when this begins, and taken when it ends.
        before, was_busy = said(), is_busy()
        evidence = gather(
            engines,
            # Nothing is under way any more: what could still come in a minute is missing now.
            now=lambda: house.clock.now() + LATER,
            read_at=datetime.now(UTC) + LATER,
            in_kafka=kafka(engines["KAFKA_SERVERS"]),
            delivered=requests.get(f"{engines['SANDBOX_URL']}/messages.json", timeout=10).json(),
            apart=apart,
        )
        if said() == before and not was_busy and not is_busy():
            return evidence
        assert time.monotonic() < deadline, "something is said all the time"
        time.sleep(0.3)


#: Partitions of intake's that were not heard of late: a round lasts for half a minute at most.
SILENT = (
    "SELECT count(*) FROM (SELECT max(heard_at) AS heard_at FROM stored_offset"
    " WHERE topic = 'intake-events' GROUP BY partition) AS each"
    " WHERE heard_at IS NULL OR heard_at < clock_timestamp() - interval '30 seconds'"
)


def wait_until_heard(house: House) -> None:
    """Wait until notifications hears intake: who does not sends nothing, and is harmed at less."""
    eventually(lambda: count(house, "notifications", SILENT) == 0, seconds=60)


def published_twice(servers: str) -> int:
    """Records that a relay sent again because it died before it could mark them."""
    reader = KafkaReader(servers, f"counting-{uuid4()}", [t.name for t in TOPICS.values()])
    seen: Counter[bytes] = Counter()
    idle = 0
    while idle < 15:
        records = reader.poll(0.2)
        idle = 0 if records else idle + 1
        ids = (dict(r.headers).get("ce_id") for r in records if not is_heartbeat(r))
        # What a test has put there to be unreadable was never published.
        seen.update(event_id for event_id in ids if event_id is not None)
    reader.close()
    return sum(seen.values()) - len(seen)
