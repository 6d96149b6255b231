"""What every page of operations shares: who may open it, its menu, and where each service is."""

from __future__ import annotations

OPERATORS = ("operations", "administrator")

#: The prefix of each service at the front door.
PLACES = {"intake": "", "matching": "/matching", "notifications": "/messages"}

MENU = (
    {"text": "Flow", "href": "/ops/"},
    {"text": "Follow one", "href": "/ops/follow"},
    {"text": "Messages", "href": "/ops/messages"},
    {"text": "Parked", "href": "/ops/parked"},
)
