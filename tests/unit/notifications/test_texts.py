"""What is asked of the network that takes texts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from services.notifications.channels import Letter
from services.notifications.channels.sms import TwilioChannel


def test_a_receipt_that_we_could_not_take_is_to_be_posted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[dict[str, str]] = []

    def post(self: requests.Session, url: str, *, data: dict[str, str], **_: Any) -> Any:
        sent.append(data)
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests.Session, "post", post)
    channel = TwilioChannel(
        url="http://127.0.0.1:1",
        account="AC",
        token="a token",
        sender="+15005550006",
        status_url="https://peers.example/messages/webhooks/status",
    )

    channel.send(Letter(message_id="M-1", to="+15035550123", subject="", text="Hello", html=""))

    [form] = sent
    callback = urlsplit(form["StatusCallback"])
    assert "m=M-1" == callback.query
    assert {"rc=5", "rp=all"} == set(callback.fragment.split("&"))
