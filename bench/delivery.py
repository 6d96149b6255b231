"""Planned messages handed over by the product's sender, against a bare loop of the same calls."""

from __future__ import annotations

import os
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import requests
from sqlalchemy import create_engine, text

from bench.processes import cpu_seconds
from bench.throughput import FACILITY, start, stop, store, the_one, wait_for
from contracts.topics import TOPICS
from deploy.local.demo import next_morning
from deploy.local.engines import running_engines
from deploy.local.ports import free_ports
from hosting.clock import Clock, move_to
from messaging.kafka import ensure_topics
from services.command_line import main as services
from services.notifications.sender import BATCH, THREADS
from services.notifications.wording import render

AIM = 0.6
MAIL_PEERS = ("least", "aiosmtpd", "aiosmtpd that keeps each on a disk")
CONSENT_OF = {"email": "email", "sms": "text"}
Connection = TypeVar("Connection")


def run(count: int) -> None:
    """Print for each channel the rates and their ratio."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        with running_engines(Path(folder)) as settings:
            ports = list(map(str, free_ports(4)))
            os.environ.update(settings | {"TWILIO_URL": f"http://127.0.0.1:{ports[-1]}"})
            peers = [sys.executable, "-m", "bench.peers", f"{folder}/mails", *ports]
            peer = subprocess.Popen(peers)
            try:
                _hand_over(Path(folder), count, dict(zip(MAIL_PEERS, ports, strict=False)))
            finally:
                stop(peer)


def _hand_over(folder: Path, count: int, mail_ports: dict[str, str]) -> None:
    assert services(["migrate"]) == 0
    ensure_topics(os.environ["KAFKA_SERVERS"], TOPICS.values(), 1)
    owner = create_engine(os.environ["ACCESS_OWNER_URL"])
    # At night nothing would leave.
    move_to(owner, next_morning(datetime.now(UTC)))
    # Only an intake that beats is heard, and nobody is written to while it is not.
    intake = start(folder, "intake", "services", "worker", "intake")
    try:
        now = Clock(owner, mode="sandbox").now()
        for peer, port in mail_ports.items():
            os.environ["SMTP_PORT"] = port
            _compare(folder, count, now, "email", _mail, f"email, {peer}")
        _compare(folder, count, now, "sms", _text, "sms")
    finally:
        stop(intake)
        owner.dispose()


def _compare(
    folder: Path, count: int, now: datetime, channel: str, bare: Callable[[int], float], name: str
) -> None:
    for workers in sorted({1, os.cpu_count() or 1}):
        _plan(folder, count, now, channel)
        before = bare(count)
        rate, cpu = _product(folder, count, workers)
        loop = (before + bare(count)) / 2
        print(
            f"{name}: bare loop {loop:.0f}/s, product {rate:.0f}/s with {workers} workers, which"
            f" take {cpu:.0f} us CPU, ratio {rate / loop:.2f} (aim >= {AIM})"
        )


def _plan(folder: Path, count: int, now: datetime, channel: str) -> None:
    """As many first messages on a channel as are asked for, none of which is due."""
    from services.intake import service as intake
    from services.intake.facilities import load_facilities

    built = intake.build()
    assert load_facilities(built.desk, FACILITY.encode())[1] == []
    worker = start(folder, "notifications")
    try:
        wait_for("notifications", "SELECT count(*) FROM facility", 1)
        facility = built.desk.facility("south").id
        store(built.participant, facility, count, CONSENT_OF[channel], now)
        planned = "SELECT count(*) FROM message WHERE state = 'planned'"
        wait_for("notifications", planned, count, seconds=300)
    finally:
        stop(worker)
    _move_due("interval '1 day'")


def _move_due(by: str) -> None:
    """Let it be due so much later, and the database know of it, as it would within a minute.

    Until then it takes what is due for a few rows, and sorts all of it for each batch.
    """
    engine = create_engine(os.environ["NOTIFICATIONS_DATABASE_URL"])
    with engine.begin() as conn:
        conn.execute(text(f"UPDATE message SET due_at = due_at + {by} WHERE state = 'planned'"))
        conn.execute(text("ANALYZE message"))
    engine.dispose()


def _product(folder: Path, count: int, workers: int) -> tuple[float, float]:
    """Messages a second from the first batch that was recorded to the last, and CPU of each."""
    last = the_one(
        "notifications", "SELECT coalesce(max(handed_over_at), '-infinity')::text FROM message"
    )
    handed = f"FROM message WHERE state = 'handed_over' AND handed_over_at > '{last}'"
    _move_due("interval '-1 day'")
    running = []
    for port in free_ports(workers):
        os.environ["NOTIFICATIONS_WORKER_METRICS_PORT"] = str(port)
        running.append(start(folder, "notifications", "services", "worker", "notifications"))
    try:
        wait_for("notifications", f"SELECT count(*) {handed}", BATCH)
        used = sum(cpu_seconds(worker.pid) for worker in running)
        wait_for("notifications", f"SELECT count(*) {handed}", count, seconds=300)
        used = sum(cpu_seconds(worker.pid) for worker in running) - used
    finally:
        for worker in running:
            stop(worker)
    spent = "extract(epoch FROM max(handed_over_at) - min(handed_over_at))"
    seconds = float(the_one("notifications", f"SELECT {spent} {handed}"))
    return (count - BATCH) / seconds, 1e6 * used / count


def _mail(count: int) -> float:
    """The conversation of the product's channel: asked whether it lives, then one recipient."""
    worded = _worded("email")
    message = EmailMessage()
    for name, value in (("From", os.environ["MAIL_FROM"]), ("To", "sam@example.org")):
        message[name] = value
    message["Subject"] = worded.subject
    message.set_content(worded.text)
    message.add_alternative(worded.html, subtype="html")
    body = message.as_bytes(policy=SMTP) + b"\r\n.\r\n"

    def connect() -> smtplib.SMTP:
        smtp = smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]), timeout=10)
        smtp.ehlo()
        return smtp

    def call(smtp: smtplib.SMTP) -> None:
        smtp.noop()
        smtp.mail(os.environ["MAIL_FROM"])
        smtp.rcpt("sam@example.org")
        smtp.docmd("DATA")
        smtp.send(body)
        assert smtp.getreply()[0] == 250

    return _rate(count, connect, call)


def _text(count: int) -> float:
    account, token = os.environ["TWILIO_ACCOUNT"], os.environ["TWILIO_TOKEN"]
    url = f"{os.environ['TWILIO_URL']}/2010-04-01/Accounts/{account}/Messages.json"
    form = {"To": "+15035559999", "From": os.environ["TWILIO_FROM"], "Body": _worded("sms").text}
    form["StatusCallback"] = "http://127.0.0.1/messages/webhooks/status?m=" + "0" * 36

    def connect() -> requests.Session:
        session = requests.Session()
        session.auth = (account, token)
        return session

    def call(session: requests.Session) -> None:
        assert session.post(url, data=form, timeout=(5, 15)).json()["sid"]

    return _rate(count, connect, call)


def _worded(channel: str) -> Any:
    values = {"alias": "Bridge South", "in_touch_by": "Tuesday at 10:00", "called": "Sam"}
    values["unsubscribe_link"] = f"http://127.0.0.1/messages/stop/{'0' * 60}"
    return render("first", channel, "en", values)


def _rate(
    count: int, connect: Callable[[], Connection], call: Callable[[Connection], None]
) -> float:
    """Calls a second over as many connections as the sender has threads."""
    idle: SimpleQueue[Connection] = SimpleQueue()
    for _ in range(THREADS):
        idle.put(connect())

    def one(_: int) -> None:
        connection = idle.get()
        call(connection)
        idle.put(connection)

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(count)))
    return count / (time.perf_counter() - began)
