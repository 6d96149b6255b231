"""Texts by the Twilio Messages API, over pooled connections."""

from __future__ import annotations

from datetime import date

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
)

from services.notifications.channels import Kind, Letter, Lying, Outcome

_CONNECT_SECONDS, _READ_SECONDS = 5, 15

#: Twilio's own settings for a webhook, which it never sends: a receipt that we could not take is
#: posted again. Unasked it would do so only where no connection came about.
_AGAIN = "#rc=5&rp=all"

#: Twilio's codes for numbers that will never take a text from us.
_FOR_GOOD = frozenset({21211, 21217, 21408, 21610, 21612, 21614})


class TwilioChannel:
    """A ``Channel``."""

    def __init__(self, *, url: str, account: str, token: str, sender: str, status_url: str) -> None:
        self._url = f"{url}/2010-04-01/Accounts/{account}/Messages.json"
        self._sender = sender
        self._status_url = status_url
        self._session = requests.Session()
        self._session.auth = (account, token)
        # A repeated POST could be a second text: the library must never retry by itself.
        adapter = HTTPAdapter(max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def send(self, letter: Letter) -> Outcome:
        """One text. Its receipt names our id, so that it counts even if the answer was lost."""
        form = {
            "To": letter.to,
            "From": self._sender,
            "Body": letter.text,
            "StatusCallback": f"{self._status_url}?m={letter.message_id}{_AGAIN}",
        }
        try:
            answer = self._session.post(
                self._url, data=form, timeout=(_CONNECT_SECONDS, _READ_SECONDS)
            )
        except requests.RequestException as error:
            return _broken(error)
        return _judged(answer)

    def find(self, to: str, text: str, since: date) -> list[Lying] | None:
        """The texts that lie there, oldest first; None while it does not answer."""
        wanted = {"To": to, "From": self._sender, "DateSent>": since.isoformat(), "PageSize": "200"}
        try:
            answer = self._session.get(
                self._url, params=wanted, timeout=(_CONNECT_SECONDS, _READ_SECONDS)
            )
        except requests.RequestException:
            return None
        found = _json(answer).get("messages") if answer.status_code == 200 else None
        if not isinstance(found, list):
            return None
        return [
            Lying(
                provider_id=one["sid"],
                status=one["status"],
                code=str(one.get("error_code") or ""),
            )
            for one in reversed(found)
            if isinstance(one, dict) and one.get("body") == text
        ]

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


def _broken(error: requests.RequestException) -> Outcome:
    """No answer: was the request ever on its way?"""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    never = (NewConnectionError, ConnectTimeoutError, NameResolutionError)
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, never):
        return Outcome(kind="not_sent", phase="connect", reason=type(error).__name__)
    return Outcome(kind="unknown", phase="body", reason=type(error).__name__)


def _judged(answer: requests.Response) -> Outcome:
    said = _json(answer)
    if answer.status_code in (200, 201):
        sid = said.get("sid")
        if not isinstance(sid, str):
            return Outcome(kind="unknown", phase="answer", reason="no_sid")
        return Outcome(kind="accepted", phase="done", provider_id=sid)
    if answer.status_code == 429:
        # Twilio says that a request refused for its rate was not processed.
        wait = answer.headers.get("Retry-After", "")
        seconds = float(wait) if wait.isdigit() else None
        return Outcome(kind="retry", phase="answer", reason="http_429", retry_after_seconds=seconds)
    if answer.status_code >= 500:
        return Outcome(kind="unknown", phase="answer", reason=f"http_{answer.status_code}")
    code = said.get("code")
    reason = f"twilio_{code}" if isinstance(code, int) else f"http_{answer.status_code}"
    kind: Kind = "rejected" if code in _FOR_GOOD else "retry"
    return Outcome(kind=kind, phase="answer", reason=reason)


def _json(answer: requests.Response) -> dict[str, object]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
