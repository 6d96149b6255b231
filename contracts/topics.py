"""Every topic: one per publisher, its partitions, its retention and the reason for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PARTITIONS = 12
_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic as the topics job makes it."""

    name: str
    publisher: str
    partitions: int
    retention_ms: int
    because: str


def _topic(publisher: str) -> Topic:
    return Topic(
        name=f"{publisher}-events",
        publisher=publisher,
        # Divisible by 1, 2, 3, 4, 6 and 12 workers; never changed, or keys would move.
        partitions=PARTITIONS,
        retention_ms=30 * _DAY_MS,
        because="longer than any outage plus its investigation; older ones are in the outboxes",
    )


TOPICS: Mapping[str, Topic] = {
    publisher: _topic(publisher) for publisher in ("intake", "matching", "notifications")
}

PUBLISHER_OF: Mapping[str, str] = {topic.name: topic.publisher for topic in TOPICS.values()}
