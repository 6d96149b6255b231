"""What operations see: numbers that equal their lists, one story, parked keys, and never a name."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from contracts.event import Event
from contracts.topics import TOPICS
from hosting.accounts import IDLE_FOR
from hosting.sign_in import SEEN_EVERY
from messaging import parking, releasing, replays
from messaging.broker import Outgoing
from messaging.fuse import Fuse
from messaging.inbox import Failure
from messaging.replays import Replaying
from messaging.work import Work
from services.intake.flow import LISTS
from services.notifications.channels import Outcome
from tests.house import House

pytestmark = pytest.mark.usefixtures("no_accounts")

#: In every field that is about a person, something that no page of operations may show.
CANARY = "Canary"
PERSON: dict[str, Any] = {
    "name": {"given": "CanaryGiven", "family": "CanaryFamily", "called": "CanaryCalled"},
    "email": "canary@birds.example.org",
    "wishes": "CanaryWish",
    "level_of_care": "CanaryCare",
    "substances": ["CanarySubstance"],
}


def enter(house: House, number: int, **changes: Any) -> dict[str, Any]:
    """A discharge of somebody who is named in every field."""
    own = {"record_number": f"Canary-{number}", "visit_number": f"CanaryVisit-{number}"}
    return house.register(mobile=f"+150355540{number:02}", **own, **PERSON | changes)


def fill(house: House) -> dict[str, str]:
    """A discharge in every place that operations look at; their ids by where they stand."""
    ids = {"talked": enter(house, 1, facility="south")["id"]}
    cards = [one for _, one in house.network.letters if "/messages/card/" in one.text]
    house.clock.move(minutes=30)
    house.text(cards[-1].to, "TALKED")
    house.clock.move(minutes=10)
    ids["assigned"] = enter(house, 2, facility="south")["id"]
    ids["offered"] = enter(house, 3)["id"]
    ids["held"] = enter(house, 4, born_on=None)["id"]
    ids["waiting"] = enter(house, 5, language="ko")["id"]
    unknown = Outcome(kind="unknown", phase="answer", reason="time_out")
    house.network.outcomes = [unknown]
    ids["unconfirmed"] = enter(house, 6, language="ko")["id"]
    refused = Outcome(kind="rejected", phase="done", reason="not_a_mobile")
    house.network.outcomes = [refused, refused]
    ids["failed"] = enter(house, 7, language="ko", email=None)["id"]
    ids["parked"] = enter(house, 8, language="ko")["id"]
    for service in ("matching", "notifications"):
        park(house, service, ids["parked"])
    house.settle()
    received = house.register_only(record_number="Canary-9", visit_number="V", **PERSON)
    house.clock.move(minutes=20)
    house.settle(deaf="matching")
    # Nobody has heard of the last one yet.
    unheard = house.register_only(record_number="Canary-10", visit_number="V", **PERSON)
    return ids | {"received": received["id"], "unwelcomed": unheard["id"]}


def client_of(house: House, discharge_id: str) -> UUID:
    """The key of a discharge's events."""
    [(key,)] = house.rows("intake", f"SELECT client_id FROM discharge WHERE id = '{discharge_id}'")
    return key


def park(house: House, service: str, discharge_id: str, name: str = "told") -> UUID:
    """A command about this client fails in a service."""

    def fails(work: Work) -> Iterable[Event]:
        raise LookupError(CANARY)

    key = client_of(house, discharge_id)
    parking.attempt(house.participants[service], key, name, fails, Fuse("told", 1))
    return key


def seen(answer: Any) -> str:
    """The page of an answer that is one."""
    assert 200 == answer.status_code, answer.get_data(as_text=True)
    return str(answer.get_data(as_text=True))


def send(browser: FlaskClient, page: str, path: str, **form: Any) -> Any:
    """Send a form as its page would: with the session's token."""
    found = re.search(r'name="form_token" value="(\w+)"', seen(browser.get(page)))
    return browser.post(path, data={**form, "form_token": found[1] if found else ""})


def test_every_number_is_the_length_of_the_list_that_it_opens(center: House) -> None:
    fill(center)
    browser = center.browser("operations")

    page = seen(browser.get("/ops/"))

    numbers = dict(re.findall(r'<a href="/ops/list/(\w+)"><strong>(\d+)</strong>', page))
    numbers |= dict(re.findall(r'<a href="/ops/list/(entered)">(\d+)</a>', page))
    assert set(LISTS) == set(numbers)
    for name, count in numbers.items():
        listed = seen(browser.get(f"/ops/list/{name}"))
        assert int(count) == listed.count('href="/ops/follow?id='), name
        assert f": {count}</h1>" in listed, name
    assert [] == [name for name, count in numbers.items() if count == "0"]
    assert "10" == numbers["entered"]
    assert ("2", "1") == (numbers["received"], numbers["unwelcomed"])


def test_each_hour_opens_what_was_entered_in_it(center: House) -> None:
    for number, hours in enumerate((0, 3, 0)):
        center.clock.move(hours=hours)
        enter(center, number)
    browser = center.browser("operations")

    page = seen(browser.get("/ops/"))

    hours = re.findall(r'<a href="(/ops/list/entered\?hour=[^"]+)">(\d+)<', page)
    assert ["1", "2"] == [count for _, count in hours]
    for address, count in hours:
        assert int(count) == seen(browser.get(address)).count('href="/ops/follow?id=')
    assert 24 == page.count("<rect ")
    assert 404 == browser.get("/ops/list/entered?hour=noon").status_code


def test_what_was_entered_before_the_last_day_is_not_in_it(center: House) -> None:
    enter(center, 1)
    center.clock.move(hours=25)

    page = seen(center.browser("operations").get("/ops/"))

    assert 'href="/ops/list/entered">0</a>' in page
    assert "Nothing was entered in the last 24 hours." in page


def test_durations_are_told_from_entering_for_seven_days(center: House) -> None:
    fill(center)
    browser = center.browser("operations")

    page = seen(browser.get("/ops/"))
    center.clock.move(days=8)
    later = seen(browser.get("/ops/"))

    assert "p50 30 min, p95 30 min" in page
    assert '<a href="/ops/list/voices"><strong>1</strong>' in page
    assert "30 min</td>" in seen(center_list(center, "voices", days=-8))
    assert '<a href="/ops/list/voices"><strong>0</strong>' in later


def center_list(house: House, name: str, **moved: float) -> Any:
    """A list as it was at another time."""
    house.clock.move(**moved)
    return house.browser("operations").get(f"/ops/list/{name}")


def test_a_list_is_shown_in_pages(center: House) -> None:
    for number in range(3):
        enter(center, number, born_on=None)
    browser = center.browser("operations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.intake.flow.PAGE", 2)
        patch.setattr("services.intake.flow_pages.PAGE", 2)
        first, second = (seen(browser.get(f"/ops/list/held?page={page}")) for page in (1, 2))

    assert (2, 1) == tuple(page.count('href="/ops/follow?id=') for page in (first, second))
    assert "Page 1 of 2" in first
    assert 'href="/ops/list/held?page=2"' in first


def test_an_overdue_offer_is_said_to_be(center: House) -> None:
    found = enter(center, 1)
    center.clock.move(hours=3)
    browser = center.browser("operations")

    assert "1 overdue" in seen(browser.get("/ops/"))
    assert "overdue" in seen(browser.get("/ops/list/offered"))
    assert "overdue since" in seen(browser.get(f"/ops/follow?id={found['id']}"))


def test_one_discharge_is_followed_by_any_id(center: House) -> None:
    ids = fill(center)
    browser, key = center.browser("operations"), client_of(center, ids["talked"])
    ways = {
        "a discharge": [ids["talked"]],
        "a client": [key],
        "a message or an assignment": [
            _first(center, "notifications", "SELECT id FROM message WHERE subject_id = :key", key),
            _first(center, "matching", "SELECT id FROM assignment WHERE client_id = :key", key),
        ],
        "an event": [
            _first(center, service, "SELECT event_id FROM outbox WHERE key = :key", key)
            for service in center.participants
        ],
    }

    for what, given in ways.items():
        for one in given:
            page = seen(browser.get(f"/ops/follow?id={one}"))
            assert f"This is the id of {what}." in page
            assert f'Discharge <span class="wh-id">{ids["talked"]}</span>' in page


def _first(house: House, service: str, query: str, key: UUID) -> str:
    return str(house.rows(service, query, key=key)[0][0])


def test_every_hop_is_told_once_with_its_place(center: House) -> None:
    ids = fill(center)
    key = client_of(center, ids["talked"])

    page = seen(center.browser("operations").get(f"/ops/follow?id={key}"))

    said = [
        (service, *row)
        for service in center.participants
        for row in center.rows(
            service,
            "SELECT event_id, published_partition, published_offset FROM outbox WHERE key = :key",
            key=key,
        )
    ]
    assert len(said) > 5
    for service, event_id, partition, offset in said:
        assert 1 == page.count(f'<span class="wh-id">{event_id}</span>'), service
        assert f"{service}-events/{partition}/{offset}" in page
    assert "attempt: 1" in page
    assert page.count('hx-trigger="load"') == 3
    unsent = center.register_only(record_number="R-1", visit_number="V")["id"]
    page = seen(center.browser("operations").get(f"/ops/follow?id={unsent}"))
    assert "not published yet" in page


def test_what_is_not_known_is_asked_again_with_the_reason(center: House) -> None:
    browser = center.browser("operations")

    bare, nobody, wrong = (
        browser.get(f"/ops/follow{query}") for query in ("", f"?id={uuid4()}", "?id=R-1001<b>")
    )

    assert "There is a problem" not in seen(bare)
    assert (404, 422) == (nobody.status_code, wrong.status_code)
    assert "Nothing is known by this id" in nobody.get_data(as_text=True)
    assert 'value="R-1001&lt;b&gt;"' in wrong.get_data(as_text=True)


def test_failed_and_unconfirmed_messages_are_grouped_by_cause(center: House) -> None:
    fill(center)
    browser = center.browser("operations")

    page = seen(browser.get("/ops/messages"))

    assert "Unconfirmed, sms: answer:time_out (1)" in page
    assert "Failed, sms: not_a_mobile (1)" in page
    for message_id in re.findall(r"/ops/follow\?id=([\w-]+)", page):
        assert "a message or an assignment" in seen(browser.get(f"/ops/follow?id={message_id}"))
    with center.intake.engine.begin() as conn:
        conn.execute(text("UPDATE task SET done_at = now() WHERE kind LIKE 'message_%'"))
    assert "No message has failed" in seen(browser.get("/ops/messages"))


SIDES = {"intake": "", "matching": "/matching", "notifications": "/messages"}


def side(house: House, service: str) -> Flask:
    """A service's web."""
    apps = {"matching": house.matching_app, "notifications": house.notifications_app}
    return apps.get(service, house.intake_app)()


def replay_all(house: House, service: str) -> None:
    """Let the service's worker do what was asked for."""
    loop = Replaying(house.participants[service], pause_seconds=0)
    while loop.step():
        pass


@pytest.mark.parametrize("service", SIDES)
def test_parked_keys_are_grouped_replayed_and_given_up(center: House, service: str) -> None:
    found = [enter(center, number)["id"] for number in range(3)]
    keys = [park(center, service, one) for one in found]
    alone = park(center, service, enter(center, 3)["id"], name="other")
    browser = center.browser("administrator", app=side(center, service))
    at = f"{SIDES[service]}/ops/parked"

    page = seen(browser.get(at))
    one = send(browser, at, f"{at}/replay", key=keys[0])
    group = send(browser, at, f"{at}/replay-all", handler="told", error="LookupError")
    other = send(browser, at, f"{at}/replay-all")
    under_way = seen(browser.get(group.location))
    replay_all(center, service)
    ended = seen(browser.get(at))
    unsaid = send(browser, at, f"{at}/close", key=alone, seen=version(center, service, alone))
    given_up = send(
        browser,
        at,
        f"{at}/close",
        key=alone,
        because="not_ours",
        seen=version(center, service, alone),
    )

    assert "4 parked" in page
    assert "<p>3 parked; the oldest" in page
    assert f"{at}?released=1&failed=0" == one.location
    assert (f"{at}?begun=1&busy=0", f"{at}?begun=0&busy=1") == (group.location, other.location)
    assert "A replay is under way of told: LookupError" in under_way
    assert "0 released, 0 failed again, 2 left" in under_way
    assert "The last replay of told: LookupError" in ended
    assert "2 released, 0 failed again, 0 left" in ended
    assert 422 == unsaid.status_code
    assert "Choose why it is given up." in unsaid.get_data(as_text=True)
    assert f"{at}?closed=1&unchanged=0" == given_up.location
    assert "Given up, with what waited behind it applied: 1." in seen(
        browser.get(given_up.location)
    )
    assert "Nothing is parked here" in seen(browser.get(at))
    who = center.rows(service, "SELECT body FROM outbox WHERE type = 'KeyReleased' ORDER BY seq")
    released = [json.loads(body) for (body,) in who]
    assert 4 == len(released)
    assert all(UUID(one["by"]) for one in released)
    assert 1 == sum(one["because"] == "not_ours" for one in released)


def test_a_replay_can_be_tried_without_effect(center: House) -> None:
    story = enter(center, 1)
    key = park(center, "matching", story["id"])
    center.api().post(f"/api/discharges/{story['id']}/cancel")
    center.settle()
    before = [center.rows("matching", f"SELECT count(*) FROM {t}")[0][0] for t in KEPT]
    browser, at = center.browser("operations", app=center.matching_app()), "/matching/ops/parked"

    page = send(browser, at, f"{at}/try", key=key).get_data(as_text=True)
    found = releasing.rehearse(center.matching, key)

    assert "It would be applied and released, and say: AssignmentEnded (1)" in page
    assert {"AssignmentEnded": 1} == found.says
    assert before == [center.rows("matching", f"SELECT count(*) FROM {t}")[0][0] for t in KEPT]
    assert [1] == [one.attempts for one in parking.listed(center.matching)]


def test_a_try_tells_how_a_replay_would_fail(center: House) -> None:
    key, topic = uuid4(), TOPICS["intake"].name
    spoilt = Outgoing(topic=topic, key=str(key).encode(), value=b"", headers=[])
    center.broker.writer().send([spoilt])
    center.settle()

    before = parking.listed(center.matching)
    found = releasing.rehearse(center.matching, key)

    assert Failure(handler="reading", error="BadEnvelope") == found.failure
    assert before == parking.listed(center.matching)


KEPT = ("outbox", "inbox", "parked_event", "parked_key", "timer")


def version(house: House, service: str, key: UUID) -> str:
    """What the form to give a key up carries."""
    listed = parking.listed(house.participants[service])
    return next((one.seen for one in listed if one.key == key), "")


def test_two_people_at_once_release_once(center: House) -> None:
    key = park(center, "matching", enter(center, 1)["id"])
    at, was = "/matching/ops/parked", version(center, "matching", key)
    browsers = [center.browser(role, app=center.matching_app()) for role in ("operations",) * 4]
    token = re.search(r'name="form_token" value="(\w+)"', seen(browsers[0].get(at)))
    tokens = [
        re.search(r'name="form_token" value="(\w+)"', seen(one.get(at)))[1]  # type: ignore[index]
        for one in browsers
    ]
    assert token

    def press(browser: FlaskClient, token: str, action: str) -> None:
        form = {"form_token": token, "key": str(key), "because": "not_ours", "seen": was}
        assert 303 == browser.post(f"{at}/{action}", data=form).status_code

    actions = ("close", "replay", "close", "replay")
    threads = [
        threading.Thread(target=press, args=args)
        for args in zip(browsers, tokens, actions, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    released = center.rows("matching", "SELECT 1 FROM outbox WHERE type = 'KeyReleased'")
    assert 1 == len(released)


def test_another_event_than_was_seen_is_not_given_up(center: House) -> None:
    discharge_id = enter(center, 1)["id"]
    key = park(center, "matching", discharge_id)
    was = version(center, "matching", key)
    browser, at = center.browser("operations", app=center.matching_app()), "/matching/ops/parked"
    assert releasing.replay(center.matching, key)
    center.clock.move(minutes=1)
    park(center, "matching", discharge_id, name="another")

    answer = send(browser, at, f"{at}/close", key=key, because="not_ours", seen=was)

    assert f"{at}?closed=0&unchanged=1" == answer.location
    assert "left as it is: 1" in seen(browser.get(answer.location))
    assert [key] == [one.key for one in parking.listed(center.matching)]


def test_giving_up_a_command_drops_no_event(center: House) -> None:
    found = enter(center, 1)
    key = park(center, "matching", found["id"])
    center.api().post(f"/api/discharges/{found['id']}/cancel")
    center.settle()
    assert [1] == [one.events for one in parking.listed(center.matching)]
    browser, at = center.browser("operations", app=center.matching_app()), "/matching/ops/parked"

    was = version(center, "matching", key)
    send(browser, at, f"{at}/close", key=key, because="done_by_hand", seen=was)

    reasons = center.rows("matching", "SELECT body FROM outbox WHERE type = 'AssignmentEnded'")
    assert 1 == len(reasons)


def test_a_group_that_is_not_mended_is_left_alone_after_three(center: House) -> None:
    ids = [
        center.register_only(record_number=f"R-{n}", visit_number="V", mobile=f"+150355542{n:02}")
        for n in range(5)
    ]
    mended, broken = center.matching.on, dict(center.matching.on)
    for event in broken:
        broken[event] = [_fails]
    _hear_with(center, broken)
    center.settle()
    browser = center.browser("operations", app=center.matching_app())
    at, cause = "/matching/ops/parked", {"handler": "ClientDischarged", "error": "KeyError"}

    page = seen(browser.get(at))
    again = send(browser, at, f"{at}/replay-all", **cause)
    replay_all(center, "matching")
    first = replays.latest(center.matching)
    tried = sorted(one.attempts for one in parking.listed(center.matching))
    side_of_one = seen(browser.get(f"/matching/ops/hops?id={ids[0]['client_id']}"))
    _hear_with(center, mended)
    browser = center.browser("operations", app=center.matching_app())
    send(browser, at, f"{at}/replay-all", **cause)
    replay_all(center, "matching")
    second = replays.latest(center.matching)

    assert "5 parked" in page
    assert f"{at}?begun=1&busy=0" == again.location
    assert first is not None and second is not None
    assert (0, 3, 2) == (first.released, first.failed, first.left)
    assert [1, 1, 2, 2, 2] == tried
    assert "ClientDischarged: KeyError" in side_of_one
    assert "waits, parked" in side_of_one
    assert f"{at}/replay" in side_of_one
    assert (5, 0, 0) == (second.released, second.failed, second.left)


def _fails(event: Event, work: Work) -> Iterable[Event]:
    raise KeyError(CANARY)


def _hear_with(house: House, table: Any) -> None:
    """Matching goes on with these handlers."""
    house.matching = house.participants["matching"] = replace(house.matching, on=table)
    house.restart("matching")


@pytest.mark.parametrize("service", SIDES)
def test_what_is_under_way_is_listed(center: House, service: str) -> None:
    enter(center, 1)
    center.register_only(record_number="R-2", visit_number="V")
    browser = center.browser("operations", app=side(center, service))

    page = seen(browser.get(f"{SIDES[service]}/ops/under-way"))

    unsent = center.rows(service, "SELECT event_id FROM outbox WHERE published_at IS NULL")
    assert (service == "intake") == bool(unsent)
    for (event_id,) in unsent:
        assert str(event_id) in page
    rows = center.rows(service, "SELECT topic FROM stored_offset")
    assert rows
    assert len(rows) == len(re.findall(r"<tr><td>\w+-events</td>", page))


def test_a_key_is_shown_alone_and_as_a_part_in_its_facilitys_zone(center: House) -> None:
    key = enter(center, 1)["client_id"]
    browser = center.browser("operations", app=center.notifications_app())
    at = f"/messages/ops/hops?id={key}&zone=Pacific/Honolulu"

    page, part = seen(browser.get(at)), seen(browser.get(at, headers={"HX-Request": "true"}))

    assert "<html" in page
    assert "<html" not in part
    for shown in (page, part):
        assert "applied, from intake" in shown
        assert "08:00:00 HST" in shown
    assert "18:00:00 UTC" in seen(browser.get(f"/messages/ops/hops?id={key}&zone=../etc"))
    assert 404 == browser.get("/messages/ops/hops?id=nothing").status_code


class Counted(BaseHTTPRequestHandler):
    """A worker that is ready and has counted something."""

    metrics = ""
    status = 200

    def do_GET(self) -> None:
        """Answer as a worker would."""
        is_state = self.path.endswith("/readyz")
        body = "the database is away" if is_state and self.status != 200 else self.metrics
        self.send_response(self.status if is_state else 200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(("ready\n" if is_state and self.status == 200 else body).encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def a_process(*, status: int = 200, **numbers: float) -> Iterator[str]:
    """The address of a process that has counted this."""
    counted = {"parked_keys": 0.0, **numbers}
    lines = "".join(f"{name} {value}\n" for name, value in counted.items())
    handler = type("Answering", (Counted,), {"metrics": lines, "status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_processes_say_how_they_are(center: House) -> None:
    pending = {
        "outbox_pending_records": 7,
        "outbox_oldest_pending_timestamp_seconds": time.time() - 300,
        "consumer_lag_seconds": 12,
        "parked_keys": 4,
        "early_events": 2,
    }
    with a_process(**pending) as full, a_process() as well, a_process(status=503) as ill:
        processes = {"intake-worker": well, "matching-worker": full, "notifications-web": ill}
        page = seen(center.browser("operations", app=center.intake_app(processes)).get("/ops/now"))

    assert "matching has had an event unpublished for 5 min" in page
    assert "notifications-web: the database is away" in page
    assert "PostgreSQL of notifications: <strong>away</strong>" in page
    assert "PostgreSQL of matching: answers" in page
    for number, address in (
        ("7", "/matching/ops/under-way#unpublished"),
        ("5 min", "/matching/ops/under-way#unpublished"),
        ("12 s", "/matching/ops/under-way#offsets"),
        ("2", "/matching/ops/under-way#early"),
        ("4", "/matching/ops/parked"),
    ):
        assert f'<a href="{address}">{number}<' in page


def test_what_is_away_or_hangs_is_said_to_be_within_seconds(center: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        place = f"127.0.0.1:{hanging.getsockname()[1]}"
        processes = {"intake-worker": "http://127.0.0.1:9", "matching-worker": f"http://{place}"}
        app = center.intake_app(processes, kafka=f"127.0.0.1:9,{place}")
        browser = center.browser("operations", app=app)
        began = time.monotonic()
        page = seen(browser.get("/ops/"))

    assert time.monotonic() - began < 5
    assert "intake-worker: does not answer" in page
    assert "matching-worker: does not answer" in page
    assert "Kafka is away." in page
    assert "Kafka: <strong>away</strong>" in page
    assert "PostgreSQL of matching: <strong>unknown</strong>" in page


def test_all_is_well_when_all_are(center: House) -> None:
    with a_process() as one:
        processes = {"intake-worker": one}
        page = seen(center.browser("operations", app=center.intake_app(processes)).get("/ops/"))

    assert "Discharges are flowing." in page
    assert "Kafka: answers" in page
    assert "Not everything flows" not in page


def test_the_flow_is_refreshed_unless_it_is_paused(center: House) -> None:
    browser = center.browser("operations")

    page, paused = seen(browser.get("/ops/")), seen(browser.get("/ops/?pause=1"))

    assert 'hx-get="/ops/now" hx-trigger="every 10s"' in page
    assert 'hx-get="/ops' not in paused
    assert "<html" not in seen(browser.get("/ops/now"))


def test_a_page_that_refreshes_itself_keeps_no_session_alive(center: House) -> None:
    browser, itself = center.browser("operations"), {"HX-Request": "true"}
    _rest(center, SEEN_EVERY * 2)
    before = _seen_at(center)

    seen(browser.get("/ops/now", headers=itself))
    by_itself = _seen_at(center)
    seen(browser.get("/ops/"))
    by_a_person = _seen_at(center)
    _rest(center, IDLE_FOR * 2)
    ended = browser.get("/ops/now", headers=itself)

    assert before == by_itself < by_a_person
    assert (401, "true") == (ended.status_code, ended.headers["HX-Refresh"])


def _rest(house: House, how_long: timedelta) -> None:
    owner = create_engine(house.settings["ACCESS_OWNER_URL"])
    with owner.begin() as conn:
        conn.execute(text("UPDATE session SET seen_at = :at"), {"at": datetime.now(UTC) - how_long})
    owner.dispose()


def _seen_at(house: House) -> datetime:
    owner = create_engine(house.settings["ACCESS_OWNER_URL"])
    with owner.connect() as conn:
        moment: datetime = conn.execute(text("SELECT seen_at FROM session")).scalar_one()
    owner.dispose()
    return moment


def test_operations_land_on_the_flow(center: House) -> None:
    assert "/ops/" == center.browser("operations").get("/").location
    assert "/ops/" == center.browser("administrator").get("/").location


def test_an_administrator_is_led_from_the_flow_to_the_mentors_and_back(center: House) -> None:
    flow = center.browser("administrator").get("/ops/").get_data(as_text=True)
    roster = center.browser("administrator", app=center.matching_app())

    assert '<a href="/matching/">Mentors</a>' in flow
    assert '<a href="/ops/">Flow</a>' in roster.get("/matching/").get_data(as_text=True)
    assert "/matching/" not in _menu(center.browser("operations").get("/ops/"))


def _menu(answer: Any) -> str:
    return str(answer.get_data(as_text=True)).split("</nav>")[0]


def test_no_page_of_operations_shows_a_name(center: House) -> None:
    ids = fill(center)
    apps = [side(center, service) for service in SIDES]
    pages = ["/ops/", "/ops/now", "/ops/messages", *(f"/ops/list/{name}" for name in LISTS)]
    pages += [f"/ops/follow?id={one}" for one in ids.values()]
    keys = [client_of(center, one) for one in ids.values()]
    names = re.compile(r"canary|5035554|r\. lane", re.IGNORECASE)

    for app, prefix in zip(apps, SIDES.values(), strict=True):
        browser = center.browser("operations", app=app)
        own = [f"{prefix}/ops/{page}" for page in ("parked", "under-way")]
        own += [f"{prefix}/ops/hops?id={key}" for key in keys]
        for path in own + (pages if prefix == "" else []):
            assert None is names.search(seen(browser.get(path))), path
