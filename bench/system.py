"""One discharge from POST to both first messages, and the memory of every process."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import requests
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from bench.processes import pss_of_all
from contracts.topics import Topic
from messaging.kafka import ensure_topics
from tests.house import a_discharge
from tests.running import Running

SERVICES_LIMIT_MB = 800
#: Both messages have come by then, but for the slowest.
LOOK_AFTER_SECONDS = 0.3
#: What has rested so long takes longer for the same work: caches are cold, and a virtual machine's
#: processor has to be woken. Whoever is compared with it has to have rested as long.
REST_SECONDS = 1.0


def run(count: int) -> None:
    """Print p50 and p99 against the sum of the bare engines' steps, and PSS."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        running = Running(Path(folder), WARM_HANDOFF_DEMO="1")
        try:
            print(f"ready after {running.start():.1f} s (engines' packages were there)")
            _memory(running, "idle")
            # The example's story is over by then.
            time.sleep(10)
            with Bare(running) as bare:
                seconds = first_messages(running, count, between=bare.once)
            _memory(running, "after load")
        finally:
            running.stop()
    p50, p99 = statistics.median(seconds), p99_of(seconds)
    print(f"POST to both first messages: p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms")
    for how, steps in (("", bare.taken), (" without a rest before them", bare.taken_at_once)):
        whole = statistics.median(sum(one.values()) for one in steps)
        each = {name: statistics.median(one[name] for one in steps) for name in steps[0]}
        print("bare: " + ", ".join(f"{name} {1e3 * taken:.1f} ms" for name, taken in each.items()))
        print(
            f"sum of the bare steps{how} {1e3 * whole:.0f} ms: p50 is {p50 / whole:.1f}x"
            f" (aim < 2x), p99 {p99 / whole:.1f}x (aim < 5x)"
        )


def first_messages(
    running: Running, count: int, between: Callable[[], object] | None = None
) -> list[float]:
    """Seconds from a POST to both first messages, one discharge after the other, sorted.

    Each comes to a machine at rest, and so does what is done between two of them.
    """
    ahead = running.now() - datetime.now(UTC)
    taken = []
    for number in range(count):
        taken.append(_one(running, number, ahead))
        time.sleep(REST_SECONDS)
        if between is not None:
            between()
            time.sleep(REST_SECONDS)
    return sorted(taken)


def p99_of(seconds: list[float]) -> float:
    """What one in a hundred takes longer than; of fewer than a hundred, the longest but one."""
    return seconds[int(len(seconds) * 0.99) - 1]


def _one(running: Running, number: int, ahead: timedelta) -> float:
    """Seconds until both first messages lie in the sandbox, whose clock is ``ahead`` of ours."""
    mobile = f"+1503555{7000 + number}"
    body = a_discharge(
        running.now(),
        facility="south",
        record_number=f"B-{time.time_ns()}",
        mobile=mobile,
        email=None,
        wants_gender="man",
    )
    began = datetime.now(UTC) + ahead
    answer = running.api("POST", "/api/discharges", body, facility="south")
    assert answer.status_code == 202, answer.text
    found = answer.json()["id"]
    # The sandbox notes when a message came: looking meanwhile would slow down what is timed.
    time.sleep(LOOK_AFTER_SECONDS)
    while not (arrived := _arrived(running, mobile, began)):
        assert (datetime.now(UTC) + ahead - began).total_seconds() < 20, running.story(
            found, "south"
        )
        time.sleep(0.05)
    taken = (arrived - began).total_seconds()
    # The place is freed again, so that the next one finds the same roster.
    running.api("POST", f"/api/discharges/{found}/cancel", facility="south")
    return taken


def _arrived(running: Running, mobile: str, began: datetime) -> datetime | None:
    """When the later of the client's and the mentor's first message came."""
    everything = running.messages()
    mine = [m for m in everything if m["to"] == mobile]
    cards = [m for m in everything if "introduction waits" in m["body"]]
    both = [[m["received_at"] for m in found] for found in (mine, cards)]
    times = [[datetime.fromisoformat(t) for t in found] for found in both]
    first = [min((t for t in found if t >= began), default=None) for found in times]
    return None if None in first else max(t for t in first if t is not None)


class Bare:
    """What the engines alone take for one discharge: each step once, one after the other.

    The call itself; POST, relay, matching, relay, notifications' rows, lease, mark: seven commits;
    two hops; one message to the client and one to the mentor.
    """

    def __init__(self, running: Running) -> None:
        self.taken: list[dict[str, float]] = []
        self.taken_at_once: list[dict[str, float]] = []
        self._running = running
        settings = running.settings
        url = settings["INTAKE_DATABASE_URL"].replace("+psycopg", "")
        self._conn = psycopg.connect(url, autocommit=True)
        # A temporary table would not be written to the log that a commit waits for.
        self._conn.execute("CREATE TABLE bare (id serial, body text)")
        servers = settings["KAFKA_SERVERS"]
        topic = Topic(
            name="bare-hop", publisher="bare", partitions=1, retention_ms=10**8, because="-"
        )
        ensure_topics(servers, [topic], 1)
        self._producer = KafkaProducer(bootstrap_servers=servers, acks="all")
        self._consumer = KafkaConsumer(
            bootstrap_servers=servers, fetch_max_wait_ms=100, enable_auto_commit=False
        )
        place = TopicPartition(topic.name, 0)
        self._consumer.assign([place])
        self._consumer.seek_to_beginning(place)
        self._session = requests.Session()
        self._session.auth = (settings["TWILIO_ACCOUNT"], settings["TWILIO_TOKEN"])
        self._once()

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.execute("DROP TABLE bare")
        self._conn.close()
        self._producer.close()
        self._consumer.close(autocommit=False)
        self._session.close()

    def once(self) -> None:
        """Take all steps as they come to what has rested, and then again."""
        self.taken.append(self._once())
        self.taken_at_once.append(self._once())

    def _once(self) -> dict[str, float]:
        """Seconds of each kind of step."""
        return {
            "the call": _seconds_of(self._call),
            "7 commits": sum(_seconds_of(self._commit) for _ in range(7)),
            "2 hops": sum(_seconds_of(self._hop) for _ in range(2)),
            "2 hand-overs": sum(_seconds_of(self._hand_over) for _ in range(2)),
        }

    def _call(self) -> None:
        """A request through the front door to an app that has nothing to do."""
        assert self._running.api("GET", "/healthz").ok

    def _commit(self) -> None:
        self._conn.execute("INSERT INTO bare (body) VALUES (repeat('x', 500))")

    def _hop(self) -> None:
        """A record from one process to the next: sent, acknowledged, read."""
        self._producer.send("bare-hop", value=b"x" * 500, key=b"k").get(timeout=10)
        while not self._consumer.poll(timeout_ms=100):
            pass

    def _hand_over(self) -> None:
        settings = self._running.settings
        account = f"{settings['TWILIO_URL']}/2010-04-01/Accounts/{settings['TWILIO_ACCOUNT']}"
        form = {"To": "+15035559999", "From": settings["TWILIO_FROM"], "Body": "bare"}
        self._session.post(f"{account}/Messages.json", data=form, timeout=10)


def _seconds_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _memory(running: Running, when: str) -> None:
    """PSS of each process, in MB; services, front door and sandbox together."""
    groups: dict[str, float] = {}
    for name, pid in _pids(running).items():
        groups[name] = pss_of_all(pid)
    ours = sum(size for name, size in groups.items() if name not in ("postgres", "kafka"))
    shown = ", ".join(f"{name} {size:.0f}" for name, size in groups.items())
    print(f"PSS {when} (MB): {shown}")
    print(f"  services, front door and sandbox: {ours:.0f} MB (aim < {SERVICES_LIMIT_MB})")


def _pids(running: Running) -> dict[str, int]:
    record = json.loads((running.var / "run.json").read_text())
    return {child["name"]: child["pid"] for child in record["children"]}
