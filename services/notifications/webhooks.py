"""What networks tell us: replies and receipts, each believed by its signature."""

from __future__ import annotations

import base64
import hashlib
import hmac

from flask import Blueprint, Response, abort, request

from hosting.auth import open_to_all
from services.notifications import metrics
from services.notifications.answer_pages import id_of
from services.notifications.incoming import Desk


def add_webhooks(pages: Blueprint, desk: Desk, token: str, public_url: str) -> None:
    """Webhooks are believed by their signature over the public address."""

    def believed() -> dict[str, str]:
        form = request.form.to_dict()
        query = request.query_string.decode()
        url = f"{public_url}{request.path}" + (f"?{query}" if query else "")
        given = request.headers.get("X-Twilio-Signature", "")
        if not hmac.compare_digest(signed(token, url, form).encode(), given.encode()):
            metrics.BAD_SIGNATURES.inc()
            abort(403)
        return form

    @pages.post("/webhooks/reply")
    @open_to_all("believed by its signature")
    def reply() -> Response:
        form = believed()
        # The STOP in it is committed when this returns; answering earlier could lose it.
        desk.text_received(form.get("From", ""), form.get("Body", ""), form.get("MessageSid", ""))
        return Response("<Response/>", mimetype="text/xml")

    @pages.post("/webhooks/status")
    @open_to_all("believed by its signature")
    def status() -> Response:
        form = believed()
        message_id = id_of(request.args.get("m", ""))
        desk.receipt(
            message_id,
            form.get("MessageStatus", ""),
            form.get("MessageSid", ""),
            form.get("ErrorCode", ""),
        )
        return Response(status=204)


def signed(token: str, url: str, form: dict[str, str]) -> str:
    """Twilio's signature: HMAC-SHA1 over the address and the sorted parameters."""
    said = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), said.encode(), hashlib.sha1).digest()).decode()
