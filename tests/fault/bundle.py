"""What is kept of a run that failed, so that anybody can look at it and do it again.

Nothing of it is sealed content: rows are kept without bodies, people by numbers and ids.
"""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.fault.nemesis import Fault, to_json
from tests.fault.workers import SERVICES, time_of
from tests.house import House

Row = Mapping[str, Any]
_OF_ALL = {
    "outbox": "SELECT event_id, key, epoch, seq, type, at, published_at, published_partition,"
    " published_offset FROM outbox ORDER BY at",
    "inbox": 'SELECT producer, epoch, key, seq, event_id, type, partition, "offset", applied_at'
    " FROM inbox ORDER BY applied_at",
    "early": "SELECT producer, epoch, key, seq, waiting_on, since FROM early",
    "parked": "SELECT key, parked_at, handler, error, attempts FROM parked_key",
    "stored_offset": "SELECT topic, partition, next_offset, heard_at FROM stored_offset",
}
_OF_ONE = {
    "intake": {"discharge": "SELECT id, client_id, state, accepted_at FROM discharge"},
    "matching": {
        "assignment": "SELECT id, client_id, mentor_id, state, assigned_at, ended_at"
        " FROM assignment"
    },
    "notifications": {
        "message": "SELECT id, once, recipient, subject_id, purpose, channel, state, reason,"
        " attempts, due_at, lease_until, handed_over_at, provider_id FROM message"
    },
}


@dataclass
class Story:
    """A run as it is told: all times are seconds since ``began`` unless they are moments."""

    seed: int
    seconds: float
    faults: Sequence[Fault]
    began: datetime
    registrations: list[dict[str, Any]] = field(default_factory=list)
    happened: list[dict[str, Any]] = field(default_factory=list)


def evidence_of(house: House, settings: Mapping[str, str]) -> dict[str, Any]:
    """The rows that tell what became of everybody, without what is sealed in them."""
    found: dict[str, Any] = {}
    for service in SERVICES:
        queries = {**_OF_ALL, **_OF_ONE[service]}
        found[service] = {
            name: [dict(row._mapping) for row in house.rows(service, query)]
            for name, query in queries.items()
        }
    ahead = time_of(settings) - datetime.now().astimezone()
    lying = requests.get(f"{settings['SANDBOX_URL']}/messages.json", timeout=10).json()
    return {
        "ahead_seconds": ahead.total_seconds(),
        **found,
        "delivered": [
            {name: one.get(name) for name in ("id", "channel", "message_id", "received_at")}
            for one in lying
        ],
    }


def write(
    folder: Path, story: Story, evidence: Mapping[str, Any], logs: Iterable[Path], why: str
) -> Path:
    """Write all that is known of a failed run into a folder of its own; where that is."""
    bundle = folder / f"seed-{story.seed}-{story.began:%Y%m%dT%H%M%S}"
    (bundle / "logs").mkdir(parents=True)
    for log in logs:
        shutil.copy(log, bundle / "logs" / log.name)
    (bundle / "seed").write_text(f"{story.seed}\n")
    (bundle / "failure.txt").write_text(f"{why}\n")
    (bundle / "schedule.json").write_text(to_json(story.seed, story.seconds, story.faults))
    history = {
        "began": story.began.isoformat(),
        "registrations": story.registrations,
        "faults": story.happened,
    }
    (bundle / "history.json").write_text(json.dumps(history, indent=1, default=str))
    (bundle / "evidence.json").write_text(json.dumps(evidence, indent=1, default=str))
    (bundle / "timeline.html").write_text(timeline(story, evidence, why))
    return bundle


_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --faint: #ddd; --band: #c00;
  --tried: #888; --intake: #0b62a8; --matching: #8a4b00; --notifications: #6a2ca0;
  --message: #00703c; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e6e6e6; --faint: #3a3d42;
  --band: #ff6b6b; --tried: #aaa; --intake: #6cb8ff; --matching: #ffb454;
  --notifications: #cf9bff; --message: #5fd38d; } }
body { background: var(--paper); color: var(--ink); font: 14px system-ui, sans-serif; }
pre { white-space: pre-wrap; } svg { display: block; } text { fill: var(--ink); font-size: 10px; }
line { stroke: var(--faint); } rect { fill: var(--band); opacity: .09; }
rect.lane { opacity: .5; }
.registered { --own: var(--ink); } .message { --own: var(--message); }
.intake { --own: var(--intake); } .matching { --own: var(--matching); }
.notifications { --own: var(--notifications); }
circle { fill: var(--own); } circle.published { fill: none; stroke: var(--own); }
circle.tried { fill: none; stroke: var(--tried); }
"""
_LEFT, _ROW, _LANE = 70, 16, 12
_KEY = (
    ("tried", "tried in vain"),
    ("registered", "accepted"),
    ("intake", "intake"),
    ("matching", "matching"),
    ("notifications", "notifications"),
    ("message", "handed over"),
)


def timeline(story: Story, evidence: Mapping[str, Any], why: str) -> str:
    """A page that needs nothing else: a line of dots for each client, faults as bands."""
    dots = _dots(story, evidence)
    ends = [dot[0] for of in dots.values() for dot in of]
    last = max([story.seconds, *ends, *(f["ended"] for f in story.happened)]) + 1
    scale = max(8.0, 1600 / last)
    bands, lanes = _bands(story.happened, scale)
    top = 30 + lanes * _LANE
    height = top + (len(dots) + 1) * _ROW
    rows = "".join(
        _line(top + (place + 1) * _ROW, name, of, scale)
        for place, (name, of) in enumerate(dots.items())
    )
    ticks = "".join(
        f'<line x1="{x:.0f}" x2="{x:.0f}" y1="14" y2="{height}"/>'
        f'<text x="{x:.0f}" y="11">{second} s</text>'
        for second in range(0, int(last) + 1, 5)
        for x in [_LEFT + second * scale]
    )
    key = " ".join(
        f'<svg width="12" height="12" style="display:inline">'
        f'<circle class="{name}" cx="6" cy="6" r="4"/></svg> {said}'
        for name, said in _KEY
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Seed {story.seed}</title>'
        f"<style>{_STYLE}</style><h1>Seed {story.seed}</h1><pre>{html.escape(why)}</pre>"
        f"<p>{key}</p><p>A full dot is said, a ring published, a small dot applied; rest the"
        " pointer on one to read what it is. Bands are faults.</p>"
        f'<svg width="{_LEFT + last * scale:.0f}" height="{height}" role="img"'
        f' aria-label="What became of each client">{ticks}{bands.replace("HEIGHT", str(height))}'
        f"{rows}</svg></html>\n"
    )


def _bands(happened: Sequence[Row], scale: float) -> tuple[str, int]:
    """Faults over everything, each with its name in a lane that is free; and how many lanes."""
    drawn, free = "", [0.0]
    for fault in happened:
        x, width = _LEFT + fault["began"] * scale, (fault["ended"] - fault["began"]) * scale
        said = " ".join(filter(None, (fault["kind"], fault["target"], fault["detail"])))
        lane = next((n for n, until in enumerate(free) if until <= x), len(free))
        free[lane : lane + 1] = [x + max(width, 6.0 * len(said)) + 6]
        y, said = 18 + lane * _LANE, html.escape(said)
        drawn += (
            f'<rect x="{x:.1f}" y="{y}" width="{max(width, 2):.1f}" height="HEIGHT">'
            f'<title>{said}</title></rect><rect class="lane" x="{x:.1f}" y="{y}"'
            f' width="{max(width, 2):.1f}" height="{_LANE - 2}"/>'
            f'<text x="{x + 2:.1f}" y="{y + 8}">{said}</text>'
        )
    return drawn, len(free)


def _line(y: int, name: str, dots: Sequence[tuple[float, str, str]], scale: float) -> str:
    drawn = "".join(
        f'<circle class="{look}" cx="{_LEFT + at * scale:.1f}" cy="{y}"'
        f' r="{2 if "applied" in look else 4 if "published" in look else 3}">'
        f"<title>{at:.2f} s: {html.escape(said)}</title></circle>"
        for at, look, said in dots
    )
    axis = f'<line x1="{_LEFT}" x2="100%" y1="{y}" y2="{y}"/>'
    return f'{axis}<text x="0" y="{y + 3}">{name}</text>{drawn}'


def _dots(story: Story, evidence: Mapping[str, Any]) -> dict[str, list[tuple[float, str, str]]]:
    """Of each client by number: when something was, how it looks, and what it was."""
    found: dict[str, list[tuple[float, str, str]]] = {}
    names: dict[str, str] = {}
    for one in story.registrations:
        name = f"client {one['number']}"
        names[str(one.get("client_id"))] = name
        found[name] = [
            (t["ended"], "registered" if t["outcome"] == "accepted" else "tried", t["outcome"])
            for t in one["tries"]
        ]
    ahead = timedelta(seconds=evidence.get("ahead_seconds", 0))
    for key, at, look, said in _of_rows(evidence, ahead):
        if key in names:
            found[names[key]].append(((at - story.began).total_seconds(), look, said))
    return found


def _of_rows(
    evidence: Mapping[str, Any], ahead: timedelta
) -> Iterator[tuple[str, datetime, str, str]]:
    """What databases tell. Events have the product's time, which is ahead of that of the wall."""
    for service in SERVICES:
        tables = evidence.get(service, {})
        for row in tables.get("outbox", ()):
            said = f"{service} {row['type']} {row['seq']}"
            yield str(row["key"]), row["at"] - ahead, service, f"{said} said"
            if row["published_at"] is not None:
                look = f"{service} published"
                yield str(row["key"]), row["published_at"], look, f"{said} published"
        for row in tables.get("inbox", ()):
            said = f"{service} applies {row['producer']} {row['type']} {row['seq']}"
            yield str(row["key"]), row["applied_at"] - ahead, f"{service} applied", said
        for row in tables.get("message", ()):
            if row["handed_over_at"] is not None:
                said = f"{row['purpose']} to {row['recipient']} by {row['channel']}: {row['state']}"
                yield str(row["subject_id"]), row["handed_over_at"] - ahead, "message", said
