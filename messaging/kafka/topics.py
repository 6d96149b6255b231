"""Topics as they are: which there are, by which ids, and those that are missing are made."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from contracts.topics import Topic
from messaging.kafka.connecting import assert_answers
from messaging.unavailable import Unavailable


def topic_ids(servers: str, topics: Iterable[str]) -> dict[str, UUID]:
    """The ids of topics, which change when a topic is deleted and made again."""
    wanted = list(topics)
    admin = _admin(servers)
    try:
        found = {t["name"]: t for t in admin.describe_topics(wanted)}
        missing = [name for name in wanted if found.get(name, {}).get("error_code", 1)]
        if missing:
            raise Unavailable(f"topics are missing: {', '.join(missing)}; run the topics job")
        return {name: UUID(str(found[name]["topic_id"])) for name in wanted}
    except KafkaError as error:
        raise Unavailable("the broker cannot be asked for its topics") from error
    finally:
        admin.close()


def ensure_topics(servers: str, topics: Iterable[Topic], replication: int) -> list[str]:
    """Create the topics that are missing and set the retention of all; the names created."""
    wanted = {topic.name: topic for topic in topics}
    admin = _admin(servers)
    try:
        existing = set(admin.list_topics())
        missing = {
            name: {
                "num_partitions": topic.partitions,
                "replication_factor": replication,
                "configs": {
                    "cleanup.policy": "delete",
                    "retention.ms": str(topic.retention_ms),
                    "min.insync.replicas": str(max(1, replication - 1)),
                },
            }
            for name, topic in wanted.items()
            if name not in existing
        }
        if missing:
            admin.create_topics(missing, wait_for_metadata=True)
        return sorted(missing)
    except KafkaError as error:
        raise Unavailable("the broker did not make the topics") from error
    finally:
        admin.close()


def _admin(servers: str) -> KafkaAdminClient:
    assert_answers(servers)
    try:
        return KafkaAdminClient(
            bootstrap_servers=servers.split(","),
            bootstrap_timeout_ms=5_000,
            request_timeout_ms=10_000,
        )
    except KafkaError as error:
        raise Unavailable("the broker is away") from error
