"""Whatever order the topics are read in, every event is applied once what it builds on is there."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from contracts.envelope import After, Envelope, to_headers
from contracts.event import Event, type_of
from contracts.notifications import ReplyReceived
from contracts.topics import TOPICS
from contracts.wire import written
from messaging import inbox, parking, releasing, subscriber
from messaging.arrived import Arrived
from messaging.broker import Record
from messaging.early import Releasing
from messaging.fuse import Blown, Fuse
from messaging.inbox import Failure, Inbox
from messaging.subscriber import Subscriber
from messaging.tables import EARLY
from messaging.work import Work, new_traceparent
from tests.house import MORNING, House

HEARD = [topic.name for who, topic in TOPICS.items() if who != "intake"]


class InAnyOrder:
    """A ``Consumer`` that is given a partition's next records by chance, few at a time."""

    def __init__(self, logs: list[list[Record]], chance: random.Random) -> None:
        self._logs = logs
        self._chance = chance

    def poll(self, wait_seconds: float) -> list[Record]:
        """A few records of one partition; now and then a whole one before any other."""
        left = [log for log in self._logs if log]
        if not left:
            return []
        log = self._chance.choice(left)
        take = self._chance.choice([1, 1, 2, 5, len(log)])
        taken, log[:] = log[:take], log[take:]
        return taken

    def ends(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Nobody knows."""
        return {}

    def ours(self) -> set[tuple[str, int]]:
        """Nothing that could be lost."""
        return set()

    def hold(self, topics: Collection[str]) -> None:
        """Nothing is held here."""

    def joined(self) -> list[tuple[UUID, str, int]]:
        """Every partition was ours before."""
        return []

    def seek(self, topic: str, partition: int, offset: int, term: int = -1) -> None:
        """Nothing is ever read twice here."""
        raise AssertionError("a record was refused")

    def hint(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """The stored offsets decide."""

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("seed", range(12))
def test_no_order_of_the_topics_leaves_an_event_waiting(house: House, seed: int) -> None:
    house.load_demo()
    ids = [_live(house, number) for number in range(4)]
    logs = [
        list(house.broker.log((topic, partition))[_read_so_far(house, topic, partition) :])
        for topic in HEARD
        for partition in range(house.broker.partitions)
    ]
    reader = Subscriber(house.intake, _reading(logs, seed))

    while reader.step():
        pass

    assert 0 == _count(house, "early")
    assert 0 == _count(house, "parked_key")
    assert _said_to_intake(house) == _count(house, "inbox")
    assert {"in_contact"} == {house.story(one, "south")["state"] for one in ids}


def test_what_waits_for_what_waits_is_freed_with_it(house: House) -> None:
    client, mentor = uuid4(), uuid4()
    by_notifications = _first_of(mentor)
    early = [_fact("matching", client, 1, by_notifications), _fact("matching", client, 2)]

    for fact in (*early, _fact("notifications", mentor, 1)):
        _read(house, fact)

    assert 0 == _count(house, "early")
    assert 3 == _count(house, "inbox")


def test_what_waits_is_freed_however_much_of_it_there_is(house: House) -> None:
    """As behind a topic that was held, or where a history is read anew."""
    client, mentor = uuid4(), uuid4()
    first = _fact("matching", client, 1, _first_of(mentor))
    chain = [first, *(_fact("matching", client, seq) for seq in range(2, 601))]
    for fact in chain:
        _read(house, fact)
    assert 600 == _count(house, "early")

    _read(house, _fact("notifications", mentor, 1))

    assert (0, 601) == (_count(house, "early"), _count(house, "inbox"))


def test_what_came_early_while_its_key_was_parked_is_applied_with_its_release(house: House) -> None:
    client, mentor = uuid4(), uuid4()
    early = _fact("matching", client, 1, _first_of(mentor))
    _read(house, early)
    _park(house, client)
    freeing = _fact("notifications", mentor, 1)
    _read(house, freeing)
    assert 1 == _count(house, "early")

    releasing.close(house.intake, client, because="not_ours")

    assert 0 == _count(house, "early")
    assert 2 == _count(house, "inbox")


@pytest.fixture
def kept_by_one_worker(house: House, monkeypatch: pytest.MonkeyPatch) -> Record:
    """An early event, taken while another worker took what it waits for."""
    client, mentor = uuid4(), uuid4()
    awaited = _first_of(mentor)
    early, freeing = _fact("matching", client, 1, awaited), _fact("notifications", mentor, 1)

    def freed_meanwhile() -> None:
        _read(house, freeing)

    _meanwhile(monkeypatch, subscriber, "batch.written", freed_meanwhile)
    _read(house, early)
    assert (1, 1) == (_count(house, "early"), _count(house, "inbox"))
    return early


def test_what_two_workers_took_at_once_is_looked_at_again(
    house: House, kept_by_one_worker: Record
) -> None:
    releasing = Releasing(house.intake)
    releasing.step()
    assert 1 == _count(house, "early")
    house.clock.move(seconds=3)

    releasing.step()

    assert (0, 2) == (_count(house, "early"), _count(house, "inbox"))


def test_what_is_ready_and_fails_parks_its_key(
    house: House, kept_by_one_worker: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.clock.move(seconds=3)
    monkeypatch.setattr(inbox, "opened", _unreadable)

    Releasing(house.intake).step()

    assert [("reading", "KeyAbsent")] == [
        (one.handler, one.error) for one in parking.listed(house.intake)
    ]
    monkeypatch.undo()
    assert releasing.replay(house.intake, parking.listed(house.intake)[0].key)
    assert (0, 2) == (_count(house, "early"), _count(house, "inbox"))


def test_what_is_early_and_comes_again_when_it_is_ready_waits_no_longer(
    house: House, kept_by_one_worker: Record
) -> None:
    _read(house, _again(kept_by_one_worker))

    assert (0, 2) == (_count(house, "early"), _count(house, "inbox"))


def test_what_another_has_let_go_meanwhile_is_not_put_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, mentor = _one_that_waits(house)

    def freed_meanwhile() -> None:
        _read(house, _fact("notifications", mentor, 1))

    _meanwhile(monkeypatch, subscriber, "batch.loaded", freed_meanwhile)
    _read(house, _fact("notifications", client, 1))

    assert (0, 3) == (_count(house, "early"), _count(house, "inbox"))


def test_what_was_applied_and_is_early_still_is_cleared_away(
    house: House, kept_by_one_worker: Record
) -> None:
    early = house.rows("intake", "SELECT * FROM early")
    house.clock.move(seconds=3)
    Releasing(house.intake).step()
    _put_back(house, early)

    Releasing(house.intake).step()

    assert (0, 2) == (_count(house, "early"), _count(house, "inbox"))


def test_what_is_ready_and_cannot_be_written_parks_its_key_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = _some_that_are_ready(house)
    write = Inbox.flush

    def fails(inbox: Inbox) -> None:
        if any(one.key == clients[1] for one in inbox._applied):
            raise ValueError
        write(inbox)

    monkeypatch.setattr(Inbox, "flush", fails)

    Releasing(house.intake).step()

    assert [(clients[1], "writing")] == [
        (one.key, one.handler) for one in parking.listed(house.intake)
    ]
    assert (0, 3) == (_count(house, "early"), _count(house, "inbox"))


def test_what_is_ready_is_applied_whatever_became_of_what_it_waited_for(
    house: House, kept_by_one_worker: Record
) -> None:
    [early] = house.rows("intake", "SELECT waiting_on FROM early")
    _park(house, early.waiting_on)
    house.clock.move(seconds=3)

    Releasing(house.intake).step()

    assert (0, 2) == (_count(house, "early"), _count(house, "inbox"))


@pytest.mark.parametrize("how", ["replay", "close"])
def test_whose_event_fails_once_another_is_let_go_is_parked_in_its_place(
    house: House, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    client, mentor = _one_that_waits(house)
    _park(house, mentor)
    _read(house, _fact("notifications", mentor, 1))
    monkeypatch.setattr(inbox, "opened", _unreadable)

    if how == "replay":
        assert releasing.replay(house.intake, mentor)
    else:
        assert releasing.close(house.intake, mentor, because="not_ours")

    assert [(client, "KeyAbsent")] == [(one.key, one.error) for one in parking.listed(house.intake)]
    assert (0, 1) == (_count(house, "early"), _count(house, "inbox"))


def test_of_what_waits_the_event_at_fault_is_parked_first(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, mentor, other = uuid4(), uuid4(), uuid4()
    by_mentor, by_other = (_first_of(key) for key in (mentor, other))
    _read(house, _fact("matching", client, 1))
    _read(house, _fact("matching", client, 2, by_mentor))
    _read(house, _fact("notifications", client, 1, by_other))
    assert (2, 1) == (_count(house, "early"), _count(house, "inbox"))
    monkeypatch.setattr(inbox, "opened", _unreadable)

    _read(house, _fact("notifications", mentor, 1))

    [first, *_] = parking.waiting_records(house.intake, client)
    assert b"/matching" == dict(first.headers)["ce_source"]


def test_what_is_given_up_before_its_turn_counts_as_applied_in_its_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, mentor = _one_that_waits(house)
    _read(house, _fact("matching", client, 2))

    def second_fails(work: Work, one: Arrived) -> Arrived:
        return _unreadable(work, one) if one.envelope and one.envelope.seq == 2 else one

    monkeypatch.setattr(inbox, "opened", second_fails)
    _read(house, _fact("notifications", mentor, 1))
    assert [2] == [one.events for one in parking.listed(house.intake)]

    assert releasing.close(house.intake, client, because="not_ours")
    _read(house, _fact("matching", client, 3))

    assert (0, 4) == (_count(house, "early"), _count(house, "inbox"))


def test_what_came_beside_an_early_event_that_fails_waits_behind_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = uuid4()
    awaited = _first_of(client)
    _read(house, _fact("matching", client, 1, awaited))
    monkeypatch.setattr(inbox, "opened", _unreadable)

    _read(house, _fact("notifications", client, 1))

    waiting = parking.waiting_records(house.intake, client)
    sources = [dict(record.headers)["ce_source"] for record in waiting]
    assert [b"/matching", b"/notifications"] == sources
    assert releasing.close(house.intake, client, because="unreadable")
    assert (0, 2) == (_count(house, "early"), _count(house, "inbox"))


def test_a_key_that_is_parked_while_its_subject_is_erased_is_let_go_like_any_other(
    house: House,
) -> None:
    client = uuid4()
    with house.intake.engine.begin() as conn:
        inbox = Inbox(Work(house.intake, conn, new_traceparent()), [], freed=[client])
        _park(house, client)

        inbox.forget(client)

        assert {client} == inbox.let_go


def test_what_is_put_behind_a_key_while_its_subject_is_erased_counts_as_applied(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = uuid4()
    _park(house, client)

    def erase() -> None:
        def command(work: Work) -> Iterable[Event]:
            releasing.forget(work, client)
            return ()

        house.intake.transact(command)

    other = _beside(monkeypatch, subscriber, "batch.written", erase)
    _read(house, _fact("matching", client, 1))
    other.join()

    assert [0, 0] == [_count(house, table) for table in ("parked_key", "parked_event")]
    assert 1 == _count(house, "inbox")


def test_a_key_that_is_parked_again_is_let_go_by_nobody_meanwhile(house: House) -> None:
    client = uuid4()
    _park(house, client)
    one = Arrived(record=_fact("matching", client, 1), key=client, envelope=None, event=None)

    with house.intake.engine.begin() as conn:
        inbox = Inbox(Work(house.intake, conn, new_traceparent()), [])
        assert not inbox.park(one, Failure(handler="x", error="y"))
        with house.intake.engine.begin() as other, pytest.raises(OperationalError, match="lock"):
            other.execute(text("SELECT 1 FROM parked_key FOR UPDATE NOWAIT"))


def test_one_that_nothing_can_park_keeps_nobody_else_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = _some_that_are_ready(house)
    write = Inbox.flush

    def fails(inbox: Inbox) -> None:
        if any(one.key == clients[1] for one in (*inbox._applied, *inbox._behind)):
            raise ValueError("planted")
        write(inbox)

    monkeypatch.setattr(Inbox, "flush", fails)

    with pytest.raises(ValueError, match="planted"):
        Releasing(house.intake).step()

    assert (1, 3) == (_count(house, "early"), _count(house, "inbox"))


def test_when_all_that_is_ready_fails_it_is_set_aside_no_more_until_something_succeeds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _some_that_are_ready(house, 13)
    releasing = Releasing(house.intake)

    def fails(inbox: Inbox) -> None:
        if inbox._applied:
            raise LookupError
        write(inbox)

    write = Inbox.flush
    with monkeypatch.context() as failing:
        failing.setattr(Inbox, "flush", fails)
        for _ in range(3):
            with pytest.raises(Blown):
                releasing.step()
    assert (10, True) == (_count(house, "parked_key"), releasing._fuse.is_blown)
    assert 3 == _count(house, "early")

    releasing.step()

    assert (10, False) == (_count(house, "parked_key"), releasing._fuse.is_blown)
    assert 0 == _count(house, "early")


def test_what_waits_by_right_keeps_no_fuse_blown(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = _some_that_are_ready(house, 11)
    _one_that_waits(house)
    house.clock.move(seconds=3)
    releasing, write = Releasing(house.intake), Inbox.flush

    def fails(inbox: Inbox) -> None:
        if inbox._applied:
            raise LookupError
        write(inbox)

    monkeypatch.setattr(Inbox, "flush", fails)
    with pytest.raises(Blown):
        releasing.step()
    assert releasing._fuse.is_blown
    with house.intake.engine.begin() as conn:
        conn.execute(EARLY.delete().where(EARLY.c.key.in_(clients)))
    assert 1 == _count(house, "early")

    releasing.step()

    assert not releasing._fuse.is_blown


def test_what_still_waits_is_left_as_it_is(house: House) -> None:
    _one_that_waits(house)
    before = house.rows("intake", "SELECT * FROM early")
    house.clock.move(minutes=1)

    Releasing(house.intake).step()

    assert before == house.rows("intake", "SELECT * FROM early")


def test_what_cannot_be_opened_when_its_turn_comes_parks_its_key(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, mentor = _one_that_waits(house)
    monkeypatch.setattr(inbox, "opened", _unreadable)

    _read(house, _fact("notifications", mentor, 1))

    assert [(client, "KeyAbsent")] == [(one.key, one.error) for one in parking.listed(house.intake)]
    monkeypatch.undo()
    assert releasing.replay(house.intake, client)
    assert (0, 2) == (_count(house, "early"), _count(house, "inbox"))


@pytest.mark.parametrize("first", ["read", "replay"])
def test_what_comes_while_its_key_is_replayed_is_applied_with_it_or_after_it(
    house: House, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    client = uuid4()
    _park(house, client)
    _read(house, _fact("matching", client, 1))
    second = _fact("matching", client, 2)

    def read() -> None:
        _read(house, second)

    def replay() -> None:
        releasing.replay(house.intake, client)

    if first == "read":
        other = _beside(monkeypatch, subscriber, "batch.written", replay)
        read()
    else:
        other = _beside(monkeypatch, releasing, "parked.freed", read)
        replay()
    other.join()
    house.clock.move(seconds=3)
    Releasing(house.intake).step()

    left = [_count(house, table) for table in ("parked_key", "parked_event", "early")]
    assert [0, 0, 0] == left
    assert 2 == len(house.rows("intake", "SELECT 1 FROM inbox WHERE key = :key", key=client))


def test_a_replay_that_fails_while_it_is_written_is_counted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = uuid4()
    _park(house, client)
    monkeypatch.setattr(Inbox, "flush", _cannot_be_written)

    assert not releasing.replay(house.intake, client)
    assert (
        Failure(handler="writing", error="ValueError")
        == releasing.rehearse(house.intake, client).failure
    )
    with pytest.raises(parking.HandlerFailed):
        releasing.close(house.intake, client, because="not_ours")
    [left] = parking.listed(house.intake)
    assert (2, "told", "ValueError") == (left.attempts, left.handler, left.error)


def _cannot_be_written(inbox: Inbox) -> None:
    raise ValueError


class _Fussy:
    """Intake, whose handler of replies cannot make anything of some meanings."""

    def __init__(self, house: House, *bad: str) -> None:
        self.bad = set(bad)
        self.took: list[str] = []
        self.participant = replace(house.intake, on={ReplyReceived: [self._handle]})
        self.client = uuid4()

    def _handle(self, event: ReplyReceived, work: Work) -> Iterable[Event]:
        if event.meaning in self.bad:
            raise LookupError
        self.took.append(event.meaning)
        return ()

    def reads(self, seq: int, meaning: str, *after: After) -> None:
        """A client's reply comes, as the event of this number."""
        reply = ReplyReceived(
            subject_id=self.client,
            reply_id=uuid4(),
            sender="client",
            sender_id=self.client,
            meaning=meaning,
            channel="sms",
            received_at=MORNING,
        )
        fact = _fact("notifications", self.client, seq, *after, event=reply)
        Subscriber(self.participant, _reading([[fact]])).step()

    def replay(self) -> bool:
        """Whether all goes on now; what was taken in vain is forgotten."""
        goes_on = releasing.replay(self.participant, self.client, by="ops")
        self.took = []
        return goes_on


def test_of_two_events_of_one_type_the_one_at_fault_is_given_up(house: House) -> None:
    fussy = _Fussy(house, "start", "help")
    for seq, meaning in enumerate(("start", "stop", "help", "yes"), start=1):
        fussy.reads(seq, meaning)
    fussy.bad = {"help"}
    assert not fussy.replay()

    assert releasing.close(fussy.participant, fussy.client, because="not_wanted")

    assert ["start", "stop", "yes"] == fussy.took
    assert [] == parking.listed(house.intake)
    assert 4 == _count(house, "inbox")


def test_an_early_event_that_fails_once_its_key_goes_on_can_be_given_up(house: House) -> None:
    """It is not among those that wait behind the parked key."""
    fussy, mentor = _Fussy(house, "help"), uuid4()
    fussy.reads(1, "help", _first_of(mentor))
    _park(house, fussy.client)
    _read(house, _fact("notifications", mentor, 1))
    _read(house, _fact("matching", fussy.client, 1))
    fussy.reads(2, "yes")
    assert not fussy.replay()
    [parked] = parking.listed(house.intake)
    assert ("ReplyReceived", 2) == (parked.handler, parked.events)

    assert releasing.close(fussy.participant, fussy.client, because="not_wanted")

    assert ["yes"] == fussy.took
    assert ([], 0) == (parking.listed(house.intake), _count(house, "early"))
    assert 4 == _count(house, "inbox")


def test_a_replay_in_vain_says_nothing_of_what_is_parked_anew_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, flush = uuid4(), Inbox.flush
    _park(house, client)

    def tells(error: Exception) -> Failure:
        """Between the replay and what is written of it, another lets the key go, and it fails."""
        with monkeypatch.context() as mended:
            mended.setattr(Inbox, "flush", flush)
            assert releasing.close(house.intake, client, because="not_ours")
        house.clock.move(seconds=1)
        _park(house, client)
        return Failure(handler="writing", error="ValueError")

    monkeypatch.setattr(Inbox, "flush", _cannot_be_written)
    monkeypatch.setattr(parking, "failure_of", tells)

    assert not releasing.replay(house.intake, client)

    [left] = parking.listed(house.intake)
    assert (1, "told", "LookupError") == (left.attempts, left.handler, left.error)


def test_a_number_that_is_used_twice_sets_the_subject_aside(house: House) -> None:
    client, other = uuid4(), uuid4()
    first, second = _fact("matching", client, 1), _fact("matching", client, 1)
    behind, elsewhere = _fact("matching", client, 2), _fact("matching", other, 1)

    for fact in (first, first, second, behind, elsewhere):
        # Each on a topic of its own, as if the topic had been made again.
        _read(house, _again(fact))

    assert [(client, "Conflict", 2)] == [
        (one.key, one.error, one.events) for one in parking.listed(house.intake)
    ]
    assert (2, 0) == (_count(house, "inbox"), _count(house, "early"))
    releasing.close(house.intake, client, because="not_ours")
    assert 3 == _count(house, "inbox")


def test_two_early_events_in_one_place_set_the_subject_aside(house: House) -> None:
    client = uuid4()
    first, second = _fact("matching", client, 2), _fact("matching", client, 2)

    for fact in (first, first, second):
        _read(house, _again(fact))

    assert ["Conflict"] == [one.error for one in parking.listed(house.intake)]
    assert 1 == _count(house, "early")


def test_a_database_that_is_behind_the_brokers_hint_is_read_up(center: House) -> None:
    center.register()
    before = _count(center, "inbox")
    with center.intake.engine.begin() as conn:
        # As after a restore: what was applied last is gone, and with it how far the topics were.
        for table in ("inbox", "cursor", "stored_offset", "step"):
            conn.execute(text(f"DELETE FROM {table}"))

    center.restart("intake")
    center.settle()

    assert before == _count(center, "inbox")


def _park(house: House, key: UUID) -> None:
    """A command about this key fails, so that it is parked without a record."""

    def fails(work: Work) -> Iterable[Event]:
        raise LookupError

    parking.attempt(house.intake, key, "told", fails, Fuse("told", 1))
    assert 1 == _count(house, "parked_key")


def _meanwhile(
    monkeypatch: pytest.MonkeyPatch, where: Any, point: str, act: Callable[[], None]
) -> None:
    """Let something happen when a piece of work first comes to a point, before it goes on."""
    come = [point]

    def reached(name: str, *given: object) -> None:
        if name in come:
            come.remove(name)
            act()

    monkeypatch.setattr(where, "reached", reached)


def _beside(
    monkeypatch: pytest.MonkeyPatch, where: Any, point: str, act: Callable[[], None]
) -> Thread:
    """Let something begin, and come as far as it can, when a piece of work comes to a point."""
    other = Thread(target=act)

    def begin() -> None:
        other.start()
        other.join(0.5)

    _meanwhile(monkeypatch, where, point, begin)
    return other


def test_a_record_that_cannot_be_read_parks_the_discharge_and_asks_for_its_facility(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = center.register(facility="south")
    client = UUID(story["client_id"])
    cursor = "SELECT seq FROM cursor WHERE producer = 'matching' AND key = :client"
    [row] = center.rows("intake", cursor, client=client)
    with monkeypatch.context() as changed:
        changed.setattr(inbox, "opened", _unreadable)

        _read(center, _fact("matching", client, row.seq + 1))

    assert "parked" == center.story(story["id"], "south")["state"]
    [task] = center.tasks("south")
    assert ("parked", story["id"]) == (task["kind"], task["discharge_id"])
    assert [] == center.tasks("north")

    assert releasing.close(center.intake, client, because="unreadable")
    assert "assigned" == center.story(story["id"], "south")["state"]


def _unreadable(work: Work, one: Arrived) -> Arrived:
    """What is sealed cannot be opened any more."""
    early = one.envelope is not None and one.envelope.producer == "matching"
    return replace(one, problem="KeyAbsent") if early else one


def _one_that_waits(house: House) -> tuple[UUID, UUID]:
    """A client of whom an early event waits for the first of a mentor; and that mentor."""
    client, mentor = uuid4(), uuid4()
    _read(house, _fact("matching", client, 1, _first_of(mentor)))
    return client, mentor


def _first_of(key: UUID) -> After:
    return After(key=key, producer="notifications", epoch=1, seq=1)


def _some_that_are_ready(house: House, count: int = 3) -> list[UUID]:
    """Clients of whom an early event waits for nothing, and nobody has seen it."""
    mentor = uuid4()
    awaited = _first_of(mentor)
    clients = [uuid4() for _ in range(count)]
    for client in clients:
        _read(house, _fact("matching", client, 1, awaited))
    early = house.rows("intake", "SELECT * FROM early")
    with house.intake.engine.begin() as conn:
        conn.execute(EARLY.delete())
    _read(house, _fact("notifications", mentor, 1))
    _put_back(house, early)
    house.clock.move(seconds=3)
    return clients


def _put_back(house: House, early: list[Any]) -> None:
    with house.intake.engine.begin() as conn:
        conn.execute(EARLY.insert(), [dict(row._mapping) for row in early])


def _read(house: House, fact: Record) -> None:
    Subscriber(house.intake, _reading([[fact]])).step()


def _fact(producer: str, key: UUID, seq: int, *after: After, event: Event | None = None) -> Record:
    """A fact, by itself of a type that intake does not know yet: nothing follows from it."""
    envelope = Envelope(
        event_id=uuid4(),
        type=type_of(event) if event else "SomethingNew",
        at=MORNING,
        producer=producer,
        epoch=1,
        seq=seq,
        key=key,
        traceparent=new_traceparent(),
        after=after,
    )
    return Record(
        topic=TOPICS[producer].name,
        topic_id=uuid4(),
        partition=0,
        offset=0,
        key=str(key).encode(),
        value=written(event) if event else b"{}",
        headers=tuple(to_headers(envelope)),
    )


def _reading(logs: list[list[Record]], seed: int = 0) -> Callable[[], InAnyOrder]:
    return lambda: InAnyOrder(logs, random.Random(seed))


def _again(fact: Record) -> Record:
    return replace(fact, topic_id=uuid4())


def _live(house: House, number: int) -> str:
    """One discharge that gets as far as a talk, without intake hearing anything of it."""
    found = house.register_only(
        facility="south", record_number=f"R-{number}", mobile=f"+1503555{9000 + number}"
    )
    house.settle(deaf="intake")
    cards = [one for _, one in house.network.letters if "/messages/card/" in one.text]
    house.text_only(cards[-1].to, "TALKED")
    house.settle(deaf="intake")
    return str(found["id"])


def _read_so_far(house: House, topic: str, partition: int) -> int:
    found = house.rows(
        "intake",
        "SELECT next_offset FROM stored_offset WHERE topic = :topic AND partition = :partition",
        topic=topic,
        partition=partition,
    )
    return int(found[0][0]) if found else 0


def _said_to_intake(house: House) -> int:
    return sum(
        int(house.rows(who, "SELECT count(*) FROM outbox")[0][0])
        for who in ("matching", "notifications")
    )


def _count(house: House, table: str) -> int:
    return int(house.rows("intake", f"SELECT count(*) FROM {table}")[0][0])
