"""The HL7 v2 door: a message becomes the same command as a form, and gets its acknowledgement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from marshmallow import ValidationError

from contracts.event import Event
from messaging.work import Work
from services.intake import store
from services.intake.bodies import DischargeBody, read_body, usable
from services.intake.commands import Desk, Refused
from services.intake.domain import Facility
from services.intake.sources import hl7v2

CONTENT_TYPE = "application/hl7-v2"

#: Where each field of ours stands in a message, for errors that a feed's keeper can use.
_PLACES = {"record_number": ("PID", 3), "visit_number": ("PV1", 19)}


@dataclass(frozen=True, kw_only=True)
class Hl7Door:
    """Answers one message at a time."""

    desk: Desk
    acts_on_tests: bool

    def answer(self, raw: bytes, facility: Facility, *, caller: str) -> bytes:
        """Store what the message says and acknowledge it.

        The same bytes get the same answer, but for what is refused by what is kept here, which may
        change; another message under the same control id is judged by its own visit, because
        control ids repeat in real feeds.
        """
        key = self.desk.tokens.token("hl7", str(facility.id), raw.hex())
        before = self._before(caller, key)
        if before is not None:
            return before
        accepted = self._acknowledged(raw, "AA")
        try:
            code, refused = self._take(raw, facility, caller, key, accepted)
        except Refused as error:
            # By what is kept here: another time the same may be taken, so nothing is remembered.
            remedy = str(error.args[1])
            told = hl7v2.Refused(code="AE", segment="PID", field=3, remedy=remedy)
            return self._acknowledged(raw, "AE", told)
        answer = accepted if code == "AA" else self._acknowledged(raw, code, refused)
        return self._remember(caller, key, answer)

    def _acknowledged(
        self, raw: bytes, code: Literal["AA", "AE", "AR"], refused: hl7v2.Refused | None = None
    ) -> bytes:
        return hl7v2.acknowledge(
            raw,
            code=code,
            now=self.desk.participant.now(),
            control_id=uuid4().hex[:20],
            refused=refused,
        )

    def _take(
        self, raw: bytes, facility: Facility, caller: str, key: str, accepted: bytes
    ) -> tuple[Literal["AA", "AE", "AR"], hl7v2.Refused | None]:
        try:
            message = hl7v2.read(raw, default_zone=facility.time_zone)
        except hl7v2.Refused as refused:
            return ("AR" if refused.code == "AR" else "AE"), refused
        if message.test and not self.acts_on_tests:
            return "AA", None
        try:
            values, left_out = usable(_as_body(message, facility))
            body: DischargeBody = read_body(DischargeBody, values)
            self.desk.register(
                facility,
                body,
                caller=caller,
                # With what the message says, so that a repetition never undoes a correction.
                answer_key=(key, ""),
                answer={"answer": accepted.hex()},
                deleted=message.deleted,
                unusable=(*message.ignored, *left_out),
            )
        except ValidationError as error:
            field = next(iter(error.messages_dict))
            segment, number = _PLACES.get(field, ("MSH", None))
            remedy = f"Send a {field.replace('_', ' ')} of at most 64 printable characters."
            return "AE", hl7v2.Refused(code="AE", segment=segment, field=number, remedy=remedy)
        return "AA", None

    def _before(self, caller: str, key: str) -> bytes | None:
        found: list[bytes] = []

        def command(work: Work) -> Iterable[Event]:
            kept = store.earlier_answer(work, caller, key)
            if kept is not None:
                found.append(bytes.fromhex(kept[1]["answer"]))
            return ()

        self.desk.participant.transact(command)
        return found[-1] if found else None

    def _remember(self, caller: str, key: str, answer: bytes) -> bytes:
        """Keep what is answered, unless something was answered before; what is kept."""
        kept = [answer]

        def command(work: Work) -> Iterable[Event]:
            before = store.earlier_answer(work, caller, key)
            if before is None:
                store.remember_answer(work, caller, key, "", {"answer": answer.hex()})
            else:
                kept.append(bytes.fromhex(before[1]["answer"]))
            return ()

        self.desk.participant.transact(command)
        return kept[-1]


def _as_body(message: hl7v2.Message, facility: Facility) -> Mapping[str, Any]:
    values = dict(message.values)
    if values.pop("died", False):
        values["reason"] = "died"
    return {"facility": facility.code, **values}
