"""``make fault``: harm of every kind, the least tried first, for so many minutes.

The ledger is per version of the product's code: another run of the same goes on where this one
ended, with the next seeds. ``WARM_HANDOFF_MINUTES`` is the limit; a run that has begun is finished.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fault import ledger
from tests.fault.drills import DRILLS
from tests.fault.ledger import Entry

ACTIONS = ("kill", "stop", "raise", "late", "hang")
FIRST_SEED = 20261129
#: So many runs of a minute of random faults for each kind of targeted harm that was tried.
RANDOM_RUNS = 3


def next_run(known: Sequence[Entry]) -> tuple[str, dict[str, str]]:
    """Which tests come next, and with which settings: what was tried least."""
    tried = Counter(entry["kind"] for entry in known)
    of_points = Counter(entry["name"] for entry in known if entry["kind"] == "point")
    drilled = {entry["name"] for entry in known if entry["kind"] == "drill"}
    if left := [name for name in DRILLS if name not in drilled]:
        return "fault/test_drills.py", {"WARM_HANDOFF_DRILLS": left[0]}
    if tried["random"] < RANDOM_RUNS * tried["point"]:
        seed = FIRST_SEED + tried["random"]
        settings = {"WARM_HANDOFF_SEED": str(seed), "WARM_HANDOFF_RUNS": "1"}
        return "fault/test_random_faults.py", {**settings, "WARM_HANDOFF_LOAD_SECONDS": "60"}
    if tried["kills"] * len(ACTIONS) < tried["point"]:
        seed = FIRST_SEED + tried["kills"]
        settings = {"WARM_HANDOFF_SEED": str(seed), "WARM_HANDOFF_KILLS": "15"}
        return "fault/test_killed_workers.py", settings
    if tried["stories"] * len(ACTIONS) < tried["point"]:
        settings = {"WARM_HANDOFF_EXAMPLES": "100", "WARM_HANDOFF_RANDOM": "1"}
        return "component/test_machine.py", {**settings, "WARM_HANDOFF_STEPS": "50"}
    action = min(ACTIONS, key=lambda name: of_points[name])
    return "fault/test_crash_points.py", {"WARM_HANDOFF_ACTIONS": action}


def main() -> int:
    """Run until the minutes are over, and tell what all of it came to; 1 when anything failed."""
    file = Path(os.environ.setdefault("WARM_HANDOFF_LEDGER", "var/fault-ledger.jsonl")).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    os.environ["WARM_HANDOFF_LEDGER"] = str(file)
    until = time.monotonic() + 60 * float(os.environ.get("WARM_HANDOFF_MINUTES", "60"))
    code = ledger.code_hash()
    while time.monotonic() < until:
        before = ledger.entries(file, code)
        tests, settings = next_run(before)
        print(f"--- {tests} {' '.join(settings.values())}", flush=True)
        command = [sys.executable, "-m", "pytest", "-s", f"tests/{tests}"]
        ran = subprocess.run(command, cwd=ledger.ROOT, env={**os.environ, **settings}, check=False)
        since = ledger.entries(file, code)[len(before) :]
        if ran.returncode and not any(entry["failed"] for entry in since):
            # What failed outside of what is judged has failed all the same.
            ledger.note("run", tests, trials=0, failed=True)
        if ran.returncode and not since:
            print(f"{tests} did not come to be judged")
            return 2
    known = ledger.entries(file, code)
    print(f"\nof the code {code}:")
    for line in ledger.told(known):
        print(f"  {line}")
    return 1 if any(entry["failed"] for entry in known) else 0


if __name__ == "__main__":
    sys.exit(main())
