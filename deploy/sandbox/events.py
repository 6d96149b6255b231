"""The events that pass between the services, as Kafka has them: the outside of each, no body."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SERVICES = ("intake", "matching", "notifications")
#: As the product makes its topics; a test holds the two together.
TOPICS = {f"{service}-events": service for service in SERVICES}
PARTITIONS = 12
#: The protocol's ceiling; naming it lets us begin while the broker is away.
API_VERSION = (4, 1)
MOST_KEPT = 60
PAUSE_SECONDS = 1.0
LOOK_SECONDS = 0.3
#: Events gather for so long: a page shows them, and each reading costs what the networks need.
GATHER_MS = 500


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One event: its type, whom it is about by a short id, when it was said, and its place."""

    type: str
    key: str
    at: datetime
    topic: str
    partition: int
    offset: int


class Passing:
    """Reads all topics from now on, without a group, and keeps the newest of each service."""

    def __init__(self, servers: str) -> None:
        self._servers = servers.split(",")
        self._kept: Mapping[str, deque[Seen]] = {
            service: deque(maxlen=MOST_KEPT) for service in SERVICES
        }

    def start(self) -> None:
        """Read in a thread of its own until the process ends."""
        threading.Thread(target=self._read_for_ever, daemon=True).start()

    def newest(self, service: str) -> list[Seen]:
        """What a service said, the newest first."""
        return list(reversed(self._kept[service]))

    def is_up(self) -> bool:
        """Whether Kafka listens."""
        return is_listening(self._servers[0])

    def _read_for_ever(self) -> None:
        # Imported late: a sandbox without a desk needs no Kafka, and should not wait for it.
        from kafka.errors import KafkaError

        while True:
            try:
                self._read()
            except KafkaError:
                time.sleep(PAUSE_SECONDS)

    def _read(self) -> None:
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(
            bootstrap_servers=self._servers,
            api_version=API_VERSION,
            enable_auto_commit=False,
            reconnect_backoff_max_ms=1_000,
            fetch_max_bytes=1_000_000,
            max_partition_fetch_bytes=262_144,
            fetch_min_bytes=65_536,
            fetch_max_wait_ms=GATHER_MS,
        )
        try:
            places = [TopicPartition(t, number) for t in TOPICS for number in range(PARTITIONS)]
            consumer.assign(places)
            consumer.seek_to_end(*places)
            while True:
                for records in consumer.poll(timeout_ms=500).values():
                    for record in records:
                        self.take(record)
        finally:
            consumer.close(autocommit=False)

    def take(self, record: Any) -> None:
        """Keep the outside of a record; one that is no event is passed over."""
        said = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        try:
            seen = Seen(
                type=said["ce_type"],
                key=(record.key or b"").decode(errors="replace")[:8],
                at=datetime.fromisoformat(said["ce_time"]),
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
        except (KeyError, ValueError):
            return
        self._kept[TOPICS[record.topic]].append(seen)


def is_listening(server: str) -> bool:
    """Whether something takes connections at host:port."""
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=LOOK_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True
