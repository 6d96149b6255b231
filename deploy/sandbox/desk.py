"""The demo desk: one discharge, the phones of both people, and what happens in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from deploy.sandbox.desk_people import CHOICES, discharge_of
from deploy.sandbox.events import SERVICES, Passing, Seen, is_listening
from deploy.sandbox.pages import ReplySchema, linked, senders_id
from deploy.sandbox.parts import Sandbox
from deploy.sandbox.product import NotTaken, Product
from deploy.sandbox.settings import DeskSettings
from deploy.sandbox.spool import SMS, Message
from deploy.sandbox.wishes import PassingTime, Wishes

ZONE = ZoneInfo("America/Los_Angeles")
MOST_DISCHARGES = 50
MOST_MESSAGES = 300
A_MOMENT = timedelta(minutes=1)
#: How long time passes for, and in how many steps.
LENGTHS = {
    "hour": (timedelta(hours=1), 1),
    "day": (timedelta(days=1), 8),
    "month": (timedelta(days=28), 28),
}
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

CLIENT_WORDS = ("OK", "TALK", "NO", "SOMEONE ELSE", "HELP", "STOP")
MENTOR_WORDS = ("YES", "NO", "TALKED", "NO ANSWER")

#: What a button may lead to, by a word that stands in the page's address.
SAID = {
    "sent": "Sent through the public API. Watch the phones; a mentor who is asked can answer YES.",
    "answered": "The phone has answered.",
    "no-words": "Write an answer of 1 to 1600 letters.",
    "not-taken": "The answer did not arrive: the product's door is closed for the moment.",
    "send-first": "Send a discharge first.",
    "nobody-asked": "No mentor has been written to about this discharge.",
    "no-offer": "No mentor is being asked just now: there is no answer to wait for.",
    "stopped": "The client has texted STOP. Automated messages end, the mentor stays.",
    "revoked": "The consent to texts is revoked. What comes next goes by e-mail, or not at all.",
    "kafka": "Kafka stops for 10 seconds. What is said meanwhile waits in each service's database.",
    "killed": "The worker is killed. What it had half done is undone, and done again in 2 seconds.",
    "passing": "Time passes. What becomes due on the way happens.",
    "passing-already": "Time passes already. Wait until it has.",
    "no-api": "The product's API did not take it. Wait a moment and try again.",
}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A discharge that was sent from here: its id, whom it is about, and what was sent."""

    id: str
    client_id: str
    body: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Said:
    """One message on a device."""

    is_answer: bool
    is_mail: bool
    at: str
    text: Markup


@dataclass(frozen=True, kw_only=True)
class Device:
    """Somebody's phone, with what came to their mailbox among the texts."""

    number: str
    messages: Sequence[Said]


@dataclass(frozen=True, kw_only=True)
class Lane:
    """What one service says, and whether its worker is there."""

    service: str
    is_up: bool
    events: Sequence[Seen]


class Desk:
    """What the buttons do, and what the page shows."""

    def __init__(
        self, sandbox: Sandbox, product: Product, events: Passing, wishes: Wishes, time: PassingTime
    ) -> None:
        self.product = product
        self.events = events
        self.time = time
        self._sandbox = sandbox
        self._wishes = wishes
        self._lock = threading.Lock()
        self._sent: dict[str, Sent] = {}

    def sent(self, discharge_id: str) -> Sent | None:
        """A discharge that was sent from here since the sandbox started."""
        return self._sent.get(discharge_id)

    def send(self, kind: str) -> Sent:
        """Send the discharge of a new person of this kind."""
        now = self._sandbox.now()
        body = discharge_of(CHOICES[kind], now)
        answer = self.product.enter(body)
        sent = Sent(id=answer["id"], client_id=answer["client_id"], body=body, at=now)
        with self._lock:
            self._sent[sent.id] = sent
            for oldest in list(self._sent)[:-MOST_DISCHARGES]:
                del self._sent[oldest]
        return sent

    def answer(self, number: str, words: str) -> str:
        """A phone answers."""
        if ReplySchema().validate({"from": number, "text": words}):
            return "no-words"
        return "answered" if self._sandbox.phones.reply(number, words).is_taken else "not-taken"

    def mentor_says_no(self, sent: Sent) -> str:
        """The mentor who was last written to says NO."""
        mentor = self.mentor(sent, self.product.story(sent.id)["steps"])
        return self.answer(mentor.number, "NO") if mentor else "nobody-asked"

    def nobody_answers(self, sent: Sent) -> str:
        """Time passes until the open offer has expired."""
        story = self.product.story(sent.id)
        if story["state"] != "offered":
            return "no-offer"
        left = datetime.fromisoformat(story["next"]["by"]) - self._sandbox.now()
        return self._let_pass(max(left, timedelta()) + A_MOMENT, 1)

    def client_stops(self, sent: Sent) -> str:
        """The client texts STOP."""
        said = self.answer(sent.body["mobile"], "STOP")
        return "stopped" if said == "answered" else said

    def consent_is_revoked(self, sent: Sent) -> str:
        """The client agrees to e-mail only from now on, as staff would record it."""
        agreed = {"email": sent.body["consents"]["email"]}
        self.product.agree(sent.body["record_number"], agreed)
        return "revoked"

    def stop_kafka(self) -> str:
        """Kafka goes away for a while."""
        self._wishes.stop_kafka()
        return "kafka"

    def kill_worker(self, service: str) -> str:
        """A worker is killed in the middle of whatever it does."""
        self._wishes.kill_worker(service)
        return "killed"

    def let_pass(self, length: str) -> str:
        """Time passes for everybody."""
        return self._let_pass(*LENGTHS[length])

    def _let_pass(self, length: timedelta, steps: int) -> str:
        return "passing" if self.time.begin(length, steps) else "passing-already"

    def now(self) -> datetime:
        """The demo's time, at the center."""
        return self._sandbox.now().astimezone(ZONE)

    def client(self, sent: Sent) -> Device:
        """The client's phone and mailbox."""
        return self._device(sent, sent.body["mobile"], sent.body["email"])

    def mentor(self, sent: Sent, steps: Sequence[Mapping[str, Any]]) -> Device | None:
        """The phone and mailbox of the mentor who was written to last; None if nobody was."""
        ids = _written_to_mentor(steps)
        reached = [m for m in self._recent(sent) if not m.inbound and senders_id(m) in ids]
        numbers = [m.to for m in reached if m.channel == SMS]
        mailboxes = [m.to for m in reached if m.channel != SMS]
        return self._device(sent, numbers[-1], *mailboxes[-1:]) if numbers else None

    def lanes(self) -> list[Lane]:
        """What each service says."""
        workers = self.product.workers()
        return [
            Lane(
                service=service,
                is_up=is_listening(workers.get(service, "")),
                events=self.events.newest(service),
            )
            for service in SERVICES
        ]

    def _device(self, sent: Sent, number: str, *mailboxes: str) -> Device:
        mine = (number, *mailboxes)
        return Device(
            number=number,
            messages=[
                _said(message)
                for message in self._recent(sent)
                if (message.sender if message.inbound else message.to) in mine
            ],
        )

    def _recent(self, sent: Sent) -> list[Message]:
        """What was sent and answered since this discharge, oldest first."""
        spool = self._sandbox.spool
        newest = spool.entries()[-MOST_MESSAGES:]
        return spool.read_all(entry for entry in newest if entry.received_at >= sent.at)


def _written_to_mentor(steps: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The ids of the messages to the mentor whom matching named last."""
    chosen = [place for place, step in enumerate(steps) if step["what"] == "offered"]
    chosen = chosen or [place for place, step in enumerate(steps) if step["what"] == "assigned"]
    since = steps[chosen[-1] :] if chosen else ()
    return frozenset(step["message_id"] for step in since if step.get("to") == "mentor")


def _said(message: Message) -> Said:
    # The way out of e-mails is long, and would hide what the mail is about.
    paragraphs = [p for p in message.body.strip().split("\n\n") if "/unsubscribe/" not in p]
    return Said(
        is_answer=message.inbound,
        is_mail=message.channel != SMS,
        at=f"{message.received_at.astimezone(ZONE):%a %H:%M}",
        text=linked("\n\n".join(paragraphs)),
    )


def _told(step: Mapping[str, Any]) -> str:
    """A step of the story in words: what, and of which kind."""
    what = str(step["what"])
    if what.startswith("message_"):
        became = what.removeprefix("message_").replace("_", " ")
        said = f"{step['purpose']} to {step['to']} by {step['channel']}: {became}"
    else:
        said = what
    names = ("sender", "meaning", "kind", "because", "next_channel")
    details = [str(step[name]) for name in names if step.get(name)]
    said += f" ({', '.join(details)})" if details else ""
    return said.replace("_", " ").capitalize()


def local_time(moment: str | datetime) -> str:
    """A moment on the clock of the center."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{at.astimezone(ZONE):%a %d %b, %H:%M:%S}"


def open_desk(sandbox: Sandbox, settings: DeskSettings) -> Desk:
    """The desk of a sandbox that belongs to a demo; it follows the events from now on."""
    events, wishes = Passing(settings.kafka_servers), Wishes(folder=settings.wishes)
    events.start()
    time = PassingTime(wishes, sandbox.now)
    return Desk(sandbox, Product(settings.access), events, wishes, time)


def desk_pages(desk: Desk) -> Blueprint:
    """The routes of the desk."""
    routes = Blueprint("desk", __name__, url_prefix="/desk")
    about_a_discharge: Mapping[str, Callable[[Sent], str]] = {
        "mentor-no": desk.mentor_says_no,
        "nobody-answers": desk.nobody_answers,
        "client-stop": desk.client_stops,
        "revoke": desk.consent_is_revoked,
    }
    about_everything: Mapping[str, Callable[[], str]] = {
        "stop-kafka": desk.stop_kafka,
        **{f"kill-{one}": partial(desk.kill_worker, one) for one in SERVICES},
        **{name: partial(desk.let_pass, name) for name in LENGTHS},
    }

    @routes.get("")
    def show() -> Response:
        discharge_id = request.args.get("d", "")
        page = make_response(render_template("desk.html", **shown(desk, discharge_id)))
        page.headers["Content-Security-Policy"] = POLICY
        return page

    @routes.post("/send")
    def send() -> AnyResponse:
        kind = request.form.get("kind", "")
        try:
            sent = desk.send(kind if kind in CHOICES else "english")
        except NotTaken:
            return back("", "no-api")
        return back(sent.id, "sent")

    @routes.post("/answer")
    def answer() -> AnyResponse:
        words = request.form.get("word") or request.form.get("text", "")
        return back(request.form.get("d", ""), desk.answer(request.form.get("number", ""), words))

    @routes.post("/do")
    def do() -> AnyResponse:
        deed, discharge_id = request.form.get("deed", ""), request.form.get("d", "")
        sent = desk.sent(discharge_id)
        try:
            if deed in about_everything:
                return back(discharge_id, about_everything[deed]())
            if sent is None or deed not in about_a_discharge:
                return back("", "send-first")
            return back(sent.id, about_a_discharge[deed](sent))
        except NotTaken:
            return back(discharge_id, "no-api")

    def back(discharge_id: str, said: str) -> AnyResponse:
        return redirect(url_for("desk.show", d=discharge_id or None, said=said), 303)

    return routes


def shown(desk: Desk, discharge_id: str) -> dict[str, Any]:
    """All that the page shows."""
    sent, trouble = desk.sent(discharge_id), ""
    story: dict[str, Any] = {"steps": [], "state": "", "next": None}
    try:
        if sent is not None:
            story = desk.product.story(sent.id)
    except NotTaken as error:
        trouble = str(error)
    return {
        "sent": sent,
        "story": story,
        "steps": list(_dated(story["steps"])),
        "trouble": trouble,
        "said": SAID.get(request.args.get("said", ""), ""),
        "client": desk.client(sent) if sent else None,
        "mentor": desk.mentor(sent, story["steps"]) if sent else None,
        "lanes": desk.lanes(),
        "kafka_is_up": desk.events.is_up(),
        "way": desk.time.way,
        "now": f"{desk.now():%A %d %B %Y, %H:%M}",
        "url": desk.product.url,
        "choices": CHOICES,
        "client_words": CLIENT_WORDS,
        "mentor_words": MENTOR_WORDS,
        "services": SERVICES,
        "local_time": local_time,
    }


def _dated(steps: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Steps in words, each with its day only where a new one begins."""
    day = ""
    for step in steps:
        at = datetime.fromisoformat(step["at"]).astimezone(ZONE)
        new_day = f"{at:%A %d %B}"
        yield {
            "told": _told(step),
            "time": f"{at:%H:%M:%S}",
            "day": new_day if new_day != day else "",
            "service": step["service"],
            "why": " ".join(filter(None, (step.get("why"), step.get("change")))),
        }
        day = new_day
