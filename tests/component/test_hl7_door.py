"""The HL7 door: real-world messages in, the right acknowledgements and messages out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hl7  # type: ignore[import-untyped]
import pytest
from flask.testing import FlaskClient

from services.intake.facilities import load_facilities
from services.intake.sources.hl7door import CONTENT_TYPE, Hl7Door
from services.intake.sources.hl7v2 import read
from tests.contract.hl7_expected import DIED, EXPECTED, FOLDER, NAMELESS, messages_in
from tests.house import DEMO, House, a_discharge
from tests.needs import only_with

needs_files = only_with(FOLDER)
CLIENT = "+15035550123"


def send(caller: FlaskClient, raw: bytes) -> bytes:
    """What the door answers; it always answers with HL7."""
    answer = caller.post("/api/hl7", data=raw, content_type="application/hl7-v2")
    assert (200, "application/hl7-v2") == (answer.status_code, answer.content_type)
    return answer.get_data()


def verdict(answer: bytes) -> tuple[str, str]:
    """The code of an acknowledgement, and the segment and field that it names."""
    message = hl7.parse(answer)
    code = str(message.segment("MSA")[1])
    if code == "AA":
        return code, ""
    error = message.segment("ERR")
    where = [str(part) for part in (error[2] if len(error) > 2 else error[1])[0]]
    remedy = error[8] if len(error) > 8 else message.segment("MSA")[3]
    assert str(remedy)
    return code, "-".join([where[0], *(part for part in where[2:3] if part)])


def states(center: House) -> Counter[tuple[str, str | None]]:
    rows = center.rows("intake", "SELECT state, closed_because FROM discharge")
    return Counter((row.state, row.closed_because) for row in rows)


def letters(center: House) -> int:
    return len(center.network.letters)


def offers(center: House) -> list[str]:
    """What the mentors were written."""
    return [letter.text for _, letter in center.network.letters if letter.to != CLIENT]


@needs_files
def test_every_file_through_the_door_is_answered_as_the_table_says(center: House) -> None:
    caller = center.api()
    expected = {name: {(answer.code, answer.where)} for name, answer in EXPECTED.items()}

    answered = {
        name: {verdict(send(caller, raw)) for raw in messages_in(FOLDER / name)}
        for name in EXPECTED
    }
    center.settle()

    # Five messages tell of one nameless visit, and two of one death.
    assert expected == answered
    assert {("held", None): 1, ("closed", "died"): 1} == states(center)
    assert 0 == letters(center)
    assert ["held"] == [task["kind"] for task in center.tasks()]


def singled_out(expected: Any) -> list[str]:
    return [name for name, answer in EXPECTED.items() if answer == expected]


def numbers_in(raw: bytes) -> dict[str, str]:
    values = read(raw, default_zone="America/Los_Angeles").values
    return {name: values[name] for name in ("record_number", "visit_number")}


@needs_files
@pytest.mark.parametrize("name", singled_out(NAMELESS))
def test_the_nameless_visit_reaches_its_welcomes_once_it_is_complete(
    center: House, name: str
) -> None:
    (raw,) = messages_in(FOLDER / name)
    send(center.api(), raw)
    center.settle()
    before = letters(center)

    story = center.register(**numbers_in(raw))

    assert 0 == before
    assert "held" in [step["what"] for step in story["steps"]]
    assert "offered" == story["state"]
    assert ["You asked us to stay in touch" in text for text in center.network.to(CLIENT)] == [True]
    assert ["Can you take a new call?" in text for text in offers(center)] == [True]
    assert [] == center.tasks()


@needs_files
@pytest.mark.parametrize("name", singled_out(DIED))
def test_the_dead_are_never_written_to(center: House, name: str) -> None:
    (raw,) = messages_in(FOLDER / name)
    send(center.api(), raw)

    story = center.register(**numbers_in(raw), reason="completed")
    center.clock.move(hours=30)
    center.settle()

    assert ("closed", "died") == (story["state"], story["closed_because"])
    assert 0 == letters(center)
    assert [] == center.tasks()


@dataclass(frozen=True, kw_only=True)
class Feed:
    """One way in which a record system writes."""

    version: str = "2.5.1"
    marks: str = "|^~\\&"
    ends: str = "\r"
    phone: str = "(503)555-{line}^PRN^CP"
    left_at: str = "20261124093000"
    charset: str = ""
    framed: bool = False
    kind: str = "ADT^A03"
    processing: str = "P"

    def message(
        self, number: int = 23, *, control_id: str = "C-1", visit: str = "V-1", **more: str
    ) -> bytes:
        """Somebody's discharge; the number is in their record number and their phone."""
        pid = {
            3: f"R-{number}^^^North^MR",
            5: "Doe^Sam^^^^^L",
            7: "19900402",
            13: self.phone.format(line=f"{number:04}"),
            **{int(name[3:]): value for name, value in more.items() if name.startswith("pid")},
        }
        pv1 = {2: "I", 19: visit, 36: "01", 45: self.left_at}
        pv1 |= {int(name[3:]): value for name, value in more.items() if name.startswith("pv1")}
        msh = f"MSH|^~\\&|EHR|North|WH|Peers|20261124094000||{self.kind}|{control_id}"
        msh += f"|{self.processing}|{self.version}||||||{self.charset}"
        lines = [msh, "EVN|A03|20261124094000", row("PID", pid), row("PV1", pv1), "ZZZ|1|own"]
        text = self.ends.join(lines) + self.ends
        text = text.translate(str.maketrans("|^~\\&", self.marks))
        raw = text.encode("latin-1" if self.charset == "8859/1" else "utf-8")
        return b"\x0b" + raw + b"\x1c\r" if self.framed else raw


def row(name: str, fields: dict[int, str]) -> str:
    return "|".join([name, *(fields.get(place, "") for place in range(1, max(fields) + 1))])


FEEDS = [
    Feed(version="2.1", phone="(503)555-{line}"),
    Feed(version="2.2", phone="503-555-{line}", ends="\n"),
    Feed(version="2.3", phone="5035550000^ORN^PH~(503)555-{line}^PRN^CP"),
    Feed(version="2.3", ends="\r\n", left_at="202611240930"),
    Feed(version="2.3.1", phone="^PRN^CP^^^503^555{line}"),
    Feed(version="2.3.1", marks="#*%!+"),
    Feed(version="2.4", phone="^PRN^CP^^1^503^555{line}", ends="\n"),
    Feed(version="2.4", framed=True),
    Feed(version="2.5", left_at="20261124093000-0800"),
    Feed(version="2.5", marks="|~^\\&", ends="\r\n"),
    Feed(version="2.5.1", charset="UNICODE UTF-8"),
    Feed(version="2.5.1", phone="+1 503 555 {line}^PRN^CP", left_at="20261124"),
    Feed(version="2.6", phone="^PRN^CP^^^^^^^^^+1503555{line}"),
    Feed(version="2.6", charset="8859/1"),
    Feed(version="2.7", phone="^PRN^CP^^^^^^^^^(503) 555-{line}"),
    Feed(version="2.7", framed=True, ends="\n"),
    Feed(version="2.7.1", kind="ADT^A03^ADT_A03"),
    Feed(version="2.8", kind="ADT^A03^ADT_A03", left_at="20261124093000.0000-0800"),
    Feed(version="2.8", marks="|^~\\&", processing="P^T"),
    Feed(version="2.8.2", phone="^PRN^CP^^1^503^555{line}^^^^^+1503555{line}"),
]


def test_twenty_discharges_with_consent_on_file_go_all_the_way(center: House) -> None:
    consents = {"text": a_discharge(center.clock.now())["consents"]["text"]}
    callers = {name: center.api(name) for name in ("north", "south")}
    people = [(130 + n, "north" if n % 5 == 0 else "south", feed) for n, feed in enumerate(FEEDS)]
    for number, facility, _ in people:
        body = {"facility": facility, "record_number": f"R-{number}", "consents": consents}
        assert 200 == callers[facility].put("/api/consents", json=body).status_code

    answers = [
        verdict(send(callers[facility], feed.message(number, control_id=f"C-{number}")))
        for number, facility, feed in people
    ]
    center.settle()

    heard = [center.network.to(f"+1503555{number:04}") for number, _, _ in people]
    tasks = center.tasks("north") + center.tasks("south")
    assert [("AA", "")] * 20 == answers
    assert ["You asked us to stay in touch" in texts[0] for texts in heard] == [True] * 20
    assert {("offered", None): 4, ("assigned", None): 16} == states(center)
    # A mentor without e-mail is called; nothing else needs anybody.
    assert {task["kind"] for task in tasks} <= {"call_mentor"}


def test_the_same_bytes_get_the_same_answer_and_are_one_discharge(center: House) -> None:
    caller = center.api()
    raw = Feed().message()
    first = send(caller, raw)
    center.settle()
    center.clock.move(minutes=5)

    again = send(center.api(), raw)

    assert first == again
    assert 1 == states(center).total()
    steps = center.rows("intake", "SELECT what FROM step WHERE what IN ('received', 'corrected')")
    assert ["received"] == [step.what for step in steps]


def test_a_control_id_that_comes_again_is_judged_by_its_visit(center: House) -> None:
    caller = center.api()
    send(caller, Feed().message(23, control_id="C-1"))

    other_person = verdict(send(caller, Feed().message(24, control_id="C-1")))
    other_visit = verdict(send(caller, Feed().message(23, control_id="C-1", visit="V-2")))
    same_visit = verdict(send(caller, Feed().message(23, control_id="C-1", pid8="M")))

    assert {("AA", "")} == {other_person, other_visit, same_visit}
    assert 3 == states(center).total()


def test_a_later_message_of_a_visit_corrects_it(center: House) -> None:
    caller = center.api()
    send(caller, Feed().message(pid5="", pid7=""))

    send(caller, Feed().message(control_id="C-2"))

    (found,) = center.rows("intake", "SELECT id FROM discharge")
    missing = center.story(str(found.id))["missing"]
    assert ["channel"] == [one["what"] for one in missing]


def test_a_test_message_acts_in_the_sandbox_only(center: House) -> None:
    raw = Feed(processing="T").message()

    live = verdict(send(center.api(mode="live"), raw))
    after_live = states(center).total()
    sandbox = verdict(send(center.api("south"), raw))

    assert {("AA", "")} == {live, sandbox}
    assert (0, 1) == (after_live, states(center).total())


def test_a_name_in_another_character_set_is_read_as_it_was_written(center: House) -> None:
    caller = center.api()

    answer = send(caller, Feed(charset="8859/1").message(pid5="Muñoz^José"))
    refused = send(caller, Feed().message(pid5="Muñoz^José").decode().encode("latin-1"))

    assert ("AA", "") == verdict(answer)
    assert ("AE", "MSH-18") == verdict(refused)


def test_a_unit_too_long_to_be_mapped_holds(center: House) -> None:
    caller = center.api()
    mapped = (DEMO / "demo-facilities.toml").read_text().replace("asks =", 'units = ["W"]\nasks =')
    load_facilities(center.desk, mapped.encode())

    answer = send(caller, Feed().message(pv13="W" * 200))

    (found,) = center.rows("intake", "SELECT id FROM discharge")
    assert ("AA", "") == verdict(answer)
    assert "unit" in [one["what"] for one in center.story(str(found.id))["missing"]]


def test_what_a_feed_fills_with_what_cannot_be_is_named_in_the_story(center: House) -> None:
    send(center.api(), Feed().message(pid7="19903002", pid13="12"))

    (found,) = center.rows("intake", "SELECT id FROM discharge")
    steps = center.story(str(found.id))["steps"]
    (told,) = [step["fields"] for step in steps if step["what"] == "unusable"]
    assert "PID-7" in told
    assert "19903002" not in str(steps)


def without(name: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: re.sub(name + rb"[^\r]*\r", b"", raw)


GOOD = Feed().message()
BROKEN: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "AE", "MSH"),
    "cut before PV1": (GOOD[: GOOD.index(b"PV1")], "AE", "PV1"),
    "cut before PID": (GOOD[: GOOD.index(b"PID")], "AE", "PID"),
    "cut inside PID": (GOOD[: GOOD.index(b"R-23")], "AE", "PID-3"),
    "cut inside MSH": (GOOD[:30], "AE", "MSH-9"),
    "cut inside its frame": (Feed(framed=True).message()[:-40], "AE", "MSH"),
    "no MSH": (GOOD[GOOD.index(b"EVN") :], "AE", "MSH"),
    "no PID": (without(b"PID")(GOOD), "AE", "PID"),
    "no PV1": (without(b"PV1")(GOOD), "AE", "PV1"),
    "no record number": (Feed().message(pid3=""), "AE", "PID-3"),
    "a deleted record number": (Feed().message(pid3='""'), "AE", "PID-3"),
    "no visit number": (Feed().message(visit=""), "AE", "PV1-19"),
    "a record number of a novel": (Feed().message(pid3="x" * 65), "AE", "PID-3"),
    "a visit number of a novel": (Feed().message(visit="x" * 65), "AE", "PV1-19"),
    "two persons": (GOOD.replace(b"PV1|", b"PID|||R-9\rPV1|"), "AE", "PID"),
    "one mark for two things": (GOOD.replace(b"^~\\&", b"^^\\&", 1), "AE", "MSH-2"),
    "letters for marks": (GOOD.replace(b"|^~\\&", b"|abcd", 1), "AE", "MSH-2"),
    "sixteen bits a letter": (GOOD.decode().encode("utf-16"), "AE", "MSH"),
    "bytes that are no text": (GOOD.replace(b"Doe", b"\xff\xfe"), "AE", "MSH-18"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), "AE", "MSH"),
    "too much": (GOOD + b"NTE|1||" + b"x" * 1_000_000, "AE", "MSH"),
    "an admission": (Feed(kind="ADT^A01").message(), "AR", "MSH-9"),
    "a result": (Feed(kind="ORU^R01").message(), "AR", "MSH-9"),
    "two messages": (GOOD + GOOD, "AR", "MSH"),
    "a batch": (b"BHS|^~\\&\r" + GOOD, "AR", "BHS"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_message_that_cannot_be_taken_names_place_and_remedy(house: House, what: str) -> None:
    raw, code, where = BROKEN[what]
    load_facilities(house.desk, (DEMO / "demo-facilities.toml").read_bytes())

    answer = send(house.api(), raw)

    assert (code, where) == verdict(answer)
    assert [] == house.rows("intake", "SELECT id FROM client")
    assert [] == house.rows("intake", "SELECT id FROM discharge")


def test_a_message_that_comes_again_after_a_crash_undoes_no_correction(
    center: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, raw = center.api(), Feed().message()
    with monkeypatch.context() as crashing:
        crashing.setattr(Hl7Door, "_remember", _crash)
        assert 500 == caller.post("/api/hl7", data=raw, content_type=CONTENT_TYPE).status_code
    number = read(raw, default_zone="America/Los_Angeles").values["record_number"]
    contact = {"facility": "north", "record_number": number, "mobile": "+15035550199"}
    assert 200 == caller.put("/api/contact", json=contact).status_code
    [corrected] = center.rows("intake", "SELECT person FROM client")

    first, again = send(caller, raw), send(caller, raw)

    assert ("AA", "") == verdict(first)
    assert first == again
    assert [corrected] == center.rows("intake", "SELECT person FROM client")


def _crash(*_: object) -> bytes:
    raise RuntimeError("a crash")


def test_a_reason_that_a_feed_empties_is_no_longer_so(center: House) -> None:
    caller = center.api()
    send(caller, Feed().message(pv136="21"))
    held = center.tasks()

    send(caller, Feed().message(pv136='""'))

    [row] = center.rows("intake", "SELECT id FROM discharge")
    missing = {one["what"] for one in center.story(str(row.id))["missing"]}
    assert ["held"] == [task["kind"] for task in held]
    assert "incarcerated" not in missing
