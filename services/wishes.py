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
#: Ways of recovery, and how they are called.
PATHWAY_NAMES = {
    "12_step": "12-step",
    "smart": "SMART",
    "recovery_dharma": "Recovery Dharma",
    "faith_based": "Faith-based",
    "medication": "Medication",
    "secular": "Secular",
    "other": "Other",
}
PATHWAYS = tuple(PATHWAY_NAMES)
AGE_BANDS = ("18-25", "26-35", "36-50", "51-65", "66+")
GENDERS = ("woman", "man", "nonbinary")
