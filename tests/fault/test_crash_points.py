"""A process dies, stumbles or stands still in every gap between two effects, one at a time.

Each trial starts one process that is to come to harm at one named point, gives it work, sees that
it did come to harm there, and lets others go on. What must hold is judged when all is quiet.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from contracts.topics import TOPICS
from deploy.local.ports import free_ports
from messaging import parking, releasing
from messaging.broker import Outgoing
from messaging.kafka import KafkaWriter
from messaging.points import HANG_SECONDS, POINTS
from tests.fault import ledger
from tests.fault.workers import (
    SERVICES,
    Workers,
    assert_every_guarantee_holds,
    assert_nothing_lost,
    count,
    let_leases_run_out,
    readers,
    register,
    wait_for_quiet,
    wait_until_heard,
)
from tests.house import House
from tests.running import eventually

#: What is tried by ``make test``; ``make fault`` tries all of them, again and again.
ACTIONS = os.environ.get("WARM_HANDOFF_ACTIONS", "kill").split(",")
TIMES = int(os.environ.get("WARM_HANDOFF_TIMES", "1"))
#: The broker gives away what a dead worker read after so many seconds, its least.
DEAD_AFTER = "1"
#: Whoever hangs says later what brings the next to its point, and that one may hang before it does.
PASSED_WITHIN = 25 + 2 * HANG_SECONDS
UNCONFIRMED = "SELECT count(*) FROM message WHERE state = 'unconfirmed'"

_OF_ALL = (
    "batch.polled",
    "batch.claimed",
    "batch.loaded",
    "batch.applied",
    "batch.written",
    "batch.committed",
    "batch.hinted",
    "relay.read",
    "relay.sent",
    "relay.marked",
)
#: The points that a service's worker comes by; those of work are passed by every command.
OF_WORKERS = {
    "intake": (*_OF_ALL, "relay.beaten", "timer.due"),
    "matching": _OF_ALL,
    "notifications": (
        *_OF_ALL,
        "lease.taken",
        "sending.begins",
        "sending.ended",
        "sending.recorded",
        "work.begun",
        "work.decided",
        "work.written",
        "work.committed",
        "work.followed",
    ),
}
OF_A_DOOR = ("keys.made", *(name for name in POINTS if name.startswith("work.")))


@dataclass
class Trials:
    """What was tried, and which points were passed."""

    workers: Workers
    house: House
    accepted: list[str] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    _number: int = 0

    def enter(self, count: int = 2) -> None:
        """A few more discharges."""
        for _ in range(count):
            self._number += 1
            self.accepted.append(register(self.house, self._number))

    def round(self, action: str, points: dict[str, str]) -> None:
        """One worker of each service comes to harm, each at its own point."""
        wait_until_heard(self.house)
        seen = {}
        for service, point in points.items():
            self._end(service)
            seen[service] = self.workers.log(service).stat().st_size
            self.workers.worker(
                service,
                WARM_HANDOFF_CRASH=f"{point}:{action}:1",
                DEAD_AFTER_SECONDS=DEAD_AFTER,
            )
        self.enter()
        if "timer.due" in points.values():
            self._let_a_timer_be_due()

        def come_to_harm(service: str) -> None:
            try:
                eventually(lambda: self._has_passed(service, seen[service]), seconds=PASSED_WITHIN)
            except AssertionError:
                self.missed.append(f"{service} {points[service]} {action}")
                return
            self.fired[points[service]] += 1
            self._let_it_come_to_harm(service, action)
            if action == "kill":
                # At once: what it says then brings the others to their points.
                self._begin_again(service)

        # One that stands still says nothing that would bring another to its point.
        with ThreadPoolExecutor(len(points)) as pool:
            list(pool.map(come_to_harm, points))

    def at_a_door(self, point: str) -> None:
        """The process that enters a discharge dies; whoever sent it sends it again."""
        self._number += 1
        command = [sys.executable, "-m", "tests.fault.enter", str(self._number)]
        crash = {"WARM_HANDOFF_CRASH": f"{point}:kill:1"}
        first = subprocess.run(command, env=self.workers.environment(**crash), capture_output=True)
        again = subprocess.run(
            command, env=self.workers.environment(), capture_output=True, text=True, check=True
        )
        self.accepted.append(again.stdout.strip())
        if first.returncode == -signal.SIGKILL:
            self.fired[point] += 1
        else:
            self.missed.append(f"door {point}")

    def of_a_parked_key(self) -> None:
        """Whoever closes a parked key dies of it, and another one closes it."""
        key, topic = uuid4(), TOPICS["intake"].name
        writer = KafkaWriter(self.workers.settings["KAFKA_SERVERS"], "spoiling")
        writer.send([Outgoing(topic=topic, key=str(key).encode(), value=b"{", headers=[])])
        writer.close()
        for reader in ("matching", "notifications"):
            participant = self.house.participants[reader]
            eventually(lambda p=participant: key in {one.key for one in parking.listed(p)})  # type: ignore[misc]
            command = [sys.executable, "-m", "services", "parked", "close", reader, str(key)]
            command += ["--reason", "not_ours"]
            crash = {"WARM_HANDOFF_CRASH": "parked.freed:kill:1"}
            died = subprocess.run(
                command, env=self.workers.environment(**crash), capture_output=True
            )
            assert -signal.SIGKILL == died.returncode
            assert [key] == [one.key for one in parking.listed(participant)]
            self.fired["parked.freed"] += 1
            subprocess.run(command, env=self.workers.environment(), capture_output=True, check=True)

    def _end(self, service: str) -> None:
        if other := self.workers.running.pop(f"{service}-2", None):
            other.terminate()
            other.wait(30)
        process = self.workers.running[service]
        # One that came by its point after all stands still now.
        process.send_signal(signal.SIGCONT)
        process.terminate()
        # As long as a container is granted.
        process.wait(30)

    def _has_passed(self, service: str, since: int) -> bool:
        with self.workers.log(service).open("rb") as log:
            log.seek(since)
            return b"a crash point is passed" in log.read()

    def _let_it_come_to_harm(self, service: str, action: str) -> None:
        process = self.workers.running[service]
        if action == "kill":
            assert -signal.SIGKILL == process.wait(10)
        elif action == "stop":
            # Another takes its partitions over, and it does not know of that when it wakes.
            self._let_another_take_over(service, process)
            process.send_signal(signal.SIGCONT)
        elif action == "hang":
            time.sleep(HANG_SECONDS)

    def _let_another_take_over(self, service: str, stopped: subprocess.Popen[bytes]) -> None:
        [port] = free_ports(1)
        other = {f"{service.upper()}_WORKER_METRICS_PORT": str(port)}
        self.workers.worker(f"{service}-2", DEAD_AFTER_SECONDS=DEAD_AFTER, **other)

        def has_taken_over() -> bool:
            members = readers(self.workers.settings["KAFKA_SERVERS"], service)
            return bool(members) and not any(m.endswith(f"-{stopped.pid}") for m in members)

        def told() -> str:
            there = readers(self.workers.settings["KAFKA_SERVERS"], service)
            return f"nobody takes over from {service}-{stopped.pid}, {there} read"

        eventually(has_taken_over, seconds=40, otherwise=told)

    def _begin_again(self, service: str) -> None:
        if service == "notifications":
            let_leases_run_out(self.house)
        self.workers.worker(service, DEAD_AFTER_SECONDS=DEAD_AFTER)

    def _let_a_timer_be_due(self) -> None:
        with self.house.intake.engine.begin() as conn:
            conn.execute(
                text(
                    "INSERT INTO timer SELECT client_id, 'placed/' || id,"
                    " accepted_at - interval '10 days', '{}' FROM discharge"
                    " WHERE client_id NOT IN (SELECT key FROM parked_key) LIMIT 1"
                    " ON CONFLICT (key, name) DO UPDATE SET due_at = excluded.due_at"
                )
            )


@pytest.mark.parametrize("action", ACTIONS)
def test_every_gap_between_two_effects(
    workers: Workers, house: House, engines: dict[str, str], action: str
) -> None:
    trials = Trials(workers=workers, house=house)
    began = time.monotonic()
    for _ in range(TIMES):
        for chosen in zip_longest(*OF_WORKERS.values()):
            points = dict(zip(OF_WORKERS, chosen, strict=True))
            trials.round(action, {s: point for s, point in points.items() if point is not None})
        if action == "kill":
            for point in OF_A_DOOR:
                trials.at_a_door(point)
            trials.of_a_parked_key()
    for service in SERVICES:
        if workers.running[service].poll() is not None:
            workers.worker(service, DEAD_AFTER_SECONDS=DEAD_AFTER)
    declared = (
        len(POINTS) if action == "kill" else len({p for of in OF_WORKERS.values() for p in of})
    )
    with ledger.kept("point", action, trials=sum(trials.fired.values())) as numbers:
        parked = _apply_what_was_set_aside(house) if action in ("raise", "late") else 0
        let_leases_run_out(house)
        wait_for_quiet(house, len(trials.accepted))
        unconfirmed = count(house, "notifications", UNCONFIRMED)
        numbers["unconfirmed"] = unconfirmed
        print(
            f"\n{action}: {sum(trials.fired.values())} trials in {time.monotonic() - began:.0f} s,"
            f" points fired {len(trials.fired)} of {declared}, {len(trials.accepted)} discharges,"
            f" {unconfirmed} unconfirmed, {parked} set aside and applied again"
        )
        assert [] == trials.missed
        assert declared == len(trials.fired)
        # Nobody died, and what is sent is answered: there is nothing that nobody knows.
        assert action not in ("stop", "hang") or unconfirmed == 0
        assert_nothing_lost(house, trials.accepted)
        assert_every_guarantee_holds(house, engines)


def _apply_what_was_set_aside(house: House) -> int:
    """What stumbles over a mistake of ours is set aside; once that is mended it is replayed."""
    time.sleep(3)
    keys: list[tuple[str, UUID]] = [
        (name, one.key) for name in SERVICES for one in parking.listed(house.participants[name])
    ]
    for name, key in keys:
        again = releasing.rehearse(house.participants[name], key).failure
        assert releasing.replay(house.participants[name], key), f"{name}: {again}"
    return len(keys)
