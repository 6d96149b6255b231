"""Every metric of messaging, with its help text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

#: What becomes of a record.
OUTCOMES = ("ok", "duplicate", "read_again", "early", "parked")
RECORDS = Counter(
    "consumer_records",
    f"Records read, by what became of them: {', '.join(OUTCOMES)}.",
    ["topic", "outcome"],
)
EVENT_AGE = Histogram(
    "consumer_event_age_seconds",
    "Time from when an event was said to when it was applied.",
    ["topic"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
LAST_POLL = Gauge(
    "consumer_last_poll_timestamp_seconds",
    "When the consumer last came back from the broker.",
    multiprocess_mode="max",
)
LAG = Gauge(
    "consumer_lag_seconds",
    "Age of the oldest event in the broker that the service has not applied; 0 when there is none.",
    multiprocess_mode="max",
)
LOST = Gauge(
    "consumer_lost_records",
    "Records that the broker no longer had when they were to be read.",
    multiprocess_mode="max",
)
CUT = Gauge(
    "broker_lost_records_timestamp_seconds",
    "When this process last found that the broker has lost what it had acknowledged; 0 for never.",
    multiprocess_mode="max",
)
FUSE = Gauge(
    "consumer_fuse_blown",
    "1 while so many subjects fail in a row that a loop of the worker only tries one at a time.",
    ["loop"],
    multiprocess_mode="max",
)
REOPENED = Counter("consumer_reopened", "How often a consumer stood still and was made anew.")
PUBLISHED = Counter("outbox_published_records", "Events that the broker acknowledged.")


#: Those of one topic: to find them by their labels each time takes longer than to read a record.
read = cache(lambda topic, outcome: RECORDS.labels(topic=topic, outcome=outcome))
age = cache(lambda topic: EVENT_AGE.labels(topic=topic))


def begin(topics: Iterable[str]) -> None:
    """Show every count from 0 on: how much one grew that begins at 1 is never seen."""
    for topic in topics:
        for outcome in OUTCOMES:
            read(topic, outcome)
