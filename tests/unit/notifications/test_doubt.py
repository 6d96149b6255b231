"""A network that does not say what it took is tried with one message at a time."""

from __future__ import annotations

from services.notifications.channels import Outcome
from services.notifications.doubt import Doubt

SILENCE = Outcome(kind="unknown", phase="body", reason="ReadTimeout")
TAKEN = Outcome(kind="accepted", phase="done", provider_id="SM-1")
AWAY = Outcome(kind="not_sent", phase="connect", reason="refused")


class _At:
    def __init__(self) -> None:
        self.moment = 0.0

    def __call__(self) -> float:
        return self.moment


def test_two_in_a_row_are_a_coincidence_and_three_are_not() -> None:
    doubt = Doubt(clock=_At())
    for _ in range(2):
        doubt.learn("sms", SILENCE)
    assert not doubt.holds_back("sms")

    doubt.learn("sms", SILENCE)

    assert doubt.holds_back("sms")
    assert not doubt.holds_back("email")


def test_one_tries_when_the_pause_is_over_and_the_others_wait_for_it() -> None:
    at = _At()
    doubt = Doubt(clock=at)
    for _ in range(3):
        doubt.learn("sms", SILENCE)
    at.moment = 5.0

    tries = [doubt.holds_back("sms") for _ in range(3)]
    doubt.learn("sms", TAKEN)

    assert [False, True, True] == tries
    assert not doubt.holds_back("sms")


def test_pauses_grow_to_a_minute() -> None:
    at = _At()
    doubt = Doubt(clock=at)
    pauses = []
    for _ in range(9):
        doubt.learn("sms", SILENCE)
        began = at.moment
        while doubt.holds_back("sms"):
            at.moment += 1.0
        pauses.append(at.moment - began)

    assert [0, 0, 5, 10, 20, 40, 60, 60, 60] == pauses


def test_a_network_that_is_away_says_nothing_about_what_it_took() -> None:
    doubt = Doubt(clock=_At())
    for outcome in (SILENCE, SILENCE, AWAY, SILENCE):
        doubt.learn("sms", outcome)

    assert doubt.holds_back("sms")
