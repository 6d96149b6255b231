"""G5: each message is handed over at most once, and each welcome is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from services.check.evidence import Evidence, Verdict, erased_at

_MAY_HAVE_LEFT = ("leased", "handed_over", "delivered", "unconfirmed")
_NOT_LEFT = ("planned", "suppressed", "failed")


def judge_handing_over(evidence: Evidence) -> Verdict:
    """Each message is handed over at most once; each welcome is accounted for."""
    broken: list[str] = []
    left = Counter(m["once"] for m in evidence.messages if m["state"] in _MAY_HAVE_LEFT)
    broken += [f"{once} may have left {n} times" for once, n in left.items() if n > 1]
    broken += _delivered_twice(evidence)
    asked = {(task["kind"], task["about"]) for task in evidence.tasks}
    firsts = [m for m in evidence.messages if m["purpose"] == "first"]
    welcomed = {m["discharge_id"] for m in firsts} | {m["subject_id"] for m in firsts}
    erased = erased_at(evidence)
    for row in evidence.said["intake"]:
        if row.type != "ClientDischarged" or not row.body:
            continue
        if ("given_up", row.key) in asked or row.key in erased:
            continue
        # Who keeps their mentor after another discharge was welcomed for the earlier one.
        about = row.key if row.body.get("replaces") else UUID(row.body["discharge_id"])
        known = about in welcomed or row.key in evidence.parked
        if not known and evidence.is_old(row.at):
            broken.append(f"discharge {row.body['discharge_id']} has no first message")
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
    told = {
        row.body.get("message_id")
        for row in evidence.said["notifications"]
        if row.type in ("MessageHandedOver", "MessageDelivered", "MessageUnconfirmed")
    }
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
        if message["state"] in _NOT_LEFT and lying[message_id] and message_id not in told:
            yield f"message {message_id} lies in the sandbox and counts as never handed over"
