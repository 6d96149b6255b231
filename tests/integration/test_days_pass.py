"""The running product over a week: its clocks are moved on, and clients are asked how they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import create_engine

from hosting.clock import move_to
from tests.running import Running, a_running_system, eventually

TALKS, SILENT = "+15035550151", "+15035550152"
QUESTION = "How are you today?"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with a_running_system(WARM_HANDOFF_NOW="2026-11-24T18:00:00Z") as running:
        yield running


def days_later(running: Running, days: float) -> None:
    """Move the clocks of all processes on."""
    owner = create_engine(running.settings["ACCESS_OWNER_URL"])
    try:
        assert move_to(owner, running.now() + timedelta(days=days))
    finally:
        owner.dispose()


def introduced(running: Running, number: str) -> str:
    """A client of south, where mentors are assigned, who has heard who will call."""
    discharge_id = running.register(
        record_number=f"R{number}", mobile=number, email=None, facility="south"
    )
    running.wait_for(discharge_id, "assigned", facility="south")
    running.message(number, "will call you")
    return discharge_id


def asked(running: Running, number: str, times: int) -> None:
    """Wait until a phone was asked so many times."""
    eventually(
        lambda: times == len([m for m in running.messages(number) if QUESTION in m["body"]]),
        otherwise=lambda: f"{times} times: {[m['body'] for m in running.messages(number)]}",
    )


def mentor_is_told(running: Running, discharge_id: str, purpose: str) -> None:
    """Wait until a message left, in whichever language the mentor speaks."""

    def look() -> bool:
        steps = running.story(discharge_id, "south")["steps"]
        left = [s["purpose"] for s in steps if s["what"] == "message_handed_over"]
        return 1 == left.count(purpose)

    eventually(look, otherwise=lambda: str(running.story(discharge_id, "south")["steps"]))


def test_a_week_with_a_wish_to_talk_and_with_silence(running: Running) -> None:
    talks, silent = introduced(running, TALKS), introduced(running, SILENT)

    # An hour past the time of day, which is longer than the jitter.
    days_later(running, 1 + 1 / 24)
    for number in (TALKS, SILENT):
        asked(running, number, 1)
    running.reply(TALKS, "TALK")
    running.message(TALKS, "988")
    mentor_is_told(running, talks, "wants_to_talk")
    days_later(running, 2)
    for number in (TALKS, SILENT):
        asked(running, number, 2)
    running.reply(TALKS, "ok, thanks")
    running.message(TALKS, "good to hear")
    days_later(running, 2)
    mentor_is_told(running, silent, "quiet")
    days_later(running, 2)
    asked(running, TALKS, 3)
    asked(running, SILENT, 2)

    steps = running.story(talks, "south")["steps"]
    said = [step["meaning"] for step in steps if step["what"] == "reply"]
    assert ["talk", "ok"] == said
    assert "wants_to_talk" in [task["kind"] for task in running.tasks("south")]
