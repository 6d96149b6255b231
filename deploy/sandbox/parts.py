"""Everything that both servers of the sandbox work with, put together."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.sandbox.clock import Now
from deploy.sandbox.faults import Faults
from deploy.sandbox.phones import Phones, Receipts
from deploy.sandbox.settings import Settings
from deploy.sandbox.spool import Spool


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """The parts, each made once."""

    settings: Settings
    spool: Spool
    faults: Faults
    phones: Phones
    receipts: Receipts
    now: Now


def open_sandbox(settings: Settings, now: Now) -> Sandbox:
    """Read the spool and put the parts together."""
    spool = Spool(settings.folder)
    account = settings.account
    return Sandbox(
        settings=settings,
        spool=spool,
        faults=Faults(),
        phones=Phones(spool=spool, account=account, now=now, webhook=settings.reply_webhook),
        receipts=Receipts(spool=spool, account=account, now=now),
        now=now,
    )
