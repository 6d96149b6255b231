"""``python -m services check``: the published guarantees against everything that is stored.

Read-only. What happened is derived from the outboxes, from Kafka and from what lies in the
sandbox; the columns that say how things stand are never trusted, they are what is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from urllib.request import urlopen

from sqlalchemy import create_engine

from hosting.clock import Clock
from hosting.settings import SettingsError
from services.check.accepted import judge_acceptance
from services.check.asked import judge_asking
from services.check.causes import judge_causes
from services.check.consent import judge_consent
from services.check.evidence import Evidence, Row, Verdict
from services.check.handed_over import judge_handing_over
from services.check.order import judge_order
from services.check.places import judge_places
from services.check.reading import gather
from services.check.records import kafka
from services.check.sealed import judge_seals
from services.check.waiting import judge_waiting

JUDGES: tuple[Callable[[Evidence], Verdict], ...] = (
    judge_acceptance,
    judge_places,
    judge_order,
    judge_causes,
    judge_handing_over,
    judge_waiting,
    judge_seals,
    judge_consent,
    judge_asking,
)


def judge(evidence: Evidence) -> list[Verdict]:
    """Every guarantee, in order."""
    return [one(evidence) for one in JUDGES]


def check() -> int:
    """Print a line for each guarantee; 0 when all hold, 1 when one does not, 2 when empty."""
    try:
        evidence = _from_the_running_system(os.environ)
    except KeyError as error:
        raise SettingsError(f"settings: {error.args[0]} is missing") from None
    if not evidence.discharges:
        print("nothing checked")
        return 2
    return report(evidence)


def report(evidence: Evidence) -> int:
    """Print what was found, and what could not be looked at."""
    verdicts = judge(evidence)
    for verdict in verdicts:
        held = "violated" if verdict.violations else "holds"
        print(f"{verdict.guarantee} {held}: {verdict.says} ({verdict.checked} checked)")
        for violation in verdict.violations[:20]:
            print(f"   {violation}")
        if len(verdict.violations) > 20:
            print(f"   and {len(verdict.violations) - 20} more")
    if evidence.in_kafka is None:
        print("Kafka could not be read: G4 and G7 were checked against the databases alone")
    if evidence.delivered is None:
        print("there is no sandbox: G5 was checked against the databases alone")
    if evidence.erased is None:
        print("the keys are not here: G7 was checked without who was erased")
    if evidence.zones is None:
        print("the key of contacts is not here: G8 was checked without the hours of recipients")
    return 1 if any(verdict.violations for verdict in verdicts) else 0


def _from_the_running_system(environ: Mapping[str, str]) -> Evidence:
    access = create_engine(environ["INTAKE_ACCESS_URL"])
    clock = Clock(access, mode=environ.get("WARM_HANDOFF_MODE", "sandbox"))
    try:
        return gather(
            environ,
            now=clock.now,
            in_kafka=kafka(environ["KAFKA_SERVERS"]),
            delivered=lambda: _sandbox(environ.get("SANDBOX_URL", "")),
        )
    finally:
        access.dispose()


def _sandbox(url: str) -> list[Row] | None:
    if not url.startswith("http://"):
        return None
    with urlopen(f"{url}/messages.json", timeout=10) as answer:  # noqa: S310
        found: list[Row] = json.load(answer)
    return found
