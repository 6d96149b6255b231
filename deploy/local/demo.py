"""The demo: a center of two facilities, and discharges whose story is told from the API alone."""

import json
import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import create_engine

from deploy.local.doors import Doors, asked
from deploy.local.settings import SERVICES, write_privately
from hosting.clock import move_to
from services.command_line import main as services

HERE = Path(__file__).parent
ZONE = ZoneInfo("America/Los_Angeles")
FACILITIES = ("north", "south")
STAFF = ("clerk", "coordinator", "operations", "administrator")
OPENS = 10
PATIENCE_SECONDS = 30
Say = Callable[[str], None]


def set_clock(*, first_run: bool) -> str | None:
    """Set everybody's clock as asked, or for the first demo; what was done, in a sentence."""
    asked = os.environ.get("WARM_HANDOFF_NOW")
    if asked is None and (not first_run or os.environ.get("WARM_HANDOFF_DEMO") == "0"):
        return None
    moment = datetime.fromisoformat(asked) if asked else next_morning(datetime.now(UTC))
    if moment.tzinfo is None:
        raise ValueError("WARM_HANDOFF_NOW needs an offset, as in 2026-11-24T18:00:00Z")
    owner = create_engine(os.environ["ACCESS_OWNER_URL"])
    try:
        moved = move_to(owner, moment)
    finally:
        owner.dispose()
    local = f"{moment.astimezone(ZONE):%A %Y-%m-%d %H:%M} in Los Angeles"
    if moved:
        return f"The clocks of all processes start at {local}"
    return f"The clocks are past {local} already and never go back; they stay as they are"


def move_clock(seconds: float) -> None:
    """Let time pass for everybody."""
    owner = create_engine(os.environ["ACCESS_OWNER_URL"])
    try:
        move_to(owner, product_time() + timedelta(seconds=seconds))
    finally:
        owner.dispose()


def next_morning(now: datetime) -> datetime:
    """The next ten o'clock of a weekday in the center's zone."""
    morning = now.astimezone(ZONE).replace(hour=OPENS, minute=0, second=0, microsecond=0)
    while morning <= now or morning.weekday() >= 5:
        morning = (morning + timedelta(days=1)).replace(hour=OPENS)
    return morning


def make_center(var: Path) -> None:
    """Load facilities and mentors, make tokens, and write ``access.json``."""
    demo = os.environ.get("WARM_HANDOFF_DEMO") != "0"
    if demo:
        _expect(["facilities", "load", str(HERE / "demo-facilities.toml")])
        load_mentors((HERE / "demo-mentors.csv").read_bytes())
    write_access(var, FACILITIES if demo else ())


def write_access(var: Path, facilities: tuple[str, ...]) -> None:
    """What a person or a program needs to get in, readable by its owner alone."""
    from hosting.auth import make_token

    engine = create_engine(os.environ["INTAKE_ACCESS_URL"])
    tokens = {code: make_token(engine, code, datetime.now(UTC)) for code in facilities}
    engine.dispose()
    metrics = {
        f"{service.lower()}-{process}": f"http://127.0.0.1:{os.environ[setting]}/metrics"
        for service in SERVICES
        for process, setting in (
            ("web", f"{service}_WEB_METRICS_PORT"),
            ("worker", f"{service}_WORKER_METRICS_PORT"),
        )
    }
    access: dict[str, Any] = {
        "url": os.environ["PUBLIC_URL"],
        "api_token": tokens.get("north"),
        "api_tokens": tokens,
        "staff": make_staff() if facilities else [],
        "sandbox_url": os.environ["SANDBOX_URL"],
        "metrics": metrics,
    }
    write_privately(var / "access.json", json.dumps(access, indent=2) + "\n")


def make_staff() -> list[dict[str, str]]:
    """One account for each role that has pages, at the demo's first facility."""
    from services.intake.service import build

    accounts, staff = build().accounts, []
    for role in STAFF:
        one = {"role": role, "email": f"{role}@{FACILITIES[0]}.example"}
        one["password"] = secrets.token_urlsafe(12)
        accounts.make(one["email"], one["password"], role, FACILITIES[0], datetime.now(UTC))
        staff.append(one)
    return staff


def sign_in_links(var: Path) -> list[str]:
    """A line for each account of the demo, with a link that signs it in once."""
    from services.intake.service import build

    accounts, now = build().accounts, datetime.now(UTC)
    lines = []
    for one in json.loads((var / "access.json").read_text())["staff"]:
        link = accounts.make_link(one["email"], now)
        lines.append(f"{one['role']}: {os.environ['PUBLIC_URL']}/sign-in/{link}")
    return lines


def load_mentors(roster: bytes) -> None:
    """Matching hears of the facilities a moment after intake has stored them."""
    from services.matching.mentors import load_roster
    from services.matching.service import build

    participant = build().participant
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        loaded = load_roster(participant, roster)
        if not loaded.errors:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the mentors cannot be loaded: {loaded.errors[0].message}")
        time.sleep(0.2)


def _expect(arguments: list[str]) -> None:
    if services(arguments) != 0:
        raise RuntimeError(f"this failed: {' '.join(arguments)}")


class Teller:
    """Sends discharges through the public API and tells what it then sees there."""

    def __init__(self, access: dict[str, Any], say: Say) -> None:
        self._doors = Doors(access)
        self._say = say
        self._shown: set[str] = set()

    def tell(self, discharge: dict[str, Any], seconds: float = 60) -> str:
        """Send one discharge and print its story until nothing more is expected; its state."""
        began = time.monotonic()
        before = {m["id"] for m in self._doors.messages()}
        discharge_id = self._doors.enter(discharge)
        self._line(began, "POST /api/discharges answered 202")
        told, quiet_since = 0, time.monotonic()
        state = ""
        answered: set[str] = set()
        while time.monotonic() - began < seconds:
            story = self._doors.story(discharge_id, discharge["facility"])
            fresh = story["steps"][told:]
            told += len(fresh)
            for step in fresh:
                self._line(began, f"{step['service']}: {_in_words(step)}")
            messages = [m for m in self._doors.messages() if m["id"] not in before]
            for message in messages:
                if message["id"] not in self._shown:
                    self._shown.add(message["id"])
                    self._line(began, f"   to {message['to']} by {message['channel']}:")
                    for line in message["body"].strip().splitlines():
                        self._say(f"              | {line}")
            if fresh or story["state"] != state:
                state, quiet_since = str(story["state"]), time.monotonic()
            if state == "offered":
                self._say_yes(began, story, messages, answered)
            if state not in ("received", "offered") and time.monotonic() - quiet_since > 3:
                break
            time.sleep(0.1)
        self._line(began, f"the discharge is now: {state}")
        return state

    def _say_yes(
        self,
        began: float,
        story: dict[str, Any],
        messages: list[dict[str, Any]],
        answered: set[str],
    ) -> None:
        """The phone that was asked answers YES, as a person might a moment later."""
        offers = set(asked(story, "offer")) - answered
        phones = [m["to"] for m in messages if m["message_id"] in offers]
        if not phones:
            return
        answered |= offers
        time.sleep(1)
        self._line(began, f"   simulated: {phones[-1]} answers YES")
        self._doors.text(phones[-1], "YES")

    def _line(self, began: float, text: str) -> None:
        self._say(f"  {time.monotonic() - began:6.1f} s  {text}")


def _in_words(step: dict[str, Any]) -> str:
    """A step as the API tells it, on one line."""
    left_out = ("at", "what", "service", "event_id", "message_id")
    rest = [f"{name} {value}" for name, value in step.items() if name not in left_out and value]
    what = str(step["what"]).replace("_", " ")
    return what + (f" ({', '.join(rest)})" if rest else "")


def example_discharge(access: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The example of the interface, discharged an hour ago by the demo's clock."""
    assert access["api_token"]
    return {
        "facility": "north",
        "record_number": "R-1001",
        "visit_number": "V-1",
        "name": {"given": "Sam", "family": "Doe", "called": "Sam"},
        "born_on": "1990-04-02",
        "mobile": "+15035550123",
        "email": "sam@example.org",
        "language": "en",
        "time_zone": "America/Los_Angeles",
        "discharged_at": (now - timedelta(hours=1)).isoformat(),
        "reason": "completed",
        "level_of_care": "residential_short",
        "moud": False,
        "needs": ["job", "cravings"],
        "pathways": ["12_step"],
        "substances": ["alcohol"],
        "consents": agreed(now),
    }


def agreed(now: datetime) -> dict[str, Any]:
    given = (now - timedelta(days=1)).isoformat()
    shared = {"given_at": given, "obtained_by": "R. Lane", "method": "written"}
    return {"text": shared | {"wording": "text-1"}, "email": shared | {"wording": "email-1"}}


def more_discharges(now: datetime, how_many: int) -> Iterator[dict[str, Any]]:
    """Made-up discharges of varied people, none of whom exists."""
    chance = random.Random(now.timestamp())
    for number in range(how_many):
        given = chance.choice(["Kim", "Lee", "Max", "Eva", "Ali", "Ines", "Tom", "Ruth"])
        yield {
            "facility": chance.choice(FACILITIES),
            "record_number": f"R-{int(now.timestamp())}-{number}",
            "visit_number": "V-1",
            "name": {"given": given, "family": "Doe", "called": given},
            "born_on": f"{chance.randint(1955, 2003)}-0{chance.randint(1, 9)}-15",
            "mobile": f"+1503555{chance.randint(1000, 9999)}",
            "language": chance.choice(["en", "en", "en", "es"]),
            "discharged_at": (now - timedelta(hours=chance.randint(1, 30))).isoformat(),
            "reason": chance.choice(["completed", "completed", "left_against_advice"]),
            "needs": chance.sample(["job", "housing", "family", "stress", "loss"], 2),
            "pathways": [chance.choice(["12_step", "smart", "medication"])],
            "consents": {"text": agreed(now)["text"]},
        }


def tell_first_story(var: Path) -> None:
    """Send the example discharge and print each step of its story as it happens."""
    access = json.loads((var / "access.json").read_text())
    now = product_time()
    say = _say
    say("One example discharge, through the public API, as clinic staff would enter it:")
    Teller(access, say).tell(example_discharge(access, now))
    say(f"Everybody's mailbox and phone: {access['sandbox_url']}    More: make demo")


def product_time() -> datetime:
    from hosting.clock import Clock

    engine = create_engine(os.environ["INTAKE_ACCESS_URL"])
    try:
        return Clock(engine, mode=os.environ["WARM_HANDOFF_MODE"]).now()
    finally:
        engine.dispose()


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """``make demo``: more discharges to the running system, at a pace one can watch."""
    from hosting.settings import load_environment

    var = Path(os.environ.get("WARM_HANDOFF_VAR") or HERE.parent.parent / "var").resolve()
    if not (var / "access.json").exists():
        print("Nothing runs here: start it with 'make run' first.", file=sys.stderr)
        return 1
    load_environment(var, os.environ)  # type: ignore[arg-type]
    access = json.loads((var / "access.json").read_text())
    teller = Teller(access, _say)
    for discharge in more_discharges(product_time(), int(os.environ.get("DISCHARGES", "5"))):
        _say(f"\nA discharge at {discharge['facility']}:")
        teller.tell(discharge, seconds=30)
        time.sleep(2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
