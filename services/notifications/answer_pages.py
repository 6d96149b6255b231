"""Pages behind the links in e-mails: the answer to a question, and the end of e-mails."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, abort, request
from sqlalchemy import select

from hosting.auth import open_to_all
from messaging.work import Participant
from services.notifications.incoming import Desk
from services.notifications.page_words import WORDS, note, page, page_language
from services.notifications.replies import Meaning
from services.notifications.store import PERSON, QUESTION, Question

_BUTTONS = {
    "offer": (Meaning.YES, Meaning.NO),
    "contact": (Meaning.TALKED, Meaning.NO_ANSWER),
    "introduction": (Meaning.NO, Meaning.SOMEONE_ELSE),
    "check_in": (Meaning.OK, Meaning.TALK),
}


def add_answers(pages: Blueprint, participant: Participant, desk: Desk) -> None:
    """A link that is merely fetched changes nothing; acting takes the press of a button."""

    @pages.get("/answer/<question_id>")
    @open_to_all("shows buttons only; acting takes a press of one")
    def buttons(question_id: str) -> tuple[str, int]:
        question = _question(participant, question_id)
        if question is None:
            return note("over"), 410
        return _buttons("answer", [str(meaning) for meaning in _BUTTONS[question.kind]]), 200

    @pages.post("/answer/<question_id>")
    @open_to_all("opened by its unguessable address")
    def press(question_id: str) -> tuple[str, int]:
        question = _question(participant, question_id)
        chosen = request.form.get("answer", "")
        if question is None or chosen not in _BUTTONS[question.kind]:
            return note("over"), 410
        desk.button_pressed(question, Meaning(chosen), "email")
        return note("thanks"), 200

    @pages.get("/unsubscribe/<token>")
    @open_to_all("shows a button only; a link that is merely fetched changes nothing")
    def unsubscribe_page(token: str) -> str:
        return _buttons("unsubscribe", ["unsubscribe"])

    @pages.post("/unsubscribe/<token>")
    @open_to_all("one-click unsubscribe of RFC 8058: no cookie, no sign-in, no redirect")
    def unsubscribe(token: str) -> str:
        with participant.engine.connect() as conn:
            known = conn.execute(select(PERSON.c.id).where(PERSON.c.email_token == token)).first()
        if known is not None:
            desk.unsubscribed(token)
        return note("unsubscribed")


def id_of(text: str) -> UUID:
    """An id in an address; what is none is not there."""
    try:
        return UUID(text)
    except ValueError:
        abort(404)


def _question(participant: Participant, question_id: str) -> Question | None:
    which = QUESTION.c.id == id_of(question_id)
    with participant.engine.connect() as conn:
        query = select(QUESTION).where(which, QUESTION.c.state != "closed")
        row = conn.execute(query).first()
    return Question(**row._mapping) if row else None


def _buttons(title: str, values: list[str]) -> str:
    language = page_language()
    labels = [(value, WORDS[language][value]) for value in values]
    return page("buttons.html", language, title=WORDS[language][title], buttons=labels)
