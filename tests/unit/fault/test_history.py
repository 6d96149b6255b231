"""What was answered against what came of it: each bad end is seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fault.history import KINDS, Attempt, Outcome, violations

SAM, PAT = "sam@example.org", "pat@example.org"


def _attempt(number: str, address: str, outcome: Outcome) -> Attempt:
    return Attempt(record_number=number, address=address, outcome=outcome)


def _letters(address: str, *kinds: str) -> list[dict[str, Any]]:
    return [{"to": address, "body": f"Hello. {KINDS[kind]} Monday."} for kind in kinds]


ACCEPTED = [_attempt("R-1", SAM, "accepted")]
BOTH = _letters(SAM, "first", "introduction")
GOOD: dict[str, dict[str, Any]] = {
    "accepted": {"attempts": ACCEPTED, "stored": {"R-1": 1}, "spool": BOTH},
    "refused": {"attempts": [_attempt("R-1", SAM, "refused")], "stored": {}, "spool": []},
    "unknown, and not there": {
        "attempts": [_attempt("R-1", SAM, "unknown")],
        "stored": {},
        "spool": [],
    },
    "unknown, and there": {
        "attempts": [_attempt("R-1", SAM, "unknown")],
        "stored": {"R-1": 1},
        "spool": BOTH,
    },
    "unknown, and tried again": {
        "attempts": [_attempt("R-1", SAM, "unknown"), *ACCEPTED],
        "stored": {"R-1": 1},
        "spool": BOTH,
    },
    "unconfirmed, and not there": {
        "attempts": ACCEPTED,
        "stored": {"R-1": 1},
        "spool": BOTH[1:],
        "unconfirmed": [(SAM, "first")],
    },
}
BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "an accepted one is lost": (
        "R-1 was accepted and is stored 0 times",
        {"stored": {}, "spool": []},
    ),
    "an accepted one is there twice": (
        "R-1 was accepted and is stored 2 times",
        {"stored": {"R-1": 2}},
    ),
    "one that was tried again is there twice": (
        "R-1 was accepted and is stored 2 times",
        {"attempts": [_attempt("R-1", SAM, "unknown"), *ACCEPTED], "stored": {"R-1": 2}},
    ),
    "an unanswered one is there twice": (
        "R-1 was not answered and is stored 2 times",
        {"attempts": [_attempt("R-1", SAM, "unknown")], "stored": {"R-1": 2}},
    ),
    "a refused one is there": (
        "R-1 was refused and is stored 1 times",
        {"attempts": [_attempt("R-1", SAM, "refused")]},
    ),
    "one is there that nobody entered": (
        "R-2 is stored and was never entered",
        {"stored": {"R-1": 1, "R-2": 1}},
    ),
    "a welcome came twice": (
        "R-1 got 2 messages of the kind first",
        {"spool": [*BOTH, *_letters(SAM, "first")]},
    ),
    "a welcome is missing": ("R-1 got 0 messages of the kind first", {"spool": BOTH[1:]}),
    "one that may have left came twice": (
        "R-1 got 2 messages of the kind first",
        {"spool": [*BOTH, *_letters(SAM, "first")], "unconfirmed": [(SAM, "first")]},
    ),
    "somebody who was refused is written to": (
        "R-2 got 1 messages of the kind first",
        {
            "attempts": [*ACCEPTED, _attempt("R-2", PAT, "refused")],
            "spool": [*BOTH, *_letters(PAT, "first")],
        },
    ),
}


@pytest.mark.parametrize("good", GOOD)
def test_a_good_end_is_none_of_these(good: str) -> None:
    assert [] == list(violations(**GOOD[good]))


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_end_is_seen(bad: str) -> None:
    says, changes = BAD[bad]

    assert [says] == list(violations(**{**GOOD["accepted"], **changes}))
