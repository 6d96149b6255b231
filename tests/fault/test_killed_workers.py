"""Workers are killed with work in flight, again and again: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import requests
from sqlalchemy import text

from tests.fault import ledger
from tests.fault.workers import (
    SERVICES,
    Workers,
    assert_every_guarantee_holds,
    assert_nothing_lost,
    in_flight,
    let_leases_run_out,
    published_twice,
    register,
    wait_for_quiet,
    wait_until_heard,
)
from tests.house import House

KILLS = int(os.environ.get("WARM_HANDOFF_KILLS", "15"))
SEED = int(os.environ.get("WARM_HANDOFF_SEED", "20261124"))
A_ROUND = 20
UNCONFIRMED = "SELECT id FROM message WHERE state = 'unconfirmed'"


def test_killed_workers_lose_nothing_and_double_nothing(
    workers: Workers, house: House, engines: dict[str, str]
) -> None:
    chance = random.Random(SEED)
    phases: Counter[str] = Counter()
    accepted: list[str] = []
    expired: set[UUID] = set()
    rounds = kills = 0

    while kills < KILLS:
        assert rounds < 6 * KILLS, f"only {kills} of {rounds} kills hit work in flight"
        victim = SERVICES[kills % 3]
        rounds += 1
        # Nothing would flow to the victim while another one is still starting.
        for name in SERVICES:
            workers.wait_until_ready(name)
        wait_until_heard(house)
        with ThreadPoolExecutor(1) as pool:
            numbers = [rounds * A_ROUND + n for n in range(A_ROUND)]
            entering = pool.submit(lambda ns: [register(house, n) for n in ns], numbers)
            holds_mark = rounds % 2 == 0
            if victim == "notifications" and not holds_mark:
                _slow_down_mail(engines["SANDBOX_URL"])
                _wait_for_work(house, victim, "leased")
            else:
                _wait_for_work(house, victim)
            # Some of the work is done by then, so that every phase of it is hit.
            time.sleep(chance.uniform(0, 0.4))
            with _mark_held_back(house, victim, held=holds_mark) as held:
                found = [*in_flight(house, victim), *held]
                if found:
                    workers.kill(victim)
            accepted += entering.result()
        if not found:
            continue
        kills += 1
        phases.update(f"{victim}: {phase}" for phase in found)
        if victim == "notifications":
            expired |= let_leases_run_out(house)
        workers.worker(victim)
    began = time.monotonic()
    with ledger.kept("kills", str(SEED), trials=1) as numbers:
        wait_for_quiet(house, len(accepted))
        quiet = time.monotonic() - began
        for name in SERVICES:
            workers.count(name)
        workers.absorbed["published twice"] = published_twice(engines["KAFKA_SERVERS"])
        unconfirmed = set(house.rows("notifications", UNCONFIRMED))
        absorbed = sum(workers.absorbed.values())
        numbers |= {"absorbed": absorbed, "unconfirmed": len(unconfirmed), "quiet": quiet}
        print(f"\nseed {SEED}: {kills} kills in {rounds} rounds, {len(accepted)} discharges")
        for phase, times in sorted(phases.items()):
            print(f"  hit {phase}: {times}")
        print(
            f"  absorbed {dict(workers.absorbed)}, unconfirmed {len(unconfirmed)},"
            f" quiet {quiet:.1f} s"
        )

        assert KILLS < 3 or set(SERVICES) == {phase.split(":")[0] for phase in phases}
        assert absorbed > 0, "no kill was absorbed: the test proves nothing"
        assert {row.id for row in unconfirmed} <= expired, "nobody died who held these"
        assert_nothing_lost(house, accepted)
        _assert_unconfirmed(house, expired)
        assert_every_guarantee_holds(house, engines)


@contextmanager
def _mark_held_back(house: House, service: str, *, held: bool) -> Iterator[list[str]]:
    """Every other kill falls into the narrowest gap: acknowledged by Kafka and not marked.

    Locking the rows lets the relay read and publish them, and makes it wait with the mark.
    """
    with house.participants[service].engine.begin() as conn:
        locked: list[Any] = []
        deadline = time.monotonic() + (1.5 if held else 0)
        while not locked and time.monotonic() < deadline:
            unpublished = "SELECT 1 FROM outbox WHERE published_at IS NULL FOR UPDATE SKIP LOCKED"
            locked = list(conn.execute(text(unpublished)))
        if locked:
            time.sleep(0.5)
        yield ["acknowledged, not marked"] if locked else []
        # The server would carry out a dead relay's statement as soon as the rows are free.
        conn.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = current_user AND wait_event_type = 'Lock'"
                " AND query LIKE 'UPDATE outbox%'"
            )
        )


def _wait_for_work(house: House, service: str, phase: str | None = None) -> None:
    """Wait until a worker has something to do, of this phase; else the kill may not count."""
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        found = in_flight(house, service)
        if phase in found if phase else found:
            return
        time.sleep(0.02)


def _slow_down_mail(sandbox: str) -> None:
    """The next mails are stored at once and confirmed late: a death in between is unconfirmed."""
    late = {"channel": "email", "kind": "dot-delay", "times": 3, "seconds": 2}
    requests.put(f"{sandbox}/faults", json=[late], timeout=10).raise_for_status()


def _assert_unconfirmed(house: House, expired: set[UUID]) -> None:
    """What a dead sender held was tried once; only the network can say more of it."""
    rows = house.rows(
        "notifications",
        "SELECT state, attempts FROM message WHERE id = ANY(:ids)",
        ids=list(expired),
    )
    assert expired or KILLS < 6, "no kill hit a message that was being handed over"
    assert {row.attempts for row in rows} <= {1}
    assert {row.state for row in rows} <= {"unconfirmed", "handed_over", "delivered"}
