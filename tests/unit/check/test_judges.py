"""Histories made by hand: a good one passes, and each bad one is found by its guarantee alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from services.check import places
from services.check.command import judge, report
from services.check.consent import AFTER_STOP, CONSENT_OF_CHANNEL, DISCLOSING, OPEN_ROUTES
from services.check.evidence import SERVICES, Applied, Evidence, Foreign, Said, Topic, Waiting
from services.notifications import domain

#: Ten in the morning in Los Angeles.
BEGAN = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
NOW = BEGAN + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
_IDS = UUID(int=0)


def an_id(name: str) -> UUID:
    """The same id for the same name."""
    return uuid5(_IDS, name)


CLIENT, MENTOR, FACILITY = an_id("client"), an_id("mentor"), an_id("facility")
DISCHARGE, ASSIGNMENT = an_id("discharge"), an_id("assignment")
FIRST, CARD, REPLY = an_id("first"), an_id("card"), an_id("reply")


class History:
    """What was said in a center of one client and one mentor, and the rows that belong to it."""

    def __init__(self) -> None:
        self.said: dict[str, list[Said]] = {service: [] for service in SERVICES}
        self._seqs: Counter[tuple[str, UUID]] = Counter()
        self.messages: list[dict[str, Any]] = []

    def say(self, service: str, kind: str, key: UUID, at: datetime = BEGAN, **body: Any) -> Said:
        """A service says something, which everybody hears."""
        self._seqs[service, key] += 1
        seq = self._seqs[service, key]
        shown = {n: str(v) if isinstance(v, UUID) else v for n, v in body.items()}
        row = Said(
            event_id=an_id(f"{service}/{key}/{seq}"),
            key=key,
            epoch=1,
            seq=seq,
            type=kind,
            at=at,
            published_at=at,
            body=shown,
            place=(0, len(self.said[service])),
        )
        self.said[service].append(row)
        return row

    def send(self, message_id: UUID, purpose: str, at: datetime = BEGAN, **columns: Any) -> None:
        """A message is handed over."""
        row = {
            "id": message_id,
            "once": f"{purpose}/client/{DISCHARGE}",
            "purpose": purpose,
            "recipient": "client",
            "person_id": CLIENT,
            "subject_id": CLIENT,
            "discharge_id": DISCHARGE,
            "assignment_id": None,
            "facility_id": FACILITY,
            "channel": "sms",
            "is_answer": False,
            "state": "handed_over",
            "provider_id": f"P-{message_id}",
            "first_due_at": at,
            "due_at": at,
            "lease_until": None,
        }
        self.messages.append(row | columns)
        self.say("notifications", "MessageHandedOver", CLIENT, at, message_id=message_id)

    def evidence(self) -> Evidence:
        """All of it, heard by everybody and lying in Kafka and in the sandbox."""
        said = {s: sorted(rows, key=lambda r: (r.key, r.seq)) for s, rows in self.said.items()}
        return Evidence(
            now=NOW,
            read_at=NOW,
            said=said,
            discharges=[
                {
                    "id": DISCHARGE,
                    "client_id": CLIENT,
                    "facility_id": FACILITY,
                    "state": "assigned",
                    "accepted_at": BEGAN,
                }
            ],
            facilities=frozenset([FACILITY]),
            assignments=[
                {
                    "id": ASSIGNMENT,
                    "client_id": CLIENT,
                    "mentor_id": MENTOR,
                    "began_at": BEGAN,
                    "ended_at": None,
                }
            ],
            known=[{"id": ASSIGNMENT, "client_id": CLIENT, "mentor_id": MENTOR}],
            capacities={MENTOR: 1},
            messages=self.messages,
            applied={s: applied_by(s, said) for s in SERVICES},
            erased=frozenset(),
            zones={CLIENT: "America/Los_Angeles", MENTOR: "America/Los_Angeles"},
            in_kafka={s: Topic(ids=frozenset(r.event_id for r in said[s])) for s in SERVICES},
            delivered=[{"id": row["provider_id"]} for row in self.messages],
        )


def applied_by(service: str, said: Mapping[str, list[Said]]) -> list[Applied]:
    """Every event that the others said, as applied."""
    streams: dict[tuple[str, UUID], list[Said]] = {}
    for producer in SERVICES:
        for row in said[producer] if producer != service else ():
            streams.setdefault((producer, row.key), []).append(row)
    return [
        Applied(
            producer=producer,
            epoch=1,
            key=key,
            seqs=[row.seq for row in rows],
            ids=b"".join(row.event_id.bytes for row in rows),
            latest=rows[-1].at,
            cursor=len(rows),
        )
        for (producer, key), rows in streams.items()
    ]


def a_good_history() -> History:
    """A client is discharged, welcomed and given a mentor, who gets a card."""
    told = History()
    told.say("intake", "FacilityChanged", FACILITY, quiet_hours="09:00-20:00")
    told.say("matching", "MentorChanged", MENTOR, route="workforce", route_ends_on=None)
    told.say("intake", "ConsentGiven", CLIENT, channel="text")
    told.say("intake", "ClientDischarged", CLIENT, discharge_id=DISCHARGE)
    both = {"discharge_id": DISCHARGE, "assignment_id": ASSIGNMENT, "mentor_id": MENTOR}
    told.say("matching", "MentorAssigned", CLIENT, **both)
    told.send(FIRST, "first")
    mentors = {"recipient": "mentor", "person_id": MENTOR, "assignment_id": ASSIGNMENT}
    told.send(CARD, "card", once=f"card/mentor/{ASSIGNMENT}", **mentors)
    return told


def violated(evidence: Evidence) -> set[str]:
    """The guarantees that do not hold."""
    return {verdict.guarantee for verdict in judge(evidence) if verdict.violations}


def test_a_good_history_is_no_violation(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = a_good_history().evidence()

    assert 0 == report(evidence)

    lines = capsys.readouterr().out.splitlines()
    assert [f"G{n} holds" for n in range(1, 10)] == [line.split(":")[0] for line in lines]


Change = Callable[[Evidence], Evidence]


def _rows(name: str, which: int, **changes: Any) -> Change:
    """Another value in one of the rows."""

    def change(evidence: Evidence) -> Evidence:
        rows = [dict(row) for row in getattr(evidence, name)]
        rows[which].update(changes)
        return replace(evidence, **{name: rows})

    return change


def _said(service: str, kind: str, **changes: Any) -> Change:
    """An event that was said otherwise."""

    def change(evidence: Evidence) -> Evidence:
        rows = [r._replace(**changes) if r.type == kind else r for r in evidence.said[service]]
        return replace(evidence, said={**evidence.said, service: rows})

    return change


def _applied(**changes: Any) -> Change:
    """What matching applied of intake's events about the client, otherwise."""

    def change(evidence: Evidence) -> Evidence:
        rows = [
            one._replace(**changes) if one.key == CLIENT and one.producer == "intake" else one
            for one in evidence.applied["matching"]
        ]
        return replace(evidence, applied={**evidence.applied, "matching": rows})

    return change


def _of(name: str, value: Any) -> Change:
    """Another value for one service."""
    service = "matching"
    return lambda evidence: replace(evidence, **{name: {**getattr(evidence, name), service: value}})


def _topic(**changes: Any) -> Change:
    """Something else in intake's topic."""

    def change(evidence: Evidence) -> Evidence:
        assert evidence.in_kafka is not None
        topic = replace(evidence.in_kafka["intake"], **changes)
        return replace(evidence, in_kafka={**evidence.in_kafka, "intake": topic})

    return change


def _told(tell: Callable[[History], object]) -> Change:
    """The same history, in which something more happened."""

    def change(_: Evidence) -> Evidence:
        told = a_good_history()
        tell(told)
        return told.evidence()

    return change


def _unheard(evidence: Evidence) -> Evidence:
    """Matching took nothing of what intake said of the client."""
    rows = [one for one in evidence.applied["matching"] if one.key != CLIENT]
    return replace(evidence, applied={**evidence.applied, "matching": rows})


def _both_of_intake(evidence: Evidence) -> bytes:
    [one] = [a for a in evidence.applied["matching"] if a.key == CLIENT and a.producer == "intake"]
    return one.ids


def _lies_there_and(state: str) -> Change:
    """A message of which nothing is told lies in the sandbox."""

    def change(evidence: Evidence) -> Evidence:
        left = an_id("left")
        row = {**evidence.messages[0], "id": left, "once": "another", "state": state}
        row["provider_id"] = None
        return replace(
            evidence,
            messages=[*evidence.messages, row],
            delivered=[*(evidence.delivered or ()), {"id": "P", "message_id": str(left)}],
        )

    return change


_ALL = (FIRST, CARD)
_IDS_OF_INTAKE = _both_of_intake(a_good_history().evidence())
_SWAPPED = _IDS_OF_INTAKE[16:] + _IDS_OF_INTAKE[:16]
_GHOST = _IDS_OF_INTAKE + an_id("ghost").bytes
_EARLY = Waiting(key=CLIENT, since=BEGAN, event_id=an_id("x"), waiting_on=MENTOR)
_BEHIND = Waiting(key=CLIENT, since=BEGAN, event_id=an_id("x"))
_PARKED = {"key": CLIENT, "parked_at": NOW, "handler": "ClientDischarged"}
_ASIDE = {"key": MENTOR, "parked_at": NOW, "handler": "answer/x"}
_NIGHT = BEGAN + timedelta(hours=12)
_LATER = BEGAN + 30 * MINUTE

BAD: dict[str, tuple[str, Change]] = {
    "H1: an accepted discharge of which nothing was said": (
        "G1",
        lambda evidence: replace(
            evidence,
            discharges=[
                *evidence.discharges,
                {**evidence.discharges[0], "id": an_id("other"), "accepted_at": NOW},
            ],
        ),
    ),
    "a number of a stream is missing": (
        "G1",
        lambda evidence: replace(_said("intake", "ClientDischarged", seq=3)(evidence), applied={}),
    ),
    "H2: a discharge that was never placed": (
        "G2",
        lambda evidence: replace(
            evidence,
            assignments=[],
            messages=evidence.messages[:1],
            said={
                **evidence.said,
                "matching": [row for row in evidence.said["matching"] if row.key == MENTOR],
                "notifications": evidence.said["notifications"][:1],
            },
            applied={},
            in_kafka=None,
            delivered=None,
        ),
    ),
    "a row that says something else than the events": ("G2", _rows("discharges", 0, state="held")),
    "H3: a mentor over capacity": (
        "G2",
        lambda evidence: replace(
            _said("matching", "MentorChanged", at=BEGAN - timedelta(hours=1))(evidence),
            capacities={MENTOR: 0},
        ),
    ),
    "a mentor who is not told that they are assigned": (
        "G2",
        lambda evidence: replace(evidence, known=[]),
    ),
    "a mentor who is written to as if they were assigned": (
        "G2",
        lambda evidence: replace(
            evidence, known=[*evidence.known, {**evidence.known[0], "id": an_id("other")}]
        ),
    ),
    "H5: a number was applied without the one before it": (
        "G3",
        _applied(seqs=[2], ids=_IDS_OF_INTAKE[16:], cursor=2),
    ),
    "H5: two events were applied in each other's place": ("G3", _applied(ids=_SWAPPED)),
    "an event was applied before the one that precedes it": ("G3", _applied(backwards=1)),
    "a cursor is ahead of what was applied": ("G3", _applied(cursor=3)),
    "H6: something was applied that nobody said": (
        "G3",
        _applied(seqs=[1, 2, 3], ids=_GHOST, cursor=3),
    ),
    "H7: a number was applied twice": (
        "G3",
        _applied(seqs=[1, 1, 2], ids=_IDS_OF_INTAKE[:16] + _IDS_OF_INTAKE),
    ),
    "H6: a record in a topic that nobody said": (
        "G4",
        _topic(foreign=(Foreign(where="t/0/9", what="was never said", key=MENTOR, at=BEGAN),)),
    ),
    "H6: a published event that Kafka does not have": ("G4", _topic(ids=frozenset())),
    "H6: an assignment that no event began": (
        "G4",
        lambda evidence: _rows("known", 0, id=an_id("other"))(
            _rows("assignments", 0, id=an_id("other"))(evidence)
        ),
    ),
    "an assignment that is over without an event": ("G4", _rows("assignments", 0, ended_at=NOW)),
    "H6: a message that follows from nothing": (
        "G4",
        _told(lambda told: told.send(an_id("m"), "introduction", assignment_id=an_id("other"))),
    ),
    "H6: an answer to nobody": (
        "G4",
        _told(
            lambda told: told.send(an_id("m"), "help", once=f"help/answer/{REPLY}", is_answer=True)
        ),
    ),
    "a message's row says that it failed, and its events that it left": (
        "G4",
        _rows("messages", 1, state="failed"),
    ),
    "events of a message that is not there": (
        "G4",
        _told(
            lambda told: told.say("notifications", "MessageHandedOver", CLIENT, message_id=REPLY)
        ),
    ),
    "H10: an event unlike its contract": (
        "G4",
        _said("intake", "ClientDischarged", faults=(("G4", "lacks the field x"),)),
    ),
    "H4: the same words may have left twice": (
        "G5",
        _told(lambda told: told.send(an_id("again"), "first", once=f"first/client/{DISCHARGE}")),
    ),
    "H4: a message lies in the sandbox twice": (
        "G5",
        lambda evidence: replace(evidence, delivered=[{"id": f"P-{i}"} for i in [FIRST, *_ALL]]),
    ),
    "H4: a message that left is not in the sandbox": (
        "G5",
        lambda evidence: replace(evidence, delivered=(evidence.delivered or ())[:1]),
    ),
    "a message that left counts as never handed over": (
        "G5",
        _lies_there_and("suppressed"),
    ),
    "a client who came back and was never welcomed": (
        "G5",
        lambda evidence: _rows("messages", 0, purpose="introduction", assignment_id=ASSIGNMENT)(
            _said(
                "intake",
                "ClientDischarged",
                body={"discharge_id": str(DISCHARGE), "replaces": str(an_id("earlier"))},
            )(evidence)
        ),
    ),
    "a welcome that nobody planned": (
        "G5",
        _rows("messages", 0, purpose="introduction", assignment_id=ASSIGNMENT),
    ),
    "events are kept aside for a key that is not parked": ("G6", _of("behind", [_BEHIND])),
    "a parked key without the record at fault": ("G6", _of("parked_keys", [_PARKED])),
    "an event that is early for ever": ("G6", _of("early", [_EARLY])),
    "H8: what was published is not taken": ("G6", _unheard),
    "H9: an event that was never published": (
        "G6",
        _said("notifications", "MessageHandedOver", published_at=None),
    ),
    "a timer that does not fire": (
        "G6",
        _of("timers", [{"key": CLIENT, "name": "answer/x", "due_at": BEGAN}]),
    ),
    "a message that does not leave": (
        "G6",
        lambda evidence: replace(
            evidence,
            messages=[
                *evidence.messages,
                {**evidence.messages[1], "id": an_id("m"), "state": "planned", "provider_id": None},
            ],
        ),
    ),
    "H11: an event that shows a name": (
        "G7",
        _said("intake", "ClientDischarged", faults=(("G7", "holds contact unsealed"),)),
    ),
    "H11: a table that shows an address": (
        "G7",
        lambda evidence: replace(evidence, readable=("intake's task.done_by shows an address",)),
    ),
    "H11: a record that has a header of its own": ("G7", _topic(strange=("a record",))),
    "a client who was erased is still helped": (
        "G7",
        lambda evidence: replace(evidence, erased=frozenset([CLIENT])),
    ),
    "a consent that came later": (
        "G8",
        _said("intake", "ConsentGiven", at=BEGAN + MINUTE),
    ),
    "a consent to another channel": (
        "G8",
        _said("intake", "ConsentGiven", body={"channel": "email"}),
    ),
    "a consent that was taken back": (
        "G8",
        _told(
            lambda told: (
                told.say("intake", "ConsentRevoked", CLIENT, BEGAN + MINUTE, channel="text"),
                told.send(an_id("m"), "introduction", _LATER, assignment_id=ASSIGNMENT),
            )
        ),
    ),
    "a mentor is told by no route": (
        "G8",
        _said("matching", "MentorChanged", body={"route": "none", "route_ends_on": None}),
    ),
    "a mentor is told when the route has ended": (
        "G8",
        _said("matching", "MentorChanged", body={"route": "qsoa", "route_ends_on": "2026-11-23"}),
    ),
    "a message after a STOP": (
        "G8",
        _told(
            lambda told: (
                told.say(
                    "notifications",
                    "ReplyReceived",
                    CLIENT,
                    BEGAN + MINUTE,
                    reply_id=REPLY,
                    meaning="stop",
                    sender_id=CLIENT,
                ),
                told.send(an_id("m"), "introduction", _LATER, assignment_id=ASSIGNMENT),
            )
        ),
    ),
    "a message after the client told staff to stop": (
        "G8",
        _told(
            lambda told: (
                told.say("intake", "OutreachStopped", CLIENT, BEGAN + MINUTE),
                told.send(an_id("m"), "introduction", _LATER, assignment_id=ASSIGNMENT),
            )
        ),
    ),
    "a message after a STOP that came back undelivered": (
        "G8",
        _told(
            lambda told: (
                told.say("intake", "OutreachStopped", CLIENT, BEGAN + MINUTE),
                told.send(
                    an_id("m"), "introduction", _LATER, assignment_id=ASSIGNMENT, state="failed"
                ),
                told.say(
                    "notifications",
                    "MessageFailed",
                    CLIENT,
                    _LATER,
                    message_id=an_id("m"),
                    next_channel="email",
                ),
            )
        ),
    ),
    "a message at night": (
        "G8",
        lambda evidence: replace(evidence, zones={CLIENT: "Asia/Tokyo"}),
    ),
    "a word of danger that is nobody's task": (
        "G9",
        _told(
            lambda told: told.say(
                "notifications",
                "ReplyReceived",
                CLIENT,
                reply_id=REPLY,
                meaning="danger",
                sender_id=CLIENT,
            )
        ),
    ),
    "a discharge without an owner": (
        "G9",
        lambda evidence: replace(evidence, facilities=frozenset()),
    ),
    "a parked key that nobody was told of": (
        "G9",
        lambda evidence: _of("behind", [_BEHIND])(
            _of("parked_keys", [{**_PARKED, "parked_at": BEGAN}])(evidence)
        ),
    ),
}


@pytest.mark.parametrize("planted", BAD)
def test_a_bad_history_is_found_by_its_guarantee_alone(planted: str) -> None:
    guarantee, change = BAD[planted]

    found = change(a_good_history().evidence())

    assert {guarantee} == violated(found)
    assert 1 == report(found)


def test_a_place_that_has_just_become_free_may_be_given_by_who_began_before() -> None:
    """Both moments are of when the work began, and who waits for a place began sooner."""
    good = _said("matching", "MentorChanged", at=BEGAN - timedelta(hours=1))(
        a_good_history().evidence()
    )
    before = {"id": an_id("before"), "client_id": an_id("before"), "mentor_id": MENTOR}
    before |= {"began_at": BEGAN - MINUTE}

    def found(ended_at: datetime) -> list[str]:
        both = [*good.assignments, {**before, "ended_at": ended_at}]
        return list(places._over_capacity(replace(good, assignments=both)))

    assert [] == found(BEGAN + timedelta(seconds=1))
    assert 1 == len(found(BEGAN + timedelta(seconds=10)))


def _stopped_and(*then: Callable[[History], object]) -> Change:
    def tell(told: History) -> None:
        said = {"reply_id": REPLY, "sender_id": CLIENT}
        told.say("notifications", "ReplyReceived", CLIENT, BEGAN + MINUTE, meaning="stop", **said)
        for one in then:
            one(told)

    return _told(tell)


def _introduce(told: History) -> None:
    told.send(an_id("m"), "introduction", _LATER, assignment_id=ASSIGNMENT)


ALLOWED: dict[str, Change] = {
    "matching has not heard yet of who was erased": lambda evidence: replace(
        _told(lambda told: told.say("intake", "ClientErased", CLIENT, NOW))(evidence), known=[]
    ),
    "matching's topic is held by hand": lambda evidence: replace(
        evidence, known=[], held={"matching": frozenset({"matching-events"})}
    ),
    "who writes to mentors is held by hand": lambda evidence: replace(
        evidence, known=[], held={"notifications": frozenset({"matching-events"})}
    ),
    "who writes to mentors waits for what came before": lambda evidence: replace(
        evidence, known=[], parked_keys={"notifications": [_ASIDE]}
    ),
    "a consent was taken back while the network was called": _told(
        lambda told: told.say("intake", "ConsentRevoked", CLIENT, BEGAN, channel="text")
    ),
    "a STOP is confirmed": _stopped_and(
        lambda told: told.send(
            an_id("m"), "stopped", _LATER, once=f"stopped/answer/{REPLY}", is_answer=True
        )
    ),
    "a STOP was followed by a START": _stopped_and(
        lambda told: told.say(
            "notifications",
            "ReplyReceived",
            CLIENT,
            _LATER - MINUTE,
            meaning="start",
            reply_id=REPLY,
            sender_id=CLIENT,
        ),
        _introduce,
    ),
    "somebody who stopped has another number": _stopped_and(
        lambda told: told.say("intake", "ContactDetailsChanged", CLIENT, _LATER - MINUTE),
        _introduce,
    ),
    "an answer goes at any hour": lambda evidence: replace(
        _rows("messages", 0, is_answer=True, once=f"{REPLY}")(
            _told(
                lambda told: told.say(
                    "notifications",
                    "ReplyReceived",
                    CLIENT,
                    reply_id=REPLY,
                    meaning="help",
                    sender_id=CLIENT,
                )
            )(evidence)
        ),
        zones={CLIENT: "Asia/Tokyo"},
    ),
    "what a restored service has forgotten, others remember": lambda evidence: _applied(
        seqs=[1, 2, 3], ids=_GHOST, cursor=3
    )(
        replace(
            evidence,
            said={
                **evidence.said,
                "intake": [
                    *evidence.said["intake"],
                    Said(
                        event_id=an_id("parked"),
                        key=CLIENT,
                        epoch=2,
                        seq=1,
                        type="KeyParked",
                        at=NOW,
                        published_at=NOW,
                        body={"handler": "restored"},
                    ),
                ],
            },
            in_kafka=None,
        )
    ),
    "a record of somebody else was given up by a person": lambda evidence: _topic(
        foreign=(Foreign(where="t/0/9", what="was never said", key=CLIENT, at=BEGAN),)
    )(
        _applied(seqs=[1, 2, 3], ids=_GHOST, cursor=3)(
            _told(lambda told: told.say("matching", "KeyReleased", CLIENT, closed=True))(evidence)
        )
    ),
    "an event is early for one whose topic is held where it comes from": lambda evidence: replace(
        _of("early", [_EARLY])(evidence), held={"intake": frozenset(["intake-events"])}
    ),
    "an event is early for a key that is parked": lambda evidence: _of("parked_keys", [_ASIDE])(
        _of("early", [_EARLY])(evidence)
    ),
    "somebody holds the topic by hand": lambda evidence: replace(
        _unheard(evidence), held={"matching": frozenset(["intake-events", "notifications-events"])}
    ),
    "Kafka keeps nothing for so long": lambda evidence: replace(
        _topic(ids=frozenset())(evidence), read_at=NOW + timedelta(days=40)
    ),
    "an event is on its way": lambda evidence: replace(
        _unheard(evidence), read_at=BEGAN + MINUTE / 2
    ),
}


@pytest.mark.parametrize("allowed", ALLOWED)
def test_what_is_allowed_is_no_violation(allowed: str) -> None:
    found = ALLOWED[allowed](a_good_history().evidence())

    assert [] == [v.violations for v in judge(found) if v.violations]


def test_the_second_opinion_knows_the_same_rules() -> None:
    assert (domain.AFTER_STOP, domain.DISCLOSING) == (AFTER_STOP, DISCLOSING)
    assert domain.CONSENT_OF_CHANNEL == CONSENT_OF_CHANNEL
    assert domain.OPEN_ROUTES == OPEN_ROUTES
