"""A canary in every personal field sings nowhere but in the sandbox: the rest holds seals only."""

from __future__ import annotations

import base64
import json
import re
from base64 import urlsafe_b64decode
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from kafka import KafkaProducer
from sqlalchemy import NullPool, create_engine, make_url, text

from contracts.sealed import PURPOSES, Destroyed, Sealed
from contracts.topics import TOPICS
from deploy.local.demo import next_morning
from deploy.local.engines import postgres_of
from messaging.kafka import read_to_the_end
from messaging.sealing import Keyring, from_json
from messaging.wrapping import MasterKeys
from services.intake.bodies import Consents, DischargeBody, Name
from services.matching.roster import MentorRow
from tests.house import a_discharge
from tests.running import Running, a_running_system, eventually

#: Each field's word is this and a name of its own, so that a hit tells which field leaked.
WORD = "qwyxvo"
#: Each number is this and two digits of its own.
NUMBER = "+150328617"
BORN_ON = "1931-07-23"
#: Why somebody is here, and when they may be called, is as private as who they are.
NEED, PATHWAY, RISK = "self-esteem", "recovery_dharma", "recent_overdose"
GENDER, SAFE_HOURS = "nonbinary", "07:31-20:13"
WORDS_OF_A_LIST = (NEED, PATHWAY, RISK, GENDER, SAFE_HOURS)
LOOKED_FOR = (WORD, NUMBER[2:], BORN_ON, BORN_ON.replace("-", ""), *WORDS_OF_A_LIST)
#: What is left unsealed on purpose, to see that the search finds it.
IN_A_TABLE, IN_A_TOPIC, IN_A_LOG = f"{WORD}table", f"{WORD}topic", f"{WORD}log"
PLANTED = {IN_A_TABLE, IN_A_TOPIC, IN_A_LOG}

CLIENT, CLIENT_BY_HL7, STRANGER = f"{NUMBER}11", f"{NUMBER}12", f"{NUMBER}13"
MENTOR, OTHER_MENTOR = f"{NUMBER}21", f"{NUMBER}22"

JSON = {"Content-Type": "application/json"}

FACILITY = f"""
[[facility]]
code = "center"
alias = "Bridge"
time_zone = "America/Los_Angeles"
wording = {{ text-1 = "I agree to texts.", email-1 = "I agree to e-mails." }}
[facility.coordinator]
name = "{WORD}coordinator"
phone = "{NUMBER}31"
email = "{WORD}coordinator@example.org"
[facility.on_call]
name = "{WORD}oncall"
phone = "{NUMBER}32"
email = "{WORD}oncall@example.org"
"""

#: The columns of a mentor's file that two mentors have in common; the first suits the client more.
MENTOR_CELLS = {
    "opted_in_at": "2026-01-05T10:00:00-08:00",
    "opted_in_how": f"{WORD}form",
    "time_zone": "America/Los_Angeles",
    "languages": "en",
    "moud_friendly": "yes",
    "age_band": "51-65",
    "gender": GENDER,
    "facilities": "center",
    "capacity": "1",
    "hours": "08:00-20:00",
    "recovery_since": BORN_ON,
    "credential": f"{WORD}credential",
    "credential_ends_on": "2055-01-01",
    "route": "workforce",
    "route_ends_on": "2055-01-01",
    "state": "active",
}
MENTORS = [
    {"code": "C-1", "called": f"{WORD}mentor", "mobile": MENTOR},
    {"code": "C-2", "called": f"{WORD}other", "mobile": OTHER_MENTOR},
]


def roster() -> str:
    """The mentors' file."""
    suits = ({"pathways": PATHWAY, "strengths": NEED}, {"pathways": "", "strengths": ""})
    rows = [
        {**row, "email": f"{row['called']}@example.org", **more, **MENTOR_CELLS}
        for row, more in zip(MENTORS, suits, strict=True)
    ]
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows), ""])


def a03(now: datetime) -> str:
    """A discharge as a feed sends it, with more about the person than anybody asked for."""
    at, born = f"{now:%Y%m%d%H%M%S}+0000", BORN_ON.replace("-", "")
    return "\r".join(
        (
            rf"MSH|^~\&|EHR|C|WH|C|{at}||ADT^A03|C-1|P|2.5",
            f"EVN|A03|{at}",
            f"PID|1||{WORD}feedrecord^^^C^MR||{WORD}feedfamily^{WORD}feedgiven||{born}|F|||"
            f"1 {WORD}street^^City^OR^97201||{CLIENT_BY_HL7}",
            f"NK1|1|{WORD}kin^Ann|SIS||{NUMBER}19",
            f"PV1|1|I|{WORD}unit^1||||||||||||||||{WORD}feedvisit|||||||||||||||||||||||||{at}",
            f"DG1|1||F10.2^{WORD}diagnosis",
            "",
        )
    )


class Canary:
    """The product with a center in which every personal field holds a canary."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.printed: list[str] = []
        for action, content in (("facilities", FACILITY), ("mentors", roster())):
            file = running.var / f"{action}.given"
            file.write_text(content)
            # Matching hears of the facility a moment after intake has stored it.
            eventually(partial(self._loads, action, file), otherwise=lambda: self.printed[-1])
            file.unlink()
        token = running.services("token", "center").stdout.strip()
        self._head = {"Authorization": f"Bearer {token}"}

    def _loads(self, what: str, file: Path) -> bool:
        return self.command(what, "load", str(file)) == 0

    def command(self, *arguments: str) -> int:
        """Run a command as an operator does; its exit code."""
        ran = self.running.services(*arguments)
        self.printed.append(ran.stdout + ran.stderr)
        return ran.returncode

    def ask(self, method: str, path: str, code: int = 200, **sent: Any) -> requests.Response:
        """Call the API and expect this answer."""
        head = {**self._head, **sent.pop("headers", {})}
        url = f"{self.running.access['url']}{path}"
        answer = requests.request(method, url, headers=head, timeout=30, **sent)
        assert code == answer.status_code, answer.text
        return answer

    def story(self, discharge_id: str) -> dict[str, Any]:
        """The story of a discharge."""
        found: dict[str, Any] = self.ask("GET", f"/api/discharges/{discharge_id}").json()
        return found

    def until(self, discharge_id: str, state: str) -> dict[str, Any]:
        """The story, once it is in this state."""
        return dict(
            eventually(
                lambda: (story := self.story(discharge_id))["state"] == state and story,
                otherwise=lambda: f"{state}: {self.story(discharge_id)}",
            )
        )


def discharge(now: datetime, **changes: Any) -> dict[str, Any]:
    """A discharge with a canary in each field that takes words."""
    consent = {"given_at": now.isoformat(), "obtained_by": f"{WORD}obtained", "method": "written"}
    words: dict[str, Any] = {
        "facility": "center",
        "record_number": f"{WORD}record",
        "visit_number": f"{WORD}visit",
        "name": {name: f"{WORD}{name}" for name in ("given", "family", "called")},
        "born_on": BORN_ON,
        "mobile": CLIENT,
        "email": f"{WORD}client@example.org",
        "channels": ["text", "email"],
        "safe_hours": SAFE_HOURS,
        "moud": True,
        "high_risk": [RISK],
        "wants_gender": GENDER,
        "wants_age_band": MENTOR_CELLS["age_band"],
        "needs": [NEED],
        "pathways": [PATHWAY],
        "substances": [f"{WORD}substance"],
        "level_of_care": f"{WORD}care",
        "unit": f"{WORD}unit",
        "service": f"{WORD}service",
        "wishes": f"{WORD}wishes",
        "consents": {
            "text": consent | {"wording": "text-1"},
            "email": consent | {"wording": "email-1"},
        },
    }
    return a_discharge(now, **(words | changes))


@contextmanager
def broken(running: Running) -> Iterator[None]:
    """Meanwhile matching can store no client, so that what fails is told and logged."""
    running.sql("matching", "ALTER TABLE client ADD CONSTRAINT broken CHECK (false) NOT VALID")
    try:
        yield
    finally:
        running.sql("matching", "ALTER TABLE client DROP CONSTRAINT broken")


def live_through_everything(canary: Canary) -> UUID:
    """Every way by which words come in, those refused and those that fail included; the client."""
    running, now = canary.running, canary.running.now()
    body = discharge(now)
    refused = {**body, f"{WORD}field": f"{WORD}value", "mobile": f"{WORD}mobile"}
    canary.ask("POST", "/api/discharges", 422, json=refused)
    canary.ask("POST", "/api/discharges", 400, data=f'{{"{WORD}', headers=JSON)
    with broken(running):
        key = {"Idempotency-Key": f"{WORD}idempotency"}
        accepted = canary.ask("POST", "/api/discharges", 202, json=body, headers=key).json()
        canary.until(accepted["id"], "parked")
        assert 1 == canary.command("parked", "replay", "matching", accepted["client_id"])
    assert 0 == canary.command("parked", "replay", "matching", accepted["client_id"])
    canary.until(accepted["id"], "offered")
    asked = eventually(
        lambda: [m["to"] for m in running.messages() if "Can you take a new call?" in m["body"]]
    )[-1]
    running.reply(asked, "YES")
    canary.until(accepted["id"], "assigned")
    running.message(CLIENT, "will call you")
    open_card(running)
    running.reply(CLIENT, f"my sister {WORD}reply moved to {NUMBER}14")
    running.reply(STRANGER, f"who is {WORD}stranger")
    running.reply(asked, f"she said {WORD}mentorreply")
    running.reply(asked, "TALKED")
    canary.until(accepted["id"], "in_contact")
    correct(canary, body)
    feed(canary, now)
    return UUID(accepted["client_id"])


def open_card(running: Running) -> None:
    """The mentor reads the client's name and number on the card."""
    card = running.message(MENTOR, "/messages/card/")["body"]
    link = re.findall(r"http://\S+/messages/card/[\w=-]+", card)[0]
    mail = running.message(f"{WORD}mentor@example.org", "Your code is")["body"]
    shown = requests.post(link, data={"code": re.findall(r"\b\d{6}\b", mail)[0]}, timeout=10)
    assert f"{WORD}called" in shown.text
    assert CLIENT in shown.text


def correct(canary: Canary, body: dict[str, Any]) -> None:
    """Corrections, the reason of a task that is done, and a number that is somebody else's."""
    where = {"facility": "center", "record_number": body["record_number"]}
    changed = {**where, "mobile": f"{NUMBER}15", "called": f"{WORD}renamed"}
    canary.ask("PUT", "/api/contact", json={**changed, "email": f"{WORD}new@example.org"})
    canary.ask("PUT", "/api/consents", json={**where, "consents": body["consents"]})
    canary.ask("POST", "/api/discharges", 202, json={**body, "wishes": f"{WORD}later"})
    task = eventually(lambda: canary.ask("GET", "/api/tasks").json(), otherwise="no task")[0]
    done = {"reason": f"I called {WORD}reason"}
    canary.ask("POST", f"/api/tasks/{task['id']}/done", json=done)


def feed(canary: Canary, now: datetime) -> None:
    """The other door: one message that is held, and one that cannot be read."""
    head = {"Content-Type": "application/hl7-v2"}
    message = a03(now)
    taken = canary.ask("POST", "/api/hl7", data=message, headers=head).text
    assert "MSA|AA" in taken, taken
    without_visit = message.replace("PV1|", "ZZZ|").replace("C-1", "C-2")
    cut = canary.ask("POST", "/api/hl7", data=without_visit, headers=head).text
    assert "MSA|AE" in cut, cut
    eventually(lambda: "held" in kinds_of_tasks(canary), otherwise=lambda: kinds_of_tasks(canary))


def kinds_of_tasks(canary: Canary) -> str:
    return " ".join(sorted(task["kind"] for task in canary.ask("GET", "/api/tasks").json()))


def everything_is_said(running: Running) -> bool:
    """Whether no event waits to be published."""
    waiting = "SELECT FROM outbox WHERE published_at IS NULL LIMIT 1"
    return not any(running.sql(service, waiting) for service in TOPICS)


def plant(running: Running) -> None:
    """A reason that nobody sealed, an event that nobody sealed, and a line with a name."""
    unsealed = "UPDATE task SET done_words = :words WHERE done_words IS NOT NULL"
    running.sql("intake", unsealed, words=f"I called {IN_A_TABLE}.")
    producer = KafkaProducer(bootstrap_servers=running.settings["KAFKA_SERVERS"])
    body = json.dumps({"about": {"called": IN_A_TOPIC}}).encode()
    producer.send(TOPICS["intake"].name, body, key=b"planted")
    producer.flush(timeout=20)
    producer.close()
    with (running.var / "log" / "worker-intake.log").open("a") as log:
        log.write(f"{base64.b64encode(IN_A_LOG.encode()).decode()}\n")


def rows_in_clear(running: Running) -> str:
    """Every row of every table as text: a large value lies compressed in the files."""
    address = make_url(postgres_of(running.var, running.settings).admin_url)
    found: list[str] = []
    for database in ("intake", "matching", "notifications", "keys", "access"):
        engine = create_engine(address.set(database=database), poolclass=NullPool)
        with engine.connect() as conn:
            tables = conn.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            )
            for table in tables.scalars().all():
                found += conn.execute(text(f'SELECT t::text FROM "{table}" t')).scalars()
    return "\n".join(found)


def forms_of(word: str) -> dict[str, bytes]:
    """A word as it may lie in a file: as it is, doubly wide, in hex, and in base64."""
    raw = word.encode()
    forms = {
        "utf-8": raw,
        # Of either byte order: between the first and the last letter they are the same.
        "utf-16": word.encode("utf-16-le").rstrip(b"\0"),
        "hex": raw.hex().encode(),
    }
    for before, begins in enumerate(BASE64_BEGINS):
        digits = base64.b64encode(b" " * before + raw)
        # Only the digits that the neighbours of the word cannot change.
        forms[f"base64-{before}"] = digits[begins : (before + len(raw)) * 4 // 3]
    return forms


#: With so many bytes before a word, its first digit that they do not change.
BASE64_BEGINS = (0, 2, 3)


def hits_in(data: bytes) -> set[tuple[str, str]]:
    """The words of ours that data holds and in which form, as far as letters and digits follow."""
    lower = data.lower()
    found: set[tuple[str, str]] = set()
    for word in LOOKED_FOR:
        for form, raw in forms_of(word).items():
            searched = data if form.startswith("base64") else lower
            at = searched.find(raw)
            while at >= 0:
                found.add((form, _read(form, searched, at)))
                at = searched.find(raw, at + 1)
    return found


def _read(form: str, data: bytes, at: int) -> str:
    """The whole word at a place where one of ours begins."""
    if form.startswith("base64"):
        begins = BASE64_BEGINS[int(form[-1])]
        digits = data[at - begins : at - begins + 32].translate(bytes.maketrans(b"-_", b"+/"))
        digits = re.match(rb"[A-Za-z0-9+/]*", digits)[0]  # type: ignore[index]
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]
        text = base64.b64decode(digits + b"==").lower().decode("latin-1")[int(form[-1]) :]
    elif form == "hex":
        digits = re.match(rb"(?:[0-9a-f]{2})*", data[at : at + 40])[0]  # type: ignore[index]
        text = bytes.fromhex(digits.decode()).lower().decode("latin-1")
    else:
        text = data[at : at + 40].replace(b"\0", b"").decode("latin-1")
    return re.match(r"[a-z0-9_:-]*", text)[0]  # type: ignore[index]


def metrics_of(running: Running) -> str:
    """What every process tells about itself."""
    pages = [requests.get(url, timeout=10) for url in running.access["metrics"].values()]
    assert {200} == {page.status_code for page in pages}
    return "\n".join(page.text for page in pages)


def files_of(running: Running) -> dict[str, bytes]:
    """Whatever a run leaves on the disk: place and content."""
    files = (file for file in running.var.rglob("*") if file.is_file())
    return {str(file.relative_to(running.var)): file.read_bytes() for file in files}


def sealed_in(value: Any) -> Iterator[Sealed]:
    """Every sealed value in a row or in the body of an event."""
    if isinstance(value, list):
        for one in value:
            yield from sealed_in(one)
    elif isinstance(value, dict) and {"purpose", "person", "bound", "box"} <= value.keys():
        yield from_json(value)
    elif isinstance(value, dict):
        for one in value.values():
            yield from sealed_in(one)


def all_that_is_sealed(running: Running) -> Iterator[Sealed]:
    """In every row of the three databases, in all outboxes, and in the topics as they lie."""
    for service, topic in TOPICS.items():
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for (table,) in running.sql(service, tables):
            for (row,) in running.sql(service, f'SELECT row_to_json(t) FROM "{table}" t'):
                yield from sealed_in(row)
        for (body,) in running.sql(service, "SELECT body FROM outbox"):
            yield from sealed_in(json.loads(bytes(body)))
        for record in read_to_the_end(running.settings["KAFKA_SERVERS"], topic, {}):
            if record.value:
                yield from sealed_in(json.loads(record.value))


def opens(running: Running) -> dict[UUID, Counter[tuple[str, bool]]]:
    """Of each person, how much that is sealed for which purpose opens with all keys there are."""
    names = {purpose: f"KEY_{purpose.upper()}" for purpose in PURPOSES}
    private = {
        purpose: next(v for k, v in running.settings.items() if k.endswith(f"_{name}_PRIVATE"))
        for purpose, name in names.items()
    }
    public = {purpose: running.settings[f"{name}_PUBLIC"] for purpose, name in names.items()}
    master = MasterKeys(
        public={p: urlsafe_b64decode(key) for p, key in public.items()},
        private={p: urlsafe_b64decode(key) for p, key in private.items()},
    )
    keyring = Keyring(create_engine(running.settings["KEYS_OWNER_URL"]), master)
    view = keyring.view()
    found: dict[UUID, Counter[tuple[str, bool]]] = defaultdict(Counter)
    for sealed in all_that_is_sealed(running):
        opened = not isinstance(view.open_as(str, sealed), Destroyed)
        found[sealed.person][sealed.purpose, opened] += 1
    keyring.close()
    return found


@dataclass(frozen=True, kw_only=True)
class Lived:
    """What was found after everything was lived through, and half of the people were erased."""

    hits: dict[str, set[tuple[str, str]]]
    erased: set[UUID]
    before: dict[UUID, Counter[tuple[str, bool]]]
    after: dict[UUID, Counter[tuple[str, bool]]]


@pytest.fixture(scope="module")
def hits(lived: Lived) -> dict[str, set[tuple[str, str]]]:
    """Where a canary sang: place, and form and word."""
    return lived.hits


@pytest.fixture(scope="module")
def lived() -> Lived:
    """Everything is lived through, and then a client and a mentor are erased."""
    morning = next_morning(datetime.now(UTC)).isoformat()
    with a_running_system(WARM_HANDOFF_DEMO="0", WARM_HANDOFF_NOW=morning) as running:
        canary = Canary(running)
        client = live_through_everything(canary)
        eventually(lambda: everything_is_said(running), otherwise="some events wait")
        [(mentor,)] = running.sql("matching", "SELECT mentor_id FROM assignment LIMIT 1")
        before = opens(running)
        for key in (client, mentor):
            assert 0 == canary.command("erase", str(key), "--because", "asked")
        eventually(lambda: everything_is_said(running), otherwise="some events wait")
        after = opens(running)
        plant(running)
        told = {
            "rows": rows_in_clear(running),
            "metrics": metrics_of(running),
            "printed": "\n".join(canary.printed),
        }
        running.stop()
        places = {place: text.encode() for place, text in told.items()} | files_of(running)
        sung = {place: hits_in(data) for place, data in places.items()}
    return Lived(hits=sung, erased={client, mentor}, before=before, after=after)


def test_every_field_that_is_taken_is_filled() -> None:
    given = discharge(datetime.now(UTC))

    assert {field.name for field in fields(DischargeBody)} == given.keys()
    assert {field.name for field in fields(Name)} == given["name"].keys()
    assert {field.name for field in fields(Consents)} == given["consents"].keys()
    assert {field.name for field in fields(MentorRow)} == set(roster().split("\n")[0].split(","))


def test_every_form_of_a_word_is_found() -> None:
    for before in range(6):
        text = base64.b64encode(b"x" * before + IN_A_LOG.encode())
        assert [IN_A_LOG] == [word for _, word in hits_in(text)], before
    assert hits_in(f"..{WORD.upper()}..".encode())
    for wide in ("utf-16-le", "utf-16-be"):
        assert {("utf-16", IN_A_TOPIC)} == hits_in(IN_A_TOPIC.encode(wide)), wide
    assert {("hex", IN_A_LOG)} == hits_in(IN_A_LOG.encode().hex().encode())
    assert set() == hits_in(b"nothing of the kind")


def test_the_canary_went_all_the_way(hits: dict[str, set[tuple[str, str]]]) -> None:
    words = {word for _, word in hits["sandbox/messages.jsonl"]}

    assert {f"{WORD}{name}" for name in ("mentor", "reply", "stranger", "mentorreply")} <= words
    assert {number[2:] for number in (CLIENT, MENTOR, STRANGER)} <= words


def test_no_canary_is_readable_outside_the_sandbox(hits: dict[str, set[tuple[str, str]]]) -> None:
    leaks = {
        place: sorted(found - {(form, word) for form, word in found if word in PLANTED})
        for place, found in hits.items()
        if not place.startswith("sandbox/")
    }

    assert {} == {place: found for place, found in leaks.items() if found}


def test_nothing_of_whoever_was_erased_opens_with_all_keys_there_are(lived: Lived) -> None:
    for person in lived.erased:
        had = {purpose for purpose, opened in lived.before[person] if opened}
        left = {purpose for purpose, opened in lived.after[person] if opened}
        assert {"identity", "contact"} <= had, had
        # The law wants to know for six years what somebody agreed to.
        assert left <= {"record"}, left
        # What was said of them lies where it lay.
        assert sum(lived.after[person].values()) > sum(lived.before[person].values()) / 2


def test_everything_of_everybody_else_still_opens(lived: Lived) -> None:
    others = lived.after.keys() - lived.erased

    assert len(others) >= 3
    assert {True} == {opened for person in others for _, opened in lived.after[person]}


def test_what_is_left_unsealed_is_found(hits: dict[str, set[tuple[str, str]]]) -> None:
    planted = {
        (word, str(Path(place).parent) if place.startswith("postgres") else Path(place).parts[0])
        for place, found in hits.items()
        for _, word in found
        if word in PLANTED
    }
    in_a_table = {where for word, where in planted if word == IN_A_TABLE}

    assert {"rows", "postgres/data/pg_wal"} <= in_a_table
    assert any(where.startswith("postgres/data/base/") for where in in_a_table)
    assert (IN_A_TOPIC, "kafka") in planted
    assert (IN_A_LOG, "log") in planted
