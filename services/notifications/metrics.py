"""Every metric of notifications, with its help text."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Histogram

#: What becomes of an attempt to send.
OUTCOMES = ("accepted", "rejected", "retry", "unknown", "suppressed")
MESSAGES = Counter(
    "notifications_messages", "Messages by what became of an attempt.", ["channel", "outcome"]
)
PROVIDER = Histogram(
    "provider_request_duration_seconds",
    "How long handing over took.",
    ["channel", "outcome"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)
BAD_SIGNATURES = Counter(
    "webhook_signature_failures", "Webhook calls that were refused for their signature."
)


def begin(channels: Iterable[str]) -> None:
    """Show every count from 0 on: how much one grew that begins at 1 is never seen."""
    for channel in channels:
        for outcome in OUTCOMES:
            MESSAGES.labels(channel=channel, outcome=outcome)
