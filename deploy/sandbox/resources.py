"""The JSON of the Twilio Messages API: a message, a page of them, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from deploy.sandbox.phones import API_VERSION
from deploy.sandbox.settings import Account
from deploy.sandbox.spool import Entry, Message, State

GSM_ONE = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_TWO = frozenset("\f^{}\\[~]|€")


class Refused(Exception):
    """A call that the API refuses, with the number by which Twilio knows the reason."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def as_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which part of a list was asked for."""

    number: int
    size: int

    def cut(self, items: Sequence[Entry]) -> Sequence[Entry]:
        """The messages on this page."""
        return items[self.number * self.size : (self.number + 1) * self.size]


def segments(text: str) -> int:
    """How many texts a network makes of this one."""
    if all(letter in GSM_ONE or letter in GSM_TWO for letter in text):
        length, whole, part = sum(1 + (letter in GSM_TWO) for letter in text), 160, 153
    else:
        length, whole, part = len(text.encode("utf-16-le")) // 2, 70, 67
    return 1 if length <= whole else -(-length // part)


def message_json(message: Message, state: State, account: Account) -> dict[str, Any]:
    """A text as the API shows it."""
    path = f"/{API_VERSION}/Accounts/{account.sid}/Messages/{message.id}"
    created_at = format_datetime(message.received_at)
    return {
        "account_sid": account.sid,
        "api_version": API_VERSION,
        "body": "" if state.is_redacted else message.body,
        "date_created": created_at,
        "date_sent": None if state.status == "queued" else created_at,
        "date_updated": format_datetime(state.at),
        "direction": "inbound" if message.inbound else "outbound-api",
        "error_code": state.error_code,
        "error_message": None,
        "from": message.sender,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": str(segments(message.body)),
        "price": None,
        "price_unit": "USD",
        "sid": message.id,
        "status": state.status,
        "subresource_uris": {"media": f"{path}/Media.json"},
        "to": message.to,
        "uri": f"{path}.json",
    }


def list_json(
    *, page: Page, found: int, messages: list[dict[str, Any]], path: str, query: dict[str, str]
) -> dict[str, Any]:
    """One page of texts, and where the pages beside it are."""

    def uri(number: int) -> str:
        return f"{path}?{urlencode(query | {'Page': str(number), 'PageSize': str(page.size)})}"

    has_next = (page.number + 1) * page.size < found
    start = page.number * page.size
    return {
        "messages": messages,
        "page": page.number,
        "page_size": page.size,
        "start": start,
        "end": start + max(len(messages) - 1, 0),
        "uri": uri(page.number),
        "first_page_uri": uri(0),
        "next_page_uri": uri(page.number + 1) if has_next else None,
        "previous_page_uri": uri(page.number - 1) if page.number else None,
    }
