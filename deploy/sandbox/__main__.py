"""Runs the sandbox until it is told to stop: `python -m deploy.sandbox`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading

from werkzeug.serving import make_server

from deploy.sandbox.app import QuietHandler, create_app
from deploy.sandbox.clock import sandbox_clock
from deploy.sandbox.parts import Sandbox, open_sandbox
from deploy.sandbox.settings import BadSettings, read_settings
from deploy.sandbox.smtp import MailServer
from deploy.sandbox.spool import SpoolDamaged, SpoolInUse

#: A thread that has an answer waits so long at most for one that computes.
SWITCH_SECONDS = 0.0005


class PortInUse(RuntimeError):
    """Something else listens where the sandbox was told to."""


def main() -> int:
    """Start both servers, and say why when that can't be."""
    # A network answers at once, whatever its page shows meanwhile.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings = read_settings(os.environ)
        sandbox = open_sandbox(settings, sandbox_clock(settings.clock_url))
        with (
            listen(settings.host, settings.port, "SANDBOX_PORT") as web,
            listen(settings.host, settings.smtp_port, "SANDBOX_SMTP_PORT") as mail,
        ):
            asyncio.run(serve(sandbox, web, mail))
    except (BadSettings, SpoolInUse, SpoolDamaged, PortInUse) as error:
        print(f"The sandbox can't start: {error}", file=sys.stderr)
        return 1
    return 0


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket, or an error that names the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise PortInUse(f"{setting} is {port} on {host}: {error.strerror}.") from None


async def serve(sandbox: Sandbox, web: socket.socket, mail: socket.socket) -> None:
    """Serve mail in this thread and the web in others, until SIGTERM or Ctrl-C."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = web.getsockname()[:2]
    web_server = make_server(
        host,
        port,
        create_app(sandbox),
        threaded=True,
        request_handler=QuietHandler,
        fd=web.fileno(),
    )
    threading.Thread(target=web_server.serve_forever, kwargs={"poll_interval": 0.1}).start()
    mail_server = await loop.create_server(
        lambda: MailServer(spool=sandbox.spool, faults=sandbox.faults, now=sandbox.now), sock=mail
    )
    sandbox.receipts.start()
    url_host = f"[{host}]" if ":" in host else host
    print(
        f"Sandbox is ready: http://{url_host}:{port} (mail on port {mail.getsockname()[1]})",
        flush=True,
    )
    await stop.wait()
    mail_server.close()
    await asyncio.to_thread(web_server.shutdown)


if __name__ == "__main__":
    sys.exit(main())
