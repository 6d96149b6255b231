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


def run(count: int) -> None:
    """Print p50 and p99 against the sum of the bare engines' steps, and PSS."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        running = Running(Path(folder), WARM_HANDOFF_DEMO="1")
        try:
            print(f"ready after {running.start():.1f} s (engines' packages were there)")
            _memory(running, "idle")
            # The example's story is over by then; what is bare is timed before and after.
            time.sleep(10)
            bare = _bare_steps(running)
            seconds = first_messages(running, count)
            bare = (bare + _bare_steps(running)) / 2
            _memory(running, "after load")
        finally:
            running.stop()
    p50, p99 = statistics.median(seconds), p99_of(seconds)
    print(f"POST to both first messages: p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms")
    print(
        f"sum of the bare steps {1e3 * bare:.0f} ms: p50 is {p50 / bare:.1f}x (aim < 2x),"
        f" p99 {p99 / bare:.1f}x (aim < 5x)"
    )


def first_messages(running: Running, count: int) -> list[float]:
    """Seconds from a POST to both first messages, one discharge after the other, sorted."""
    ahead = running.now() - datetime.now(UTC)
    return sorted(_one(running, number, ahead) for number in range(count))


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
    # The place is freed again, so that the next one finds the same roster, and a machine at rest.
    running.api("POST", f"/api/discharges/{found}/cancel", facility="south")
    time.sleep(1.0)
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


def _bare_steps(running: Running) -> float:
    """Seconds of the commits, sends with acknowledgement, reads and hand-overs, one by one."""
    settings = running.settings
    url = settings["INTAKE_DATABASE_URL"].replace("+psycopg", "")
    servers = settings["KAFKA_SERVERS"]
    with psycopg.connect(url, autocommit=True) as conn:
        # A temporary table would not be written to the log that a commit waits for.
        conn.execute("CREATE TABLE bare (id serial, body text)")
        writing = "INSERT INTO bare (body) VALUES (repeat('x', 500))"
        commit = _median_of(50, lambda: conn.execute(writing))
        conn.execute("DROP TABLE bare")
    # The call itself; POST, relay, matching, relay, notifications' rows, lease, mark: seven
    # commits; two hops; one message to the client and one to the mentor.
    steps = {
        "the call": _call(running),
        "7 commits": 7 * commit,
        "2 hops": 2 * _hop(servers),
        "2 hand-overs": 2 * _hand_over(running),
    }
    print("bare: " + ", ".join(f"{name} {1e3 * taken:.1f} ms" for name, taken in steps.items()))
    return sum(steps.values())


def _call(running: Running) -> float:
    """A request through the front door to an app that has nothing to do, as discharges come."""

    def call() -> None:
        assert running.api("GET", "/healthz").ok

    return _median_of(40, call)


def _hop(servers: str) -> float:
    """A record from one process to the next: sent, acknowledged, read."""
    topic = Topic(name="bare-hop", publisher="bare", partitions=1, retention_ms=10**8, because="-")
    ensure_topics(servers, [topic], 1)
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    consumer = KafkaConsumer(
        bootstrap_servers=servers, fetch_max_wait_ms=100, enable_auto_commit=False
    )
    place = TopicPartition(topic.name, 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)

    def hop() -> None:
        producer.send(topic.name, value=b"x" * 500, key=b"k").get(timeout=10)
        while not consumer.poll(timeout_ms=100):
            pass

    taken = _median_of(40, hop)
    producer.close()
    consumer.close(autocommit=False)
    return taken


def _hand_over(running: Running) -> float:
    settings = running.settings
    url = f"{settings['TWILIO_URL']}/2010-04-01/Accounts/{settings['TWILIO_ACCOUNT']}/Messages.json"
    session = requests.Session()
    session.auth = (settings["TWILIO_ACCOUNT"], settings["TWILIO_TOKEN"])
    form = {"To": "+15035559999", "From": settings["TWILIO_FROM"], "Body": "bare"}
    return _median_of(20, lambda: session.post(url, data=form, timeout=10))


def _median_of(count: int, act: Callable[[], object]) -> float:
    """Seconds that this takes, done so many times."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


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
