"""One piece of work: one transaction, its time, its keys, and the facts that it yields."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID
from weakref import proxy

from sqlalchemy import Connection, Engine

from contracts.envelope import Envelope
from contracts.event import Event
from contracts.sealed import sealed_fields
from messaging import outbox, shredding
from messaging.points import reached
from messaging.sealing import Keyring, NotOurs
from messaging.timers import Timers
from messaging.unavailable import is_lost_race

log = logging.getLogger(__name__)

#: How often a lost race is tried again before it is taken for a mistake of ours.
RACES = 6


class Store(Protocol):
    """What a service's handlers decide over: loaded by key beforehand, flushed set-wise after."""

    def load(self, events: Sequence[Event]) -> None:
        """Read (and lock) the rows that the handlers of these events will need."""
        ...

    def flush(self) -> None:
        """Write what the handlers changed."""
        ...


Handler = Callable[[Any, "Work"], Iterable[Event]]
Command = Callable[["Work"], Iterable[Event]]


@dataclass(frozen=True, kw_only=True)
class Participant:
    """A service as messaging sees it: its database, what it reacts to, its keys and its clock."""

    name: str
    engine: Engine
    keyring: Keyring
    on: Mapping[type[Event], Sequence[Handler]]
    timers: Mapping[str, Handler]
    open_store: Callable[[Work], Any]
    now: Callable[[], datetime]
    #: Contents that handlers only keep, so that nobody opens them but whoever looks at them later.
    keeps: frozenset[type] = frozenset()
    #: What a service decides once over all that a piece of work brought, before it is written.
    settle: Callable[[Work], Iterable[Event]] = field(default=lambda work: ())
    wake: Callable[[], None] = field(default=lambda: None)

    def transact(
        self, command: Command, *, traceparent: str | None = None, hurried: bool = True
    ) -> None:
        """Run a command in one transaction, again when a race was lost, and wake the loops.

        What is not hurried is found by the loops a moment later, when they look by themselves.
        """
        for attempt in range(1, RACES + 1):
            try:
                with self.engine.begin() as conn:
                    work = Work(self, conn, traceparent or new_traceparent())
                    reached("work.begun")
                    work.say_all(command(work))
                    reached("work.decided", work.said)
                    work.finish()
                    reached("work.written", work.said)
                reached("work.committed", work.said)
                break
            except Exception as error:
                if attempt == RACES or not is_lost_race(error):
                    raise
                log.info("a race was lost and is run again", extra={"attempt": attempt})
                time.sleep(secrets.randbelow(20 * attempt) / 1000)
        work.follow_up()
        reached("work.followed", work.said)
        if work.said and hurried:
            self.wake()


class Work:
    """What a handler is given: connection, time, loaded rows, keys, timers."""

    def __init__(self, participant: Participant, conn: Connection, traceparent: str) -> None:
        self.participant = participant
        self.conn = conn
        self.now = participant.now()
        self.traceparent = traceparent
        #: The outside of the event being handled; None in a command or a timer.
        self.cause: Envelope | None = None
        self.keys = participant.keyring.view()
        self.timers = Timers(conn)
        self.said: list[outbox.Said] = []
        #: Subjects that nobody knew before: nothing that others said of them is applied here.
        self.fresh: set[UUID] = set()
        #: What is done once this work is committed; what is undone is followed by nothing.
        self.afterwards: list[Callable[[], object]] = []
        #: It must not keep what it belongs to: what was opened here would stay in memory, with
        #: all rows and events, until somebody looks for what refers to itself and nothing else.
        self.store: Any = participant.open_store(proxy(self))

    def react(self, event: Event) -> None:
        """Let the service's handlers of this event say what follows from it."""
        for handler in self.participant.on.get(type(event), ()):
            self.say_all(handler(event, self))

    def say_all(self, events: Iterable[Event]) -> None:
        """Record what a handler yields; it is published once this work is committed."""
        for event in events:
            self.say(event)

    def say(self, event: Event) -> None:
        """Record one fact."""
        self.said.append(outbox.Said(event=event, traceparent=self.traceparent))

    def opened(self, event: Event, event_id: UUID) -> Event:
        """The event with those fields opened that are sealed for this service.

        What it only keeps stays sealed, if it says of itself that it belongs there.
        """
        changes: dict[str, Any] = {}
        for declared in sealed_fields(type(event)):
            value = getattr(event, declared.name)
            if declared.purpose not in self.participant.keyring.opens or value is None:
                continue
            expected = outbox.bound_to(event_id, event, declared.name)
            kept = declared.content in self.participant.keeps
            # What is opened is opened as what is expected here, whatever it says of itself.
            if value.purpose != declared.purpose or (
                kept and (value.person, value.bound) != (event.key, expected)
            ):
                raise NotOurs("a sealed value does not belong where it stands")
            if not kept:
                sealed = replace(value, bound=expected)
                changes[declared.name] = self.keys.open_as(declared.content, sealed)
        return replace(event, **changes) if changes else event

    def finish(self, *more: Callable[[], None]) -> None:
        """Write everything: rows, timers, and the facts with their places in their streams.

        ``more`` is what else is to be written, without reading anything.
        """
        self.cause = None
        self.say_all(self.participant.settle(self))
        if gone := [one.event.key for one in self.said if one.event.erases]:
            self.shred(*gone)
        outbox.record(self, behind=(*more, self.store.flush, self.timers.flush))

    def shred(self, *keys: UUID) -> None:
        """Destroy all keys of these for good, once this work is committed."""
        shredding.record(self.conn, keys, self.now)
        self.afterwards.append(partial(self._destroy, keys))

    def _destroy(self, keys: Iterable[UUID]) -> None:
        try:
            self.participant.keyring.destroy(keys)
        except Exception:
            # It is in the ledger, which is gone through again; the work itself has not failed.
            log.warning("keys could not be destroyed yet", exc_info=True)

    def follow_up(self) -> None:
        """Do what was to be done afterwards; called when this work is committed."""
        for act in self.afterwards:
            act()


def new_traceparent() -> str:
    """A W3C trace context for work that nobody else began."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
