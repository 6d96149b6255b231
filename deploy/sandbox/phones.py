"""What the text-message network posts to the product: receipts, and what phones answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from queue import PriorityQueue
from urllib.parse import urldefrag, urlencode, urlsplit

from deploy.sandbox.clock import Now
from deploy.sandbox.settings import LOOPBACK_NAMES, Account
from deploy.sandbox.spool import SMS, Message, Spool, State, new_id

FORM = "application/x-www-form-urlencoded"
API_VERSION = "2010-04-01"
TIMEOUT_SECONDS = 10
#: Between a network's taking a text and its first receipt; real phones take longer.
A_PHONE_TAKES_SECONDS = 0.3
RECEIPT_PAUSES_SECONDS = (0.5, 2.0, 5.0)
REPLY_PAUSES_SECONDS = (0.0, 0.3, 1.0)
LONGEST_NAP_SECONDS = 0.05
THREADS = 4
NO_ANSWER = 0
UNDELIVERED_CODE = 30003

STOP_WORDS = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"}
)
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
FINAL = frozenset({"delivered", "undelivered"})

ORDERS = {
    "receipt-duplicated": ("sent", "sent", "delivered", "delivered"),
    "receipt-reordered": ("delivered", "sent"),
    "receipt-lost": (),
    "undelivered": ("sent", "undelivered"),
}
USUAL_ORDER = ("sent", "delivered")


def signature(token: str, url: str, params: Mapping[str, str]) -> str:
    """The value of X-Twilio-Signature: the url and the sorted form, under the account's token."""
    signed = url + "".join(name + params[name] for name in sorted(params))
    digest = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")


def is_near(url: str, reply_webhook: str) -> bool:
    """Whether a webhook is on this machine or beside the product, so that nothing leaves."""
    parts = urlsplit(url)
    near = LOOPBACK_NAMES | {urlsplit(reply_webhook).hostname}
    return parts.scheme == "http" and parts.hostname in near


def post_signed(url: str, params: Mapping[str, str], token: str) -> int:
    """Post a form to a webhook once; its status, or NO_ANSWER."""
    # Twilio's own settings for a webhook stand behind the #, which is never sent.
    address = urldefrag(url).url
    parts = urlsplit(address)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Content-Type": FORM, "X-Twilio-Signature": signature(token, address, params)}
    connection = HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", target, urlencode(params), headers)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return NO_ANSWER
    finally:
        connection.close()


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The receipts that a text is owed, and the trouble ordered for them."""

    message: Message
    fault: str = ""

    @property
    def statuses(self) -> tuple[str, ...]:
        """What to post, in this order."""
        return ORDERS.get(self.fault, USUAL_ORDER)


@dataclass(frozen=True, order=True)
class _Turn:
    due: float
    number: int
    receipt: Receipt = field(compare=False)
    step: int = field(compare=False, default=0)
    attempt: int = field(compare=False, default=0)


class Receipts:
    """Posts the receipts of accepted texts from threads of its own, each text's in order."""

    def __init__(self, *, spool: Spool, account: Account, now: Now) -> None:
        self._spool = spool
        self._account = account
        self._now = now
        self._queue: PriorityQueue[_Turn] = PriorityQueue()
        self._numbers = itertools.count()

    def start(self) -> None:
        """Start posting, first what was still owed when the sandbox last stopped."""
        for entry in self._spool.entries():
            is_owed = self._spool.state(entry).status not in FINAL
            if entry.channel == SMS and not entry.inbound and is_owed:
                self.put(Receipt(message=self._spool.read(entry)))
        for _ in range(THREADS):
            threading.Thread(target=self._run, daemon=True).start()

    def put(self, receipt: Receipt) -> None:
        """Post these receipts soon."""
        if receipt.statuses:
            due = time.monotonic() + A_PHONE_TAKES_SECONDS
            self._queue.put(_Turn(due, next(self._numbers), receipt))
        else:
            self._note(receipt.message.id, "delivered")

    def post(self, receipt: Receipt) -> None:
        """Post the receipts of one text now, each once."""
        for status in receipt.statuses:
            self._post(receipt, status)

    def _run(self) -> None:
        while True:
            turn = self._queue.get()
            wait = turn.due - time.monotonic()
            if wait > 0:
                self._queue.put(turn)
                time.sleep(min(wait, LONGEST_NAP_SECONDS))
            else:
                self._take(turn)

    def _take(self, turn: _Turn) -> None:
        is_settled = self._post(turn.receipt, turn.receipt.statuses[turn.step])
        # A webhook that is away must not hold up the receipts of everybody else.
        if not is_settled and turn.attempt < len(RECEIPT_PAUSES_SECONDS):
            due = time.monotonic() + RECEIPT_PAUSES_SECONDS[turn.attempt]
            self._queue.put(replace(turn, due=due, attempt=turn.attempt + 1))
        elif turn.step + 1 < len(turn.receipt.statuses):
            self._queue.put(replace(turn, step=turn.step + 1, attempt=0))

    def _note(self, message_id: str, status: str) -> None:
        entry = self._spool.entry(message_id)
        state = self._spool.state(entry) if entry else None
        if state is None or state.status in FINAL:
            return
        code = UNDELIVERED_CODE if status == "undelivered" else None
        self._spool.note(
            message_id,
            replace(state, status=status, at=self._now(), error_code=code),
        )

    def _token_for(self, receipt: Receipt) -> str:
        wrong = receipt.fault == "receipt-wrong-signature"
        return new_id("wrong") if wrong else self._account.token

    def _post(self, receipt: Receipt, status: str) -> bool:
        message = receipt.message
        self._note(message.id, status)
        if not message.callback:
            return True
        params = {
            "MessageSid": message.id,
            "SmsSid": message.id,
            "MessageStatus": status,
            "SmsStatus": status,
            "To": message.to,
            "From": message.sender,
            "AccountSid": self._account.sid,
            "ApiVersion": API_VERSION,
        }
        if status == "undelivered":
            params["ErrorCode"] = str(UNDELIVERED_CODE)
        answer = post_signed(message.callback, params, self._token_for(receipt))
        return NO_ANSWER < answer < 500


@dataclass(frozen=True, kw_only=True)
class Replied:
    """A phone's answer, and what the product's webhook said to it."""

    id: str
    webhook_status: int

    @property
    def is_taken(self) -> bool:
        """Whether the product has it."""
        return 200 <= self.webhook_status < 300

    @property
    def trouble(self) -> str:
        """Why the product does not have it."""
        if self.webhook_status == NO_ANSWER:
            return "The reply webhook could not be reached."
        return f"The reply webhook answered {self.webhook_status}."


class Phones:
    """The phones of everybody, which can answer the number that the product sends from."""

    def __init__(self, *, spool: Spool, account: Account, now: Now, webhook: str) -> None:
        self._spool = spool
        self._account = account
        self._now = now
        self._webhook = webhook
        self._stopped: set[str] = set()
        for entry in spool.entries():
            if entry.inbound:
                self._hear(spool.read(entry))

    def reply(self, number: str, text: str) -> Replied:
        """Let a phone send a text to the product."""
        message = Message(
            id=new_id("SM"),
            channel=SMS,
            to=self._account.number,
            sender=number,
            body=text,
            received_at=self._now(),
            inbound=True,
        )
        self._spool.add([message])
        self._hear(message)
        replied = Replied(id=message.id, webhook_status=self._post(message))
        status = "received" if replied.is_taken else "failed"
        self._spool.note(message.id, State(status=status, at=self._now()))
        return replied

    def has_opted_out(self, number: str) -> bool:
        """Whether the last keyword that this phone sent was one that stops texts."""
        return number in self._stopped

    def _hear(self, message: Message) -> None:
        word = message.body.strip().upper()
        if word in STOP_WORDS:
            self._stopped.add(message.sender)
        elif word in START_WORDS:
            self._stopped.discard(message.sender)

    def _post(self, message: Message) -> int:
        params = {
            "MessageSid": message.id,
            "SmsSid": message.id,
            "AccountSid": self._account.sid,
            "From": message.sender,
            "To": message.to,
            "Body": message.body,
            "NumMedia": "0",
            "NumSegments": "1",
            "ApiVersion": API_VERSION,
        }
        for pause in REPLY_PAUSES_SECONDS:
            time.sleep(pause)
            answer = post_signed(self._webhook, params, self._account.token)
            if answer != NO_ANSWER:
                return answer
        return NO_ANSWER
