"""Child processes: how one is described, started, told apart from others, and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.trouble import Trouble

CHECKOUT = Path(__file__).resolve().parents[2]
#: Python runs one thread at a time, so that its threads may take memory from one place; several
#: are each kept as large as the largest need was.
ALLOCATING = {"MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process that is kept running; lower stages are stopped first, each stage at once."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Settings of ours that it is not given: other services' keys are none of its business.
    hidden: frozenset[str] = frozenset()
    stop_signal: signal.Signals = signal.SIGTERM
    stage: int = 0


class DidNotStart(Trouble):
    """A process ended, or did not become ready in time; the message shows its last lines."""


def start(child: Child, logs: Path) -> subprocess.Popen[bytes]:
    """Call it from a thread that lives as long as the child should.

    The kernel ties a child to the thread that started it, not to the process.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with log_of(child, logs).open("ab") as log:
        return subprocess.Popen(
            tied(child.command, child.stop_signal),
            cwd=CHECKOUT,
            env={
                name: value
                for name, value in {**os.environ, **child.environment}.items()
                if name not in child.hidden
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def tied(command: Iterable[str], at_parents_end: signal.Signals) -> list[str]:
    return [
        *(sys.executable, "-m", "deploy.local.tied"),
        *(str(os.getpid()), str(int(at_parents_end)), "--"),
        *command,
    ]


def run_once(command: list[str]) -> None:
    ran = subprocess.run(
        tied(command, signal.SIGTERM),
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if ran.returncode != 0:
        raise DidNotStart(f"{Path(command[0]).name} failed:\n{ran.stdout}{ran.stderr}")


def log_of(child: Child, logs: Path) -> Path:
    return logs / f"{child.name}.log"


def last_lines(log: Path, count: int = 20) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64_000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])


def set_aside(logs: Path) -> None:
    """Keep the logs of the run before this one, and of no other."""
    for log in logs.glob("*.log"):
        log.rename(log.with_suffix(".log.previous"))


def wait_until_ready(
    child: Child,
    process: subprocess.Popen[bytes],
    is_ready: Callable[[], bool],
    logs: Path,
    seconds: float = 60,
) -> None:
    deadline = time.monotonic() + seconds
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop([(child, process)], seconds=5)
            raise DidNotStart(f"{child.name} did not start:\n{last_lines(log_of(child, logs))}")
        time.sleep(0.05)


def stop(running: Iterable[tuple[Child, subprocess.Popen[bytes]]], seconds: float) -> None:
    """Ask all of them to end, wait for all of them together, and kill those that stay."""
    running = list(running)
    deadline = time.monotonic() + seconds
    for child, process in running:
        if process.poll() is None:
            process.send_signal(child.stop_signal)
    for _, process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def started_at(pid: int) -> str | None:
    """When the process started, in the kernel's ticks; None if there is no such process.

    Together with the pid it names one process for ever, for pids are used again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name in brackets, may itself hold blanks and brackets.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def is_process_started_near(pid: int, moment: float) -> bool:
    """Whether the process was started within seconds of a moment, in seconds since 1970."""
    ticks = started_at(pid)
    if ticks is None:
        return False
    booted = next(
        float(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    )
    return abs(booted + int(ticks) / os.sysconf("SC_CLK_TCK") - moment) < 10
