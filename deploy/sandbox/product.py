"""The product as a facility's own system sees it: its public API, with that facility's token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

FACILITY = "north"
TIMEOUT_SECONDS = 10


class NotTaken(RuntimeError):
    """The product did not do what it was asked; the message says why, in a sentence."""


class Product:
    """Calls the API with the token of ``access.json``, which never leaves this process."""

    def __init__(self, access: Path) -> None:
        self._access = access

    @property
    def url(self) -> str:
        """Where its front door is; empty while the demo center is not made yet."""
        return str(self._read().get("url", ""))

    def workers(self) -> dict[str, str]:
        """The host and port of each service's worker."""
        found = self._read().get("metrics", {})
        return {
            name.removesuffix("-worker"): urlsplit(url).netloc
            for name, url in found.items()
            if name.endswith("-worker")
        }

    def enter(self, discharge: dict[str, Any]) -> dict[str, Any]:
        """Send a discharge; the answer."""
        return self._call("POST", "/api/discharges", discharge)

    def story(self, discharge_id: str) -> dict[str, Any]:
        """Everything that happened to it."""
        return self._call("GET", f"/api/discharges/{discharge_id}")

    def agree(self, record_number: str, consents: dict[str, Any]) -> None:
        """Replace all that a client agrees to."""
        body = {"facility": FACILITY, "record_number": record_number, "consents": consents}
        self._call("PUT", "/api/consents", body)

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        token = self._read().get("api_tokens", {}).get(FACILITY)
        if token is None:
            raise NotTaken("The demo center is not there yet.")
        try:
            answer = requests.request(
                method,
                f"{self.url}{path}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=TIMEOUT_SECONDS,
            )
        except requests.RequestException:
            raise NotTaken("The API does not answer.") from None
        if not answer.ok:
            raise NotTaken(f"The API answered {answer.status_code}.")
        found: dict[str, Any] = answer.json()
        return found

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._access.read_bytes())
        except FileNotFoundError:
            return {}
        return found
