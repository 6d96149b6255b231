"""What the harness itself did and was answered, against what came of it: H1 and H4.

The judge of ``check`` knows only what the product has written; that what was accepted is there,
and what was refused is not, only whoever asked can tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.house import House

Outcome = Literal["accepted", "refused", "unknown"]
#: The kinds of message that every client gets once, and the words by which each is known.
KINDS = {"first": "You asked us to stay in touch", "introduction": "will call you by"}


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt to enter a client's discharge: unknown where no answer came.

    An attempt with the same record number tries the same again.
    """

    record_number: str
    address: str
    outcome: Outcome


def violations(
    attempts: Iterable[Attempt],
    *,
    stored: Mapping[str, int],
    spool: Sequence[Mapping[str, Any]],
    unconfirmed: Iterable[tuple[str, str]] = (),
) -> Iterator[str]:
    """What is wrong, by record number; once all is quiet.

    ``stored`` counts discharges by record number, ``spool`` is what lies in the sandbox, and
    ``unconfirmed`` are address and kind of messages of which nobody knows whether they left.
    """
    tried: dict[str, set[Outcome]] = {}
    addresses: dict[str, str] = {}
    for attempt in attempts:
        tried.setdefault(attempt.record_number, set()).add(attempt.outcome)
        addresses[attempt.record_number] = attempt.address
    lying = Counter((m["to"], kind) for m in spool for kind in _kinds(m["body"]))
    unsure = set(unconfirmed)
    for number, outcomes in tried.items():
        times = stored.get(number, 0)
        if "accepted" in outcomes and times != 1:
            yield f"{number} was accepted and is stored {times} times"
        elif "unknown" in outcomes and times > 1:
            yield f"{number} was not answered and is stored {times} times"
        elif outcomes == {"refused"} and times:
            yield f"{number} was refused and is stored {times} times"
        for kind in KINDS:
            address = addresses[number]
            count, least = lying[address, kind], 0 if (address, kind) in unsure else min(times, 1)
            if not least <= count <= min(times, 1):
                yield f"{number} got {count} messages of the kind {kind}"
    for number in stored.keys() - tried.keys():
        yield f"{number} is stored and was never entered"


def _kinds(body: str) -> Iterator[str]:
    return (kind for kind, words in KINDS.items() if words in body)


def stored_in(house: House, record_numbers: Iterable[str], facility: str = "south") -> Counter[str]:
    """How many discharges each record number of a facility has; numbers without any are absent."""
    at = house.desk.facility(facility).id
    token = house.desk.tokens.token
    numbers = {token("record", str(at), number): number for number in record_numbers}
    rows = house.rows(
        "intake",
        "SELECT record_token, count(*) AS times FROM discharge"
        " JOIN client ON client.id = client_id WHERE client.facility_id = :at"
        " GROUP BY record_token",
        at=at,
    )
    # A record that nobody has entered has no number here, and is one too many.
    return Counter({numbers.get(row.record_token, "another record"): row.times for row in rows})


def unconfirmed_in(house: House, addresses: Mapping[str, str]) -> set[tuple[str, str]]:
    """Address and kind of what may have left, by the ids of discharges and their addresses."""
    rows = house.rows(
        "notifications",
        "SELECT discharge_id, purpose FROM message WHERE recipient = 'client'"
        " AND state = 'unconfirmed'",
    )
    return {(addresses[str(row.discharge_id)], row.purpose) for row in rows}
