"""What the sandbox is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

REQUIRED = (
    "SANDBOX_PORT",
    "SANDBOX_SMTP_PORT",
    "SANDBOX_FOLDER",
    "SANDBOX_REPLY_WEBHOOK",
    "TWILIO_ACCOUNT",
    "TWILIO_TOKEN",
    "TWILIO_FROM",
)
PORTS = ("SANDBOX_PORT", "SANDBOX_SMTP_PORT")


class BadSettings(ValueError):
    """The environment does not say what the sandbox needs to know."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The one account of the text-message API: who may use it, and the number it owns."""

    sid: str
    token: str
    number: str


@dataclass(frozen=True, kw_only=True)
class DeskSettings:
    """What the demo desk stands on: the product's API, Kafka, and the run that grants wishes."""

    access: Path
    wishes: Path
    kafka_servers: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the sandbox listens, keeps its messages, and posts what phones answer."""

    host: str
    port: int
    smtp_port: int
    folder: Path
    reply_webhook: str
    clock_url: str
    account: Account
    desk: DeskSettings | None = None

    @property
    def is_loopback_only(self) -> bool:
        """Whether nobody outside of this machine can reach the sandbox."""
        return self.host in LOOPBACK_NAMES


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings, or one error that names everything that is missing or wrong."""
    faults = [f"{name} is not set" for name in REQUIRED if not environ.get(name)]
    faults += [f"{name} is not a port" for name in PORTS if not _is_port(environ.get(name, "0"))]
    if faults:
        raise BadSettings("; ".join(faults) + ".")
    return Settings(
        host=environ.get("SANDBOX_HOST") or "127.0.0.1",
        port=int(environ["SANDBOX_PORT"]),
        smtp_port=int(environ["SANDBOX_SMTP_PORT"]),
        folder=Path(environ["SANDBOX_FOLDER"]),
        reply_webhook=environ["SANDBOX_REPLY_WEBHOOK"],
        clock_url=environ.get("CLOCK_URL", "").replace("+psycopg", "", 1),
        account=Account(
            sid=environ["TWILIO_ACCOUNT"],
            token=environ["TWILIO_TOKEN"],
            number=environ["TWILIO_FROM"],
        ),
        desk=_desk_settings(environ),
    )


def _desk_settings(environ: Mapping[str, str]) -> DeskSettings | None:
    """The desk is a demo's: nobody else is told where these are."""
    access, wishes = environ.get("SANDBOX_ACCESS"), environ.get("SANDBOX_WISHES")
    if not access or not wishes:
        return None
    return DeskSettings(
        access=Path(access), wishes=Path(wishes), kafka_servers=environ.get("KAFKA_SERVERS", "")
    )


def _is_port(text: str) -> bool:
    return text == "" or (text.isascii() and text.isdigit() and int(text) <= 65535)
