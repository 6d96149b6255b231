"""Matching put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from flask import Flask

from hosting.ops_pages import make_ops_pages
from hosting.service import Foundation, lay_foundation
from hosting.settings import ServiceSettings, read
from messaging.work import Participant
from services.matching.coordinator_pages import make_coordinator_pages
from services.matching.handlers import ON, TIMERS
from services.matching.loading import RosterLoader
from services.matching.measuring import measure_offers
from services.matching.placing import place_seekers
from services.matching.store import Store
from services.menu import MENU
from services.operating import OPERATORS, PLACES

NAME = "matching"
PREFIX = "/matching"


@dataclass(frozen=True, kw_only=True)
class Matching:
    """The service, ready to be run as web or worker."""

    foundation: Foundation
    participant: Participant

    def web(self) -> Flask:
        """The pages of coordinators, and of operations."""
        ops = make_ops_pages(self.participant, PREFIX, may=OPERATORS, menu=MENU, places=PLACES)
        return self.foundation.web(PREFIX, [make_coordinator_pages(self.participant), ops])

    def worker(self) -> None:
        """Relay, consumer, timers, metrics, and the loader of roster files."""
        loader = RosterLoader(self.participant)
        self.foundation.run_worker(self.participant, measures=[measure_offers], unhurried=[loader])


def build(environ: Mapping[str, str] | None = None) -> Matching:
    """The service from an environment, its own by default; raises ``SettingsError``."""
    foundation = lay_foundation(NAME, read(ServiceSettings, NAME, environ))
    participant = foundation.participant(
        on=ON, timers=TIMERS, open_store=partial(Store, kept={}), settle=place_seekers
    )
    return Matching(foundation=foundation, participant=participant)


def web() -> Flask:
    """The app for gunicorn."""
    return build().web()
