"""What the channel for e-mail makes of an address before the network hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes
from email.errors import MessageError
from email.policy import compat32, default
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.channels import Letter, Outcome
from services.notifications.channels.email import WIRE, SmtpChannel


class _Agreeable(StreamRequestHandler):
    """A mail server of the plainest kind, which says yes to all that it can read."""

    #: What it says once it has read a message.
    has_read = b"250 yes"

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            if line.startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                while self.rfile.readline() != b".\r\n":
                    pass
                self.wfile.write(self.has_read + b"\r\n")
            else:
                self.wfile.write(b"250 yes\r\n")


@contextmanager
def _channel(**how: Any) -> Iterator[SmtpChannel]:
    with ThreadingTCPServer(("127.0.0.1", 0), _Agreeable) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        port = server.server_address[1]
        try:
            with closing(
                SmtpChannel(host="127.0.0.1", port=port, sender="relay@bridge.example", **how)
            ) as channel:
                yield channel
        finally:
            server.shutdown()


def _send(channel: SmtpChannel, to: str) -> Outcome:
    return channel.send(Letter(message_id="m-1", to=to, subject="Hello", text="Hello"))


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        (b"250 yes", "accepted"),
        (b"252 perhaps", "accepted"),
        (b"451 later", "retry"),
        (b"554 never", "rejected"),
        (b"354 go on", "unknown"),
        (b"well", "unknown"),
    ],
)
def test_what_is_said_of_a_whole_message_decides_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch, says: bytes, kind: str
) -> None:
    monkeypatch.setattr(_Agreeable, "has_read", says)

    with _channel() as channel:
        assert kind == _send(channel, "sam@example.org").kind


@pytest.mark.parametrize("address", ["sám@example.org", "sam@exámple.org", "sam\udc80@example.org"])
def test_an_address_that_cannot_be_encoded_is_rejected_and_holds_up_no_other(address: str) -> None:
    with _channel() as channel:
        refused = _send(channel, address)
        following = _send(channel, "sam@example.org")

    assert ("rejected", "rcpt", "UnicodeEncodeError") == (
        refused.kind,
        refused.phase,
        refused.reason,
    )
    assert "accepted" == following.kind


@pytest.mark.parametrize("how", [{"in_clear": False}, {"user": "us", "password": "secret"}])
def test_nothing_goes_in_clear_that_must_not(how: dict[str, Any]) -> None:
    with _channel(**how) as channel:
        outcome = _send(channel, "sam@example.org")

    told = (outcome.kind, outcome.phase, outcome.reason)
    assert ("not_sent", "connect", "SMTPNotSupportedError") == told


def test_the_link_to_unsubscribe_is_on_one_line_as_it_is() -> None:
    link = f"https://bridge.example/messages/unsubscribe/{'0123456789abcdef' * 8}"
    letter = Letter(
        message_id="m-1",
        to="sam@example.org",
        subject="Hello",
        text="Hello",
        unsubscribe_link=link,
    )
    channel = SmtpChannel(host="127.0.0.1", port=25, sender="relay@bridge.example")

    assert f"\r\nList-Unsubscribe: <{link}>\r\n".encode() in channel.on_the_wire(letter)


def test_what_is_written_is_read_the_same_and_travels_as_ascii() -> None:
    letter = Letter(
        message_id="m-1",
        to="sam@example.org",
        subject="Una nota de Peña " + "y más " * 20,
        text="Hola, Peña.\n.\n--=_part\n--=_part--\n" + "sin fin " * 200,
        html="<p>Peña</p>",
    )
    wire = SmtpChannel(host="127.0.0.1", port=25, sender="relay@bridge.example").on_the_wire(letter)
    read = message_from_bytes(wire, policy=default)
    text, html = read.get_body(("plain",)), read.get_body(("html",))

    assert wire.isascii()
    assert max(len(line) for line in wire.split(b"\r\n")) <= 78
    assert letter.subject == read["Subject"]
    assert letter.text + "\n" == (text.get_content().replace("\r\n", "\n") if text else None)
    assert letter.html == (html.get_content().strip() if html else None)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_is_read_as_it_was_written(said: str) -> None:
    channel = SmtpChannel(host="127.0.0.1", port=25, sender="relay@bridge.example")
    letter = Letter(message_id="m-1", to="sam@example.org", subject="Hello", text=said, html=said)

    wire = channel.on_the_wire(letter)
    read = message_from_bytes(wire)
    parts = [part.get_payload(decode=True) for part in read.walk()]

    assert ("multipart/alternative" if said else "text/plain", "1.0") == (
        read.get_content_type(),
        read["MIME-Version"],
    )
    lines = said.encode().splitlines() or [b""]
    either = [b"".join(line + b"\r\n" for line in lines)] * (2 if said else 1)
    assert either == [part for part in parts if part is not None]
    assert wire.isascii()
    assert max(len(line) for line in wire.split(b"\r\n")) <= 78
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")
    # What stands at the end of a line and is not seen is taken away by some relays.
    assert not any(line.endswith((b" ", b"\t")) for line in wire.split(b"\r\n"))


def test_lines_travel_as_lines_and_no_line_is_the_boundary() -> None:
    said = "one\ntwo \n--=_part\n--part\n--\n"
    letter = Letter(message_id="m-1", to="sam@example.org", subject="Hello", text=said, html="<p>")

    wire = SmtpChannel(host="127.0.0.1", port=25, sender="relay@bridge.example").on_the_wire(letter)

    assert b"\r\n\r\none\r\ntwo=20\r\n--=3D_part\r\n--part\r\n--\r\n" in wire
    assert str(message_from_bytes(wire).get_boundary()).startswith("=_")


@given(st.text(max_size=90) | st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_header_that_fits_on_its_line_is_written_as_the_library_writes_it(value: str) -> None:
    def written(policy: Any) -> bytes | type[Exception]:
        try:
            return bytes(policy.fold_binary("Subject", value))
        except (UnicodeError, MessageError) as error:
            return type(error)

    assert written(compat32.clone(linesep="\r\n")) == written(WIRE)


def test_a_sender_may_have_a_name() -> None:
    letter = Letter(message_id="m-1", to="sam@example.org", subject="Hello", text="Hello")
    channel = SmtpChannel(host="127.0.0.1", port=25, sender="Bridge <relay@bridge.example>")

    read = message_from_bytes(channel.on_the_wire(letter), policy=default)

    assert ("Bridge <relay@bridge.example>", "<m-1@bridge.example>") == (
        read["From"],
        read["Message-ID"],
    )


def test_a_header_of_two_lines_leaves_with_nobody() -> None:
    letter = Letter(message_id="m-1", to="sam@example.org", subject="A\r\nBcc: x@y", text="Hello")

    with pytest.raises(MessageError):
        SmtpChannel(host="127.0.0.1", port=25, sender="relay@bridge.example").on_the_wire(letter)
