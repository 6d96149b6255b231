"""How discharges flow: each number, and the list that it is counted from, by one query.

Ids, codes of facilities, moments and roles only: nothing here opens what is sealed. Durations are
counted from when a discharge was entered, because when somebody left is sealed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from services.intake.store import NAMED, TALKED, WELCOMED

#: Over how long the two durations are told.
MEASURED = timedelta(days=7)
HOURS = 24
PAGE = 200

#: Who has to act while a discharge is in a state.
TURN = {
    "received": "matching",
    "held": "coordinator",
    "waiting": "coordinator",
    "offered": "mentor",
    "assigned": "mentor",
    "in_contact": "mentor",
    "closed": "nobody",
    "parked": "operations",
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A list of operations. ``rows`` selects id, code, zone, since, state, owner, due and took."""

    title: str
    about: str
    rows: str


def _discharges(where: str) -> str:
    return (
        "SELECT d.id, f.code, f.settings ->> 'time_zone' AS zone, d.accepted_at AS since, d.state,"
        " CAST(NULL AS text) AS owner, d.next_by AS due, CAST(NULL AS float) AS took"
        f" FROM discharge d JOIN facility f ON f.id = d.facility_id WHERE {where}"
    )


def _tasks(kind: str) -> str:
    return (
        "SELECT coalesce(t.discharge_id, t.client_id, t.about) AS id, f.code,"
        " f.settings ->> 'time_zone' AS zone, t.opened_at AS since, t.kind AS state, t.owner,"
        " t.due_at AS due, CAST(NULL AS float) AS took"
        " FROM task t LEFT JOIN facility f ON f.id = t.facility_id"
        f" WHERE t.done_at IS NULL AND t.kind = '{kind}'"
    )


def _durations(reached: str) -> str:
    """Each discharge that got so far in the days that are measured, and how long that took."""
    return (
        "SELECT d.id, f.code, f.settings ->> 'time_zone' AS zone, s.at AS since, d.state,"
        " CAST(NULL AS text) AS owner, CAST(NULL AS timestamptz) AS due,"
        " CAST(extract(epoch FROM s.at - d.accepted_at) AS float) AS took"
        f" FROM (SELECT * FROM step WHERE {reached} AND at >= :measured_from) s"
        " JOIN discharge d ON d.id = s.discharge_id JOIN facility f ON f.id = d.facility_id"
        # Somebody may be welcomed, or talked to, again; the first time counts.
        " WHERE NOT EXISTS (SELECT FROM step WHERE step.client_id = s.client_id"
        f" AND step.discharge_id = s.discharge_id AND step.place < s.place AND {reached})"
    )


_UNDER_WAY = "d.state NOT IN ('closed', 'in_contact')"
#: The last word about the first message counts: one that waits for its recipient's hours is not
#: late before they open, and one that will not leave has made a task. Whoever was welcomed for the
#: discharge that this one replaced, in the same moment, is not welcomed again.
_UNWELCOMED = (
    "SELECT * FROM (SELECT d.id, f.code, f.settings ->> 'time_zone' AS zone,"
    " coalesce(CAST(last.words ->> 'until' AS timestamptz), d.said_at) AS since, d.state,"
    " 'notifications' AS owner, CAST(NULL AS timestamptz) AS due, CAST(NULL AS float) AS took"
    " FROM discharge d JOIN facility f ON f.id = d.facility_id LEFT JOIN LATERAL ("
    "SELECT what, words FROM step WHERE step.client_id = d.client_id"
    " AND step.discharge_id = d.id AND words ->> 'purpose' = 'first'"
    " ORDER BY place DESC LIMIT 1) AS last ON true"
    f" WHERE {_UNDER_WAY} AND d.state NOT IN ('held', 'parked') AND d.said_at IS NOT NULL"
    " AND (last.what IS NULL OR last.what = 'message_delayed'"
    " OR last.words ->> 'next_channel' IS NOT NULL OR last.words ->> 'because' = 'next_channel')"
    " AND NOT EXISTS (SELECT FROM step WHERE step.client_id = d.client_id"
    " AND step.what = 'closed' AND step.at = d.said_at"
    " AND step.words ->> 'because' = 'a later discharge')) AS unwelcomed WHERE since <= :now"
)


def _state(state: str) -> str:
    return _discharges(f"{_UNDER_WAY} AND d.state = '{state}'")


LISTS: Mapping[str, Listing] = {
    "entered": Listing(
        title="Entered in the last day",
        about="Every discharge that was accepted in the last 24 hours.",
        rows=_discharges("d.accepted_at >= :entered_from AND d.accepted_at < :entered_until"),
    ),
    "unwelcomed": Listing(
        title="Unwelcomed",
        about="Nothing holds them, their hours are open, and the first message has not been handed"
        " over. This takes seconds.",
        rows=_UNWELCOMED,
    ),
    "received": Listing(
        title="Being placed",
        about="A mentor is looked for; this takes seconds.",
        rows=_state("received"),
    ),
    "held": Listing(
        title="Held",
        about="Something is missing; the facility has a task.",
        rows=_state("held"),
    ),
    "waiting": Listing(
        title="Waiting",
        about="No mentor can be asked now; the facility has a task that says why.",
        rows=_state("waiting"),
    ),
    "offered": Listing(
        title="Offered, without an answer",
        about="A mentor is being asked; without an answer in time the next one is.",
        rows=_state("offered"),
    ),
    "assigned": Listing(
        title="Assigned, not talked yet",
        about="A mentor stands beside them and is to call.",
        rows=_state("assigned"),
    ),
    "unconfirmed": Listing(
        title="Messages unconfirmed",
        about="Nobody can say whether the network took them. They are not sent again by themselves;"
        " the facility's task is done on its page Today.",
        rows=_tasks("message_unconfirmed"),
    ),
    "failed": Listing(
        title="Messages failed",
        about="Refused for good, with no other channel left; the facility's task is done on its"
        " page Today.",
        rows=_tasks("message_failed"),
    ),
    "parked": Listing(
        title="Parked",
        about="A service could not handle an event of theirs, and the later ones wait behind it."
        " They are replayed or given up under Parked.",
        rows=_tasks("parked"),
    ),
    "not_placed": Listing(
        title="Matching is silent",
        about="Matching has not answered for minutes. It closes by itself once it does.",
        rows=_tasks("not_placed"),
    ),
    "welcomes": Listing(
        title="First messages of the last 7 days",
        about="From when the discharge was entered to when the first message was handed over.",
        rows=_durations(WELCOMED),
    ),
    "voices": Listing(
        title="Door to voice of the last 7 days",
        about="From when the discharge was entered to when client and mentor had talked.",
        rows=_durations(TALKED),
    ),
}
#: What is told as a number with its oldest, in the order of the page.
COUNTED = tuple(name for name in LISTS if name not in ("entered", "welcomes", "voices"))
#: Those of which there should be none.
TROUBLE = frozenset({"unconfirmed", "failed", "parked", "not_placed"})


@dataclass(frozen=True, kw_only=True)
class Number:
    """How many there are, since when the oldest is, and how many are overdue."""

    name: str
    title: str
    count: int
    oldest: datetime | None
    overdue: int

    @property
    def is_trouble(self) -> bool:
        """Whether there should be none of it."""
        return bool(self.count) and self.name in TROUBLE


@dataclass(frozen=True, kw_only=True)
class Duration:
    """What half, and all but one in twenty, took at most, in seconds."""

    name: str
    count: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, kw_only=True)
class Flow:
    """All numbers at one moment. ``hours`` are those of the last day, each with its count."""

    now: datetime
    last_entered: datetime | None
    last_welcomed: datetime | None
    hours: tuple[tuple[datetime, int], ...]
    numbers: tuple[Number, ...]
    durations: tuple[Duration, ...]

    @property
    def entered(self) -> int:
        """How many were entered in those hours."""
        return sum(count for _, count in self.hours)


def read_flow(conn: Connection, now: datetime) -> Flow:
    """Count everything."""
    return Flow(
        now=now,
        last_entered=conn.execute(text("SELECT max(accepted_at) FROM discharge")).scalar(),
        last_welcomed=conn.execute(text(f"SELECT max(at) FROM step WHERE {WELCOMED}")).scalar(),
        hours=_hours(conn, now),
        numbers=tuple(_number(conn, name, now) for name in COUNTED),
        durations=tuple(_duration(conn, name, now) for name in ("welcomes", "voices")),
    )


def read_list(
    conn: Connection, name: str, now: datetime, hour: datetime | None = None, page: int = 1
) -> tuple[int, list[Any]]:
    """How many rows a list has, and one page of them, oldest first; ``hour`` narrows *entered*."""
    given = _given(now, hour)
    query = f"FROM ({LISTS[name].rows}) AS listed"
    count: int = conn.execute(text(f"SELECT count(*) {query}"), given).scalar_one()
    given |= {"most": PAGE, "skipped": PAGE * (page - 1)}
    paged = text(f"SELECT * {query} ORDER BY since, id LIMIT :most OFFSET :skipped")
    return count, list(conn.execute(paged, given))


def read_messages(conn: Connection) -> dict[tuple[str, str, str], list[Any]]:
    """Failed and unconfirmed messages that wait for a person, by kind, reason and channel."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in conn.execute(_MESSAGES):
        groups.setdefault((row.kind, row.reason, row.channel), []).append(row)
    return dict(sorted(groups.items(), key=lambda pair: -len(pair[1])))


_MESSAGES = text(
    "SELECT t.about AS id, t.kind, f.code, f.settings ->> 'time_zone' AS zone,"
    " t.opened_at AS since, t.due_at AS due, t.owner, coalesce(s.words ->> 'because', 'unknown')"
    " AS reason, coalesce(s.words ->> 'channel', 'unknown') AS channel,"
    " s.words ->> 'to' AS recipient, s.words ->> 'purpose' AS purpose"
    " FROM task t LEFT JOIN facility f ON f.id = t.facility_id"
    f" LEFT JOIN step s ON {NAMED.replace('words', 's.words')} = CAST(t.about AS text)"
    " AND s.what = t.kind"
    " WHERE t.done_at IS NULL AND t.kind IN ('message_failed', 'message_unconfirmed')"
    " ORDER BY t.opened_at, t.about"
)


def _number(conn: Connection, name: str, now: datetime) -> Number:
    query = text(
        "SELECT count(*), min(since), count(*) FILTER (WHERE due < :now)"
        f" FROM ({LISTS[name].rows}) AS listed"
    )
    count, oldest, overdue = conn.execute(query, _given(now)).one()
    return Number(name=name, title=LISTS[name].title, count=count, oldest=oldest, overdue=overdue)


def _duration(conn: Connection, name: str, now: datetime) -> Duration:
    query = text(
        "SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY took),"
        " percentile_cont(0.95) WITHIN GROUP (ORDER BY took)"
        f" FROM ({LISTS[name].rows}) AS listed"
    )
    count, p50, p95 = conn.execute(query, _given(now)).one()
    return Duration(name=name, count=count, p50=p50, p95=p95)


def _hours(conn: Connection, now: datetime) -> tuple[tuple[datetime, int], ...]:
    first = _first_hour(now)
    query = text(
        "SELECT date_trunc('hour', since) AS hour, count(*) AS entered"
        f" FROM ({LISTS['entered'].rows}) AS listed GROUP BY 1"
    )
    counts = {row.hour: row.entered for row in conn.execute(query, _given(now))}
    hours = (first + timedelta(hours=number) for number in range(HOURS))
    return tuple((hour, counts.get(hour, 0)) for hour in hours)


def _first_hour(now: datetime) -> datetime:
    """The last day is the hour that runs, and those before it."""
    this = now.replace(minute=0, second=0, microsecond=0)
    return this - timedelta(hours=HOURS - 1)


def _given(now: datetime, hour: datetime | None = None) -> dict[str, Any]:
    begin = hour or _first_hour(now)
    return {
        "now": now,
        "entered_from": begin,
        "entered_until": begin + timedelta(hours=1 if hour else HOURS),
        "measured_from": now - MEASURED,
    }
