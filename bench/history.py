"""One discharge on databases that have stood for years, against the same when they were empty."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.system import first_messages, p99_of
from tests.running import Running, eventually

#: A statement of a test is given up after half a minute.
PAGE = 20_000
MENTORS_A_FILE = 500
WARM_UP = 5
HEADER = (
    "code,called,mobile,email,opted_in_at,opted_in_how,time_zone,languages,pathways,strengths,"
    "moud_friendly,gender,facilities,capacity,hours,route,state\n"
)
#: What a row of history has of its own; all else is copied from one that the product wrote.
OUTBOX = {"event_id": "gen_random_uuid()", "key": "gen_random_uuid()"}
INBOX = {"event_id": "gen_random_uuid()", "key": "gen_random_uuid()"}
STEP = {"event_id": "gen_random_uuid()", "client_id": "gen_random_uuid()"}
MESSAGE = {
    "id": "gen_random_uuid()",
    "once": "gen_random_uuid()",
    "person_id": "gen_random_uuid()",
    "subject_id": "gen_random_uuid()",
    "discharge_id": "gen_random_uuid()",
}
KEPT = [(service, "outbox", OUTBOX) for service in ("intake", "matching", "notifications")]
KEPT += [(service, "inbox", INBOX) for service in ("intake", "matching", "notifications")]
KEPT += [("intake", "step", STEP)]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is there: messages that were sent, mentors of the facility, rows of history."""

    sent: int
    mentors: int
    rows: int

    def __str__(self) -> str:
        return f"{self.sent} sent messages, {self.mentors} mentors, {self.rows} rows of history"


def run(count: int, sizes: Sizes) -> None:
    """Print p50 and p99 before and after each kind of growth, and their ratios."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        running = Running(Path(folder), WARM_HANDOFF_DEMO="1")
        try:
            running.start()
            # The first ones load what all later ones find loaded.
            first_messages(running, WARM_UP)
            few = _told("as it was set up", first_messages(running, count), None)
            _add_history(running, sizes)
            _told("with messages and history", first_messages(running, count), few)
            _add_mentors(running, sizes.mentors)
            first_messages(running, WARM_UP)
            _told("and with the mentors", first_messages(running, count), few)
        finally:
            running.stop()


def _told(name: str, seconds: list[float], before: float | None) -> float:
    p50, p99 = statistics.median(seconds), p99_of(seconds)
    ratio = "" if before is None else f", {p50 / before:.2f}x (aim < 1.2x)"
    print(f"{name}: p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms{ratio}", flush=True)
    return p50


def _add_mentors(running: Running, count: int) -> None:
    """All are with the facility of the discharges, and all could be chosen."""
    for first in range(0, count, MENTORS_A_FILE):
        numbers = range(first, min(first + MENTORS_A_FILE, count))
        file = running.var / "bench-mentors.csv"
        file.write_text(HEADER + "".join(_mentor(number) for number in numbers))
        loaded = running.services("mentors", "load", str(file))
        assert 0 == loaded.returncode, loaded.stdout
    query = "SELECT count(*) FROM person WHERE kind = 'mentor'"
    eventually(lambda: running.sql("notifications", query)[0][0] >= count, seconds=120)
    running.sql("matching", "ANALYZE")


def _mentor(number: int) -> str:
    ways = ("12_step", "smart|12_step", "faith_based", "smart")[number % 4]
    strengths = ("job|family", "cravings|job", "housing", "loss|family")[number % 4]
    return (
        f"B-{number},Jo{number},+1503556{number:04d},jo{number}@peers.example.org,"
        f"2026-01-05T10:00:00-08:00,form,America/Los_Angeles,{('en', 'en|es')[number % 2]},{ways},"
        f"{strengths},yes,man,south,{2 + number % 4},00:00-23:59,workforce,active\n"
    )


def _add_history(running: Running, sizes: Sizes) -> None:
    sent = "state IN ('handed_over', 'delivered')"
    _multiply(running, "notifications", "message", MESSAGE, sizes.sent, sent)
    for service, table, own in KEPT:
        _multiply(running, service, table, own, sizes.rows // len(KEPT), "true")
    for service in ("intake", "matching", "notifications"):
        running.sql(service, "ANALYZE")


def _multiply(
    running: Running, service: str, table: str, own: dict[str, str], count: int, which: str
) -> None:
    """Copy one row so many times; a number that the database gives is given anew."""
    found = running.sql(
        service,
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = :table AND column_name <> 'place'",
        table=table,
    )
    names = ", ".join(f'"{row[0]}"' for row in found)
    values = ", ".join(f"'{name}', {made}" for name, made in own.items())
    copied = (
        f"INSERT INTO {table} ({names}) SELECT {names} FROM"
        f" (SELECT made.* FROM (SELECT one FROM {table} one WHERE {which} LIMIT 1) given,"
        " generate_series(1, :count) number,"
        f" LATERAL jsonb_populate_record(given.one, jsonb_build_object({values},"
        " 'nothing', number)) made) copied"
    )
    for left in range(count, 0, -PAGE):
        running.sql(service, copied, count=min(PAGE, left))
