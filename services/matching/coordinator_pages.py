"""The pages of coordinators: the roster, its files, and where each client stands."""

from __future__ import annotations

from flask import Blueprint

from messaging.work import Participant
from services.matching.client_pages import add_clients
from services.matching.load_pages import add_loads
from services.matching.page_parts import TEMPLATES
from services.matching.roster_pages import add_roster


def make_coordinator_pages(participant: Participant) -> Blueprint:
    """The blueprint; who is signed in has one facility, and sees nothing of another one."""
    pages = Blueprint("coordinators", __name__, template_folder=str(TEMPLATES))
    add_roster(pages, participant)
    add_loads(pages, participant)
    add_clients(pages, participant)
    return pages
