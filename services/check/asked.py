"""G9: every open discharge has an owner, and all that needs a person is a task."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from services.check.evidence import Evidence, Row, Said, Verdict, erased_at
from services.check.places import placements

_REPLY_TASKS = {"danger": "danger", "unclear": "unclear_reply"}


def judge_asking(evidence: Evidence) -> Verdict:
    """Every open discharge has an owner, and all that needs a person is a task."""
    broken: list[str] = []
    derived = placements(evidence)
    asked = {(task["kind"], task["about"]) for task in evidence.tasks}
    still = {(t["kind"], t["about"]) for t in evidence.tasks if t["done_at"] is None}
    for discharge in evidence.discharges:
        state, since = derived.get(discharge["id"], ("nowhere", discharge["accepted_at"]))
        if state != "closed" and discharge["facility_id"] not in evidence.facilities:
            broken.append(f"discharge {discharge['id']} has no owner")
        kind = {"held": "held", "waiting": "nobody_available"}.get(state)
        # Who waits may have been called: what holds a discharge is done when it is held no more.
        among = still if kind == "held" else asked
        late = evidence.is_old(since) and discharge["client_id"] not in evidence.parked
        if kind and late and (kind, discharge["id"]) not in among:
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
    erased = erased_at(evidence)
    died = {row.key for row in evidence.said["intake"] if row.type == "ClientDied"}
    to_clients = {str(m["id"]) for m in evidence.messages if m["recipient"] == "client"}
    # What was not known at first, and then was, needs nobody.
    known = {
        row.body.get("message_id")
        for row in evidence.said["notifications"]
        if row.type in ("MessageHandedOver", "MessageDelivered")
    }
    for row in evidence.said["notifications"]:
        needs = _need_of(row)
        if needs is None or row.key in erased or not evidence.is_old(row.at):
            continue
        if row.key in died and row.body.get("message_id") in to_clients:
            # Nobody is asked to call the dead.
            continue
        if row.type == "MessageUnconfirmed" and row.body["message_id"] in known:
            continue
        if needs not in asked and row.key not in evidence.parked:
            yield f"{row.type} {row.event_id} needs a person and is no task"
    old = (r["key"] for rows in evidence.parked_keys.values() for r in rows if _is_old(evidence, r))
    for key in sorted(set(old)):
        if ("parked", key) not in asked:
            yield f"key {key} is parked and nobody is asked"


def _is_old(evidence: Evidence, row: Row) -> bool:
    return evidence.is_old(row["parked_at"])


def _need_of(row: Said) -> tuple[str, UUID] | None:
    body = row.body
    if not body:
        return None
    if row.type == "MessageUnconfirmed":
        return "message_unconfirmed", UUID(body["message_id"])
    if row.type == "MessageFailed" and body.get("next_channel") is None:
        return "message_failed", UUID(body["message_id"])
    if row.type == "ReplyReceived" and body["meaning"] in _REPLY_TASKS:
        return _REPLY_TASKS[body["meaning"]], UUID(body["reply_id"])
    return None
