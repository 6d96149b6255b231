"""Every metric of running a service, and how a process's metrics are read."""

from __future__ import annotations

import os
import time
from datetime import datetime

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

# When a count began is asked by nobody, and would be a series beside every other.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Histogram(
    "http_server_request_duration_seconds",
    "How long requests took.",
    ["method", "route", "code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
LOOP_STEP = Gauge(
    "loop_last_step_timestamp_seconds",
    "When each loop of the worker last finished a step.",
    ["loop"],
    multiprocess_mode="max",
)
LOOP_FAILURES = Counter("loop_failures", "Steps that failed, by loop and error.", ["loop", "error"])
OUTBOX_PENDING = Gauge(
    "outbox_pending_records", "Events not yet published.", multiprocess_mode="max"
)
OUTBOX_OLDEST = Gauge(
    "outbox_oldest_pending_timestamp_seconds",
    "Since when the oldest unpublished event waits; 0 when there is none.",
    multiprocess_mode="max",
)
PARKED = Gauge("parked_keys", "Subjects whose events wait for a person.", multiprocess_mode="max")
PARKED_OLDEST = Gauge(
    "parked_oldest_timestamp_seconds",
    "Since when the longest parked subject waits; 0 when there is none.",
    multiprocess_mode="max",
)
GAPS = Gauge(
    "event_gaps",
    "Events that have waited for an earlier one longer than any outage of a worker explains.",
    multiprocess_mode="max",
)
HELD = Gauge("held_topics", "Topics that somebody holds by hand.", multiprocess_mode="max")
HEARD = Gauge(
    "consumer_heard_timestamp_seconds",
    "When the partition that is silent for longest was last heard to its end; 0 before that.",
    multiprocess_mode="max",
)
EARLY = Gauge("early_events", "Events that wait for what they build on.", multiprocess_mode="max")


def machine_time(moment: datetime | None, now: datetime) -> float:
    """A moment as the machine's clock would have shown it; 0 for none.

    Whoever reads metrics subtracts it from the machine's time, and the product's own clock may
    have been moved.
    """
    return time.time() - (now - moment).total_seconds() if moment else 0.0


def exposition(accept: str) -> tuple[bytes, str]:
    """This process's metrics and their content type; all workers' when there are several."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
