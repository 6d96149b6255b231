"""The pages of notifications: webhooks of networks, answers, and those of mentors."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint

from messaging.work import Participant
from services.notifications.answer_pages import add_answers
from services.notifications.door import Door, add_door
from services.notifications.incoming import Desk
from services.notifications.mentor_pages import add_mentor_pages
from services.notifications.webhooks import add_webhooks

_TEMPLATES = Path(__file__).parent / "page_templates"


def make_pages(
    participant: Participant, desk: Desk, *, twilio_token: str, public_url: str
) -> Blueprint:
    """The blueprint with all of them."""
    pages = Blueprint("messages", __name__, template_folder=str(_TEMPLATES))
    door = Door(participant=participant, tokens=desk.tokens)
    add_webhooks(pages, desk, twilio_token, public_url)
    add_answers(pages, participant, desk)
    add_door(pages, door)
    add_mentor_pages(pages, door)
    return pages
