"""`var/settings.env`: every setting of the local run, made at the first one and kept.

Ports and secrets are chosen once; all else follows from them at every start. So changing a port
is changing its line.
"""

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from deploy.local.ports import free_ports
from deploy.local.trouble import Trouble

SERVICES = ("INTAKE", "MATCHING", "NOTIFICATIONS")

ROLES = ("intake", "matching", "notifications", "keys_owner", "access_owner", "clock_reader")
SERVICE_ROLES = ("intake", "matching", "notifications")
DATABASES = {
    "intake": "intake",
    "matching": "matching",
    "notifications": "notifications",
    "keys": "keys_owner",
    "access": "access_owner",
}
GUESTS = {
    "matching": ("intake",),
    "notifications": ("intake",),
    "keys": SERVICE_ROLES,
    "access": (*SERVICE_ROLES, "clock_reader"),
}

# Which role connects to which database under which name.
DATABASE_URLS = {
    **{f"{role.upper()}_DATABASE_URL": (role, role) for role in SERVICE_ROLES},
    **{f"{role.upper()}_KEYS_URL": (role, "keys") for role in SERVICE_ROLES},
    **{f"{role.upper()}_ACCESS_URL": (role, "access") for role in SERVICE_ROLES},
    "INTAKE_MATCHING_URL": ("intake", "matching"),
    "INTAKE_NOTIFICATIONS_URL": ("intake", "notifications"),
    "KEYS_OWNER_URL": ("keys_owner", "keys"),
    "ACCESS_OWNER_URL": ("access_owner", "access"),
    "CLOCK_URL": ("clock_reader", "access"),
}

ENGINE_PORTS = ("POSTGRES_PORT", "KAFKA_PORT", "KAFKA_CONTROLLER_PORT")
PORTS = (
    *ENGINE_PORTS,
    "SANDBOX_PORT",
    "SANDBOX_SMTP_PORT",
    *(
        f"{service}_{kind}_PORT"
        for service in SERVICES
        for kind in ("WEB", "WEB_METRICS", "WORKER_METRICS")
    ),
)

# The public half of a purpose, and the private half that only the service of that purpose holds.
MASTER_KEYS = {
    "KEY_IDENTITY_PUBLIC": "INTAKE_KEY_IDENTITY_PRIVATE",
    "KEY_ABOUT_PUBLIC": "MATCHING_KEY_ABOUT_PRIVATE",
    "KEY_CONTACT_PUBLIC": "NOTIFICATIONS_KEY_CONTACT_PRIVATE",
    "KEY_RECORD_PUBLIC": "INTAKE_KEY_RECORD_PRIVATE",
}


class IncompleteSettings(Trouble):
    """Some addresses of your own PostgreSQL are set, but not all of them."""


def password_setting(role: str) -> str:
    return f"{role.upper()}_PASSWORD"


def in_text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


def from_text(key: str) -> bytes:
    return base64.urlsafe_b64decode(key)


def new_secret() -> str:
    return in_text(secrets.token_bytes(32))


def new_private_key() -> str:
    return in_text(X25519PrivateKey.generate().private_bytes_raw())


def public_key_of(private_key: str) -> str:
    key = X25519PrivateKey.from_private_bytes(from_text(private_key))
    return in_text(key.public_key().public_bytes_raw())


SECRETS: dict[str, Callable[[], str]] = {
    **{password_setting(role): lambda: secrets.token_urlsafe(24) for role in ROLES},
    **{f"{service}_SEARCH_KEY": new_secret for service in SERVICES},
    **dict.fromkeys(MASTER_KEYS.values(), new_private_key),
    "TWILIO_ACCOUNT": lambda: f"AC{secrets.token_hex(16)}",
    "TWILIO_TOKEN": lambda: secrets.token_hex(16),
}


def settings_for(var: Path, front_port: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of this data folder, made or completed, written to its `settings.env`."""
    file = var / "settings.env"
    kept = read(file) if file.exists() else {}
    chosen = chosen_once(kept)
    settings = {
        **chosen,
        **derived(var, front_port, chosen),
        **engines_elsewhere(environment),
    }
    write(file, settings)
    return settings


def chosen_once(kept: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in PORTS if name not in kept]
    ports = dict(zip(missing, map(str, free_ports(len(missing))), strict=True))
    made = {name: make() for name, make in SECRETS.items() if name not in kept}
    chosen = {**kept, **ports, **made}
    return {name: chosen[name] for name in (*PORTS, *SECRETS)}


def derived(var: Path, front_port: int, chosen: Mapping[str, str]) -> dict[str, str]:
    postgres = f"127.0.0.1:{chosen['POSTGRES_PORT']}"
    sandbox = f"http://127.0.0.1:{chosen['SANDBOX_PORT']}"
    return {
        "WARM_HANDOFF_MODE": "sandbox",
        "KAFKA_SERVERS": f"127.0.0.1:{chosen['KAFKA_PORT']}",
        "PUBLIC_URL": f"http://127.0.0.1:{front_port}",
        "MAIL_FROM": "relay@bridge.example",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": chosen["SANDBOX_SMTP_PORT"],
        "TWILIO_URL": sandbox,
        "TWILIO_FROM": "+15005550006",
        "SANDBOX_URL": sandbox,
        "SANDBOX_FOLDER": str(var / "sandbox"),
        "SANDBOX_REPLY_WEBHOOK": f"http://127.0.0.1:{front_port}/messages/webhooks/reply",
        **{
            setting: "postgresql+psycopg://"
            f"{role}:{chosen[password_setting(role)]}@{postgres}/{database}"
            for setting, (role, database) in DATABASE_URLS.items()
        },
        "INTAKE_PROCESSES": processes(chosen),
        **{
            f"{service}_METRICS_FOLDER": str(var / "metrics" / service.lower())
            for service in SERVICES
        },
        **{public: public_key_of(chosen[private]) for public, private in MASTER_KEYS.items()},
    }


def processes(chosen: Mapping[str, str]) -> str:
    """Where each process says how it is, for the pages of operations."""
    doors = {"INTAKE": "", "MATCHING": "/matching", "NOTIFICATIONS": "/messages"}
    return ",".join(
        f"{service.lower()}-{kind.lower()}=http://127.0.0.1:{chosen[f'{service}_{kind}_METRICS_PORT']}"
        f"{doors[service] if kind == 'WEB' else ''}"
        for service in SERVICES
        for kind in ("WEB", "WORKER")
    )


def engines_elsewhere(environment: Mapping[str, str]) -> dict[str, str]:
    """The addresses of engines that the caller has already: they win, and none is started."""
    databases = {name: environment[name] for name in DATABASE_URLS if name in environment}
    if databases and len(databases) < len(DATABASE_URLS):
        missing = ", ".join(sorted(DATABASE_URLS.keys() - databases.keys()))
        raise IncompleteSettings(f"To use your own PostgreSQL, set these as well: {missing}.")
    kafka = {name: environment[name] for name in ("KAFKA_SERVERS",) if name in environment}
    return databases | kafka


def read(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if "=" in line]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def write(file: Path, settings: Mapping[str, str]) -> None:
    write_privately(file, "".join(f"{name}={value}\n" for name, value in sorted(settings.items())))


def write_privately(file: Path, text: str) -> None:
    """Replace the file as a whole, never readable by others, not even for a moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
    unfinished.replace(file)
