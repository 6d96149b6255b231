"""What was tried on which code: a line for each run, kept beside the data, continued by the next.

A trial is a run from a fresh state or a harm at one point; messages within a run depend on each
other and are none. ``WARM_HANDOFF_LEDGER`` names the file; without it nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: What the product is made of: a change of a test alone leaves earlier trials good.
CODE = ("contracts", "messaging", "hosting", "services")
Entry = dict[str, Any]


@cache
def code_hash() -> str:
    """A name of the product's code as it lies here."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = hashlib.sha256()
    for name in sorted(listed.stdout.split()):
        found.update(name.encode() + b"\0" + (ROOT / name).read_bytes() + b"\0")
    return found.hexdigest()[:16]


def note(kind: str, name: str, *, trials: int, failed: bool = False, **numbers: Any) -> None:
    """Write down a run: what was tried, how many trials that were, and what was seen."""
    file = os.environ.get("WARM_HANDOFF_LEDGER", "")
    if not file:
        return
    entry = {"at": datetime.now(UTC).isoformat(), "code": code_hash(), "kind": kind, "name": name}
    entry |= {"trials": trials, "failed": failed, **numbers}
    with Path(file).open("a") as ledger:
        ledger.write(json.dumps(entry) + "\n")


@contextmanager
def kept(kind: str, name: str, *, trials: int, **numbers: Any) -> Iterator[dict[str, Any]]:
    """Write down whether what is judged within holds, with the numbers, to which more may come."""
    try:
        yield numbers
    except BaseException:
        note(kind, name, trials=trials, failed=True, **numbers)
        raise
    note(kind, name, trials=trials, **numbers)


def entries(file: Path, code: str) -> list[Entry]:
    """All that was written of this code, in order."""
    if not file.exists():
        return []
    read: Iterable[Entry] = map(json.loads, file.read_text().splitlines())
    return [entry for entry in read if entry["code"] == code]


def bound(trials: int) -> float:
    """How often a trial may go wrong, with 95 % certainty, when none of so many did."""
    return 1.0 if trials < 1 else 1 - 0.05 ** (1 / trials)


def told(known: Sequence[Entry]) -> list[str]:
    """What all runs of this code come to, a line for each kind."""
    lines = []
    for kind in sorted({entry["kind"] for entry in known}):
        of_kind = [entry for entry in known if entry["kind"] == kind]
        trials = sum(entry["trials"] for entry in of_kind)
        wrong = sum(entry["failed"] for entry in of_kind)
        numbers = Counter[str]()
        for entry in of_kind:
            counted = {n: v for n, v in entry.items() if n in ("unconfirmed", "absorbed")}
            numbers.update({name: int(value) for name, value in counted.items()})
        bounded = f", at most {bound(trials):.2%} go wrong" if not wrong else ""
        seen = "".join(f", {name} {value}" for name, value in sorted(numbers.items()))
        lines.append(f"{kind}: {trials} trials, {wrong} runs failed{bounded}{seen}")
    return lines
