"""What every page of operations shares: who may open it, and where each service is."""

from __future__ import annotations

OPERATORS = ("operations", "administrator")

#: The prefix of each service at the front door.
PLACES = {"intake": "", "matching": "/matching", "notifications": "/messages"}
