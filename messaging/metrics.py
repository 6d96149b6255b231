"""Every metric of messaging, with its help text."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter(
    "consumer_records",
    "Records read, by what became of them: ok, duplicate, read_again, early, parked.",
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
PUBLISHED = Counter("outbox_published_records", "Events that the broker acknowledged.")
