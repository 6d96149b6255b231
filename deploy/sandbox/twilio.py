"""The server of the Twilio Messages API: sends, reads and lists texts, and fails on demand."""

from __future__ import annotations

import hmac
import re
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request

from deploy.sandbox.faults import CALL_KINDS, RECEIPT_KINDS, Fault
from deploy.sandbox.parts import Sandbox
from deploy.sandbox.phones import API_VERSION, Receipt, is_near
from deploy.sandbox.resources import Page, Refused, list_json, message_json
from deploy.sandbox.settings import Account, Settings
from deploy.sandbox.spool import SMS, Entry, Message, State, new_id, same_address

NUMBER = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
LONGEST_TEXT = 1600
LARGEST_PAGE = 1000

BAD_TO = (21211, "The 'To' number is not a valid phone number.")
BAD_FROM = (21212, "The 'From' number is not a valid phone number.")
NOT_OWNED = (21606, "The 'From' number is not owned by your account.")
OPTED_OUT = (21610, "Attempt to send to unsubscribed recipient")
MAGIC_TO = {
    "+15005550001": BAD_TO,
    "+15005550002": (21612, "The 'To' number is not reachable from the 'From' number."),
    "+15005550003": (21408, "Sending to the region of the 'To' number is not enabled."),
    "+15005550004": OPTED_OUT,
    "+15005550009": (21614, "The 'To' number is not a valid mobile number."),
}
MAGIC_FROM = {
    "+15005550001": BAD_FROM,
    "+15005550007": NOT_OWNED,
    "+15005550008": (21611, "The 'From' number has exceeded its queue of messages."),
}
MAGIC_FROM_TAKEN = "+15005550006"

REFUSALS = {
    "429": (429, 20429, "Too Many Requests"),
    "500": (500, 20500, "An internal server error has occurred"),
    "503": (503, 20503, "Service unavailable"),
}
AFTER_STORING = frozenset(CALL_KINDS) - frozenset(REFUSALS) - {"opt-out"}


def twilio_api(sandbox: Sandbox) -> Blueprint:
    """The routes of the API for one account."""
    api = Blueprint("twilio", __name__, url_prefix=f"/{API_VERSION}/Accounts/<account_sid>")

    @api.before_request
    def know_the_account() -> None:
        if not is_known(request.authorization, request.view_args, sandbox.settings.account):
            raise Refused(401, 20003, "Authenticate")

    @api.errorhandler(Refused)
    def say_no(refused: Refused) -> Response:
        response = jsonify(refused.as_json())
        response.status_code = refused.status
        if refused.code == 20003:
            response.headers["WWW-Authenticate"] = 'Basic realm="Twilio API"'
        if refused.code == 20429:
            response.headers["Retry-After"] = "1"
        return response

    @api.post("/Messages.json")
    def create(account_sid: str) -> Response:
        return send(sandbox)

    @api.get("/Messages.json")
    def index(account_sid: str) -> Response:
        return find(sandbox)

    @api.get("/Messages/<sid>.json")
    def fetch(account_sid: str, sid: str) -> Response:
        return jsonify(as_json(sandbox, find_text(sandbox, sid)))

    @api.post("/Messages/<sid>.json")
    def update(account_sid: str, sid: str) -> Response:
        return redact(sandbox, find_text(sandbox, sid))

    return api


def is_known(given: Any, path: dict[str, Any] | None, account: Account) -> bool:
    """Whether the caller is the account that the path names."""
    if given is None or given.type != "basic":
        return False
    has_token = hmac.compare_digest((given.password or "").encode(), account.token.encode())
    return has_token and given.username == account.sid == (path or {}).get("account_sid")


def send(sandbox: Sandbox) -> Response:
    """Take a text for a phone."""
    to = request.form.get("To", "")
    trouble = sandbox.faults.take(SMS, REFUSALS, [to])
    if trouble:
        raise Refused(*REFUSALS[trouble.kind])
    message = read_message(request.form, sandbox.settings, sandbox.now())
    if sandbox.phones.has_opted_out(to) and sandbox.faults.take(SMS, ["opt-out"], [to]):
        raise refused(*OPTED_OUT)
    sandbox.spool.add([message])
    return accept(sandbox, message)


def accept(sandbox: Sandbox, message: Message) -> Response:
    """Answer for a text that is stored, and see to its receipts."""
    state = State(status="queued", at=message.received_at)
    response = jsonify(message_json(message, state, sandbox.settings.account))
    response.status_code = 201
    trouble = sandbox.faults.take(SMS, AFTER_STORING, [message.to])
    receipt_trouble = sandbox.faults.take(SMS, RECEIPT_KINDS, [message.to])
    receipt = Receipt(message=message, fault=receipt_trouble.kind if receipt_trouble else "")
    if receipt.fault == "receipt-before-response":
        sandbox.receipts.post(receipt)
    elif trouble:
        sandbox.receipts.put(receipt)
    else:
        response.call_on_close(lambda: sandbox.receipts.put(receipt))
    return spoil(response, trouble) if trouble else response


def spoil(response: Response, trouble: Fault) -> Response:
    """The answer for a text that is stored, made useless in the way that was ordered."""
    if trouble.kind == "stall":
        time.sleep(trouble.seconds)
    if trouble.kind == "broken-json":
        whole = response.get_data()
        response.set_data(whole[: len(whole) // 2])
    if trouble.kind == "drop-after-storing":
        request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return response


def find(sandbox: Sandbox) -> Response:
    """List texts, newest first."""
    page = read_page(request.args)
    newest_first = reversed(sandbox.spool.entries())
    wanted = [entry for entry in newest_first if is_wanted(entry, request.args)]
    return jsonify(
        list_json(
            page=page,
            found=len(wanted),
            messages=[as_json(sandbox, entry) for entry in page.cut(wanted)],
            path=request.path,
            query=request.args.to_dict(),
        )
    )


def redact(sandbox: Sandbox, entry: Entry) -> Response:
    """Forget what a text said, as far as the API shows it; the phone has it already."""
    if request.form.get("Status") == "canceled":
        raise refused(30409, "The message is not scheduled, so it cannot be canceled.")
    if request.form.get("Body") != "":
        raise refused(20001, "Only an empty Body or the Status canceled can be set.")
    state = sandbox.spool.state(entry)
    sandbox.spool.note(entry.id, replace(state, at=sandbox.now(), is_redacted=True))
    return jsonify(as_json(sandbox, entry))


def find_text(sandbox: Sandbox, sid: str) -> Entry:
    """The text with this id."""
    entry = sandbox.spool.entry(sid)
    if entry is None or entry.channel != SMS:
        raise Refused(404, 20404, "The requested resource was not found")
    return entry


def as_json(sandbox: Sandbox, entry: Entry) -> dict[str, Any]:
    """A text as the API shows it."""
    spool = sandbox.spool
    return message_json(spool.read(entry), spool.state(entry), sandbox.settings.account)


def refused(code: int, message: str) -> Refused:
    """The usual refusal: the call itself is at fault."""
    return Refused(400, code, message)


def read_message(form: Any, settings: Settings, at: datetime) -> Message:
    """The text that a call asks for, or the reason why it can't be sent."""
    to, sender, body = form.get("To", ""), form.get("From", ""), form.get("Body", "")
    callback = form.get("StatusCallback", "")
    if not to:
        raise refused(21604, "A 'To' phone number is required.")
    if not sender:
        raise refused(21603, "A 'From' phone number is required.")
    if not body:
        raise refused(21602, "Message body is required.")
    if len(body) > LONGEST_TEXT:
        raise refused(21617, "The message body is longer than 1600 characters.")
    if to in MAGIC_TO:
        raise refused(*MAGIC_TO[to])
    if not NUMBER.fullmatch(to):
        raise refused(*BAD_TO)
    if sender in MAGIC_FROM:
        raise refused(*MAGIC_FROM[sender])
    if not NUMBER.fullmatch(sender):
        raise refused(*BAD_FROM)
    if sender not in (settings.account.number, MAGIC_FROM_TAKEN):
        raise refused(*NOT_OWNED)
    if callback and not is_near(callback, settings.reply_webhook):
        raise refused(21609, "The 'StatusCallback' is not an http URL beside the sandbox.")
    return Message(
        id=new_id("SM"),
        channel=SMS,
        to=to,
        sender=sender,
        body=body,
        received_at=at,
        callback=callback,
    )


def read_page(args: Any) -> Page:
    """The page that a list call asks for."""
    try:
        page = Page(number=int(args.get("Page", 0)), size=int(args.get("PageSize", 50)))
    except ValueError:
        raise refused(20001, "Page and PageSize must be numbers.") from None
    if page.number < 0 or not 0 < page.size <= LARGEST_PAGE:
        raise refused(20001, "Page or PageSize is out of range.")
    return page


def is_wanted(entry: Entry, args: Any) -> bool:
    """Whether a message passes the filters of a list call."""
    sent_at = entry.received_at
    return (
        entry.channel == SMS
        and same_number(args.get("To"), entry.to)
        and same_number(args.get("From"), entry.sender)
        and ("DateSent" not in args or sent_at.date() == moment(args["DateSent"]).date())
        and ("DateSent<" not in args or sent_at <= moment(args["DateSent<"]))
        and ("DateSent>" not in args or sent_at >= moment(args["DateSent>"]))
    )


def same_number(wanted: str | None, number: str) -> bool:
    """Whether a filter names this number; a plus sign that nobody escaped arrives as a space."""
    return not wanted or wanted.replace(" ", "+") == same_address(number)


def moment(text: str) -> datetime:
    """A day or a time of a filter, in UTC."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise refused(20001, "DateSent must be a date or a time of ISO 8601.") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)
