"""G1: an accepted discharge is stored, and so is everything that was said, without a gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from services.check.evidence import SERVICES, Evidence, Said, Verdict

_BEGINS = ("ClientDischarged", "DischargeHeld", "DischargeCancelled")


def judge_acceptance(evidence: Evidence) -> Verdict:
    """Something was said of every accepted discharge, and no number of a stream is missing."""
    broken: list[str] = []
    intake = evidence.said["intake"]
    begun = {row.body.get("discharge_id") for row in intake if row.type in _BEGINS}
    dead = {row.key for row in intake if row.type in ("ClientDied", "ClientErased")}
    for discharge in evidence.discharges:
        if str(discharge["id"]) not in begun and discharge["client_id"] not in dead:
            broken.append(f"discharge {discharge['id']} was accepted and nothing was said of it")
    for service in SERVICES:
        broken += _gaps(service, evidence.said[service])
    return Verdict(
        guarantee="G1",
        says="every accepted discharge is stored, and nothing is missing of what was said",
        checked=len(evidence.discharges) + sum(len(rows) for rows in evidence.said.values()),
        violations=tuple(broken),
    )


def _gaps(service: str, said: Sequence[Said]) -> Iterator[str]:
    last: dict[tuple[UUID, int], int] = {}
    for row in said:
        place = (row.key, row.epoch)
        if row.seq != last.get(place, 0) + 1:
            yield f"{service} said {row.seq} of key {row.key} without the one before it"
        last[place] = row.seq
