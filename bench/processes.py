"""What processes take: memory and processor time, each with its children."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that it has started; nothing of one that has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def pss(pid: int) -> float:
    """Proportional memory of one process, in MB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        # A backend of PostgreSQL that has ended since it was listed.
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def pss_of_all(pid: int) -> float:
    """Proportional memory of a process and its children, in MB."""
    return sum(pss(member) for member in family(pid))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children, those that have ended included."""
    return sum(_ticks(member) for member in family(pid)) / _TICKS


def _ticks(pid: int) -> int:
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The name may hold spaces and brackets; what follows its last bracket has fixed places.
    return sum(int(n) for n in said.rpartition(")")[2].split()[11:15])
