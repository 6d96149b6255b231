"""The hello that mentors write for their clients: what it must not say, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.notifications.wording import LONGEST_VALUE, in_gsm_7, is_gsm_7, render, segments
from services.revealing import deny_listed

LONGEST_HELLO = LONGEST_VALUE
#: An introduction with a hello takes so many SMS at most, as it does without one.
MOST_SEGMENTS = 2

_LINK = re.compile(r"https?:|www\.|@|[\w-]\.[a-z]{2,}", re.IGNORECASE)
_NUMBER = re.compile(r"(?:\d[\s().+-]*){5,}")
#: The longest that a message says of a day and time, in each language.
_LONGEST_TIME = {"en": "Wednesday 18:00", "es": "miércoles 18:00"}


def faults(hello: str, *, alias: str, called: str) -> Iterator[tuple[str, str]]:
    """What keeps a hello from being sent: (fault, the words at fault)."""
    if denied := deny_listed(hello):
        yield "reveals", ", ".join(term.rstrip("*") for term in denied)
    if _LINK.search(hello):
        yield "link", ""
    if _NUMBER.search(hello):
        yield "number", ""
    if not is_gsm_7(in_gsm_7(hello)):
        yield "picture", ""
    elif len(hello) > LONGEST_HELLO or any(
        segments(preview(hello, language, alias=alias, called=called)) > MOST_SEGMENTS
        for language in _LONGEST_TIME
    ):
        yield "long", ""


def preview(hello: str, language: str, *, alias: str, called: str) -> str:
    """The text in which a client reads the hello."""
    values = {"alias": alias, "mentor_name": called, "hello": in_gsm_7(hello)}
    values["call_by"] = _LONGEST_TIME[language]
    return render("introduction", "sms", language, values).text
