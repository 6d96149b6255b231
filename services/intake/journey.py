"""The way of a client from the door to a voice, as stations that were passed or lie ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: After these, somebody else is looked for, and what was reached before counts no more.
_AGAIN = ("declined", "offer_expired", "assignment_ended")


@dataclass(frozen=True, kw_only=True)
class Station:
    """``state``: passed, next (it is somebody's turn), or ahead."""

    name: str
    state: str
    step: dict[str, Any] | None = None


def _message(purpose: str) -> Any:
    """The network took a message of this purpose to the client."""

    def passed(step: dict[str, Any]) -> bool:
        told = (step["what"], step.get("to"), step.get("purpose"))
        return told == ("message_handed_over", "client", purpose)

    return passed


def _is(*whats: str) -> Any:
    return lambda step: step["what"] in whats


#: Each station in its order, and the step that passes it.
_STATIONS = (
    ("Received", _is("received", "held")),
    ("First message", _message("first")),
    ("Mentor chosen", _is("offered", "assigned", "mentor_kept")),
    ("Mentor ready", _is("assigned", "mentor_kept")),
    ("Introduction", _message("introduction")),
    ("In contact", _is("first_contact")),
)
#: These belong to one mentor, and are passed anew with the next.
_OF_A_MENTOR = 2


def journey(steps: Sequence[dict[str, Any]], state: str) -> list[Station]:
    """The stations of a story; the first that was not passed is next, unless all is over."""
    fresh = 1 + max((n for n, s in enumerate(steps) if s["what"] in _AGAIN), default=-1)
    found = [
        next((s for s in (steps if place < _OF_A_MENTOR else steps[fresh:]) if passed(s)), None)
        for place, (_, passed) in enumerate(_STATIONS)
    ]
    ahead = next((place for place, step in enumerate(found) if step is None), len(found))
    over = state == "closed"
    return [
        Station(
            name=name,
            state="passed" if step else "next" if place == ahead and not over else "ahead",
            step=step,
        )
        for place, ((name, _), step) in enumerate(zip(_STATIONS, found, strict=True))
    ]
