"""G4: no event without its cause, no cause without its event (H6, H10).

Every record in a topic is held against the outbox byte by byte, so that the contract of each is
judged where it was said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from contracts.topics import TOPICS
from services.check.evidence import (
    SERVICES,
    Evidence,
    Foreign,
    Row,
    Said,
    Verdict,
    given_up,
    was_lost,
)

_OFFERS = ("AssignmentOffered", "MentorAssigned")
_ENDS = ("AssignmentDeclined", "OfferExpired", "AssignmentEnded")
_OF_A_DISCHARGE = (
    "ClientDischarged",
    "DischargeHeld",
    "DischargeCorrected",
    "DischargeCancelled",
)
#: What a message's last event says that it is. What was withdrawn may be said after all.
_STATE = {
    "MessageHandedOver": "handed_over",
    "MessageDelivered": "delivered",
    "MessageFailed": "failed",
    "MessageUnconfirmed": "unconfirmed",
}
#: What a message that is no answer follows from, and the id that the two have in common.
_CAUSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "first": ("discharge_id", ("ClientDischarged", "DischargeCorrected")),
    "waiting": ("discharge_id", ("NobodyAvailable",)),
    "offer": ("assignment_id", ("AssignmentOffered",)),
    "offer_closed": ("assignment_id", _ENDS),
    "ended_for_mentor": ("assignment_id", _ENDS),
    **dict.fromkeys(
        ("introduction", "card", "card_code", "card_by_coordinator", "reminder"),
        ("assignment_id", ("MentorAssigned",)),
    ),
    **dict.fromkeys(("check_in", "quiet", "wants_to_talk"), ("assignment_id", ("MentorAssigned",))),
}


def judge_causes(evidence: Evidence) -> Verdict:
    """Outboxes against topics, and rows against the events that speak of them."""
    broken = list(evidence.faults("G4"))
    for service in SERVICES:
        if evidence.in_kafka is not None:
            broken += _unsaid(evidence, service)
            broken += _missing(evidence, service)
    broken += _discharges(evidence)
    broken += _assignments(evidence)
    broken += _messages(evidence)
    lying = sum(len(topic.ids) for topic in (evidence.in_kafka or {}).values())
    return Verdict(
        guarantee="G4",
        says="every event has its cause and its contract, and every cause its event",
        checked=lying + len(evidence.assignments) + len(evidence.messages),
        violations=tuple(broken),
    )


def _unsaid(evidence: Evidence, service: str) -> Iterator[str]:
    """Records that are in a topic and, like this, in no outbox."""
    assert evidence.in_kafka is not None
    lost, settled = (
        was_lost(evidence, service),
        evidence.parked.union(*(given_up(evidence, one) for one in SERVICES)),
    )
    for one in evidence.in_kafka[service].foreign:
        is_lost = one.key is not None and one.epoch < lost.get(one.key, 0)
        # Somebody who writes into a topic parks a key: a person looks at it, or has.
        if not is_lost and one.key not in settled and _is_old(evidence, one):
            yield f"the record {one.where} {one.what} by {service}"


def _is_old(evidence: Evidence, one: Foreign) -> bool:
    return one.at is None or evidence.is_old(one.at)


def _missing(evidence: Evidence, service: str) -> Iterator[str]:
    """Events that were published and, though Kafka keeps them still, are not there."""
    assert evidence.in_kafka is not None
    kept_since = evidence.read_at - timedelta(milliseconds=TOPICS[service].retention_ms)
    topic = evidence.in_kafka[service]
    present = topic.ids | {one.event_id for one in topic.foreign}
    for row in evidence.said[service]:
        is_kept = row.published_at is not None and row.published_at > kept_since
        if is_kept and row.event_id not in present:
            yield f"{service}'s event {row.event_id} is marked as published and not in Kafka"


def _discharges(evidence: Evidence) -> Iterator[str]:
    known = {str(row["id"]) for row in evidence.discharges}
    for row in evidence.said["intake"]:
        if row.type in _OF_A_DISCHARGE and row.body.get("discharge_id") not in known | {None}:
            yield f"intake's event {row.event_id} speaks of a discharge that is not there"


def _assignments(evidence: Evidence) -> Iterator[str]:
    """Each has the event that began it and, where it is over, the one that ended it."""
    began = _named(evidence.said["matching"], "assignment_id", _OFFERS)
    ended = _named(evidence.said["matching"], "assignment_id", _ENDS)
    rows = {str(row["id"]): row for row in evidence.assignments}
    for name, row in rows.items():
        if name not in began:
            yield f"assignment {name} was never said"
        if (row["ended_at"] is not None) != (name in ended):
            yield f"assignment {name} is over by its row or by its events, and not by both"
    for name in sorted((began | ended) - rows.keys()):
        yield f"matching spoke of assignment {name}, which is not there"


def _named(said: Sequence[Said], field: str, kinds: tuple[str, ...]) -> set[str]:
    return {row.body[field] for row in said if row.type in kinds and row.body.get(field)}


def _messages(evidence: Evidence) -> Iterator[str]:
    """Each has what it follows from, and is what its events say that it is."""
    lost = {key for producer in evidence.said for key in was_lost(evidence, producer)}
    causes: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for cause in set(_CAUSES.values()):
        causes[cause] = {
            name for service in SERVICES for name in _named(evidence.said[service], *cause)
        }
    replies = _named(evidence.said["notifications"], "reply_id", ("ReplyReceived",))
    states = {
        row.body["message_id"]: _STATE[row.type]
        for row in evidence.said["notifications"]
        if row.type in _STATE and row.body.get("message_id")
    }
    for message in evidence.messages:
        derived = states.pop(str(message["id"]), None)
        if derived != message["state"] and (derived or message["state"] in _STATE.values()):
            yield (
                f"message {message['id']} is {derived or 'nothing'} by its events and"
                f" {message['state']} by its row"
            )
        # What was planned while the databases were read may follow from what was said since.
        is_judged = message["subject_id"] not in lost and evidence.is_old(message["due_at"])
        if is_judged and not _has_cause(message, causes, replies):
            yield f"message {message['id']} follows from nothing that was said"
    for name in sorted(states):
        yield f"notifications spoke of message {name}, which is not there"


def _has_cause(
    message: Row, causes: Mapping[tuple[str, tuple[str, ...]], set[str]], replies: set[str]
) -> bool:
    """An answer names its reply in what it says once, or thanks once for many."""
    if not message["is_answer"] and message["purpose"] in _CAUSES:
        cause = _CAUSES[message["purpose"]]
        return str(message[cause[0]]) in causes[cause]
    named = set(message["once"].split("/"))
    return bool(named & replies) or (message["purpose"] == "check_in_ok" and bool(replies))
