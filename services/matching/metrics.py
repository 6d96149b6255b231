"""Every metric of matching, with its help text."""

from __future__ import annotations

from prometheus_client import Gauge

OPEN_OFFERS = Gauge(
    "matching_open_offers", "Offers that no mentor has answered yet.", multiprocess_mode="max"
)
OLDEST_OFFER = Gauge(
    "matching_oldest_open_offer_timestamp_seconds",
    "When the longest unanswered offer was made; 0 when there is none.",
    multiprocess_mode="max",
)
