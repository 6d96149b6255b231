"""The mail server: takes any mail for anybody, and fails in the way it was asked to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, AnyStr

from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.sandbox.clock import Now
from deploy.sandbox.faults import ANSWERS, Fault, Faults
from deploy.sandbox.spool import EMAIL, Message, Spool, new_id

REPLIES = {
    "421": "421 4.3.2 Service not available, closing the connection",
    "450": "450 4.2.1 Try again later",
    "550": "550 5.1.1 Not accepted",
}
RECIPIENT = re.compile(r"<([^<>]*)>")
LARGEST_MAIL_BYTES = 10_000_000


class MailServer(SMTP):
    """One connection; every step first looks for a fault that was ordered for it."""

    def __init__(self, *, spool: Spool, faults: Faults, now: Now) -> None:
        super().__init__(
            _Mailbox(spool=spool, faults=faults, now=now),
            hostname="sandbox",
            ident="Sandbox mail",
            enable_SMTPUTF8=True,
            data_size_limit=LARGEST_MAIL_BYTES,
        )
        self._faults = faults
        self._has_greeted = False

    async def push(self, status: AnyStr) -> None:
        """Answer; the first answer of a connection is the greeting, which has no other hook."""
        if not self._has_greeted:
            self._has_greeted = True
            if await self._is_struck("connect"):
                await self.hang_up()
        await super().push(status)

    async def smtp_HELO(self, hostname: str) -> None:
        if not await self._is_struck("ehlo"):
            await super().smtp_HELO(hostname)

    async def smtp_EHLO(self, hostname: str) -> None:
        if not await self._is_struck("ehlo"):
            await super().smtp_EHLO(hostname)

    async def smtp_MAIL(self, arg: str | None) -> None:
        if not await self._is_struck("mail"):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        if not await self._is_struck("rcpt", RECIPIENT.findall(arg or "")):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:
        recipients = self.envelope.rcpt_tos if self.envelope else []
        if await self._is_struck("data", recipients):
            return
        if self._faults.take(EMAIL, ["body-550"], recipients):
            await self._refuse_while_the_mail_is_sent()
        await super().smtp_DATA(arg)

    async def smtp_QUIT(self, arg: str) -> None:
        if not await self._is_struck("quit"):
            await super().smtp_QUIT(arg)

    async def answer_with(self, fault: Fault) -> None:
        """Say what the fault says, and hang up where the protocol wants it."""
        answer = fault.kind.rpartition("-")[2]
        if answer in REPLIES:
            await self.push(REPLIES[answer])
        if answer not in ("450", "550"):
            await self.hang_up()

    async def hang_up(self) -> None:
        """End the connection; losing it cancels the task that waits here."""
        assert self.transport is not None
        self.transport.close()
        await asyncio.Event().wait()

    async def _is_struck(self, phase: str, to: Collection[str] = ()) -> bool:
        fault = self._faults.take(EMAIL, [f"{phase}-{answer}" for answer in ANSWERS], to)
        if fault is None:
            return False
        if fault.kind.endswith("-delay"):
            await asyncio.sleep(fault.seconds)
            return False
        await self.answer_with(fault)
        return True

    async def _refuse_while_the_mail_is_sent(self) -> None:
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        await self.push(REPLIES["550"])
        # Closing with the mail unread would reset the connection and take the answer with it.
        assert self._reader is not None
        while await self._reader.readuntil(b"\r\n") != b".\r\n":
            pass
        await self.hang_up()


class _Mailbox:
    def __init__(self, *, spool: Spool, faults: Faults, now: Now) -> None:
        self._spool = spool
        self._faults = faults
        self._now = now

    async def handle_DATA(self, server: MailServer, session: Session, envelope: Envelope) -> str:
        """Answer the final dot: the mail is on disk before it is accepted."""
        refusals = [f"dot-{code}" for code in REPLIES] + ["dot-drop"]
        refused = self._faults.take(EMAIL, refusals, envelope.rcpt_tos)
        if refused:
            if refused.kind in ("dot-421", "dot-drop"):
                await server.answer_with(refused)
            return REPLIES[refused.kind.rpartition("-")[2]]
        await asyncio.to_thread(self._store, envelope)
        stored = self._faults.take(
            EMAIL, ["dot-drop-after-storing", "dot-delay"], envelope.rcpt_tos
        )
        if stored and stored.kind == "dot-drop-after-storing":
            await server.hang_up()
        if stored:
            await asyncio.sleep(stored.seconds)
        return "250 2.0.0 Stored"

    def _store(self, envelope: Envelope) -> None:
        source = envelope.original_content or b""
        at = self._now()
        self._spool.add([mail_to(recipient, source, at) for recipient in envelope.rcpt_tos])


def mail_to(recipient: str, source: bytes, at: datetime) -> Message:
    """A mail as one of its recipients reads it."""
    mail: EmailMessage = message_from_bytes(source, policy=default)
    return Message(
        id=new_id("EM"),
        channel=EMAIL,
        to=recipient,
        sender=str(mail["From"] or ""),
        subject=str(mail["Subject"] or ""),
        body=_text_of(mail.get_body(("plain",))),
        html=_text_of(mail.get_body(("html",))),
        source=source.decode("utf-8", "surrogateescape"),
        received_at=at,
    )


def _text_of(part: Any) -> str:
    if part is None:
        return ""
    try:
        text = str(part.get_content())
    except LookupError:
        # The charset has a name that nobody knows; most of the text is likely to be legible.
        text = part.get_payload(decode=True).decode("utf-8", "replace")
    return text.replace("\r\n", "\n")
