"""What every page of operations shares: who may open it, its menu, and where each service is."""

from __future__ import annotations

OPERATORS = ("operations", "administrator")

#: The prefix of each service at the front door.
PLACES = {"intake": "", "matching": "/matching", "notifications": "/messages"}

_FLOW = (
    {"text": "Flow", "href": "/ops/"},
    {"text": "Follow one", "href": "/ops/follow"},
    {"text": "Messages", "href": "/ops/messages"},
    {"text": "Parked", "href": "/ops/parked"},
)
#: By role: administrators also see who the mentors are, whom operations never name.
MENU = {
    "operations": _FLOW,
    "administrator": (*_FLOW, {"text": "Mentors", "href": "/matching/"}),
}
