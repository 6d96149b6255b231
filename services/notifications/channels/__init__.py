"""How a message is handed over: one file a channel, one line in the service's ``CHANNELS``.

What became of a message is decided by how far the conversation had come, never by the type of an
error: once the network may have taken it and cannot say so, the outcome is *unknown*, and nothing
is sent again by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Protocol

Kind = Literal["accepted", "rejected", "retry", "not_sent", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message ready to leave. ``message_id`` is ours and the same in every attempt."""

    message_id: str
    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str | None = field(default=None, repr=False)
    unsubscribe_link: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one attempt, and the phase in which that was decided.

    ``reason`` is a code, never a text of the network's: that may repeat the address.
    """

    kind: Kind
    phase: str
    reason: str = ""
    provider_id: str | None = None
    retry_after_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Lying:
    """A text that lies in a network: its id there, how far it came, and what was wrong with it."""

    provider_id: str
    status: str
    code: str = ""


class Asked(Protocol):
    """A network that can say what it has taken."""

    def find(self, to: str, text: str, since: date) -> list[Lying] | None:
        """The texts to this number in these words since a day; None while it does not answer."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Channel(Protocol):
    """Hands letters over; one instance serves one thread at a time."""

    def send(self, letter: Letter) -> Outcome:
        """Try once; never raises for what the network does."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


ChannelFactory = Callable[..., Channel]
