"""Who runs on a data folder: a lock for now, and a record by which the next run cleans up."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from deploy.local import settings
from deploy.local.children import Child, started_at
from deploy.local.trouble import Trouble

SECONDS_TO_END = 10


@dataclass(frozen=True, kw_only=True)
class Started:
    """One process, named by its pid and the moment it started, and how it likes to be ended."""

    name: str
    pid: int
    started: str | None
    stop_signal: int

    @classmethod
    def by(cls, child: Child, pid: int) -> Self:
        stop_signal = int(child.stop_signal)
        return cls(name=child.name, pid=pid, started=started_at(pid), stop_signal=stop_signal)

    @property
    def is_alive(self) -> bool:
        return self.started is not None and started_at(self.pid) == self.started


@contextmanager
def locked(var: Path) -> Iterator[None]:
    """Hold the data folder for this process; the kernel lets go of it whatever happens to us."""
    var.mkdir(parents=True, exist_ok=True)
    with (var / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(f"Warm Handoff already runs on {var}: {address(var)}") from None
        yield


def address(var: Path) -> str:
    try:
        return settings.read(var / "settings.env")["PUBLIC_URL"]
    except (FileNotFoundError, KeyError):
        return "it is just starting"


def write(var: Path, started: Iterable[Started]) -> None:
    supervisor = {"pid": os.getpid(), "started": started_at(os.getpid())}
    record = {"supervisor": supervisor, "children": [asdict(process) for process in started]}
    settings.write_privately(var / "run.json", json.dumps(record, indent=1))


def forget(var: Path) -> None:
    (var / "run.json").unlink(missing_ok=True)


def end_abandoned(var: Path) -> list[str]:
    """End what a supervisor that was killed has left here, and nothing else; say what it was."""
    try:
        record = json.loads((var / "run.json").read_text())
    except FileNotFoundError:
        return []
    left = [Started(**process) for process in record["children"]]
    left = [process for process in left if process.is_alive]
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process.pid, process.stop_signal)
    deadline = time.monotonic() + SECONDS_TO_END
    while any(process.is_alive for process in left) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        if process.is_alive:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    forget(var)
    return [process.name for process in left]
