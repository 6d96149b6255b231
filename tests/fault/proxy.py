"""A TCP proxy between two processes, which can be told to fail as networks do.

One thread serves all links. What a link is told takes hold at once, of open connections as well.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any

#: What a link can be told, beside nothing.
FAULTS = ("delay", "cut", "reset", "swallow", "refuse")
#: How often a piece that passes a link which cuts is cut.
CUTS_ONE_IN = 8
#: By how much a link that delays holds up each piece, at most.
DELAY_SECONDS = 0.3
_PIECE = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)

_Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """What lies between one client and one server; made by ``Proxy.link``."""

    def __init__(self, name: str, port: int, target: int) -> None:
        self.name = name
        self.port = port
        self._target = target
        self._chance = random.Random(name)
        self._fault: str | None = None
        self._listening: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        #: How often something came of each fault: one that meets no traffic tests nothing.
        self.struck: Counter[str] = Counter()

    async def listen(self) -> None:
        """Take connections from now on."""
        if self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port))
            self._listening.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    async def fail(self, fault: str | None) -> None:
        """Fail in this way from now on, or in none."""
        before, self._fault = self._fault, fault
        # The answers that were swallowed are gone for good, so those connections are over.
        if fault in ("reset", "refuse") or before == "swallow":
            self._reset_all()
        if fault == "refuse":
            self.struck["refuse"] += 1
            self._listen_no_more()
        else:
            await self.listen()

    async def close(self) -> None:
        """Hang up everywhere, and listen no more."""
        self._reset_all()
        self._listen_no_more()

    def _listen_no_more(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    def _accept(self, listening: socket.socket) -> None:
        # In one go: what waits for a connection can be cancelled when it has just got one, and
        # nobody would ever close that.
        try:
            opened, _ = listening.accept()
        except BlockingIOError:
            # Whoever asked has hung up meanwhile.
            return
        serving = asyncio.get_running_loop().create_task(self._serve(opened))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    def _reset_all(self) -> None:
        for writer in list(self._open):
            self.struck["reset"] += self._fault == "reset"
            _reset(writer)

    async def _serve(self, opened: socket.socket) -> None:
        """Carry both ways until either side has hung up."""
        reader, writer = await asyncio.open_connection(sock=opened)
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(there)
            ways = {
                asyncio.ensure_future(self._carry((reader, there), to_server=True)),
                asyncio.ensure_future(self._carry((answers, writer), to_server=False)),
            }
            _, other = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in other:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            # The server is away: whoever asks sees a connection that ends at once.
            pass
        finally:
            for one in (writer, there):
                if one is not None:
                    self._open.discard(one)
                    _reset(one) if self._fault == "reset" else one.close()

    async def _carry(self, pipe: _Pipe, *, to_server: bool) -> None:
        """Pass on what comes this way, as far as the link does."""
        reader, writer = pipe
        while piece := await reader.read(_PIECE):
            fault = self._fault
            if fault == "delay":
                self.struck[fault] += 1
                await asyncio.sleep(self._chance.uniform(0, DELAY_SECONDS))
            elif fault == "swallow" and not to_server:
                self.struck[fault] += 1
                continue
            elif fault == "reset":
                self.struck[fault] += 1
                return
            elif fault == "cut" and self._chance.randrange(CUTS_ONE_IN) == 0:
                self.struck[fault] += 1
                writer.write(piece[: self._chance.randrange(len(piece))])
                await writer.drain()
                return
            writer.write(piece)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let the other side see that the connection was reset, and not that it was closed."""
    opened = writer.get_extra_info("socket")
    if opened is not None and opened.fileno() >= 0:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


class Proxy:
    """All links of a test, and the thread that serves them."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def link(self, name: str, port: int, target: int) -> Link:
        """A new link: whoever connects to ``port`` reaches ``target``."""
        link = self.links[name] = Link(name, port, target)
        self._do(link.listen())
        return link

    def fail(self, name: str, fault: str | None) -> None:
        """Let a link fail in this way, or in none."""
        self._do(self.links[name].fail(fault))

    def heal(self) -> None:
        """Let every link pass everything on."""
        for name in self.links:
            self.fail(name, None)

    def close(self) -> None:
        """End every link, and the thread."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        for link in self.links.values():
            await link.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)
