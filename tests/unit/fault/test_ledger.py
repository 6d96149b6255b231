"""What was tried is kept for each version of the code, and the next run goes on from there."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fault import campaign, ledger
from tests.fault.campaign import ACTIONS, FIRST_SEED, RANDOM_RUNS, next_run
from tests.fault.drills import DRILLS


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of this test's own."""
    kept = tmp_path / "ledger.jsonl"
    monkeypatch.setenv("WARM_HANDOFF_LEDGER", str(kept))
    monkeypatch.setattr(ledger, "code_hash", lambda: "this")
    return kept


def test_the_bound_is_that_of_the_rule_of_three() -> None:
    bounds = {n: round(100 * ledger.bound(n), 2) for n in (59, 299, 1000)}

    assert {59: 4.95, 299: 1.0, 1000: 0.3} == bounds
    assert 1.0 == ledger.bound(0)


def test_nothing_is_written_where_no_ledger_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARM_HANDOFF_LEDGER", raising=False)

    ledger.note("point", "kill", trials=1)


def test_what_failed_is_written_and_still_fails(file: Path) -> None:
    with pytest.raises(AssertionError), ledger.kept("random", "7", trials=1):
        raise AssertionError("lost")
    with ledger.kept("random", "8", trials=1, absorbed=3):
        pass

    found = ledger.entries(file, "this")
    assert [("7", True), ("8", False)] == [(e["name"], e["failed"]) for e in found]
    assert ["random: 2 trials, 1 runs failed, absorbed 3"] == ledger.told(found)


def test_what_fails_outside_of_what_is_judged_has_failed_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARM_HANDOFF_MINUTES", "1")

    def fails(*_: object, **__: object) -> Any:
        ledger.note("drill", "wipe_kafka", trials=1)
        monkeypatch.setenv("WARM_HANDOFF_MINUTES", "0")
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 100)
        return subprocess.CompletedProcess([], 1)

    monkeypatch.setattr(subprocess, "run", fails)

    assert 1 == campaign.main()
    told = ledger.told(ledger.entries(file, "this"))
    assert "run: 0 trials, 1 runs failed" in told


def test_other_code_has_a_ledger_of_its_own(file: Path) -> None:
    ledger.note("point", "kill", trials=49)
    other = {**json.loads(file.read_text()), "code": "other"}
    file.write_text(file.read_text() + json.dumps(other) + "\n")

    assert 1 == len(ledger.entries(file, "this"))
    assert ["point: 49 trials, 0 runs failed, at most 5.93% go wrong"] == ledger.told(
        ledger.entries(file, "this")
    )


def test_what_was_tried_least_comes_next_and_no_seed_twice() -> None:
    kinds = {
        "fault/test_drills.py": "drill",
        "fault/test_random_faults.py": "random",
        "fault/test_killed_workers.py": "kills",
        "fault/test_crash_points.py": "point",
        "component/test_machine.py": "stories",
    }
    known: list[dict[str, Any]] = []
    runs = []
    for _ in range(60):
        tests, settings = next_run(known)
        value = next(iter(settings.values()))
        runs.append((kinds[tests], value))
        known.append({"kind": kinds[tests], "name": value})

    counted = Counter(kind for kind, _ in runs)
    # Points are gone through again, and stories are drawn anew: all else has a seed of its own.
    again = counted["point"] - len(ACTIONS) + counted["stories"] - 1
    assert len(runs) == len(set(runs)) + again
    assert counted["stories"] >= 2
    assert len(DRILLS) == counted["drill"]
    assert set(ACTIONS) == {name for kind, name in runs if kind == "point"}
    assert counted["random"] >= RANDOM_RUNS * (counted["point"] - 1)
    assert ("random", str(FIRST_SEED)) in runs
