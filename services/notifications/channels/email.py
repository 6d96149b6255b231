"""E-mail by SMTP, over one persistent connection, with the phase of every attempt."""

from __future__ import annotations

import smtplib
import ssl
from binascii import b2a_qp
from email.header import Header
from email.policy import Compat32
from email.utils import formatdate, parseaddr
from typing import Any

from services.notifications.channels import Kind, Letter, Outcome

_CONNECT_SECONDS = 10
#: RFC 5321 grants a server ten minutes to answer the final dot; hanging up sooner would make
#: an unknown of what was going well. Sandboxes and relays answer in seconds.
_FINAL_SECONDS = 120

_PART = (
    b'Content-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
)
#: No quoted-printable line holds the boundary: an equals sign is followed by two digits or ends it.
_EITHER = b'Content-Type: multipart/alternative; boundary="=_part"\r\n'
_BETWEEN, _AT_THE_END = b"\r\n--=_part\r\n", b"\r\n--=_part--\r\n"


class _Wire(Compat32):  # type: ignore[misc]
    """How a mail travels; what fits on its line as it is, is not looked at for where to fold it.

    The newer policies read every header again by the whole grammar of RFC 5322, which takes nine
    times as long as all the rest, and make encoded words of a long link, which no mail program
    takes for one that it may offer to unsubscribe by.
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
        """The line or lines of one header."""
        line = f"{name}: {value}"
        if type(value) is str and len(line) <= 78 and line.isascii() and line.isprintable():
            return f"{line}\r\n".encode()
        folded: bytes = super().fold_binary(name, value)
        return folded


WIRE = _Wire(linesep="\r\n")


class _OnOneLine(Header):
    """A header that is not folded: a link stays on the line of its name."""

    def encode(self, *args: Any, **options: Any) -> str:
        """The value, however long."""
        return super().encode(maxlinelen=0)


class SmtpChannel:
    """A ``Channel``."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: str,
        user: str = "",
        password: str = "",
        in_clear: bool = True,
    ) -> None:
        """``in_clear``: whether mail may go to a relay without TLS; a password never does."""
        self._host = host
        self._port = port
        self._sender = sender
        self._domain = parseaddr(sender)[1].rpartition("@")[2]
        self._login = (user, password) if user else None
        self._in_clear = in_clear and not user
        self._smtp: smtplib.SMTP | None = None

    def send(self, letter: Letter) -> Outcome:
        """One recipient, one transaction; anything from the body until a reply is unknown."""
        phase = "connect"
        try:
            message = self.on_the_wire(letter)
            smtp = self._connected()
            phase = "mail"
            code, _ = smtp.mail(self._sender)
            if code != 250:
                return self._refused(code, phase)
            phase = "rcpt"
            code, _ = smtp.rcpt(letter.to)
            if code not in (250, 251):
                return self._refused(code, phase)
            phase = "data"
            code, _ = smtp.docmd("DATA")
            if code != 354:
                return self._refused(code, phase)
            phase = "body"
            return self._finish(smtp, message)
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            # Never decided by the error's type: a connection that was cut looks the same before
            # and after the server took the message. Only how far we had come tells.
            self.close()
            kind: Kind = "unknown" if phase == "body" else "not_sent"
            if isinstance(error, UnicodeError) and phase in ("mail", "rcpt"):
                # Nothing has left, and an address that has no bytes will not have any later.
                kind = "rejected"
            return Outcome(kind=kind, phase=phase, reason=type(error).__name__)

    def close(self) -> None:
        """Hang up; what QUIT is answered changes nothing."""
        if self._smtp is not None:
            smtp, self._smtp = self._smtp, None
            smtp.close()

    def _finish(self, smtp: smtplib.SMTP, message: bytes) -> Outcome:
        assert smtp.sock is not None
        smtp.sock.settimeout(_FINAL_SECONDS)
        smtp.send(_dot_stuffed(message))
        code, _ = smtp.getreply()
        smtp.sock.settimeout(_CONNECT_SECONDS)
        if 200 <= code < 300:
            return Outcome(kind="accepted", phase="done")
        if 400 <= code < 600:
            return self._refused(code, "done")
        # All of it was said, and what this means nobody knows.
        self.close()
        return Outcome(kind="unknown", phase="body", reason=f"smtp_{code}")

    def _refused(self, code: int, phase: str) -> Outcome:
        """The server said no: for now, or for good."""
        self.close()
        kind: Kind = "rejected" if 500 <= code < 600 else "retry"
        return Outcome(kind=kind, phase=phase, reason=f"smtp_{code}")

    def _connected(self) -> smtplib.SMTP:
        """The connection; a stale one is noticed before anything of a message is said."""
        if self._smtp is not None:
            try:
                if self._smtp.noop()[0] == 250:
                    return self._smtp
            except (OSError, smtplib.SMTPException):
                pass
            self.close()
        smtp = smtplib.SMTP(timeout=_CONNECT_SECONDS)
        try:
            code, _ = smtp.connect(self._host, self._port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, b"")
            smtp.ehlo_or_helo_if_needed()
            if smtp.has_extn("starttls"):
                smtp.starttls(context=ssl.create_default_context())
                smtp.ehlo()
            elif not self._in_clear:
                raise smtplib.SMTPNotSupportedError("the relay offers no TLS")
            if self._login is not None:
                smtp.login(*self._login)
        except BaseException:
            smtp.close()
            raise
        self._smtp = smtp
        return smtp

    def on_the_wire(self, letter: Letter) -> bytes:
        """The mail as it travels, without the dot that ends it."""
        headers: dict[str, Any] = {
            "From": self._sender,
            "To": letter.to,
            "Subject": letter.subject,
            "Date": formatdate(),
            "Message-ID": f"<{letter.message_id}@{self._domain}>",
            "Auto-Submitted": "auto-generated",
            "MIME-Version": "1.0",
        }
        if letter.unsubscribe_link:
            headers["List-Unsubscribe"] = _OnOneLine(f"<{letter.unsubscribe_link}>")
            headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        head = b"".join(WIRE.fold_binary(name, value) for name, value in headers.items())
        plain = _part("plain", letter.text)
        if not letter.html:
            return head + plain
        either = b"".join(_BETWEEN + part for part in (plain, _part("html", letter.html)))
        return head + _EITHER + either + _AT_THE_END


def _part(kind: str, text: str) -> bytes:
    """One way to read a mail, in lines that survive every relay: none is too long for one."""
    lines = b"".join(line + b"\r\n" for line in text.encode().splitlines())
    return _PART % kind.encode() + b2a_qp(lines or b"\r\n")


def _dot_stuffed(message: bytes) -> bytes:
    """The body as it goes over the wire, with the final dot (RFC 5321, 4.5.2)."""
    body = b"\r\n".join(
        b"." + line if line.startswith(b".") else line for line in message.split(b"\r\n")
    )
    return body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n"
