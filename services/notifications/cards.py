"""The mentor's card: one page behind a link on one channel and a code on another."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from sqlalchemy import insert, select, update

from contracts.intake import ContactDetails
from contracts.notifications import MessageSuppressed
from services.notifications.domain import may_disclose, today_in
from services.notifications.store import ASSIGNMENT, CARD, CARD_OPENING, Assignment, Person

if TYPE_CHECKING:
    from messaging.sealing import SearchTokens
    from messaging.work import Work

#: A card ends after this many wrong codes.
WRONG_CODES = 5


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What came of opening a card; ``contact`` only when it may be shown."""

    outcome: Literal["shown", "wrong_code", "ended", "no_route", "unknown"]
    assignment: Assignment | None = None
    contact: ContactDetails | None = None


def link_token(tokens: SearchTokens, card_id: UUID) -> str:
    """The unguessable part of a card's address, made from its id and never stored in clear."""
    raw = bytes.fromhex(tokens.token("card-link", str(card_id)))[:15]
    return base64.urlsafe_b64encode(raw).decode()


def code_of(tokens: SearchTokens, card_id: UUID) -> str:
    """The six digits that open a card."""
    return f"{int(tokens.token('card-code', str(card_id)), 16) % 1_000_000:06d}"


def make(work: Work, tokens: SearchTokens, card_id: UUID, assignment: Assignment) -> None:
    """A card for this assignment, unless there is one."""
    work.store.add_card(
        id=card_id,
        token=tokens.token("card", link_token(tokens, card_id)),
        assignment_id=assignment.id,
        mentor_id=assignment.mentor_id,
        client_id=assignment.client_id,
        wrong_codes=0,
        made_at=work.now,
    )


def end(work: Work, assignment_id: UUID) -> None:
    """The card of an assignment shows nothing any more."""
    work.conn.execute(
        update(CARD)
        .where(CARD.c.assignment_id == assignment_id, CARD.c.ended_at.is_(None))
        .values(ended_at=work.now)
    )


def no_second_channel(
    work: Work, assignment: Assignment, facility_id: UUID | None
) -> MessageSuppressed:
    """The code cannot be sent apart from the link, so a person calls the mentor."""
    return MessageSuppressed(
        subject_id=assignment.client_id,
        message_id=assignment.id,
        recipient="mentor",
        purpose="card_code",
        channel="none",
        at=work.now,
        discharge_id=assignment.discharge_id,
        facility_id=facility_id,
        reason="no_second_channel",
    )


def open_card(work: Work, tokens: SearchTokens, token: str, code: str) -> Opened:
    """Look at a card with its code; the route is looked at again, and the opening recorded."""
    card = work.conn.execute(
        select(CARD).where(CARD.c.token == tokens.token("card", token)).with_for_update()
    ).first()
    if card is None:
        return Opened(outcome="unknown")
    opened = _opened(work, tokens, card, code)
    if opened.outcome == "wrong_code":
        wrong = card.wrong_codes + 1
        ended = work.now if wrong >= WRONG_CODES else None
        work.conn.execute(
            update(CARD).where(CARD.c.id == card.id).values(wrong_codes=wrong, ended_at=ended)
        )
    work.conn.execute(
        insert(CARD_OPENING).values(card_id=card.id, at=work.now, outcome=opened.outcome)
    )
    return opened


def _opened(work: Work, tokens: SearchTokens, card: Any, code: str) -> Opened:
    if card.ended_at is not None:
        return Opened(outcome="ended")
    if not hmac.compare_digest(code_of(tokens, card.id).encode(), code.strip().encode()):
        return Opened(outcome="wrong_code")
    work.store.load_persons([card.client_id, card.mentor_id])
    mentor: Person | None = work.store.persons.get(card.mentor_id)
    client: Person | None = work.store.persons.get(card.client_id)
    if mentor is None or mentor.contact is None:
        return Opened(outcome="no_route")
    today = today_in(mentor.contact.time_zone, work.now)
    if not may_disclose(mentor.route, mentor.route_ends_on, today):
        return Opened(outcome="no_route")
    row = work.conn.execute(select(ASSIGNMENT).where(ASSIGNMENT.c.id == card.assignment_id)).one()
    assignment = Assignment(**row._mapping)
    if assignment.state not in ("assigned", "in_contact") or client is None:
        return Opened(outcome="ended")
    if client.state != "active" or not isinstance(client.contact, ContactDetails):
        return Opened(outcome="ended")
    return Opened(outcome="shown", assignment=assignment, contact=client.contact)
