"""G8: no message left without a consent, or a route, that stood when it was leased.

When a message was leased is not kept. It was due by then, and no lease is longer than four minutes
before its outcome is written: a message is a violation where nothing that it needs stood at any
moment in between. What was said is heard by notifications within a minute, or nothing is sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from hosting.hours import is_open, parse_hours
from services.check.evidence import Evidence, Row, Said, Verdict, was_lost

CONSENT_OF_CHANNEL = {"sms": "text", "email": "email"}
#: What may be sent to somebody who wants no messages. Said again here, as a second opinion: the
#: judge does not ask those whom it judges.
AFTER_STOP = frozenset(
    {"stopped", "mentor_stopped", "help", "mentor_help", "danger", "wrong_number"}
)
DISCLOSING = frozenset(
    {"offer", "card", "card_code", "card_by_coordinator", "reminder", "wants_to_talk", "quiet"}
)
OPEN_ROUTES = ("workforce", "qsoa")
_LEFT = ("handed_over", "delivered", "unconfirmed")
_LEASE = timedelta(minutes=4)
_HEARD_WITHIN = timedelta(seconds=65)
#: A day begins in the east, and ends in the west twelve hours after that of UTC.
_LAST_ZONE = timedelta(hours=12)
#: After any of these, somebody may have another address or other clocks.
_CONTACT = frozenset(
    {"ClientDischarged", "DischargeCorrected", "ContactDetailsChanged", "MentorChanged"}
)


class Leaving(NamedTuple):
    """A message that left, at some moment from ``first`` to ``last``."""

    message: Row
    first: datetime
    last: datetime


def judge_consent(evidence: Evidence) -> Verdict:
    """Each message that left against what intake, matching and the person had said by then."""
    known = _Known(evidence)
    lost = {key for producer in evidence.said for key in was_lost(evidence, producer)}
    leaving = [
        one
        for one in _leaving(evidence)
        if not lost & {one.message["subject_id"], one.message["person_id"]}
    ]
    broken = [
        f"message {one.message['id']} left {because}"
        for one in leaving
        for because in known.forbids(one)
    ]
    return Verdict(
        guarantee="G8",
        says="no message left without the consent or the route that it needs",
        checked=len(leaving),
        violations=tuple(broken),
    )


def _leaving(evidence: Evidence) -> Iterator[Leaving]:
    messages = {str(row["id"]): row for row in evidence.messages}
    for row in evidence.said["notifications"]:
        if row.type in ("MessageHandedOver", "MessageUnconfirmed"):
            # The first word counts: a later one is a receipt of the same hand-over.
            message = messages.pop(row.body.get("message_id", ""), None)
            if message is None:
                continue
            if row.type == "MessageUnconfirmed" and message["state"] not in _LEFT:
                # The network was asked, and has not taken it; what it has taken may come back.
                continue
            due = min(message["due_at"], row.at)
            is_found_later = row.body.get("reason") == "lease_expired"
            first = due if is_found_later else max(due, row.at - _LEASE)
            yield Leaving(message=message, first=first, last=row.at)


class _Known:
    """What was said of consents, routes, stops and hours, by person and in order."""

    def __init__(self, evidence: Evidence) -> None:
        self._apart = evidence.apart
        self._zones: Mapping[UUID, str] = evidence.zones or {}
        self._consents: dict[tuple[UUID, str], list[Said]] = defaultdict(list)
        self._mentors: dict[UUID, list[Said]] = defaultdict(list)
        self._facilities: dict[UUID, list[Said]] = defaultdict(list)
        self._contacts: dict[UUID, list[datetime]] = defaultdict(list)
        self._ended: dict[UUID, datetime] = {}
        self._stops: dict[UUID, list[datetime]] = defaultdict(list)
        self._starts: dict[UUID, list[datetime]] = defaultdict(list)
        sharing = _sharing(evidence.persons)
        for row in (*evidence.said["intake"], *evidence.said["matching"]):
            self._take_in(row)
        for row in evidence.said["notifications"]:
            meaning = row.body.get("meaning") if row.type == "ReplyReceived" else None
            if meaning in ("stop", "start"):
                sender = UUID(row.body["sender_id"])
                if meaning == "stop":
                    self._stops[sender].append(row.at)
                # Whoever starts messages to a phone starts them for all who share it.
                for person in {sender, *sharing.get(sender, ())} if meaning == "start" else ():
                    self._starts[person].append(row.at)

    def _take_in(self, row: Said) -> None:
        if row.type in _CONTACT:
            self._contacts[row.key].append(row.at)
        if row.type in ("ConsentGiven", "ConsentRevoked"):
            self._consents[row.key, row.body.get("channel", "")].append(row)
        elif row.type == "MentorChanged":
            self._mentors[row.key].append(row)
        elif row.type == "FacilityChanged":
            self._facilities[row.key].append(row)
        elif row.type in ("ClientDied", "ClientErased"):
            self._ended[row.key] = row.at
        elif row.type == "OutreachStopped":
            self._stops[row.key].append(row.at)

    def forbids(self, one: Leaving) -> Iterator[str]:
        """Why the message should not have left."""
        message = one.message
        person, purpose = message["person_id"], message["purpose"]
        if person is None:
            return
        if purpose not in AFTER_STOP:
            if message["recipient"] == "client" and not self._consented(one):
                yield "without a consent that stood"
            if purpose in DISCLOSING and not self._has_route(one):
                yield "without an open route"
            if self._had_stopped(one):
                yield "after its recipient had stopped messages"
            if self._ended.get(person, one.last) < one.first - _HEARD_WITHIN:
                yield "after its recipient had died or was erased"
        if not message["is_answer"] and not self._was_open(one):
            yield "outside of its recipient's hours"

    def _consented(self, one: Leaving) -> bool:
        consent = CONSENT_OF_CHANNEL.get(one.message["channel"], "")
        said = self._consents.get((one.message["subject_id"], consent), ())
        return any(row.type == "ConsentGiven" for row in self._in_force(said, one))

    def _has_route(self, one: Leaving) -> bool:
        day = (one.first - _LAST_ZONE).date()
        said = self._mentors.get(one.message["person_id"], ())
        return any(_is_open_route(row.body, day) for row in self._in_force(said, one))

    def _had_stopped(self, one: Leaving) -> bool:
        """A stop is of an address: whoever has another since is not held to it here."""
        person = one.message["person_id"]
        since = [*self._starts.get(person, ()), *self._contacts.get(person, ())]
        return any(
            stop < one.first - _HEARD_WITHIN and not any(stop <= at <= one.last for at in since)
            for stop in self._stops.get(person, ())
        )

    def _was_open(self, one: Leaving) -> bool:
        """By their own clocks, where their contact is as it was, and their facility's hours."""
        person = one.message["person_id"]
        zone = self._zones.get(person)
        if zone is None or any(at > one.first for at in self._contacts.get(person, ())):
            return True
        said = self._facilities.get(one.message["facility_id"], ())
        hours = [row.body["quiet_hours"] for row in self._in_force(said, one) if row.body]
        return not hours or any(
            is_open(moment, zone, parse_hours(text))
            for moment in (one.first, one.last)
            for text in hours
        )

    def _in_force(self, said: Sequence[Said], one: Leaving) -> Iterator[Said]:
        """Each word that was the last one at some moment at which it may have been leased."""
        for row, following in zip(said, [*said[1:], None], strict=False):
            heard = one.first - _HEARD_WITHIN - self._apart
            is_over = following is not None and following.at < heard
            if row.at <= one.last + self._apart and not is_over:
                yield row


def _is_open_route(body: Row, day: date) -> bool:
    route, ends_on = body.get("route"), body.get("route_ends_on")
    if route not in OPEN_ROUTES or (route == "qsoa" and ends_on is None):
        return False
    return ends_on is None or day <= date.fromisoformat(ends_on)


def _sharing(persons: Sequence[Row]) -> dict[UUID, set[UUID]]:
    """Who else has an address of somebody."""
    by_token: dict[str, list[UUID]] = defaultdict(list)
    for row in persons:
        for name in ("mobile_token", "email_token"):
            if row[name] is not None:
                by_token[row[name]].append(row["id"])
    sharing: dict[UUID, set[UUID]] = defaultdict(set)
    for together in by_token.values():
        # Hundreds behind one phone are a switchboard, and cost no more than their number.
        if len(together) > 1:
            for person in together:
                sharing[person].update(together[:1000])
    return sharing
