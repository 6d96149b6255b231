"""The page of a client for their coordinator: where they stand, why, and what can be decided.

Matching knows no client's name: the page leads back to the discharge, which does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, g, request
from marshmallow import ValidationError
from marshmallow.validate import Length

from contracts.wire import load_strictly
from hosting.pages import see
from hosting.problems import flat_errors
from hosting.sign_in import needs_role
from messaging.work import Participant
from services.matching import telling
from services.matching.choosing import Judged, Nobody
from services.matching.coordinating import MovedOn, ask_for_another, choose_mentor
from services.matching.looking import Stand, stand_of
from services.matching.page_parts import (
    facility_here,
    id_of,
    moved_on,
    name_of,
    not_here,
    page,
)
from services.matching.placing import NotPossible
from services.matching.store import Facility, Mentor

#: How many mentors a list names; whoever is further down is not the one to ask first.
LISTED = 15


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Why a coordinator sets the choice of the rules aside."""

    reason: Annotated[str, Length(min=3, max=300, error="Say why, in 3 to 300 characters.")]


def add_clients(pages: Blueprint, participant: Participant) -> None:
    """A client's page, and the two decisions on it."""
    _add_client(pages, participant)
    _add_another(pages, participant)
    _add_choice(pages, participant)


def _add_client(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/clients/<client_id>")
    @needs_role("coordinator")
    def client(client_id: str) -> str:
        facility, stand = _found(participant, client_id)
        suitable = [one for one in stand.ranked if not one.failed]
        by_hand = [one for one in stand.ranked if one.failed and one.may_be_chosen_by_hand]
        out = [one for one in stand.ranked if not one.may_be_chosen_by_hand]
        return page(
            "client.html",
            facility,
            participant.now(),
            stand=stand,
            nobody=stand.answer if isinstance(stand.answer, Nobody) else None,
            suitable=suitable[:LISTED],
            by_hand=by_hand[:LISTED],
            out=out[:LISTED],
            more={
                "suitable": max(0, len(suitable) - LISTED),
                "by_hand": max(0, len(by_hand) - LISTED),
                "out": max(0, len(out) - LISTED),
            },
        )


def _add_another(pages: Blueprint, participant: Participant) -> None:
    @pages.get("/clients/<client_id>/another")
    @needs_role("coordinator")
    def ask_another(client_id: str) -> str | tuple[str, int]:
        facility, stand = _found(participant, client_id)
        if stand.current is None or not stand.can_be_decided:
            return moved_on(facility, participant.now(), _address(stand))
        return page(
            "another.html",
            facility,
            participant.now(),
            stand=stand,
            effects=[*_ending(stand), _next(stand, facility)],
        )

    @pages.post("/clients/<client_id>/another")
    @needs_role("coordinator")
    def another(client_id: str) -> Response | tuple[str, int]:
        facility, stand = _found(participant, client_id)
        seen, by = request.form.get("seen", ""), g.who.account_id
        try:
            ask_for_another(participant, facility, stand.client.id, seen=seen, by=by)
        except MovedOn:
            return moved_on(facility, participant.now(), _address(stand))
        return see(_address(stand))


def _ending(stand: Stand) -> list[str]:
    assert stand.current is not None
    name = name_of(stand.beside)
    told = list(telling.effects_of_ending(stand.current.state, name))
    return [*told, f"{name[0].upper()}{name[1:]} is not chosen for this client again."]


def _next(stand: Stand, facility: Facility) -> str:
    if isinstance(stand.answer, Nobody) or stand.answer is None:
        return "Nobody else can be asked now: the client waits, and you get a task."
    name = name_of(stand.mentors.get(stand.answer.mentor_id))
    return f"As things stand now: {telling.effect_of_choosing(name, asks=facility.asks)}"


def _add_choice(pages: Blueprint, participant: Participant) -> None:
    path = "/clients/<client_id>/choose/<mentor_id>"

    @pages.get(path)
    @needs_role("coordinator")
    def ask_choice(client_id: str, mentor_id: str) -> str | tuple[str, int]:
        facility, stand = _found(participant, client_id)
        judged = _judged(stand, mentor_id)
        if judged is None or not judged.may_be_chosen_by_hand or not stand.can_be_decided:
            return moved_on(facility, participant.now(), _address(stand))
        return _choice(participant, facility, stand, judged, [])

    @pages.post(path)
    @needs_role("coordinator")
    def choose(client_id: str, mentor_id: str) -> Any:
        facility, stand = _found(participant, client_id)
        judged = _judged(stand, mentor_id)
        if judged is None:
            return moved_on(facility, participant.now(), _address(stand))
        try:
            typed = " ".join(request.form.get("reason", "").split())
            body: Choice = load_strictly(Choice, {"reason": typed})
            choose_mentor(
                participant,
                facility,
                stand.client.id,
                judged.mentor_id,
                seen=request.form.get("seen", ""),
                reason=body.reason,
                by=g.who.account_id,
            )
        except ValidationError as error:
            wrong = flat_errors(error.messages)
            return _choice(participant, facility, stand, judged, wrong), 422
        except (MovedOn, NotPossible):
            return moved_on(facility, participant.now(), _address(stand))
        return see(_address(stand))


def _choice(
    participant: Participant,
    facility: Facility,
    stand: Stand,
    judged: Judged,
    errors: Sequence[tuple[str, str]],
) -> str:
    chosen: Mentor = stand.mentors[judged.mentor_id]
    name = chosen.profile.called
    effects: list[str] = []
    if stand.current is not None:
        effects += telling.effects_of_ending(stand.current.state, name_of(stand.beside))
    return page(
        "choose.html",
        facility,
        participant.now(),
        stand=stand,
        # A form that is shown again is still about what its sender saw.
        seen=request.form.get("seen", stand.mark),
        chosen=chosen,
        judged=judged,
        effects=[*effects, telling.effect_of_choosing(name, asks=facility.asks)],
        reason=request.form.get("reason", ""),
        errors=list(errors),
    )


def _judged(stand: Stand, mentor_id: str) -> Judged | None:
    wanted = id_of(mentor_id)
    if wanted not in stand.mentors:
        raise not_here()
    return next((one for one in stand.ranked if one.mentor_id == wanted), None)


def _found(participant: Participant, client_id: str) -> tuple[Facility, Stand]:
    facility = facility_here(participant)
    stand = stand_of(participant, facility, id_of(client_id))
    if stand is None:
        raise not_here()
    return facility, stand


def _address(stand: Stand) -> str:
    return f"/matching/clients/{stand.client.id}"
