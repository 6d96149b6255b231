"""Make the letter of a message from what is known when it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from contracts.intake import ContactDetails
from messaging.sealing import SearchTokens
from services.notifications.cards import code_of, link_token
from services.notifications.channels import Letter
from services.notifications.domain import in_words, language_in_words
from services.notifications.hello import MOST_SEGMENTS
from services.notifications.store import Assignment, Facility, Message, Person, Question
from services.notifications.wording import Rendered, in_gsm_7, render, segments


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a message may speak of, as it stands when it leaves."""

    message: Message
    address: str
    facility: Facility
    person: Person | None = None
    client: Person | None = None
    mentor: Person | None = None
    assignment: Assignment | None = None
    question: Question | None = None
    card_id: UUID | None = None
    hello: str | None = None


@dataclass(frozen=True, kw_only=True)
class LetterWriter:
    """Words messages for their recipients; links lead to the front door."""

    tokens: SearchTokens
    public_url: str

    def address_token(self, channel: str, address: str) -> str:
        """The token of an address, by which it can be stopped."""
        if channel == "sms":
            return self.tokens.token("mobile", address)
        return self.tokens.token("email", address.lower())

    def write(self, facts: Facts) -> tuple[Letter, Rendered]:
        """The letter and how it was worded; raises ``CannotRender``."""
        message, contact = facts.message, facts.person.contact if facts.person else None
        language = contact.language if contact else facts.facility.language
        zone = _zone(contact.time_zone if contact else facts.facility.time_zone)
        values = self._values(facts, language, zone)
        rendered = render(message.purpose, message.channel, language, values)
        is_text = message.channel == "sms"
        if is_text and "hello" in values and segments(rendered.text) > MOST_SEGMENTS:
            # The alias or a name grew after it was written; the introduction itself must be read.
            rendered = render(message.purpose, message.channel, language, values | {"hello": ""})
        letter = Letter(
            message_id=str(message.id),
            to=facts.address,
            subject=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            unsubscribe_link=values.get("unsubscribe_link"),
        )
        return letter, rendered

    def _values(self, facts: Facts, language: str, zone: ZoneInfo) -> dict[str, str]:
        message, facility = facts.message, facts.facility
        values = {"alias": facility.alias}
        if facility.people is not None:
            values["coordinator_phone"] = facility.people.coordinator_phone
        by = message.first_due_at + timedelta(hours=facility.promised_hours)
        values["in_touch_by"] = in_words(by.astimezone(zone), language)
        if facts.client is not None and isinstance(facts.client.contact, ContactDetails):
            values |= self._about_client(facts.client.contact, message, language)
        if facts.mentor is not None and facts.mentor.contact is not None:
            values["mentor_name"] = facts.mentor.contact.called
            values |= self._hello(facts, facts.mentor.contact.language, language)
        if facts.assignment is not None and facts.assignment.call_by is not None:
            values["call_by"] = in_words(facts.assignment.call_by.astimezone(zone), language)
        return values | self._links(facts)

    @staticmethod
    def _about_client(contact: ContactDetails, message: Message, language: str) -> dict[str, str]:
        """To the client their own name; to a mentor who is asked, what they need to decide."""
        if message.recipient == "client":
            return {"called": contact.called}
        return {
            "language": language_in_words(contact.language, language),
            "times": contact.safe_hours or "09:00-20:00",
        }

    @staticmethod
    def _hello(facts: Facts, written_in: str, language: str) -> dict[str, str]:
        """The mentor's own hello, to whoever reads the language in which it was written."""
        if facts.hello is None or written_in != language:
            return {}
        is_text = facts.message.channel == "sms"
        return {"hello": in_gsm_7(facts.hello) if is_text else facts.hello}

    def _links(self, facts: Facts) -> dict[str, str]:
        links: dict[str, str] = {}
        pages = f"{self.public_url}/messages"
        if facts.message.channel == "email":
            token = self.address_token("email", facts.address)
            links["unsubscribe_link"] = f"{pages}/unsubscribe/{token}"
        if facts.question is not None:
            links["answer_link"] = f"{pages}/answer/{facts.question.id}"
        if facts.card_id is not None:
            links["link"] = f"{pages}/card/{link_token(self.tokens, facts.card_id)}"
            links["code"] = code_of(self.tokens, facts.card_id)
        return links


#: The question that a message's answering page answers.
QUESTION_OF = {
    "offer": "offer",
    "introduction": "introduction",
    "check_in": "check_in",
    "reminder": "contact",
    "no_answer": "contact",
    "wants_to_talk": "contact",
    "quiet": "contact",
}


def _zone(name: str) -> ZoneInfo:
    """A time zone; of one that is not known here, what never waits is told in UTC's hours."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")
