"""A database that was restored to an earlier time is noticed, and nothing is decided twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from uuid import uuid4

import pytest
from sqlalchemy import text

from contracts.event import Event
from contracts.topics import TOPICS
from messaging import parking, relay, releasing, work
from messaging.fuse import Fuse
from messaging.unavailable import AnotherDatabase, Unavailable
from messaging.work import Work
from tests.house import House, a_discharge
from tests.kept import Kept, keep, put_back

JO = "+15035550101"


def _fails(work: Work) -> Iterator[Event]:
    raise LookupError


def _epoch(center: House, service: str) -> int:
    return int(center.rows(service, "SELECT epoch FROM epoch")[0][0])


@pytest.fixture(autouse=True)
def _first_epoch(center: House) -> Iterator[None]:
    yield
    center.begin_first_epochs()


def _go_back(center: House, service: str, to: dict[str, Kept]) -> None:
    put_back(center.settings, to, [f"{service.upper()}_DATABASE_URL"])
    center.restart(service)


def test_a_start_like_any_other_changes_nothing(center: House) -> None:
    center.register(facility="south")

    assert [[], []] == [center.notice_restore("matching") for _ in range(2)]

    assert 1 == _epoch(center, "matching")
    assert 0 == center.rows("matching", "SELECT count(*) FROM parked_key")[0][0]


@pytest.mark.parametrize("service", ["intake", "matching", "notifications"])
def test_what_was_lost_is_set_aside_and_everybody_else_flows(center: House, service: str) -> None:
    before = center.register(facility="south", record_number="R-1")
    center.notice_restore(service)
    earlier = keep(center.settings)
    lost = center.register(facility="south", record_number="R-2", mobile="+15035550199")
    said = len(center.network.letters)

    _go_back(center, service, earlier)
    found = center.notice_restore(service)
    center.settle()

    lost_client = center.rows("matching", "SELECT client_id FROM assignment")
    assert found
    assert 2 == _epoch(center, service)
    listed = parking.listed(center.participants[service])
    assert {"restored"} == {one.handler for one in listed}
    assert set(found) == {one.key for one in listed}
    # Nobody is written to twice, and nobody is given another mentor, until a person has looked.
    assert said == len(center.network.letters)
    assert len({row.client_id for row in lost_client}) == len(lost_client)
    later = center.register(facility="south", record_number="R-3", mobile="+15035550188")
    assert "assigned" == later["state"]
    if service != "intake":
        assert "parked" == center.story(lost["id"], "south")["state"]
    assert "assigned" == center.story(before["id"], "south")["state"]
    assert [] == center.notice_restore(service)
    assert 2 == _epoch(center, service)


def test_what_was_lost_is_found_in_a_topic_that_was_made_anew(center: House) -> None:
    """What lies there where the old one had been read to was never read, however long it is."""
    center.register(facility="south", record_number="R-1")
    center.notice_restore("matching")
    earlier, topic = keep(center.settings), TOPICS["matching"].name
    known = _lengths(center, topic)
    lost = center.register(facility="south", record_number="R-2", mobile="+15035550199")
    _go_back(center, "matching", earlier)

    center.broker._ids[topic] = uuid4()
    _turn_around(center, topic, known)
    found = center.notice_restore("matching")

    [row] = center.rows("intake", "SELECT client_id FROM discharge WHERE id = :id", id=lost["id"])
    assert row.client_id in found
    assert [] == center.notice_restore("matching")


@pytest.mark.parametrize("begun", [1, 2], ids=["begun once", "begun twice"])
@pytest.mark.parametrize("another", [True, False], ids=["another database", "the same"])
def test_what_was_lost_is_not_hidden_by_places_in_a_topic_that_is_gone(
    center: House, another: bool, begun: int
) -> None:
    """Workers began with an empty one, and a backup was taken before their relay had looked."""
    center.register(facility="south", record_number="R-1")
    center.notice_restore("matching")
    topic = TOPICS["matching"].name
    logs = [center.broker.log((topic, number)) for number in range(center.broker.partitions)]
    lay = [list(log) for log in logs]
    for log in logs:
        log.clear()
    center.broker._ids[topic] = uuid4()
    for _ in range(begun):
        assert [] == center.notice_restore("matching")
    earlier = keep(center.settings)
    for log, records in zip(logs, lay, strict=True):
        log.extend(replace(one, topic_id=center.broker.id_of(topic)) for one in records)
    known = _lengths(center, topic)
    lost = center.register(facility="south", record_number="R-2", mobile="+15035550199")

    _go_back(center, "matching", earlier)
    _turn_around(center, topic, known)
    if another:
        _becomes_another(center, "matching")

    [row] = center.rows("intake", "SELECT client_id FROM discharge WHERE id = :id", id=lost["id"])
    assert row.client_id in center.notice_restore("matching")
    assert [] == center.notice_restore("matching")


def test_what_was_lost_is_found_behind_a_cut_of_what_was_read_back(center: House) -> None:
    center.register(facility="south", record_number="R-1")
    center.notice_restore("matching")
    topic = TOPICS["matching"].name
    [read] = center.rows("matching", "SELECT read_back FROM epoch")
    for number in range(center.broker.partitions):
        if lies := len(center.broker.log((topic, number))):
            center.broker.cut(topic, number, lies)
    center.loops()["matching relay"].close()
    center.loops()["matching relay"].step()
    [left] = center.rows("matching", "SELECT read_back FROM epoch")
    earlier, known = keep(center.settings), _lengths(center, topic)
    lost = center.register(facility="south", record_number="R-2", mobile="+15035550199")

    _go_back(center, "matching", earlier)
    _turn_around(center, topic, known)

    assert 0 not in read.read_back.values()
    assert {0} == set(left.read_back.values())
    [row] = center.rows("intake", "SELECT client_id FROM discharge WHERE id = :id", id=lost["id"])
    assert row.client_id in center.notice_restore("matching")


def test_a_topic_that_is_made_anew_while_it_is_read_back_is_read_again(center: House) -> None:
    center.register(facility="south")
    center.notice_restore("matching")
    topic = TOPICS["matching"].name
    lies = center.broker.id_of(topic)
    center.broker._ids[topic] = uuid4()

    with pytest.raises(Unavailable):
        center.notice_restore("matching")

    center.broker._ids[topic] = lies
    assert [] == center.notice_restore("matching")


def _lengths(center: House, topic: str) -> list[int]:
    return [len(center.broker.log((topic, number))) for number in range(center.broker.partitions)]


def _turn_around(center: House, topic: str, lengths: list[int]) -> None:
    """What was said since the partitions were so long lies in them first."""
    made = {"topic_id": center.broker.id_of(topic)}
    for number, known in enumerate(lengths):
        log = center.broker.log((topic, number))
        turned = [*log[known:], *log[:known]]
        log[:] = [replace(record, offset=at, **made) for at, record in enumerate(turned)]


def test_another_database_under_the_same_name_begins_an_epoch(center: House) -> None:
    center.register(facility="south")
    center.notice_restore("matching")
    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE epoch SET timeline = timeline - 1"))

    assert [] == center.notice_restore("matching")

    assert 2 == _epoch(center, "matching")
    story = center.register(facility="south", record_number="R-2", mobile="+15035550199")
    assert "assigned" == story["state"]
    for name in center.participants:
        assert 0 == center.rows(name, "SELECT count(*) FROM parked_key")[0][0]
        assert 0 == center.rows(name, "SELECT count(*) FROM early")[0][0]


def _becomes_another(center: House, service: str) -> None:
    with center.participants[service].engine.begin() as conn:
        conn.execute(text("UPDATE epoch SET timeline = timeline - 1"))


def test_nothing_is_said_before_another_database_is_noticed(center: House) -> None:
    center.notice_restore("intake")
    center.loops()["intake relay"].step()
    _becomes_another(center, "intake")
    body = a_discharge(center.clock.now(), facility="south")

    refused = center.api("south").post("/api/discharges", json=body)

    assert (503, "5") == (refused.status_code, refused.headers["Retry-After"])
    assert 0 == center.rows("intake", "SELECT count(*) FROM discharge")[0][0]
    with pytest.raises(AnotherDatabase):
        center.loops()["intake relay"].step()
    center.notice_restore("intake")
    assert 202 == center.api("south").post("/api/discharges", json=body).status_code
    center.settle()
    assert {"assigned"} == {row.state for row in center.rows("intake", "SELECT * FROM discharge")}


def test_nobody_is_written_to_before_another_database_is_noticed(center: House) -> None:
    center.notice_restore("notifications")
    sender, consumer = (center.loops()[name] for name in ("sender", "notifications consumer"))
    sender.is_busy = True
    center.register_only(facility="south")
    center.settle_matching()
    while consumer.step():
        pass
    assert center.rows("notifications", "SELECT id FROM message WHERE state = 'planned'")

    _becomes_another(center, "notifications")
    sender.step()
    assert [] == center.network.letters

    center.notice_restore("notifications")
    center.settle()
    assert center.network.letters
    assert {} == center.violated()


def test_what_is_said_in_a_new_epoch_comes_after_what_was_said_before(center: House) -> None:
    story = center.register(facility="south")
    center.notice_restore("matching")
    _becomes_another(center, "matching")
    center.notice_restore("matching")

    center.api("south").post(f"/api/discharges/{story['id']}/cancel")
    center.settle()

    [assignment] = center.rows("matching", "SELECT client_id, mentor_id FROM assignment")
    query = "SELECT after FROM outbox WHERE type = 'AssignmentEnded' AND epoch = 2"
    [said] = center.rows("matching", query)
    after = {(key, producer, epoch) for key, producer, epoch, _ in said.after}
    both = (str(assignment.client_id), str(assignment.mentor_id))
    assert {(key, "matching", 1) for key in both} <= after
    assert {} == center.violated()


def test_no_number_of_an_epoch_that_was_forgotten_is_used_again(center: House) -> None:
    center.register(facility="south", record_number="R-1")
    center.notice_restore("matching")
    earlier = keep(center.settings)
    center.register(facility="south", record_number="R-2", mobile="+15035550199")

    for epoch in (2, 3):
        _go_back(center, "matching", earlier)
        with center.matching.engine.begin() as conn:
            conn.execute(text("UPDATE epoch SET epoch = 1"))
        assert center.notice_restore("matching")
        center.settle()
        assert epoch == _epoch(center, "matching")

    for service in ("intake", "notifications"):
        assert [] == parking.listed(center.participants[service])


def test_a_relay_that_fails_at_once_lets_another_publish(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.loops()["intake relay"].close()
    mine = relay.Relay("intake", center.intake.engine, center.broker.writer())

    def fails(*_: object) -> None:
        raise LookupError

    with monkeypatch.context() as once:
        once.setattr(relay, "Published", fails)
        with pytest.raises(LookupError):
            mine.step()

    assert "assigned" == center.register(facility="south")["state"]


def test_what_is_said_while_it_is_noticed_leaves_no_gap(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.register(facility="south", record_number="R-1")
    center.notice_restore("intake")
    earlier = keep(center.settings)
    center.register(facility="south", record_number="R-2", mobile="+15035550199")
    _go_back(center, "intake", earlier)
    noticing = Thread(target=center.notice_restore, args=("intake",))

    def reached(point: str, *given: object) -> None:
        if point == "work.written" and any(given) and noticing.ident is None:
            noticing.start()
            noticing.join(0.5)
            assert noticing.is_alive()

    monkeypatch.setattr(work, "reached", reached)
    during = center.register_only(facility="south", record_number="R-3", mobile="+15035550188")
    noticing.join(20)
    center.settle()
    assert 2 == _epoch(center, "intake")
    assert "assigned" == center.story(during["id"], "south")["state"]

    center.api("south").post(f"/api/discharges/{during['id']}/cancel")
    center.settle()

    assert "closed" == center.story(during["id"], "south")["state"]
    for name in center.participants:
        assert 0 == center.rows(name, "SELECT count(*) FROM early")[0][0]


def test_who_was_parked_before_and_let_go_since_is_set_aside_with_a_word(center: House) -> None:
    story = center.register(facility="south")
    client = center.rows("matching", "SELECT id FROM client")[0].id
    center.notice_restore("matching")
    parking.attempt(center.matching, client, "told", _fails, Fuse("told", 1))
    center.settle()
    earlier = keep(center.settings)
    assert releasing.replay(center.matching, client)
    center.settle()
    assert "assigned" == center.story(story["id"], "south")["state"]

    _go_back(center, "matching", earlier)
    assert [client] == center.notice_restore("matching")
    center.settle()

    assert "parked" == center.story(story["id"], "south")["state"]
    assert ["restored"] == [one.handler for one in parking.listed(center.matching)]
    assert releasing.replay(center.matching, client)
    center.settle()
    assert "assigned" == center.story(story["id"], "south")["state"]


def test_whom_intake_cannot_go_on_with_shows_it_with_no_event_at_fault(center: House) -> None:
    story = center.register(facility="south")
    [client] = center.rows("intake", "SELECT client_id FROM discharge")

    parking.attempt(center.intake, client.client_id, "told", _fails, Fuse("told", 1))

    assert "parked" == center.story(story["id"], "south")["state"]
    assert ["parked"] == [task["kind"] for task in center.tasks("south")]
    assert [] == center.tasks("north")
    assert releasing.replay(center.intake, client.client_id)
    assert "assigned" == center.story(story["id"], "south")["state"]
    assert [] == center.tasks("south")


def test_who_waits_and_is_set_aside_is_given_nobody_until_somebody_has_looked(
    center: House,
) -> None:
    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE mentor SET state = 'paused'"))
    story = center.register(facility="south")
    client = center.rows("matching", "SELECT id FROM client")[0].id
    parking.attempt(center.matching, client, "restored", _fails, Fuse("told", 1))
    with center.matching.engine.begin() as conn:
        conn.execute(text("UPDATE mentor SET state = 'active'"))
    center.load_facilities()
    center.settle()
    assert [] == center.rows("matching", "SELECT id FROM assignment")

    assert releasing.replay(center.matching, client)
    center.settle()

    assert "assigned" == center.story(story["id"], "south")["state"]


@pytest.mark.parametrize("then", ["offered", "waiting"])
def test_a_mentor_whom_matching_forgot_is_let_go_whoever_comes_next(
    center: House, then: str
) -> None:
    center.notice_restore("matching")
    earlier = keep(center.settings)
    lost = center.register()
    center.text(JO, "yes")
    [first] = center.rows("notifications", "SELECT id FROM assignment WHERE state = 'assigned'")
    _go_back(center, "matching", earlier)
    found = center.notice_restore("matching")
    center.settle()
    if then == "waiting":
        with center.matching.engine.begin() as conn:
            conn.execute(text("UPDATE mentor SET state = 'paused'"))

    for key in found:
        releasing.replay(center.matching, key)
    center.settle()

    assert then == center.story(lost["id"])["state"]
    open_now = "SELECT id, state FROM assignment WHERE state <> 'ended'"
    standing = [row.state for row in center.rows("notifications", open_now) if row.id != first.id]
    assert standing == (["offered"] if then == "offered" else [])
    ended = "SELECT state FROM assignment WHERE id = :id"
    assert [("ended",)] == center.rows("notifications", ended, id=first.id)


def test_a_mentor_whom_matching_forgot_sees_the_client_no_more(center: House) -> None:
    center.notice_restore("matching")
    earlier = keep(center.settings)
    lost = center.register(facility="south", record_number="R-2", mobile="+15035550199")
    first = center.rows("notifications", "SELECT id FROM assignment WHERE state <> 'ended'")
    _go_back(center, "matching", earlier)
    found = center.notice_restore("matching")
    center.settle()

    assert releasing.replay(center.matching, *found)
    center.settle()

    open_now = "SELECT id, discharge_id FROM assignment WHERE state <> 'ended'"
    [again] = center.rows("notifications", open_now)
    assert lost["id"] == str(again.discharge_id)
    assert [again.id] != [row.id for row in first]
    cards = "SELECT assignment_id FROM card WHERE ended_at IS NULL"
    assert {again.id} >= {row.assignment_id for row in center.rows("notifications", cards)}
    assert "assigned" == center.story(lost["id"], "south")["state"]
