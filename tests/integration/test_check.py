"""The published guarantees hold after a day's work, and each check finds a planted violation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from messaging.broker import Outgoing
from services.check import Evidence, judge
from services.check.command import report
from services.check.tables import SEALED
from tests.fault.history import Attempt, stored_in, unconfirmed_in, violations
from tests.house import House

JO = "+15035550101"


@pytest.fixture
def worked(center: House) -> House:
    """A center where everything that can happen to a discharge has happened to one."""
    center.register()
    center.text(JO, "yes")
    center.register(facility="south", record_number="R-2", mobile="+15035550130")
    center.register(record_number="R-3", born_on=None)
    center.register(record_number="R-4", language="fr", mobile="+15035550131")
    center.text("+15035550131", "I want to die")
    held = center.register(record_number="R-5", born_on=None, mobile="+15035550132")
    center.api().post(f"/api/discharges/{held['id']}/cancel")
    center.register(record_number="R-6", facility="south", reason="transferred")
    center.clock.move(minutes=1)
    later = {"record_number": "R-6", "facility": "south", "mobile": "+15035550133"}
    center.register(**later, visit_number="V-2")
    center.register(**later, reason="completed")
    center.clock.move(minutes=5)
    center.settle()
    return center


def violated(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """The guarantees that do not hold, with what was found."""
    return {v.guarantee: v.violations for v in judge(evidence) if v.violations}


def test_every_guarantee_holds_after_a_days_work(worked: House) -> None:
    verdicts = judge(worked.evidence())

    assert [f"G{n}" for n in range(1, 10)] == [v.guarantee for v in verdicts]
    assert all(v.checked for v in verdicts)
    assert {} == violated(worked.evidence())


def _sql(service: str, statement: str) -> Callable[[House], None]:
    def plant(house: House) -> None:
        with house.participants[service].engine.begin() as conn:
            assert conn.execute(text(statement)).rowcount

    return plant


def _record(house: House) -> None:
    """Somebody else writes into a topic."""
    record = Outgoing(topic="intake-events", key=b"Sam", value=b"Sam", headers=[("name", b"Sam")])
    house.broker.append(record)


#: What is planted, and every guarantee that it breaks; most break the one that they are meant for.
PLANTED: dict[str, tuple[set[str], Callable[[House], None]]] = {
    "a discharge of which nothing was said": (
        {"G1"},
        _sql(
            "intake",
            "INSERT INTO discharge (id, client_id, facility_id, visit_token, details, high_risk,"
            " state, accepted_at) SELECT i, client_id, facility_id, 'another', jsonb_set(details,"
            " '{bound}', to_jsonb('discharge/' || i || '/details')), high_risk, state,"
            " '2026-11-24T18:06:00Z' FROM discharge, gen_random_uuid() AS i LIMIT 1",
        ),
    ),
    "an event is lost from the outbox": (
        # What was said and is not stored is a gap, a ghost, and a discharge that is nowhere.
        {"G1", "G2", "G3", "G4"},
        _sql("intake", "DELETE FROM outbox WHERE type = 'ClientDischarged'"),
    ),
    "a discharge's row says something else": (
        {"G2"},
        _sql("intake", "UPDATE discharge SET state = 'waiting' WHERE state = 'assigned'"),
    ),
    "a mentor over capacity": ({"G2"}, _sql("matching", "UPDATE mentor SET capacity = 0")),
    "a mentor is still written to": (
        {"G2"},
        _sql(
            "notifications",
            "INSERT INTO assignment (id, client_id, discharge_id, mentor_id, state)"
            " SELECT gen_random_uuid(), client_id, discharge_id, mentor_id, state FROM assignment"
            " WHERE state <> 'ended' LIMIT 1",
        ),
    ),
    "another event was applied in its place": (
        {"G3"},
        _sql("matching", "UPDATE inbox SET event_id = gen_random_uuid() WHERE seq = 2"),
    ),
    "an event was applied and is not known any more": (
        {"G3"},
        _sql("notifications", "DELETE FROM inbox WHERE type = 'ClientDischarged'"),
    ),
    "a number was passed over": ({"G3"}, _sql("intake", "UPDATE cursor SET seq = seq + 1")),
    "an assignment that nobody knows of": (
        {"G2", "G4"},
        _sql(
            "matching",
            "INSERT INTO assignment (id, client_id, discharge_id, mentor_id, place, state)"
            " SELECT gen_random_uuid(), c.id, c.discharge_id, m.id, 1, 'assigned' FROM client c,"
            " mentor m WHERE c.state = 'waiting' AND m.code = 'M-06' LIMIT 1",
        ),
    ),
    "what was said is not what was published": (
        {"G4"},
        _sql("intake", "UPDATE outbox SET body = body || ' ' WHERE type = 'ConsentGiven'"),
    ),
    "an event unlike its contract": (
        {"G4"},
        _sql(
            "notifications",
            "UPDATE outbox SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"purpose\"',"
            " '\"why\"'), 'UTF8') WHERE type = 'MessageHandedOver'",
        ),
    ),
    "a record that somebody else has written": ({"G4"}, _record),
    "a message that nothing was said of": (
        {"G4"},
        _sql("notifications", "UPDATE message SET state = 'failed' WHERE purpose = 'introduction'"),
    ),
    "a welcome that nobody planned": (
        {"G4", "G5"},
        _sql("notifications", "DELETE FROM message WHERE purpose = 'first'"),
    ),
    "a message said twice on two channels": (
        {"G4", "G5"},
        _sql(
            "notifications",
            "INSERT INTO message SELECT gen_random_uuid(), once, person_id, recipient, subject_id,"
            " discharge_id, assignment_id, facility_id, purpose, 'email', is_answer, state, reason,"
            " due_at, first_due_at, attempts, lease_until, 'P-twice', template, version, NULL,"
            " NULL, handed_over_at FROM message WHERE purpose = 'first' AND channel = 'sms'"
            " LIMIT 1",
        ),
    ),
    "an event is never published": (
        {"G6"},
        _sql("matching", "UPDATE outbox SET published_at = NULL"),
    ),
    "a timer does not fire": (
        {"G6"},
        _sql("matching", "INSERT INTO timer VALUES (gen_random_uuid(), 'x', '2026-11-24', '{}')"),
    ),
    "a message does not leave": (
        {"G6"},
        _sql(
            "notifications",
            "INSERT INTO message SELECT gen_random_uuid(), once, person_id, recipient, subject_id,"
            " discharge_id, assignment_id, facility_id, purpose, 'email', is_answer, 'planned',"
            " NULL, '2026-11-24', '2026-11-24', 0 FROM message WHERE purpose = 'first'"
            " AND channel = 'sms' LIMIT 1",
        ),
    ),
    "a name that is not sealed": (
        {"G7"},
        _sql("intake", 'UPDATE client SET person = \'{"given": "Sam"}\''),
    ),
    "a seal that was moved to another row": (
        {"G7"},
        _sql(
            "matching",
            "UPDATE client SET about = (SELECT about FROM client ORDER BY id LIMIT 1)",
        ),
    ),
    "an address among other words": (
        {"G7"},
        _sql("intake", "UPDATE task SET taken_by = 'sam@example.org' WHERE kind = 'held'"),
    ),
    "a consent that came when the message had left": (
        {"G8"},
        _sql("intake", "UPDATE outbox SET at = at + interval '1 day' WHERE type = 'ConsentGiven'"),
    ),
    "a message in the middle of the night": (
        {"G8"},
        _sql(
            "notifications",
            "UPDATE outbox SET at = at + interval '14 hours' WHERE type = 'MessageHandedOver'",
        ),
    ),
    "a held discharge without a task": (
        {"G9"},
        _sql("intake", "DELETE FROM task WHERE kind = 'held'"),
    ),
    "a held discharge whose task is done": (
        {"G9"},
        _sql("intake", "UPDATE task SET done_at = opened_at WHERE kind = 'held'"),
    ),
    "a word of danger without a task": (
        {"G9"},
        _sql("intake", "DELETE FROM task WHERE kind = 'danger'"),
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_violation_is_found_and_nothing_else(
    worked: House, planted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guarantees, plant = PLANTED[planted]

    plant(worked)

    assert 1 == report(worked.evidence())
    printed = capsys.readouterr().out
    assert guarantees == set(re.findall(r"^(G\d) violated", printed, re.MULTILINE)), printed
    assert "Sam" not in printed
    assert "@" not in printed


def test_a_client_who_was_erased_and_is_still_helped_is_found(worked: House) -> None:
    owner = create_engine(worked.settings["KEYS_OWNER_URL"])
    with owner.begin() as conn:
        [client] = worked.rows("matching", "SELECT client_id FROM assignment LIMIT 1")
        gone = "UPDATE key_about SET wrapped = NULL, destroyed_at = now() WHERE person = :id"
        conn.execute(text(gone), {"id": client.client_id})
    owner.dispose()

    assert {"G7"} == violated(worked.evidence()).keys()


def test_a_message_that_lies_in_the_sandbox_twice_is_found(worked: House) -> None:
    evidence = worked.evidence()
    assert evidence.delivered is not None

    doubled = replace(evidence, delivered=[*evidence.delivered, evidence.delivered[0]])

    assert {"G5"} == violated(doubled).keys()


def test_a_facility_without_an_owner_is_found(worked: House) -> None:
    assert {"G9"} == violated(replace(worked.evidence(), facilities=frozenset())).keys()


#: JSON that names nobody: ids, codes, settings, and records in the form in which they travel.
OPEN_JSON = {
    "audit.details",
    *("epoch.read_back", "outbox.after", "timer.data", "early.record", "parked_event.record"),
    *("facility.settings", "answered.answer", "roster_load.errors"),
}


@pytest.mark.parametrize("service", sorted(SEALED))
def test_all_json_in_tables_is_declared_as_sealed_or_as_open(house: House, service: str) -> None:
    found = house.rows(
        service,
        "SELECT table_name || '.' || column_name AS name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'jsonb'",
    )

    declared = {f"{one.table}.{one.column}" for one in SEALED[service]}
    assert set() == {row.name for row in found} - declared - OPEN_JSON


def test_what_was_answered_is_what_is_there(center: House) -> None:
    address = "sam7@example.org"
    found = center.register(
        record_number="R-7", facility="south", email=address, channels=["email"]
    )
    tried = [Attempt(record_number="R-7", address=address, outcome="accepted")]
    spool = [{"to": letter.to, "body": letter.text} for _, letter in center.network.letters]
    ended = {"spool": spool, "unconfirmed": unconfirmed_in(center, {found["id"]: address})}

    assert [] == list(violations(tried, stored=stored_in(center, ["R-7"]), **ended))
    assert ["another record is stored and was never entered"] == [
        says for says in violations(tried, stored=stored_in(center, []), **ended) if "never" in says
    ]
