"""gunicorn for every service: one worker with threads, and a second port for metrics alone."""

import os

from prometheus_client import multiprocess

_SERVICE = os.environ["WARM_HANDOFF_SERVICE"]
_HOST = os.environ.get("WEB_HOST", "127.0.0.1")


def _port(kind: str, default: str) -> str:
    return os.environ.get(f"{_SERVICE.upper()}_{kind}_PORT", default)


bind = [f"{_HOST}:{_port('WEB', '8000')}", f"{_HOST}:{_port('WEB_METRICS', '9102')}"]
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "1"))
threads = 8
graceful_timeout = 8
# Longer than the front door keeps a connection: it must be the one that hangs up.
keepalive = 75
# Imports are shared between master and worker; nothing connects before the fork.
preload_app = True
# The socket would let the app's own user stop the server, and needs a writable home.
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
accesslog = None


def on_starting(server):
    """Let gunicorn's own lines go where everybody's go, and be redacted as they are."""
    from hosting.logs import set_up

    set_up(_SERVICE, "web")
    server.log.error_log.handlers.clear()
    server.log.error_log.propagate = True


def when_ready(server):
    """Before workers are made: they share what is there, and look through it no more."""
    from hosting.process import collect_seldom

    collect_seldom()


def child_exit(server, worker):
    """A dead worker's gauges go; its counters stay."""
    multiprocess.mark_process_dead(worker.pid)
