"""What the channel for e-mail makes of an address before the network hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from services.notifications.channels import Letter, Outcome
from services.notifications.channels.email import SmtpChannel


class _Agreeable(StreamRequestHandler):
    """A mail server of the plainest kind, which says yes to all that it can read."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            if line.startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                while self.rfile.readline() != b".\r\n":
                    pass
            self.wfile.write(b"250 yes\r\n")


@contextmanager
def _channel() -> Iterator[SmtpChannel]:
    with ThreadingTCPServer(("127.0.0.1", 0), _Agreeable) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        port = server.server_address[1]
        try:
            with closing(
                SmtpChannel(host="127.0.0.1", port=port, sender="relay@bridge.example")
            ) as channel:
                yield channel
        finally:
            server.shutdown()


def _send(channel: SmtpChannel, to: str) -> Outcome:
    return channel.send(Letter(message_id="m-1", to=to, subject="Hello", text="Hello"))


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
