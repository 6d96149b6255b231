"""Everything goes wrong at random while discharges come in: nothing is lost, nothing is doubled.

``WARM_HANDOFF_RUNS`` runs of ``WARM_HANDOFF_LOAD_SECONDS``, each from a fresh state and with the
next seed from ``WARM_HANDOFF_SEED`` on. A run that fails leaves a bundle; ``WARM_HANDOFF_REPLAY``
names the ``schedule.json`` of one, whose faults are done again.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka.errors import KafkaTimeoutError

from contracts.topics import TOPICS
from deploy.local.engines import Engines, engines_at_hand
from deploy.local.ports import free_ports
from deploy.local.settings import settings_for
from hosting.service import Foundation
from messaging.broker import Outgoing, Written
from messaging.kafka import KafkaWriter, ensure_topics
from messaging.unavailable import is_away, is_lost_race
from services.intake import service as intake_service
from services.intake.bodies import DischargeBody, read_body
from services.intake.commands import Accepted
from services.intake.service import Intake
from services.notifications import service as notifications_service
from services.notifications.incoming import Desk
from tests.fault import bundle, ledger, nemesis
from tests.fault.bundle import Story
from tests.fault.harm import Harms
from tests.fault.mentors import Mentors, places_in
from tests.fault.nemesis import ALL_WORKERS, DEAD_AFTER_SECONDS, LINKS, Nemesis
from tests.fault.proxy import Proxy
from tests.fault.workers import (
    SERVICES,
    a_body,
    assert_every_guarantee_holds,
    assert_nothing_lost,
    count,
    let_leases_run_out,
    parked,
    published_twice,
    running_workers,
    wait_for_quiet,
)
from tests.house import House, let_go, migrate
from tests.running import eventually

RUNS = int(os.environ.get("WARM_HANDOFF_RUNS", "1"))
LOAD_SECONDS = float(os.environ.get("WARM_HANDOFF_LOAD_SECONDS", "20"))
SEED = int(os.environ.get("WARM_HANDOFF_SEED", "20261124"))
REPLAY = os.environ.get("WARM_HANDOFF_REPLAY", "")
BUNDLES = os.environ.get("WARM_HANDOFF_BUNDLES", "")
#: How many discharges come in a second, as long as the door is open.
PER_SECOND = 4.0
#: Every so many of them is of a center that asks its mentors first.
ASKED = 3
#: How long a feed tries again once everything is well.
FEED_SECONDS = 60.0
#: What a sender that lives needs to say what became of a message, once the network is well.
SENDING_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Engines, a proxy on every way to them, and the settings that lead each process through."""

    engines: Engines
    proxy: Proxy
    ways: dict[str, dict[str, str]]
    logs: Path


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Set once for all runs."""
    with tempfile.TemporaryDirectory(prefix="warm-handoff-") as folder:
        Path(folder).chmod(0o755)
        # The engines take the ports that stand there by then; none of ours may be one of them.
        theirs = settings_for(Path(folder).resolve(), 0, environment={})
        free = iter([port for port in free_ports(120) if str(port) not in theirs.values()])
        ports = {link: next(free) for link in LINKS}
        doors = {worker: next(free) for worker in ALL_WORKERS}
        told = {_listener(n): (port, ports[f"{n}:kafka"]) for n, port in doors.items()}
        with engines_at_hand(Path(folder), told) as engines:
            settings = engines.settings
            migrate(settings, os.environ)  # type: ignore[arg-type]
            targets = {
                "postgres": int(settings["POSTGRES_PORT"]),
                "smtp": int(settings["SANDBOX_SMTP_PORT"]),
                "sms": int(settings["SANDBOX_PORT"]),
            }
            proxy = Proxy()
            for link, port in ports.items():
                name, _, to = link.partition(":")
                proxy.link(link, port, doors[name] if to == "kafka" else targets[to])
            names = ("door", *ALL_WORKERS)
            ways = {name: _way(name, settings, ports, next(free)) for name in names}
            yield Stage(engines=engines, proxy=proxy, ways=ways, logs=Path(folder) / "log")
            let_go(settings)
            proxy.close()


def _listener(worker: str) -> str:
    return worker.upper().replace("-", "_")


def _way(
    name: str, settings: dict[str, str], ports: dict[str, int], metrics_port: int
) -> dict[str, str]:
    """The settings of this process that lead through proxies, and what else is its own."""
    postgres = f"127.0.0.1:{settings['POSTGRES_PORT']}"
    own = {
        setting: value.replace(postgres, f"127.0.0.1:{ports[f'{name}:postgres']}")
        for setting, value in settings.items()
        if postgres in value
    }
    if name == "door":
        return own
    own["KAFKA_SERVERS"] = f"127.0.0.1:{ports[f'{name}:kafka']}"
    own["DEAD_AFTER_SECONDS"] = str(DEAD_AFTER_SECONDS)
    service, _, another = name.partition("-")
    if another:
        own[f"{service.upper()}_WORKER_METRICS_PORT"] = str(metrics_port)
    if service == "notifications":
        own["SMTP_PORT"] = str(ports[f"{name}:smtp"])
        own["TWILIO_URL"] = f"http://127.0.0.1:{ports[f'{name}:sms']}"
    return own


@pytest.fixture(scope="module")
def engines(stage: Stage) -> dict[str, str]:
    """These engines instead of those that all other tests share."""
    return stage.engines.settings


@pytest.fixture(scope="module")
def door(stage: Stage) -> Iterator[Intake]:
    """Intake as its web has it, over a link of its own."""
    built = intake_service.build({**stage.engines.settings, **stage.ways["door"]})
    yield built
    _let_go(built.foundation)


@pytest.fixture(scope="module")
def desk(stage: Stage) -> Iterator[Desk]:
    """What notifications' web does with an answer, over the same link."""
    built = notifications_service.build({**stage.engines.settings, **stage.ways["door"]})
    yield Desk(participant=built.participant, tokens=built.foundation.tokens)
    _let_go(built.foundation)


def _let_go(foundation: Foundation) -> None:
    foundation.database.dispose()
    foundation.access.dispose()
    foundation.keyring.close()


def test_a_relay_sends_again_after_it_got_no_answer_for_too_long(stage: Stage) -> None:
    ensure_topics(stage.engines.settings["KAFKA_SERVERS"], TOPICS.values(), 1)
    topic = TOPICS["intake"].name
    record = Outgoing(topic=topic, key=str(uuid4()).encode(), value=b"{", headers=[])
    before = set(threading.enumerate())
    writer = KafkaWriter(stage.ways["intake"]["KAFKA_SERVERS"], "relay")
    try:
        assert [Written] == [type(one) for one in writer.send([record])]

        stage.proxy.fail("intake:kafka", "swallow")
        assert [KafkaTimeoutError] == [type(one) for one in writer.send([record])]
        stage.proxy.heal()

        assert [Written] == [type(one) for one in writer.send([record])]
    finally:
        stage.proxy.heal()
        writer.close()
    # The producer that was given up would go on for ever beside the next one.
    eventually(lambda: not _producers(before), otherwise="a producer's thread is left")


def _producers(before: set[threading.Thread]) -> list[threading.Thread]:
    return [one for one in set(threading.enumerate()) - before if "relay" in one.name]


@dataclass
class Feed:
    """Enters one client after the other, each again until it is accepted, as a clinic's does."""

    door: Intake
    story: Story
    began: float = field(default_factory=time.monotonic)
    accepted: list[Accepted] = field(default_factory=list)
    #: What a door may not answer: neither that it was taken, nor that it is to be sent again.
    wrong: list[str] = field(default_factory=list)
    _no_more: threading.Event = field(default_factory=threading.Event)
    _give_up: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._thread = threading.Thread(target=self._feed, name="feed", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Enter nobody else, and wait until all are accepted."""
        assert self._thread is not None
        self._no_more.set()
        self._thread.join(FEED_SECONDS)
        self._give_up.set()
        self._thread.join()

    def _feed(self) -> None:
        with ThreadPoolExecutor(6) as pool:
            entering = []
            number = 0
            while not self._no_more.wait(1 / PER_SECOND):
                number += 1
                entering.append(pool.submit(self._enter, number))
            wait(entering)

    def _enter(self, number: int) -> None:
        tries: list[dict[str, Any]] = []
        one: dict[str, Any] = {"number": number, "tries": tries}
        self.story.registrations.append(one)
        wanted = ["email"] if number % 2 else ["text"]
        now = self.door.participant.now()
        where = "north" if number % ASKED == 0 else "south"
        entered = {**a_body(now, number), "facility": where, "channels": wanted}
        body: DischargeBody = read_body(DischargeBody, entered)
        while not self._give_up.is_set():
            tried = {"began": time.monotonic() - self.began, "outcome": "accepted"}
            tries.append(tried)
            try:
                desk = self.door.desk
                found = desk.register(desk.facility(body.facility), body, caller="test")
                one |= {"id": str(found.id), "client_id": str(found.client_id)}
                self.accepted.append(found)
                return
            except Exception as error:
                tried["outcome"] = type(error).__name__
                if not is_away(error) and not is_lost_race(error):
                    self.wrong.append(f"client {number}: {traceback.format_exc(limit=-4)}")
            finally:
                tried["ended"] = time.monotonic() - self.began
            self._give_up.wait(0.3)


def _schedules() -> list[tuple[int, float, list[nemesis.Fault]]]:
    if REPLAY:
        return [nemesis.from_json(Path(REPLAY).read_text())]
    seeds = range(SEED, SEED + RUNS)
    return [(seed, LOAD_SECONDS, nemesis.draw(seed, LOAD_SECONDS)) for seed in seeds]


@pytest.mark.parametrize(
    "seed, seconds, faults", [pytest.param(*s, id=str(s[0])) for s in _schedules()]
)
def test_random_faults_lose_nothing_and_double_nothing(
    stage: Stage,
    house: House,
    door: Intake,
    desk: Desk,
    tmp_path: Path,
    seed: int,
    seconds: float,
    faults: list[nemesis.Fault],
) -> None:
    settings = stage.engines.settings
    coming = PER_SECOND * seconds
    mentors = Mentors(house=house, desk=desk, coming=coming, seconds=seconds)
    few = places_in(1, coming)
    with running_workers(settings, house, tmp_path, stage.ways, places=few) as workers:
        for name in SERVICES:
            workers.wait_until_ready(name)
        story = Story(seed=seed, seconds=seconds, faults=faults, began=datetime.now(UTC))
        harms = Harms(engines=stage.engines, proxy=stage.proxy, workers=workers)
        feed = Feed(door=door, story=story)
        try:
            with ledger.kept("random", str(seed), trials=1):
                _run(story, harms, feed, mentors)
        except BaseException:
            kept = Path(BUNDLES) if BUNDLES else tmp_path
            logs = [*tmp_path.glob("*.log"), *stage.logs.glob("*.log")]
            found = bundle.write(
                kept, story, _evidence(house, settings), logs, traceback.format_exc()
            )
            print(f"\nseed {seed}: failed; {found}")
            # The next run begins with engines and links that are well.
            with suppress(Exception):
                harms.heal()
            raise
        finally:
            mentors.end()


def _run(story: Story, harms: Harms, feed: Feed, mentors: Mentors) -> None:
    settings, workers, house = harms.engines.settings, harms.workers, mentors.house
    before = {name: Counter(link.struck) for name, link in harms.proxy.links.items()}
    strikes = Nemesis(faults=story.faults, harm=harms, done=story.happened)
    feed.start()
    mentors.start()
    try:
        strikes.run(story.seconds)
        healed = time.monotonic()
        harms.heal()
    finally:
        feed.finish()
    accepted = [str(one.id) for one in feed.accepted]
    time.sleep(SENDING_SECONDS)
    let_leases_run_out(house)
    mentors.take_everybody()
    waited = wait_for_quiet(house, len(accepted))
    mentors.end()
    quiet = f"{time.monotonic() - healed:.1f} s (for {', '.join(waited) or 'nothing'})"
    for name in SERVICES:
        workers.count(name)
    workers.absorbed["published twice"] = published_twice(settings["KAFKA_SERVERS"])
    struck = Counter[str]()
    for name, link in harms.proxy.links.items():
        struck.update(link.struck - before[name])
    _tell(story, harms, struck, len(accepted), mentors, quiet)

    assert [] == feed.wrong + mentors.wrong
    assert [] == harms.fell
    assert len(story.registrations) == len(accepted) == len(set(accepted))
    assert len(accepted) == count(house, "intake", "SELECT count(*) FROM discharge")
    aside = harms.parked_for_good()
    eventually(lambda: parked(house) >= aside, otherwise="poison is not set aside")
    assert_nothing_lost(house, accepted, aside)
    assert_every_guarantee_holds(house, settings)


def _tell(
    story: Story,
    harms: Harms,
    struck: Counter[str],
    accepted: int,
    mentors: Mentors,
    quiet: str,
) -> None:
    """What a run has shown, also when it is judged to have failed."""
    house, workers, declined = mentors.house, harms.workers, mentors.declined
    query = "SELECT count(*) FROM message WHERE state = 'unconfirmed'"
    unconfirmed = count(house, "notifications", query)
    without = "SELECT count(DISTINCT key) FROM outbox WHERE type LIKE '%NobodyAvailable'"
    again = sum(len(one["tries"]) > 1 for one in story.registrations)
    kinds = Counter(
        f"{fault['kind']} {fault['detail']}".strip() if fault["kind"] == "link" else fault["kind"]
        for fault in story.happened
    )
    print(
        f"\nseed {story.seed}: {accepted} accepted, {again} of them tried again,"
        f" {count(house, 'matching', without)} waited for a place, {declined} offers declined"
    )
    print(f"  faults {dict(sorted(kinds.items()))}")
    print(f"  links struck {dict(sorted(struck.items()))}, doubled {sum(harms.doubled.values())}")
    print(f"  absorbed {dict(workers.absorbed)}, unconfirmed {unconfirmed}, quiet {quiet}")


def _evidence(house: House, settings: dict[str, str]) -> dict[str, Any]:
    """A database that is still away is no reason to keep nothing."""
    try:
        return bundle.evidence_of(house, settings)
    except Exception:
        return {"missing": traceback.format_exc()}
