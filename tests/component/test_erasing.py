"""Who is erased cannot be opened any more, hears nothing, and keeps nothing waiting."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, text

from contracts.event import Event
from contracts.intake import ClientDischarged, ClientErased
from contracts.notifications import MentorProfile, MentorProfileGiven
from contracts.parking import KeyParked
from contracts.sealed import Destroyed
from contracts.topics import TOPICS
from messaging import holding, parking, releasing
from messaging.broker import Outgoing, Written
from messaging.fuse import Fuse
from messaging.memory import MemoryBroker, MemoryWriter
from messaging.relay import Relay
from messaging.sealing import Keyring
from messaging.shredding import Shredding
from messaging.unavailable import Unavailable
from messaging.work import Participant, Work
from services.intake import client_pages, entry_pages
from services.matching.coordinating import erase_mentor, set_state
from services.matching.mentors import profile_given
from services.matching.store import Store
from services.notifications.mentors import Contact, MentorDesk
from tests.component.test_offers import HEADER, _mentor
from tests.component.test_staff_pages import post
from tests.house import House
from tests.kept import keep, put_back


@pytest.fixture(autouse=True)
def _all_holds(center: House) -> Iterator[None]:
    """Whatever was erased, what is promised of everybody still holds."""
    yield
    center.clock.move(minutes=2)
    center.settle()
    found = center.violated()
    center.begin_first_epochs()
    assert {} == found


CLIENT = "+15035550123"


#: What there is to a discharge beside its page.
PAGES = ("/sheet", "/contact", "/correct", "/cancel", "/stop")


def _client_of(center: House, story: dict[str, Any]) -> UUID:
    return UUID(story["client_id"])


def _erase(center: House, client: UUID) -> None:
    assert center.desk.erase(client, by="ops", because="asked")


def _keys(center: House, query: str) -> list[Any]:
    owner = create_engine(center.settings["KEYS_OWNER_URL"])
    with owner.begin() as conn:
        found = conn.execute(text(query))
        rows = list(found) if found.returns_rows else []
    owner.dispose()
    return rows


def _left(center: House, client: UUID) -> set[str]:
    """The purposes for which there still is a key of this client."""
    return {
        purpose
        for purpose in ("identity", "about", "contact", "record")
        for _ in _keys(
            center,
            f"SELECT 1 FROM key_{purpose} WHERE person = '{client}' AND wrapped IS NOT NULL",
        )
    }


def test_what_is_known_of_a_client_cannot_be_opened_any_more(center: House) -> None:
    story = center.register(facility="south")
    client, said = _client_of(center, story), len(center.network.to(CLIENT))

    _erase(center, client)
    center.settle()
    center.clock.move(hours=72)
    center.settle()

    assert {"record"} == _left(center, client)
    assert said == len(center.network.to(CLIENT))
    after = center.story(story["id"], "south")
    assert ("closed", "erased") == (after["state"], after["closed_because"])
    assert [] == center.tasks("south")
    [ended] = center.rows("matching", "SELECT state, end_reason FROM assignment")
    assert ("ended", "erased") == (ended.state, ended.end_reason)
    [person] = center.rows("notifications", "SELECT * FROM person WHERE kind = 'client'")
    assert ("erased", None, None) == (person.state, person.mobile_token, person.email_token)
    assert 0 == center.rows("intake", "SELECT count(*) FROM search_token")[0][0]
    noted = center.rows("intake", "SELECT by, did FROM audit ORDER BY place DESC LIMIT 1")
    assert [("ops", "erased")] == [tuple(row) for row in noted]


def test_whoever_is_erased_may_write_before_their_key_is_destroyed(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = center.register(facility="south")
    center.text_only(CLIENT, "help")
    with monkeypatch.context() as late:
        late.setattr(Keyring, "destroy", lambda keyring, persons: 0)
        _erase(center, _client_of(center, story))
        for loop in ("intake relay", "matching consumer"):
            center.loops()[loop].step()
        center.settle()

    for service in center.participants:
        assert [] == parking.listed(center.participants[service])


def test_what_waits_to_leave_does_not(center: House) -> None:
    center.clock.move(hours=11)
    story = center.register(facility="south")
    assert [] == center.network.to(CLIENT)

    _erase(center, _client_of(center, story))
    center.clock.move(hours=24)
    center.settle()

    assert [] == center.network.to(CLIENT)
    states = center.rows("notifications", "SELECT state FROM message WHERE recipient = 'client'")
    assert {"suppressed"} == {row.state for row in states}
    assert [] == center.tasks("south")


def _assert_told_by_the_morning(center: House) -> None:
    """The mentor hears that it is over, once it is day for them."""
    center.clock.move(hours=10)
    center.settle()
    query = "SELECT state FROM message WHERE purpose = 'ended_for_mentor'"
    assert ["handed_over"] == [row.state for row in center.rows("notifications", query)]


def test_a_mentor_whose_client_is_erased_at_night_hears_of_it_in_the_morning(
    center: House,
) -> None:
    story = center.register(facility="south")
    center.clock.move(hours=14)

    center.desk.erase(UUID(story["client_id"]), by="ops", because="asked")
    center.settle()
    _assert_told_by_the_morning(center)


def test_a_talk_that_is_heard_of_after_the_erasure_takes_nothing_back(center: House) -> None:
    story = center.register(facility="south")
    [one] = center.rows("notifications", "SELECT id, mentor_id FROM assignment")
    center.clock.move(hours=14)
    center.settle()
    talked = Contact(way="call", talked=True, happened_at=center.clock.now(), next_step="")
    MentorDesk(participant=center.notifications).record(one.mentor_id, one.id, talked, once=uuid4())
    center.run("notifications relay", "matching consumer")
    center.desk.erase(UUID(story["client_id"]), by="ops", because="asked")
    center.run("intake relay", "notifications consumer", "matching relay", "notifications consumer")
    over = center.rows("notifications", "SELECT state FROM assignment")
    assert ["ended"] == [row.state for row in over]

    center.settle()
    _assert_told_by_the_morning(center)


def test_the_same_record_number_is_somebody_new(center: House) -> None:
    before = center.register(facility="south")
    _erase(center, _client_of(center, before))
    center.settle()

    again = center.register(facility="south")

    assert before["client_id"] != again["client_id"]
    assert "assigned" == again["state"]


def test_their_phone_is_a_stranger_s(center: House) -> None:
    story = center.register(facility="south")
    _erase(center, _client_of(center, story))
    center.settle()

    center.text(CLIENT, "thank you")

    [reply] = center.rows("notifications", "SELECT person_id FROM reply")
    assert reply.person_id is None


def test_pages_and_stories_of_the_erased_still_open(center: House) -> None:
    story = center.register(facility="south")
    client = _client_of(center, story)
    _erase(center, client)
    center.settle()
    staff, ops = center.browser("clerk", "south"), center.browser("operations", "south")
    coordinator = center.browser("coordinator", "south", center.matching_app())

    pages = [
        staff.get("/"),
        staff.get("/clients"),
        *(staff.get(f"/discharges/{story['id']}{page}") for page in ("", *PAGES)),
        ops.get(f"/ops/follow?id={client}"),
        coordinator.get("/matching/"),
        coordinator.get(f"/matching/clients/{client}"),
    ]

    # What could be done about them is not offered any more.
    assert [200] * 4 + [404] * 4 + [200] * 3 == [page.status_code for page in pages]
    assert not [page for page in pages if b"Sam" in page.data]


@pytest.mark.parametrize("deaf", ["matching", "notifications"])
def test_a_service_that_hears_of_them_late_goes_on(center: House, deaf: str) -> None:
    story = center.register_only(facility="south")
    center.settle(deaf=deaf)

    _erase(center, _client_of(center, story))
    center.settle()

    assert 0 == center.rows(deaf, "SELECT count(*) FROM early")[0][0]
    assert [] == parking.listed(center.participants[deaf])
    assert 0 == center.rows(deaf, "SELECT count(*) FROM outbox WHERE published_at IS NULL")[0][0]
    assert "closed" == center.story(story["id"], "south")["state"]
    assert "assigned" == center.register(facility="south", record_number="R-2")["state"]


@pytest.mark.parametrize("service", ["intake", "matching", "notifications"])
def test_what_waits_for_them_is_closed(center: House, service: str) -> None:
    story = center.register(facility="south")
    client = _client_of(center, story)
    _park(center, service, client)
    center.text(CLIENT, "someone else")
    assert [client] == [one.key for one in parking.listed(center.participants[service])]

    _erase(center, client)
    center.settle()

    assert [] == parking.listed(center.participants[service])
    for table in ("parked_event", "early"):
        assert 0 == center.rows(service, f"SELECT count(*) FROM {table}")[0][0]
    assert [] == center.tasks("south")
    released = center.rows(service, "SELECT body FROM outbox WHERE type = 'KeyReleased'")
    assert ["erased"] == [json.loads(row.body)["because"] for row in released]
    assert "closed" == center.story(story["id"], "south")["state"]


def _park(center: House, service: str, key: UUID) -> None:
    """Something of theirs cannot be handled in this service."""

    def fails(work: Work) -> Iterable[Any]:
        raise LookupError

    if service == "intake":
        parking.attempt(center.intake, key, "told", fails, Fuse("told", 1))
    else:
        spoilt = Outgoing(topic=TOPICS["intake"].name, key=str(key).encode(), value=b"", headers=[])
        center.broker.writer().send([spoilt])
    center.settle()


@pytest.mark.parametrize("facility", ["north", "south"])
def test_what_matching_says_of_an_erasure_before_it_is_known_ends_it_all_the_same(
    center: House, facility: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "LOOK_EVERY_SECONDS", 0.0)
    client = _client_of(center, center.register(facility=facility))
    engine, topic = center.notifications.engine, TOPICS["intake"].name
    begun = [row.state for row in center.rows("notifications", "SELECT state FROM assignment")]
    holding.hold(engine, topic, by="ops", because="a trial", now=center.clock.now())
    _erase(center, client)
    center.settle()
    early = center.rows("notifications", "SELECT key FROM early")
    holding.let_go(engine, topic, now=center.clock.now())
    center.settle()

    assert ([{"north": "offered", "south": "assigned"}[facility]], [(client,)]) == (begun, early)
    ended = center.rows("notifications", "SELECT state FROM assignment")
    asked = center.rows("notifications", "SELECT state FROM question WHERE state <> 'closed'")
    assert ([("ended",)], []) == (ended, asked)


@pytest.mark.parametrize("service", ["matching", "notifications"])
def test_an_erasure_that_fails_waits_behind_what_is_parked_already(
    center: House, service: str
) -> None:
    mended = _let_fail(center, service, ClientDischarged, ClientErased)
    client = _client_of(center, center.register(facility="south"))
    _erase(center, client)
    center.settle()
    [parked] = parking.listed(mended)
    _work_with(center, mended)
    other = center.register(facility="south", record_number="R-2", mobile="+15035550177")

    assert client == parked.key
    assert "assigned" == other["state"]
    assert releasing.replay(mended, client, by="ops")
    center.settle()
    assert [] == parking.listed(mended)
    assert {"record"} == _left(center, client)


def _let_fail(center: House, service: str, *types: type[Event]) -> Participant:
    """A service whose handlers of these fail from now on; what it is once that is mended."""

    def fails(event: Event, work: Work) -> Iterable[Event]:
        raise KeyError("mended later")

    mended: Participant = center.participants[service]
    broken = {one: [fails] for one in types}
    _work_with(center, replace(mended, on={**mended.on, **broken}))
    return mended


def _work_with(center: House, participant: Participant) -> None:
    setattr(center, participant.name, participant)
    center.participants[participant.name] = participant
    center.restart(participant.name)


def test_an_erasure_that_has_failed_goes_before_what_can_never_be_read(center: House) -> None:
    client = _client_of(center, center.register(facility="south"))
    _park(center, "matching", client)
    mended = _let_fail(center, "matching", ClientErased)
    _erase(center, client)
    center.settle()
    assert not releasing.replay(center.matching, client, by="ops")
    _work_with(center, mended)

    assert {"AssignmentEnded": 1} == releasing.rehearse(mended, client).says
    assert releasing.replay(mended, client, by="ops")
    center.settle()

    assert [] == parking.listed(mended)
    _assert_erased(center, client)


def test_an_erasure_that_has_failed_and_comes_again_is_applied(center: House) -> None:
    """It is among what waits for whoever it erases."""
    client = _client_of(center, center.register(facility="south"))
    mended = _let_fail(center, "matching", ClientErased)
    _erase(center, client)
    center.settle()
    assert [client] == [one.key for one in parking.listed(mended)]
    _work_with(center, mended)

    _say_again(center, client)
    center.settle()

    assert [] == parking.listed(mended)
    _assert_erased(center, client)


def _say_again(center: House, client: UUID) -> None:
    """The broker is given what intake has said of an erasure once more."""
    topic, name = TOPICS["intake"].name, ("ce_type", b"ClientErased")
    for number in range(center.broker.partitions):
        for record in list(center.broker.log((topic, number))):
            if record.key == str(client).encode() and name in record.headers:
                again = Outgoing(
                    topic=topic, key=record.key, value=record.value or b"", headers=record.headers
                )
                center.broker.writer().send([again])


@pytest.mark.parametrize("way", ["not taken at first", "lost by a cut"])
def test_an_erasure_that_comes_behind_what_was_said_after_it_is_applied(
    center: House, way: str
) -> None:
    """What intake could not handle of them, it says a moment later; and that may come first."""
    client = _client_of(center, center.register(facility="south"))
    center.loops()["intake relay"].close()
    relay = Relay("intake", center.intake.engine, _NotTaken(center.broker))
    told = KeyParked(
        subject_id=client,
        service="intake",
        handler="AssignmentEnded",
        error="KeyError",
        parked_at=center.clock.now(),
    )

    _erase(center, client)
    if way == "lost by a cut":
        relay.step()
        query = "SELECT published_partition FROM outbox WHERE type = 'ClientErased'"
        center.broker.cut(TOPICS["intake"].name, center.rows("intake", query)[0][0], 1)
    center.intake.transact(lambda work: [told])
    if way == "not taken at first":
        relay = Relay("intake", center.intake.engine, _NotTaken(center.broker, first=1))
        with pytest.raises(Unavailable):
            relay.step()
    relay.step()
    relay.close()
    center.settle()

    _assert_erased(center, client)


class _NotTaken(MemoryWriter):
    """A broker that does not take the first records that it is given, and all others."""

    def __init__(self, broker: MemoryBroker, first: int = 0) -> None:
        super().__init__(broker)
        self._first = first

    def send(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        refused, self._first = records[: self._first], 0
        return [
            *[Unavailable("not taken") for _ in refused],
            *super().send(records[len(refused) :]),
        ]


def _assert_erased(center: House, client: UUID) -> None:
    """Whatever else was said of them, both others have applied it."""
    mine = {"id": client}
    [ended] = center.rows("matching", "SELECT state, end_reason FROM assignment")
    query = "SELECT state, mobile_token FROM person WHERE id = :id"
    [person] = center.rows("notifications", query, **mine)
    assert (("ended", "erased"), ("erased", None)) == (tuple(ended), tuple(person))
    query = "SELECT count(*) FROM inbox WHERE key = :id AND type = 'ClientErased'"
    assert [1, 1] == [
        center.rows(service, query, **mine)[0][0] for service in ("matching", "notifications")
    ]


def test_who_is_no_client_is_not_erased(center: House) -> None:
    assert not center.desk.erase(uuid4(), by="ops", because="asked")


def test_keys_that_a_process_did_not_destroy_any_more_are_destroyed(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _client_of(center, center.register(facility="south"))

    def away(keyring: Keyring, persons: Iterable[UUID]) -> int:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(Keyring, "destroy", away)
        _erase(center, client)
    assert {"identity", "about", "contact", "record"} == _left(center, client)

    Shredding(center.intake).step()

    assert {"record"} == _left(center, client)


def test_keys_that_a_backup_brought_back_are_destroyed_again(center: House) -> None:
    client = _client_of(center, center.register(facility="south"))
    backup = keep(center.settings)
    _erase(center, client)
    put_back(center.settings, backup, ["KEYS_OWNER_URL"])
    assert {"identity", "about", "contact", "record"} == _left(center, client)

    Shredding(center.intake).step()

    assert {"record"} == _left(center, client)


def test_who_was_erased_stays_so_when_everything_is_restored_from_before(center: House) -> None:
    client = _client_of(center, center.register(facility="south"))
    center.notice_restore("intake")
    backup = keep(center.settings)
    _erase(center, client)
    center.settle()
    put_back(center.settings, backup, ["INTAKE_DATABASE_URL", "KEYS_OWNER_URL"])
    center.restart("intake")

    center.notice_restore("intake")
    Shredding(center.intake).step()

    assert {"record"} == _left(center, client)
    assert ["restored"] == [one.handler for one in parking.listed(center.intake)]
    # What was open again is closed by the person who is asked about it.
    _erase(center, client)
    center.settle()
    assert [] == parking.listed(center.intake)


def _mentor_of(center: House) -> tuple[UUID, str]:
    """The mentor of the only assignment, and their phone."""
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment WHERE state <> 'ended'")
    said = [letter for _, letter in center.network.letters if letter.to != CLIENT]
    return row.mentor_id, next(letter.to for letter in said if letter.to.startswith("+"))


@pytest.mark.parametrize("facility", ["south", "north"])
def test_a_mentor_who_is_erased_is_followed_by_another(center: House, facility: str) -> None:
    story = center.register(facility=facility)
    mentor, phone = _mentor_of(center)
    said = len(center.network.to(phone))

    assert erase_mentor(center.matching, mentor, by="ops", because="asked")
    center.settle()
    center.clock.move(hours=1)
    center.settle()

    assert {"record"} == _left(center, mentor)
    assert said == len(center.network.to(phone))
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment WHERE state <> 'ended'")
    assert mentor != row.mentor_id
    assert center.story(story["id"], facility)["state"] in ("offered", "assigned")
    person = "SELECT state, mobile_token, route FROM person WHERE id = :id"
    [known] = center.rows("notifications", person, id=mentor)
    assert ("erased", None, None) == tuple(known)
    named = "SELECT count(*) FROM mentor_name WHERE mentor_id = :id"
    assert 0 == center.rows("intake", named, id=mentor)[0][0]
    center.text(phone, "BACK")
    assert (
        "erased"
        == center.rows("matching", "SELECT state FROM mentor WHERE id = :id", id=mentor)[0][0]
    )


def test_who_is_given_to_a_mentor_while_they_are_erased_is_followed_by_another_too(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.register(facility="south")
    mentor, _ = _mentor_of(center)
    clients_of = Store.clients_of
    seen: list[list[UUID]] = [[]]

    def not_seen_yet(store: Store, mentor_id: UUID) -> list[UUID]:
        return seen.pop() if seen else clients_of(store, mentor_id)

    monkeypatch.setattr(Store, "clients_of", not_seen_yet)

    assert erase_mentor(center.matching, mentor, by="ops", because="asked")

    [row] = center.rows("matching", "SELECT mentor_id FROM assignment WHERE state <> 'ended'")
    assert mentor != row.mentor_id


def test_what_an_erased_mentor_told_of_themselves_changes_nothing_while_their_key_is_there(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.register(facility="south")
    mentor, _ = _mentor_of(center)
    monkeypatch.setattr(Keyring, "destroy", lambda *_: 0)
    assert erase_mentor(center.matching, mentor, by="ops", because="asked")
    told = MentorProfileGiven(
        mentor_id=mentor,
        given_at=center.clock.now(),
        profile=MentorProfile(hours="10:00-12:00", capacity=1),
    )
    row = "SELECT * FROM mentor WHERE id = :id"
    before = center.rows("matching", row, id=mentor)

    center.matching.transact(partial(profile_given, told))

    assert before == center.rows("matching", row, id=mentor)


def test_pages_that_told_of_an_erased_mentor_still_open(center: House) -> None:
    story = center.register(facility="south")
    mentor, _ = _mentor_of(center)
    assert erase_mentor(center.matching, mentor, by="ops", because="asked")
    center.settle()
    coordinator = center.browser("coordinator", "south", center.matching_app())
    clerk = center.browser("clerk", "south")

    pages = [
        coordinator.get("/matching/"),
        coordinator.get(f"/matching/clients/{story['client_id']}"),
        coordinator.get(f"/matching/mentors/{mentor}"),
        clerk.get(f"/discharges/{story['id']}"),
    ]

    assert [200, 200, 404, 200] == [page.status_code for page in pages]


def test_who_is_no_mentor_is_not_erased(center: House) -> None:
    assert not erase_mentor(center.matching, uuid4(), by="ops", because="asked")


@pytest.mark.parametrize("something_comes", [False, True])
def test_whoever_is_let_go_when_their_mentor_is_gone_is_told_that_nobody_is_there(
    center: House, something_comes: bool
) -> None:
    center.load_mentors(HEADER + _mentor("F-1", 1, facilities="north"))
    story = center.register(facility="north", language="fr")
    client_id = UUID(story["client_id"])
    center.park("matching", story["client_id"])
    [row] = center.rows("matching", "SELECT mentor_id FROM assignment")
    erase_mentor(center.matching, row.mentor_id, by="ops", because="asked")
    if something_comes:
        # What waits behind the parked key may say that nobody is needed any more.
        center.load_mentors(HEADER + _mentor("F-2", 2, facilities="north"))
        center.register(facility="north", language="fr", needs=["job"])
        [client] = center.rows("matching", "SELECT state FROM client")
        assert "waiting" == client.state
        center.load_mentors(HEADER + _mentor("F-2", 2, facilities="north", capacity="0"))

    assert releasing.replay(center.matching, client_id)
    center.settle()

    assert "waiting" == center.story(story["id"])["state"]
    assert ["nobody_available"] == [task["kind"] for task in center.tasks()]


def test_nobody_is_looked_for_while_something_of_the_client_waits(center: House) -> None:
    """It may say that they died."""
    story = center.register(facility="south")
    mentor, _ = _mentor_of(center)
    center.park("matching", story["client_id"])

    assert erase_mentor(center.matching, mentor, by="ops", because="asked")
    center.settle()

    standing = "SELECT 1 FROM assignment WHERE state <> 'ended'"
    assert [] == center.rows("matching", standing)
    assert [("waiting",)] == [tuple(r) for r in center.rows("matching", "SELECT state FROM client")]


@pytest.mark.parametrize("form", ["correct", "contact", "stop"])
def test_a_form_that_was_made_before_an_erasure_brings_nobody_back(
    center: House, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure comes between what the page reads and what it asks for."""
    story = center.register(facility="south")
    clerk = center.browser("clerk", "south")
    module = entry_pages if form == "correct" else client_pages
    name = "_known" if form == "correct" else "_client"
    reads = getattr(module, name)

    def known(desk: Any, discharge_id: str) -> Any:
        monkeypatch.setattr(module, name, reads)
        found = reads(desk, discharge_id)
        _erase(center, _client_of(center, story))
        return found

    monkeypatch.setattr(module, name, known)
    given = {"given": "Sam", "family": "Doe", "called": "Sam", "mobile": CLIENT}
    agreed = {"agreed": "text", "obtained_by": "RN", "method": "verbal", "reason": "completed"}
    answer = post(clerk, f"/discharges/{story['id']}/{form}", **given, **agreed)
    center.settle()

    assert 404 == answer.status_code
    [left] = center.rows("intake", "SELECT record_token FROM client")
    assert left.record_token.startswith("erased/")
    assert 0 == center.rows("intake", "SELECT count(*) FROM search_token")[0][0]


def test_what_was_written_about_a_mentor_goes_with_them(center: House) -> None:
    story = center.register(facility="south")
    query = "SELECT mentor_id FROM assignment WHERE client_id = :id"
    [mentor] = center.rows("matching", query, id=UUID(story["client_id"]))
    set_state(center.matching, mentor.mentor_id, active=False)
    center.settle()
    query = "SELECT t.id, f.code FROM task AS t JOIN facility AS f ON f.id = t.facility_id"
    [task] = center.rows("intake", query)
    done = f"/api/tasks/{task.id}/done"
    assert 200 == center.api(task.code).post(done, json={"reason": "Luz is ill"}).status_code

    assert "Luz is ill" == _words(center, mentor.mentor_id)
    erase_mentor(center.matching, mentor.mentor_id, by="ops", because="asked")
    center.settle()

    assert isinstance(_words(center, mentor.mentor_id), Destroyed)


def _words(center: House, person: UUID) -> Any:
    """What stands in the one task that is done, opened as this person's."""
    [row] = center.rows("intake", "SELECT id, done_words FROM task WHERE done_words IS NOT NULL")
    view = center.intake.keyring.view()
    bound = f"task/{row.id}/reason"
    kept = {"purpose": "identity", "person": str(person), "version": 1, "bound": bound}
    return view.open_kept(str, kept | {"box": row.done_words})
