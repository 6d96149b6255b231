"""JSON log lines that cannot name a person: closed field names, redacted text, bare errors."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime

#: The only extra fields that a line may carry; all hold opaque ids, counts or names of ours.
FIELDS = frozenset(
    {
        "attempt",
        "channel",
        "command",
        "count",
        "error",
        "event_type",
        "handler",
        "loop",
        "message_id",
        "outcome",
        "phase",
        "request_id",
        "route",
        "seconds",
        "status",
        "topic",
        "trace",
    }
)

_REVEALING = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "‹e-mail›"),
    (re.compile(r"\+?\d[\d\s().-]{7,}\d"), "‹number›"),
)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str, process: str) -> None:
        super().__init__()
        self._always = {"service": service, "process": process}

    def format(self, record: logging.LogRecord) -> str:
        """The line. An error is its type and where it was raised: its text may hold a value."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            **self._always,
            "logger": record.name,
            "says": redacted(record.getMessage()),
        }
        for name in FIELDS & record.__dict__.keys():
            value = record.__dict__[name]
            line[name] = redacted(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["raised"] = [
                f"{frame.name} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})"
                for frame in traceback.extract_tb(record.exc_info[2])[-6:]
            ]
        return json.dumps(line, ensure_ascii=False, default=str)


def redacted(text: str) -> str:
    """The text without what looks like an address or a phone number."""
    for pattern, instead in _REVEALING:
        text = pattern.sub(instead, text)
    return text


def set_up(service: str, process: str) -> None:
    """Send every log line of this process to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(service, process))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # These speak of connections at length, and say nothing that our own loops do not say.
    for noisy in ("kafka", "alembic", "werkzeug", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
