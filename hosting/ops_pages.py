"""The pages of operations that every service has: what is parked, under way, and known of one key.

Each service shows its own side, since no other may read its database. What puts the sides
together links to these pages, and embeds the one that shows a single key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, g, request

from hosting.moments import told
from hosting.pages import render, see
from hosting.problems import Problem
from hosting.sign_in import needs_role
from messaging import hops, parking, releasing, replays
from messaging.parking import HandlerFailed, Parked
from messaging.releasing import CLOSED_BECAUSE, TriedEnough
from messaging.work import Participant

#: Nobody's zone is known to what all services share, so times are those of the logs.
_UTC = "UTC"


def make_ops_pages(
    participant: Participant,
    prefix: str,
    *,
    may: Sequence[str],
    menu: Mapping[str, Sequence[Mapping[str, str]]],
    places: Mapping[str, str],
) -> Blueprint:
    """The blueprint. ``may`` are the roles, ``places`` the prefix of every service."""
    pages = Blueprint("ops", __name__)
    shown = {"service": participant.name, "prefix": prefix, "menu": menu, "places": places}
    _add_parked(pages, participant, prefix, may, shown)
    _add_hops(pages, participant, may, shown)
    return pages


def _add_parked(
    pages: Blueprint,
    participant: Participant,
    prefix: str,
    may: Sequence[str],
    shown: dict[str, Any],
) -> None:
    @pages.get("/ops/parked")
    @needs_role(*may)
    def parked() -> str:
        return _parked(participant, shown, [])

    @pages.post("/ops/parked/replay")
    @needs_role(*may)
    def replay() -> Response:
        key, once_more = _key(request.form.get("key", "")), "once_more" in request.form
        try:
            released = releasing.replay(participant, key, by=_who(), once_more=once_more)
        except TriedEnough:
            return _see(prefix, enough=1)
        return _see(prefix, released=int(released), failed=int(not released))

    @pages.post("/ops/parked/try")
    @needs_role(*may)
    def rehearse() -> str:
        found = releasing.rehearse(participant, _key(request.form.get("key", "")))
        return _parked(participant, shown, [], tried=_told(found))

    @pages.post("/ops/parked/replay-all")
    @needs_role(*may)
    def replay_all() -> Response:
        """Of one cause, or of every cause when none is named; the worker does it."""
        handler, error = request.form.get("handler"), request.form.get("error")
        begun = replays.begin(participant, by=_who(), handler=handler, error=error)
        return _see(prefix, begun=int(begun), busy=int(not begun))

    @pages.post("/ops/parked/close")
    @needs_role(*may)
    def close() -> Response | tuple[str, int]:
        key, because = _key(request.form.get("key", "")), request.form.get("because", "")
        field = f"because-{key}"
        if because not in CLOSED_BECAUSE:
            return _parked(participant, shown, [(field, "Choose why it is given up.")]), 422
        seen = request.form.get("seen", "")
        try:
            closed = releasing.close(participant, key, because=because, by=_who(), seen=seen)
        except HandlerFailed:
            wrong = "What waits behind it fails too, so nothing was changed. Mend that first."
            return _parked(participant, shown, [(field, wrong)]), 422
        return _see(prefix, closed=int(closed), unchanged=int(not closed))


def _told(found: releasing.Rehearsal) -> str:
    if found.failure is not None:
        return f"It would fail again: {found.failure.handler}, {found.failure.error}."
    says = ", ".join(f"{name} ({times})" for name, times in found.says.items())
    return f"It would be applied and released, and say: {says or 'nothing'}. Nothing was changed."


def _parked(
    participant: Participant,
    shown: dict[str, Any],
    errors: list[tuple[str, str]],
    *,
    tried: str = "",
) -> str:
    """Parked keys by cause: the largest group first, each group's oldest first."""
    # The list is in the order of time, and sorting keeps that within a cause.
    listed = sorted(parking.listed(participant), key=_cause)
    groups = [list(group) for _, group in groupby(listed, key=_cause)]
    groups.sort(key=lambda group: (-len(group), group[0].parked_at))
    done = {name: request.args.get(name, 0, type=int) for name in _DONE}
    return render(
        "ops_parked.html",
        **shown,
        groups=groups,
        total=len(listed),
        run=replays.latest(participant),
        reasons=list(CLOSED_BECAUSE.items()),
        when=_when(participant),
        done=[
            *([tried] if tried else []),
            *(words.format(done[name]) for name, words in _DONE.items() if done[name]),
        ],
        errors=errors,
    )


_DONE = {
    "released": "Applied and released: {}.",
    "failed": "Failed again and still parked: {}.",
    "enough": "Replayed in vain as often as it may be: mend the cause, then replay it once more.",
    "begun": "A replay has begun: how it goes stands below.",
    "busy": "Another replay is under way: this one can begin when it has ended.",
    "closed": "Given up, with what waited behind it applied: {}.",
    "unchanged": "Not as it was seen any more, so left as it is: {}.",
}


def _cause(one: Parked) -> tuple[str, str]:
    return one.handler, one.error


def _add_hops(
    pages: Blueprint, participant: Participant, may: Sequence[str], shown: dict[str, Any]
) -> None:
    @pages.get("/ops/under-way")
    @needs_role(*may)
    def under_way() -> str:
        """What the numbers of outbox, early events and lag are counted from."""
        return render(
            "ops_under_way.html",
            **shown,
            unpublished=hops.unpublished(participant),
            early=hops.early(participant),
            offsets=hops.offsets(participant),
            held=hops.held(participant),
            most=hops.MOST,
            when=_when(participant),
        )

    @pages.get("/ops/hops")
    @needs_role(*may)
    def one_key() -> str:
        """This service's side of one key: a page of its own, or a part of another page."""
        key = _key(request.args.get("id", ""))
        parked = [one for one in parking.listed(participant) if one.key == key]
        return render(
            "ops_hops_part.html" if request.headers.get("HX-Request") else "ops_hops.html",
            **shown,
            key=key,
            hops=hops.hops_of(participant, key),
            parked=parked,
            reasons=list(CLOSED_BECAUSE.items()),
            when=_when(participant, request.args.get("zone", _UTC)),
        )


def to_the_second(zone: str, now: datetime) -> Callable[[datetime], dict[str, str]]:
    """How a moment is told where many things happen within a minute."""
    place = ZoneInfo(zone)
    return lambda moment: (
        told(moment, zone, now) | {"exact": f"{moment.astimezone(place):%d %b %Y, %H:%M:%S %Z}"}
    )


def _when(participant: Participant, zone: str = _UTC) -> Callable[[datetime], dict[str, str]]:
    """How the templates tell a moment: in the zone that was asked for, if there is such a one."""
    try:
        return to_the_second(zone, participant.now())
    except (ValueError, OSError):
        return to_the_second(_UTC, participant.now())


def _who() -> UUID:
    account_id: UUID = g.who.account_id
    return account_id


def _key(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(404, "There is no such key here", "Open it from a list.") from None


def _see(prefix: str, **done: int) -> Response:
    return see(f"{prefix}/ops/parked?{urlencode(done)}")
