"""The trouble that can be ordered: each kind, and the list of what is still to happen."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from deploy.sandbox.spool import EMAIL, SMS, same_address

PHASES = ("connect", "ehlo", "mail", "rcpt", "data", "dot", "quit")
PHASES_WITH_RECIPIENT = ("rcpt", "data", "dot")
ANSWERS = {
    "421": "answers 421 and hangs up",
    "450": "answers 450",
    "550": "answers 550",
    "drop": "hangs up without an answer",
    "delay": "waits before it goes on",
}

EMAIL_KINDS = {f"{phase}-{answer}": said for phase in PHASES for answer, said in ANSWERS.items()}
EMAIL_KINDS |= {
    "dot-delay": "stores the mail and waits before it answers",
    "dot-drop-after-storing": "stores the mail and hangs up without an answer",
    "body-550": "answers 550 right after 354, while the mail is being sent, and hangs up",
}

CALL_KINDS = {
    "429": "answers 429 (code 20429) and stores nothing",
    "500": "answers 500 and stores nothing",
    "503": "answers 503 and stores nothing",
    "opt-out": "refuses (code 21610) a phone whose last keyword was STOP, until it says START",
    "drop-after-storing": "stores the text and hangs up without an answer",
    "stall": "stores the text and waits before it answers",
    "broken-json": "stores the text and answers half of its JSON",
}
RECEIPT_KINDS = {
    "receipt-duplicated": "posts each receipt twice",
    "receipt-reordered": "posts delivered before sent",
    "receipt-lost": "posts no receipt; the API still says delivered",
    "receipt-wrong-signature": "signs the receipts with another token",
    "receipt-before-response": "posts the receipts before the call is answered",
    "undelivered": "ends as undelivered (code 30003) instead of delivered",
}

KINDS = {EMAIL: EMAIL_KINDS, SMS: CALL_KINDS | RECEIPT_KINDS}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Trouble for the next ``times`` messages, or only for those ``to`` somebody."""

    channel: str
    kind: str
    times: int = 1
    to: str | None = None
    seconds: float = 30.0

    def strikes(self, channel: str, kinds: Collection[str], to: Collection[str]) -> bool:
        """Whether this is one of these kinds, and meant for one of these recipients."""
        return (
            self.channel == channel
            and self.kind in kinds
            and (self.to is None or same_address(self.to) in map(same_address, to))
        )


class Faults:
    """The faults that are still to happen, first come first served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def put(self, faults: Sequence[Fault]) -> None:
        """Replace all faults."""
        with self._lock:
            self._faults = list(faults)

    def all(self) -> list[Fault]:
        """What is still to happen."""
        with self._lock:
            return list(self._faults)

    def take(self, channel: str, kinds: Collection[str], to: Collection[str] = ()) -> Fault | None:
        """The first fault of one of these kinds, used up by one."""
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.strikes(channel, kinds, to):
                    left = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                    self._faults[place : place + 1] = left
                    return fault
        return None
