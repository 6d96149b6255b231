"""What intake makes of everybody's facts: the state of a discharge, its story, and tasks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from prometheus_client import Histogram

from contracts.event import Event
from contracts.matching import (
    AssignmentDeclined,
    AssignmentEnded,
    AssignmentOffered,
    FirstContactMade,
    MentorAssigned,
    MentorChanged,
    MentorErased,
    MentorName,
    NobodyAvailable,
    OfferExpired,
    Why,
)
from contracts.notifications import (
    MessageDelayed,
    MessageDelivered,
    MessageEvent,
    MessageFailed,
    MessageHandedOver,
    MessageSuppressed,
    MessageUnconfirmed,
    ReplyReceived,
)
from contracts.parking import KeyParked, KeyReleased
from contracts.sealed import Sealed, opened
from messaging.sealing import to_json
from messaging.timers import Timer
from messaging.work import Work
from services.intake import metrics
from services.intake.store import Discharge, close, forget_mentor, home_of, name_mentor

#: A coordinator is asked to look when nobody has talked by then.
CONTACT_WITHIN = timedelta(hours=48)

#: Replies that need a person, and the kind of task that they make.
_REPLY_TASKS = {
    "danger": "danger",
    "unclear": "unclear_reply",
    "shared": "shared_number",
    "wrong_number": "wrong_number",
    "stop": "stopped",
}

#: Reasons for which an assignment ends and somebody else is looked for.
_LOOKS_ON = ("client_wants_another", "coordinator_wants_another", "mentor_stopped")

#: Reasons for which a message is withdrawn as a matter of course, and nobody needs to act.
_ORDINARY = frozenset(
    {
        "answered",
        "cancelled",
        "declined",
        "died",
        "erased",
        "held",
        "next_channel",
        "stop",
        "withdrawn",
        "wrong_number",
    }
)


def offer_made(event: AssignmentOffered, work: Work) -> Iterable[Event]:
    """A mentor is being asked."""
    discharge = _open(event, work)
    if discharge is not None:
        _placed(work, discharge)
        work.store.change(
            discharge, state="offered", next_what="the mentor answers", next_by=event.answer_by
        )
        work.store.close_tasks(discharge.id, "nobody_available", because="a mentor is asked")
    mentor, why = str(event.mentor_id), _kept(event.why)
    _tell(work, event, "offered", mentor=mentor, why=why)
    return ()


def mentor_assigned(event: MentorAssigned, work: Work) -> Iterable[Event]:
    """A mentor stands beside the client; they have 48 hours to talk."""
    discharge = _open(event, work)
    if discharge is not None:
        _placed(work, discharge)
        work.store.change(
            discharge, state="assigned", next_what="the mentor calls", next_by=event.call_by
        )
        work.store.close_tasks(discharge.id, "nobody_available", because="a mentor is assigned")
        # A mentor who was kept has as long as any, from the day on which the client left again.
        late = max(event.assigned_at, discharge.said_at or event.assigned_at) + CONTACT_WITHIN
        work.timers.set(discharge.client_id, f"contact/{discharge.id}", late)
    what = "mentor_kept" if event.kept else "assigned"
    mentor, why = str(event.mentor_id), _kept(event.why)
    _tell(work, event, what, mentor=mentor, why=why)
    return ()


def mentor_named(event: MentorChanged, work: Work) -> Iterable[Event]:
    """The name a mentor goes by is shown to the facility's staff beside their clients."""
    plain: MentorName | None = opened(event.name)
    if plain is not None:
        bound = f"mentor_name/{event.mentor_id}"
        name_mentor(
            work,
            event.mentor_id,
            to_json(work.keys.seal(plain, "identity", event.mentor_id, bound)),
        )
    return ()


def mentor_erased(event: MentorErased, work: Work) -> Iterable[Event]:
    """Nobody is shown how they were called, or asked about them."""
    forget_mentor(work, event.mentor_id)
    work.store.close_tasks(event.mentor_id, "mentor_paused", because="erased")
    return ()


def declined(event: AssignmentDeclined, work: Work) -> Iterable[Event]:
    """A mentor said no; matching looks on."""
    _looking(event, work)
    _tell(work, event, "declined")
    return ()


def expired(event: OfferExpired, work: Work) -> Iterable[Event]:
    """A mentor did not answer; matching looks on."""
    _looking(event, work)
    _tell(work, event, "offer_expired")
    return ()


def nobody_available(event: NobodyAvailable, work: Work) -> Iterable[Event]:
    """The client waits; a person is told why."""
    discharge = _open(event, work)
    if discharge is not None:
        _placed(work, discharge)
        by = work.store.task_due("nobody_available", discharge)
        work.store.change(
            discharge, state="waiting", next_what="a place for the client is found", next_by=by
        )
        work.store.open_task("nobody_available", discharge.id, discharge)
    _tell(work, event, "waiting", why=_kept(event.why))
    return ()


def first_contact_made(event: FirstContactMade, work: Work) -> Iterable[Event]:
    """They have talked."""
    discharge = _open(event, work)
    if discharge is not None:
        if discharge.stands != "in_contact":
            _measure(work, metrics.DOOR_TO_VOICE, discharge, event.made_at)
        work.store.change(discharge, state="in_contact", next_what=None, next_by=None)
        work.timers.revoke(discharge.client_id, f"contact/{discharge.id}")
        work.store.close_tasks(discharge.id, "first_contact_late", because="they have talked")
    _tell(work, event, "first_contact")
    return ()


def assignment_ended(event: AssignmentEnded, work: Work) -> Iterable[Event]:
    """An assignment is over; whether the client's support is, depends on who ended it."""
    discharge = _open(event, work)
    if discharge is not None:
        work.timers.revoke(discharge.client_id, f"contact/{discharge.id}")
        work.store.close_tasks(discharge.id, "first_contact_late", because="ended")
        if event.reason == "client_declined":
            _declined(work, discharge)
        elif event.reason in _LOOKS_ON:
            _looking(event, work)
    _tell(work, event, "assignment_ended", because=event.reason)
    return ()


def message_handed_over(event: MessageHandedOver, work: Work) -> Iterable[Event]:
    """The network took a message."""
    discharge = work.store.discharge(event.discharge_id)
    if discharge is not None and event.purpose == "first":
        _measure(work, metrics.FIRST_MESSAGE, discharge, event.at)
    # Its network may have been asked, and has it.
    work.store.close_tasks(event.message_id, "message_unconfirmed", because="handed_over")
    _tell_message(
        work, event, "message_handed_over", template=event.template, attempt=event.attempt
    )
    return ()


def message_delivered(event: MessageDelivered, work: Work) -> Iterable[Event]:
    """A message arrived at the phone."""
    work.store.close_tasks(event.message_id, "message_unconfirmed", because="delivered")
    _tell_message(work, event, "message_delivered")
    return ()


def message_failed(event: MessageFailed, work: Work) -> Iterable[Event]:
    """A message was refused for good; where no channel is left, a person calls."""
    if event.next_channel is None:
        _ask(work, event, "message_failed")
    _tell_message(
        work, event, "message_failed", because=event.reason, next_channel=event.next_channel
    )
    return ()


def message_unconfirmed(event: MessageUnconfirmed, work: Work) -> Iterable[Event]:
    """Nobody can say whether a message was taken: a person decides."""
    _ask(work, event, "message_unconfirmed")
    _tell_message(work, event, "message_unconfirmed", because=event.reason)
    return ()


def message_suppressed(event: MessageSuppressed, work: Work) -> Iterable[Event]:
    """A message may not leave; unless that is in order, a person finds another way."""
    if event.reason == "no_second_channel":
        _ask(work, event, "call_mentor")
    elif event.reason not in _ORDINARY:
        _ask(work, event, "message_suppressed")
    _tell_message(work, event, "message_suppressed", because=event.reason)
    return ()


def message_delayed(event: MessageDelayed, work: Work) -> Iterable[Event]:
    """A message waits for its recipient's hours."""
    _tell_message(
        work, event, "message_delayed", because=event.reason, until=event.until.isoformat()
    )
    return ()


def reply_received(event: ReplyReceived, work: Work) -> Iterable[Event]:
    """Somebody answered; some answers need a person."""
    kind = _REPLY_TASKS.get(event.meaning)
    if kind is not None:
        about = event.reply_id if kind in ("danger", "unclear_reply") else event.sender_id
        _open_task(work, event, kind, about)
    if (event.sender, event.meaning) == ("client", "no"):
        # Matching ends what stands between client and mentor; a hold may have ended that before.
        _declined(work, work.store.discharge(event.discharge_id))
    elif (event.sender, event.meaning) == ("client", "talk"):
        _wants_to_talk(event, work)
    elif (event.sender, event.meaning) == ("mentor", "talked"):
        _has_talked(event, work)
    work.store.step(
        event.subject_id,
        event.discharge_id,
        "reply",
        meaning=event.meaning,
        sender=event.sender,
        channel=event.channel,
    )
    return ()


def _declined(work: Work, discharge: Discharge | None) -> None:
    """The client wants nobody, and need not say why."""
    if discharge is not None and discharge.is_open:
        close(work, discharge, "client_declined")
        work.store.open_task("client_declined", discharge.id, discharge)


def _wants_to_talk(event: ReplyReceived, work: Work) -> None:
    """The mentor was told and has until then; where there is none, a person is asked now."""
    discharge = _of(work, event.subject_id, event.discharge_id)
    by = event.contact_by
    if discharge is None or by is None or by <= event.received_at:
        _open_task(work, event, "wants_to_talk", event.subject_id)
    else:
        work.timers.set(event.subject_id, f"talk/{discharge.id}", by)


def _has_talked(event: ReplyReceived, work: Work) -> None:
    for discharge in work.store.discharges_of(event.subject_id):
        work.timers.revoke(event.subject_id, f"talk/{discharge.id}")
    work.store.close_tasks(event.subject_id, "wants_to_talk", because="they have talked")


def mentor_paused(event: MentorChanged, work: Work) -> Iterable[Event]:
    """A mentor who pauses keeps their clients: somebody asks whether that goes well."""
    if event.state == "paused" and event.caseload and event.facility_ids:
        work.store.open_task(
            "mentor_paused", event.mentor_id, None, facility_id=event.facility_ids[0]
        )
    elif event.state != "paused":
        work.store.close_tasks(event.mentor_id, "mentor_paused", because="the mentor is back")
    return ()


def key_parked(event: KeyParked, work: Work) -> Iterable[Event]:
    """A service cannot go on with this client: operations is asked to look."""
    for discharge in work.store.discharges_of(event.subject_id):
        if discharge.is_open and discharge.state != "parked":
            work.store.change(discharge, state="parked", unparked_state=discharge.state)
    work.store.open_task("parked", event.subject_id, work.store.latest_open(event.subject_id))
    work.store.step(event.subject_id, None, "parked", by=event.service, handler=event.handler)
    return ()


def key_released(event: KeyReleased, work: Work) -> Iterable[Event]:
    """The service goes on with this client; another that cannot is still to be looked at."""
    if not work.store.is_parked_elsewhere(event.subject_id, than=event.service):
        for discharge in work.store.discharges_of(event.subject_id):
            if discharge.state == "parked":
                work.store.change(discharge, state=discharge.stands, unparked_state=None)
        work.store.close_tasks(event.subject_id, "parked", because="released")
    if event.closed and event.because != "erased":
        open_one = work.store.latest_open(event.subject_id)
        work.store.open_task("given_up", event.subject_id, open_one)
    who = {"account": str(event.by)} if event.by else {}
    why = {"because": event.because} if event.because else {}
    work.store.step(
        event.subject_id, None, "released", by=event.service, closed=event.closed, **who, **why
    )
    return ()


def not_placed(timer: Timer, work: Work) -> Iterable[Event]:
    """Matching has not answered for minutes."""
    for discharge in _timed(timer, work):
        if discharge.stands == "received":
            work.store.open_task("not_placed", discharge.id, discharge)
            work.store.step(discharge.client_id, discharge.id, "not_placed")
    return ()


def contact_late(timer: Timer, work: Work) -> Iterable[Event]:
    """Nobody has talked within 48 hours."""
    for discharge in _timed(timer, work):
        if discharge.stands == "assigned":
            work.store.open_task("first_contact_late", discharge.id, discharge)
            work.store.step(discharge.client_id, discharge.id, "first_contact_late")
    return ()


def talk_late(timer: Timer, work: Work) -> Iterable[Event]:
    """A client would like to talk, and nobody has said that they did."""
    for discharge in _timed(timer, work):
        if discharge.closed_because not in ("died", "erased"):
            work.store.open_task("wants_to_talk", discharge.client_id, discharge)
            work.store.step(discharge.client_id, discharge.id, "talk_late")
    return ()


def _timed(timer: Timer, work: Work) -> list[Discharge]:
    work.store.load_clients([timer.key])
    discharge = work.store.discharge(UUID(timer.name.partition("/")[2]))
    return [discharge] if discharge is not None else []


def _of(work: Work, client_id: UUID, discharge_id: UUID | None) -> Discharge | None:
    found: Discharge | None = work.store.discharge(discharge_id)
    return found or work.store.latest_open(client_id)


def _open(event: Any, work: Work) -> Discharge | None:
    """The discharge of an event, unless it is closed or held meanwhile: then nothing moves it."""
    discharge: Discharge | None = work.store.discharge(event.discharge_id)
    if discharge is None or not discharge.is_open or discharge.stands == "held":
        return None
    return discharge


def _placed(work: Work, discharge: Discharge) -> None:
    """Matching has answered."""
    work.timers.revoke(discharge.client_id, f"placed/{discharge.id}")
    work.store.close_tasks(discharge.id, "not_placed", because="matching has answered")


def _looking(event: Any, work: Work) -> None:
    discharge = _open(event, work)
    if discharge is not None:
        work.store.change(
            discharge, state="received", next_what="another mentor is looked for", next_by=work.now
        )


def _kept(sealed: Any) -> dict[str, Any]:
    """What only staff read, as it came."""
    assert isinstance(sealed, Sealed)
    return to_json(sealed)


def _measure(work: Work, into: Histogram, discharge: Discharge, reached_at: datetime) -> None:
    took = (reached_at - discharge.accepted_at).total_seconds()
    work.afterwards.append(partial(into.observe, max(took, 0)))


def _tell(work: Work, event: Any, what: str, **words: Any) -> None:
    named = getattr(event, "assignment_id", None)
    words["assignment_id"] = str(named) if named else None
    kept = {name: value for name, value in words.items() if value is not None}
    work.store.step(event.client_id, event.discharge_id, what, **kept)


def _tell_message(work: Work, event: MessageEvent, what: str, **words: Any) -> None:
    kept = {name: value for name, value in words.items() if value is not None}
    work.store.step(
        event.subject_id,
        event.discharge_id,
        what,
        message_id=str(event.message_id),
        to=event.recipient,
        purpose=event.purpose,
        channel=event.channel,
        **kept,
    )


def _ask(work: Work, event: MessageEvent, kind: str) -> None:
    theirs = work.store.discharges_of(event.subject_id)
    if event.recipient == "client" and any(one.closed_because == "died" for one in theirs):
        # Nobody is to call the dead.
        return
    _open_task(work, event, kind, event.message_id)


def _open_task(work: Work, event: MessageEvent | ReplyReceived, kind: str, about: UUID) -> None:
    """Ask somebody about a client, who may have no discharge, or none that is open."""
    discharge = _of(work, event.subject_id, event.discharge_id)
    home = None if discharge else home_of(work.conn, event.subject_id)
    work.store.open_task(
        kind,
        about,
        discharge,
        facility_id=home or event.facility_id,
        client_id=event.subject_id if home else None,
    )


#: What staff read, and no handler looks into.
KEEPS = frozenset({Why})

ON: dict[type[Event], list[Any]] = {
    AssignmentOffered: [offer_made],
    MentorAssigned: [mentor_assigned],
    AssignmentDeclined: [declined],
    OfferExpired: [expired],
    NobodyAvailable: [nobody_available],
    FirstContactMade: [first_contact_made],
    AssignmentEnded: [assignment_ended],
    MessageHandedOver: [message_handed_over],
    MessageDelivered: [message_delivered],
    MessageFailed: [message_failed],
    MessageUnconfirmed: [message_unconfirmed],
    MessageSuppressed: [message_suppressed],
    MessageDelayed: [message_delayed],
    MentorChanged: [mentor_named, mentor_paused],
    MentorErased: [mentor_erased],
    ReplyReceived: [reply_received],
    KeyParked: [key_parked],
    KeyReleased: [key_released],
}

TIMERS: dict[str, Any] = {"placed": not_placed, "contact": contact_late, "talk": talk_late}
