"""Enter one discharge, in a process that may die of it: ``python -m tests.fault.enter NUMBER``."""

from __future__ import annotations

import sys

from services.intake.bodies import DischargeBody, read_body
from services.intake.service import build
from tests.fault.workers import a_body


def main(number: int) -> None:
    """What the API does with a body, once it is read."""
    intake = build()
    body: DischargeBody = read_body(DischargeBody, a_body(intake.participant.now(), number))
    facility = intake.desk.facility(body.facility)
    print(intake.desk.register(facility, body, caller="test").id)


if __name__ == "__main__":
    main(int(sys.argv[1]))
