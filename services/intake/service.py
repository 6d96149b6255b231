"""Intake put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Blueprint, Flask

from hosting.accounts import Accounts
from hosting.database import engine_for
from hosting.ops_pages import make_ops_pages
from hosting.service import Foundation, lay_foundation
from hosting.settings import read
from hosting.sign_in import make_sign_in
from messaging.work import Participant
from services.intake.api import make_api
from services.intake.commands import Desk
from services.intake.conserving import Conserving
from services.intake.flow_pages import make_flow_pages
from services.intake.handlers import KEEPS, ON, TIMERS
from services.intake.measuring import measure_discharges, measure_tasks
from services.intake.settings import IntakeSettings, read_processes
from services.intake.staff_pages import make_staff_pages
from services.intake.store import Store
from services.menu import MENU
from services.operating import OPERATORS, PLACES

NAME = "intake"
PREFIX = ""


@dataclass(frozen=True, kw_only=True)
class Intake:
    """The service, ready to be run as web or worker."""

    foundation: Foundation
    participant: Participant
    processes: Mapping[str, str]
    settings: IntakeSettings

    @property
    def desk(self) -> Desk:
        """Where commands are carried out."""
        return Desk(participant=self.participant, tokens=self.foundation.tokens)

    def web(self) -> Flask:
        """The two doors, and the pages of staff and of operations with their sign-in."""
        mode = self.foundation.settings.mode
        blueprints = [make_api(self.desk, mode=mode), make_staff_pages(self.desk, self.accounts)]
        return self.foundation.web(
            PREFIX, [*blueprints, *self.ops_pages(), make_sign_in(self.accounts)]
        )

    def ops_pages(self) -> list[Blueprint]:
        """The flow, and what every service shows of itself."""
        return [
            make_flow_pages(
                self.participant, self.processes, self.foundation.settings.kafka_servers
            ),
            make_ops_pages(self.participant, PREFIX, may=OPERATORS, menu=MENU, places=PLACES),
        ]

    @property
    def accounts(self) -> Accounts:
        """Who may sign in."""
        return Accounts(access=self.foundation.access, tokens=self.foundation.tokens)

    def worker(self) -> None:
        """Relay, consumer, timers and metrics."""
        # A story need not be told within milliseconds; the hand-over itself needs the engines.
        measures = [measure_discharges, measure_tasks]
        # Whoever sends messages has to know that nobody has taken their consent back.
        settings = self.settings
        others = (engine_for(url) for url in (settings.matching_url, settings.notifications_url))
        self.foundation.run_worker(
            self.participant,
            measures=measures,
            seldom=[Conserving(self.participant, *others)],
            hears_after=0.2,
            beats=True,
        )


def build(environ: Mapping[str, str] | None = None) -> Intake:
    """The service from an environment, its own by default; raises ``SettingsError``."""
    settings = read(IntakeSettings, NAME, environ)
    foundation = lay_foundation(NAME, settings)
    participant = foundation.participant(on=ON, timers=TIMERS, open_store=Store, keeps=KEEPS)
    processes = read_processes(settings.processes)
    return Intake(
        foundation=foundation, participant=participant, processes=processes, settings=settings
    )


def web() -> Flask:
    """The app for gunicorn."""
    return build().web()
