"""What mentors may say in their hello, and that every word of a page is there in each language."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from contracts.intake import ContactDetails
from contracts.matching import MentorContact
from messaging.sealing import SearchTokens
from services.notifications import hello
from services.notifications.letters import Facts, LetterWriter
from services.notifications.mentor_forms import hours_as_typed
from services.notifications.page_words import WORDS, when
from services.notifications.store import Assignment, Facility, Message, Person
from services.notifications.wording import in_gsm_7, segments
from services.revealing import deny_listed
from services.wishes import NEEDS

NOW = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


def faults(words: str, called: str = "Jo", alias: str = "Bridge North") -> list[str]:
    return [name for name, _ in hello.faults(words, alias=alias, called=called)]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Glad to meet you.",
        "I have been where you are. No pressure, we just talk.",
        "Hola, soy Jo. ¡Qué gusto! Hablamos cuando quiera.",
        "I'm around most evenings — 7 p.m. works best.",
        "x" * 80,
    ],
)
def test_a_plain_hello_is_fine(words: str) -> None:
    assert [] == faults(words)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("Ten years sober", "reveals"),
        ("Nos vemos en rehabilitación", "reveals"),
        ("See you at AA", "reveals"),
        ("Look at https://x.example", "link"),
        ("My page is jo.example/me", "link"),
        ("Write to jo@x", "link"),
        ("Call 503 555-0101", "number"),
        ("Llame al (503) 555.0101", "number"),
        ("Hi there 🌻", "picture"),
        ("здравствуйте", "picture"),
        ("x" * 81, "long"),
    ],
)
def test_what_a_hello_must_not_say(words: str, fault: str) -> None:
    assert [fault] == faults(words)


def test_a_long_name_leaves_less_room() -> None:
    assert [] == faults("x" * 80, called="Jo")
    assert ["long"] == faults("x" * 80, called="y" * 40, alias="z" * 40)


@pytest.mark.parametrize("language", ["en", "es"])
def test_an_introduction_with_the_longest_hello_is_two_texts(language: str) -> None:
    told = hello.preview("x" * hello.LONGEST_HELLO, language, alias="Bridge North", called="Jo")

    assert "x" * hello.LONGEST_HELLO in told
    assert 2 == segments(told)


def _introduction(*, called: str, language: str = "en") -> str:
    """The text that a client gets of a mentor whose hello is as long as it may be."""
    client = ContactDetails(called="Sam", language="en", time_zone="UTC", mobile="+15035550123")
    mentor = MentorContact(called=called, language=language, time_zone="UTC", hours="09:00-20:00")
    names = ("person_id", "subject_id", "client_id", "discharge_id", "mentor_id")
    ids = dict.fromkeys(names, UUID(int=1))
    assignment = Assignment(
        id=UUID(int=2), state="assigned", call_by=NOW,
        **{name: ids[name] for name in ("client_id", "discharge_id", "mentor_id")},
    )  # fmt: skip
    message = Message(
        id=UUID(int=3), once="", recipient="client", purpose="introduction", channel="sms",
        is_answer=False, state="planned", due_at=NOW, first_due_at=NOW,
        **{name: ids[name] for name in ("person_id", "subject_id")},
    )  # fmt: skip
    facility = Facility(
        id=UUID(int=4), alias="z" * 40, time_zone="UTC", language="en", promised_hours=4,
        quiet_hours="09:00-20:00", people=None,
    )  # fmt: skip
    person = Person(id=UUID(int=1), kind="client", state="active", contact=client)
    facts = Facts(
        message=message, address="+15035550123", facility=facility, person=person, client=person,
        mentor=Person(id=UUID(int=5), kind="mentor", state="active", contact=mentor),
        assignment=assignment, hello="x" * hello.LONGEST_HELLO,
    )  # fmt: skip
    writer = LetterWriter(tokens=SearchTokens(b"key"), public_url="https://bridge.example")
    return writer.write(facts)[0].text


def test_a_hello_that_no_longer_fits_is_left_out() -> None:
    fits, too_long = _introduction(called="Jo"), _introduction(called="y" * 40)

    assert "xxx" in fits
    assert "xxx" not in too_long
    assert "y" * 40 + " will call you" in too_long


def test_a_hello_in_another_language_is_left_out() -> None:
    assert "xxx" not in _introduction(called="Jo", language="es")


def test_letters_lose_their_accents_only_where_they_cost_half_a_text() -> None:
    assert '¿Como esta? é ñ ü "a" \'' == in_gsm_7("¿Cómo está? é ñ ü “a” ’")
    assert "李 🌻" == in_gsm_7("李 🌻")


def test_both_languages_say_the_same_things() -> None:
    english, spanish = WORDS["en"], WORDS["es"]

    assert list(english) == list(spanish)
    assert {"en", "es"} == set(WORDS)
    assert set(NEEDS) <= set(english)
    for name in english:
        places = [sorted(re.findall(r"\{\w+\}", words[name])) for words in (english, spanish)]
        assert places[0] == places[1], name


@pytest.mark.parametrize("language", WORDS)
def test_what_is_said_before_the_code_says_nothing_of_why(language: str) -> None:
    # Behind the code stand the needs of a client, which may be named there.
    outside = [words for name, words in WORDS[language].items() if name not in NEEDS]

    assert [] == deny_listed(" ".join(outside))


@pytest.mark.parametrize(
    ("minutes", "english", "spanish"),
    [
        (0, "now", "ahora"),
        (-30, "30 min ago", "hace 30 min"),
        (60 * 23, "in 23 h", "en 23 h"),
        (-60 * 24 * 3, "3 days ago", "hace 3 días"),
    ],
)
def test_a_moment_is_told_in_each_language(minutes: int, english: str, spanish: str) -> None:
    at = NOW + timedelta(minutes=minutes)

    told = [when(at, "America/Los_Angeles", NOW, language)["told"] for language in ("en", "es")]

    assert [english, spanish] == told


def test_a_moment_is_told_on_the_clocks_of_the_reader() -> None:
    told = [when(NOW, "Pacific/Honolulu", NOW, language)["exact"] for language in ("en", "es")]

    assert ["Tue 24 Nov, 08:00", "mar 24 nov, 08:00"] == told


def test_hours_are_shown_as_they_are_typed() -> None:
    until_midnight = hours_as_typed("sat,sun 10:00-24:00")

    assert {"days": ["sat", "sun"], "begins": "10:00", "ends": "00:00"} == until_midnight
    assert 7 == len(hours_as_typed("09:00-20:00")["days"])
