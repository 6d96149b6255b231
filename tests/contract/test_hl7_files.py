"""Every HL7 file that nobody here wrote is answered as the hand-written table says."""

from __future__ import annotations

from datetime import UTC, datetime

import hl7  # type: ignore[import-untyped]
import pytest

from services.intake.sources.hl7v2 import Message, Refused, acknowledge, read
from tests.contract.hl7_expected import DIED, EXPECTED, FOLDER, MESSAGES_IN, NAMELESS, messages_in
from tests.needs import only_with

pytestmark = only_with(FOLDER)
NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)


def answer_to(raw: bytes) -> Message | Refused:
    try:
        return read(raw, default_zone="America/Los_Angeles")
    except Refused as refused:
        return refused


def place(refused: Refused) -> str:
    return f"{refused.segment}-{refused.field}" if refused.field else refused.segment


def values_in(name: str) -> dict[str, object]:
    (raw,) = messages_in(FOLDER / name)
    return read(raw, default_zone="America/Los_Angeles").values


def test_the_table_speaks_of_every_file_and_of_no_other() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}

    assert files == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_message_of_a_file_is_answered_as_the_table_says(name: str) -> None:
    expected = EXPECTED[name]

    answers = [answer_to(raw) for raw in messages_in(FOLDER / name)]

    assert MESSAGES_IN.get(name, 1) == len(answers)
    assert {(expected.code, expected.where)} == {
        (answer.code, place(answer)) if isinstance(answer, Refused) else ("AA", "")
        for answer in answers
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_each_acknowledgement_names_its_message_and_can_be_parsed(name: str) -> None:
    raw = messages_in(FOLDER / name)[0]
    answer = answer_to(raw)
    refused = answer if isinstance(answer, Refused) else None

    acknowledgement = acknowledge(
        raw, code=refused.code if refused else "AA", now=NOW, control_id="A-1", refused=refused
    )

    parsed = hl7.parse(acknowledgement)
    assert EXPECTED[name].code == str(parsed.segment("MSA")[1])
    assert answer.control_id in str(parsed.segment("MSA"))
    assert (refused is not None) == ("\rERR|" in str(parsed))


@pytest.mark.parametrize("name", [name for name, answer in EXPECTED.items() if answer == DIED])
def test_the_dead_are_told_as_dead(name: str) -> None:
    values = values_in(name)

    assert values["died"] is True
    assert "died" == values["reason"]


@pytest.mark.parametrize("name", [name for name, answer in EXPECTED.items() if answer == NAMELESS])
def test_the_nameless_visit_gives_its_numbers_and_nothing_invented(name: str) -> None:
    values = values_in(name)

    assert {"record_number", "visit_number", "service"} == set(values)
