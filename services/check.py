"""``python -m services check``: the published guarantees against everything that is stored.

Read-only. What happened is derived from the outboxes, from Kafka and from what lies in the
sandbox; the columns that say how things stand are never trusted, they are what is checked.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen
from uuid import UUID

from sqlalchemy import create_engine, text

from contracts.topics import TOPICS
from hosting.clock import Clock
from hosting.settings import SettingsError
from messaging.kafka import read_ids

SERVICES = ("intake", "matching", "notifications")
#: What is under way for less than this is not judged yet.
GRACE = timedelta(seconds=60)

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the guarantees are judged by, as read at one time.

    ``in_kafka`` is None where no broker could be read; ``delivered`` where there is no sandbox.
    """

    now: datetime
    said: Mapping[str, Sequence[Row]]
    parked: frozenset[UUID]
    discharges: Sequence[Row]
    facilities: frozenset[UUID]
    tasks: Sequence[Row]
    assignments: Sequence[Row]
    capacities: Mapping[UUID, int]
    messages: Sequence[Row]
    replies: Sequence[Row]
    in_kafka: Mapping[str, frozenset[UUID]] | None
    delivered: Sequence[Row] | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of one guarantee; ``violations`` name opaque ids only."""

    guarantee: str
    says: str
    checked: int
    violations: tuple[str, ...]


_QUERIES = {
    "said": "SELECT event_id, key, epoch, seq, type, at, published_at, body FROM outbox"
    " ORDER BY key, epoch, seq",
    "parked": "SELECT key FROM parked_key",
    "discharges": "SELECT id, client_id, facility_id, state, accepted_at FROM discharge",
    "facilities": "SELECT id FROM facility WHERE people IS NOT NULL",
    "tasks": "SELECT kind, about, owner, done_at FROM task",
    "assignments": "SELECT id, client_id, mentor_id, coalesce(offered_at, assigned_at) AS began_at,"
    " ended_at FROM assignment",
    "capacities": "SELECT id, capacity FROM mentor",
    "messages": "SELECT id, once, purpose, recipient, subject_id, discharge_id, channel, state,"
    " provider_id, first_due_at, due_at, lease_until FROM message",
    "replies": "SELECT id, person_id, meaning, received_at FROM reply",
}


def gather(
    environ: Mapping[str, str],
    *,
    now: Callable[[], datetime],
    in_kafka: Mapping[str, frozenset[UUID]] | None,
    delivered: Sequence[Row] | None,
) -> Evidence:
    """Read the three databases, each in one read-only transaction."""
    found: dict[str, dict[str, list[Row]]] = {}
    wanted = {
        "intake": ("said", "parked", "discharges", "facilities", "tasks"),
        "matching": ("said", "parked", "assignments", "capacities"),
        "notifications": ("said", "parked", "messages", "replies"),
    }
    for service, names in wanted.items():
        engine = create_engine(environ[f"{service.upper()}_DATABASE_URL"])
        with engine.connect() as conn:
            conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            found[service] = {
                name: [dict(row._mapping) for row in conn.execute(text(_QUERIES[name]))]
                for name in names
            }
        engine.dispose()
    return Evidence(
        now=now(),
        said={
            service: [{**row, "body": _body(row["body"])} for row in found[service]["said"]]
            for service in SERVICES
        },
        parked=frozenset(row["key"] for s in SERVICES for row in found[s]["parked"]),
        discharges=found["intake"]["discharges"],
        facilities=frozenset(row["id"] for row in found["intake"]["facilities"]),
        tasks=found["intake"]["tasks"],
        assignments=found["matching"]["assignments"],
        capacities={row["id"]: row["capacity"] for row in found["matching"]["capacities"]},
        messages=found["notifications"]["messages"],
        replies=found["notifications"]["replies"],
        in_kafka=in_kafka,
        delivered=delivered,
    )


def _body(raw: bytes) -> Any:
    """An event's body; one that cannot be read is an empty one, and speaks for itself as such."""
    try:
        return json.loads(raw)
    except ValueError:
        return {}


def judge(evidence: Evidence) -> list[Verdict]:
    """Every guarantee that is checked, in order."""
    return [_g1(evidence), _g2(evidence), _g5(evidence), _g9(evidence)]


def check() -> int:
    """Print a line for each guarantee; 0 when all hold, 1 when one does not, 2 when empty."""
    try:
        evidence = _from_the_running_system(os.environ)
    except KeyError as error:
        raise SettingsError(f"settings: {error.args[0]} is missing") from None
    if not evidence.discharges:
        print("nothing checked")
        return 2
    verdicts = judge(evidence)
    for verdict in verdicts:
        held = "violated" if verdict.violations else "holds"
        print(f"{verdict.guarantee} {held}: {verdict.says} ({verdict.checked} checked)")
        for violation in verdict.violations[:20]:
            print(f"   {violation}")
    if evidence.in_kafka is None:
        print("Kafka could not be read: G1 was checked against the outboxes alone")
    return 1 if any(verdict.violations for verdict in verdicts) else 0


def _from_the_running_system(environ: Mapping[str, str]) -> Evidence:
    access = create_engine(environ["INTAKE_ACCESS_URL"])
    clock = Clock(access, mode=environ.get("WARM_HANDOFF_MODE", "sandbox"))
    # Kafka is read after the databases would have been: what is published by then is there.
    try:
        return gather(
            environ,
            now=clock.now,
            in_kafka=read_ids(environ["KAFKA_SERVERS"], TOPICS.values()),
            delivered=_sandbox(environ.get("SANDBOX_URL", "")),
        )
    finally:
        access.dispose()


def _sandbox(url: str) -> list[Row] | None:
    if not url.startswith("http://"):
        return None
    with urlopen(f"{url}/messages.json", timeout=10) as answer:  # noqa: S310
        found: list[Row] = json.load(answer)
    return found


def _g1(evidence: Evidence) -> Verdict:
    """An accepted discharge is stored, and what was said of it is where it can be read."""
    broken: list[str] = []
    begun = {
        row["body"].get("discharge_id")
        for row in evidence.said["intake"]
        if row["type"] in ("ClientDischarged", "DischargeHeld", "DischargeCancelled")
    }
    dead = {row["key"] for row in evidence.said["intake"] if row["type"] == "ClientDied"}
    for discharge in evidence.discharges:
        if str(discharge["id"]) not in begun and discharge["client_id"] not in dead:
            broken.append(f"discharge {discharge['id']} was accepted and nothing was said of it")
    for service in SERVICES:
        broken += _gaps(service, evidence.said[service])
        broken += [
            f"{service}'s event {row['event_id']} cannot be read"
            for row in evidence.said[service]
            if not row["body"]
        ]
        if evidence.in_kafka is not None:
            broken += _unpublished(service, evidence)
    return Verdict(
        guarantee="G1",
        says="every accepted discharge is stored, and every event is in the outbox and in Kafka",
        checked=len(evidence.discharges) + sum(len(rows) for rows in evidence.said.values()),
        violations=tuple(broken),
    )


def _gaps(service: str, said: Sequence[Row]) -> Iterator[str]:
    last: dict[tuple[UUID, int], int] = {}
    for row in said:
        place = (row["key"], row["epoch"])
        if row["seq"] != last.get(place, 0) + 1:
            yield f"{service} said {row['seq']} of key {row['key']} without the one before it"
        last[place] = row["seq"]


def _unpublished(service: str, evidence: Evidence) -> Iterator[str]:
    assert evidence.in_kafka is not None
    for row in evidence.said[service]:
        is_there = row["event_id"] in evidence.in_kafka[service]
        if row["published_at"] is not None and not is_there:
            yield f"{service}'s event {row['event_id']} is marked as published and not in Kafka"
        elif row["published_at"] is None and evidence.now - row["at"] > GRACE:
            yield f"{service}'s event {row['event_id']} was not published"


_PLACED = {
    "AssignmentOffered": "offered",
    "MentorAssigned": "assigned",
    "FirstContactMade": "in_contact",
    "NobodyAvailable": "waiting",
}
_ACTIVE = ("offered", "assigned", "in_contact")


def placements(evidence: Evidence) -> dict[UUID, tuple[str, datetime]]:
    """Where each discharge is by what was said of it, and since when."""
    placed: dict[UUID, tuple[str, datetime]] = {}
    clients = {row["id"]: row["client_id"] for row in evidence.discharges}
    of_client: dict[UUID, list[UUID]] = defaultdict(list)
    for discharge_id, client_id in clients.items():
        of_client[client_id].append(discharge_id)
    for row in evidence.said["intake"]:
        for discharge_id, state in _from_intake(row, of_client):
            placed[discharge_id] = (state, row["at"])
    for row in evidence.said["matching"]:
        named = row["body"].get("discharge_id")
        discharge_id = UUID(named) if named else None
        if discharge_id is None or discharge_id not in placed:
            continue
        moved = _PLACED.get(row["type"])
        if row["type"] == "AssignmentEnded" and row["body"]["reason"] == "client_declined":
            moved = "closed"
        elif row["type"] in ("AssignmentDeclined", "OfferExpired", "AssignmentEnded"):
            moved = "received"
        if moved is not None and placed[discharge_id][0] not in ("held", "closed"):
            placed[discharge_id] = (moved, row["at"])
    return placed


def _from_intake(row: Row, of_client: Mapping[UUID, list[UUID]]) -> Iterator[tuple[UUID, str]]:
    body, kind = row["body"], row["type"]
    if not body:
        return
    if kind == "ClientDied":
        yield from ((discharge_id, "closed") for discharge_id in of_client.get(row["key"], ()))
        return
    told = {
        "ClientDischarged": "received",
        "DischargeHeld": "held",
        "DischargeCancelled": "closed",
    }.get(kind)
    if told is not None:
        yield UUID(body["discharge_id"]), told
    if kind == "DischargeCorrected":
        yield UUID(body["discharge_id"]), "received"
    if kind == "ClientDischarged" and body.get("replaces"):
        yield UUID(body["replaces"]), "closed"


def _g2(evidence: Evidence) -> Verdict:
    """Each discharge is in exactly one place; never two mentors, never over capacity."""
    broken: list[str] = []
    derived = placements(evidence)
    asked = {(task["kind"], task["about"]) for task in evidence.tasks}
    active = Counter(row["client_id"] for row in evidence.assignments if row["ended_at"] is None)
    beside: dict[UUID, set[str]] = defaultdict(set)
    for discharge in evidence.discharges:
        state, since = derived.get(discharge["id"], ("nowhere", discharge["accepted_at"]))
        beside[discharge["client_id"]].add(state)
        if discharge["client_id"] in evidence.parked or evidence.now - since < GRACE:
            continue
        if ("given_up", discharge["client_id"]) in asked:
            # A person gave an event up, and has the task to look after this client by hand.
            continue
        if state == "received":
            broken.append(f"discharge {discharge['id']} was not placed since {since:%H:%M:%S}")
        elif state != discharge["state"]:
            broken.append(
                f"discharge {discharge['id']} is {state} by its events and {discharge['state']}"
                " by its row"
            )
    for client_id, count in active.items():
        if count > 1:
            broken.append(f"client {client_id} has {count} active assignments")
        if not beside[client_id] & set(_ACTIVE) and client_id not in evidence.parked:
            broken.append(f"client {client_id} has an assignment that no event speaks of")
    broken += _over_capacity(evidence)
    return Verdict(
        guarantee="G2",
        says="every discharge is in one place, with one mentor at most, none over capacity",
        checked=len(evidence.discharges) + len(evidence.assignments),
        violations=tuple(broken),
    )


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _over_capacity(evidence: Evidence) -> Iterator[str]:
    """Assignments that were made when the mentor's places were all taken.

    A roster may lower a capacity below the caseload, which is no violation. What a capacity was
    before is not kept, so only what was made since the mentor last changed can be judged.
    """
    steps: dict[UUID, list[tuple[datetime, int]]] = defaultdict(list)
    for row in evidence.assignments:
        steps[row["mentor_id"]].append((row["began_at"] or _LONG_AGO, 1))
        if row["ended_at"] is not None:
            steps[row["mentor_id"]].append((row["ended_at"], -1))
    changes = (row for row in evidence.said["matching"] if row["type"] == "MentorChanged")
    # An assignment under way while a roster was loaded may still have seen the capacity before.
    since = {row["key"]: row["at"] + GRACE for row in changes}
    for mentor_id, moments in steps.items():
        capacity, load = evidence.capacities.get(mentor_id, 0), 0
        for at, step in sorted(moments):
            load += step
            if step > 0 and load > capacity and at >= since.get(mentor_id, _LONG_AGO):
                yield f"mentor {mentor_id} was given client {load} of {capacity} at {at:%H:%M:%S}"


_MAY_HAVE_LEFT = ("leased", "handed_over", "delivered", "unconfirmed")


def _g5(evidence: Evidence) -> Verdict:
    """Each message is handed over at most once; each welcome is accounted for."""
    broken: list[str] = []
    left = Counter(m["once"] for m in evidence.messages if m["state"] in _MAY_HAVE_LEFT)
    broken += [f"{once} may have left {n} times" for once, n in left.items() if n > 1]
    broken += _delivered_twice(evidence)
    asked = {(task["kind"], task["about"]) for task in evidence.tasks}
    firsts = {m["discharge_id"] for m in evidence.messages if m["purpose"] == "first"}
    for row in evidence.said["intake"]:
        if row["type"] != "ClientDischarged" or not row["body"] or row["body"].get("replaces"):
            continue
        if ("given_up", row["key"]) in asked:
            continue
        known = UUID(row["body"]["discharge_id"]) in firsts or row["key"] in evidence.parked
        if not known and evidence.now - row["at"] > GRACE:
            broken.append(f"discharge {row['body']['discharge_id']} has no first message")
    return Verdict(
        guarantee="G5",
        says="every message was handed over at most once, and every welcome is accounted for",
        checked=len(evidence.messages) + len(evidence.delivered or ()),
        violations=tuple(broken),
    )


def _delivered_twice(evidence: Evidence) -> Iterator[str]:
    """What lies in the sandbox is joined with what we believe to have handed over."""
    if evidence.delivered is None:
        return
    ours = {str(m["id"]): m for m in evidence.messages}
    by_network = {m["provider_id"]: m for m in evidence.messages if m["provider_id"]}
    lying: Counter[str] = Counter()
    for found in evidence.delivered:
        message = by_network.get(found["id"]) or ours.get(found.get("message_id") or "")
        if message is not None:
            lying[str(message["id"])] += 1
    for message_id, count in lying.items():
        if count > 1:
            yield f"message {message_id} lies in the sandbox {count} times"
    for message_id, message in ours.items():
        if message["state"] in ("handed_over", "delivered") and not lying[message_id]:
            yield f"message {message_id} counts as handed over and is not in the sandbox"


_REPLY_TASKS = {"danger": "danger", "unclear": "unclear_reply"}


def _g9(evidence: Evidence) -> Verdict:
    """Every open discharge has an owner, and all that needs a person is a task."""
    broken: list[str] = []
    derived = placements(evidence)
    asked = {(task["kind"], task["about"]) for task in evidence.tasks}
    for discharge in evidence.discharges:
        state, since = derived.get(discharge["id"], ("nowhere", discharge["accepted_at"]))
        if state != "closed" and discharge["facility_id"] not in evidence.facilities:
            broken.append(f"discharge {discharge['id']} has no owner")
        kind = {"held": "held", "waiting": "nobody_available"}.get(state)
        late = evidence.now - since > GRACE and discharge["client_id"] not in evidence.parked
        if kind and late and (kind, discharge["id"]) not in asked:
            broken.append(f"discharge {discharge['id']} is {state} and nobody is asked")
    broken += _unasked(evidence, asked)
    broken += [f"a task about {t['about']} has no owner" for t in evidence.tasks if not t["owner"]]
    return Verdict(
        guarantee="G9",
        says="every open discharge has an owner, and all that needs a person is a task",
        checked=len(evidence.discharges) + len(evidence.tasks),
        violations=tuple(broken),
    )


def _unasked(evidence: Evidence, asked: set[tuple[str, UUID]]) -> Iterator[str]:
    """Failures and replies that need a person and are no task."""
    for row in evidence.said["notifications"]:
        needs = _need_of(row)
        if needs is None or evidence.now - row["at"] < GRACE:
            continue
        if needs not in asked and row["key"] not in evidence.parked:
            yield f"{row['type']} {row['event_id']} needs a person and is no task"
    for key in evidence.parked:
        if ("parked", key) not in asked:
            yield f"key {key} is parked and nobody is asked"


def _need_of(row: Row) -> tuple[str, UUID] | None:
    body = row["body"]
    if not body:
        return None
    if row["type"] == "MessageUnconfirmed":
        return "message_unconfirmed", UUID(body["message_id"])
    if row["type"] == "MessageFailed" and body.get("next_channel") is None:
        return "message_failed", UUID(body["message_id"])
    if row["type"] == "ReplyReceived" and body["meaning"] in _REPLY_TASKS:
        return _REPLY_TASKS[body["meaning"]], UUID(body["reply_id"])
    return None
