"""Prints the dashboard of operations: ``python -m deploy.grafana.make_dashboard > FILE``.

The file beside this one is what it printed; a test compares the two. Numbers of a service are the
highest of its workers, for each of them counts the same; what happened in each is added up.
"""

from __future__ import annotations

from string import ascii_uppercase

from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Curve
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

#: As deploy/grafana/datasources.yml names it.
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
#: Clinics have few discharges: less than a week of them has no percentiles worth looking at.
OVER = "7d"


def age(metric: str, by: str = "") -> str:
    """How long ago a moment was; nothing when there is none."""
    return f"time() - (max {by}({metric}) > 0)"


def percentile(part: float, metric: str, by: str = "le", over: str = OVER) -> str:
    """What so large a part of all took at most."""
    return f"histogram_quantile({part}, sum by ({by}) (increase({metric}_bucket[{over}])))"


def stat(title: str, unit: str, expression: str, about: str) -> Stat:
    """A number; a dash where there is nothing to tell."""
    query = Dataquery().ref_id("A").expr(expression).instant()
    panel = Stat().title(title).description(about).datasource(SOURCE).unit(unit).no_value("-")
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.span(6).height(5).with_target(query)


def curve(title: str, unit: str, *expressions: tuple[str, str]) -> Curve:
    """A picture over time, of expressions and their legends."""
    panel = Curve().title(title).datasource(SOURCE).unit(unit).min(0).span(12).height(8)
    for letter, (expression, legend) in zip(ascii_uppercase, expressions, strict=False):
        panel.with_target(Dataquery().ref_id(letter).expr(expression).legend_format(legend))
    return panel


def flow(board: Dashboard) -> None:
    """Discharges on their way, and those who wait."""
    board.with_row(Row("Discharges"))
    for title, unit, expression, about in (
        (
            "Accepted in the last hour",
            "short",
            "sum(increase(intake_discharges_accepted_total[1h]))",
            "By all doors.",
        ),
        ("Last accepted", "s", age("intake_last_accepted_timestamp_seconds"), "How long ago."),
        (
            "Longest unwelcomed",
            "s",
            age("intake_oldest_unwelcomed_timestamp_seconds"),
            "Since when a first message could have left.",
        ),
        (
            "Unwelcomed",
            "short",
            "max(intake_unwelcomed_discharges)",
            "First messages that are late.",
        ),
        (
            "Past the promised hour",
            "short",
            "max(intake_waiting_past_promise_discharges)",
            "Wait for a mentor longer than their facility promises.",
        ),
        (
            "Matching is overdue",
            "s",
            age("intake_overdue_placing_timestamp_seconds"),
            "Negative while its time has not passed yet.",
        ),
        ("Offers without an answer", "short", "max(matching_open_offers)", "Mentors being asked."),
        (
            "Longest unanswered offer",
            "s",
            age("matching_oldest_open_offer_timestamp_seconds"),
            "Since when a mentor has been asked.",
        ),
    ):
        board.with_panel(stat(title, unit, expression, about))
    board.with_panel(
        curve("Discharges by state", "short", ("max by (state) (intake_discharges)", "{{state}}"))
    )
    by_state = age("intake_oldest_discharge_timestamp_seconds", "by (state) ")
    board.with_panel(curve("Oldest by state", "s", (by_state, "{{state}}")))


def people(board: Dashboard) -> None:
    """What needs a person, and how long people have to wait for each other."""
    board.with_row(Row("People"))
    oldest = "intake_oldest_open_task_timestamp_seconds"
    for title, kind in (
        ("Danger, not taken", "danger"),
        ("Message unconfirmed", "message_unconfirmed"),
        ("Message failed", "message_failed"),
        ("Discharge held", "held"),
    ):
        about = "Age of the oldest task that is not done."
        board.with_panel(stat(title, "s", age(f'{oldest}{{kind="{kind}"}}'), about))
    for title, metric in (
        ("Door to voice", "intake_door_to_voice_seconds"),
        ("Discharge to first message", "intake_discharge_to_first_message_seconds"),
    ):
        lines = [(percentile(part, metric), f"p{part * 100:.0f}") for part in (0.5, 0.95)]
        board.with_panel(curve(f"{title}, over {OVER}", "s", *lines))
    board.with_panel(
        curve("Open tasks by kind", "short", ("max by (kind) (intake_open_tasks) > 0", "{{kind}}"))
    )
    attempts = "sum by (channel, outcome) (increase(notifications_messages_total[1h]))"
    board.with_panel(curve("Messages an hour", "short", (attempts, "{{channel}} {{outcome}}")))


def events(board: Dashboard) -> None:
    """How events travel."""
    board.with_row(Row("Events"))
    for title, unit, expression, legend in (
        (
            "Oldest unpublished event",
            "s",
            age("outbox_oldest_pending_timestamp_seconds", "by (service) "),
            "{{service}}",
        ),
        ("Lag", "s", "max by (service) (consumer_lag_seconds)", "{{service}}"),
        (
            "Events published a second",
            "short",
            "sum by (service) (rate(outbox_published_records_total[$__rate_interval]))",
            "{{service}}",
        ),
        (
            "Records read a second",
            "short",
            "sum by (service, outcome) (rate(consumer_records_total[$__rate_interval]))",
            "{{service}} {{outcome}}",
        ),
        (
            "From said to applied, p95",
            "s",
            percentile(0.95, "consumer_event_age_seconds", "service, le", "$__rate_interval"),
            "{{service}}",
        ),
        ("Unpublished events", "short", "max by (service) (outbox_pending_records)", "{{service}}"),
        ("Parked keys", "short", "max by (service) (parked_keys)", "{{service}}"),
        (
            "Longest parked",
            "s",
            age("parked_oldest_timestamp_seconds", "by (service) "),
            "{{service}}",
        ),
        ("Early events", "short", "max by (service) (early_events)", "{{service}}"),
        (
            "Broker last heard",
            "s",
            "time() - min by (service) (consumer_last_poll_timestamp_seconds > 0)",
            "{{service}}",
        ),
    ):
        board.with_panel(curve(title, unit, (expression, legend)))


def processes(board: Dashboard) -> None:
    """Whether everything runs, and how quickly it answers."""
    board.with_row(Row("Processes"))
    for title, unit, expression, legend in (
        ("Answers (1) or not (0)", "short", "min by (service, job) (up)", "{{job}} {{service}}"),
        (
            "Last step of each loop",
            "s",
            "time() - min by (service, loop) (loop_last_step_timestamp_seconds)",
            "{{service}} {{loop}}",
        ),
        (
            "Failed steps an hour",
            "short",
            "sum by (service, loop, error) (increase(loop_failures_total[1h]))",
            "{{service}} {{loop}} {{error}}",
        ),
        (
            "Requests a second, by code",
            "reqps",
            "sum by (service, code)"
            " (rate(http_server_request_duration_seconds_count[$__rate_interval]))",
            "{{service}} {{code}}",
        ),
        (
            "Requests, p95",
            "s",
            percentile(
                0.95, "http_server_request_duration_seconds", "service, le", "$__rate_interval"
            ),
            "{{service}}",
        ),
        (
            "Handing over to a network, p95",
            "s",
            percentile(0.95, "provider_request_duration_seconds", "channel, le", "1h"),
            "{{channel}}",
        ),
        (
            "Refused webhooks an hour",
            "short",
            "sum(increase(webhook_signature_failures_total[1h]))",
            "refused",
        ),
        (
            "Memory of workers",
            "bytes",
            "sum by (service) (process_resident_memory_bytes)",
            "{{service}}",
        ),
    ):
        board.with_panel(curve(title, unit, (expression, legend)))


def dashboard() -> str:
    """The whole of it, as Grafana reads it."""
    board = Dashboard("Warm Handoff").uid("warm-handoff").time("now-6h", "now").refresh("30s")
    board.timezone("browser").readonly()
    for part in (flow, people, events, processes):
        part(board)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build())


if __name__ == "__main__":
    print(dashboard())
