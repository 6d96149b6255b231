"""A service's worker without its sender: ``python -m bench.worker SERVICE``."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

from bench.sampling import Sampler
from hosting.logs import set_up


def main(service: str) -> None:
    """Run until a signal; with BENCH_PROFILE set, write where the consumer's time went."""
    set_up(service, "worker")
    built = importlib.import_module(f"services.{service}.service").build()
    folder = os.environ.get("BENCH_PROFILE")
    taken = _sampled() if folder else []
    built.foundation.run_worker(built.participant)
    for sampler in taken:
        sampler.print_to(Path(folder or ".") / f"{service}.txt")


def _sampled() -> list[Sampler]:
    """Samples of the consumer from its first batch on, without those in which it waits for one."""
    from messaging import subscriber

    taken: list[Sampler] = []
    take = subscriber.Subscriber._take

    def sampled(self: subscriber.Subscriber, *given: object) -> None:
        if not taken:
            taken.append(Sampler(threading.get_ident()))
        taken[0].busy.set()
        try:
            take(self, *given)  # type: ignore[arg-type]
        finally:
            taken[0].busy.clear()

    subscriber.Subscriber._take = sampled  # type: ignore[method-assign]
    return taken


if __name__ == "__main__":
    main(sys.argv[1])
