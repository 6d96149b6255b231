"""Disasters, each carried out on the real engines and mended by the steps of the runbook.

``python -m tests.fault.drills NAME`` runs one, ``make drill`` all of them. A drill harms the
system as its name says while work is in flight, does what operations would do, waits for quiet,
and lets the judge of ``check`` look at everything.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import requests
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.structs import OffsetAndMetadata
from sqlalchemy import create_engine

from contracts.topics import TOPICS
from deploy.local.engines import kafka_of, postgres_of, provide_databases
from deploy.local.kafka import Kafka, cluster_id
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres, binaries
from deploy.local.settings import DATABASES, GUESTS, settings_for
from hosting.clock import Clock, move_to
from messaging import parking
from services.check.evidence import CLOCKS_APART
from tests.fault import ledger
from tests.fault.workers import (
    SERVICES,
    Workers,
    assert_every_guarantee_holds,
    assert_nothing_lost,
    count,
    let_leases_run_out,
    published_twice,
    register,
    running_workers,
    wait_for_quiet,
)
from tests.house import House, an_empty_house, let_go, migrate
from tests.running import eventually

#: By how much the clocks of two workers differ in one of the drills.
APART = timedelta(minutes=10, seconds=5)
SHIFTED = Path(__file__).parent / "shifted"
#: What the members of a cluster of three say instead of what one alone says.
ONE_OF_THREE = """
node.id={node}
controller.quorum.voters={voters}
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


@dataclass
class System:
    """Engines and workers that a drill may harm."""

    postgres: Postgres
    brokers: Sequence[Kafka]
    workers: Workers
    house: House
    accepted: list[str] = field(default_factory=list)
    #: By how much the clocks of its processes may have differed so far.
    apart: timedelta = CLOCKS_APART
    _skipped: dict[int, Counter[str]] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """Where everything is."""
        return self.workers.settings

    def enter(self, many: int = 8) -> None:
        """Discharges of so many clients."""
        for _ in range(many):
            self.accepted.append(register(self.house, len(self.accepted) + 1))

    @contextmanager
    def entering(self, seconds: float = 3.0) -> Iterator[None]:
        """Meanwhile discharges come in, one after the other, and for so long afterwards."""
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(0.15):
                self.enter(1)

        feed = threading.Thread(target=go_on)
        feed.start()
        try:
            yield
            time.sleep(seconds)
        finally:
            over.set()
            feed.join()

    def command(self, *arguments: str) -> str:
        """Run ``python -m services ...`` as an operator does; what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", "services", *arguments],
            env=self.workers.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert 0 == ran.returncode, f"{arguments}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def stop_worker(self, name: str) -> None:
        """End a worker, which finishes what is in flight."""
        self.note_skipped()
        self.workers.running[name].terminate()
        self.workers.running[name].wait(60)

    def stop_workers(self) -> None:
        """End all three."""
        self.note_skipped()
        for name in SERVICES:
            self.workers.running[name].terminate()
        for name in SERVICES:
            self.workers.running[name].wait(60)

    def start_workers(self) -> None:
        """Start all three."""
        for name in SERVICES:
            self.workers.worker(name)

    def note_skipped(self) -> Counter[str]:
        """What all workers that ever ran have skipped as far as is known, by why."""
        for name in SERVICES:
            if skipped := self.workers.skipped(name):
                self._skipped[self.workers.running[name].pid] = skipped
        return sum(self._skipped.values(), Counter())

    def quiet(self) -> None:
        """Wait until nothing is under way."""
        let_leases_run_out(self.house)
        wait_for_quiet(self.house, len(self.accepted))

    def unconfirmed(self) -> int:
        """Messages of which nobody can know."""
        query = "SELECT count(*) FROM message WHERE state = 'unconfirmed'"
        return count(self.house, "notifications", query)

    def logged(self, words: str) -> int:
        """How often workers have said this."""
        return sum(self.workers.log(name).read_text().count(words) for name in SERVICES)


def reset_groups(system: System) -> str:
    """Every group begins at the earliest offset; the databases know better, and nothing happens."""
    system.enter()
    system.quiet()
    system.stop_workers()
    admin = KafkaAdminClient(bootstrap_servers=system.settings["KAFKA_SERVERS"].split(","))
    for name in SERVICES:
        begin = {
            TopicPartition(topic.name, number): OffsetAndMetadata(0, "", -1)
            for who, topic in TOPICS.items()
            for number in range(topic.partitions)
            if who != name
        }
        admin.alter_group_offsets(name, begin)
    admin.close()
    with system.entering(1.0):
        system.start_workers()
    return "every group at offset 0"


def wipe_kafka(system: System) -> str:
    """All of Kafka's data is gone, with discharges in flight, and comes back from the outboxes."""
    [kafka] = system.brokers
    with system.entering(0.5):
        time.sleep(1.5)
        kafka.kill()
        shutil.rmtree(kafka.folder)
        kafka.start()
    # One that is asked to stop while no broker answers waits for half a minute.
    system.stop_workers()
    system.command("topics", "--replication", "1")
    said = system.command("republish")
    again = "".join(system.command("republish", name) for name in SERVICES)
    assert [0] * 3 == [int(n) for n in re.findall(r": (\d+) of", again)], again
    system.start_workers()
    system.enter(4)
    gone = sum(int(number) for number in re.findall(r": (\d+) of", said))
    return f"{gone} records published again"


_WENT_BACK = "the reader goes back"


def cut_the_log(system: System) -> str:
    """The last records of a partition of each topic are gone, after they had been applied.

    Two readers go on by themselves; matching was away meanwhile, and finds a log that has grown
    again beyond where it was.
    """
    [kafka] = system.brokers
    system.enter(16)
    system.quiet()
    before, went = system.logged("the broker has lost what it had"), system.logged(_WENT_BACK)
    system.stop_worker("matching")
    with system.entering(4.0):
        time.sleep(0.5)
        kafka.kill()
        cut = sum(_cut_a_partition(system, kafka, name) for name in SERVICES)
        kafka.start()
    system.workers.worker("matching")
    system.quiet()
    found = system.logged("the broker has lost what it had") - before
    back = system.logged(_WENT_BACK) - went
    assert back >= len(SERVICES), "a reader passed over what took the place of what it had read"
    assert found == len(SERVICES), f"{found} of three cuts were noticed by who had published"
    said = system.command("republish")
    assert [0] * 3 == [int(n) for n in re.findall(r": (\d+) of", said)], said
    return f"{cut} batches cut off, noticed by {found} publishers, readers went back {back} times"


def _cut_a_partition(system: System, kafka: Kafka, service: str) -> int:
    """Cut off at least the last two events of the partition that has most of this service's."""
    [[number, at]] = system.house.rows(
        service,
        "SELECT published_partition,"
        " (array_agg(published_offset ORDER BY published_offset DESC))[2]"
        " FROM outbox WHERE published_at IS NOT NULL"
        " GROUP BY published_partition ORDER BY count(*) DESC LIMIT 1",
    )
    folder = kafka.data / f"{TOPICS[service].name}-{number}"
    # As a machine without power would find it: what says how far the disk is, is older.
    (kafka.data / "recovery-point-offset-checkpoint").unlink(missing_ok=True)
    return cut_off(folder, at)


def cut_off(folder: Path, offset: int) -> int:
    """Cut a partition's log before the batch that holds this offset; how many batches went."""
    log = max(folder.glob("*.log"))
    data = log.read_bytes()
    place, batches, keep = 0, 0, None
    while place + 27 <= len(data):
        base, length = struct.unpack_from(">qi", data, place)
        [last] = struct.unpack_from(">i", data, place + 23)
        if base + last >= offset:
            batches += 1
            keep = place if keep is None else keep
        place += 12 + length
    assert keep is not None, f"{log} does not hold {offset}"
    os.truncate(log, keep)
    for index in folder.iterdir():
        if index.suffix in (".index", ".timeindex", ".snapshot"):
            index.unlink()
    return batches


def restore_a_database(system: System) -> str:
    """Matching's database is as it was five minutes ago, and the others' are not."""
    system.enter()
    system.quiet()
    _dump(system, "matching")
    _let_five_minutes_pass(system)
    since = len(system.accepted)
    system.enter(5)
    system.quiet()
    decided = _mentors(system)
    system.stop_worker("matching")
    _restore(system, "matching")
    system.workers.worker("matching")

    lost = system.accepted[since:]
    keys = eventually(lambda: _restored(system, "matching"), otherwise="nothing is set aside")
    assert len(keys) == len(lost), f"{len(keys)} set aside, {len(lost)} lost"
    system.enter(3)
    time.sleep(3)
    # Everybody else flows, and nothing is decided of those until somebody has looked.
    assert set(decided) - set(lost) < set(_mentors(system))
    assert not set(lost) & set(_mentors(system))
    listed = system.command("parked", "list", "matching")
    assert len(keys) == listed.count(" restored ")
    for key in keys:
        system.command("parked", "try", "matching", key)
        system.command("parked", "replay", "matching", key)
    system.quiet()
    now = _mentors(system)
    other = sum(now[discharge] != decided[discharge] for discharge in lost)
    return f"{len(keys)} set aside, replayed by hand, {other} of them with another mentor"


def _mentors(system: System) -> dict[str, str]:
    rows = system.house.rows("matching", "SELECT discharge_id, mentor_id FROM assignment")
    return {str(row.discharge_id): str(row.mentor_id) for row in rows}


def _restored(system: System, service: str) -> list[str]:
    parked = parking.listed(system.house.participants[service])
    return [str(one.key) for one in parked if one.handler == "restored"]


def _let_five_minutes_pass(system: System) -> None:
    owner = create_engine(system.settings["ACCESS_OWNER_URL"])
    access = create_engine(system.settings["INTAKE_ACCESS_URL"])
    system.house.clock.moment = Clock(access, mode="sandbox").now() + timedelta(minutes=5)
    move_to(owner, system.house.clock.moment)
    owner.dispose()
    access.dispose()


def _dump(system: System, database: str) -> None:
    _postgres(system, "pg_dump", "-Fc", "-f", str(_backup(system)), database)


def _restore(system: System, database: str) -> None:
    """Put one database back as it was dumped; the others stay as they are."""
    system.house.participants[database].engine.dispose()
    _postgres(system, "dropdb", "--force", database, maintenance="postgres")
    system.postgres.ensure_database(database, DATABASES[database], GUESTS.get(database, ()))
    _postgres(system, "pg_restore", "--exit-on-error", "-d", database, str(_backup(system)))


def _backup(system: System) -> Path:
    return system.postgres.folder.parent / "backup"


def _postgres(system: System, program: str, *arguments: str, maintenance: str = "") -> None:
    url = re.match(r".*://(\w+):([^@]+)@([\d.]+):(\d+)/", system.postgres.admin_url)
    assert url is not None
    user, password, host, port = url.groups()
    where = {"PGUSER": user, "PGPASSWORD": password, "PGHOST": host, "PGPORT": port}
    more = ["--maintenance-db", maintenance] if maintenance else []
    subprocess.run(
        [str(binaries() / program), *more, *arguments],
        env={**os.environ, **where},
        check=True,
        capture_output=True,
    )


def clocks_apart(system: System) -> str:
    """The machines' clocks are five minutes behind and ahead; mail is slow, so leases are seen."""
    before, system.apart = system.unconfirmed(), APART
    [port] = free_ports(1)
    system.stop_workers()
    behind = {"PYTHONPATH": str(SHIFTED), "SHIFT_SECONDS": "-300"}
    ahead = {"PYTHONPATH": str(SHIFTED), "SHIFT_SECONDS": "300"}
    system.workers.worker("intake")
    system.workers.worker("matching", **ahead)
    system.workers.worker("notifications", **behind)
    also = {**ahead, "NOTIFICATIONS_WORKER_METRICS_PORT": str(port)}
    system.workers.start("another", "services", "worker", "notifications", **also)
    slow = {"channel": "email", "kind": "dot-delay", "times": 12, "seconds": 3}
    requests.put(
        f"{system.settings['SANDBOX_URL']}/faults", json=[slow], timeout=10
    ).raise_for_status()
    for name in SERVICES:
        system.workers.wait_until_ready(name)
    system.enter(12)
    wait_for_quiet(system.house, len(system.accepted))
    system.stop_worker("another")
    system.stop_workers()
    system.start_workers()
    assert before == system.unconfirmed(), "a lease was judged by a machine's clock"
    return "notifications at -5 and +5 minutes, matching at +5"


def lose_a_broker(system: System) -> str:
    """One of three brokers is killed with discharges in flight, and comes back."""
    with system.entering(2.0):
        time.sleep(1.5)
        system.brokers[0].kill()
        time.sleep(6)
        away = len(system.accepted)
        system.brokers[0].start()
    return f"{len(system.accepted)} discharges, {away} before it came back"


ON_ONE_BROKER: Mapping[str, Callable[[System], str]] = {
    drill.__name__: drill
    for drill in (reset_groups, wipe_kafka, cut_the_log, restore_a_database, clocks_apart)
}
ON_THREE_BROKERS: Mapping[str, Callable[[System], str]] = {lose_a_broker.__name__: lose_a_broker}
DRILLS = {**ON_ONE_BROKER, **ON_THREE_BROKERS}


def carry_out(name: str, system: System) -> None:
    """Do the drill, wait for quiet, judge, and print what was seen."""
    skipped, unconfirmed, began = system.note_skipped(), system.unconfirmed(), time.monotonic()
    with ledger.kept("drill", name, trials=1):
        said = DRILLS[name](system)
        harmed = time.monotonic()
        system.quiet()
        quiet = time.monotonic()
        absorbed = system.note_skipped() - skipped
        assert_nothing_lost(system.house, system.accepted)
        assert_every_guarantee_holds(system.house, system.settings, apart=system.apart)
    print(
        f"\n{name}: {said}; {harmed - began:.0f} s, quiet {quiet - harmed:.1f} s later;"
        f" absorbed {dict(absorbed)}, unconfirmed {system.unconfirmed() - unconfirmed},"
        f" in Kafka more than once {published_twice(system.settings['KAFKA_SERVERS'])}",
        flush=True,
    )


@contextmanager
def a_system(brokers: int = 1) -> Iterator[System]:
    """Engines of its own, and the three workers on them."""
    with tempfile.TemporaryDirectory(prefix="warm-handoff-") as name, ExitStack() as stack:
        folder = Path(name).resolve()
        # The engines' unprivileged user must be able to pass.
        folder.chmod(0o755)
        [front_port] = free_ports(1)
        settings = settings_for(folder, front_port, environment={})
        cluster = [kafka_of(folder, settings)] if brokers == 1 else _cluster(folder, brokers)
        settings["KAFKA_SERVERS"] = ",".join(kafka.servers for kafka in cluster)
        postgres = postgres_of(folder, settings)
        stack.callback(postgres.stop)
        postgres.start()
        for kafka in cluster:
            stack.callback(kafka.stop)
            kafka.prepare()
            kafka.launch()
        provide_databases(postgres, settings)
        migrate(settings, os.environ)  # type: ignore[arg-type]
        stack.callback(let_go, settings)
        for kafka in cluster:
            kafka.wait()
        house = stack.enter_context(an_empty_house(settings))
        workers = stack.enter_context(
            running_workers(settings, house, folder, copies=min(brokers, 3))
        )
        yield System(postgres=postgres, brokers=cluster, workers=workers, house=house)


def _cluster(folder: Path, brokers: int) -> list[Kafka]:
    ports, together = free_ports(2 * brokers), cluster_id()
    voters = ",".join(f"{n + 1}@127.0.0.1:{ports[brokers + n]}" for n in range(brokers))
    return [
        Kafka(
            folder / f"kafka-{n + 1}",
            ports[n],
            ports[brokers + n],
            cluster=together,
            settings=ONE_OF_THREE.format(node=n + 1, voters=voters),
        )
        for n in range(brokers)
    ]


def main(names: Sequence[str]) -> int:
    """Carry out the drills that are named, or all of them."""
    unknown = set(names) - set(DRILLS)
    if unknown:
        print(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(DRILLS)}")
        return 2
    for drills, brokers in ((ON_ONE_BROKER, 1), (ON_THREE_BROKERS, 3)):
        wanted = [name for name in drills if not names or name in names]
        if wanted:
            with a_system(brokers) as system:
                for name in wanted:
                    carry_out(name, system)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
