"""Write records, and wait for the broker to acknowledge each."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from messaging.broker import Outgoing, Record, Written
from messaging.kafka.connecting import API_VERSION, RECONNECT_MS, assert_fast_checksums
from messaging.kafka.looking import read_at
from messaging.unavailable import Unavailable


class KafkaWriter:
    """A ``Producer``. Not fork-safe: make it in the process that uses it."""

    def __init__(self, servers: str, name: str) -> None:
        assert_fast_checksums()
        self._servers = servers
        self._name = name
        self._producer = self._open()

    def _open(self) -> KafkaProducer:
        return KafkaProducer(
            bootstrap_servers=self._servers.split(","),
            client_id=f"{self._name}-{os.getpid()}",
            api_version=API_VERSION,
            reconnect_backoff_max_ms=RECONNECT_MS,
            acks="all",
            enable_idempotence=True,
            # A batch is written at once and waited for: what comes first need not wait for more.
            batch_size=262_144,
            linger_ms=0,
            # Nobody asks for the library's own figures, which take a fifteenth of its time.
            metrics_enabled=False,
            max_block_ms=5_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=15_000,
            allow_auto_create_topics=False,
        )

    def send(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        """Write a bounded batch and wait for every acknowledgement."""
        outcomes = self._sent(records)
        if any(isinstance(outcome, Exception) for outcome in outcomes):
            # One whose batch was not answered in time asks for a new identity, and kafka-python
            # 3.0.12 may wait for that for ever: nothing more would be sent, nor be given up.
            self.close()
            self._producer = self._open()
        return outcomes

    def _sent(self, records: Sequence[Outgoing]) -> list[Written | Exception]:
        futures: list[Any] = []
        for record in records:
            try:
                futures.append(
                    self._producer.send(
                        record.topic,
                        value=record.value,
                        key=record.key,
                        headers=list(record.headers),
                        partition=record.partition,
                    )
                )
            except KafkaError as error:
                futures.append(error)
                if len(futures) == 1:
                    # The broker is away: waiting for each of the others would take hours.
                    return [error] * len(records)
        try:
            self._producer.flush(timeout=20)
        except KafkaError as error:
            # What is not settled by now never will be.
            return [_outcome(one) if _is_settled(one) else error for one in futures]
        return [_outcome(future) for future in futures]

    def partitions(self, topic: str) -> Collection[int]:
        """The partitions of a topic; raises ``Unavailable`` while the broker is away."""
        try:
            found: Collection[int] = self._producer.partitions_for(topic)
        except KafkaError as error:
            raise Unavailable("the broker cannot be asked for partitions") from error
        return found

    def at(self, topic: str, places: Mapping[int, int]) -> dict[int, Record | None]:
        """What lies at these offsets, by partition; None where the partition ends before."""
        return read_at(self._servers, topic, places)

    def close(self) -> None:
        """Let go of the network without waiting for what was not acknowledged."""
        try:
            self._producer.close(timeout=2)
        except KafkaError:
            # Whatever was not acknowledged is unpublished in the outbox and will be sent again. The
            # library gives up before it has ended its thread, which would go on sending that.
            self._producer._sender.force_close()


def _is_settled(future: Any) -> bool:
    return isinstance(future, KafkaError) or bool(future.is_done)


def _outcome(future: Any) -> Written | Exception:
    if isinstance(future, KafkaError):
        failed: Exception = future
        return failed
    try:
        written = future.get(timeout=20)
    except KafkaError as error:
        refused: Exception = error
        return refused
    return Written(partition=int(written.partition), offset=int(written.offset))
