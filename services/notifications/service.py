"""Notifications put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from flask import Flask

from hosting.ops_pages import make_ops_pages
from hosting.service import Foundation, lay_foundation
from hosting.settings import read
from messaging.work import Participant
from services.menu import MENU
from services.notifications import metrics
from services.notifications.asking import Asking
from services.notifications.channels import Channel, ChannelFactory
from services.notifications.channels.email import SmtpChannel
from services.notifications.channels.sms import TwilioChannel
from services.notifications.handlers import Handlers
from services.notifications.incoming import Desk
from services.notifications.letters import LetterWriter
from services.notifications.pages import make_pages
from services.notifications.sender import Sender
from services.notifications.sequences import sequence
from services.notifications.settings import NotificationsSettings, check_mode
from services.notifications.store import Store
from services.operating import OPERATORS, PLACES

NAME = "notifications"
PREFIX = "/messages"


@dataclass(frozen=True, kw_only=True)
class Notifications:
    """The service, ready to be run as web or worker."""

    foundation: Foundation
    settings: NotificationsSettings
    participant: Participant
    allowed: frozenset[str] | None

    def web(self) -> Flask:
        """Webhooks, cards and answers, and the pages of operations."""
        desk = Desk(participant=self.participant, tokens=self.foundation.tokens)
        pages = make_pages(
            self.participant,
            desk,
            twilio_token=self.settings.twilio_token,
            public_url=self.settings.public_url,
        )
        ops = make_ops_pages(self.participant, PREFIX, may=OPERATORS, menu=MENU, places=PLACES)
        return self.foundation.web(PREFIX, [pages, ops])

    def sender(self) -> Sender:
        """The loop that hands messages over."""
        writer = LetterWriter(tokens=self.foundation.tokens, public_url=self.settings.public_url)
        return Sender(
            participant=self.participant,
            writer=writer,
            factories=self._channels(),
            allowed=self.allowed,
        )

    def worker(self) -> None:
        """Relay, consumer, timers, metrics and sender."""
        metrics.begin(CHANNELS)
        # A message that was handed over is no news that somebody waits for, as the next one is.
        sender = self.sender()
        # What it plans, its sender leases with it.
        working = replace(self.participant, settle=sender.take_along)
        asking = Asking(
            self.participant, partial(_sms, self.settings), fuse=self.settings.fuse_after
        )
        self.foundation.run_worker(working, [sender], seldom=[asking], says_after=0.1)

    def _channels(self) -> dict[str, ChannelFactory]:
        return {name: partial(make, self.settings) for name, make in CHANNELS.items()}


def _sms(settings: NotificationsSettings) -> TwilioChannel:
    return TwilioChannel(
        url=settings.twilio_url,
        account=settings.twilio_account,
        token=settings.twilio_token,
        sender=settings.twilio_from,
        status_url=f"{settings.public_url}{PREFIX}/webhooks/status",
    )


def _email(settings: NotificationsSettings) -> Channel:
    return SmtpChannel(
        host=settings.smtp_host,
        port=settings.smtp_port,
        sender=settings.mail_from,
        user=settings.smtp_user,
        password=settings.smtp_password,
        in_clear=settings.mode != "live",
    )


#: Every channel: one file beside the others, and one line here.
CHANNELS: Mapping[str, Callable[[NotificationsSettings], Channel]] = {
    "sms": _sms,
    "email": _email,
}


def build(environ: Mapping[str, str] | None = None) -> Notifications:
    """The service from an environment, its own by default; raises ``SettingsError``."""
    settings = read(NotificationsSettings, NAME, environ)
    allowed = check_mode(settings)
    foundation = lay_foundation(NAME, settings)
    # A sequence that cannot be read ends the start, not the first check-in.
    sequence("check_in")
    handlers = Handlers(tokens=foundation.tokens)
    participant = foundation.participant(
        on=handlers.table(), timers=handlers.timers(), open_store=Store
    )
    return Notifications(
        foundation=foundation, settings=settings, participant=participant, allowed=allowed
    )


def web() -> Flask:
    """The app for gunicorn."""
    return build().web()
