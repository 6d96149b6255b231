"""Every message that reached the sandbox, in a file that is only ever appended to."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

EMAIL = "email"
SMS = "sms"


class SpoolInUse(RuntimeError):
    """Another sandbox keeps its messages in this folder."""


class SpoolDamaged(RuntimeError):
    """A line of the spool cannot be read, so messages that were accepted may be missing."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One mail or text as one recipient got it; ``inbound`` is what a phone answered."""

    id: str
    channel: str
    to: str
    sender: str
    subject: str | None = None
    body: str
    html: str = ""
    source: str = ""
    received_at: datetime
    inbound: bool = False
    callback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Where a message lies in the file; texts and mails themselves are not kept in memory."""

    id: str
    channel: str
    to: str
    sender: str
    received_at: datetime
    inbound: bool
    start: int
    length: int

    @property
    def person(self) -> str:
        """The address or number on the other side of the product."""
        return same_address(self.sender if self.inbound else self.to)


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What has become of a message since it was accepted."""

    status: str
    at: datetime
    error_code: int | None = None
    is_redacted: bool = False


def new_id(prefix: str) -> str:
    """An id in the form of the network's own, such as SM and 32 hex digits."""
    return prefix + uuid4().hex


def same_address(address: str) -> str:
    """One spelling for all those of an address or number."""
    return address.strip().lower()


def iso(moment: datetime) -> str:
    """A moment as the sandbox writes it, in UTC with a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Spool:
    """The messages on disk, and an index of them in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._states: dict[str, State] = {}
        self._file = os.open(folder / "messages.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end = self._load()
        except BlockingIOError:
            os.close(self._file)
            raise SpoolInUse(f"another sandbox uses the folder {folder}") from None
        except SpoolDamaged:
            os.close(self._file)
            raise

    def close(self) -> None:
        """Let go of the file; what was accepted is on disk already."""
        os.close(self._file)

    def add(self, messages: Sequence[Message]) -> None:
        """Keep messages; they are on disk when this returns."""
        lines = [_line({"message": _fields(message)}) for message in messages]
        with self._lock:
            start = self._append(b"".join(lines))
            os.fsync(self._file)
            for message, line in zip(messages, lines, strict=True):
                self._index(message, start, len(line))
                start += len(line)

    def note(self, message_id: str, state: State) -> None:
        """Record what has become of a message."""
        fields = {
            "id": message_id,
            "status": state.status,
            "at": iso(state.at),
            "error_code": state.error_code,
            "is_redacted": state.is_redacted,
        }
        with self._lock:
            self._append(_line({"state": fields}))
            self._states[message_id] = state

    def entries(self) -> list[Entry]:
        """All messages, oldest first."""
        with self._lock:
            return list(self._entries.values())

    def entry(self, message_id: str) -> Entry | None:
        """The message with this id."""
        return self._entries.get(message_id)

    def read(self, entry: Entry) -> Message:
        """A message with its text."""
        return _message(json.loads(os.pread(self._file, entry.length, entry.start))["message"])

    def read_all(self, entries: Iterable[Entry]) -> list[Message]:
        """Messages with their texts."""
        return [self.read(entry) for entry in entries]

    def state(self, entry: Entry) -> State:
        """What has become of a message; it starts as queued."""
        return self._states.get(entry.id) or State(status="queued", at=entry.received_at)

    def _append(self, data: bytes) -> int:
        start = self._end
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            # Half a line would make the next one unreadable.
            os.ftruncate(self._file, start)
            raise
        self._end = start + len(data)
        return start

    def _load(self) -> int:
        start = 0
        with open(self._file, "rb", closefd=False) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    # The write was cut off, so its sender never had an answer.
                    os.ftruncate(self._file, start)
                    break
                try:
                    self._replay(json.loads(line), start, len(line))
                except (KeyError, TypeError, ValueError):
                    raise SpoolDamaged(f"line {number} of the spool cannot be read") from None
                start += len(line)
        return start

    def _replay(self, record: dict[str, Any], start: int, length: int) -> None:
        if "message" in record:
            self._index(_message(record["message"]), start, length)
            return
        fields = record["state"]
        self._states[fields["id"]] = State(
            status=fields["status"],
            at=datetime.fromisoformat(fields["at"]),
            error_code=fields["error_code"],
            is_redacted=fields["is_redacted"],
        )

    def _index(self, message: Message, start: int, length: int) -> None:
        self._entries[message.id] = Entry(
            id=message.id,
            channel=message.channel,
            to=message.to,
            sender=message.sender,
            received_at=message.received_at,
            inbound=message.inbound,
            start=start,
            length=length,
        )


def _fields(message: Message) -> dict[str, Any]:
    return vars(message) | {"received_at": iso(message.received_at)}


def _message(fields: dict[str, Any]) -> Message:
    return Message(**fields | {"received_at": datetime.fromisoformat(fields["received_at"])})


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
