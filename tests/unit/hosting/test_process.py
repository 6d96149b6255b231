"""A worker's process, which is told to stop by a signal."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.local.ports import free_ports

#: A loop to whose thread the signal is given, as to any of a process that stood still, or that
#: finds the database to be another one.
WORKER = """
import signal, sys, threading, time
from sqlalchemy import create_engine
from hosting.process import Turn, Worker

from messaging.unavailable import AnotherDatabase

class Loop:
    name = "told"
    def step(self):
        # By then the main thread only waits for this one.
        time.sleep(0.5)
        {does}
        return False

class Other(Loop):
    name = "other"
    def step(self):
        return False

database = create_engine("postgresql+psycopg://nobody@127.0.0.1:9/nothing")
turns = [Turn(loop=loop, rest_seconds=60.0) for loop in (Loop(), Other())]
worker = Worker(turns, database)
worker.on_stop([{closers}])
worker.run("127.0.0.1", int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "does",
    ["signal.pthread_kill(threading.get_ident(), signal.SIGTERM)", "raise AnotherDatabase"],
)
def test_a_worker_stops_whichever_thread_is_told(does: str) -> None:
    [port] = free_ports(1)
    command = [sys.executable, "-c", WORKER.format(does=does, closers=""), str(port)]

    ended = subprocess.run(command, timeout=20, check=False)

    assert 0 == ended.returncode


def test_what_one_cannot_let_go_of_keeps_no_other_from_it() -> None:
    [port] = free_ports(1)
    closers = "lambda: print('one'), lambda: 1 / 0, lambda: print('three')"
    worker = WORKER.format(does="raise AnotherDatabase", closers=closers)

    ended = subprocess.run(
        [sys.executable, "-c", worker, str(port)],
        timeout=20,
        check=False,
        capture_output=True,
        text=True,
    )

    assert ["one", "three"] == ended.stdout.split()
    assert 0 != ended.returncode
    assert "ZeroDivisionError" in ended.stderr
