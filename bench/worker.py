"""A service's worker without its sender: ``python -m bench.worker SERVICE``."""

from __future__ import annotations

import cProfile
import importlib
import os
import pstats
import sys

from hosting.logs import set_up


def main(service: str) -> None:
    """Run until a signal; with BENCH_PROFILE set, write where the consumer's time went."""
    set_up(service, "worker")
    built = importlib.import_module(f"services.{service}.service").build()
    folder = os.environ.get("BENCH_PROFILE")
    if folder:
        _profile(built.participant, f"{folder}/{service}.txt")
    built.foundation.run_worker(built.participant)


def _profile(participant: object, path: str) -> None:
    from messaging import subscriber

    step = subscriber.Subscriber.step
    profile = cProfile.Profile()

    def profiled(self: subscriber.Subscriber) -> bool:
        profile.enable()
        try:
            return step(self)
        finally:
            profile.disable()
            with open(path, "w", encoding="utf-8") as file:
                pstats.Stats(profile, stream=file).sort_stats("tottime").print_stats(40)

    subscriber.Subscriber.step = profiled  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1])
