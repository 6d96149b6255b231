"""Mail servers and a network for texts: ``python -m bench.peers FILE``, and a port for each.

Two of them read no more than they must, so that the pace of a sender is its own. Another is
aiosmtpd, which keeps to the whole of the protocol as servers do, and the last writes each mail to a
disk before it says that it has it, as RFC 5321 (section 6.1) wants of a server.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from aiosmtpd.smtp import SMTP

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_SENT = count()


class MailPeer(asyncio.Protocol):
    """Says yes to every command, and to every mail."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._rest, self._in_mail = transport, b"", False
        transport.write(b"220 peer\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._rest += data
        while True:
            end = b"\r\n.\r\n" if self._in_mail else b"\r\n"
            said, found, rest = self._rest.partition(end)
            if not found:
                return
            self._rest = rest
            is_data = not self._in_mail and said[:4].upper() == b"DATA"
            self._transport.write(b"354 go on\r\n" if is_data else b"250 yes\r\n")
            self._in_mail = is_data


class TextPeer(asyncio.Protocol):
    """Takes every text for sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._rest = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._rest += data
        while True:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if not found or len(rest) < size:
                return
            self._rest = rest[size:]
            body = b'{"sid": "SM%d"}' % next(_SENT)
            self._transport.write(
                b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )


class _Accepts:
    """What aiosmtpd does with a mail that it has read."""

    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802
        """Keep nothing of it."""
        return "250 yes"


class _Keeps:
    """The same, where what was accepted must not be lost."""

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Write it down first."""
        self._spool.write(envelope.content)
        os.fsync(self._spool.fileno())
        return "250 yes"


async def serve(spool: BinaryIO, mail: int, whole: int, keeping: int, texts: int) -> None:
    """All of them, at these ports, until they are told to stop."""
    loop = asyncio.get_running_loop()
    await loop.create_server(MailPeer, "127.0.0.1", mail)
    for port, handler in ((whole, _Accepts()), (keeping, _Keeps(spool))):
        peer = partial(SMTP, handler, hostname="peer", loop=loop)
        await loop.create_server(peer, "127.0.0.1", port)
    await loop.create_server(TextPeer, "127.0.0.1", texts)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("ab", buffering=0) as file:
        asyncio.run(serve(file, *map(int, sys.argv[2:])))
