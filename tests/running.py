"""The whole product on this machine, started as a newcomer starts it, for tests to live in."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import NullPool, create_engine, text

from deploy.local import settings as local_settings
from deploy.local.children import CHECKOUT, started_at, tied
from deploy.local.doors import asked
from deploy.local.ports import free_ports
from hosting.clock import Clock
from tests.house import a_discharge

#: The shared machine of a continuous integration may be slow; a person's is not.
SECONDS_TO_START = 180.0
SECONDS_TO_STOP = 25.0
SECONDS_OF_A_COMMAND = 60.0


def eventually(
    look: Callable[[], Any], *, seconds: float = 30.0, otherwise: Callable[[], str] | str = ""
) -> Any:
    """What the look finds, once it finds anything; fails with a sentence when it never does."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            said = otherwise if isinstance(otherwise, str) else otherwise()
            raise AssertionError(f"not within {seconds:g} s: {said}")
        time.sleep(0.1)
    return found


class Running:
    """One run of ``python -m deploy.local`` on a data folder; see the module."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.var = folder
        self._environment = environment
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._ever: set[tuple[int, str | None]] = set()

    def start(self) -> float:
        """Start it and wait for its ready line; the seconds that took."""
        began = time.monotonic()
        with self._output.open("wb") as output:
            process = self._process = subprocess.Popen(
                tied([sys.executable, "-m", "deploy.local"], signal.SIGTERM),
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Not a session of its own: the kernel wakes a stopped group, and hangs up on it,
                # when its parent in the same session ends. A signal alone would wait for ever.
                process_group=0,
            )
        eventually(
            lambda: process.poll() is not None or "Warm Handoff is ready: " in self.output,
            seconds=SECONDS_TO_START,
            otherwise=lambda: self.output,
        )
        assert process.poll() is None, self.output
        self._remember()
        return time.monotonic() - began

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and see that it ended well and left nothing behind."""
        assert self._process is not None
        self._remember()
        self._process.send_signal(by)
        code = self._process.wait(SECONDS_TO_STOP)
        self._process = None
        assert 0 == code, self.output
        assert not (self.var / "run.json").exists()
        assert [] == self.left_over()

    def give_up(self) -> None:
        """End what a failed test left running."""
        if self._process is None:
            return
        self._remember()
        for pid, started in self._ever:
            if started is not None and started_at(pid) == started:
                os.kill(pid, signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def left_over(self) -> list[str]:
        """Processes in the sessions of any process that this run ever recorded."""
        sessions = {pid for pid, _ in self._ever}
        return [f"{pid} {name}" for pid, session, name in _processes() if session in sessions]

    @property
    def environment(self) -> dict[str, str]:
        """What the run and every command beside it are started with."""
        chosen = {"WARM_HANDOFF_VAR": str(self.var), "WARM_HANDOFF_PORT": str(self._port)}
        # Tests count what they have made themselves; those of the examples ask for them.
        chosen["WARM_HANDOFF_EXAMPLES"] = "0"
        return {**os.environ, **chosen, **self._environment}

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    @property
    def access(self) -> dict[str, Any]:
        """``access.json``."""
        found: dict[str, Any] = json.loads((self.var / "access.json").read_text())
        return found

    @property
    def settings(self) -> dict[str, str]:
        """``settings.env``."""
        return local_settings.read(self.var / "settings.env")

    def services(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m services ...`` beside it, as an operator does."""
        command = [sys.executable, "-X", "faulthandler", "-m", "services", *arguments]
        with subprocess.Popen(
            tied(command, signal.SIGKILL),
            cwd=CHECKOUT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                said, complained = process.communicate(timeout=SECONDS_OF_A_COMMAND)
            except subprocess.TimeoutExpired:
                # The command then says where in its code it hangs.
                process.send_signal(signal.SIGABRT)
                said, complained = process.communicate()
                raise AssertionError(f"{arguments} hangs:\n{said}{complained}") from None
        return subprocess.CompletedProcess(arguments, process.returncode, said, complained)

    def api(
        self, method: str, path: str, body: Any = None, *, facility: str = "north"
    ) -> requests.Response:
        """Call the API with a facility's token."""
        return requests.request(
            method,
            f"{self.access['url']}{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.access['api_tokens'][facility]}"},
            timeout=30,
        )

    def register(self, **changes: Any) -> str:
        """Enter a discharge; its id."""
        body = a_discharge(self.now(), **changes)
        answer = self.api("POST", "/api/discharges", body, facility=body["facility"])
        assert 202 == answer.status_code, answer.text
        return str(answer.json()["id"])

    def story(self, discharge_id: str, facility: str = "north") -> dict[str, Any]:
        """The story of a discharge."""
        answer = self.api("GET", f"/api/discharges/{discharge_id}", facility=facility)
        assert 200 == answer.status_code, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait_for(
        self, discharge_id: str, *states: str, facility: str = "north", seconds: float = 30.0
    ) -> dict[str, Any]:
        """The story, once it is in one of these states."""

        def look() -> dict[str, Any] | None:
            story = self.story(discharge_id, facility)
            return story if story["state"] in states else None

        found: dict[str, Any] = eventually(
            look,
            seconds=seconds,
            otherwise=lambda: f"{states}: {self.story(discharge_id, facility)}",
        )
        return found

    def tasks(self, facility: str = "north") -> list[dict[str, Any]]:
        """The open tasks of a facility."""
        found: list[dict[str, Any]] = self.api("GET", "/api/tasks", facility=facility).json()
        return found

    def messages(self, to: str | None = None) -> list[dict[str, Any]]:
        """What lies in the sandbox, of everybody or of one address."""
        query = {"to": to} if to else {}
        answer = requests.get(f"{self._sandbox}/messages.json", params=query, timeout=30)
        found: list[dict[str, Any]] = answer.json()
        return found

    def message(self, to: str, words: str, seconds: float = 30.0) -> dict[str, Any]:
        """The newest message to an address that holds these words, once there is one."""
        found: list[dict[str, Any]] = eventually(
            lambda: [m for m in self.messages(to) if words in m["body"]],
            seconds=seconds,
            otherwise=lambda: f"{words!r} among {[m['body'] for m in self.messages(to)]}",
        )
        return found[-1]

    def reply(self, number: str, words: str) -> None:
        """A phone answers."""
        body = {"from": number, "text": words}
        requests.post(f"{self._sandbox}/replies", json=body, timeout=30).raise_for_status()

    def sent(self, discharge_id: str, purpose: str, *, facility: str = "north") -> dict[str, Any]:
        """The newest message of a purpose that was sent for a discharge, once there is one."""
        ids = eventually(
            lambda: asked(self.story(discharge_id, facility), purpose),
            otherwise=lambda: f"no {purpose}: {self.story(discharge_id, facility)}",
        )
        return next(one for one in self.messages() if one["message_id"] == ids[-1])

    def card_of(self, discharge_id: str, *, facility: str = "north") -> tuple[str, str]:
        """The link that the mentor of a discharge was sent, and its code."""
        card = self.sent(discharge_id, "card", facility=facility)
        alone = self.sent(discharge_id, "card_code", facility=facility)
        link = re.search(r"https?://\S+", card["body"])
        code = re.search(r"\b\d{6}\b", alone["body"])
        assert link and code
        return link[0], code[0]

    def order(self, *faults: Mapping[str, Any]) -> None:
        """Trouble for the next messages, in place of what was ordered before."""
        answer = requests.put(f"{self._sandbox}/faults", json=list(faults), timeout=30)
        answer.raise_for_status()

    def faults(self) -> list[dict[str, Any]]:
        """The trouble that was ordered and has not happened yet."""
        found: list[dict[str, Any]] = requests.get(f"{self._sandbox}/faults", timeout=30).json()
        return found

    def now(self) -> Any:
        """The product's time."""
        engine = create_engine(self.settings["INTAKE_ACCESS_URL"])
        try:
            return Clock(engine, mode="sandbox").now()
        finally:
            engine.dispose()

    def sql(self, service: str, statement: str, **values: Any) -> list[Any]:
        """Run a statement in a service's database; its rows, if it gives any."""
        url = self.settings[f"{service.upper()}_DATABASE_URL"]
        # A lock that nobody lets go of fails the test; it does not hang it.
        limits = {"connect_timeout": 10, "options": "-c statement_timeout=30s"}
        engine = create_engine(url, poolclass=NullPool, connect_args=limits)
        with engine.begin() as conn:
            result = conn.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def metric(self, process: str, name: str) -> float:
        """The sum of a process's samples of this name."""
        lines = requests.get(self.access["metrics"][process], timeout=10).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def pid(self, name: str) -> int:
        """The process that the run records under a name."""
        self._remember()
        children = json.loads((self.var / "run.json").read_text())["children"]
        return int(next(child["pid"] for child in children if child["name"] == name))

    def kill(self, name: str, by: signal.Signals = signal.SIGKILL) -> None:
        """Send a process of the run a signal."""
        os.kill(self.pid(name), by)

    @contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        """Meanwhile a process is there and answers nothing."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def without(self, name: str, by: signal.Signals = signal.SIGINT) -> Iterator[None]:
        """Meanwhile a process is gone; afterwards the supervisor finds that and starts it."""
        assert self._process is not None
        pid = self.pid(name)
        self._process.send_signal(signal.SIGSTOP)
        try:
            os.kill(pid, by)
            eventually(lambda: started_at(pid) is None, otherwise=f"{name} does not end")
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)
        eventually(lambda: self.pid(name) != pid, otherwise=f"{name} was not started again")
        eventually(self._answers, seconds=60, otherwise="the doors do not open again")

    def _answers(self) -> bool:
        """Whether the front door, what is behind it and the sandbox are open."""
        url = self.access["url"]
        doors = [f"{url}{door}/readyz" for door in ("", "/matching", "/messages")]
        try:
            answers = [requests.get(u, timeout=5) for u in (*doors, f"{self._sandbox}/faults")]
        except requests.RequestException:
            return False
        return {200} == {answer.status_code for answer in answers}

    @property
    def _sandbox(self) -> str:
        return str(self.access["sandbox_url"])

    @property
    def _output(self) -> Path:
        return self.var / "output.txt"

    def _remember(self) -> None:
        """What was recorded as started, so that it can be looked for afterwards."""
        try:
            record = json.loads((self.var / "run.json").read_text())
        except FileNotFoundError:
            # A run that ended before its first child has recorded nothing.
            return
        self._ever |= {(child["pid"], child["started"]) for child in record["children"]}


def _processes() -> Iterator[tuple[int, int, str]]:
    """Pid, session and name of every process that is not just a remainder."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = stat.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, _, session, *_ = rest.split()
        if state != "Z":
            yield int(stat.parent.name), int(session), head.partition("(")[2]


@contextmanager
def a_running_system(**environment: str) -> Iterator[Running]:
    """The product on a data folder of its own; whatever the tests did, nothing is left."""
    with tempfile.TemporaryDirectory(prefix="warm-handoff-") as folder:
        # The engines' unprivileged user must be able to pass.
        Path(folder).chmod(0o755)
        running = Running(Path(folder), **environment)
        try:
            running.start()
            yield running
            if running._process is not None:
                running.stop()
        finally:
            running.give_up()
