"""The product as a newcomer meets it: started, lived in, stopped, and found again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from deploy.local.children import CHECKOUT
from tests.running import Running, a_running_system, eventually

SERVICES = ("intake", "matching", "notifications")
CLIENT = "+15035550141"
OFFER = "Can you take a new call?"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with a_running_system() as running:
        eventually(
            lambda: "the discharge is now: " in running.output,
            seconds=60,
            otherwise=lambda: running.output,
        )
        yield running


def asked_phone(running: Running, discharge_id: str) -> str:
    """The phone that got the newest offer of a discharge, told by the ids in its story."""

    def look() -> list[str]:
        steps = running.story(discharge_id)["steps"]
        offers = [s["message_id"] for s in steps if s.get("purpose") == "offer"]
        return [m["to"] for m in running.messages() if m["message_id"] in offers]

    return str(eventually(look, otherwise="nobody was asked")[-1])


def test_the_demo_tells_the_story_of_its_example_up_to_assigned(running: Running) -> None:
    assert "the discharge is now: assigned" in running.output
    assert "POST /api/discharges answered 202" in running.output


def test_a_discharge_is_offered_then_assigned_then_in_contact(running: Running) -> None:
    discharge_id = running.register(record_number="R-21", mobile=CLIENT, email="a@peers.example")
    running.wait_for(discharge_id, "offered")
    running.message(CLIENT, "You asked us to stay in touch")
    phone = asked_phone(running, discharge_id)

    running.reply(phone, "YES")
    running.wait_for(discharge_id, "assigned")
    running.message(CLIENT, "will call you")
    running.message(phone, "/messages/card/")
    running.reply(phone, "TALKED")

    running.wait_for(discharge_id, "in_contact")


def test_the_card_opens_with_the_code_that_came_by_e_mail(running: Running) -> None:
    discharge_id = running.register(
        record_number="R-22",
        mobile="+15035550142",
        name={"given": "Quillon", "family": "Doe", "called": "Quill"},
        facility="south",
        # All of these mentors have a mailbox besides their phone.
        wants_gender="man",
    )
    running.wait_for(discharge_id, "assigned", facility="south")
    link, code = running.card_of(discharge_id, facility="south")

    closed = requests.get(link, timeout=10)
    wrong = requests.post(link, data={"code": "000000" if code != "000000" else "1"}, timeout=10)
    opened = requests.post(link, data={"code": code}, timeout=10)

    assert 200 == closed.status_code
    assert "Quill" not in closed.text
    assert 403 == wrong.status_code
    assert "Quill" not in wrong.text
    assert 200 == opened.status_code
    assert "+15035550142" in opened.text


def test_a_client_without_a_phone_is_reached_by_e_mail(running: Running) -> None:
    consent: dict[str, Any] = {"obtained_by": "R. Lane", "method": "written", "wording": "email-1"}
    consent["given_at"] = running.now().isoformat()

    running.register(
        record_number="R-23",
        mobile=None,
        email="only@peers.example",
        facility="south",
        consents={"email": consent},
    )

    first = running.message("only@peers.example", "You asked us to stay in touch")
    assert "email" == first["channel"]


def test_a_spanish_client_is_written_to_in_spanish(running: Running) -> None:
    discharge_id = running.register(
        record_number="R-24", mobile="+15035550144", language="es", facility="south"
    )

    running.wait_for(discharge_id, "assigned", facility="south")
    running.message("+15035550144", "Usted lo ha pedido")
    running.message("+15035550144", "le va a llamar")


def test_the_published_guarantees_hold(running: Running) -> None:
    checked = running.services("check")

    assert 0 == checked.returncode, checked.stdout + checked.stderr


def test_a_second_run_on_the_same_folder_is_refused_with_a_sentence(running: Running) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "deploy.local"],
        cwd=CHECKOUT,
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 1 == second.returncode
    assert f"already runs on {running.var}: {running.access['url']}" in second.stderr
    assert "Traceback" not in second.stderr


def test_no_log_line_holds_what_identifies_a_person(running: Running) -> None:
    logs = {log.stem: log.read_text() for log in (running.var / "log").glob("*.log")}
    told: tuple[str, ...] = (
        "Quill",
        "R-1001",
        "R-22",
        "R. Lane",
        "Doe",
        "1990-04-02",
        "Bridge",
        "Usted",
    )
    told += ("5035550", "peers.example", "sam@")

    processes = {f"{kind}-{name}" for kind in ("web", "worker") for name in SERVICES}
    assert processes | {"kafka", "postgres", "sandbox", "front-door"} <= logs.keys()
    for name, text in logs.items():
        assert [] == [word for word in told if word in text], name


def test_ctrl_c_leaves_nothing_and_a_second_start_finds_everything_again() -> None:
    with a_running_system(WARM_HANDOFF_DEMO="1") as running:
        discharge_id = running.register(record_number="R-31", mobile=CLIENT, facility="south")
        before = running.wait_for(discharge_id, "assigned", facility="south")
        running.message(CLIENT, "will call you")
        access = running.access

        running.stop(by=signal.SIGINT)
        running.start()

        assert access == running.access
        after = running.story(discharge_id, "south")
        assert "assigned" == after["state"]
        assert before["steps"] == after["steps"][: len(before["steps"])]
        assert running.messages(CLIENT)
        again = running.register(record_number="R-32", mobile="+15035550145", facility="south")
        running.wait_for(again, "assigned", facility="south")
