"""The sandbox as a process of its own, over real sockets on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests

ROOT = Path(__file__).parents[2]
ACCOUNT, TOKEN, OUR_NUMBER = "AC00000000000000000000000000000001", "a-secret", "+15005550100"
PHONE = "+15035550123"
ADDRESS = "sam@example.org"


@dataclass(frozen=True, kw_only=True)
class Posted:
    url: str
    params: dict[str, str]
    signature: str


@dataclass(kw_only=True)
class Webhook:
    """Stands where the product's webhooks are, and remembers what was posted."""

    url: str
    posted: list[Posted] = field(default_factory=list)
    status: int = 204

    def statuses(self, sid: str) -> list[str]:
        return [
            one.params["MessageStatus"] for one in self.posted if one.params["MessageSid"] == sid
        ]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A sandbox that is up."""

    process: subprocess.Popen[str]
    url: str
    smtp_port: int

    def put_faults(self, *faults: dict[str, Any]) -> None:
        requests.put(f"{self.url}/faults", json=faults, timeout=5).raise_for_status()

    def messages(self, to: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/messages.json", params={"to": to}, timeout=5)
        return list(answer.json())

    def api(self, method: str, path: str = "Messages.json", **more: Any) -> requests.Response:
        url = f"{self.url}/2010-04-01/Accounts/{ACCOUNT}/{path}"
        asked: dict[str, Any] = {"auth": (ACCOUNT, TOKEN), "timeout": 5} | more
        return requests.request(method, url, **asked)

    def send_text(self, body: str = "Hello", **changes: str) -> requests.Response:
        form = {"To": PHONE, "From": OUR_NUMBER, "Body": body} | changes
        return self.api("POST", data=form)

    def stop(self) -> float:
        """End it, and see that it logged nothing; the seconds that it took."""
        started_at = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        logged, _ = self.process.communicate(timeout=10)
        assert "" == logged
        return time.monotonic() - started_at


def start(folder: Path, webhook_url: str) -> Running:
    environ = {
        "SANDBOX_PORT": "0",
        "SANDBOX_SMTP_PORT": "0",
        "SANDBOX_FOLDER": str(folder),
        "SANDBOX_REPLY_WEBHOOK": webhook_url,
        "TWILIO_ACCOUNT": ACCOUNT,
        "TWILIO_TOKEN": TOKEN,
        "TWILIO_FROM": OUR_NUMBER,
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "deploy.sandbox"],
        cwd=ROOT,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    ready = re.fullmatch(r"Sandbox is ready: (\S+) \(mail on port (\d+)\)\n", line)
    assert ready, line + process.stdout.read()
    return Running(process=process, url=ready[1], smtp_port=int(ready[2]))


@pytest.fixture(scope="module")
def listening() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            hook.posted.append(
                Posted(
                    url=f"http://{self.headers['Host']}{self.path}",
                    params=dict(parse_qsl(body, keep_blank_values=True)),
                    signature=self.headers["X-Twilio-Signature"],
                )
            )
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Webhook(url=f"http://127.0.0.1:{server.server_port}/hook?m=7")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield hook
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, listening: Webhook) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("sandbox"), listening.url)
    yield running
    running.stop()


@pytest.fixture
def sandbox(running: Running) -> Iterator[Running]:
    yield running
    running.put_faults()


@pytest.fixture
def webhook(listening: Webhook) -> Webhook:
    listening.posted.clear()
    listening.status = 204
    return listening


def eventually(reading: Callable[[], Any], expected: Any) -> None:
    end = time.monotonic() + 5
    while reading() != expected and time.monotonic() < end:
        time.sleep(0.02)
    assert expected == reading()


def is_signed(posted: Posted, token: str = TOKEN) -> bool:
    text = posted.url
    for name, value in sorted(posted.params.items()):
        text += name + value
    digest = hmac.digest(token.encode(), text.encode(), hashlib.sha1)
    return base64.b64encode(digest).decode() == posted.signature


def a_mail(subject: str = "Hello") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "River <river@example.org>", ADDRESS, subject
    mail.set_content("Someone will be in touch.\n")
    return mail


def send_mail(sandbox: Running, mail: EmailMessage, timeout: float = 5) -> None:
    smtp = smtplib.SMTP(timeout=timeout)
    try:
        code, text = smtp.connect("127.0.0.1", sandbox.smtp_port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)
        smtp.send_message(mail)
    finally:
        smtp.close()


def mail_count(sandbox: Running) -> int:
    return len(sandbox.messages(ADDRESS))


def test_a_mail_lies_in_the_mailbox_of_each_recipient(sandbox: Running) -> None:
    mail = a_mail("For two")
    mail["Cc"] = "Alex@example.org"

    send_mail(sandbox, mail)

    copies = [sandbox.messages(to)[-1] for to in (ADDRESS, "alex@example.org")]
    assert {"For two"} == {copy["subject"] for copy in copies}
    assert {"Someone will be in touch.\n"} == {copy["body"] for copy in copies}
    assert {"River <river@example.org>"} == {copy["from"] for copy in copies}
    assert copies[0]["id"] != copies[1]["id"]


REFUSED = {
    "connect": smtplib.SMTPConnectError,
    "mail": smtplib.SMTPSenderRefused,
    "rcpt": smtplib.SMTPRecipientsRefused,
    "data": smtplib.SMTPDataError,
    "dot": smtplib.SMTPDataError,
}


@pytest.mark.parametrize("code", [421, 450, 550])
@pytest.mark.parametrize("phase", REFUSED)
def test_a_refusal_at_any_phase_stores_nothing(sandbox: Running, phase: str, code: int) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": f"{phase}-{code}"})

    with pytest.raises(REFUSED[phase]) as raised:
        send_mail(sandbox, a_mail())

    assert str(code) in str(raised.value.args)
    assert before == mail_count(sandbox)


@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail", "rcpt", "data", "dot"])
def test_a_drop_at_any_phase_stores_nothing(sandbox: Running, phase: str) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": f"{phase}-drop"})

    with pytest.raises(smtplib.SMTPServerDisconnected):
        send_mail(sandbox, a_mail())

    assert before == mail_count(sandbox)


def test_ehlo_with_421_ends_the_connection(sandbox: Running) -> None:
    sandbox.put_faults({"channel": "email", "kind": "ehlo-421"})

    with pytest.raises(smtplib.SMTPServerDisconnected):
        send_mail(sandbox, a_mail())


@pytest.mark.parametrize("code", [450, 550])
def test_ehlo_refused_once_leaves_helo_and_refused_twice_nothing(
    sandbox: Running, code: int
) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": f"ehlo-{code}", "times": 3})

    with pytest.raises(smtplib.SMTPHeloError):
        send_mail(sandbox, a_mail())
    send_mail(sandbox, a_mail())

    assert before + 1 == mail_count(sandbox)


def test_a_drop_after_storing_looks_like_any_drop_but_the_mail_is_there(sandbox: Running) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": "dot-drop-after-storing", "to": ADDRESS})

    with pytest.raises(smtplib.SMTPServerDisconnected):
        send_mail(sandbox, a_mail())

    assert before + 1 == mail_count(sandbox)


def test_a_slow_answer_to_the_dot_times_out_but_the_mail_is_there(sandbox: Running) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": "dot-delay", "seconds": 5})

    with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        send_mail(sandbox, a_mail(), timeout=0.5)

    assert before + 1 == mail_count(sandbox)


@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail", "rcpt", "data", "dot"])
def test_a_delay_shorter_than_the_patience_of_the_sender_does_no_harm(
    sandbox: Running, phase: str
) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": f"{phase}-delay", "seconds": 0.3})
    started_at = time.monotonic()

    send_mail(sandbox, a_mail())

    assert time.monotonic() - started_at >= 0.3
    assert before + 1 == mail_count(sandbox)


def test_a_refusal_right_after_354_stores_nothing(sandbox: Running) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": "body-550"})

    with pytest.raises(smtplib.SMTPDataError) as raised:
        send_mail(sandbox, a_mail())

    assert 550 == raised.value.smtp_code
    assert before == mail_count(sandbox)


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("quit-421", smtplib.SMTPResponseException),
        ("quit-450", smtplib.SMTPResponseException),
        ("quit-550", smtplib.SMTPResponseException),
    ],
)
def test_trouble_at_quit_comes_after_the_mail_was_accepted(
    sandbox: Running, kind: str, raised: type[Exception]
) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": kind})

    with pytest.raises(raised), smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=5) as smtp:
        smtp.send_message(a_mail())

    assert before + 1 == mail_count(sandbox)


def test_a_drop_at_quit_comes_after_the_mail_was_accepted(sandbox: Running) -> None:
    before = mail_count(sandbox)
    sandbox.put_faults({"channel": "email", "kind": "quit-drop"})
    smtp = smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=5)
    smtp.send_message(a_mail())

    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.quit()

    assert before + 1 == mail_count(sandbox)


def test_a_text_is_accepted_and_its_receipts_are_signed(sandbox: Running, webhook: Webhook) -> None:
    callback = webhook.url + "#rc=5"

    answer = sandbox.send_text("Hello José", StatusCallback=callback)

    sid = answer.json()["sid"]
    assert (201, "queued") == (answer.status_code, answer.json()["status"])
    assert re.fullmatch("SM[0-9a-f]{32}", sid)
    eventually(lambda: webhook.statuses(sid), ["sent", "delivered"])
    assert all(is_signed(posted) for posted in webhook.posted)
    assert {webhook.url} == {posted.url for posted in webhook.posted}
    assert "delivered" == sandbox.api("GET", f"Messages/{sid}.json").json()["status"]
    assert ["Hello José"] == [m["body"] for m in sandbox.messages(PHONE) if m["id"] == sid]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"To": "5035550123"}, 21211),
        ({"To": "+15005550001"}, 21211),
        ({"To": "+15005550002"}, 21612),
        ({"To": "+15005550003"}, 21408),
        ({"To": "+15005550004"}, 21610),
        ({"To": "+15005550009"}, 21614),
        ({"From": "+15005550001"}, 21212),
        ({"From": "+15005550007"}, 21606),
        ({"From": "+15005550008"}, 21611),
        ({"From": "+15035550999"}, 21606),
        ({"StatusCallback": "http://example.org/status"}, 21609),
    ],
)
def test_a_text_that_cannot_be_sent_is_refused_with_the_networks_own_code(
    sandbox: Running, changes: dict[str, str], code: int
) -> None:
    before = len(sandbox.messages(""))

    answer = sandbox.send_text(**changes)

    assert (400, code) == (answer.status_code, answer.json()["code"])
    assert before == len(sandbox.messages(""))


def test_only_the_account_may_use_the_api(sandbox: Running) -> None:
    answers = [sandbox.api("GET", auth=auth) for auth in [(ACCOUNT, "x"), ("AC2", TOKEN), None]]

    assert [(401, 20003)] * 3 == [(one.status_code, one.json()["code"]) for one in answers]


def test_texts_are_listed_newest_first_by_number_and_day(sandbox: Running) -> None:
    to = "+15035550177"
    sids = [sandbox.send_text(f"Text {n}", To=to).json()["sid"] for n in range(3)]
    today = time.strftime("%Y-%m-%d", time.gmtime())

    def found(**filters: str) -> list[str]:
        page = sandbox.api("GET", params={"To": to} | filters).json()
        return [one["sid"] for one in page["messages"]]

    assert sids[::-1] == found() == found(DateSent=today) == found(**{"DateSent>": today})
    assert [] == found(**{"DateSent<": today}) == found(DateSent="2020-01-01")
    assert [] == found(From="+15035550999")
    assert sids[:1] == found(Page="1", PageSize="2")
    first = sandbox.api("GET", params={"To": to, "PageSize": "2"}).json()
    following = requests.get(
        sandbox.url + first["next_page_uri"], auth=(ACCOUNT, TOKEN), timeout=5
    ).json()
    assert [sids[0]] == [one["sid"] for one in following["messages"]]
    assert following["next_page_uri"] is None


def test_a_text_can_be_redacted_but_not_canceled(sandbox: Running) -> None:
    sid = sandbox.send_text("Private").json()["sid"]

    canceled = sandbox.api("POST", f"Messages/{sid}.json", data={"Status": "canceled"})
    redacted = sandbox.api("POST", f"Messages/{sid}.json", data={"Body": ""})

    assert (400, 30409) == (canceled.status_code, canceled.json()["code"])
    assert "" == redacted.json()["body"]
    assert "" == sandbox.api("GET", f"Messages/{sid}.json").json()["body"]
    assert 20404 == sandbox.api("GET", "Messages/SM0.json").json()["code"]


@pytest.mark.parametrize(("kind", "code"), [("429", 20429), ("500", 20500), ("503", 20503)])
def test_a_call_that_fails_stores_nothing(sandbox: Running, kind: str, code: int) -> None:
    before = len(sandbox.messages(PHONE))
    sandbox.put_faults({"channel": "sms", "kind": kind, "to": PHONE})

    answer = sandbox.send_text()

    assert (int(kind), code) == (answer.status_code, answer.json()["code"])
    assert before == len(sandbox.messages(PHONE))
    assert 201 == sandbox.send_text().status_code


def test_a_connection_dropped_after_storing_leaves_the_text_and_its_receipts(
    sandbox: Running, webhook: Webhook
) -> None:
    before = len(sandbox.messages(PHONE))
    sandbox.put_faults({"channel": "sms", "kind": "drop-after-storing"})

    with pytest.raises(requests.ConnectionError):
        sandbox.send_text(StatusCallback=webhook.url)

    assert before + 1 == len(sandbox.messages(PHONE))
    sid = sandbox.messages(PHONE)[-1]["id"]
    eventually(lambda: webhook.statuses(sid), ["sent", "delivered"])


def test_a_stalled_call_leaves_the_text(sandbox: Running) -> None:
    before = len(sandbox.messages(PHONE))
    sandbox.put_faults({"channel": "sms", "kind": "stall", "seconds": 3})

    with pytest.raises(requests.ReadTimeout):
        sandbox.api("POST", data={"To": PHONE, "From": OUR_NUMBER, "Body": "Hello"}, timeout=0.3)

    assert before + 1 == len(sandbox.messages(PHONE))


def test_broken_json_leaves_the_text(sandbox: Running) -> None:
    before = len(sandbox.messages(PHONE))
    sandbox.put_faults({"channel": "sms", "kind": "broken-json"})

    answer = sandbox.send_text()

    assert 201 == answer.status_code
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert before + 1 == len(sandbox.messages(PHONE))


@pytest.mark.parametrize(
    ("kind", "posted", "final"),
    [
        ("receipt-duplicated", ["sent", "sent", "delivered", "delivered"], "delivered"),
        ("receipt-reordered", ["delivered", "sent"], "delivered"),
        ("receipt-lost", [], "delivered"),
        ("undelivered", ["sent", "undelivered"], "undelivered"),
    ],
)
def test_receipts_go_wrong_as_ordered(
    sandbox: Running, webhook: Webhook, kind: str, posted: list[str], final: str
) -> None:
    sandbox.put_faults({"channel": "sms", "kind": kind})

    sid = sandbox.send_text(StatusCallback=webhook.url).json()["sid"]

    eventually(lambda: webhook.statuses(sid), posted)
    eventually(lambda: sandbox.api("GET", f"Messages/{sid}.json").json()["status"], final)


def test_a_wrong_signature_is_wrong(sandbox: Running, webhook: Webhook) -> None:
    sandbox.put_faults({"channel": "sms", "kind": "receipt-wrong-signature"})

    sid = sandbox.send_text(StatusCallback=webhook.url).json()["sid"]

    eventually(lambda: webhook.statuses(sid), ["sent", "delivered"])
    assert not any(is_signed(posted) for posted in webhook.posted)


def test_receipts_can_come_before_the_answer(sandbox: Running, webhook: Webhook) -> None:
    sandbox.put_faults({"channel": "sms", "kind": "receipt-before-response"})

    sid = sandbox.send_text(StatusCallback=webhook.url).json()["sid"]

    assert ["sent", "delivered"] == webhook.statuses(sid)


def test_a_receipt_is_posted_again_while_the_webhook_fails(
    sandbox: Running, webhook: Webhook
) -> None:
    webhook.status = 503
    sid = sandbox.send_text(StatusCallback=webhook.url).json()["sid"]
    eventually(lambda: webhook.statuses(sid)[:2], ["sent", "sent"])

    webhook.status = 204

    eventually(lambda: webhook.statuses(sid)[-1:], ["delivered"])


def test_a_phone_answers_and_the_webhook_gets_it_signed(sandbox: Running, webhook: Webhook) -> None:
    before = len(sandbox.messages(""))

    answer = requests.post(
        f"{sandbox.url}/replies", json={"from": PHONE, "text": "YES, gracias ñ"}, timeout=5
    )

    assert 202 == answer.status_code
    [posted] = webhook.posted
    assert is_signed(posted)
    assert not is_signed(posted, token="another")
    expected = {
        "MessageSid": answer.json()["id"],
        "AccountSid": ACCOUNT,
        "From": PHONE,
        "To": OUR_NUMBER,
        "Body": "YES, gracias ñ",
        "NumMedia": "0",
    }
    assert expected.items() <= posted.params.items()
    assert before == len(sandbox.messages(""))


def test_a_reply_that_the_product_refuses_is_not_lost_silently(
    sandbox: Running, webhook: Webhook
) -> None:
    webhook.status = 403

    answer = requests.post(f"{sandbox.url}/replies", data={"from": PHONE, "text": "YES"}, timeout=5)

    assert 502 == answer.status_code
    assert "The reply webhook answered 403." == answer.json()["title"]
    assert "received" != sandbox.api("GET", f"Messages/{answer.json()['id']}.json").json()["status"]


def test_a_reply_on_the_page_is_shown_in_the_conversation(
    sandbox: Running, webhook: Webhook
) -> None:
    form = {"from": PHONE, "text": "I am here & well"}

    page = requests.post(f"{sandbox.url}/", data=form, headers={"Origin": sandbox.url}, timeout=5)

    assert 200 == page.status_code
    assert "I am here &amp; well" in page.text
    assert PHONE not in page.url


def test_a_phone_that_opted_out_is_refused_only_when_that_is_ordered(
    sandbox: Running, webhook: Webhook
) -> None:
    to = "+15035550144"
    replies = f"{sandbox.url}/replies"

    requests.post(replies, json={"from": to, "text": " Stop "}, timeout=5)
    assert 201 == sandbox.send_text(To=to).status_code
    sandbox.put_faults({"channel": "sms", "kind": "opt-out", "times": 9})
    assert 21610 == sandbox.send_text(To=to).json()["code"]
    assert 201 == sandbox.send_text().status_code
    requests.post(replies, json={"from": to, "text": "START"}, timeout=5)
    assert 201 == sandbox.send_text(To=to).status_code


def test_faults_are_listed_and_taken_back(sandbox: Running) -> None:
    sandbox.put_faults({"channel": "sms", "kind": "500", "times": 3, "to": PHONE})
    sandbox.send_text()

    [left] = requests.get(f"{sandbox.url}/faults", timeout=5).json()
    requests.delete(f"{sandbox.url}/faults", timeout=5)

    assert ("sms", "500", 2, PHONE) == (left["channel"], left["kind"], left["times"], left["to"])
    assert [] == requests.get(f"{sandbox.url}/faults", timeout=5).json()


def test_a_restart_keeps_every_message_and_stopping_is_quick(
    tmp_path: Path, webhook: Webhook
) -> None:
    first = start(tmp_path, webhook.url)
    send_mail(first, a_mail("Before"))
    first.send_text("Before")
    before = first.messages("")
    first.put_faults({"channel": "sms", "kind": "stall", "seconds": 30})
    with pytest.raises(requests.ReadTimeout):
        first.api("POST", data={"To": PHONE, "From": OUR_NUMBER, "Body": "Slow"}, timeout=0.3)
    with socket.create_connection(("127.0.0.1", first.smtp_port)):
        seconds = first.stop()

    second = start(tmp_path, webhook.url)
    after = second.messages("")
    second.stop()

    assert seconds < 2
    assert 0 == first.process.returncode
    assert before == after[:2]
    assert "Slow" == after[2]["body"]


def test_a_killed_sandbox_has_every_message_that_it_accepted(
    tmp_path: Path, webhook: Webhook
) -> None:
    first = start(tmp_path, webhook.url)
    accepted = [first.send_text(f"Text {n}").json()["sid"] for n in range(5)]
    first.process.kill()
    first.process.communicate()

    second = start(tmp_path, webhook.url)
    kept = [message["id"] for message in second.messages("")]
    second.stop()

    assert accepted == kept


def test_a_busy_port_is_named_with_its_setting(sandbox: Running, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = {
            "SANDBOX_PORT": str(port),
            "SANDBOX_SMTP_PORT": "0",
            "SANDBOX_FOLDER": str(tmp_path),
            "SANDBOX_REPLY_WEBHOOK": "http://127.0.0.1:9/",
            "TWILIO_ACCOUNT": ACCOUNT,
            "TWILIO_TOKEN": TOKEN,
            "TWILIO_FROM": OUR_NUMBER,
        }

        failed = subprocess.run(
            [sys.executable, "-m", "deploy.sandbox"],
            cwd=ROOT,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=10,
        )

    assert 1 == failed.returncode
    assert f"SANDBOX_PORT is {port} on 127.0.0.1" in failed.stderr
