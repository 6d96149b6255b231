"""What our messages say: templates filled with values."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

TEMPLATES = Path(__file__).with_name("templates")
FALLBACK_LANGUAGE = "en"

#: Purpose -> the values that it cannot be sent without, on any channel.
PURPOSES: Mapping[str, frozenset[str]] = {
    # To the client.
    "first": frozenset({"alias", "in_touch_by"}),
    "introduction": frozenset({"alias", "mentor_name", "call_by"}),
    "waiting": frozenset({"alias", "coordinator_phone"}),
    "looking_again": frozenset({"alias"}),
    "ended": frozenset({"alias", "coordinator_phone"}),
    "stopped": frozenset({"alias"}),
    "started": frozenset({"alias"}),
    "help": frozenset({"alias", "coordinator_phone"}),
    "check_in": frozenset({"alias"}),
    "check_in_ok": frozenset({"alias"}),
    "check_in_talk": frozenset({"alias"}),
    "danger": frozenset(),
    "wrong_number": frozenset(),
    # To the mentor.
    "offer": frozenset({"alias", "language", "times", "call_by"}),
    "offer_closed": frozenset({"alias"}),
    "declined": frozenset({"alias"}),
    "card": frozenset({"alias", "link"}),
    "card_code": frozenset({"alias", "code"}),
    "card_by_coordinator": frozenset({"alias"}),
    "reminder": frozenset({"alias"}),
    "wants_to_talk": frozenset({"alias"}),
    "quiet": frozenset({"alias"}),
    "talked": frozenset({"alias"}),
    "no_answer": frozenset({"alias"}),
    "mentor_stopped": frozenset({"alias"}),
    "mentor_started": frozenset({"alias"}),
    "mentor_help": frozenset({"alias", "coordinator_phone"}),
    "mentor_unclear": frozenset({"alias"}),
    "paused": frozenset({"alias"}),
    "welcome_back": frozenset({"alias"}),
    "ended_for_mentor": frozenset({"alias"}),
    # To the facility's on-call person.
    "on_call": frozenset({"alias"}),
}

#: Channel -> the values that every message on it needs besides.
CHANNELS: Mapping[str, frozenset[str]] = {
    "sms": frozenset(),
    "email": frozenset({"unsubscribe_link"}),
}

#: Purpose -> the values that it says when they are given.
OPTIONAL: Mapping[str, frozenset[str]] = {
    "first": frozenset({"called"}),
    "introduction": frozenset({"called", "hello", "answer_link"}),
    "offer": frozenset({"answer_link"}),
    "reminder": frozenset({"answer_link"}),
    "no_answer": frozenset({"answer_link"}),
    "mentor_unclear": frozenset({"answer_link"}),
    "check_in": frozenset({"answer_link"}),
    "wants_to_talk": frozenset({"link", "answer_link"}),
    "quiet": frozenset({"link", "answer_link"}),
}

LINKS = frozenset({"link", "answer_link", "unsubscribe_link"})
LONGEST_NAME = 40
LONGEST_VALUE = 80
_NAMES = frozenset({"alias", "called", "mentor_name"})


class CannotRender(ValueError):
    """A message cannot be worded: its purpose or channel is unknown, or a value lacks or is bad.

    The text names purposes and values, never what is in them.
    """


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One message as it leaves, and the template and version that it was made from.

    What it says stays out of its repr, and so out of logs and tracebacks.
    """

    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str | None = field(repr=False)
    template: str
    version: int


def render(purpose: str, channel: str, language: str, values: Mapping[str, str]) -> Rendered:
    """Word a message; values that its purpose does not name are not looked at.

    Raises ``CannotRender`` when a value that it needs is missing or empty.
    """
    if purpose not in PURPOSES or channel not in CHANNELS:
        raise CannotRender(f"no message for the purpose {purpose!r} on the channel {channel!r}")
    needed = PURPOSES[purpose] | CHANNELS[channel]
    optional = OPTIONAL.get(purpose, frozenset())
    filled = {name: _tidy(name, values.get(name, "")) for name in needed | optional}
    if missing := sorted(name for name in needed if not filled[name]):
        raise CannotRender(f"{purpose!r} on {channel!r} needs {', '.join(missing)}")
    source = _source(purpose, language)
    if channel == "sms":
        return _sms(source, filled)
    return _email(source, filled)


def _sms(source: _Source, values: Mapping[str, str]) -> Rendered:
    text = " ".join(source.sms.render(values).split())
    return Rendered(subject="", text=text, html=None, template=source.name, version=source.version)


def _email(source: _Source, values: Mapping[str, str]) -> Rendered:
    subject = source.subject.render(values)
    text = re.sub(r"\n{3,}", "\n\n", source.email.render(values).strip()) + "\n"
    links = {values[name] for name in LINKS & values.keys() if values[name]}
    return Rendered(
        subject=subject,
        text=text,
        html=_html(subject, text, links, source.language),
        template=source.name,
        version=source.version,
    )


def _html(subject: str, text: str, links: set[str], language: str) -> str:
    # Only links of ours become links: a name that looks like an address stays plain text.
    longest_first = sorted(links, key=len, reverse=True)
    paragraphs = [
        [list(_parted(line, longest_first)) for line in paragraph.splitlines()]
        for paragraph in text.strip().split("\n\n")
    ]
    return _layout().render(subject=subject, paragraphs=paragraphs, links=links, language=language)


def _parted(line: str, links: Sequence[str]) -> Iterator[str]:
    """What stands between the links, and the links; nothing compiles a pattern for each message."""
    if not links:
        yield line
        return
    link, *shorter = links
    for number, between in enumerate(line.split(link)):
        if number:
            yield link
        yield from _parted(between, shorter)


def _tidy(name: str, value: str) -> str:
    if name in LINKS:
        return _checked_link(name, value)
    # Composed letters fit the alphabet of SMS where decomposed ones would not.
    composed = unicodedata.normalize("NFC", value)
    printable = "".join(" " if _is_unprintable(letter) else letter for letter in composed)
    longest = LONGEST_NAME if name in _NAMES else LONGEST_VALUE
    return " ".join(printable.split())[:longest].rstrip()


def _is_unprintable(letter: str) -> bool:
    # Joiners are format characters too, but Persian names and emoji need them.
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or (
        unicodedata.bidirectional(letter) in _TURNS_TEXT_AROUND
    )


_TURNS_TEXT_AROUND = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_LINK = re.compile(r"https?://[^\s\"'<>\\]+", re.ASCII)


def _checked_link(name: str, value: str) -> str:
    if value and not (value.isascii() and value.isprintable() and _LINK.fullmatch(value)):
        raise CannotRender(f"{name} is not a link")
    return value


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A template file: its head, and one section for each channel."""

    name: str
    language: str
    version: int
    subject: Template
    sms: Template
    email: Template


# What we write is text, so nothing is escaped in it; the HTML part is made from the finished
# text and escapes all of it.
_TEXT = SandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
_HTML = SandboxedEnvironment(
    undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def _source(purpose: str, language: str) -> _Source:
    spoken = re.split("[-_]", language.casefold())[0]
    sources = _sources()
    return sources.get((purpose, spoken)) or sources[purpose, FALLBACK_LANGUAGE]


@cache
def _sources() -> Mapping[tuple[str, str], _Source]:
    found = {}
    for path in sorted(TEMPLATES.glob("*.*.txt")):
        purpose, language = path.stem.split(".")
        found[purpose, language] = _parsed(path.stem, language, path.read_text("utf-8"))
    return found


def _parsed(name: str, language: str, content: str) -> _Source:
    head, _, sections = content.partition("--- sms\n")
    sms, _, email = sections.partition("--- email\n")
    said = dict(line.split(": ", 1) for line in head.strip().splitlines())
    return _Source(
        name=name,
        language=language,
        version=int(said["version"]),
        subject=_TEXT.from_string(said["subject"]),
        sms=_TEXT.from_string(sms),
        email=_TEXT.from_string(email),
    )


@cache
def _layout() -> Template:
    return _HTML.from_string((TEMPLATES / "layout.html").read_text("utf-8"))


_GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_7_TWICE = frozenset("^{}\\[~]|€\f")


def segments(text: str) -> int:
    """How many SMS a text takes: 160 letters of GSM-7, or 70 UTF-16 units of anything else."""
    if is_gsm_7(text):
        return _packed([2 if letter in _GSM_7_TWICE else 1 for letter in text], 160, 153)
    return _packed([2 if ord(letter) > 0xFFFF else 1 for letter in text], 70, 67)


def is_gsm_7(text: str) -> bool:
    """Whether a text is of the cheap alphabet only."""
    return set(text) <= _GSM_7 | _GSM_7_TWICE


def in_gsm_7(text: str) -> str:
    """The text in the cheap alphabet where a letter without its accent is in it: "está" is "esta".

    One other letter would halve what a text may hold.
    """
    return "".join(letter if is_gsm_7(letter) else _bare(letter) for letter in text)


def _bare(letter: str) -> str:
    bare = unicodedata.normalize("NFD", letter)[0]
    return _TYPEWRITTEN.get(bare, bare if is_gsm_7(bare) else letter)


_TYPEWRITTEN = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."}


def _packed(sizes: list[int], alone: int, joined: int) -> int:
    if sum(sizes) <= alone:
        return 1 if sizes else 0
    count, room = 1, joined
    for size in sizes:
        # A letter of two units is never cut in half.
        if size > room:
            count, room = count + 1, joined
        room -= size
    return count
