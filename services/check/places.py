"""G2: each discharge is in one place, never with two mentors, and no mentor is over capacity.

The place is the same for whoever chooses mentors and whoever writes to them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from uuid import UUID

from services.check.evidence import GRACE, Evidence, Said, Verdict, erased_at, given_up

_PLACED = {
    "AssignmentOffered": "offered",
    "MentorAssigned": "assigned",
    "FirstContactMade": "in_contact",
    "NobodyAvailable": "waiting",
}


def placements(evidence: Evidence) -> dict[UUID, tuple[str, datetime]]:
    """Where each discharge is by what was said of it, and since when."""
    placed: dict[UUID, tuple[str, datetime]] = {}
    clients = {row["id"]: row["client_id"] for row in evidence.discharges}
    of_client: dict[UUID, list[UUID]] = defaultdict(list)
    for discharge_id, client_id in clients.items():
        of_client[client_id].append(discharge_id)
    for row in evidence.said["intake"]:
        for discharge_id, state in _from_intake(row, of_client):
            placed[discharge_id] = (state, row.at)
    for row in evidence.said["matching"]:
        named = row.body.get("discharge_id")
        discharge_id = UUID(named) if named else None
        if discharge_id is None or discharge_id not in placed:
            continue
        moved = _PLACED.get(row.type)
        if row.type == "AssignmentEnded" and row.body["reason"] == "client_declined":
            moved = "closed"
        elif row.type in ("AssignmentDeclined", "OfferExpired", "AssignmentEnded"):
            moved = "received"
        if moved is not None and placed[discharge_id][0] not in ("held", "closed"):
            placed[discharge_id] = (moved, row.at)
    for row in evidence.said["notifications"]:
        # Whoever wants nobody is let go, whatever else was said of them meanwhile.
        if _is_no(row) and (discharge_id := UUID(row.body["discharge_id"])) in placed:
            placed[discharge_id] = ("closed", row.at)
    return placed


def _is_no(row: Said) -> bool:
    """Whether a client says that they want nobody; only a mentor's answer is of somebody else."""
    if row.type != "ReplyReceived" or row.body["meaning"] != "no" or not row.body["discharge_id"]:
        return False
    return UUID(row.body["sender_id"]) == row.key


def _from_intake(row: Said, of_client: Mapping[UUID, list[UUID]]) -> Iterator[tuple[UUID, str]]:
    body, kind = row.body, row.type
    if kind in ("ClientDied", "ClientErased"):
        yield from ((discharge_id, "closed") for discharge_id in of_client.get(row.key, ()))
    if "discharge_id" not in body:
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


def judge_places(evidence: Evidence) -> Verdict:
    """Each discharge is in exactly one place; never two mentors, never over capacity."""
    broken: list[str] = []
    derived = placements(evidence)
    asked = {(task["kind"], task["about"]) for task in evidence.tasks}
    active = Counter(row["client_id"] for row in evidence.assignments if row["ended_at"] is None)
    for discharge in evidence.discharges:
        state, since = derived.get(discharge["id"], ("nowhere", discharge["accepted_at"]))
        if discharge["client_id"] in evidence.parked or not evidence.is_old(since):
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
    broken += _over_capacity(evidence)
    broken += _known_otherwise(evidence)
    return Verdict(
        guarantee="G2",
        says="every discharge is in one place, with one mentor at most, none over capacity",
        checked=len(evidence.discharges) + len(evidence.assignments) + len(evidence.known),
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
            # Both moments are of when the work began, by the clock of its machine: who was given a
            # place that had just become free may seem to have come a little before.
            ended = max(row["began_at"] or _LONG_AGO, row["ended_at"] - evidence.apart)
            steps[row["mentor_id"]].append((ended, -1))
    since: dict[UUID, datetime] = {}
    for said in evidence.said["matching"]:
        if said.type == "MentorChanged":
            # What was under way while a roster was loaded may still have seen another capacity.
            since[said.key] = said.at + GRACE if said.key in since else said.at
    for mentor_id, moments in steps.items():
        capacity, load = evidence.capacities.get(mentor_id, 0), 0
        for at, step in sorted(moments):
            load += step
            if step > 0 and load > capacity and at >= since.get(mentor_id, _LONG_AGO):
                yield f"mentor {mentor_id} was given client {load} of {capacity} at {at:%H:%M:%S}"


def _known_otherwise(evidence: Evidence) -> Iterator[str]:
    """Assignments that go on in matching alone, or for those alone who write to the mentor.

    What waits in notifications is judged as waiting, and so is a topic that is held. Who is erased
    is let go by each when it hears of it.
    """
    if evidence.held.get("notifications") or evidence.held.get("matching"):
        return
    waits = {row.key for row in evidence.early.get("notifications", ())}
    aside = evidence.parked | waits | given_up(evidence, "notifications")
    aside |= {key for key, at in erased_at(evidence).items() if not evidence.is_old(at)}
    rows = {row["id"]: row for row in evidence.assignments}
    known = {row["id"] for row in evidence.known}
    for one in (*evidence.assignments, *evidence.known):
        if aside.intersection((one["client_id"], one["mentor_id"])):
            continue
        row = rows.get(one["id"])
        goes_on = row is not None and row["ended_at"] is None
        since = (row["began_at"] if goes_on else row["ended_at"]) if row is not None else None
        if goes_on != (one["id"] in known) and evidence.is_old(since or _LONG_AGO):
            where = "matching" if goes_on else "notifications"
            yield f"assignment {one['id']} goes on in {where} alone"
