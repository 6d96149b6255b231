"""G6: whatever waits, waits for a person who was told; nothing else stands still (H8, H9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from contracts.event import EVENTS
from contracts.topics import TOPICS
from services.check.evidence import GRACE, SERVICES, Evidence, Verdict

#: A morning's messages and timers take their turn.
_LATE = timedelta(minutes=15)
#: Who parks a key because of a record, which then waits with it.
_OF_RECORD = frozenset(EVENTS) | {"reading", "writing"}


def judge_waiting(evidence: Evidence) -> Verdict:
    """Early, parked and unread events, timers and messages: each waits for a reason, or moves."""
    broken: list[str] = []
    checked = 0
    for service in SERVICES:
        parked = {row["key"]: row["handler"] for row in evidence.parked_keys.get(service, ())}
        behind = evidence.behind.get(service, ())
        keys = {one.key for one in behind}
        broken += [
            f"{service} keeps events of key {key} aside, which is not parked"
            for key in sorted(keys - parked.keys())
        ]
        broken += [
            f"{service} parked key {key} and does not have the record at fault"
            for key, handler in parked.items()
            if handler in _OF_RECORD and key not in keys
        ]
        broken += _early(evidence, service, set(parked))
        broken += _unread(evidence, service)
        broken += _unpublished(evidence, service)
        waits = _of_which_anything_waits(evidence, service)
        broken += [
            f"{service}'s timer {row['name'].split('/')[0]} of key {row['key']} does not fire"
            for row in evidence.timers.get(service, ())
            if row["key"] not in waits and evidence.now - row["due_at"] > _LATE
        ]
        checked += len(parked) + len(behind) + len(evidence.early.get(service, ()))
    broken += _unsent(evidence)
    return Verdict(
        guarantee="G6",
        says="whatever waits, waits behind a parked key, and nothing else stands still",
        checked=checked + len(evidence.messages) + sum(len(r) for r in evidence.said.values()),
        violations=tuple(broken),
    )


def _of_which_anything_waits(evidence: Evidence, service: str) -> set[UUID]:
    """Parked keys, and those of early events: nothing is done about them by itself."""
    parked = {row["key"] for row in evidence.parked_keys.get(service, ())}
    return parked | {one.key for one in evidence.early.get(service, ())}


def _early(evidence: Evidence, service: str, parked: set[UUID]) -> Iterator[str]:
    """An early event may wait for a parked key, or for one that waits for such a key in turn."""
    early = evidence.early.get(service, ())
    blocked, before = set(parked), -1
    while len(blocked) != before:
        before = len(blocked)
        blocked |= {one.key for one in early if one.waiting_on in blocked}
    for one in early:
        # Whoever holds a topic, here or where it comes from, holds what waits for it.
        is_held = any(evidence.held.values())
        if one.waiting_on not in blocked and evidence.is_old(one.since) and not is_held:
            yield (
                f"{service} keeps event {one.event_id} early for key {one.waiting_on}, which is"
                " not parked"
            )


def _unread(evidence: Evidence, service: str) -> Iterator[str]:
    """Events that were published long ago and have not come here, by partition."""
    if service not in evidence.applied:
        return
    here = {
        (one.producer, one.epoch, one.key): max(one.seqs, default=0)
        for one in evidence.applied[service]
    }
    kept = (*evidence.early.get(service, ()), *evidence.behind.get(service, ()))
    waiting = {one.event_id for one in kept}
    for producer in SERVICES:
        if producer == service or TOPICS[producer].name in evidence.held.get(service, ()):
            continue
        unread: Counter[int] = Counter()
        oldest: dict[int, datetime] = {}
        for row in evidence.said[producer]:
            is_applied = row.seq <= here.get((producer, row.epoch, row.key), 0)
            is_due = row.place is not None and evidence.is_old(row.at)
            # What was published only now may be an old event whose topic was held.
            is_out = row.published_at is not None and evidence.read_at - row.published_at > GRACE
            if is_due and is_out and not is_applied and row.event_id not in waiting:
                assert row.place is not None
                unread[row.place[0]] += 1
                oldest[row.place[0]] = min(row.at, oldest.get(row.place[0], row.at))
        for partition, count in sorted(unread.items()):
            yield (
                f"{service} has not taken {count} of {producer}'s events in partition {partition},"
                f" the oldest of {oldest[partition]:%H:%M:%S}"
            )


def _unpublished(evidence: Evidence, service: str) -> Iterator[str]:
    if TOPICS[service].name in evidence.held.get(service, ()):
        return
    for row in evidence.said[service]:
        if row.published_at is None and evidence.is_old(row.at):
            yield f"{service}'s event {row.event_id} was not published"


def _unsent(evidence: Evidence) -> Iterator[str]:
    """Messages that were due long ago, and leases that ran out long ago."""
    waits = _of_which_anything_waits(evidence, "notifications")
    for message in evidence.messages:
        if waits & {message["person_id"], message["subject_id"]}:
            continue
        if message["state"] == "planned" and evidence.now - message["due_at"] > _LATE:
            yield f"message {message['id']} is due and does not leave"
        until = message["lease_until"]
        if message["state"] == "leased" and until and evidence.read_at - until > GRACE:
            yield f"message {message['id']} is leased by nobody"
