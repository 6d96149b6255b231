"""About forty example clients, made through the public doors: what people would send, no more.

The record number of each says which case it is (``EX-no-language-1``); what becomes of them is for
the product to say. They wish for mentors of an age and gender that only the volunteers of
``demo-volunteers.csv`` have, so that the twelve mentors of the demo stay free for whoever tries it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from deploy.local.demo import HERE, agreed, load_mentors, product_time
from deploy.local.doors import Doors, asked
from deploy.local.settings import write_privately

THREADS = 6
PATIENCE_SECONDS = 60
ROUND_SECONDS = 0.25

#: Who does what: one after the other, each as soon as there is something to answer.
Act = tuple[str, str]
YES, NO, TALKED = ("mentor", "YES"), ("mentor", "NO"), ("mentor", "TALKED")
NO_ANSWER = ("mentor", "NO ANSWER")
CANCEL, REVOKE = ("staff", "cancel"), ("staff", "revoke")


class GivenUp(RuntimeError):
    """Somebody waited for something to answer, and it did not come."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is special about a discharge (None leaves a field out), what people then do, and the
    trouble that the networks have with the first message.
    """

    name: str
    count: int = 1
    discharge: Mapping[str, Any] = field(default_factory=dict)
    acts: Sequence[Act] = ()
    faults: Sequence[str] = ()


def cases(now: datetime) -> list[Case]:
    """Every case there is."""
    text_only = {"consents": {"text": agreed(now)["text"]}, "email": None}
    mail_only = {"consents": {"email": agreed(now)["email"]}, "mobile": None}
    south = {"facility": "south"}
    long_ago = (now - timedelta(days=120)).isoformat()
    high_risk = {"reason": "left_against_advice", "high_risk": ["lives_alone"]}
    return [
        Case(name="in-contact", discharge=_wish("man", "36-50"), acts=[YES, TALKED]),
        Case(name="in-contact", discharge=_wish("nonbinary", "36-50"), acts=[YES, TALKED]),
        Case(name="no-answer", discharge=_wish("woman", "66+"), acts=[YES, NO_ANSWER]),
        Case(name="never-answered", discharge=_wish("nonbinary", "66+")),
        Case(name="declined-twice", count=2, acts=[NO, NO, YES]),
        Case(name="introduced", count=2, acts=[YES]),
        Case(name="left-advice", count=2, discharge=high_risk, acts=[YES]),
        Case(name="spanish", count=2, discharge={"language": "es"}, acts=[YES]),
        Case(name="stopped", count=2, acts=[YES, ("client", "please stop texting me")]),
        Case(name="said-no", acts=[YES, ("client", "NO")]),
        Case(name="someone-else", acts=[YES, ("client", "SOMEONE ELSE"), YES]),
        Case(name="unclear", count=2, acts=[YES, ("client", "I want to quit drinking")]),
        Case(name="wrong-number", discharge=text_only, acts=[YES, ("client", "wrong number")]),
        Case(name="danger", acts=[YES, ("client", "I can't do this anymore")]),
        Case(name="consent-revoked", acts=[YES, REVOKE]),
        Case(
            name="unconfirmed", count=2, acts=[YES], faults=["drop-after-storing", "receipt-lost"]
        ),
        Case(name="failed-then-mail", count=2, acts=[YES], faults=["undelivered"]),
        Case(name="failed", discharge=text_only, acts=[YES], faults=["undelivered"]),
        Case(name="no-consent", count=3, discharge={"consents": None}),
        Case(name="no-birth-date", discharge={"born_on": None}),
        Case(name="long-ago", discharge={"discharged_at": long_ago}),
        Case(name="under-18", count=2, discharge={"born_on": "2011-06-01"}),
        Case(name="transferred", discharge={"reason": "transferred"}),
        Case(name="incarcerated", discharge={"reason": "incarcerated"}),
        Case(name="died", discharge={"reason": "died"}),
        Case(name="cancelled", discharge={"language": "vi"}, acts=[CANCEL]),
        Case(name="no-language", count=3, discharge={"language": "vi"}),
        Case(name="no-such-mentor", discharge={"wants_age_band": "18-25"}),
        Case(name="honolulu", count=2, discharge={"time_zone": "Pacific/Honolulu", **south}),
        Case(name="mail-only", discharge={**mail_only, **south}),
    ]


def _wish(gender: str, age_band: str) -> dict[str, str]:
    return {"wants_gender": gender, "wants_age_band": age_band}


def add(var: Path) -> None:
    """Make all of them beside each other, note their ids, and say it in a line."""
    began = time.monotonic()
    access = json.loads((var / "access.json").read_text())
    load_mentors((HERE / "demo-volunteers.csv").read_bytes())
    examples = list(made_up(product_time()))
    Doors(access).order(
        [
            {"channel": "sms", "kind": fault, "to": example.discharge["mobile"]}
            for example in examples
            for fault in example.case.faults
        ]
    )
    with ThreadPoolExecutor(THREADS) as threads:
        ids = list(threads.map(lambda example: example.play(Doors(access)), examples))
    known = {e.record_number: one for e, one in zip(examples, ids, strict=True) if one}
    write_privately(var / "examples.json", json.dumps(known, indent=1) + "\n")
    print(
        f"{len(known)} of {len(examples)} example clients made in "
        f"{time.monotonic() - began:.0f} s; "
        "their record numbers (EX-...) say which case each is. No message left this machine.",
        flush=True,
    )


def made_up(now: datetime) -> Iterator[Example]:
    """The people of all cases, numbered."""
    numbers: Counter[str] = Counter()
    for case in cases(now):
        for _ in range(case.count):
            numbers[case.name] += 1
            label = f"{case.name}-{numbers[case.name]}"
            yield Example(case=case, discharge=_discharge(case, label, numbers.total(), now))


def _discharge(case: Case, label: str, number: int, now: datetime) -> dict[str, Any]:
    body = {
        "facility": "north",
        "record_number": f"EX-{label}",
        "visit_number": "V-1",
        "name": {"given": "Example", "family": label.replace("-", " "), "called": "Friend"},
        "born_on": "1985-03-14",
        "mobile": f"+150355530{number:02}",
        "email": f"ex-{label}@example.org",
        "language": "en",
        "time_zone": "America/Los_Angeles",
        "discharged_at": (now - timedelta(hours=number)).isoformat(),
        "reason": "completed",
        "needs": ["job", "family"],
        "pathways": ["12_step"],
        "consents": agreed(now),
        **_wish("woman", "51-65"),
        **case.discharge,
    }
    return {name: value for name, value in body.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Example:
    """One made-up client and their discharge."""

    case: Case
    discharge: Mapping[str, Any]

    @property
    def record_number(self) -> str:
        """It begins with EX and says the case."""
        return str(self.discharge["record_number"])

    def play(self, doors: Doors) -> str | None:
        """Send the discharge and let everybody do what they do; its id.

        None if not all came, which is said with the reason.
        """
        try:
            discharge_id = doors.enter(self.discharge)
            play = _Play(doors, self.discharge, discharge_id)
            for who, what in self.case.acts:
                play.act(who, what)
        except (requests.RequestException, GivenUp) as error:
            print(f"Example {self.record_number} was given up: {error}", flush=True)
            return None
        return discharge_id


class _Play:
    """What happens around one discharge, as those see it who take part."""

    def __init__(self, doors: Doors, discharge: Mapping[str, Any], discharge_id: str) -> None:
        self._doors = doors
        self._discharge = discharge
        self._id = discharge_id
        self._facility = discharge["facility"]
        self._phone = ""
        self._answered: set[str] = set()

    def act(self, who: str, what: str) -> None:
        """Wait until there is something to answer, and do it."""
        if (who, what) == CANCEL:
            self._doors.call("POST", f"/api/discharges/{self._id}/cancel", self._facility)
        elif (who, what) == REVOKE:
            agreed_to = {"email": self._discharge["consents"]["email"]}
            body = {"record_number": self._discharge["record_number"], "consents": agreed_to}
            self._doors.call(
                "PUT", "/api/consents", self._facility, {"facility": self._facility, **body}
            )
        elif who == "client":
            self._wait_for("introduction")
            self._doors.text(self._discharge["mobile"], what)
        elif what in ("YES", "NO"):
            self._phone = self._phone_of(self._wait_for("offer"))
            self._doors.text(self._phone, what)
        else:
            self._wait_for("card")
            self._doors.text(self._phone, what)

    def _wait_for(self, purpose: str) -> str:
        """The id of a message of this purpose that nobody has answered yet."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            came = asked(self._doors.story(self._id, self._facility), purpose)
            fresh = [message_id for message_id in came if message_id not in self._answered]
            if fresh:
                self._answered.add(fresh[-1])
                return fresh[-1]
            time.sleep(ROUND_SECONDS)
        raise GivenUp(purpose)

    def _phone_of(self, message_id: str) -> str:
        return next(str(m["to"]) for m in self._doors.messages() if m["message_id"] == message_id)
