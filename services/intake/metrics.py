"""Every metric of intake, with its help text."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_HOUR, _DAY = 3_600, 86_400

ACCEPTED = Counter("intake_discharges_accepted", "Discharges that were accepted.")
FIRST_MESSAGE = Histogram(
    "intake_discharge_to_first_message_seconds",
    "From when a discharge was accepted to when its first message was handed over.",
    buckets=(1, 2, 5, 10, 30, 60, 300, 900, _HOUR, 5 * _HOUR, 14 * _HOUR, _DAY, 3 * _DAY),
)
DOOR_TO_VOICE = Histogram(
    "intake_door_to_voice_seconds",
    "From when a discharge was accepted to when client and mentor had talked.",
    buckets=[n * _HOUR for n in (0.1, 0.25, 0.5, 1, 2, 4, 8, 12, 24, 48, 72, 168, 336)],
)
LAST_ACCEPTED = Gauge(
    "intake_last_accepted_timestamp_seconds",
    "When the last discharge was accepted; 0 when there is none.",
    multiprocess_mode="max",
)
DISCHARGES = Gauge(
    "intake_discharges",
    "Discharges that somebody waits for, by state: received, held, waiting, offered, assigned, "
    "parked.",
    ["state"],
    multiprocess_mode="max",
)
OLDEST_DISCHARGE = Gauge(
    "intake_oldest_discharge_timestamp_seconds",
    "When the oldest discharge in a state was accepted; 0 when there is none.",
    ["state"],
    multiprocess_mode="max",
)
UNPLACED = Gauge(
    "intake_unplaced_discharges",
    "Discharges that are open here and have been nowhere in the other databases for a minute; "
    "10,000 means so many or more.",
    multiprocess_mode="max",
)
OVERDUE_PLACING = Gauge(
    "intake_overdue_placing_timestamp_seconds",
    "By when matching should have answered for the discharge that waits longest for it; "
    "0 when there is none.",
    multiprocess_mode="max",
)
UNWELCOMED = Gauge(
    "intake_unwelcomed_discharges",
    "Discharges whose first message should have been handed over by now, and was not.",
    multiprocess_mode="max",
)
OLDEST_UNWELCOMED = Gauge(
    "intake_oldest_unwelcomed_timestamp_seconds",
    "Since when the longest unwelcomed discharge could have been welcomed; 0 when there is none.",
    multiprocess_mode="max",
)
PAST_PROMISE = Gauge(
    "intake_waiting_past_promise_discharges",
    "Discharges that wait for a mentor longer than their facility promises.",
    multiprocess_mode="max",
)
TASKS = Gauge(
    "intake_open_tasks", "Tasks that are not done, by kind.", ["kind"], multiprocess_mode="max"
)
OLDEST_TASK = Gauge(
    "intake_oldest_open_task_timestamp_seconds",
    "When the oldest open task of a kind that nobody took over was opened; 0 without one.",
    ["kind"],
    multiprocess_mode="max",
)
