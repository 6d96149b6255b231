"""The three services in one process: real PostgreSQL, a broker in memory, a clock that is set.

For component tests: everything is the product's own but the wire and the networks outside.
``House.settle`` lets everything that can happen now happen, in a fixed order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Blueprint, Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import Engine, text, update

from contracts.topics import TOPICS
from hosting.auth import make_token
from hosting.database import engine_for
from hosting.ops_pages import make_ops_pages
from hosting.sign_in import COOKIE, make_sign_in
from messaging import restored
from messaging.early import Releasing
from messaging.memory import MemoryBroker
from messaging.relay import Relay
from messaging.subscriber import Subscriber
from messaging.tables import EPOCH
from messaging.timer_loop import TimerLoop
from messaging.work import Participant
from services.check import Evidence, gather, judge
from services.command_line import main as services
from services.intake import service as intake_service
from services.intake.api import make_api
from services.intake.commands import Desk
from services.intake.facilities import load_facilities
from services.intake.flow_pages import make_flow_pages
from services.intake.service import Intake
from services.intake.staff_pages import make_staff_pages
from services.matching import service as matching_service
from services.matching.coordinator_pages import make_coordinator_pages
from services.matching.loading import RosterLoader
from services.matching.mentors import load_roster
from services.matching.service import Matching
from services.menu import MENU
from services.notifications import service as notifications_service
from services.notifications.channels import Channel, Letter, Outcome
from services.notifications.incoming import Desk as IncomingDesk
from services.notifications.letters import LetterWriter
from services.notifications.pages import make_pages
from services.notifications.sender import Sender
from services.notifications.service import Notifications
from services.operating import OPERATORS, PLACES
from tests.kept import Kept, put_back

DEMO = Path(__file__).parent.parent / "deploy" / "local"
#: A Tuesday, ten in the morning in Los Angeles.
MORNING = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
_NAMES = ("intake", "matching", "notifications")
#: The row of a database that nobody has begun an epoch in.
_NO_EPOCH = {"epoch": 1, "system": None, "timeline": None, "topic_id": None, "read_back": {}}


@dataclass
class SetClock:
    """A clock that stands still until it is moved."""

    moment: datetime = MORNING

    def now(self) -> datetime:
        """The moment that was set."""
        return self.moment

    def move(self, **by: float) -> None:
        """Let time pass: ``move(hours=2)``."""
        self.moment += timedelta(**by)


@dataclass
class Network:
    """What lies outside: keeps every letter, and answers as it was told to."""

    letters: list[tuple[str, Letter]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    #: Sees each letter at the moment at which it leaves.
    witness: Callable[[str, Letter], None] | None = None

    def channel(self, name: str) -> Channel:
        """A channel into this network."""
        return RecordingChannel(self, name)

    def to(self, address: str) -> list[str]:
        """The texts that reached an address, in order."""
        return [letter.text for _, letter in self.letters if letter.to == address]


class _Compiled(BytecodeCache):
    """Templates that were compiled for an earlier house."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """What was kept under the bucket's key; a template that has changed has another sum."""
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it for the next house."""
        self._kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


@dataclass
class RecordingChannel:
    network: Network
    name: str

    def send(self, letter: Letter) -> Outcome:
        if self.network.outcomes:
            outcome = self.network.outcomes.pop(0)
        else:
            outcome = Outcome(kind="accepted", phase="done", provider_id=f"P-{letter.message_id}")
        if outcome.kind in ("accepted", "unknown"):
            self.network.letters.append((self.name, letter))
            if self.network.witness is not None:
                self.network.witness(self.name, letter)
        return outcome

    def close(self) -> None:
        """Nothing is held."""


class _AtOnce(Executor):
    """Runs in the caller's thread what is otherwise done beside it, so that tests are one story."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class House:
    """All three services; see the module."""

    def __init__(self, settings: Mapping[str, str], broker: MemoryBroker) -> None:
        self.clock = SetClock()
        self.network = Network()
        self._made: set[str] = set()
        self._apps: dict[Hashable, Flask] = {}
        self.broker = broker
        self.settings = settings
        self._intake, self._matching, self._notifications = _services(tuple(settings.items()))
        self.intake = self._set(self._intake.participant)
        self.matching = self._set(self._matching.participant)
        self.notifications = self._set(self._notifications.participant)
        self.participants: dict[str, Participant] = {
            "intake": self.intake,
            "matching": self.matching,
            "notifications": self.notifications,
        }
        self.desk = Desk(participant=self.intake, tokens=self._intake.foundation.tokens)
        self.incoming = IncomingDesk(
            participant=self.notifications, tokens=self._notifications.foundation.tokens
        )
        self.sender = self._make_sender()
        self._relays = [self._make_relay(name) for name in _NAMES]
        self._subscribers = [self._make_subscriber(name) for name in _NAMES]
        self._loader = RosterLoader(self.matching)
        self._timers = [TimerLoop(self._working(name)) for name in _NAMES]
        self._releasing = [Releasing(self._working(name)) for name in _NAMES]

    def settle(self, *, deaf: str | None = None) -> None:
        """Let everything happen that can happen now; one service may be deaf, and only speaks."""
        hearing = [s for n, s in zip(_NAMES, self._subscribers, strict=True) if n != deaf]
        for _ in range(200):
            before = self._progress()
            looking = (*self._timers, *self._releasing)
            loops = (*looking, self._loader, self.sender, *self._relays, *hearing)
            busy = [loop.step() for loop in loops]
            # Outcomes are written beside the loops; what is written now may lead to more.
            self.sender.finish_recording()
            if not any(busy) and self._progress() == before:
                return
        raise AssertionError("the house does not come to rest")

    def loops(self) -> dict[str, Any]:
        """Every loop of every worker, to be stepped one at a time: "intake relay" and so on."""
        found: dict[str, Any] = {"sender": self.sender}
        for kind in (self._relays, self._subscribers, self._timers):
            for name, loop in zip(_NAMES, kind, strict=True):
                found[f"{name} {loop.name}"] = loop
        return found

    def run(self, *loops: str) -> None:
        """Let these loops, one after the other, do all that there is for them to do now."""
        for name in loops:
            while self.loops()[name].step():
                pass

    def load_demo(self) -> None:
        """The two facilities and twelve mentors of the demo."""
        self.load_facilities()
        self.load_mentors((DEMO / "demo-mentors.csv").read_text())

    def load_facilities(self) -> None:
        """The two facilities of the demo, without anybody."""
        stored, errors = load_facilities(self.desk, (DEMO / "demo-facilities.toml").read_bytes())
        assert (["north", "south"], []) == (stored, errors)
        self.settle()

    def load_mentors(self, roster: str) -> None:
        """Mentors from a roster's text."""
        loaded = load_roster(self.matching, roster)
        assert () == loaded.errors
        self.settle()

    def register(self, **changes: Any) -> dict[str, Any]:
        """Enter a discharge through the API and let everything follow; its story."""
        body = a_discharge(self.clock.now(), **changes)
        found = self.register_only(**changes)
        self.settle()
        return self.story(found["id"], body["facility"])

    def register_only(self, **changes: Any) -> dict[str, Any]:
        """Enter a discharge through the API; nothing else happens yet."""
        body = a_discharge(self.clock.now(), **changes)
        answer = self.api(body["facility"]).post("/api/discharges", json=body)
        assert answer.status_code == 202, answer.get_data(as_text=True)
        found: dict[str, Any] = answer.get_json()
        return found

    def settle_matching(self) -> None:
        """A matching worker of its own, beside others, until it finds nothing more to do."""
        relay = Relay("intake", self.intake.engine, self.broker.writer())
        relay.step()
        relay.close()
        topics = [topic.name for who, topic in TOPICS.items() if who != "matching"]
        subscriber = Subscriber(self.matching, lambda: self.broker.reader("matching", topics))
        while subscriber.step():
            pass
        subscriber.close()

    def story(self, discharge_id: str, facility: str = "north") -> dict[str, Any]:
        """The story of a discharge, from the API."""
        answer = self.api(facility).get(f"/api/discharges/{discharge_id}")
        assert answer.status_code == 200, answer.get_data(as_text=True)
        found: dict[str, Any] = answer.get_json()
        return found

    def tasks(self, facility: str = "north") -> list[dict[str, Any]]:
        """The open tasks of a facility, from the API."""
        found: list[dict[str, Any]] = self.api(facility).get("/api/tasks").get_json()
        return found

    def text(self, number: str, words: str) -> None:
        """A phone sends a text, and everything follows."""
        self.text_only(number, words)
        self.settle()

    def text_only(self, number: str, words: str) -> None:
        """A phone sends a text; nothing else happens yet."""
        self._texts = getattr(self, "_texts", 0) + 1
        self.incoming.text_received(number, words, f"SM-{id(self)}-{self._texts}")

    def api(self, facility: str = "north", mode: str = "sandbox") -> FlaskClient:
        """A caller of intake's API with this facility's token."""
        app = self._app(("api", mode), self._intake, "", lambda: [make_api(self.desk, mode=mode)])
        token = make_token(self._intake.foundation.access, facility, self.clock.now())
        caller = app.test_client()
        caller.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return caller

    def intake_app(
        self, processes: Mapping[str, str] | None = None, kafka: str | None = None
    ) -> Flask:
        """Intake's web: the API, and the pages of staff and of operations."""
        servers = kafka or self.settings["KAFKA_SERVERS"]
        return self._app(
            ("intake", servers, *(processes or {}).items()),
            self._intake,
            "",
            lambda: [
                make_api(self.desk, mode="sandbox"),
                make_staff_pages(self.desk, self._intake.accounts),
                self._ops_pages("intake"),
                make_flow_pages(self.intake, processes or {}, servers),
                make_sign_in(self._intake.accounts),
            ],
        )

    def matching_app(self) -> Flask:
        """Matching's web: the pages of coordinators, and of operations."""
        return self._app(
            ("matching",),
            self._matching,
            "/matching",
            lambda: [make_coordinator_pages(self.matching), self._ops_pages("matching")],
        )

    def notifications_app(self) -> Flask:
        """Notifications' web, as operations see it."""
        return self._app(
            ("notifications",),
            self._notifications,
            "/messages",
            lambda: [self._ops_pages("notifications")],
        )

    def _ops_pages(self, service: str) -> Blueprint:
        participant, prefix = self.participants[service], PLACES[service]
        return make_ops_pages(participant, prefix, may=OPERATORS, menu=MENU, places=PLACES)

    def account(self, role: str, scope: str) -> str:
        """An account of this role, whose password is a long one; its address."""
        login = f"{role}@{scope}.example"
        if login not in self._made:
            # Making it again would end its sessions.
            self._made.add(login)
            self._intake.accounts.make(login, "a long password", role, scope, datetime.now(UTC))
        return login

    def browser(self, role: str, scope: str = "north", app: Flask | None = None) -> FlaskClient:
        """A browser in which somebody of this role is signed in; on intake's pages by default."""
        accounts, now = self._intake.accounts, datetime.now(UTC)
        secret = accounts.use_link(accounts.make_link(self.account(role, scope), now), now)
        browser = (app or self.intake_app()).test_client()
        browser.set_cookie(COOKIE, secret or "")
        return browser

    def pages(self) -> FlaskClient:
        """A browser on the pages of notifications."""
        app = self._app(
            ("pages",),
            self._notifications,
            "/messages",
            lambda: [
                make_pages(
                    self.notifications,
                    self.incoming,
                    twilio_token=self.settings["TWILIO_TOKEN"],
                    public_url=self.settings["PUBLIC_URL"],
                )
            ],
        )
        return app.test_client()

    def rows(self, service: str, query: str, **values: Any) -> list[Any]:
        """Rows of a service's database, for looking behind the scenes."""
        with self.participants[service].engine.connect() as conn:
            return list(conn.execute(text(query), values).all())

    def park(self, service: str, client_id: str) -> None:
        """A service cannot go on with this client, for a reason that nobody knows here."""
        park = text("INSERT INTO parked_key VALUES (:key, now(), 'a test', 'Planted', 1)")
        with self.participants[service].engine.begin() as conn:
            conn.execute(park, {"key": client_id})

    def evidence(self, *, at_rest: bool = False) -> Evidence:
        """What ``check`` reads of this house; what reached its network was delivered.

        Where it is ``at_rest``, what has not come by now never will.
        """
        delivered = [
            {"id": f"P-{letter.message_id}", "message_id": letter.message_id}
            for _, letter in self.network.letters
        ]
        return gather(
            self.settings,
            now=self.clock.now,
            in_kafka=lambda topic: self.broker.read_to_the_end(topic.name, {}),
            delivered=delivered,
            read_at=datetime.now(UTC) + timedelta(hours=1) if at_rest else None,
        )

    def violated(self, *, at_rest: bool = False) -> dict[str, tuple[str, ...]]:
        """The guarantees that do not hold, with what was found."""
        found = judge(self.evidence(at_rest=at_rest))
        return {v.guarantee: v.violations for v in found if v.violations}

    def notice_restore(self, service: str) -> list[UUID]:
        """What a worker does before it begins: the subjects about whom events were lost."""
        topic = TOPICS[service].name
        own = partial(self.broker.read_to_the_end, topic)
        at = partial(self.broker.writer().at, topic)
        return restored.notice(self.participants[service], self.broker.id_of(topic), own, at)

    def begin_first_epochs(self) -> None:
        """The databases of a test run are shared, and their epochs stay."""
        for participant in self.participants.values():
            with participant.engine.begin() as conn:
                conn.execute(update(EPOCH).values(_NO_EPOCH))

    def restart(self, service: str) -> None:
        """A worker stops, and another begins where the broker says that it was."""
        place = _NAMES.index(service)
        self._subscribers[place].close()
        self._subscribers[place] = self._make_subscriber(service)
        if service == "notifications":
            self.sender.close()
            self.sender = self._make_sender()

    def kill(self, service: str) -> None:
        """A worker is gone with all that it had in memory, and another begins.

        Nothing is written that was not. What it had leased counts as run out: nobody waits here.
        """
        place, participant = _NAMES.index(service), self.participants[service]
        participant.keyring.forget()
        self._relays[place].close()
        self._relays[place] = self._make_relay(service)
        # The database ends the dead one's session a moment later, and its lock with it.
        while self._relays[place]._session() is None:
            time.sleep(0.005)
        self._subscribers[place].close()
        self._subscribers[place] = self._make_subscriber(service)
        if service == "notifications":
            self.sender = self._make_sender()
            with participant.engine.begin() as conn:
                conn.execute(
                    text("UPDATE message SET lease_until = 'epoch' WHERE state = 'leased'")
                )
        self._timers[place] = TimerLoop(self._working(service))
        self._releasing[place] = Releasing(self._working(service))

    def close(self) -> None:
        """Let go of what is this house's own."""
        self.sender.close()
        for relay in self._relays:
            relay.close()

    def _make_relay(self, service: str) -> Relay:
        engine = _own_engine(self.participants[service].engine)
        return Relay(service, engine, self.broker.writer(), beats=service == "intake")

    def _make_subscriber(self, service: str) -> Subscriber:
        topics = [topic.name for who, topic in TOPICS.items() if who != service]
        subscriber = Subscriber(self._working(service), lambda: self.broker.reader(service, topics))
        # It joins, and knows that what is said from now on is said later.
        subscriber.step()
        return subscriber

    def _working(self, service: str) -> Participant:
        """The service as its worker sees it: what it plans, its sender leases with it."""
        participant = self.participants[service]
        if service != "notifications":
            return participant
        return replace(participant, settle=lambda work: self.sender.take_along(work))

    def _make_sender(self) -> Sender:
        writer = LetterWriter(
            tokens=self._notifications.foundation.tokens, public_url=self.settings["PUBLIC_URL"]
        )
        return Sender(
            participant=self.notifications,
            writer=writer,
            factories={n: (lambda n=n: self.network.channel(n)) for n in ("sms", "email")},  # type: ignore[misc]
            allowed=None,
            beside=_AtOnce(),
        )

    def _set(self, participant: Participant) -> Participant:
        return replace(participant, now=self.clock.now, wake=lambda: None)

    def _app(
        self, which: Hashable, built: Any, prefix: str, blueprints: Callable[[], list[Blueprint]]
    ) -> Flask:
        """The web app that is known by this, made when it is first asked for."""
        # A test may have put another participant in the place of one.
        known = (which, id(self.intake), id(self.matching), id(self.notifications))
        if known not in self._apps:
            app: Flask = built.foundation.web(prefix, blueprints())
            app.jinja_env.bytecode_cache = _COMPILED
            self._apps[known] = app
        return self._apps[known]

    def _each(self) -> list[tuple[str, Participant]]:
        return [(name, self.participants[name]) for name in _NAMES]

    def _progress(self) -> str:
        """Changes whenever anything has happened."""
        query = text(
            "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM outbox WHERE published_at"
            " IS NULL), (SELECT coalesce(sum(next_offset), 0) FROM stored_offset),"
            " (SELECT count(*) FROM timer), (SELECT count(*) FROM parked_event)"
        )
        seen: list[Any] = []
        for _, participant in self._each():
            with participant.engine.connect() as conn:
                seen.append([str(value) for value in conn.execute(query).one()])
        messages = self.rows(
            "notifications", "SELECT state, count(*) FROM message GROUP BY state ORDER BY state"
        )
        return json.dumps([seen, [[str(v) for v in row] for row in messages]])


@cache
def _services(settings: tuple[tuple[str, str], ...]) -> tuple[Intake, Matching, Notifications]:
    """The services over these databases, connected once for all houses of a test run."""
    environ = dict(settings)
    return (
        intake_service.build(environ),
        matching_service.build(environ),
        notifications_service.build(environ),
    )


@cache
def _own_engine(engine: Engine) -> Engine:
    """For relays, whose connection ends with each house: the others know their statements."""
    return engine_for(engine.url.render_as_string(hide_password=False))


def let_go(settings: Mapping[str, str]) -> None:
    """End every connection that houses over these databases had; no house comes after it."""
    for built in _services(tuple(settings.items())):
        built.foundation.database.dispose()
        _own_engine(built.foundation.database).dispose()
        built.foundation.access.dispose()
        built.foundation.keyring.close()


def a_discharge(now: datetime, **changes: Any) -> dict[str, Any]:
    """The body of a discharge that nothing holds; changes replace fields, None removes one."""
    given = (now - timedelta(days=1)).isoformat()
    consent = {"given_at": given, "obtained_by": "R. Lane", "method": "written"}
    body: dict[str, Any] = {
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
        "needs": ["job", "cravings"],
        "pathways": ["12_step"],
        "consents": {
            "text": consent | {"wording": "text-1"},
            "email": consent | {"wording": "email-1"},
        },
    }
    body |= changes
    return {name: value for name, value in body.items() if value is not None}


def migrate(settings: Mapping[str, str], environ: dict[str, str]) -> None:
    """Bring the databases of a test run to their newest revision."""
    before = dict(environ)
    environ.update(settings)
    try:
        assert services(["migrate"]) == 0
    finally:
        environ.clear()
        environ.update(before)


@contextmanager
def an_empty_house(settings: Mapping[str, str]) -> Iterator[House]:
    """A house over databases in which nothing is left of an earlier test."""
    with a_house_like(settings, {}, MemoryBroker()) as house:
        yield house


@contextmanager
def a_house_like(
    settings: Mapping[str, str], kept: Mapping[str, Kept], broker: MemoryBroker
) -> Iterator[House]:
    """A house that holds what was kept of another, with a broker of its own like this one."""
    put_back(settings, kept)
    house = House(settings, broker.copy())
    try:
        yield house
    finally:
        house.close()
