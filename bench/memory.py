"""Memory over time: while the broker is away at full intake, and while records are read again."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from bench.processes import pss_of_all
from bench.throughput import (
    FACILITY,
    HEADER,
    MENTORS,
    mentor,
    start,
    stop,
    store,
    wait_for,
)
from contracts.topics import TOPICS
from deploy.local.engines import running_engines
from messaging.heartbeats import is_heartbeat
from messaging.kafka import ensure_topics
from services.command_line import main as services
from tests.house import a_discharge
from tests.running import Running

EVERY_SECONDS = 5.0
CALLERS = 4
#: So many discharges are said once before all of it is read again and again.
SAID_ONCE = 1_000
#: Records that are written before anybody looks how far the others have come.
AHEAD = 50_000
STANDS_STILL_SECONDS = 120.0


@dataclass(kw_only=True)
class Watch:
    """Prints the memory of processes every few seconds, and in the end what it came to."""

    pids: Mapping[str, int]
    _began: float = field(default_factory=time.monotonic)
    _seen: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def look(self, done: str) -> None:
        """Print one line: the time, what was done by then, and MB of each process."""
        at = time.monotonic() - self._began
        sizes = {name: pss_of_all(pid) for name, pid in self.pids.items()}
        self._seen.append((at, sizes))
        shown = "  ".join(f"{name} {size:.1f}" for name, size in sizes.items())
        print(f"{at:5.0f} s  {done:>24}  {shown}", flush=True)

    def tell(self) -> None:
        """Print first, last and slope of each, over everything and over its second half."""
        half = self._seen[len(self._seen) // 2 :]
        for name in self.pids:
            first, last = self._seen[0][1][name], self._seen[-1][1][name]
            whole, later = (
                _slope([(at, s[name]) for at, s in seen]) for seen in (self._seen, half)
            )
            print(
                f"{name:22} first {first:.1f}, last {last:.1f} MB;"
                f" {whole:+.2f} MB/min, in the second half {later:+.2f}"
            )


def _slope(points: list[tuple[float, float]]) -> float:
    """By the least squares, per minute."""
    if len(points) < 2:
        return 0.0
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((at - x) ** 2 for at, _ in points)
    return 60 * sum((at - x) * (size - y) for at, size in points) / spread


def without_broker(seconds: float) -> None:
    """Print the memory of every process of the services while nothing can be published."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        running = Running(Path(folder), WARM_HANDOFF_DEMO="1")
        try:
            running.start()
            children = json.loads((running.var / "run.json").read_text())["children"]
            engines = ("postgres", "kafka", "sandbox", "front")
            pids = {c["name"]: c["pid"] for c in children if not c["name"].startswith(engines)}
            with running.without("kafka"):
                _take_in(running, Watch(pids=pids), seconds)
        finally:
            running.stop()


def _take_in(running: Running, watch: Watch, seconds: float) -> None:
    """As many discharges as the door takes from a few callers who do not pause."""
    numbers, stored, until = itertools.count(1), itertools.count(), time.monotonic() + seconds
    url = f"{running.access['url']}/api/discharges"
    headers = {"Authorization": f"Bearer {running.access['api_tokens']['south']}"}
    refused, now = itertools.count(), running.now()

    def call() -> None:
        session = requests.Session()
        session.headers.update(headers)
        while time.monotonic() < until:
            number = next(numbers)
            mobile = f"+1503555{number % 10_000:04}"
            body: dict[str, Any] = a_discharge(
                now, facility="south", record_number=f"B-{number}", mobile=mobile, email=None
            )
            answer = session.post(url, json=body, timeout=60)
            next(stored if answer.status_code == 202 else refused)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    # Loading code on the first calls is no growth.
    time.sleep(min(10.0, seconds / 4))
    while time.monotonic() < until:
        watch.look(f"{_at(stored)} stored, {_at(refused)} refused")
        time.sleep(EVERY_SECONDS)
    for thread in threads:
        thread.join()
    print(f"{_at(stored)} stored, {_at(refused)} refused in {seconds:.0f} s without a broker")
    watch.tell()


def _at(counter: itertools.count[int]) -> int:
    """How far it has counted, without counting on."""
    return int(repr(counter)[6:-1])


def over_replay(count: int) -> None:
    """Print the memory of the three workers while so many records come to them again."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        with running_engines(Path(folder)) as settings:
            os.environ.update(settings)
            assert services(["migrate"]) == 0
            ensure_topics(settings["KAFKA_SERVERS"], TOPICS.values(), 1)
            workers = {name: start(Path(folder), name) for name in TOPICS}
            try:
                _say_once()
                _say_again(workers, count)
            finally:
                for worker in workers.values():
                    stop(worker)


def _say_once() -> None:
    from services.intake import service as intake
    from services.intake.facilities import load_facilities
    from services.matching import service as matching
    from services.matching.mentors import load_roster

    built, participant = intake.build(), matching.build().participant
    assert load_facilities(built.desk, FACILITY.encode())[1] == []
    while load_roster(participant, HEADER + "".join(map(mentor, range(MENTORS)))).errors:
        time.sleep(0.2)
    wait_for("notifications", "SELECT count(*) FROM person WHERE kind = 'mentor'", MENTORS)
    store(built.participant, built.desk.facility("south").id, SAID_ONCE)
    wait_for("notifications", "SELECT count(*) FROM message", 4 * SAID_ONCE, seconds=120)


def _say_again(workers: Mapping[str, subprocess.Popen[bytes]], count: int) -> None:
    """Write what lies in the topics to the same partitions again, until so many were written."""
    servers = os.environ["KAFKA_SERVERS"]
    lying = {who: _records(servers, topic.name) for who, topic in TOPICS.items()}
    once = [(who, record) for who, records in lying.items() for record in records]
    producer = KafkaProducer(
        bootstrap_servers=servers, acks="all", linger_ms=20, compression_type="gzip"
    )
    watch = Watch(pids={name: worker.pid for name, worker in workers.items()})
    due = dict.fromkeys(workers, 0)
    written, began = 0, time.monotonic()
    again = itertools.islice(itertools.cycle(once), count)
    while page := list(itertools.islice(again, AHEAD)):
        for who, record in page:
            producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                partition=record.partition,
            )
            for name in due.keys() - {who}:
                due[name] += 1
        producer.flush()
        written += len(page)
        _wait_until_read(watch, due, written)
    seconds = time.monotonic() - began
    print(f"{written} records in {seconds:.0f} s, read {sum(due.values())} times")
    watch.tell()
    producer.close()


def _wait_until_read(watch: Watch, due: Mapping[str, int], written: int) -> None:
    """Until nobody is more than a page behind, or all stand still."""
    before, since = -1, time.monotonic()
    while True:
        read = {name: _read_again(name) for name in due}
        watch.look(f"{written} written, {sum(read.values())} read")
        if all(read[name] >= due[name] for name in due):
            return
        if sum(read.values()) > before:
            before, since = sum(read.values()), time.monotonic()
        if time.monotonic() - since > STANDS_STILL_SECONDS:
            raise TimeoutError(f"{read} of {due}")
        time.sleep(EVERY_SECONDS)


def _read_again(service: str) -> int:
    """Records that a worker has found to be applied before."""
    port = os.environ[f"{service.upper()}_WORKER_METRICS_PORT"]
    said = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    found = re.findall(r'^consumer_records_total\{.*"duplicate".*\} (\S+)$', said, re.MULTILINE)
    return int(sum(map(float, found)))


def _records(servers: str, topic: str) -> list[ConsumerRecord]:
    """All events that lie in a topic."""
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    places = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
    ends = consumer.end_offsets(places)
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    found: list[ConsumerRecord] = []
    while any(consumer.position(place) < end for place, end in ends.items()):
        found += [r for page in consumer.poll(timeout_ms=500).values() for r in page]
    consumer.close(autocommit=False)
    return [record for record in found if not is_heartbeat(record)]
