"""A discharge told in HL7 v2 is read as it is meant, or refused with a remedy."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Literal

import hl7  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.intake.sources.hl7v2 import (
    LARGEST_MESSAGE,
    LARGEST_SEGMENT,
    Message,
    Refused,
    acknowledge,
    read,
)

ZONE = "America/Los_Angeles"
NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8")


def segment(name: str, fields: dict[int, str]) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def header(**changed: str) -> str:
    fields = {
        "encoding": "^~\\&",
        "kind": "ADT^A03^ADT_A03",
        "control_id": "C-77",
        "processing": "P",
        "version": "2.5.1",
        "sent_at": "20261123101500",
        "charset": "",
        **changed,
    }
    return (
        "MSH|{encoding}|ChartPro|North Clinic|WarmHandoff|Peers|{sent_at}||{kind}|{control_id}"
        "|{processing}|{version}||||||{charset}"
    ).format(**fields)


def a_discharge(
    *,
    person: dict[int, str] | None = None,
    visit: dict[int, str] | None = None,
    extra: tuple[str, ...] = (),
    **changed: str,
) -> bytes:
    pid = {3: "R-1001^^^North^MR", 5: "Doe^Sam", 7: "19900402"} | (person or {})
    pv1 = {2: "I", 19: "V-1", 45: "20261123100000-0800"} | (visit or {})
    lines = [header(**changed), "EVN||20261123101500", segment("PID", pid), segment("PV1", pv1)]
    return ("\r".join([*lines, *extra]) + "\r").encode()


def reading(raw: bytes) -> Message:
    return read(raw, default_zone=ZONE)


def refusal(raw: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        reading(raw)
    return caught.value


def place(refused: Refused) -> tuple[str, str, int | None]:
    return (refused.code, refused.segment, refused.field)


def answer(
    raw: bytes, *, code: Literal["AA", "AE", "AR"] = "AA", refused: Refused | None = None
) -> str:
    return acknowledge(raw, code=code, now=NOW, control_id="A-1", refused=refused).decode()


def refused_answer(raw: bytes) -> str:
    refused = refusal(raw)
    return answer(raw, code=refused.code, refused=refused)


def test_a_whole_message_gives_the_body_of_a_discharge() -> None:
    person = {
        5: "Doe^Sam^^^^^L~^Sammy^^^^^N",
        13: "^PRN^PH^^1^503^5550100~^PRN^CP^^1^503^5550123~^NET^Internet^sam@example.org",
        15: "eng^English^HL70296",
        30: "N",
    }

    message = reading(a_discharge(person=person, visit={3: "West^12^B", 10: "SUD", 36: "01"}))

    assert {
        "record_number": "R-1001",
        "visit_number": "V-1",
        "name": {"given": "Sam", "family": "Doe", "called": "Sammy"},
        "born_on": "1990-04-02",
        "mobile": "+15035550123",
        "email": "sam@example.org",
        "language": "en",
        "discharged_at": "2026-11-23T10:00:00-08:00",
        "reason": "completed",
        "unit": "West",
        "service": "SUD",
    } == message.values
    assert ("C-77", "North Clinic", "ADT^A03", "2.5.1") == (
        message.control_id,
        message.sending_facility,
        message.kind,
        message.version,
    )
    assert not message.test
    assert () == message.ignored
    assert () == message.deleted


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read(version: str) -> None:
    message = reading(a_discharge(version=version))

    assert version == message.version
    assert "R-1001" == message.values["record_number"]


def test_a_message_of_version_2_1_is_read_by_its_plain_fields() -> None:
    lines = (
        header(version="2.1", kind="ADT^A03"),
        segment("PID", {2: "R-21", 5: "Doe^Sam", 7: "19900402", 13: "(503)555-0123", 18: "A-9"}),
        segment("PV1", {2: "I"}),
    )

    message = reading("\r".join(lines).encode())

    assert "R-21" == message.values["record_number"]
    assert "A-9" == message.values["visit_number"]
    assert "+15035550123" == message.values["mobile"]


def test_only_the_two_numbers_are_needed() -> None:
    lines = (header(), segment("PID", {3: "R-1"}), segment("PV1", {19: "V-1"}))

    message = reading("\r".join(lines).encode())

    assert {"record_number": "R-1", "visit_number": "V-1"} == message.values


def test_messages_of_training_and_debugging_are_tests() -> None:
    assert reading(a_discharge(processing="T")).test
    assert reading(a_discharge(processing="D")).test
    assert not reading(a_discharge(processing="P^T")).test


@pytest.mark.parametrize("line_end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_any_line_end_is_taken(line_end: str) -> None:
    raw = a_discharge().decode().replace("\r", line_end).encode()

    assert "V-1" == reading(raw).values["visit_number"]


def test_the_frame_of_mllp_and_a_byte_order_mark_are_taken_off() -> None:
    framed = b"\x0b" + a_discharge() + b"\x1c\r"
    marked = b"\xef\xbb\xbf" + a_discharge()

    assert reading(a_discharge()) == reading(framed)
    assert reading(a_discharge()) == reading(marked)


def test_names_of_segments_may_be_in_small_letters() -> None:
    raw = a_discharge()
    for name in (b"MSH", b"PID", b"PV1"):
        raw = raw.replace(name + b"|", name.lower() + b"|")

    assert reading(a_discharge()) == reading(raw)


def test_other_separators_are_taken_from_the_header() -> None:
    usual = a_discharge(person={5: "Doe^Sam~Dorn^Sam", 13: "^PRN^CP^^1^503^5550123"})
    odd = usual.decode().translate(str.maketrans("|^~\\&", "*!%?;")).encode()

    message = reading(odd)

    assert {"given": "Sam", "family": "Doe"} == message.values["name"]
    assert "+15035550123" == message.values["mobile"]


def test_a_fifth_mark_in_the_header_is_the_truncation_of_newer_versions() -> None:
    assert "V-1" == reading(a_discharge(encoding="^~\\&#", version="2.7")).values["visit_number"]


def test_other_segments_and_trailing_fields_do_not_disturb() -> None:
    extra = ("NK1|1|Roe^Ann", "ZZZ|~~^^&&", "OBX|1|ED|||^^^Base64^" + "A" * LARGEST_SEGMENT, "junk")

    assert reading(a_discharge()) == reading(a_discharge(extra=extra))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("O\\T\\Neil", "O&Neil"),
        ("a\\F\\b\\S\\c\\R\\d\\E\\e", "a|b^c~d\\e"),
        ("Jos\\XC3\\\\XA9\\", "José"),
        ("Jos\\XE9\\", "José"),
        ("Doe\\.br\\Roe", "Doe Roe"),
        ("\\H\\Doe\\N\\", "Doe"),
        ("Doe\\Zunknown\\", "Doe\\Zunknown\\"),
        ("O\\Brien", "O\\Brien"),
    ],
)
def test_escape_sequences_are_decoded(written: str, meant: str) -> None:
    message = reading(a_discharge(person={5: f"{written}^Sam"}))

    assert meant == message.values["name"]["family"]


def test_an_escape_that_asks_for_a_million_blanks_gets_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    message = reading(a_discharge(person={5: "Doe\\.sp99999999\\\\.spx\\\\Xzz\\^Sam"}))

    assert len(message.values["name"]["family"]) < 100
    assert [] == caplog.records


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("", "utf-8"),
        ("ASCII", "utf-8"),
        ("UNICODE UTF-8", "utf-8"),
        ("8859/1", "latin-1"),
        ("8859/2", "iso8859-2"),
        ("8859/1~UNICODE UTF-8", "latin-1"),
    ],
)
def test_the_character_set_of_the_header_is_used(charset: str, codec: str) -> None:
    raw = a_discharge(person={5: "Müller^José"}, charset=charset).decode().encode(codec)

    assert {"given": "José", "family": "Müller"} == reading(raw).values["name"]


@pytest.mark.parametrize("charset", ["", "ASCII", "UNICODE UTF-8", "KLINGON"])
def test_bytes_of_another_character_set_are_refused(charset: str) -> None:
    raw = a_discharge(person={5: "Müller^José"}, charset=charset).decode().encode("latin-1")

    refused = refusal(raw)

    assert ("AE", "MSH", 18) == place(refused)
    assert "UNICODE UTF-8" in refused.remedy


def test_an_unknown_character_set_does_no_harm_while_all_is_ascii() -> None:
    assert "V-1" == reading(a_discharge(charset="KLINGON")).values["visit_number"]


@pytest.mark.parametrize(
    ("identifiers", "number"),
    [
        ("R-1^^^North^MR", "R-1"),
        ("999-00-1111^^^US^SS~7^^^Lab^PI~R-1^^^North^MR", "R-1"),
        ("999-00-1111^^^US^SS~R-1^^^North^PI", "R-1"),
        ("~^^^North^MR~R-1", "R-1"),
        ('""^^^North^MR~R-1', "R-1"),
        ("R-1&x", "R-1"),
    ],
)
def test_the_record_number_is_the_best_of_the_identifiers(identifiers: str, number: str) -> None:
    assert number == reading(a_discharge(person={3: identifiers})).values["record_number"]


def test_older_places_of_the_record_number_stand_in() -> None:
    assert "R-2" == reading(a_discharge(person={3: "", 2: "R-2"})).values["record_number"]
    assert "R-4" == reading(a_discharge(person={3: '""', 4: "R-4"})).values["record_number"]


def test_the_account_stands_in_for_the_visit() -> None:
    message = reading(a_discharge(person={18: "A-5"}, visit={19: ""}))

    assert "A-5" == message.values["visit_number"]


def test_without_a_record_number_the_answer_says_where_it_belongs() -> None:
    refused = refusal(a_discharge(person={3: "^^^North^MR"}))

    assert ("AE", "PID", 3) == place(refused)
    assert "PID-3" in refused.remedy
    assert "C-77" == refused.control_id


def test_without_a_visit_the_answer_says_where_it_belongs() -> None:
    refused = refusal(a_discharge(visit={19: '""'}))

    assert ("AE", "PV1", 19) == place(refused)
    assert "PV1-19" in refused.remedy


@pytest.mark.parametrize("name", ["PID", "PV1"])
def test_a_missing_segment_is_named(name: str) -> None:
    lines = [line for line in a_discharge().split(b"\r") if not line.startswith(name.encode())]

    assert ("AE", name, None) == place(refusal(b"\r".join(lines)))


@pytest.mark.parametrize("name", ["PID", "PV1"])
def test_two_persons_or_visits_in_one_message_are_refused(name: str) -> None:
    raw = a_discharge(extra=(segment(name, {3: "R-2", 19: "V-2"}),))

    assert ("AE", name, None) == place(refusal(raw))


def test_control_characters_in_a_number_are_refused() -> None:
    in_record = a_discharge(person={3: "R-1\\X00\\2^^^North^MR"})
    in_visit = a_discharge(visit={19: "V\x07-1"})

    assert ("AE", "PID", 3) == place(refusal(in_record))
    assert ("AE", "PV1", 19) == place(refusal(in_visit))


def test_control_characters_in_a_name_are_taken_out() -> None:
    message = reading(a_discharge(person={5: "D\x07oe\\X00\\^\u202eSam"}))

    assert {"given": "Sam", "family": "D oe"} == message.values["name"]


@pytest.mark.parametrize(
    "kind", ["ADT^A01", "ADT^A08^ADT_A01", "ORU^R01", "ADT", "ADT_A03", "^A03"]
)
def test_other_messages_are_rejected_whatever_the_event_segment_says(kind: str) -> None:
    raw = a_discharge(kind=kind).replace(b"EVN||", b"EVN|A03|")

    assert ("AR", "MSH", 9) == place(refusal(raw))


def test_the_header_alone_decides_that_it_is_a_discharge() -> None:
    raw = a_discharge().replace(b"EVN||", b"EVN|A01|")

    assert "ADT^A03" == reading(raw).kind


def test_a_merge_is_rejected_for_its_kind_and_not_for_its_two_persons() -> None:
    raw = a_discharge(kind="ADT^A40", extra=("PID|1||R-2",))

    assert ("AR", "MSH", 9) == place(refusal(raw))


@pytest.mark.parametrize("start", ["FHS|^~\\&|A\r", "BHS|^~\\&|A\r", "FHS|^~\\&|A\rBHS|^~\\&|A\r"])
def test_a_batch_is_rejected_and_asked_for_one_message(start: str) -> None:
    refused = refusal(start.encode() + a_discharge())

    assert "AR" == refused.code
    assert "one message" in refused.remedy


def test_two_messages_in_one_are_rejected() -> None:
    refused = refusal(a_discharge() + b"\x1c\r\x0b" + a_discharge())

    assert ("AR", "MSH", None) == place(refused)


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (b"", "empty"),
        (b"\r\n \x0b\x1c\r", "empty"),
        (b"PID|1||R-1", "MSH"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not text"),
        (a_discharge().decode().encode("utf-16"), "not text"),
        (b"\x0b" + a_discharge()[:150], "cut"),
        (a_discharge(extra=("OBX|" + "A" * LARGEST_MESSAGE,)), "1 MB"),
        (a_discharge(person={5: "^" * (LARGEST_SEGMENT + 1)}), "shorter"),
        (b"<html>", "MSH"),
    ],
)
def test_what_is_no_message_gets_a_clear_answer(raw: bytes, hint: str) -> None:
    refused = refusal(raw)

    assert "AE" == refused.code
    assert hint in refused.remedy


@pytest.mark.parametrize("raw", [b"MSH", b"MSH|", b"MSH|^", b"MSHX^~\\&X", b"MSH|^~\\\\&|A|B"])
def test_separators_that_cannot_separate_are_refused(raw: bytes) -> None:
    assert ("AE", "MSH", 2) == place(refusal(raw))


@pytest.mark.parametrize("encoding", ["^^\\&", "a~\\&", "^", "^~\\&#$"])
def test_marks_named_twice_or_that_are_no_marks_are_refused(encoding: str) -> None:
    raw = a_discharge(encoding=encoding)

    assert ("AE", "MSH", 2) == place(refusal(raw))


def test_a_header_that_was_cut_before_its_kind_is_an_error_and_no_rejection() -> None:
    assert ("AE", "MSH", 9) == place(refusal(b"MSH|^~\\&|ChartPro|North"))


@pytest.mark.parametrize("place_of_cut", [b"PID|", b"PV1|", b"V-1"])
def test_a_message_cut_before_its_numbers_is_refused(place_of_cut: bytes) -> None:
    raw = a_discharge()

    assert "AE" == refusal(raw[: raw.index(place_of_cut)]).code


@pytest.mark.parametrize(
    ("phones", "mobile"),
    [
        ({13: "(503)555-0123"}, "+15035550123"),
        ({13: "(503)555-0123C call after 5"}, "+15035550123"),
        ({13: "503-555-0100^PRN^PH~503-555-0123^PRN^CP"}, "+15035550123"),
        ({13: "503-555-0100^PRN^PH", 14: "503-555-0123^PRN^CP"}, "+15035550123"),
        ({13: "503-555-0100^ORN~503-555-0123^PRN"}, "+15035550123"),
        ({13: "^PRN^CP^^52^55^53504321"}, "+525553504321"),
        ({13: "+52 55 5350 4321"}, "+525553504321"),
        ({40: "^PRN^CP^^^^^^^^^+15035550123"}, "+15035550123"),
        ({13: "~~503-555-0123"}, "+15035550123"),
    ],
)
def test_the_phone_is_the_one_that_can_take_a_text(phones: dict[int, str], mobile: str) -> None:
    message = reading(a_discharge(person=phones))

    assert mobile == message.values["mobile"]
    assert () == message.ignored


@pytest.mark.parametrize(
    ("phones", "ignored"),
    [
        ({13: "555-0123"}, ("PID-13",)),
        ({13: "none"}, ("PID-13",)),
        ({13: "503-555-0123X12"}, ("PID-13",)),
        ({13: "^PRN^PH^^1^503^5550123^12"}, ("PID-13",)),
        ({13: "503-555-0123^PRN^FX"}, ("PID-13",)),
        ({13: "503-555-0123^EMR^CP"}, ("PID-13",)),
        ({14: "503-555-0123"}, ("PID-14",)),
        ({13: "1", 14: "503-555-0123^WPN^PH"}, ("PID-13", "PID-14")),
        ({13: "9" * 5000}, ("PID-13",)),
    ],
)
def test_a_phone_that_cannot_or_must_not_be_texted_is_left_out(
    phones: dict[int, str], ignored: tuple[str, ...]
) -> None:
    message = reading(a_discharge(person=phones))

    assert "mobile" not in message.values
    assert ignored == message.ignored


@pytest.mark.parametrize(
    "mailbox",
    [
        "^NET^Internet^sam@example.org",
        "sam@example.org^NET",
        "sam@example.org",
        "^PRN^Internet^sam@example.org",
    ],
)
def test_the_address_for_email_is_found(mailbox: str) -> None:
    message = reading(a_discharge(person={13: f"503-555-0123^PRN^CP~{mailbox}"}))

    assert "sam@example.org" == message.values["email"]
    assert "+15035550123" == message.values["mobile"]


@pytest.mark.parametrize(
    ("field", "mailbox"),
    [
        (13, "^NET^Internet^nobody"),
        (13, "^NET^Internet^a@b"),
        (13, "sam@example.org^WPN^Internet"),
        (14, "^NET^Internet^sam@example.org"),
    ],
)
def test_an_address_that_is_broken_or_at_work_is_left_out(field: int, mailbox: str) -> None:
    message = reading(a_discharge(person={field: mailbox}))

    assert "email" not in message.values
    assert (f"PID-{field}",) == message.ignored


@pytest.mark.parametrize(
    ("sent", "language"),
    [
        ("en", "en"),
        ("eng^English^HL70296", "en"),
        ("SPA", "es"),
        ("fre", "fr"),
        ("es-MX", "es"),
        ("cmn", "zh"),
        ("^Spanish", "es"),
        ("X1^Vietnamese", "vi"),
        ("9^^local^kor^Korean^ISO639", "ko"),
    ],
)
def test_the_language_is_told_in_two_letters(sent: str, language: str) -> None:
    assert language == reading(a_discharge(person={15: sent})).values["language"]


@pytest.mark.parametrize("sent", ["Elvish", "qqq", "1", "en glish"])
def test_a_language_that_is_not_known_is_left_out(sent: str) -> None:
    message = reading(a_discharge(person={15: sent}))

    assert "language" not in message.values
    assert ("PID-15",) == message.ignored


@pytest.mark.parametrize("sent", ["1990", "199004", "19901340", "unknown", "00000000", "00010101"])
def test_a_birth_date_that_is_no_day_is_left_out(sent: str) -> None:
    message = reading(a_discharge(person={7: sent}))

    assert "born_on" not in message.values
    assert ("PID-7",) == message.ignored


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("20261123100000-0800", "2026-11-23T10:00:00-08:00"),
        ("202611231000+0000", "2026-11-23T10:00:00+00:00"),
        ("20261123100000.1234", "2026-11-23T10:00:00-08:00"),
        ("2026072310", "2026-07-23T10:00:00-07:00"),
        ("20261123", "2026-11-23T12:00:00-08:00"),
        ("20260308023000", "2026-03-08T03:30:00-07:00"),
        ("20261101013000", "2026-11-01T01:30:00-07:00"),
    ],
)
def test_the_time_of_discharge_is_told_with_its_offset(sent: str, meant: str) -> None:
    assert meant == reading(a_discharge(visit={45: sent})).values["discharged_at"]


def test_the_offset_of_the_header_holds_for_the_whole_message() -> None:
    raw = a_discharge(visit={45: "20261123100000"}, sent_at="20261123101500-0500")

    assert "2026-11-23T10:00:00-05:00" == reading(raw).values["discharged_at"]


def test_the_time_of_the_event_stands_in_for_that_of_the_discharge() -> None:
    raw = a_discharge(visit={45: ""}).replace(
        b"EVN||20261123101500", b"EVN||20261123101500||||202611231000"
    )

    assert "2026-11-23T10:00:00-08:00" == reading(raw).values["discharged_at"]


@pytest.mark.parametrize(
    "sent", ["2026", "yesterday", "20261323", "2026112325", "20261123100000+9999", "00010101"]
)
def test_a_time_of_discharge_that_is_none_is_left_out(sent: str) -> None:
    message = reading(a_discharge(visit={45: sent}))

    assert "discharged_at" not in message.values
    assert ("PV1-45",) == message.ignored


@pytest.mark.parametrize(
    ("disposition", "reason"),
    [
        ("01", "completed"),
        ("1", "completed"),
        ("06", "completed"),
        ("07^Left against advice", "left_against_advice"),
        ("02", "transferred"),
        ("03", "transferred"),
        ("62", "transferred"),
        ("93", "transferred"),
        ("21", "incarcerated"),
        ("20", "died"),
        ("25", "died"),
        ("41", "died"),
        ("EXP", "died"),
        ("D9^Patient deceased", "died"),
        ("30", "other"),
        ("HOME^Went home", "other"),
    ],
)
def test_the_disposition_gives_the_reason(disposition: str, reason: str) -> None:
    message = reading(a_discharge(visit={36: disposition}))

    assert reason == message.values["reason"]
    assert (reason == "died") == message.values.get("died", False)


@pytest.mark.parametrize(
    "death",
    [
        {30: "Y"},
        {30: "y"},
        {29: "20261123"},
        {29: "20261123", 30: "N"},
        {29: "unknown"},
        {29: "^D"},
        {29: "~20261123", 30: '""'},
    ],
)
def test_a_client_who_died_is_told_as_dead_whatever_the_disposition(death: dict[int, str]) -> None:
    message = reading(a_discharge(person=death, visit={36: "01"}))

    assert "died" == message.values["reason"]
    assert message.values["died"] is True


@pytest.mark.parametrize("line_break", ["\r", "\n", "\r\n"])
def test_a_line_break_inside_a_field_does_not_hide_a_death(line_break: str) -> None:
    message = reading(a_discharge(person={11: f"1 Elm St{line_break}back door^^Salem", 30: "Y"}))

    assert message.values["died"] is True
    assert "V-1" == message.values["visit_number"]


def test_a_line_break_inside_a_number_is_refused() -> None:
    assert ("AE", "PID", 3) == place(refusal(a_discharge(person={3: "R-1\n-001"})))


@pytest.mark.parametrize("alive", [{30: "N"}, {29: '""', 30: '""'}, {29: " "}, {}])
def test_a_client_who_lives_is_not_told_as_dead(alive: dict[int, str]) -> None:
    message = reading(a_discharge(person=alive))

    assert "died" not in message.values
    assert "reason" not in message.values


def test_the_null_of_hl7_is_a_value_that_was_deleted() -> None:
    person = {5: '""', 7: '""', 13: '""', 15: '""'}

    message = reading(a_discharge(person=person, visit={3: '""', 36: '""', 45: '""'}))

    assert {"record_number", "visit_number"} == set(message.values)
    assert {
        "name",
        "born_on",
        "mobile",
        "email",
        "language",
        "discharged_at",
        "reason",
        "unit",
    } == set(message.deleted)
    assert () == message.ignored


def test_a_number_is_deleted_whatever_stands_beside_it_for_work() -> None:
    message = reading(a_discharge(person={13: '""', 14: "(503)555-0100^WPN^PH"}))

    assert {"mobile", "email"} == set(message.deleted)


def test_a_number_for_work_that_is_deleted_was_not_the_clients_own() -> None:
    message = reading(a_discharge(person={13: "(503)555-0123^PRN^CP", 14: '""'}))

    assert ("+15035550123", ()) == (message.values["mobile"], message.deleted)


def test_a_deleted_part_of_a_name_is_left_out() -> None:
    assert {"given": "Sam"} == reading(a_discharge(person={5: '""^Sam'})).values["name"]


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("Doe^Sam", {"given": "Sam", "family": "Doe"}),
        ("Doe^Sam^^^^^A~Roe^Sue^^^^^L", {"given": "Sue", "family": "Roe"}),
        ("^Sunny^^^^^N~Doe^Sam", {"given": "Sam", "family": "Doe", "called": "Sunny"}),
        ("^Sunny^^^^^N", {"called": "Sunny"}),
        ("Doe^Sam^^^^^L^^^^^^^^Sunny", {"given": "Sam", "family": "Doe", "called": "Sunny"}),
        ("van Doe&van&Doe^Sam", {"given": "Sam", "family": "van Doe"}),
    ],
)
def test_the_legal_name_is_preferred_and_the_nickname_is_how_one_is_called(
    names: str, name: dict[str, str]
) -> None:
    assert name == reading(a_discharge(person={5: names})).values["name"]


def test_an_accepted_message_is_acknowledged_to_its_sender() -> None:
    raw = a_discharge(charset="UNICODE UTF-8")

    acknowledgement = answer(raw)

    assert (
        "MSH|^~\\&|WarmHandoff|Peers|ChartPro|North Clinic|20261124180000+0000||ACK^A03^ACK|A-1|P"
        "|2.5.1||||||UNICODE UTF-8\rMSA|AA|C-77\r"
    ) == acknowledgement


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3", "2.3.1", "2.4"])
def test_older_versions_get_the_error_in_one_field_and_the_remedy_beside_the_code(
    version: str,
) -> None:
    lines = refused_answer(a_discharge(version=version, visit={19: ""})).split("\r")

    assert lines[0].endswith(f"||ACK^A03|A-1|P|{version}")
    assert lines[1].startswith("MSA|AE|C-77|No visit is named.")
    assert "ERR|PV1^1^19^101&Required field missing&HL70357" == lines[2]


@pytest.mark.parametrize("version", ["2.5", "2.5.1", "2.6", "2.7", "2.8", "2.5^FRA^2.5"])
def test_newer_versions_get_location_condition_severity_and_remedy(version: str) -> None:
    lines = refused_answer(a_discharge(version=version, visit={19: ""})).split("\r")

    assert lines[0].endswith(f"||ACK^A03^ACK|A-1|P|{version}")
    assert "MSA|AE|C-77" == lines[1]
    assert lines[2].startswith(
        "ERR||PV1^1^19|101^Required field missing^HL70357|E||||No visit is named."
    )


def test_the_remedy_is_escaped() -> None:
    lines = refused_answer(a_discharge(kind="ADT^A01")).split("\r")

    assert "Send ADT\\S\\A03 in MSH-9" in lines[2]


def test_the_separators_of_the_message_are_those_of_the_acknowledgement() -> None:
    odd = a_discharge(visit={19: ""}).decode().translate(str.maketrans("|^~\\&", "*!%?;")).encode()

    lines = refused_answer(odd).split("\r")

    assert lines[0].startswith("MSH*!%?;*WarmHandoff*Peers*ChartPro*North Clinic*")
    assert lines[2].startswith("ERR**PV1!1!19*101!")


@pytest.mark.parametrize("raw", [b"", b"\0\xff", b"MSH", b"MSH|", b"BHS|^~\\&|A", b"hello"])
def test_even_what_is_no_message_is_acknowledged(raw: bytes) -> None:
    lines = refused_answer(raw).split("\r")

    assert lines[0].startswith("MSH|^~\\&|||||20261124180000+0000||ACK|A-1|P|2.5.1")
    assert lines[1] in ("MSA|AE", "MSA|AR")
    assert lines[2].startswith("ERR||")


def test_no_answer_repeats_what_identifies_a_person() -> None:
    person = {3: "SECRET-1\\X00\\", 5: "SECRET-2", 13: "SECRET-3"}

    refused = refusal(a_discharge(person=person))

    assert "SECRET" not in str(refused)
    assert "SECRET" not in refused_answer(a_discharge(person=person))


GOOD = a_discharge(
    person={
        5: "Doe^Sam^^^^^L~^Sammy^^^^^N",
        13: "^PRN^CP^^1^503^5550123~^NET^Internet^sam@example.org",
        15: "eng^English^HL70296",
        29: '""',
    },
    visit={3: "West^12^B", 10: "SUD", 36: "07^Left\\T\\gone"},
)


def must_be_answered(raw: bytes) -> None:
    try:
        read(raw, default_zone=ZONE)
    except Refused as refused:
        text = acknowledge(raw, code=refused.code, now=NOW, control_id="A-1", refused=refused)
    else:
        text = acknowledge(raw, code="AA", now=NOW, control_id="A-1")

    assert hl7.parse(text.decode("latin-1")).segment("MSA")


@given(at=st.integers(0, len(GOOD)))
def test_a_message_cut_anywhere_is_read_or_refused(at: int) -> None:
    must_be_answered(GOOD[:at])
    must_be_answered(GOOD[at:])


@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_a_message_with_a_changed_byte_is_read_or_refused(at: int, byte: int) -> None:
    must_be_answered(GOOD[:at] + bytes([byte]) + GOOD[at + 1 :])


@given(at=st.integers(0, len(GOOD)), inserted=st.binary(max_size=20), dropped=st.integers(0, 20))
@example(at=GOOD.index(b"07^"), inserted="\u0660".encode(), dropped=2)
@example(at=GOOD.index(b"20261123100000"), inserted=b"99991231235959", dropped=19)
@example(at=GOOD.index(b"20261123100000"), inserted=b"00010101000000", dropped=19)
def test_a_message_with_anything_put_into_it_is_read_or_refused(
    at: int, inserted: bytes, dropped: int
) -> None:
    must_be_answered(GOOD[:at] + inserted + GOOD[at + dropped :])


@given(
    field=st.sampled_from([5, 7, 13, 14, 15, 18, 29, 30, 40]),
    text=st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])),
)
def test_a_person_with_any_text_in_any_field_is_read_or_refused(field: int, text: str) -> None:
    must_be_answered(a_discharge(person={field: text}))


@given(
    field=st.sampled_from([3, 10, 36, 45]),
    text=st.text('^~\\&XTSR.br0123456789+-ABCDEFabcdef"@ '),
)
def test_a_visit_with_any_marks_in_any_field_is_read_or_refused(field: int, text: str) -> None:
    must_be_answered(a_discharge(visit={field: text}))


@given(charset=st.text("ASCIUNOD8859/123TF- ~^", max_size=12), raw=st.binary(max_size=40))
def test_any_bytes_in_any_character_set_are_read_or_refused(charset: str, raw: bytes) -> None:
    must_be_answered(a_discharge(charset=charset) + b"NTE|" + raw)
