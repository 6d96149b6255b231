"""A worker's process, which is told to stop by a signal."""

from __future__ import annotations

import subprocess
import sys

from deploy.local.ports import free_ports

#: A loop to whose thread the signal is given, as to any of a process that stood still.
WORKER = """
import signal, sys, threading, time
from sqlalchemy import create_engine
from hosting.process import Turn, Worker

class Loop:
    name = "told"
    def step(self):
        # By then the main thread only waits for this one.
        time.sleep(0.5)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return False

database = create_engine("postgresql+psycopg://nobody@127.0.0.1:9/nothing")
Worker([Turn(loop=Loop(), rest_seconds=60.0)], database).run("127.0.0.1", int(sys.argv[1]))
"""


def test_a_worker_stops_whichever_thread_is_given_the_signal() -> None:
    [port] = free_ports(1)

    ended = subprocess.run([sys.executable, "-c", WORKER, str(port)], timeout=20, check=False)

    assert 0 == ended.returncode
