"""The page with everybody's mailbox and phone, and the same as JSON."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, url_for
from markupsafe import Markup, escape
from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema
from werkzeug.wrappers import Response as AnyResponse

from deploy.sandbox.faults import KINDS, PHASES, PHASES_WITH_RECIPIENT, Fault
from deploy.sandbox.parts import Sandbox
from deploy.sandbox.spool import EMAIL, SMS, Entry, Message, iso, same_address

MOST_PEOPLE_SHOWN = 200
LINK = re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?')\]]")
MAIL_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
NUMBER_FORM = validate.Regexp(r"\+[1-9][0-9]{6,14}\Z", error="Write it as +15035550123.")


class FaultSchema(Schema):
    """A fault as it is ordered."""

    channel = fields.String(required=True, validate=validate.OneOf(list(KINDS)))
    kind = fields.String(required=True)
    times = fields.Integer(validate=validate.Range(min=1))
    to = fields.String(allow_none=True)
    seconds = fields.Float(validate=validate.Range(min=0, max=600))

    @validates_schema
    def check_kind(self, data: Mapping[str, Any], **_: Any) -> None:
        """A channel has its own kinds, and some come before the recipient is known."""
        if data["kind"] not in KINDS[data["channel"]]:
            raise ValidationError("The page lists the kinds of each channel.", "kind")
        phase = data["kind"].partition("-")[0]
        if phase in PHASES and phase not in PHASES_WITH_RECIPIENT and data.get("to"):
            raise ValidationError("The recipient is not known in this phase.", "to")

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Fault:
        """The fault itself."""
        return Fault(**data)


class ReplySchema(Schema):
    """What a phone answers."""

    sender = fields.String(required=True, data_key="from", validate=NUMBER_FORM)
    text = fields.String(required=True, validate=validate.Length(min=1, max=1600))


@dataclass(frozen=True, kw_only=True)
class Person:
    """A mailbox or phone as the page lists it; its key says nothing to an outsider."""

    key: str
    channel: str
    address: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """One message of a conversation, with what has become of it."""

    message: Message
    status: str
    text: Markup


def pages(sandbox: Sandbox) -> Blueprint:
    """The routes of the page and its JSON."""
    spool, faults, phones = sandbox.spool, sandbox.faults, sandbox.phones
    routes = Blueprint("pages", __name__)

    @routes.get("/")
    def show() -> str:
        return page(request.args.get("who", ""))

    @routes.post("/")
    def answer_by_form() -> AnyResponse | tuple[str, int]:
        number, text = request.form.get("from", ""), request.form.get("text", "")
        key = key_of(SMS, number)
        trouble = trouble_with(number, text)
        if trouble is None:
            return redirect(url_for("pages.show", who=key) + "#latest", 303)
        return page(key, trouble=trouble), 422

    def trouble_with(number: str, text: str) -> str | None:
        if ReplySchema().validate({"from": number, "text": text}):
            return "Write an answer of 1 to 1600 letters."
        replied = phones.reply(number, text)
        return None if replied.is_taken else f"The answer did not arrive. {replied.trouble}"

    def page(key: str, trouble: str = "") -> str:
        people = people_of(spool.entries())
        person = next((one for one in people if one.key == key), None)
        return render_template(
            "sandbox.html",
            people=people[:MOST_PEOPLE_SHOWN],
            people_count=len(people),
            person=person,
            lines=list(lines_with(person)) if person else [],
            trouble=trouble,
            watch=request.args.get("watch") == "1",
            faults=faults.all(),
            kinds=KINDS,
            has_desk=sandbox.settings.desk is not None,
        )

    def lines_with(person: Person) -> Iterator[Line]:
        for entry in spool.entries():
            if entry.channel == person.channel and entry.person == person.address:
                message = spool.read(entry)
                status = spool.state(entry).status
                yield Line(message=message, status=status, text=linked(message.body))

    @routes.get("/mail/<mail_id>.html")
    def html_part(mail_id: str) -> Response:
        response = Response(find_mail(mail_id).html, mimetype="text/html")
        response.headers["Content-Security-Policy"] = MAIL_POLICY
        return response

    @routes.get("/mail/<mail_id>.txt")
    def source(mail_id: str) -> Response:
        mail = find_mail(mail_id).source.encode("utf-8", "surrogateescape")
        return Response(mail, mimetype="text/plain")

    def find_mail(mail_id: str) -> Message:
        entry = spool.entry(mail_id)
        if entry is None or entry.channel != EMAIL:
            abort(404)
        return spool.read(entry)

    @routes.get("/messages.json")
    def messages() -> Response:
        # A plus sign that nobody escaped arrives as a space.
        to = same_address(request.args.get("to", "").replace(" ", "+"))
        channel = request.args.get("channel", "")
        wanted = (
            entry
            for entry in spool.entries()
            if not entry.inbound and to in ("", entry.person) and channel in ("", entry.channel)
        )
        return jsonify([as_json(message) for message in spool.read_all(wanted)])

    @routes.post("/replies")
    def reply() -> tuple[Response, int]:
        given: Any = request.get_json(silent=True) if request.is_json else request.form.to_dict()
        try:
            wanted = ReplySchema().load(given)
        except ValidationError as error:
            return problem(422, "The reply can't be sent.", errors=error.messages)
        replied = phones.reply(wanted["sender"], wanted["text"])
        if replied.is_taken:
            return jsonify({"id": replied.id}), 202
        return problem(502, replied.trouble, id=replied.id)

    @routes.get("/faults")
    def list_faults() -> Response:
        return jsonify([asdict(fault) for fault in faults.all()])

    @routes.put("/faults")
    def put_faults() -> Response | tuple[Response, int]:
        given: Any = request.get_json(silent=True)
        try:
            faults.put(FaultSchema(many=True).load(given))
        except ValidationError as error:
            return problem(422, "The faults can't be ordered.", errors=error.messages)
        return list_faults()

    @routes.delete("/faults")
    def delete_faults() -> tuple[str, int]:
        faults.put([])
        return "", 204

    return routes


def problem(status: int, detail: str, **more: Any) -> tuple[Response, int]:
    """An error of RFC 9457."""
    response = jsonify({"status": status, "title": detail, **more})
    response.mimetype = "application/problem+json"
    return response, status


def as_json(message: Message) -> dict[str, Any]:
    """A message as others read it."""
    return {
        "id": message.id,
        "channel": message.channel,
        "to": message.to,
        "from": message.sender,
        "subject": message.subject,
        "body": message.body,
        "received_at": iso(message.received_at),
        "message_id": senders_id(message),
    }


def senders_id(message: Message) -> str | None:
    """The sender's own id: of a mail in its Message-ID, of a text in the callback's ``m``."""
    if message.channel == EMAIL:
        found = re.search(r"^Message-ID: *<([^@>]+)@", message.source, re.MULTILINE | re.IGNORECASE)
        return found.group(1) if found else None
    return next(iter(parse_qs(urlsplit(message.callback).query).get("m", [])), None)


def people_of(entries: Iterable[Entry]) -> list[Person]:
    """Everybody who has a message, the one with the newest first."""
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        whose = (entry.channel, entry.person)
        counts[whose] = counts.pop(whose, 0) + 1
    return [
        Person(key=key_of(*whose), channel=whose[0], address=whose[1], count=count)
        for whose, count in reversed(counts.items())
    ]


def key_of(channel: str, address: str) -> str:
    """What stands for a mailbox or phone in an address of the page."""
    return hashlib.sha256(f"{channel}:{same_address(address)}".encode()).hexdigest()[:16]


def linked(text: str) -> Markup:
    """A text with its links made clickable, and everything else as it is."""
    pieces, end = [], 0
    for link in LINK.finditer(text):
        pieces += [
            escape(text[end : link.start()]),
            Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(
                link.group()
            ),
        ]
        end = link.end()
    return Markup("").join([*pieces, escape(text[end:])])
