"""The parts of the sandbox that need no socket: spool, faults, mail, numbers, pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from deploy.sandbox.app import create_app
from deploy.sandbox.clock import sandbox_clock, wall_time
from deploy.sandbox.faults import Fault, Faults
from deploy.sandbox.pages import linked
from deploy.sandbox.parts import Sandbox, open_sandbox
from deploy.sandbox.phones import is_near, signature
from deploy.sandbox.resources import segments
from deploy.sandbox.settings import BadSettings, Settings, read_settings
from deploy.sandbox.smtp import mail_to
from deploy.sandbox.spool import Message, Spool, SpoolDamaged, SpoolInUse, State

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
ENVIRON = {
    "SANDBOX_PORT": "0",
    "SANDBOX_SMTP_PORT": "0",
    "SANDBOX_REPLY_WEBHOOK": "http://127.0.0.1:9/reply",
    "TWILIO_ACCOUNT": "AC1",
    "TWILIO_TOKEN": "a-token",
    "TWILIO_FROM": "+15005550100",
}


def a_text(number: int = 1, **changes: str) -> Message:
    fields = {"to": "+15035550123", "sender": "+15005550100", "body": "Hello ✓"} | changes
    return Message(id=f"SM{number}", channel="sms", received_at=NOW, **fields)  # type: ignore[arg-type]


def settings_in(folder: Path) -> Settings:
    return read_settings(ENVIRON | {"SANDBOX_FOLDER": str(folder)})


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = open_sandbox(settings_in(tmp_path), lambda: NOW)
    yield sandbox
    sandbox.spool.close()


@pytest.fixture
def browser(sandbox: Sandbox) -> FlaskClient:
    return create_app(sandbox).test_client()


def test_messages_and_what_became_of_them_are_read_again_at_start(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    first.add([a_text(1), a_text(2)])
    first.note("SM2", State(status="delivered", at=NOW))
    first.close()

    second = Spool(tmp_path)

    assert [a_text(1), a_text(2)] == second.read_all(second.entries())
    assert ["queued", "delivered"] == [second.state(entry).status for entry in second.entries()]
    second.close()


def test_a_line_that_was_cut_off_is_dropped_and_later_ones_are_kept(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    first.add([a_text(1)])
    first.close()
    with (tmp_path / "messages.jsonl").open("ab") as file:
        file.write(b'{"message":{"id":"SM2"')

    second = Spool(tmp_path)
    second.add([a_text(3)])
    second.close()

    third = Spool(tmp_path)
    assert ["SM1", "SM3"] == [entry.id for entry in third.entries()]
    third.close()


def test_a_line_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "messages.jsonl").write_bytes(b"nonsense\n")

    with pytest.raises(SpoolDamaged, match="line 1"):
        Spool(tmp_path)


def test_two_sandboxes_cannot_share_a_folder(tmp_path: Path) -> None:
    first = Spool(tmp_path)

    with pytest.raises(SpoolInUse):
        Spool(tmp_path)

    first.close()


def test_a_fault_happens_as_often_as_ordered_and_only_to_whom_it_is_meant() -> None:
    faults = Faults()
    faults.put([Fault(channel="sms", kind="429", times=2, to="+15035550123")])

    assert faults.take("sms", ["429"], ["+15035550999"]) is None
    assert faults.take("email", ["429"], ["+15035550123"]) is None
    assert faults.take("sms", ["429"], ["+15035550123"])
    assert faults.take("sms", ["429"], ["+15035550123"])
    assert faults.take("sms", ["429"], ["+15035550123"]) is None


def test_a_mail_is_read_as_its_recipient_reads_it() -> None:
    source = (
        b"From: River <river@example.org>\r\nSubject: =?utf-8?q?A_word_for_Jos=C3=A9?=\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nHola=2C Jos=C3=A9\r\n"
        b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hola</p>\r\n--b--\r\n"
    )

    mail = mail_to("jose@example.org", source, NOW)

    assert ("jose@example.org", "River <river@example.org>") == (mail.to, mail.sender)
    assert ("A word for José", "Hola, José") == (mail.subject, mail.body.strip())
    assert "<p>Hola</p>" == mail.html.strip()
    assert source.decode() == mail.source


@pytest.mark.parametrize("source", [b"", b"\xff\xfe", b"Subject: \xe9\r\n\r\n\xe9", b"\r\n\r\nHi"])
def test_any_bytes_are_a_mail(source: bytes) -> None:
    mail = mail_to("sam@example.org", source, NOW)

    assert source == mail.source.encode("utf-8", "surrogateescape")


def test_a_charset_that_nobody_knows_is_read_as_well_as_can_be() -> None:
    mail = mail_to("s@example.org", b"Content-Type: text/plain; charset=x-odd\r\n\r\nHi", NOW)

    assert "Hi" == mail.body


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a" * 160, 1), ("a" * 161, 2), ("€" * 80, 1), ("€" * 81, 2), ("á" * 70, 1), ("á" * 71, 2)],
)
def test_segments_are_counted_as_networks_count_them(text: str, expected: int) -> None:
    assert expected == segments(text)


def test_the_signature_is_that_of_the_example_in_the_networks_own_manual() -> None:
    params = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }

    signed = signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", params)

    assert "RSOYDt4T1cUTdK1PDd93/VVr8B8=" == signed


def test_receipts_go_to_this_machine_or_beside_the_product_only() -> None:
    webhook = "http://notifications-web:8080/messages/webhooks/reply"

    assert is_near("http://127.0.0.1:8080/status?m=1", webhook)
    assert is_near("http://notifications-web:8080/status", webhook)
    assert not is_near("http://example.org/status", webhook)
    assert not is_near("https://127.0.0.1/status", webhook)


def test_missing_settings_are_named_all_at_once() -> None:
    with pytest.raises(BadSettings, match=r"SANDBOX_FOLDER.*TWILIO_TOKEN"):
        read_settings({**ENVIRON, "TWILIO_TOKEN": ""})


def test_the_clock_is_wall_time_while_its_database_is_away() -> None:
    now = sandbox_clock("postgresql://nobody@127.0.0.1:1/none")

    assert abs((now() - wall_time()).total_seconds()) < 5


def test_links_can_be_clicked_and_nothing_else_is_markup() -> None:
    html = linked('See <b> http://127.0.0.1:8080/card?a=1&b=2. "x"')

    assert '<a href="http://127.0.0.1:8080/card?a=1&amp;b=2"' in html
    assert "&lt;b&gt;" in html and "</a>. &#34;x&#34;" in html


def test_messages_are_found_by_a_number_whose_plus_was_not_escaped(
    sandbox: Sandbox, browser: FlaskClient
) -> None:
    sandbox.spool.add([a_text(1), a_text(2, to="+15035550999")])

    found = browser.get("/messages.json?to=+15035550123").get_json()

    assert [
        {
            "id": "SM1",
            "channel": "sms",
            "to": "+15035550123",
            "from": "+15005550100",
            "subject": None,
            "body": "Hello ✓",
            "received_at": "2026-11-24T18:00:00.000Z",
            "message_id": None,
        }
    ] == found


def test_a_form_of_another_site_is_refused(browser: FlaskClient) -> None:
    form = {"from": "+15035550123", "text": "YES"}

    for origin in ("http://example.org", "null"):
        assert 403 == browser.post("/", data=form, headers={"Origin": origin}).status_code
        assert 403 == browser.post("/replies", json=form, headers={"Origin": origin}).status_code


def test_a_name_that_is_not_of_this_machine_is_refused(browser: FlaskClient) -> None:
    assert 403 == browser.get("/messages.json", headers={"Host": "example.org"}).status_code


def test_the_page_shows_a_conversation_without_an_address_in_its_url(
    sandbox: Sandbox, browser: FlaskClient
) -> None:
    sandbox.spool.add([a_text(1, body="<script>alert(1)</script>")])
    start = browser.get("/").text
    key = start.split("/?who=")[1].split('"')[0]

    page = browser.get(f"/?who={key}")

    assert "Sandbox: nothing here has left this machine." in page.text
    assert "&lt;script&gt;" in page.text and "<script" not in page.text
    assert "Answer from this phone" in page.text and "refresh" not in page.text
    assert 'http-equiv="refresh"' in browser.get(f"/?who={key}&watch=1").text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_the_html_part_of_a_mail_runs_nothing(sandbox: Sandbox, browser: FlaskClient) -> None:
    source = b"Content-Type: text/html\r\n\r\n<script>alert(1)</script>"
    mail = mail_to("sam@example.org", source, NOW)
    sandbox.spool.add([mail])

    part = browser.get(f"/mail/{mail.id}.html")

    assert part.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert source == browser.get(f"/mail/{mail.id}.txt").data


@pytest.mark.parametrize(
    "fault",
    [
        {"channel": "fax", "kind": "429"},
        {"channel": "sms", "kind": "rcpt-450"},
        {"channel": "email", "kind": "mail-421", "to": "sam@example.org"},
        {"channel": "sms", "kind": "429", "times": 0},
        {"kind": "429"},
    ],
)
def test_a_fault_that_cannot_be_is_refused(browser: FlaskClient, fault: dict[str, object]) -> None:
    assert 422 == browser.put("/faults", json=[fault]).status_code
    assert [] == browser.get("/faults").get_json()


@pytest.mark.parametrize("reply", [{}, {"from": "sam", "text": "YES"}, {"from": "+15035550123"}])
def test_a_reply_that_cannot_be_is_refused(browser: FlaskClient, reply: dict[str, str]) -> None:
    assert 422 == browser.post("/replies", json=reply).status_code
