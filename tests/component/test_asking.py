"""A network is asked about texts of which nobody knows, and nothing is sent again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from services.notifications.asking import Asking
from services.notifications.channels import Lying, Outcome
from tests.house import House

CLIENT = "+15035550123"
SILENCE = Outcome(kind="unknown", phase="body", reason="ReadTimeout")


@dataclass
class Answering:
    """A network that says what lies in it, or does not answer."""

    lying: dict[tuple[str, str], list[Lying]] | None
    asked: list[tuple[str, date]] = field(default_factory=list)

    def find(self, to: str, text: str, since: date) -> list[Lying] | None:
        """What lies there, as the test says."""
        self.asked.append((to, since))
        return None if self.lying is None else self.lying.get((to, text), [])

    def close(self) -> None:
        """Nothing is held."""


def _first_is_unconfirmed(center: House) -> dict[str, Any]:
    center.network.outcomes = [SILENCE]
    story = center.register(facility="south", email=None, channels=["text"])
    assert "message_unconfirmed" in {task["kind"] for task in center.tasks("south")}
    return story


def _first(center: House) -> Any:
    [row] = center.rows(
        "notifications", "SELECT * FROM message WHERE purpose = 'first' AND recipient = 'client'"
    )
    return row


def _ask(center: House, network: Answering, **later: float) -> None:
    center.clock.move(**later)
    asking = Asking(center.notifications, lambda: network)
    while asking.step():
        pass
    center.settle()


def test_a_text_that_lies_there_as_refused_for_a_stop_ends_every_channel(center: House) -> None:
    _first_is_unconfirmed(center)
    refused = Lying(provider_id="SM-1", status="failed", code="21610")

    _ask(center, Answering({(CLIENT, _words(center)): [refused]}), minutes=1)

    assert ("failed", "receipt_21610") == (_first(center).state, _first(center).reason)
    firsts = "SELECT channel FROM message WHERE purpose = 'first'"
    assert ["sms"] == [row.channel for row in center.rows("notifications", firsts)]


def _words(center: House) -> str:
    return center.network.to(CLIENT)[0]


@pytest.mark.parametrize(
    ("status", "state"), [("delivered", "delivered"), ("queued", "handed_over")]
)
def test_a_text_that_lies_there_was_taken(center: House, status: str, state: str) -> None:
    _first_is_unconfirmed(center)
    lying = {(CLIENT, _words(center)): [Lying(provider_id="SM-1", status=status)]}
    said = len(center.network.letters)

    _ask(center, Answering(lying), minutes=1)

    assert (state, "SM-1") == (_first(center).state, _first(center).provider_id)
    assert "message_unconfirmed" not in {task["kind"] for task in center.tasks("south")}
    assert said == len(center.network.letters)
    center.clock.move(minutes=2)
    found = center.violated()
    # The trial's network knows nothing of that id.
    assert set() == set(found) - {"G5"}


def test_nothing_is_asked_before_a_receipt_has_had_its_time(center: House) -> None:
    _first_is_unconfirmed(center)
    network = Answering({})

    _ask(center, network, seconds=50)

    assert [] == network.asked


def test_what_does_not_lie_there_stays_for_a_person_and_is_asked_thrice(center: House) -> None:
    _first_is_unconfirmed(center)
    network = Answering({})

    for _ in range(30):
        _ask(center, network, minutes=10)

    assert 3 == len(network.asked)
    assert "unconfirmed" == _first(center).state
    assert "message_unconfirmed" in {task["kind"] for task in center.tasks("south")}


def test_a_network_that_does_not_answer_is_asked_again(center: House) -> None:
    _first_is_unconfirmed(center)
    away = Answering(None)
    for _ in range(5):
        _ask(center, away, minutes=1)
    assert 5 == len(away.asked)

    lying = {(CLIENT, _words(center)): [Lying(provider_id="SM-1", status="sent")]}
    _ask(center, Answering(lying), minutes=1)

    assert "handed_over" == _first(center).state


def test_the_same_words_of_another_message_do_not_count(center: House) -> None:
    _first_is_unconfirmed(center)
    with center.notifications.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE message SET provider_id = 'SM-1' WHERE purpose <> 'first'")
    lying = {(CLIENT, _words(center)): [Lying(provider_id="SM-1", status="delivered")]}

    _ask(center, Answering(lying), minutes=1)

    assert "unconfirmed" == _first(center).state


def test_a_receipt_ends_the_asking(center: House) -> None:
    _first_is_unconfirmed(center)
    center.incoming.receipt(_first(center).id, "delivered", "SM-9", "")
    network = Answering({})

    _ask(center, network, minutes=2)

    assert [] == network.asked
    assert "delivered" == _first(center).state


def test_a_text_that_cannot_be_opened_keeps_nobody_from_being_asked_about(center: House) -> None:
    _first_is_unconfirmed(center)
    center.network.outcomes = [SILENCE]
    center.register(
        facility="south",
        email=None,
        channels=["text"],
        record_number="R-2",
        mobile="+15035550142",
    )
    with center.notifications.engine.begin() as conn:
        conn.exec_driver_sql(
            "UPDATE message SET said = jsonb_set(said, '{box}', '\"own.AAAA\"')"
            " WHERE id = (SELECT id FROM message WHERE ask_at IS NOT NULL ORDER BY ask_at LIMIT 1)"
        )
    network = Answering({})

    _ask(center, network, minutes=2)

    assert 1 == len(network.asked)


def test_nothing_is_asked_about_who_was_erased(center: House) -> None:
    story = _first_is_unconfirmed(center)
    assert center.desk.erase(UUID(story["client_id"]), by="ops", because="asked")
    center.settle()
    network = Answering({})

    _ask(center, network, minutes=2)

    assert [] == network.asked
