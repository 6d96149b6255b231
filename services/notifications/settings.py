"""The settings of notifications beyond those of every service."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from hosting.settings import ServiceSettings, SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class NotificationsSettings(ServiceSettings):
    """Where messages are handed over."""

    smtp_host: str = setting("SMTP_HOST", "the mail relay")
    smtp_port: int = setting("SMTP_PORT", "its port", default=25)
    smtp_user: str = setting("SMTP_USER", "its user, if it asks for one", default="")
    smtp_password: str = setting("SMTP_PASSWORD", "that user's password", default="")
    mail_from: str = setting("MAIL_FROM", "the sender's address: neutral, revealing nothing")
    twilio_url: str = setting("TWILIO_URL", "https://api.twilio.com or what speaks its API")
    twilio_account: str = setting("TWILIO_ACCOUNT", "the account's SID")
    twilio_token: str = setting("TWILIO_TOKEN", "the account's token", secret=True)
    twilio_from: str = setting("TWILIO_FROM", "the number that texts come from")
    sandbox_url: str = setting("SANDBOX_URL", "where the sandbox listens", default="")
    allow_list: str = setting(
        "ALLOW_LIST", "addresses that mode allow-list may write to, comma separated", default=""
    )


def check_mode(settings: NotificationsSettings) -> frozenset[str] | None:
    """The addresses that may be written to; None when the mode lets all of them.

    In the sandbox every channel must lead to the sandbox itself, so that a setting left over
    from somewhere else cannot send to a real network. Raises ``SettingsError``.
    """
    if settings.mode == "sandbox":
        here = urlsplit(settings.sandbox_url).hostname
        leading = {
            "SMTP_HOST": settings.smtp_host,
            "TWILIO_URL": urlsplit(settings.twilio_url).hostname,
        }
        wrong = [name for name, host in leading.items() if host is None or host != here]
        if wrong:
            raise SettingsError(
                f"{', '.join(wrong)} must lead to SANDBOX_URL's host while WARM_HANDOFF_MODE is"
                " sandbox; set the mode to live on purpose to send to a real network"
            )
    if settings.mode == "allow-list":
        return frozenset(a.strip() for a in settings.allow_list.split(",") if a.strip())
    return None
