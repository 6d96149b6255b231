"""The settings of intake beyond those of every service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hosting.settings import ServiceSettings, SettingsError, setting


@dataclass(frozen=True, kw_only=True)
class IntakeSettings(ServiceSettings):
    """Which processes the pages of operations ask how they are, and where others have whom."""

    matching_url: str = setting(
        "INTAKE_MATCHING_URL", "matching's database, as intake: one view of ids", secret=True
    )
    notifications_url: str = setting(
        "INTAKE_NOTIFICATIONS_URL", "notifications' database, as intake: the same", secret=True
    )

    processes: str = setting(
        "INTAKE_PROCESSES",
        "NAME=URL of each process, comma separated: /readyz below it, /metrics on its port",
        default="",
    )


def read_processes(text: str) -> Mapping[str, str]:
    """Name -> address of each process; raises ``SettingsError`` for what is not NAME=URL."""
    pairs = [entry.strip().partition("=") for entry in text.split(",") if entry.strip()]
    wrong = [name for name, _, url in pairs if not name or not urlsplit(url).hostname]
    if wrong:
        raise SettingsError(f"settings: INTAKE_PROCESSES has no address for {', '.join(wrong)}")
    return {name: url.rstrip("/") for name, _, url in pairs}
