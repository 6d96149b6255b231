"""Nothing that leaves says why somebody hears from us, whatever was entered about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from typing import Any
from uuid import UUID

import pytest

from contracts.intake import ContactDetails, FacilityChanged
from contracts.matching import MentorAssigned
from messaging.outbox import bound_to
from messaging.sealing import NotOurs
from messaging.work import Work, new_traceparent
from services.intake.facilities import load_facilities
from services.notifications.channels import Letter
from services.notifications.channels.email import SmtpChannel
from services.notifications.wording import PURPOSES
from services.revealing import deny_listed
from tests.component.test_check_ins import days_pass
from tests.contract.record import an_example
from tests.house import House

FACILITY = """
[[facility]]
code = "sunrise-recovery-center"
alias = "Bridge East"
time_zone = "America/Los_Angeles"
promised_hours = 4
wording = { rehab-1 = "I agree to hear from the Sunrise Recovery Center." }
units = ["Detox"]
[facility.coordinator]
name = "Nurse of the Clinic"
phone = "+15035550181"
email = "intake@sunrise-recovery-center.example.org"
[facility.on_call]
name = "Crisis Counselor"
phone = "+15035550182"
email = "crisis@sunrise-recovery-center.example.org"
"""
#: What was entered about the client; they hear their own chosen name and nothing else of it.
CALLED = "Sober Sam of AA"
CONSENT = {"given_at": "2026-11-20T09:00:00-08:00", "obtained_by": "Rehab Ray", "method": "written"}
HOSTILE: dict[str, Any] = {
    "facility": "sunrise-recovery-center",
    "name": {"given": "Heroin", "family": "Methadone", "called": CALLED},
    "unit": "Detox",
    "level_of_care": "detox residential treatment",
    "substances": ["alcohol", "fentanyl"],
    "needs": ["cravings", "sponsor"],
    "pathways": ["12_step", "medication"],
    "moud": True,
    "wishes": "Nobody from the methadone clinic; sober people only",
    "high_risk": ["recent_overdose"],
    "consents": {
        "text": CONSENT | {"wording": "rehab-1"},
        "email": CONSENT | {"wording": "rehab-1"},
    },
}
NAMES = ("sunrise-recovery-center", "Sunrise", "Heroin", "Methadone", "Rehab Ray", "Crisis")
JO, BO, MIA = "+15035550101", "+15035550102", "+15035550103"
ON_CALL = "+15035550182"


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("first", ["text", "email"])
def test_a_whole_story_gives_nothing_away(house: House, language: str, first: str) -> None:
    _open(house, language)

    _live(house, language, first)

    said = {row.purpose for row in house.rows("notifications", _SAID)}
    assert PURPOSES.keys() == said
    assert {"sms", "email"} == {channel for channel, _ in house.network.letters}
    assert [] == [hit for one in house.network.letters for hit in _leaks(*one)]


def test_what_is_not_what_was_declared_does_not_travel(house: House) -> None:
    """A sealed field holds what it says, sealed, or the work that says it comes to nothing."""
    told = replace(an_example(FacilityChanged), people=an_example(ContactDetails))

    with pytest.raises(TypeError, match="people would travel unsealed"):
        house.intake.transact(lambda work: [told])

    assert [] == house.rows("intake", "SELECT body FROM outbox")


@pytest.mark.parametrize("moved", [{"bound": "event/other"}, {"person": UUID(int=1)}])
def test_what_is_only_kept_is_refused_where_it_does_not_belong(
    house: House, moved: dict[str, Any]
) -> None:
    told, event_id = an_example(MentorAssigned), UUID(int=2)
    bound = bound_to(event_id, told, "why")
    fits = replace(told, why=replace(told.why, person=told.client_id, bound=bound))

    with house.intake.engine.begin() as conn:
        work = Work(house.intake, conn, new_traceparent())
        assert fits == work.opened(fits, event_id)
        with pytest.raises(NotOurs):
            work.opened(replace(fits, why=replace(fits.why, **moved)), event_id)


def test_the_scan_finds_a_leak() -> None:
    letter = Letter(message_id="1", to=JO, subject="Su recuperación", text=f"Hi, {CALLED}")

    assert ["sober*", "AA"] == _leaks("sms", letter)
    assert ["recuper*", "sober*", "AA"] == _leaks("email", letter)


_SAID = "SELECT DISTINCT purpose FROM message WHERE state = 'handed_over'"


def _open(house: House, language: str) -> None:
    assert [] == load_facilities(house.desk, FACILITY.encode())[1]
    house.settle()
    roster = (
        "code,called,mobile,email,opted_in_at,opted_in_how,time_zone,languages,pathways,strengths,"
        "moud_friendly,gender,facilities,capacity,hours,credential,route,state\n"
    )
    for code, called, mobile, email, gender in (
        ("REHAB-1", "Jo", JO, "jo@peers.example.org", "woman"),
        ("REHAB-2", "Bo", BO, "bo@peers.example.org", "man"),
        ("REHAB-3", "Mia", MIA, "", "nonbinary"),
    ):
        roster += (
            f"{code},{called},{mobile},{email},2026-01-05T10:00:00-08:00,form,America/Los_Angeles,"
            f"{language},12_step,cravings|sponsor,yes,{gender},sunrise-recovery-center,9,"
            "09:00-20:00,Recovery Coach,workforce,active\n"
        )
    house.load_mentors(roster)


def _live(house: House, language: str, first: str) -> None:
    """Everything that a message exists for happens to somebody."""

    def enter(number: int, gender: str) -> str:
        house.register(
            record_number=f"AA-{number}",
            visit_number=f"DETOX-{number}",
            mobile=f"+150355502{number:02}",
            email=f"client{number}@example.org",
            language=language,
            channels=[first],
            wants_gender=gender,
            **HOSTILE,
        )
        return f"+150355502{number:02}"

    def say(phone: str, *texts: str) -> None:
        for words in texts:
            house.text(phone, words)

    def later(hours: float) -> None:
        house.clock.move(hours=hours)
        house.settle()

    client = enter(1, "woman")
    say(JO, "perhaps, it depends", "help", "yes", "no answer")
    later(25)
    say(JO, "talked")
    say(client, "help", "i want to die", "stop", "start")
    another = enter(2, "man")
    say(BO, "yes")
    say(another, "someone else")
    another = enter(3, "nonbinary")
    say(MIA, "yes")
    say(another, "no")
    enter(4, "man")
    say(BO, "no")
    say(JO, "no")
    later(3)
    later(5)
    say(MIA, "stop", "start")
    say(enter(5, "woman"), "wrong number")
    asked = enter(6, "man")
    enter(7, "woman")
    say(BO, "yes", "pause", "back")
    # The first answer is about the one before: one open question at a time.
    say(JO, "yes", "yes")
    days_pass(house, 1.2)
    say(asked, "ok")
    days_pass(house, 2)
    say(asked, "talk")
    days_pass(house, 5)


def _leaks(channel: str, letter: Letter) -> list[str]:
    own = "" if letter.to in _MENTORS_AND_STAFF else CALLED
    found: list[str] = []
    for said in _outward(channel, letter):
        said = re.sub(r"/(card|answer|unsubscribe)/[\w=-]+", r"/\1/", said)
        found += deny_listed(said.replace(own, "") if own else said, NAMES)
    return list(dict.fromkeys(found))


_MENTORS_AND_STAFF = {JO, BO, MIA, ON_CALL, "jo@peers.example.org", "bo@peers.example.org"}


def _outward(channel: str, letter: Letter) -> Iterator[str]:
    """Every header and every part of a letter, as a reader and as a wire would see them."""
    if channel == "sms":
        yield letter.text
        return
    sender = SmtpChannel(host="127.0.0.1", port=25, sender="relay@bridge.example")
    wire = sender.on_the_wire(letter)
    yield wire.partition(b"\r\n\r\n")[0].decode("ascii")
    message = message_from_bytes(wire, policy=default)
    yield "\n".join(f"{name}: {value}" for name, value in message.items())
    for part in message.walk():
        yield "\n".join(f"{name}: {value}" for name, value in part.items())
        if not part.is_multipart():
            yield part.get_content()
