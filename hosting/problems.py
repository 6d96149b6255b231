"""Errors as RFC 9457 problems: what is wrong, in which field, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Problem(Exception):
    """An answer that is an error. ``errors`` are pairs of field and message."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "errors": [{"field": field, "message": message} for field, message in self.errors],
        }


def flat_errors(messages: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Marshmallow's nested messages as pairs of dotted field and message."""
    if isinstance(messages, Mapping):
        pairs: list[tuple[str, str]] = []
        for name, inner in messages.items():
            inner_name = f"{prefix}.{name}" if prefix else str(name)
            pairs += flat_errors(inner, inner_name)
        return pairs
    if isinstance(messages, Sequence) and not isinstance(messages, str):
        return [pair for inner in messages for pair in flat_errors(inner, prefix)]
    return [(prefix.removesuffix("._schema"), str(messages))]
