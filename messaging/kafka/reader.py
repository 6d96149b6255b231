"""Read records as one of a group, and say how far that is only as a hint."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError, IllegalStateError, KafkaError
from kafka.structs import OffsetAndMetadata

from messaging.broker import ReaderBroken, Record
from messaging.kafka.connecting import (
    API_VERSION,
    RECONNECT_MS,
    assert_fast_checksums,
    edges,
    record_of,
)
from messaging.kafka.topics import topic_ids
from messaging.unavailable import Unavailable

#: So long is waited to hear where partitions end, while records are at hand.
ENDS_WITHIN_MS = 1_000
#: The most records read at a time; a batch is one transaction.
BATCH = 500
#: So long may an answer wait for a record to come. Each empty one costs every worker three
#: milliseconds, and one that carries something never waits.
WAIT_MS = 500
#: So much is sent at once even to a reader that lets records gather.
GATHERED_BYTES = 65_536


class KafkaReader:
    """A ``Consumer`` of a service's group; the broker lets records gather before it answers."""

    def __init__(
        self,
        servers: str,
        group: str,
        topics: Iterable[str],
        *,
        gather_seconds: float = 0.0,
        dead_after_seconds: int = 10,
    ) -> None:
        """``dead_after_seconds``: when the partitions of one who is not heard go to others."""
        assert_fast_checksums()
        self._servers = servers
        self._topics = tuple(topics)
        self._ids: dict[str, UUID] = {}
        self._ours: set[TopicPartition] = set()
        self._reached: dict[TopicPartition, OffsetAndMetadata] = {}
        self._consumer = KafkaConsumer(
            *self._topics,
            bootstrap_servers=servers.split(","),
            client_id=f"{group}-{os.getpid()}",
            group_id=group,
            api_version=API_VERSION,
            reconnect_backoff_max_ms=RECONNECT_MS,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=BATCH,
            max_poll_interval_ms=300_000,
            session_timeout_ms=dead_after_seconds * 1_000,
            heartbeat_interval_ms=dead_after_seconds * 200,
            fetch_min_bytes=GATHERED_BYTES if gather_seconds else 1,
            fetch_max_wait_ms=int(gather_seconds * 1000) or WAIT_MS,
            metrics_enabled=False,
            allow_auto_create_topics=False,
        )

    def poll(self, wait_seconds: float) -> list[Record]:
        """The next records; ``Unavailable`` while the broker cannot be asked."""
        try:
            if not self._ids:
                self._ids = topic_ids(self._servers, self._topics)
            self._finish_joining()
            read = self._consumer.poll(timeout_ms=int(wait_seconds * 1000), max_records=BATCH)
            for place, group in read.items():
                self._reach(place, group[-1].offset + 1, group[-1].leader_epoch)
            self._keep_terms()
        except CorruptRecordError as error:
            # The library would go on with the same batch for ever.
            raise ReaderBroken("a batch was damaged") from error
        except (IllegalStateError, RuntimeError, OSError) as error:
            # It was closed, or its thread has ended: neither comes back.
            raise ReaderBroken("the library has ended") from error
        except KafkaError as error:
            raise Unavailable("the broker cannot be read") from error
        return [record_of(raw, self._ids[raw.topic]) for group in read.values() for raw in group]

    def _reach(self, place: TopicPartition, offset: int, term: int) -> OffsetAndMetadata:
        self._reached[place] = OffsetAndMetadata(offset, "", term)
        return self._reached[place]

    def _with_term(self, place: TopicPartition, offset: int) -> OffsetAndMetadata:
        """This offset with the term of what lies before it, where that is known."""
        reached = self._reached.get(place)
        if reached is not None and reached.offset == offset:
            return reached
        return OffsetAndMetadata(offset, "", -1)

    def _keep_terms(self) -> None:
        """Give positions back the terms that an answer without records has taken from them.

        Without its term the broker is not asked whether it still has what was read, and a log
        that was cut and has grown again unseen would be read on behind what is new.
        """
        known = self._consumer._subscription
        with known._lock:
            for place, state in known.assignment.items():
                if state.position is not None and state.position.leader_epoch < 0:
                    state.position = self._with_term(place, state.position.offset)

    def _finish_joining(self) -> None:
        """Keep the library from forgetting that it is joining the group, or that it has joined.

        A poll that ends between the two answers of a join, when the topics' metadata had changed,
        leaves kafka-python 3.0.12 without partitions and without a heartbeat for ever. And an
        answer that comes while nobody waits for it, between two polls or early in one, is thrown
        away: it joins anew, and so must all others, which on a busy machine goes on and on.
        """
        group = self._consumer._coordinator
        if group.rejoining:
            group.rejoin_needed = True
        joining = group._join_task
        if joining is not None and not isinstance(joining, _Unread):
            group._join_task = _Unread(joining)

    def joined(self) -> list[tuple[UUID, str, int]]:
        """What became ours since this was last asked, to be asked after a poll."""
        before, self._ours = self._ours, set(self._consumer.assignment())
        return [(self._ids[p.topic], p.topic, p.partition) for p in self._ours - before]

    def ours(self) -> set[tuple[str, int]]:
        """The partitions that are ours now, by topic and number."""
        return {(place.topic, place.partition) for place in self._consumer.assignment()}

    def ends(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset behind the last record of these partitions; without those not known now.

        The broker is asked: what the library knows is as old as the records that it still holds.
        """
        try:
            asked = [TopicPartition(*place) for place in places]
            found = edges(self._consumer.end_offsets, asked, ENDS_WITHIN_MS)
        except KafkaError:
            return {}
        return {(place.topic, place.partition): end for place, end in found.items()}

    def hold(self, topics: Collection[str]) -> None:
        """Read nothing of these topics from now on, and of all the others again."""
        mine = self._consumer.assignment()
        held = {place for place in mine if place.topic in topics}
        paused = self._consumer.paused()
        self._consumer.pause(*(held - paused))
        self._consumer.resume(*(paused - held))

    def seek(self, topic: str, partition: int, offset: int, term: int = -1) -> None:
        """Read this partition from here on, if it is still ours, or from where it was cut since.

        Told the term, the library asks the broker whether that term went so far. Its public seek
        does not take one.
        """
        place = TopicPartition(topic, partition)
        if place in self._consumer.assignment():
            self._consumer._subscription.seek(place, self._reach(place, offset, term))
        # A topic that was deleted and made again begins anew, under an id of its own.
        self._ids = {}

    def hint(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit without waiting: the stored offsets decide, this only saves reading again."""
        hints = {TopicPartition(*place): at for place, at in offsets.items()}
        self._consumer.commit_async({p: self._with_term(p, at) for p, at in hints.items()})

    def close(self) -> None:
        """Leave the group at once, so that another worker takes over."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=3_000)
        except (KafkaError, RuntimeError, OSError):
            # The group notices by the session's time-out instead.
            return


class _Unread:
    """An answer of the library's of which only whoever waits for it learns that it went well.

    What failed is asked for anew, as the library does: some errors it would wait for ever.
    """

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.add_callback = answer.add_callback
        self.add_errback = answer.add_errback

    @property
    def is_done(self) -> bool:
        """Whether the library is to ask anew."""
        return bool(self._answer.is_done and self._answer.failed())
