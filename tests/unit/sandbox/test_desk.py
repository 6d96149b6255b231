"""What the demo desk shows and refuses; its buttons are pressed in the integration test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from contracts.topics import TOPICS as PRODUCTS
from deploy.sandbox.app import create_app
from deploy.sandbox.desk import Desk, Sent, desk_pages
from deploy.sandbox.desk_people import CHOICES, discharge_of
from deploy.sandbox.events import MOST_KEPT, PARTITIONS, TOPICS, Passing
from deploy.sandbox.parts import Sandbox, open_sandbox
from deploy.sandbox.product import NotTaken, Product
from deploy.sandbox.settings import DeskSettings, read_settings
from deploy.sandbox.spool import Message
from deploy.sandbox.wishes import PassingTime, Wishes
from services.intake.bodies import DischargeBody, read_body

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
ENVIRON = {
    "SANDBOX_PORT": "0",
    "SANDBOX_SMTP_PORT": "0",
    "SANDBOX_REPLY_WEBHOOK": "http://127.0.0.1:9/reply",
    "TWILIO_ACCOUNT": "AC1",
    "TWILIO_TOKEN": "a-token",
    "TWILIO_FROM": "+15005550100",
    "KAFKA_SERVERS": "127.0.0.1:9",
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record as a consumer gets it."""

    topic: str = "intake-events"
    partition: int = 3
    offset: int = 7
    key: bytes | None = b"5f0c1a2b-0000-4000-8000-000000000000"
    value: bytes = b'{"name": "Quillon"}'
    headers: list[tuple[str, bytes]] = field(
        default_factory=lambda: [
            ("ce_type", b"ClientDischarged"),
            ("ce_time", b"2026-11-24T18:00:00+00:00"),
        ]
    )


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    access, wishes = tmp_path / "access.json", tmp_path / "wishes"
    wishes.mkdir()
    settings = read_settings(
        ENVIRON
        | {"SANDBOX_FOLDER": str(tmp_path / "spool")}
        | {"SANDBOX_ACCESS": str(access), "SANDBOX_WISHES": str(wishes)}
    )
    sandbox = open_sandbox(settings, lambda: NOW)
    yield sandbox
    sandbox.spool.close()


@pytest.fixture
def desk(sandbox: Sandbox) -> Desk:
    settings = sandbox.settings.desk
    assert isinstance(settings, DeskSettings)
    wishes = Wishes(folder=settings.wishes)
    time = PassingTime(wishes, sandbox.now)
    return Desk(sandbox, Product(settings.access), Passing(settings.kafka_servers), wishes, time)


@pytest.fixture
def browser(sandbox: Sandbox, desk: Desk) -> FlaskClient:
    without = replace(sandbox, settings=replace(sandbox.settings, desk=None))
    app: Flask = create_app(without)
    app.register_blueprint(desk_pages(desk))
    return app.test_client()


def a_text(number: str, body: str, message_id: str, *, inbound: bool = False) -> Message:
    ours = "+15005550100"
    to, sender = (ours, number) if inbound else (number, ours)
    callback = f"http://127.0.0.1/status?m={message_id}"
    kept: dict[str, Any] = {"channel": "sms", "received_at": NOW, "inbound": inbound}
    return Message(id=f"SM{message_id}", to=to, sender=sender, body=body, callback=callback, **kept)


def test_the_topics_are_those_of_the_product() -> None:
    assert {topic.name: topic.publisher for topic in PRODUCTS.values()} == TOPICS
    assert {PARTITIONS} == {topic.partitions for topic in PRODUCTS.values()}


def test_events_are_kept_without_their_bodies_newest_first_and_not_without_end() -> None:
    events = Passing("127.0.0.1:9")
    for offset in range(MOST_KEPT + 5):
        events.take(Record(offset=offset))
    events.take(Record(headers=[("ce_type", b"NoTime")]))
    events.take(Record(headers=[("ce_type", b"X"), ("ce_time", b"never")]))

    kept = events.newest("intake")

    assert MOST_KEPT == len(kept)
    assert (MOST_KEPT + 4, "ClientDischarged", "5f0c1a2b") == (
        kept[0].offset,
        kept[0].type,
        kept[0].key,
    )
    assert "Quillon" not in repr(kept)
    assert not events.is_up()


@pytest.mark.parametrize("kind", CHOICES)
def test_what_the_desk_sends_is_a_discharge_that_the_door_takes(kind: str) -> None:
    body = discharge_of(CHOICES[kind], NOW)

    assert "north" == read_body(DischargeBody, body).facility
    assert "Example" == body["name"]["family"]


def test_a_sandbox_of_no_demo_has_no_desk(tmp_path: Path) -> None:
    settings = read_settings(ENVIRON | {"SANDBOX_FOLDER": str(tmp_path / "other")})
    sandbox = open_sandbox(settings, lambda: NOW)

    browser = create_app(sandbox).test_client()

    assert 404 == browser.get("/desk").status_code
    assert "demo desk" not in browser.get("/").text
    sandbox.spool.close()


def test_the_page_says_that_people_are_simulated_and_runs_its_own_script_only(
    browser: FlaskClient,
) -> None:
    page = browser.get("/desk")

    assert 200 == page.status_code
    assert "Simulated people" in page.text
    assert "Tuesday 24 November 2026, 10:00" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in page.text
    assert "onclick" not in page.text


def test_another_site_cannot_press_a_button(browser: FlaskClient) -> None:
    for path in ("/desk/send", "/desk/do", "/desk/answer"):
        answer = browser.post(path, headers={"Origin": "http://elsewhere.example"})
        assert 403 == answer.status_code


@pytest.mark.parametrize("deed", ["mentor-no", "nobody-answers", "client-stop", "revoke", "x"])
def test_without_a_discharge_the_desk_asks_for_one(browser: FlaskClient, deed: str) -> None:
    page = browser.post("/desk/do", data={"deed": deed}, follow_redirects=True)

    assert "Send a discharge first." in page.text


def test_without_a_demo_center_the_desk_says_so(browser: FlaskClient, desk: Desk) -> None:
    page = browser.post("/desk/send", data={"kind": "english"}, follow_redirects=True)

    assert "API did not take it" in page.text
    with pytest.raises(NotTaken, match="not there yet"):
        desk.product.story("1")


def test_the_token_is_never_in_the_page(browser: FlaskClient, sandbox: Sandbox) -> None:
    assert sandbox.settings.desk is not None
    access = {"url": "http://127.0.0.1:9", "api_tokens": {"north": "wh_secret"}, "metrics": {}}
    sandbox.settings.desk.access.write_text(json.dumps(access))

    sent = browser.post("/desk/send", data={"kind": "english"}, follow_redirects=True)

    assert "wh_secret" not in sent.text + str(sent.headers)
    assert "http://127.0.0.1:9" in sent.text


def test_the_mentors_phone_is_that_of_whoever_was_asked_last(desk: Desk, sandbox: Sandbox) -> None:
    first, second, client = "+15035550101", "+15035550102", "+15035556001"
    sandbox.spool.add(
        [
            a_text(client, "Hello", "m0"),
            a_text(first, "Can you?", "m1"),
            a_text(first, "NO", "r1", inbound=True),
            a_text(second, "Can you <b>too</b>?", "m2"),
        ]
    )
    offers = [{"what": "offered"}, {"what": "message_handed_over", "to": "mentor"}]
    steps = [offers[0], offers[1] | {"message_id": "m1"}, {"what": "declined"}]
    sent = Sent(id="d", client_id="c", body={"mobile": client, "email": "c@example.org"}, at=NOW)

    before = desk.mentor(sent, steps)
    after = desk.mentor(sent, [*steps, offers[0], offers[1] | {"message_id": "m2"}])

    assert before is not None
    assert after is not None
    assert (first, ["Can you?", "NO"]) == (before.number, [str(m.text) for m in before.messages])
    assert (second, "Can you &lt;b&gt;too&lt;/b&gt;?") == (after.number, after.messages[0].text)
    assert ["Hello"] == [str(m.text) for m in desk.client(sent).messages]
    assert desk.mentor(sent, [offers[0]]) is None
