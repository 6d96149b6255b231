"""Does to real processes, engines, links and networks what a schedule says."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
import requests

from contracts.topics import TOPICS
from deploy.local.engines import Engines
from messaging.broker import Outgoing, Record, Written
from messaging.heartbeats import is_heartbeat
from messaging.kafka import KafkaWriter, read_to_the_end
from messaging.unavailable import Unavailable
from tests.fault.nemesis import WORKERS, Fault
from tests.fault.proxy import Proxy
from tests.fault.workers import SERVICES, Workers

#: So long may a worker finish what is in flight when it is told to end.
SECONDS_TO_END = 60.0
#: So long may an engine, as whoever supervises it would wait: a broker alone may take a minute.
SECONDS_TO_END_ENGINES = 5.0
#: So long may an engine take to be there again.
SECONDS_TO_RETURN = 60.0
#: An event of each service that both others react to: another's body cannot be read as its own.
HEARD = {
    "intake": b"ClientDischarged",
    "matching": b"MentorAssigned",
    "notifications": b"ReplyReceived",
}
_BACKEND = (
    "SELECT pid FROM pg_stat_activity WHERE usename = ANY(%s) AND backend_type = 'client backend'"
    " ORDER BY state = 'idle', md5(pid || %s) LIMIT 1"
)


@dataclass
class Harms:
    """A ``Harm``: ends only what the test has started, each by its own process."""

    engines: Engines
    proxy: Proxy
    workers: Workers
    #: In whose topic lies a record of this key that nobody can read.
    poisoned: dict[UUID, str] = field(default_factory=dict)
    doubled: Counter[str] = field(default_factory=Counter)
    #: Workers that ended though nobody had told or made them to.
    fell: list[str] = field(default_factory=list)
    _away: set[str] = field(default_factory=set)
    #: Since when an engine has been told to end.
    _told: dict[str, float] = field(default_factory=dict)
    _stopped: dict[Fault, int] = field(default_factory=dict)
    _ending: dict[str, tuple[float, bool]] = field(default_factory=dict)
    _writing: list[Future[None]] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def begin(self, fault: Fault) -> None:
        """See ``Harm``."""
        what, _, how = fault.kind.rpartition(" ")
        if fault.kind == "more workers":
            for name in WORKERS[fault.target][1:]:
                # One that was told to end before may be at it still.
                if name not in self._ending:
                    self.workers.worker(name)
        elif what == "worker":
            self._harm_worker(fault, how)
        elif fault.kind == "link":
            self.proxy.fail(fault.target, fault.detail)
        elif how == "trouble":
            self._order(fault)
        elif fault.kind == "records doubled":
            self._writing.append(self._pool.submit(self._double, fault))
        elif fault.kind == "record poisoned":
            self._writing.append(self._pool.submit(self._poison, fault))
        elif what == "backend":
            self._harm_backend(fault, how)
        else:
            self._harm_engine(fault, how)

    def end(self, fault: Fault) -> None:
        """See ``Harm``."""
        self._wake(fault)
        if fault.kind == "worker killed" and fault.target in self._away:
            self._away.discard(fault.target)
            self.workers.worker(fault.target)
        elif fault.kind == "more workers":
            for name in WORKERS[fault.target][1:]:
                self._let_go(name, killed=fault.detail == "killed")
        elif fault.kind == "link":
            self.proxy.fail(fault.target, None)
        elif fault.target in ("kafka", "postgres") and not fault.kind.endswith("stopped"):
            self._away.discard(fault.target)

    def tend(self) -> None:
        """Start again what has ended by now, and is not meant to be away."""
        for name, (since, comes_again) in list(self._ending.items()):
            if self.workers.running[name].poll() is not None:
                del self._ending[name]
                del self.workers.running[name]
                if comes_again:
                    self.workers.worker(name)
            elif time.monotonic() - since > SECONDS_TO_END:
                raise AssertionError(f"{name} does not end when it is told to")
        for name, process in self.workers.running.items():
            if name not in self._away and name not in self._ending and process.poll() is not None:
                self.fell.append(f"{name} ended by itself ({process.returncode})")
                self.workers.worker(name)
        for name in ("kafka", "postgres"):
            self._tend_engine(name)

    def _tend_engine(self, name: str) -> None:
        engine = self._engine(name)
        if engine.process.poll() is None:
            if time.monotonic() - self._told.get(name, float("inf")) > SECONDS_TO_END_ENGINES:
                engine.process.kill()
        elif name not in self._away:
            self._told.pop(name, None)
            engine.launch()

    def heal(self) -> None:
        """Let everything go right; returns when engines and workers are there again."""
        self.proxy.heal()
        for fault in list(self._stopped):
            self._wake(fault)
        self._away.clear()
        requests.put(f"{self._sandbox}/faults", json=[], timeout=10).raise_for_status()
        deadline = time.monotonic() + SECONDS_TO_RETURN
        engines: list[Any] = [self.engines.postgres, self.engines.kafka]
        while self._ending or not all(engine.is_ready() for engine in engines):
            self.tend()
            assert time.monotonic() < deadline + SECONDS_TO_END, "an engine does not come back"
            time.sleep(0.2)
        for written in self._writing:
            written.result()
        self._pool.shutdown()

    def _harm_worker(self, fault: Fault, how: str) -> None:
        process = self.workers.running[fault.target]
        if fault.target in self._ending or process.poll() is not None:
            # It is still at what it was told before.
            return
        if how == "killed":
            self._away.add(fault.target)
            self.workers.kill(fault.target)
        elif how == "stopped":
            self._stop(fault, process.pid)
        else:
            self._let_go(fault.target, comes_again=True)

    def _let_go(self, name: str, *, killed: bool = False, comes_again: bool = False) -> None:
        process = self.workers.running.get(name)
        if process is None or name in self._ending:
            return
        self.workers.count(name)
        process.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
        self._ending[name] = (time.monotonic(), comes_again)

    def _harm_backend(self, fault: Fault, how: str) -> None:
        """One connection that is at work, if any is."""
        try:
            with psycopg.connect(
                self.engines.postgres.admin_url.replace("+psycopg", ""), connect_timeout=2
            ) as conn:
                row = conn.execute(_BACKEND, [list(SERVICES), str(fault.chance)]).fetchone()
                if row is not None and how == "ended":
                    conn.execute("SELECT pg_terminate_backend(%s)", [row[0]])
        except psycopg.Error:
            # All of them are away already.
            return
        if row is not None and how == "stopped":
            self._stop(fault, int(row[0]))

    def _harm_engine(self, fault: Fault, how: str) -> None:
        engine = self._engine(fault.target)
        if engine.process.poll() is not None:
            return
        if how == "stopped":
            self._stop(fault, engine.process.pid)
            return
        self._away.add(fault.target)
        self._told[fault.target] = time.monotonic()
        engine.process.send_signal(signal.SIGKILL if how == "killed" else engine.child.stop_signal)

    def _stop(self, fault: Fault, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            return
        self._stopped[fault] = pid

    def _wake(self, fault: Fault) -> None:
        pid = self._stopped.pop(fault, None)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _order(self, fault: Fault) -> None:
        """The next few messages meet this trouble, after what was ordered before."""
        chance = random.Random(fault.chance)
        ordered = requests.get(f"{self._sandbox}/faults", timeout=10).json()
        more = {
            "channel": fault.target,
            "kind": fault.detail,
            "times": chance.randint(1, 4),
            "seconds": 3,
        }
        found = requests.put(f"{self._sandbox}/faults", json=[*ordered, more], timeout=10)
        found.raise_for_status()

    def _double(self, fault: Fault) -> None:
        """Records that lie in a topic come once more."""
        chance = random.Random(fault.chance)
        records = self._lying(fault.target)
        again = chance.sample(records, min(len(records), chance.randint(1, 20)))
        # Those of one key keep their order no more than a relay's would that began anew.
        self.doubled[fault.target] += len(again)
        self._write([sent_again(record) for record in again])

    def _poison(self, fault: Fault) -> None:
        """A record that nobody can read comes, of a subject that does not exist."""
        chance = random.Random(fault.chance)
        key = uuid4()
        headers = []
        value = b"{"
        if fault.detail == "bad body":
            heard = ("ce_type", HEARD[fault.target])
            like = [one for one in self._lying(fault.target) if heard in one.headers]
            if like:
                headers = list(chance.choice(like).headers)
        elif fault.detail == "huge":
            value = b"[" * 400_000
        elif fault.detail == "not text":
            value, headers = b"\xff\x00", [("ce_id", b"\xff"), ("ce_type", b"\xfe")]
        topic = TOPICS[fault.target].name
        self._write([Outgoing(topic=topic, key=str(key).encode(), value=value, headers=headers)])
        self.poisoned[key] = fault.target

    def parked_for_good(self) -> set[tuple[str, UUID]]:
        """Who has to set which key aside: both readers of the topic that was poisoned."""
        return {
            (reader, key)
            for key, publisher in self.poisoned.items()
            for reader in SERVICES
            if reader != publisher
        }

    def _lying(self, publisher: str) -> list[Record]:
        return self._until_there(
            lambda: [
                one
                for one in read_to_the_end(self._servers, TOPICS[publisher], {})
                if not is_heartbeat(one)
            ]
        )

    def _write(self, records: list[Outgoing]) -> None:
        writer = KafkaWriter(self._servers, "nemesis")
        try:
            for record in records:
                # One that is in doubt is sent again: then it has come twice, which does no harm.
                self._until_there(lambda record=record: _sent(writer, record))  # type: ignore[misc]
        finally:
            writer.close()

    @staticmethod
    def _until_there(what: Callable[[], Any]) -> Any:
        """The broker may be away when it is to be harmed through what lies in it."""
        deadline = time.monotonic() + SECONDS_TO_RETURN
        while True:
            try:
                return what()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def _engine(self, name: str) -> Any:
        return self.engines.kafka if name == "kafka" else self.engines.postgres

    @property
    def _servers(self) -> str:
        return self.engines.settings["KAFKA_SERVERS"]

    @property
    def _sandbox(self) -> str:
        return self.engines.settings["SANDBOX_URL"]


def _sent(writer: KafkaWriter, record: Outgoing) -> None:
    [outcome] = writer.send([record])
    if not isinstance(outcome, Written):
        raise Unavailable("the broker did not take it") from outcome


def sent_again(record: Record) -> Outgoing:
    """A record as it is sent once more, to where its key belongs."""
    return Outgoing(
        topic=record.topic, key=record.key, value=record.value or b"", headers=record.headers
    )
