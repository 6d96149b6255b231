"""What a failed run leaves is complete, harmless and can be done again; no engine is needed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

from tests.fault import bundle, nemesis
from tests.fault.bundle import Story
from tests.fault.nemesis import KINDS, Fault, Nemesis

BEGAN = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


@dataclass
class Noted:
    """Does nothing, and notes what it was asked for and when, by a clock that it moves itself."""

    asked: list[tuple[float, str, Fault]] = field(default_factory=list)
    clock: float = 0.0

    def begin(self, fault: Fault) -> None:
        self.asked.append((round(self.clock, 3), "begin", fault))

    def end(self, fault: Fault) -> None:
        self.asked.append((round(self.clock, 3), "end", fault))

    def tend(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        self.clock += seconds


def _done(faults: list[Fault], seconds: float) -> tuple[Noted, Nemesis]:
    noted = Noted()
    strikes = Nemesis(faults=faults, harm=noted, now=lambda: noted.clock, sleep=noted.sleep)
    strikes.run(seconds)
    return noted, strikes


def test_a_failed_run_leaves_a_bundle_whose_schedule_is_done_again_alike(tmp_path: Path) -> None:
    faults = nemesis.draw(7, 60)
    first, strikes = _done(faults, 60)
    client, message = str(uuid4()), str(uuid4())
    story = Story(seed=7, seconds=60, faults=faults, began=BEGAN, happened=strikes.done)
    tries = [
        {"began": 1.0, "ended": 1.2, "outcome": "OperationalError"},
        {"began": 1.5, "ended": 1.6, "outcome": "accepted"},
    ]
    story.registrations.append({"number": 1, "tries": tries, "client_id": client})
    log = tmp_path / "intake.log"
    log.write_text("{}\n")
    row = {"key": client, "type": "ClientDischarged", "seq": 1}
    at = BEGAN + timedelta(hours=5, seconds=2)
    evidence = {
        "ahead_seconds": 5 * 3600,
        "intake": {"outbox": [{**row, "at": at, "published_at": BEGAN + timedelta(seconds=3)}]},
        "matching": {"inbox": [{**row, "producer": "intake", "applied_at": at}]},
        "notifications": {
            "message": [
                {
                    "id": message,
                    "subject_id": client,
                    "purpose": "first",
                    "recipient": "client",
                    "channel": "sms",
                    "state": "handed_over",
                    "handed_over_at": at,
                }
            ]
        },
    }

    found = bundle.write(tmp_path / "kept", story, evidence, [log], "not quiet: <b>one</b> waits")

    assert {
        "evidence.json",
        "failure.txt",
        "history.json",
        "logs",
        "schedule.json",
        "seed",
        "timeline.html",
    } == {path.name for path in found.iterdir()}
    assert ["intake.log"] == [path.name for path in (found / "logs").iterdir()]
    assert "7\n" == (found / "seed").read_text()
    history = json.loads((found / "history.json").read_text())
    assert tries == history["registrations"][0]["tries"]
    assert all(fault["began"] <= fault["ended"] for fault in history["faults"])
    assert len(faults) == len(history["faults"])
    _assert_tells_everything((found / "timeline.html").read_text(), len(faults))

    seed, seconds, kept = nemesis.from_json((found / "schedule.json").read_text())
    again, _ = _done(kept, seconds)
    assert (7, 60) == (seed, seconds)
    assert first.asked == again.asked


def _assert_tells_everything(page: str, faults: int) -> None:
    seen: list[tuple[str, dict[str, str | None]]] = []
    reading = HTMLParser()
    reading.handle_starttag = lambda tag, attrs: seen.append((tag, dict(attrs)))  # type: ignore[method-assign]
    reading.feed(page)
    looks = [attrs.get("class") for tag, attrs in seen if tag == "circle" and attrs["cy"] != "6"]

    assert [
        "tried",
        "registered",
        "intake",
        "intake published",
        "matching applied",
        "message",
    ] == looks
    assert 2 * faults == len([tag for tag, _ in seen if tag == "rect"])
    assert "prefers-color-scheme: dark" in page
    assert "&lt;b&gt;" in page
    # It stands alone: nothing is loaded from anywhere.
    assert [] == [tag for tag, attrs in seen if tag in ("script", "link", "img") or "src" in attrs]


def test_a_seed_draws_the_same_faults_and_sometimes_none() -> None:
    drawn = [nemesis.draw(seed, 60) for seed in range(50)]

    assert drawn == [nemesis.draw(seed, 60) for seed in range(50)]
    assert drawn[0] != drawn[1]
    assert set(KINDS) == {fault.kind for faults in drawn for fault in faults}
    assert set(nemesis.proxy.FAULTS) < {fault.detail for faults in drawn for fault in faults}
    moments = [sorted({fault.at for fault in faults}) for faults in drawn]
    gaps = [b - a for of in moments for a, b in pairwise(of)]
    assert max(gaps) > 4, "no subset was empty"


def test_whatever_begins_ends_and_nothing_of_a_process_overlaps() -> None:
    for seed in range(20):
        noted, _ = _done([f for f in nemesis.draw(seed, 60) if f.seconds], 60)
        open_now: list[Fault] = []
        for _, what, fault in noted.asked:
            if what == "begin":
                same = [f for f in open_now if f.target == fault.target]
                assert [] == [f for f in same if "more workers" not in (f.kind, fault.kind)]
                open_now.append(fault)
            else:
                open_now.remove(fault)
        assert [] == open_now
