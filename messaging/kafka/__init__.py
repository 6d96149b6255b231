"""The real broker: the only room that knows kafka-python, and where its traps are kept out.

Raw bytes only (a consumer whose deserializer raises spins for ever on its next poll), no rebalance
listener (the database's stored offsets make one needless), and a bounded number of records in
flight (the library's own buffer has no bound).
"""

from __future__ import annotations

from messaging.kafka.connecting import answers
from messaging.kafka.looking import KafkaBacklog, bounds, read_at, read_to_the_end
from messaging.kafka.reader import KafkaReader
from messaging.kafka.topics import ensure_topics, topic_ids
from messaging.kafka.writer import KafkaWriter

__all__ = [
    "KafkaBacklog",
    "KafkaReader",
    "KafkaWriter",
    "answers",
    "bounds",
    "ensure_topics",
    "read_at",
    "read_to_the_end",
    "topic_ids",
]
