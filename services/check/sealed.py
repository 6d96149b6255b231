"""G7: nothing that names a person is readable but through an opened seal (H11)."""

from __future__ import annotations

from collections.abc import Iterator

from services.check.evidence import Evidence, Verdict, erased_at
from services.check.places import placements


def judge_seals(evidence: Evidence) -> Verdict:
    """Events, tables and topics hold seals where they should, and show no address elsewhere."""
    broken = [*evidence.faults("G7"), *evidence.readable]
    for topic in (evidence.in_kafka or {}).values():
        broken += topic.strange
    broken += _erased(evidence)
    return Verdict(
        guarantee="G7",
        says="what names a person is sealed, and nobody who was erased is still being helped",
        checked=evidence.looked_at + sum(len(rows) for rows in evidence.said.values()),
        violations=tuple(broken),
    )


def _erased(evidence: Evidence) -> Iterator[str]:
    """Who cannot be known any more can neither be written to nor looked after."""
    on_its_way = {key for key, at in erased_at(evidence).items() if not evidence.is_old(at)}
    erased = (evidence.erased or frozenset()) - on_its_way
    if not erased:
        return
    derived = placements(evidence)
    for row in evidence.discharges:
        state, since = derived.get(row["id"], ("nowhere", row["accepted_at"]))
        if row["client_id"] in erased and state != "closed" and evidence.is_old(since):
            yield f"discharge {row['id']} of an erased client is not closed"
    for row in evidence.assignments:
        if row["ended_at"] is None and {row["client_id"], row["mentor_id"]} & erased:
            yield f"assignment {row['id']} of somebody who was erased is not over"
    for row in evidence.messages:
        if row["state"] in ("planned", "leased") and row["person_id"] in erased:
            yield f"message {row['id']} is planned to somebody who was erased"
