"""Pages of notifications: webhooks of networks, the mentor's card, answers, the end of e-mail."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, abort, render_template, request, send_from_directory
from sqlalchemy import select

from hosting.auth import open_to_all
from messaging.work import Participant, Work, new_traceparent
from services.notifications import cards, metrics
from services.notifications.incoming import Desk
from services.notifications.replies import Meaning
from services.notifications.store import PERSON, QUESTION, Question

_HERE = Path(__file__).parent

_WORDS = {
    "en": {
        "card": "Your introduction",
        "enter_code": "Enter the six digits that we sent you another way.",
        "open": "Open",
        "wrong": "That code is not right. After five wrong codes the page closes.",
        "over": "This page has nothing to show any more.",
        "no_route": "This page cannot be shown. The coordinator can tell you more.",
        "name": "Name",
        "phone": "Phone",
        "email": "E-mail",
        "times": "Good times",
        "language": "Language",
        "helps": "What helps",
        "wishes": "Wishes",
        "how_did_it_go": "After your call:",
        "talked": "We talked",
        "no_answer": "No answer",
        "pass_on": "Pass on to someone else",
        "yes": "Yes",
        "no": "No",
        "someone_else": "Someone else, please",
        "thanks": "Thank you. That is noted.",
        "answer": "Your answer",
        "unsubscribe": "Stop these e-mails",
        "unsubscribed": "You will get no more of these e-mails.",
    },
    "es": {
        "card": "Su presentación",
        "enter_code": "Escriba los seis números que le enviamos por otro medio.",
        "open": "Abrir",
        "wrong": "Ese código no es correcto. Tras cinco errores la página se cierra.",
        "over": "Esta página ya no tiene nada que mostrar.",
        "no_route": "No se puede mostrar esta página. La coordinación puede decirle más.",
        "name": "Nombre",
        "phone": "Teléfono",
        "email": "Correo",
        "times": "Buenas horas",
        "language": "Idioma",
        "helps": "Qué ayuda",
        "wishes": "Deseos",
        "how_did_it_go": "Después de la llamada:",
        "talked": "Hablamos",
        "no_answer": "No contestó",
        "pass_on": "Pasar a otra persona",
        "yes": "Sí",
        "no": "No",
        "someone_else": "Otra persona, por favor",
        "thanks": "Gracias. Queda anotado.",
        "answer": "Su respuesta",
        "unsubscribe": "Terminar estos correos",
        "unsubscribed": "Ya no recibirá estos correos.",
    },
}

_BUTTONS = {
    "offer": (Meaning.YES, Meaning.NO),
    "contact": (Meaning.TALKED, Meaning.NO_ANSWER),
    "introduction": (Meaning.NO, Meaning.SOMEONE_ELSE),
}


def make_pages(
    participant: Participant, desk: Desk, *, twilio_token: str, public_url: str
) -> Blueprint:
    """The blueprint; webhooks are believed by their signature over the public address."""
    pages = Blueprint("messages", __name__, template_folder=str(_HERE / "page_templates"))
    _add_webhooks(pages, desk, twilio_token, public_url)
    _add_card(pages, participant, desk)
    _add_answers(pages, participant, desk)

    @pages.get("/static/page.css")
    @open_to_all("looks of pages")
    def style() -> Response:
        return send_from_directory(_HERE / "static", "page.css", max_age=3600)

    return pages


def signed(token: str, url: str, form: dict[str, str]) -> str:
    """Twilio's signature: HMAC-SHA1 over the address and the sorted parameters."""
    said = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), said.encode(), hashlib.sha1).digest()).decode()


def _add_webhooks(pages: Blueprint, desk: Desk, token: str, public_url: str) -> None:
    def believed() -> dict[str, str]:
        form = request.form.to_dict()
        query = request.query_string.decode()
        url = f"{public_url}{request.path}" + (f"?{query}" if query else "")
        given = request.headers.get("X-Twilio-Signature", "")
        if not hmac.compare_digest(signed(token, url, form).encode(), given.encode()):
            metrics.BAD_SIGNATURES.inc()
            abort(403)
        return form

    @pages.post("/webhooks/reply")
    @open_to_all("believed by its signature")
    def reply() -> Response:
        form = believed()
        # The STOP in it is committed when this returns; answering earlier could lose it.
        desk.text_received(form.get("From", ""), form.get("Body", ""), form.get("MessageSid", ""))
        return Response("<Response/>", mimetype="text/xml")

    @pages.post("/webhooks/status")
    @open_to_all("believed by its signature")
    def status() -> Response:
        form = believed()
        message_id = _id(request.args.get("m", ""))
        desk.receipt(
            message_id,
            form.get("MessageStatus", ""),
            form.get("MessageSid", ""),
            form.get("ErrorCode", ""),
        )
        return Response(status=204)


def _add_card(pages: Blueprint, participant: Participant, desk: Desk) -> None:
    @pages.get("/card/<token>")
    @open_to_all("shows a form for the code only")
    def ask_code(token: str) -> str:
        return _code_page(None)

    @pages.post("/card/<token>")
    @open_to_all("opened by its address and its code together")
    def show(token: str) -> tuple[str, int]:
        code = request.form.get("code", "")
        opened = _open(participant, desk, token, code)
        if opened.outcome == "wrong_code":
            return _code_page("wrong"), 403
        if opened.contact is None:
            return _note("no_route" if opened.outcome == "no_route" else "over"), 410
        words = _words()
        buttons = [(m, words[m]) for m in ("talked", "no_answer", "pass_on")]
        page = render_template(
            "card.html",
            title=words["card"],
            language=_language(),
            words=words,
            contact=opened.contact,
            buttons=buttons,
            token=token,
            code=code,
        )
        return page, 200

    @pages.post("/card/<token>/answer")
    @open_to_all("opened by its address and its code together")
    def answer(token: str) -> tuple[str, int]:
        opened = _open(participant, desk, token, request.form.get("code", ""))
        meaning = request.form.get("answer", "")
        if opened.assignment is None or meaning not in ("talked", "no_answer", "pass_on"):
            return _note("over"), 410
        question = Question(
            id=opened.assignment.id,
            person_id=opened.assignment.mentor_id,
            kind="contact",
            assignment_id=opened.assignment.id,
            client_id=opened.assignment.client_id,
            discharge_id=opened.assignment.discharge_id,
            state="open",
            asked_at=participant.now(),
        )
        desk.card_answered(question, meaning)
        return _note("thanks"), 200


def _add_answers(pages: Blueprint, participant: Participant, desk: Desk) -> None:
    @pages.get("/answer/<question_id>")
    @open_to_all("shows buttons only; acting takes a press of one")
    def buttons(question_id: str) -> tuple[str, int]:
        question = _question(participant, question_id)
        if question is None:
            return _note("over"), 410
        words = _words()
        labels = [(str(m), words[str(m)]) for m in _BUTTONS[question.kind]]
        return _buttons("answer", labels), 200

    @pages.post("/answer/<question_id>")
    @open_to_all("opened by its unguessable address")
    def press(question_id: str) -> tuple[str, int]:
        question = _question(participant, question_id)
        chosen = request.form.get("answer", "")
        if question is None or chosen not in _BUTTONS[question.kind]:
            return _note("over"), 410
        desk.button_pressed(question, Meaning(chosen), "email")
        return _note("thanks"), 200

    @pages.get("/unsubscribe/<token>")
    @open_to_all("shows a button only; a link that is merely fetched changes nothing")
    def unsubscribe_page(token: str) -> str:
        return _buttons("unsubscribe", [("stop", _words()["unsubscribe"])])

    @pages.post("/unsubscribe/<token>")
    @open_to_all("one-click unsubscribe of RFC 8058: no cookie, no sign-in, no redirect")
    def unsubscribe(token: str) -> str:
        with participant.engine.connect() as conn:
            known = conn.execute(select(PERSON.c.id).where(PERSON.c.email_token == token)).first()
        if known is not None:
            desk.unsubscribed(token)
        return _note("unsubscribed")


def _open(participant: Participant, desk: Desk, token: str, code: str) -> cards.Opened:
    found: list[cards.Opened] = []

    def command(work: Work) -> tuple[()]:
        found.clear()
        found.append(cards.open_card(work, desk.tokens, token, code))
        return ()

    participant.transact(command, traceparent=new_traceparent())
    return found[0]


def _question(participant: Participant, question_id: str) -> Question | None:
    query = select(QUESTION).where(QUESTION.c.id == _id(question_id), QUESTION.c.state != "closed")
    with participant.engine.connect() as conn:
        row = conn.execute(query).first()
    return Question(**row._mapping) if row else None


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        abort(404)


def _language() -> str:
    return request.accept_languages.best_match(list(_WORDS), default="en") or "en"


def _words() -> dict[str, str]:
    return _WORDS[_language()]


def _code_page(wrong: str | None) -> str:
    words = _words()
    return render_template(
        "code.html",
        title=words["card"],
        language=_language(),
        words=words,
        wrong=words[wrong] if wrong else None,
    )


def _note(name: str) -> str:
    words: dict[str, Any] = _words()
    return render_template(
        "note.html", title=words["card"], language=_language(), words=words[name]
    )


def _buttons(title: str, labels: list[tuple[str, str]]) -> str:
    return render_template(
        "buttons.html",
        title=_words()[title],
        language=_language(),
        words="",
        buttons=labels,
    )
