"""Ask every process and Kafka how they are, all at once, and wait for none that is away.

Intake's database says nothing about the others' outboxes, lag and loops, and Prometheus may be
away or not be there: the processes themselves are asked, as Prometheus would ask them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests
from prometheus_client.parser import text_string_to_metric_families

from messaging import kafka

#: A process that says nothing for so long is told as away.
PATIENCE_SECONDS = 1.0
_WANTED = {
    "outbox_pending_records",
    "outbox_oldest_pending_timestamp_seconds",
    "parked_keys",
    "early_events",
    "consumer_lag_seconds",
    "consumer_heard_timestamp_seconds",
}


@dataclass(frozen=True, kw_only=True)
class Process:
    """How a process is: what it says of itself, and what a worker has counted."""

    name: str
    is_ready: bool
    says: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """Whose process it is."""
        return self.name.partition("-")[0]

    @property
    def has_counted(self) -> bool:
        """Whether its numbers are known: webs have none, and a worker away has told none."""
        return "parked_keys" in self.numbers

    @property
    def pending(self) -> int:
        """Events not yet published."""
        return int(self.numbers.get("outbox_pending_records", 0))

    @property
    def parked(self) -> int:
        """Parked keys."""
        return int(self.numbers.get("parked_keys", 0))

    @property
    def early(self) -> int:
        """Early events."""
        return int(self.numbers.get("early_events", 0))

    @property
    def lag_seconds(self) -> float | None:
        """How old the oldest event is that it has not applied; None where that is not known."""
        return self.numbers.get("consumer_lag_seconds")

    @property
    def silent_seconds(self) -> float:
        """How long the consumer has not heard intake to the end of what it says."""
        heard = self.numbers.get("consumer_heard_timestamp_seconds")
        return 0 if heard is None else _machine_time() - heard

    @property
    def outbox_age_seconds(self) -> float:
        """How long the oldest unpublished event waits."""
        since = self.numbers.get("outbox_oldest_pending_timestamp_seconds", 0)
        return max(_machine_time() - since, 0) if since else 0


@dataclass(frozen=True, kw_only=True)
class Running:
    """How everything runs, as seen at one moment."""

    processes: Sequence[Process]
    kafka_answers: bool

    @property
    def engines(self) -> list[tuple[str, str]]:
        """Each engine, and whether it answers as far as can be said."""
        of_services = _databases(self.processes).items()
        kafka = "answers" if self.kafka_answers else "away"
        return [("Kafka", kafka), *((f"PostgreSQL of {who}", state) for who, state in of_services)]


def ask_all(addresses: Mapping[str, str], kafka_servers: str) -> Running:
    """How each process is, in the order of the setting; those away are told as such."""
    with ThreadPoolExecutor(max_workers=2 * len(addresses) + 3) as pool:
        brokers = [
            pool.submit(kafka.answers, server, PATIENCE_SECONDS)
            for server in kafka_servers.split(",")
        ]
        states = {name: pool.submit(_state, url) for name, url in addresses.items()}
        counts = {
            name: pool.submit(_numbers, url)
            for name, url in addresses.items()
            if name.endswith("-worker")
        }
        processes = [
            Process(
                name=name,
                is_ready=state.result()[0],
                says=state.result()[1],
                numbers=counts[name].result() if name in counts else {},
            )
            for name, state in states.items()
        ]
        return Running(
            processes=processes, kafka_answers=any(broker.result() for broker in brokers)
        )


def _databases(processes: Iterable[Process]) -> dict[str, str]:
    """Service -> whether its database answers, as far as its processes can say."""
    found: dict[str, str] = {}
    for process in processes:
        if "database is away" in process.says:
            found[process.service] = "away"
        elif process.is_ready:
            found.setdefault(process.service, "answers")
    return {process.service: found.get(process.service, "unknown") for process in processes}


def _machine_time() -> float:
    """Metrics tell moments by the machine's clock, which the sandbox never moves."""
    return datetime.now(UTC).timestamp()


def _state(url: str) -> tuple[bool, str]:
    try:
        answer = requests.get(f"{url}/readyz", timeout=PATIENCE_SECONDS)
    except requests.RequestException:
        return False, "does not answer"
    return answer.status_code == 200, answer.text.strip()[:100]


def _numbers(url: str) -> dict[str, float]:
    parts = urlsplit(url)
    try:
        answer = requests.get(f"{parts.scheme}://{parts.netloc}/metrics", timeout=PATIENCE_SECONDS)
        families = list(text_string_to_metric_families(answer.text))
    except (requests.RequestException, ValueError):
        return {}
    return {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.name in _WANTED
    }
