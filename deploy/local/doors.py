"""The product's public API and the sandbox's phones, as people and their systems use them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import requests

SECONDS_TO_ANSWER = 30


class Doors:
    """One caller of both; not for two threads at once."""

    def __init__(self, access: Mapping[str, Any]) -> None:
        self._url = access["url"]
        self._tokens = access["api_tokens"]
        self._sandbox = access["sandbox_url"]
        self._http = requests.Session()

    def enter(self, discharge: Mapping[str, Any]) -> str:
        """Send a discharge; its id."""
        return str(self.call("POST", "/api/discharges", discharge["facility"], discharge)["id"])

    def story(self, discharge_id: str, facility: str) -> dict[str, Any]:
        """What happened to a discharge so far."""
        return self.call("GET", f"/api/discharges/{discharge_id}", facility)

    def call(self, method: str, path: str, facility: str, body: Any = None) -> dict[str, Any]:
        """Call the API for a facility; raises when it refuses."""
        head = {"Authorization": f"Bearer {self._tokens[facility]}"}
        answer = self._http.request(
            method, f"{self._url}{path}", json=body, headers=head, timeout=SECONDS_TO_ANSWER
        )
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def messages(self, to: str = "") -> list[dict[str, Any]]:
        """What lies in the sandbox, oldest first."""
        answer = self._http.get(
            f"{self._sandbox}/messages.json", params={"to": to}, timeout=SECONDS_TO_ANSWER
        )
        found: list[dict[str, Any]] = answer.json()
        return found

    def text(self, number: str, words: str) -> None:
        """A phone answers."""
        reply = {"from": number, "text": words}
        answer = self._http.post(f"{self._sandbox}/replies", json=reply, timeout=SECONDS_TO_ANSWER)
        answer.raise_for_status()

    def order(self, faults: Collection[Mapping[str, Any]]) -> None:
        """Order trouble of the networks, beside what is ordered already."""
        place = f"{self._sandbox}/faults"
        before = self._http.get(place, timeout=SECONDS_TO_ANSWER).json()
        self._http.put(place, json=[*before, *faults], timeout=SECONDS_TO_ANSWER).raise_for_status()


def asked(story: Mapping[str, Any], purpose: str) -> list[str]:
    """The ids of the messages of a purpose that were handed over, oldest first."""
    return [
        step["message_id"]
        for step in story["steps"]
        if step["what"] == "message_handed_over" and step["purpose"] == purpose
    ]
