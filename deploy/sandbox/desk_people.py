"""The people of the demo desk: made up, and each a different beginning of a hand-over."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from deploy.sandbox.product import FACILITY


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One kind of person, in words, and what their discharge says besides the usual."""

    told: str
    changes: Mapping[str, Any]


CHOICES: Mapping[str, Choice] = {
    "english": Choice(told="speaks English", changes={}),
    "spanish": Choice(
        told="speaks Spanish", changes={"language": "es", "pathways": ["faith_based"]}
    ),
    "no-language": Choice(
        told="speaks Vietnamese, as no mentor here does", changes={"language": "vi"}
    ),
    "left": Choice(
        told="left against advice, and lives alone",
        changes={"reason": "left_against_advice", "high_risk": ["lives_alone"]},
    ),
    "under-18": Choice(told="is under 18", changes={"born_on": "2011-06-01"}),
}


def discharge_of(choice: Choice, now: datetime) -> dict[str, Any]:
    """The discharge of a new made-up person who left an hour ago."""
    record_number = f"DESK-{uuid4().hex[:6].upper()}"
    return {
        "facility": FACILITY,
        "record_number": record_number,
        "visit_number": "V-1",
        "name": {"given": "Robin", "family": "Example", "called": "Robin"},
        "born_on": "1988-05-17",
        "mobile": f"+150355{random.SystemRandom().randint(56000, 56999)}",
        "email": f"{record_number.lower()}@example.org",
        "language": "en",
        "time_zone": "America/Los_Angeles",
        "discharged_at": (now - timedelta(hours=1)).isoformat(),
        "reason": "completed",
        "needs": ["stress", "job"],
        "pathways": ["smart"],
        "consents": consents(now, "text", "email"),
        **choice.changes,
    }


def consents(now: datetime, *channels: str) -> dict[str, Any]:
    """What somebody agreed to a day ago, on paper."""
    given = {
        "given_at": (now - timedelta(days=1)).isoformat(),
        "obtained_by": "R. Lane",
        "method": "written",
    }
    return {channel: {**given, "wording": f"{channel}-1"} for channel in channels}
