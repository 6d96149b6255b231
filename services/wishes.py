"""What clients wish for, and mentors are and offer: one set of codes, so that they meet."""

from __future__ import annotations

NEEDS = (
    "cravings",
    "doubt",
    "fear",
    "stress",
    "guilt",
    "sadness",
    "confusion",
    "loss",
    "job",
    "career",
    "relationships",
    "self-esteem",
    "housing",
    "health",
    "family",
    "meetings",
    "sponsor",
)
PATHWAYS = ("12_step", "smart", "recovery_dharma", "faith_based", "medication", "secular", "other")
AGE_BANDS = ("18-25", "26-35", "36-50", "51-65", "66+")
GENDERS = ("woman", "man", "nonbinary")
