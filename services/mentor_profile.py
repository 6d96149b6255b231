"""What a mentor may say of themselves, the same in a roster file and on their own pages."""

from __future__ import annotations

import re

from hosting.hours import parse_hours

MOST_CAPACITY = 200


def read_capacity(text: str) -> int:
    """How many clients somebody takes; raises ``ValueError``."""
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > MOST_CAPACITY:
        raise ValueError("no number of clients")
    return int(text)


def read_hours(text: str) -> str:
    """When somebody can be reached, in one spelling; raises ``ValueError``."""
    parse_hours(text)
    return " ".join(text.lower().split())
