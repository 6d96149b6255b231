"""The mentor's card: what opens their pages, a link on one channel and a code on another."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, insert, select, update

from contracts.event import Event
from contracts.intake import ContactDetails
from contracts.notifications import MessageSuppressed
from services.notifications.domain import may_disclose, today_in
from services.notifications.store import (
    ASSIGNMENT,
    CARD,
    CARD_OPENING,
    MENTOR_SESSION,
    Assignment,
    Person,
)

if TYPE_CHECKING:
    from messaging.sealing import SearchTokens
    from messaging.work import Work

#: A card ends after this many wrong codes in a row.
WRONG_CODES = 5
#: The states in which a mentor stands beside a client.
STANDING = ("assigned", "in_contact")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What came of opening a card; ``assignment`` only when its client may be shown."""

    outcome: Literal["shown", "wrong_code", "ended", "no_route", "unknown"]
    card_id: UUID | None = None
    assignment: Assignment | None = None


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
    return _open(work, tokens, CARD.c.token == tokens.token("card", token), code)


def open_again(work: Work, tokens: SearchTokens, card_id: UUID, code: str) -> Opened:
    """Look again, with its code, at a card whose link was followed before."""
    return _open(work, tokens, CARD.c.id == card_id, code)


def _open(work: Work, tokens: SearchTokens, which: ColumnElement[bool], code: str) -> Opened:
    card = work.conn.execute(select(CARD).where(which).with_for_update()).first()
    if card is None:
        return Opened(outcome="unknown")
    opened = _opened(work, tokens, card, code)
    if opened.outcome in ("wrong_code", "shown"):
        # A card is opened for weeks: only codes that are wrong one after the other end it.
        wrong = card.wrong_codes + 1 if opened.outcome == "wrong_code" else 0
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
    if not may_learn(work, card.mentor_id):
        return Opened(outcome="no_route")
    assignment: Assignment | None = work.store.assignments.get(card.assignment_id)
    if assignment is None or contact_of(work, assignment) is None:
        return Opened(outcome="ended")
    return Opened(outcome="shown", card_id=card.id, assignment=assignment)


def may_learn(work: Work, mentor_id: UUID) -> bool:
    """Whether a mentor, who is loaded, may learn of clients today."""
    mentor: Person | None = work.store.persons.get(mentor_id)
    if mentor is None or mentor.contact is None:
        return False
    today = today_in(mentor.contact.time_zone, work.now)
    return may_disclose(mentor.route, mentor.route_ends_on, today)


def contact_of(work: Work, assignment: Assignment) -> ContactDetails | None:
    """How its client, who is loaded, is reached; None when the mentor need not know it now."""
    client: Person | None = work.store.persons.get(assignment.client_id)
    if client is None or client.state != "active" or assignment.state not in STANDING:
        return None
    return client.contact if isinstance(client.contact, ContactDetails) else None


def shut_out(work: Work, mentor_id: UUID) -> Iterator[Event]:
    """Whoever has an address that is the mentor's no more, and what went there, sees nothing more.

    A person calls the mentor about each client whose card is ended.
    """
    sign_out(work, mentor_id)
    opens = update(CARD).where(CARD.c.mentor_id == mentor_id, CARD.c.ended_at.is_(None))
    ended = work.conn.execute(opens.values(ended_at=work.now).returning(CARD.c.assignment_id))
    about = list(ended.scalars())
    standing = select(ASSIGNMENT).where(
        ASSIGNMENT.c.id.in_(about), ASSIGNMENT.c.state.in_(STANDING)
    )
    mentor = work.store.persons.get(mentor_id)
    for row in work.conn.execute(standing).all() if about else ():
        plain = {f.name: getattr(row, f.name) for f in fields(Assignment)}
        yield no_second_channel(work, Assignment(**plain), mentor and mentor.facility_id)


def sign_out(work: Work, mentor_id: UUID) -> None:
    """End the visits of a mentor's pages, wherever they were begun."""
    theirs = update(MENTOR_SESSION).where(MENTOR_SESSION.c.mentor_id == mentor_id)
    work.conn.execute(theirs.where(MENTOR_SESSION.c.ended_at.is_(None)).values(ended_at=work.now))
