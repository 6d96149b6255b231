"""Read a service's settings from the environment once, and name all that are missing at once."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from contracts.sealed import PURPOSES
from messaging.fuse import FUSE_AFTER

MODES = ("sandbox", "allow-list", "live")

T = TypeVar("T")


class SettingsError(Exception):
    """The environment lacks settings, or holds unusable ones; the text names each."""


def setting(name: str, about: str, *, secret: bool = False, default: Any = MISSING) -> Any:
    """Declare a field read from ``name``; ``{S}`` stands for the service's name in capitals."""
    if secret and default is not MISSING:
        raise TypeError(f"{name} is a secret and has no default")
    return field(default=default, metadata={"env": name, "about": about, "secret": secret})


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What every service needs."""

    mode: str = setting(
        "WARM_HANDOFF_MODE",
        "sandbox (nothing leaves the machine), allow-list, or live",
        default="sandbox",
    )
    kafka_servers: str = setting("KAFKA_SERVERS", "host:port of Kafka, comma separated")
    public_url: str = setting("PUBLIC_URL", "where people reach the front door")
    database_url: str = setting("{S}_DATABASE_URL", "the service's own database", secret=True)
    keys_url: str = setting("{S}_KEYS_URL", "the database of keys, as this service", secret=True)
    access_url: str = setting("{S}_ACCESS_URL", "the database of access, as it", secret=True)
    search_key: bytes = setting("{S}_SEARCH_KEY", "32 bytes, urlsafe base64", secret=True)
    public_keys: Mapping[str, bytes] = setting(
        "KEY_{PURPOSE}_PUBLIC", "the public half of each purpose's master key"
    )
    private_keys: Mapping[str, bytes] = setting(
        "{S}_KEY_{PURPOSE}_PRIVATE", "the private halves that this service holds", secret=True
    )
    dead_after_seconds: int = setting(
        "DEAD_AFTER_SECONDS", "when the work of a silent worker goes to others", default=10
    )
    gap_after_seconds: int = setting(
        "GAP_AFTER_SECONDS", "how long an event may wait for an earlier one", default=120
    )
    fuse_after: int = setting(
        "FUSE_AFTER", "how many subjects may fail in a row before a loop stops", default=FUSE_AFTER
    )
    web_port: int = setting("{S}_WEB_PORT", "the port of its pages and API", default=8000)
    web_host: str = setting("WEB_HOST", "the address that its ports bind to", default="127.0.0.1")
    web_metrics_port: int = setting("{S}_WEB_METRICS_PORT", "metrics of the web", default=9102)
    worker_metrics_port: int = setting(
        "{S}_WORKER_METRICS_PORT", "metrics and health of the worker", default=9103
    )


def read(cls: type[T], service: str, environ: Mapping[str, str] | None = None) -> T:
    """The settings of a service; raises ``SettingsError`` naming everything that is wrong."""
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for declared in fields(cls):  # type: ignore[arg-type]
        try:
            values[declared.name] = _value(declared, service, env)
        except SettingsError as error:
            wrong.append(str(error))
    if wrong:
        raise SettingsError("settings: " + "; ".join(wrong))
    return cls(**values)


def load_environment(folder: Path, environ: dict[str, str]) -> None:
    """Add the settings of the system running in a data folder, where they are not set already."""
    path = folder / "settings.env"
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            environ.setdefault(name.strip(), value.strip())


def _value(declared: Any, service: str, env: Mapping[str, str]) -> Any:
    name = declared.metadata["env"].replace("{S}", service.upper())
    if "{PURPOSE}" in name:
        return _keys(name, env, needed=not declared.metadata["secret"])
    raw = env.get(name, "")
    if not raw:
        if declared.default is MISSING:
            raise SettingsError(f"{name} is missing ({declared.metadata['about']})")
        return declared.default
    if declared.type == "int":
        if not raw.isdigit():
            raise SettingsError(f"{name} is not a whole number")
        return int(raw)
    if declared.type == "bytes":
        return _bytes(name, raw)
    if name == "WARM_HANDOFF_MODE" and raw not in MODES:
        raise SettingsError(f"{name} is none of {', '.join(MODES)}")
    return raw


def _keys(pattern: str, env: Mapping[str, str], *, needed: bool) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    missing: list[str] = []
    for purpose in PURPOSES:
        name = pattern.replace("{PURPOSE}", purpose.upper())
        if env.get(name):
            keys[purpose] = _bytes(name, env[name])
        elif needed:
            missing.append(f"{name} is missing")
    if missing:
        raise SettingsError("; ".join(missing))
    return keys


def _bytes(name: str, raw: str) -> bytes:
    try:
        value = base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 32:
        raise SettingsError(f"{name} is not 32 bytes in urlsafe base64")
    return value
