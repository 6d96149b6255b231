"""This version and an earlier one beside each other: nothing is lost in either direction.

The databases are this version's, as when a release has migrated and its processes are replaced one
after the other, or are put back to those of before.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from deploy.local.ports import free_ports
from services.intake.bodies import DischargeBody, read_body
from tests.fault.workers import (
    SERVICES,
    Workers,
    a_body,
    assert_every_guarantee_holds,
    assert_nothing_lost,
    register,
    wait_for_quiet,
)
from tests.house import House
from tests.needs import missing
from tests.running import eventually

ROOT = Path(__file__).resolve().parents[2]
#: The version that may run beside this one: its commit.
EARLIER = (Path(__file__).parent / "earlier_commit").read_text().strip()
CODE = ("contracts", "messaging", "hosting", "services")
MIGRATION = re.compile(r"migrations/[0-9][^/]*\.py$")
#: What code that does not know of it stumbles over; a later release does it, when none is left.
CONTRACTS = re.compile(
    r"\bDROP (TABLE|COLUMN|VIEW|INDEX)|\bRENAME\b|\bALTER COLUMN\b"
    r"|ADD COLUMN(?![^,;]*DEFAULT)[^,;]*NOT NULL",
    re.IGNORECASE,
)


def _git(*command: str) -> bytes:
    """What git says; a checkout may not hold the earlier version."""
    try:
        found = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        missing("git is not here, and with it no earlier version")
    if found.returncode:
        missing(f"this checkout does not hold the commit {EARLIER}")
    return found.stdout


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the earlier version."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", EARLIER, *CODE))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_migrations_since_only_add() -> None:
    listed = _git("ls-tree", "-r", "--name-only", EARLIER).decode().splitlines()
    before = {ROOT / path for path in listed if MIGRATION.search(path)}
    now = set(ROOT.glob("*/**/*migrations/[0-9]*.py"))

    assert before
    assert set() == before - now
    assert {} == {
        path.name: path.read_text()
        for path in before
        if path.read_bytes() != _git("show", f"{EARLIER}:{path.relative_to(ROOT)}")
    }
    assert {} == {
        path.name: found.group()
        for path in now - before
        if (found := CONTRACTS.search(path.read_text()))
    }


def test_what_takes_something_away_is_seen() -> None:
    for taken in (
        "DROP TABLE audit",
        # It waits for whoever writes, and they for what else the migration has locked.
        "DROP INDEX message_due",
        "ALTER TABLE a DROP COLUMN b",
        "ALTER TABLE a RENAME b TO c",
        "ALTER TABLE a ALTER COLUMN b TYPE text",
        "ALTER TABLE a ADD COLUMN b text NOT NULL",
    ):
        assert CONTRACTS.search(taken), taken
    for added in (
        "ALTER TABLE a ADD COLUMN b text",
        "ALTER TABLE a ADD COLUMN asked integer NOT NULL DEFAULT 0",
        "CREATE TABLE a (b text NOT NULL)",
    ):
        assert not CONTRACTS.search(added), added


class _Rollout:
    """Replaces workers one after the other, with discharges entered all the while."""

    def __init__(self, workers: Workers, house: House) -> None:
        self.workers = workers
        self.house = house
        self.accepted: list[str] = []
        self._second = iter(free_ports(2 * len(SERVICES)))

    def enter(self, count: int = 3) -> None:
        """New clients, and one of before of whom something else is told now."""
        for _ in range(count):
            self.accepted.append(register(self.house, len(self.accepted)))
        again = a_body(self.house.clock.now(), len(self.accepted) - 1)
        body: DischargeBody = read_body(DischargeBody, {**again, "needs": ["housing"]})
        desk = self.house.desk
        found = desk.register(desk.facility("south"), body, caller="test")
        assert str(found.id) == self.accepted[-1]

    @contextmanager
    def replaced(self, service: str, code: Path | None) -> Iterator[None]:
        """Another version's worker beside the one that runs, and then in its place."""
        port = str(next(self._second))
        more = {f"{service.upper()}_WORKER_METRICS_PORT": port}
        old = self.workers.running.pop(service)
        self.workers.worker(service, code=code, **more)
        eventually(lambda: _is_ready(port), otherwise=f"{service} does not become ready")
        yield
        old.terminate()
        old.wait(60)


def _is_ready(port: str) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok
    except requests.RequestException:
        return False


def test_two_versions_beside_each_other_lose_nothing_and_double_nothing(
    workers: Workers, house: House, engines: dict[str, str], earlier: Path
) -> None:
    rollout = _Rollout(workers, house)
    rollout.enter()

    for code in (earlier, None):
        for service in SERVICES:
            with rollout.replaced(service, code):
                rollout.enter()
            rollout.enter()
        wait_for_quiet(house, len(rollout.accepted))

    assert_nothing_lost(house, rollout.accepted)
    assert_every_guarantee_holds(house, engines)
