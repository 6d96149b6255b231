"""The hand-over from a discharge to the first talk, as the people in it live it."""

from __future__ import annotations

from tests.house import House

CLIENT = "+15035550123"
JO = "+15035550101"


def test_a_discharge_leads_to_a_first_message_and_an_offer(center: House) -> None:
    story = center.register()

    assert "offered" == story["state"]
    assert "You asked us to stay in touch" in center.network.to(CLIENT)[0]
    assert "Can you take a new call?" in center.network.to(JO)[0]


def test_a_yes_introduces_both_and_talked_makes_contact(center: House) -> None:
    story = center.register()

    center.text(JO, "Yes!")
    after_yes = center.story(story["id"])
    center.text(JO, "talked")

    assert "assigned" == after_yes["state"]
    assert "Jo will call you" in center.network.to(CLIENT)[1]
    assert "/messages/card/" in center.network.to(JO)[1]
    assert "in_contact" == center.story(story["id"])["state"]


def test_a_no_goes_to_the_next_mentor_and_never_back(center: House) -> None:
    story = center.register()

    center.text(JO, "no")

    asked = [to for channel, to in _offers(center)]
    assert 2 == len(asked)
    assert JO == asked[0]
    assert JO != asked[1]
    assert "offered" == center.story(story["id"])["state"]


def test_silence_for_two_hours_asks_the_next_mentor(center: House) -> None:
    center.register()

    center.clock.move(hours=2, minutes=1)
    center.settle()

    assert 2 == len(_offers(center))


def test_a_client_at_south_is_assigned_at_once(center: House) -> None:
    story = center.register(facility="south")

    assert "assigned" == story["state"]


def _offers(center: House) -> list[tuple[str, str]]:
    return [
        (channel, letter.to)
        for channel, letter in center.network.letters
        if "Can you take a new call?" in letter.text
    ]
