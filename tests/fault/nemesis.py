"""What goes wrong and when: drawn from a seed, kept as JSON, and done again from it.

A schedule is all that a run's faults come from, so that whoever has one can do the same again.
Only the faults repeat: what the processes do meanwhile depends on the machine.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from tests.fault import proxy
from tests.fault.workers import SERVICES

#: So many workers has a service at most.
MOST_WORKERS = 3
WORKERS = {s: [s, *(f"{s}-{n}" for n in range(2, MOST_WORKERS + 1))] for s in SERVICES}
ALL_WORKERS = [name for names in WORKERS.values() for name in names]
#: Who asks whom: each has a proxy of its own.
LINKS = (
    "door:postgres",
    *(f"{name}:{engine}" for name in ALL_WORKERS for engine in ("postgres", "kafka")),
    *(f"{name}:{way}" for name in WORKERS["notifications"] for way in ("smtp", "sms")),
)
#: Who is never heard for so long has lost its partitions, and learns of it when it wakes.
DEAD_AFTER_SECONDS = 4
#: What the networks outside do, as the sandbox calls it; nothing that refuses somebody for good.
OF_MAIL = (
    "connect-421",
    "connect-drop",
    "mail-450",
    "rcpt-450",
    "data-drop",
    "dot-450",
    "dot-drop",
    "dot-delay",
    "dot-drop-after-storing",
)
OF_TEXTS = ("429", "500", "503", "drop-after-storing", "stall", "broken-json")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong, from when on and for how long, in seconds of the run.

    ``detail`` is what only the kind understands, and ``chance`` seeds what can be chosen only when
    it happens, such as which of the records that lie there by then.
    """

    at: float
    kind: str
    target: str
    seconds: float
    detail: str = ""
    chance: int = 0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault: how often it is drawn, of what, for how long, and in which ways."""

    weight: int
    targets: Sequence[str]
    shortest: float = 0.0
    longest: float = 0.0
    details: Sequence[str] = ("",)


_MOSTLY = [link for link in LINKS if "-" not in link]
KINDS = {
    "worker killed": Kind(weight=5, targets=SERVICES, shortest=0.2, longest=3),
    "worker stopped": Kind(
        weight=4, targets=SERVICES, shortest=1, longest=DEAD_AFTER_SECONDS * 1.75
    ),
    "worker restarted": Kind(weight=3, targets=SERVICES, shortest=0.2, longest=1),
    # The second and the third are told to end, or killed.
    "more workers": Kind(
        weight=4, targets=SERVICES, shortest=6, longest=15, details=("told", "killed")
    ),
    "broker killed": Kind(weight=1, targets=("kafka",), shortest=0.5, longest=4),
    "broker stopped": Kind(weight=2, targets=("kafka",), shortest=1, longest=7),
    "broker restarted": Kind(weight=1, targets=("kafka",), shortest=2, longest=4),
    "backend ended": Kind(weight=4, targets=("a backend",)),
    "backend stopped": Kind(weight=2, targets=("a backend",), shortest=1, longest=5),
    "postmaster killed": Kind(weight=2, targets=("postgres",), shortest=0.5, longest=3),
    "postmaster stopped": Kind(weight=1, targets=("postgres",), shortest=1, longest=5),
    "postmaster restarted": Kind(weight=1, targets=("postgres",), shortest=0.5, longest=3),
    # Links of the first workers are drawn more often: the others are not always there.
    "link": Kind(
        weight=14,
        targets=(*_MOSTLY, *_MOSTLY, *LINKS),
        shortest=0.5,
        longest=6,
        details=proxy.FAULTS,
    ),
    "mail trouble": Kind(weight=4, targets=("email",), details=OF_MAIL),
    "text trouble": Kind(weight=4, targets=("sms",), details=OF_TEXTS),
    "records doubled": Kind(weight=4, targets=SERVICES),
    "record poisoned": Kind(
        weight=3, targets=SERVICES, details=("no header", "bad body", "huge", "not text")
    ),
}


def draw(seed: int, seconds: float) -> list[Fault]:
    """The faults of a run: every few seconds a new subset, which is sometimes empty."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    busy: dict[tuple[bool, str], float] = {}
    at = 1.0
    while at < seconds:
        for _ in range(chance.choice((0, 1, 1, 2, 2, 3))):
            fault = _one(chance, at, seconds)
            # Two faults of one process would be one of them, or neither; others may come and go.
            thing = (fault.kind == "more workers", fault.target)
            if fault.seconds == 0:
                faults.append(fault)
            elif busy.get(thing, 0) <= at:
                busy[thing] = at + fault.seconds
                faults.append(fault)
        at += chance.uniform(1.5, 4)
    return faults


def _one(chance: random.Random, at: float, until: float) -> Fault:
    [name] = chance.choices(list(KINDS), [kind.weight for kind in KINDS.values()])
    kind = KINDS[name]
    lasts = chance.uniform(kind.shortest, kind.longest)
    return Fault(
        at=round(at, 2),
        kind=name,
        target=chance.choice(kind.targets),
        seconds=round(min(lasts, max(until - at, kind.shortest)), 2),
        detail=chance.choice(kind.details),
        chance=chance.randrange(1_000_000),
    )


def to_json(seed: int, seconds: float, faults: Sequence[Fault]) -> str:
    """A schedule as it is kept."""
    kept = {"seed": seed, "seconds": seconds, "faults": [asdict(fault) for fault in faults]}
    return json.dumps(kept, indent=1)


def from_json(kept: str) -> tuple[int, float, list[Fault]]:
    """The seed, the seconds of load and the faults of a schedule that was kept."""
    found: dict[str, Any] = json.loads(kept)
    return found["seed"], found["seconds"], [Fault(**fault) for fault in found["faults"]]


class Harm(Protocol):
    """Who can do what a schedule says."""

    def begin(self, fault: Fault) -> None:
        """Let it go wrong; returns soon."""
        ...

    def end(self, fault: Fault) -> None:
        """Let it go right again; returns soon, though it may take longer until it does."""
        ...

    def tend(self) -> None:
        """Called again and again in between, for what takes longer."""
        ...


@dataclass
class Nemesis:
    """Does what a schedule says, in one thread, and notes when it did."""

    faults: Sequence[Fault]
    harm: Harm
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    done: list[dict[str, Any]] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """All faults, each from its beginning to its end, and at least for so long."""
        began = self.now()
        notes = [asdict(fault) for fault in self.faults]
        for at, number, is_begin in self._steps():
            self._wait_until(began + at)
            fault, note = self.faults[number], notes[number]
            if is_begin:
                self.done.append(note)
                note["began"] = self.now() - began
                self.harm.begin(fault)
            else:
                self.harm.end(fault)
            note["ended"] = self.now() - began
        self._wait_until(began + seconds)

    def _steps(self) -> list[tuple[float, int, bool]]:
        """When each fault begins and ends; what ends makes room for what begins at that moment."""
        begins = [(f.at, 1, n) for n, f in enumerate(self.faults)]
        ends = [(f.at + f.seconds, 0 if f.seconds else 2, n) for n, f in enumerate(self.faults)]
        return [(at, number, order == 1) for at, order, number in sorted(begins + ends)]

    def _wait_until(self, moment: float) -> None:
        while (left := moment - self.now()) > 0:
            self.harm.tend()
            self.sleep(min(left, 0.2))
