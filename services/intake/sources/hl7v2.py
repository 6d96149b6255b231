"""Speak HL7 v2 with a facility's record system: one discharge in, one acknowledgement out."""

from __future__ import annotations

import codecs
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

import hl7  # type: ignore[import-untyped]
import phonenumbers
from langcodes import Language

LARGEST_MESSAGE = 1_000_000
# A parsed segment takes some 400 times its size in memory; a real one is below 10,000 characters.
LARGEST_SEGMENT = 64_000
# A longer unit or service is cut, not left out: where places are mapped, an unmapped one holds.
LONGEST_PLACE = 64

_NULL = '""'
_USUAL_SEPARATORS = "|^~\\&"
_FRAMING = b"\x0b\x1c\r\n\t "
_SEGMENTS_READ = ("MSH", "EVN", "PID", "PV1")

# HL7 table 0211. ASCII is read as UTF-8, because many feeds that send UTF-8 never changed MSH-18.
_CODECS = {
    "": "utf-8",
    "ASCII": "utf-8",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 10), 15)},
}

# Directions that turn text around could make a name read as another one.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

# HL7 table 0357.
_CONDITIONS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}

# HL7 table 0112 as filled by the UB-04 patient status codes. HL7 keeps 22-29 for states that tell
# kinds of death apart; 81-95 are the same as 01-70 with a planned readmission.
_REASONS = {
    **dict.fromkeys(("01", "06", "08", "81", "86"), "completed"),
    "07": "left_against_advice",
    **dict.fromkeys(("20", *map(str, range(22, 30)), "40", "41", "42"), "died"),
    **dict.fromkeys(("21", "87"), "incarcerated"),
    **dict.fromkeys(("02", "03", "04", "05", "09", "43", "50", "51", "61"), "transferred"),
    **dict.fromkeys(("62", "63", "64", "65", "66", "69", "70"), "transferred"),
    **dict.fromkeys(("82", "83", "84", "85", *map(str, range(88, 96))), "transferred"),
}
# The table is each site's own, so a code of its own that speaks of death is believed as well.
_WORDS_OF_DEATH = re.compile(r"\b(exp|expired|deceased|died|dead|death)\b", re.IGNORECASE)

_LANGUAGE_NAMES = {
    "arabic": "ar",
    "chinese": "zh",
    "english": "en",
    "french": "fr",
    "haitian creole": "ht",
    "korean": "ko",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
    "tagalog": "tl",
    "vietnamese": "vi",
}

# Other centuries are placeholders, or slips of the keyboard.
_DAY = re.compile(r"(?:19|20)[0-9]{6}")
_MOMENT = re.compile(
    rf"({_DAY.pattern})(?:([0-9]{{2}})(?:([0-9]{{2}})(?:([0-9]{{2}})(?:\.[0-9]+)?)?)?)?"
    r"([+-][0-9]{4})?"
)
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class Refused(Exception):
    """The message can't be taken as it is; the remedy tells its sender what to change.

    ``condition`` is a code of HL7 table 0357.
    """

    def __init__(
        self,
        *,
        code: Literal["AE", "AR"],
        segment: str,
        field: int | None = None,
        remedy: str,
        condition: str = "207",
        control_id: str = "",
    ) -> None:
        super().__init__(remedy)
        self.code = code
        self.segment = segment
        self.field = field
        self.remedy = remedy
        self.condition = condition
        self.control_id = control_id


@dataclass(frozen=True, kw_only=True)
class Message:
    """A discharge as a record system told it.

    ``values`` has the shape of the body of ``POST /api/discharges`` and holds only what the message
    gives. ``ignored`` names the fields that were filled but unusable, ``deleted`` the values that
    the sender has emptied on purpose.
    """

    control_id: str
    sending_facility: str
    kind: str
    test: bool
    version: str
    values: dict[str, Any]
    ignored: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


def read(raw: bytes, *, default_zone: str) -> Message:
    """Times without an offset are those of MSH-7's offset or else of ``default_zone``."""
    header = _header(raw)
    _check_form(raw, header)
    _check_kind(header)
    lines = _lines(_text(raw, header), header)
    segments = _Segments(
        header=header,
        zone=_zone_of_header(header) or ZoneInfo(default_zone),
        by_name={str(segment[0]): segment for segment in hl7.parse("\r".join(lines.values()))},
    )
    values = {"record_number": _record_number(segments), "visit_number": _visit_number(segments)}
    ignored: list[str] = []
    deleted: list[str] = []
    for key, reading in _OPTIONAL.items():
        try:
            value = reading(segments)
        except _Unusable as unusable:
            ignored += unusable.fields
            continue
        if value == _NULL:
            deleted.append(key)
        elif value:
            values[key] = value
    return Message(
        control_id=header.field(10),
        sending_facility=header.component(4, 1),
        kind="ADT^A03",
        # Processing id D is for debugging: no more a real discharge than T, for training.
        test=header.component(11, 1).upper() in ("T", "D"),
        version=header.component(12, 1),
        values=values,
        ignored=tuple(dict.fromkeys(ignored)),
        deleted=tuple(deleted),
    )


def acknowledge(
    raw: bytes,
    *,
    code: Literal["AA", "AE", "AR"],
    now: datetime,
    control_id: str,
    refused: Refused | None = None,
) -> bytes:
    """``control_id`` is the acknowledgement's own; that of ``raw`` is echoed in MSA-2."""
    header = _header(raw)
    version = header.field(12) or "2.5.1"
    is_modern = _version(version) >= (2, 5)
    remedy = _escape(refused.remedy, header) if refused else ""
    event = re.findall(r"^[A-Z][0-9]{2}$", header.component(9, 2))
    segments = [
        [
            "MSH",
            header.encoding_characters,
            *(header.field(position) for position in (5, 6, 3, 4)),
            now.strftime("%Y%m%d%H%M%S%z"),
            "",
            header.separators[1].join(["ACK", *event, *(["ACK"] if event and is_modern else [])]),
            _escape(control_id, header),
            header.field(11) or "P",
            version,
            *([""] * 5),
            header.field(18),
        ],
        ["MSA", code, header.field(10), "" if is_modern else remedy],
    ]
    if refused:
        segments.append((_error if is_modern else _old_error)(refused, remedy, header))
    between = header.separators[0]
    text = "".join(between.join(segment).rstrip(between) + "\r" for segment in segments)
    return text.encode(header.codec, "replace")


@dataclass(frozen=True, kw_only=True)
class _Header:
    """As much of MSH as can be read: even an unreadable message deserves an answer."""

    separators: str = _USUAL_SEPARATORS
    encoding_characters: str = _USUAL_SEPARATORS[1:]
    has_sound_separators: bool = False
    fields: tuple[str, ...] = ()
    codec: str = "utf-8"

    def field(self, position: int) -> str:
        text = self.fields[position - 1] if position <= len(self.fields) else ""
        return _clean(text)

    def component(self, position: int, number: int) -> str:
        components = self.field(position).split(self.separators[1])
        return _unescape(components[number - 1], self) if number <= len(components) else ""

    def refused(
        self,
        code: Literal["AE", "AR"],
        segment: str,
        field: int | None,
        condition: str,
        remedy: str,
    ) -> Refused:
        return Refused(
            code=code,
            segment=segment,
            field=field,
            remedy=remedy,
            condition=condition,
            control_id=self.field(10),
        )


def _header(raw: bytes) -> _Header:
    line = re.split(rb"[\r\n]", _payload(raw), maxsplit=1)[0][:LARGEST_SEGMENT]
    between = line[3:4].decode("latin-1")
    if line[:3].upper() != b"MSH" or not _are_separators(between):
        return _Header()
    charsets = (line.split(line[3:4]) + [b""] * 18)[17].decode("latin-1").upper()
    charset = re.split(r"[^A-Z0-9/ -]", charsets)[0].strip()
    codec = _CODECS.get(charset, "ascii")
    try:
        fields = line.decode(codec).split(between)
    except UnicodeDecodeError:
        fields = line.decode("latin-1").split(between)
    fields[0] = between
    given = fields[1] if len(fields) > 1 else ""
    separators = between + given[:4] + _USUAL_SEPARATORS[len(given) + 1 :]
    if 2 <= len(given) <= 5 and _are_separators(separators + given[4:]):
        return _Header(
            separators=separators,
            encoding_characters=given,
            has_sound_separators=True,
            fields=tuple(fields),
            codec=codec,
        )
    if between in _USUAL_SEPARATORS[1:]:
        return _Header()
    return _Header(separators=between + _USUAL_SEPARATORS[1:], fields=tuple(fields), codec=codec)


def _payload(raw: bytes) -> bytes:
    return raw.strip(_FRAMING).removeprefix(codecs.BOM_UTF8)


def _are_separators(text: str) -> bool:
    return 0 < len(text) == len(set(text)) and all(char in string.punctuation for char in text)


def _check_form(raw: bytes, header: _Header) -> None:
    payload = _payload(raw)
    start = payload[:3].upper()
    if not payload:
        remedy = "The message is empty. Send one ADT^A03 message as the body."
        raise header.refused("AE", "MSH", None, "100", remedy)
    if len(raw) > LARGEST_MESSAGE:
        remedy = "The message is larger than 1 MB. Leave documents and pictures out of it."
        raise header.refused("AE", "MSH", None, "102", remedy)
    if b"\0" in payload:
        remedy = "The message is not text. Send it as characters in UTF-8."
        raise header.refused("AE", "MSH", None, "102", remedy)
    if start in (b"FHS", b"BHS"):
        remedy = "Batches are not taken. Send one message, without file or batch headers."
        raise header.refused("AR", start.decode(), None, "200", remedy)
    if start != b"MSH":
        remedy = "Begin the message with its MSH segment."
        raise header.refused("AE", "MSH", None, "100", remedy)
    if not header.has_sound_separators:
        remedy = "Name different punctuation marks in MSH-1 and MSH-2, such as |^~\\&."
        raise header.refused("AE", "MSH", 2, "102", remedy)
    if raw.lstrip(b"\r\n\t ").startswith(b"\x0b") and b"\x1c" not in raw:
        remedy = "The message was cut: its frame begins and does not end. Send it again, whole."
        raise header.refused("AE", "MSH", None, "100", remedy)


def _text(raw: bytes, header: _Header) -> str:
    try:
        return _payload(raw).decode(header.codec)
    except UnicodeDecodeError:
        remedy = (
            "The bytes are not in the character set of MSH-18, or it is not known here."
            " Send UTF-8 and UNICODE UTF-8 in MSH-18, or name the right one."
        )
        raise header.refused("AE", "MSH", 18, "102", remedy) from None


def _lines(text: str, header: _Header) -> dict[str, str]:
    """The segments that are read, by name: what stands in others can't disturb a discharge."""
    begins = re.compile(rf"[A-Za-z][A-Za-z0-9]{{2}}(?:{re.escape(header.separators[0])}|$)")
    lines: dict[str, str] = {}
    current = ""
    for line in (line.strip("\x0b\x1c\t ") for line in re.split(r"[\r\n]+", text)):
        if begins.match(line):
            name = line[:3].upper()
            _check_is_the_only_one(name, lines, header)
            current = name if name in _SEGMENTS_READ and name not in lines else ""
            if current:
                lines[current] = current + line[3:]
        elif line and current:
            # A line break inside a field must not cut off what follows, such as a death in PID-30.
            lines[current] += "\v" + line
        if len(lines.get(current, "")) > LARGEST_SEGMENT:
            remedy = f"{current} is longer than {LARGEST_SEGMENT} characters. Send a shorter one."
            raise header.refused("AE", current, None, "102", remedy)
    return lines


def _check_is_the_only_one(name: str, lines: Mapping[str, str], header: _Header) -> None:
    if name == "MSH" and lines:
        remedy = "Several messages came as one. Send one message at a time."
        raise header.refused("AR", "MSH", None, "200", remedy)
    if name in ("PID", "PV1") and name in lines:
        remedy = f"{name} comes more than once. Send one message for each person and visit."
        raise header.refused("AE", name, None, "100", remedy)


def _check_kind(header: _Header) -> None:
    kind = (header.component(9, 1).upper(), header.component(9, 2).upper())
    if kind == ("", ""):
        remedy = "Say in MSH-9 what the message is; ADT^A03 is taken."
        raise header.refused("AE", "MSH", 9, "101", remedy)
    if kind != ("ADT", "A03"):
        remedy = "Only discharges are taken. Send ADT^A03 in MSH-9, and no other messages."
        raise header.refused("AR", "MSH", 9, "200", remedy)


@dataclass(frozen=True, kw_only=True)
class _Segments:
    """The segments that are read, with their values decoded."""

    header: _Header
    zone: tzinfo
    by_name: Mapping[str, Any]

    def repetitions(self, name: str, field: int) -> list[tuple[str, ...]]:
        """The components of each repetition; of sub-components the first one counts."""
        segment = self.by_name.get(name, ())
        if field >= len(segment):
            return []
        return [
            tuple(_unescape(leaf, self.header) for leaf in _first_leaves(repetition))
            for repetition in segment[field]
        ]

    def text(self, name: str, field: int, component: int = 1) -> str:
        repetitions = self.repetitions(name, field)
        return _part(repetitions[0], component) if repetitions else ""


def _first_leaves(repetition: Any) -> list[str]:
    if isinstance(repetition, str):
        return [repetition]
    return [part if isinstance(part, str) else part[0] for part in repetition]


def _part(components: tuple[str, ...], number: int) -> str:
    return _clean(components[number - 1]) if number <= len(components) else ""


def _clean(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())


# The package's own unescape is not used: it writes what it can't read into the log, and repeats
# characters as often as the sender asks.
def _unescape(text: str, header: _Header) -> str:
    escape = header.separators[3]
    if escape not in text:
        return text
    separators = dict(zip("FSRET", header.separators, strict=True))
    meanings = {**separators, "P": "#", ".br": "\n", "H": "", "N": ""}

    def meaning(match: re.Match[str]) -> str:
        if match["code"]:
            return meanings[match["code"]]
        octets = bytes.fromhex(match["hex"].replace(escape + "X", "").replace(escape, ""))
        try:
            return octets.decode(header.codec)
        except UnicodeDecodeError:
            return octets.decode("latin-1")

    return _escape_sequence(escape).sub(meaning, text)


@lru_cache
def _escape_sequence(escape: str) -> re.Pattern[str]:
    """A character of several bytes may be spread over several hexadecimal sequences."""
    mark = re.escape(escape)
    return re.compile(
        rf"(?P<hex>(?:{mark}X(?:[0-9A-Fa-f]{{2}})+{mark})+)|{mark}(?P<code>[FSRETPHN]|\.br){mark}"
    )


def _escape(text: str, header: _Header) -> str:
    names = dict(zip(header.separators, "FSRET", strict=True))
    mark = header.separators[3]
    return "".join(f"{mark}{names[c]}{mark}" if c in names else c for c in _clean(text))


def _record_number(segments: _Segments) -> str:
    number = _identifier(segments, ("PID", 3), ("PID", 2), ("PID", 4))
    if number:
        return number
    if "PID" not in segments.by_name:
        remedy = "PID is missing. Send it, with the record number in PID-3."
        raise segments.header.refused("AE", "PID", None, "100", remedy)
    remedy = "Nobody is named. Send the person's record number in PID-3."
    raise segments.header.refused("AE", "PID", 3, "101", remedy)


def _visit_number(segments: _Segments) -> str:
    number = _identifier(segments, ("PV1", 19), ("PID", 18))
    if number:
        return number
    if "PV1" not in segments.by_name:
        remedy = "PV1 is missing. Send it, with the visit number in PV1-19."
        raise segments.header.refused("AE", "PV1", None, "100", remedy)
    remedy = "No visit is named. Send the visit number in PV1-19, or the account in PID-18."
    raise segments.header.refused("AE", "PV1", 19, "101", remedy)


def _identifier(segments: _Segments, *places: tuple[str, int]) -> str:
    for name, field in places:
        given = [
            components
            for components in segments.repetitions(name, field)
            if components[0].strip() not in ("", _NULL)
        ]
        if not given:
            continue
        number = min(given, key=_identifier_rank)[0].strip()
        # A number that was mended could be that of somebody else.
        if _CONTROLS.search(number):
            remedy = f"{name}-{field} holds control characters. Send the number without them."
            raise segments.header.refused("AE", name, field, "102", remedy)
        return number
    return ""


def _identifier_rank(components: tuple[str, ...]) -> int:
    """A social security number is the last resort, because record numbers are shown to staff."""
    return {"MR": 0, "MRN": 0, "SS": 2}.get(_part(components, 5).upper(), 1)


class _Unusable(Exception):
    """These fields are filled, and nothing can be done with what they say."""

    def __init__(self, *fields: str) -> None:
        super().__init__(*fields)
        self.fields = fields


def _name(segments: _Segments) -> dict[str, str] | str:
    names = segments.repetitions("PID", 5)
    if names == [(_NULL,)]:
        return _NULL
    nicknames = [name for name in names if _part(name, 7) == "N"]
    formal = [name for name in names if name not in nicknames]
    # Python's min takes the first of equals: the legal name, else the one that was sent first.
    chosen = min(formal, key=lambda name: _part(name, 7) != "L", default=())
    called = _part(chosen, 15) or next((_part(name, 2) for name in nicknames), "")
    parts = {"given": _part(chosen, 2), "family": _part(chosen, 1), "called": called}
    return {part: text for part, text in parts.items() if text not in ("", _NULL)}


def _born_on(segments: _Segments) -> str:
    text = segments.text("PID", 7)
    if text in ("", _NULL):
        return text
    try:
        if not _DAY.match(text):
            raise ValueError
        return date.fromisoformat(text[:8]).isoformat()
    except ValueError:
        raise _Unusable("PID-7") from None


def _language(segments: _Segments) -> str:
    if (text := segments.text("PID", 15)) == _NULL:
        return text
    given = [segments.text("PID", 15, component) for component in (1, 2, 4, 5)]
    languages = (_two_letters(text) for text in given if text)
    language = next((language for language in languages if language), "")
    if any(given) and not language:
        raise _Unusable("PID-15")
    return language


def _two_letters(text: str) -> str:
    if text.lower() in _LANGUAGE_NAMES:
        return _LANGUAGE_NAMES[text.lower()]
    tag = re.fullmatch(r"([A-Za-z]{2,3})(?:[-_].*)?", text)
    if tag is None:
        return ""
    language = Language.get(tag[1]).prefer_macrolanguage()
    code = language.language or ""
    return code if len(code) == 2 and language.is_valid() else ""


def _discharged_at(segments: _Segments) -> str:
    """EVN-6 is when the event happened: for a discharge, the same moment as PV1-45."""
    unusable = []
    for name, field in (("PV1", 45), ("EVN", 6)):
        text = segments.text(name, field)
        if text == _NULL:
            return text
        try:
            if text:
                return _moment(text, segments.zone).isoformat()
        except ValueError:
            unusable.append(f"{name}-{field}")
    if unusable:
        raise _Unusable(*unusable)
    return ""


def _moment(text: str, zone: tzinfo | None) -> datetime:
    """A day without a time stands for its noon, so that no zone moves it to another day."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError
    day, hour, minute, second, offset = match.groups()
    clock = (hour or "12") + (minute or "00") + (second or "00")
    if offset:
        zone = _zone_of(offset)
    local = datetime.strptime(day + clock, "%Y%m%d%H%M%S").replace(tzinfo=zone)
    # The way over UTC moves a time that a change to summer time skips to one that exists.
    return local.astimezone(UTC).astimezone(zone)


def _zone_of_header(header: _Header) -> tzinfo | None:
    """HL7 lets the offset of MSH-7 hold for every time of the message that has none."""
    match = _MOMENT.fullmatch(header.field(7))
    try:
        return _zone_of(match[5]) if match and match[5] else None
    except ValueError:
        return None


def _zone_of(offset: str) -> tzinfo | None:
    return datetime.strptime(offset, "%z").tzinfo


@dataclass(frozen=True, kw_only=True)
class _Telecom:
    """One way of reaching a person, as HL7's data type XTN tells it."""

    field: int
    parts: tuple[str, ...]

    @property
    def use(self) -> str:
        return _part(self.parts, 2).upper()

    @property
    def equipment(self) -> str:
        return _part(self.parts, 3).upper()

    @property
    def is_email(self) -> bool:
        return self.use == "NET" or self.equipment == "INTERNET" or "@" in self.address

    @property
    def address(self) -> str:
        return _part(self.parts, 4) or _part(self.parts, 1)

    @property
    def place(self) -> str:
        return f"PID-{self.field}"


def _telecoms(segments: _Segments) -> list[_Telecom]:
    """PID-13 is home, PID-14 work; from 2.7 on PID-40 takes the place of both."""
    return [
        _Telecom(field=field, parts=parts)
        for field in (13, 14, 40)
        for parts in segments.repetitions("PID", field)
        if any(_part(parts, number) not in ("", _NULL) for number in (1, 4, 7, 12))
    ]


def _mobile(segments: _Segments) -> str:
    lines = [telecom for telecom in _telecoms(segments) if not telecom.is_email]
    ranked = [(rank, line) for line in lines if (rank := _phone_rank(line)) is not None]
    for _, line in sorted(ranked, key=lambda pair: pair[0]):
        if number := _dialled(line):
            return number
    return _none_usable(segments, lines)


def _email(segments: _Segments) -> str:
    mailboxes = [telecom for telecom in _telecoms(segments) if telecom.is_email]
    for mailbox in mailboxes:
        # An employer may read what comes to work.
        if mailbox.field != 14 and mailbox.use != "WPN" and _EMAIL.fullmatch(mailbox.address):
            return mailbox.address
    return _none_usable(segments, mailboxes)


def _none_usable(segments: _Segments, telecoms: list[_Telecom]) -> str:
    # What is deleted is so whatever stands beside it; what is for work never was the client's own.
    if any(segments.text("PID", field) == _NULL for field in (13, 40)):
        return _NULL
    if telecoms:
        raise _Unusable(*(telecom.place for telecom in telecoms))
    return ""


def _phone_rank(line: _Telecom) -> int | None:
    """None for what is not the client's own, or can't show a text to the client alone."""
    if line.use in ("ASN", "BPN", "EMR", "ORN", "VHN"):
        return None
    if line.equipment in ("BP", "FX", "MD", "TDD", "TTY", "X.400"):
        return None
    if line.equipment == "CP":
        return 3 if line.use == "WPN" else 0
    if line.use == "WPN" or (line.field == 14 and not line.use):
        return None
    return 1 if line.use in ("PRN", "PRS") else 2


def _dialled(line: _Telecom) -> str:
    """The number in E.164, or nothing; behind an extension is a switchboard, not a mobile."""
    # "B" and "C" begin a beeper code and a comment in the number format of HL7 2.1 to 2.6.
    text = re.sub(r"(?<=[0-9])\s*[BC].*", "", _part(line.parts, 1))
    country, area, local, extension = (_part(line.parts, number) for number in (5, 6, 7, 8))
    if not re.search(r"[0-9]", text):
        text = (f"+{country}" if country else "") + area + local or _part(line.parts, 12)
    try:
        number = phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException:
        return ""
    if extension or number.extension or not phonenumbers.is_valid_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _died(segments: _Segments) -> bool:
    """A date of death is enough, whatever PID-30 says: the dead are never welcomed."""
    dates = segments.repetitions("PID", 29)
    if any(_clean(part) not in ("", _NULL) for parts in dates for part in parts):
        return True
    if segments.text("PID", 30).upper() in ("Y", "YES", "T", "TRUE", "1"):
        return True
    return _disposition(segments) == "died"


def _reason(segments: _Segments) -> str:
    return "died" if _died(segments) else _disposition(segments)


def _disposition(segments: _Segments) -> str:
    code = segments.text("PV1", 36)
    if code in ("", _NULL):
        return code
    if _WORDS_OF_DEATH.search(f"{code} {segments.text('PV1', 36, 2)}"):
        return "died"
    return _REASONS.get(code.zfill(2), "other")


def _unit(segments: _Segments) -> str:
    return segments.text("PV1", 3)[:LONGEST_PLACE]


def _service(segments: _Segments) -> str:
    return segments.text("PV1", 10)[:LONGEST_PLACE]


_OPTIONAL: dict[str, Callable[[_Segments], Any]] = {
    "name": _name,
    "born_on": _born_on,
    "mobile": _mobile,
    "email": _email,
    "language": _language,
    "discharged_at": _discharged_at,
    "reason": _reason,
    "died": _died,
    "unit": _unit,
    "service": _service,
}


def _version(text: str) -> tuple[int, ...]:
    match = re.match(r"([0-9]{1,3})\.([0-9]{1,3})", text)
    return tuple(map(int, match.groups())) if match else (0,)


def _error(refused: Refused, remedy: str, header: _Header) -> list[str]:
    """ERR as it is from version 2.5 on."""
    component = header.separators[1]
    location = [refused.segment, "1", *([str(refused.field)] if refused.field else [])]
    condition = [refused.condition, _CONDITIONS[refused.condition], "HL70357"]
    where, what = component.join(location), component.join(condition)
    return ["ERR", "", where, what, "E", "", "", "", remedy]


def _old_error(refused: Refused, remedy: str, header: _Header) -> list[str]:
    """ERR as it is up to version 2.4, where the remedy has its place in MSA-3."""
    component, subcomponent = header.separators[1], header.separators[4]
    condition = [refused.condition, _CONDITIONS[refused.condition], "HL70357"]
    location = [refused.segment, "1", str(refused.field or ""), subcomponent.join(condition)]
    return ["ERR", component.join(location)]
