"""The map of events: who says each, and who hears it; generated, so that it stays true."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts import intake, matching, notifications, parking
from contracts.event import EVENTS, Event
from messaging.sealing import SearchTokens
from services.intake import handlers as intake_handlers
from services.matching import handlers as matching_handlers
from services.notifications.handlers import Handlers

SAID = (intake, matching, notifications, parking)
BEGIN, END = "<!-- event map: begin -->", "<!-- event map: end -->"


def hears() -> Mapping[str, Mapping[type[Event], Sequence[Any]]]:
    """Each service's table of reactions."""
    return {
        "intake": intake_handlers.ON,
        "matching": matching_handlers.ON,
        "notifications": Handlers(tokens=SearchTokens(b"")).table(),
    }


def event_map() -> str:
    """A table in Markdown, and a picture of the flow."""
    tables = hears()
    rows = ["| event | said by | keyed by | heard by |", "|---|---|---|---|"]
    flows: dict[tuple[str, str], int] = {}
    for name, event in sorted(EVENTS.items(), key=_place):
        heard = []
        for service, table in tables.items():
            if event in table:
                handlers = ", ".join(handler.__name__ for handler in table[event])
                heard.append(f"{service}: {handlers}")
                for publisher in event.publishers:
                    if publisher != service:
                        flows[publisher, service] = flows.get((publisher, service), 0) + 1
        said = ", ".join(event.publishers)
        rows.append(f"| {name} | {said} | {event.key_field} | {'; '.join(heard) or '-'} |")
    picture = ["```mermaid", "flowchart LR"]
    picture += [f"  {a} -- {count} events --> {b}" for (a, b), count in flows.items()]
    return "\n".join([*rows, "", *picture, "```"])


def _place(item: tuple[str, type[Event]]) -> tuple[tuple[str, ...], str]:
    """What one service says stands together."""
    name, event = item
    return event.publishers, name


def write_into(document: Path) -> None:
    """Put the map between its marks in a document."""
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{event_map()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_into(Path(sys.argv[1]))
