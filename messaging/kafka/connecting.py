"""What all who speak to the broker share: how they connect, and what they make of its answers."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import LeaderNotAvailableError
from kafka.record import util as record_util

from messaging.broker import Record
from messaging.unavailable import Unavailable

#: The protocol's ceiling; naming it lets us start while the broker is away.
API_VERSION = (4, 1)
#: The library's own ceiling is half a minute, for which nothing would flow after an outage.
RECONNECT_MS = 1_000
#: A broker that has not said a word by then is taken to be away.
ANSWERS_WITHIN_SECONDS = 5.0


def assert_fast_checksums() -> None:
    """Refuse to run without the compiled checksum: the pure one is nine times slower."""
    if record_util.crc32c_c is None:
        raise RuntimeError("the package crc32c is not installed; install it beside kafka-python")


def answers(server: str, seconds: float) -> bool:
    """Whether the broker at ``host:port`` speaks to us in time; never raises for one that is away.

    The library would try for much longer, and a poll of its consumer only comes back empty. The
    question is which versions it knows, which every broker answers before anything else.
    """
    host, _, port = server.strip().rpartition(":")
    asking = struct.pack(">hhih", 18, 0, 0, -1)
    try:
        with socket.create_connection((host, int(port)), timeout=seconds) as broker:
            broker.settimeout(seconds)
            broker.sendall(struct.pack(">i", len(asking)) + asking)
            return len(broker.recv(4)) > 0
    except (OSError, ValueError):
        return False


def assert_answers(servers: str) -> None:
    """Raise ``Unavailable`` while none of the brokers answers.

    Of an administrator that gives up while it is made, kafka-python 3.0.12 leaves a thread behind
    for ever, and a consumer does not give up at all.
    """
    if not any(answers(server, ANSWERS_WITHIN_SECONDS) for server in servers.split(",")):
        raise Unavailable("the broker is away")


def alone(servers: str, *, timeout_ms: int, **more: Any) -> KafkaConsumer:
    """A consumer of no group, by which no topic comes into being."""
    return KafkaConsumer(
        bootstrap_servers=servers.split(","),
        api_version=API_VERSION,
        request_timeout_ms=timeout_ms,
        reconnect_backoff_max_ms=RECONNECT_MS,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        **more,
    )


def edges(
    ask: Callable[..., dict[TopicPartition, int]],
    places: list[TopicPartition],
    within_ms: int | None = 5_000,
) -> dict[TopicPartition, int]:
    """Where these partitions begin, or end, as one of the library's two questions says.

    Where one of several has no leader, kafka-python 3.0.12 does not find it among the answers.
    """
    try:
        return ask(places, timeout_ms=within_ms)
    except KeyError as error:
        raise LeaderNotAvailableError("a partition has no leader") from error


def record_of(raw: Any, topic_id: UUID) -> Record:
    return Record(
        topic=raw.topic,
        topic_id=topic_id,
        partition=raw.partition,
        offset=raw.offset,
        key=raw.key,
        value=raw.value,
        headers=tuple((name, value or b"") for name, value in raw.headers),
        term=raw.leader_epoch,
    )
