"""The bare loop: what the engines alone take for the same rows and records, stage after stage."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

BATCH = 500
BODY = json.dumps({"box": "x" * 400}).encode()
HEADERS = [("ce_id", b"0" * 36), ("ce_type", b"Something"), ("traceparent", b"0" * 55)]

_TABLES = """
CREATE TABLE discharge (id uuid PRIMARY KEY, body bytea);
CREATE TABLE outbox (seq bigserial PRIMARY KEY, key uuid, body bytea, sent timestamptz);
CREATE TABLE inbox (id uuid PRIMARY KEY);
CREATE TABLE mentor (id int PRIMARY KEY, load int NOT NULL, capacity int NOT NULL);
CREATE TABLE assignment (client uuid PRIMARY KEY, mentor int);
CREATE TABLE outbox2 (seq bigserial PRIMARY KEY, key uuid, body bytea, sent timestamptz);
CREATE TABLE inbox2 (id uuid PRIMARY KEY);
CREATE TABLE message (id uuid PRIMARY KEY, client uuid, purpose text, state text);
"""


def bare_loop(url: str, servers: str, count: int, topics: tuple[str, str]) -> dict[str, float]:
    """Seconds of each stage for so many discharges, in one process."""
    conn = psycopg.connect(url, autocommit=False)
    conn.execute("CREATE SCHEMA bare")
    conn.execute("SET search_path TO bare")
    conn.execute(_TABLES)
    conn.execute("INSERT INTO mentor SELECT n, 0, 100 FROM generate_series(1, 100) n")
    conn.commit()
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", batch_size=262_144, linger_ms=2)
    keys = [uuid4() for _ in range(count)]
    stages: dict[str, Callable[[], None]] = {
        "store": lambda: _store(conn, keys),
        "relay to matching": lambda: _relay(conn, producer, "outbox", topics[0]),
        "match": lambda: _match(conn, servers, topics[0], count),
        "relay to notifications": lambda: _relay(conn, producer, "outbox2", topics[1]),
        "plan four messages": lambda: _plan(conn, servers, topics[1], count),
        "lease and mark": lambda: _lease(conn, count),
    }
    seconds = {}
    for name, stage in stages.items():
        began = time.perf_counter()
        stage()
        seconds[name] = time.perf_counter() - began
    producer.close()
    conn.execute("DROP SCHEMA bare CASCADE")
    conn.commit()
    conn.close()
    return seconds


def _store(conn: Any, keys: list[Any]) -> None:
    for start in range(0, len(keys), BATCH):
        page = keys[start : start + BATCH]
        with conn.cursor() as cursor:
            with cursor.copy("COPY discharge (id, body) FROM STDIN") as copy:
                for key in page:
                    copy.write_row((key, BODY))
            with cursor.copy("COPY outbox (key, body) FROM STDIN") as copy:
                for key in page:
                    copy.write_row((key, BODY))
        conn.commit()


def _relay(conn: Any, producer: Any, table: str, topic: str) -> None:
    while True:
        rows = conn.execute(
            f"SELECT seq, key, body FROM {table} WHERE sent IS NULL ORDER BY seq LIMIT {BATCH}"
        ).fetchall()
        if not rows:
            return
        sent = [
            producer.send(topic, value=bytes(body), key=str(key).encode(), headers=HEADERS)
            for _, key, body in rows
        ]
        producer.flush()
        for future in sent:
            future.get(timeout=10)
        numbers = [row[0] for row in rows]
        conn.execute(f"UPDATE {table} SET sent = now() WHERE seq = ANY(%s)", [numbers])
        conn.commit()


def _read(servers: str, topic: str, count: int) -> Iterator[list[Any]]:
    consumer = KafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        max_poll_records=BATCH,
        fetch_max_wait_ms=100,
    )
    places = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    left = count
    while left > 0:
        page = [r for group in consumer.poll(timeout_ms=500).values() for r in group]
        left -= len(page)
        if page:
            yield page
    consumer.close(autocommit=False)


def _match(conn: Any, servers: str, topic: str, count: int) -> None:
    mentor = 0
    for page in _read(servers, topic, count):
        keys = [record.key.decode() for record in page]
        conn.execute("INSERT INTO inbox SELECT * FROM unnest(%s::uuid[])", [keys])
        taken = []
        for _ in keys:
            mentor = mentor % 100 + 1
            taken.append(mentor)
        conn.execute(
            "UPDATE mentor SET load = load + n FROM (SELECT m, count(*) n FROM unnest(%s::int[]) m"
            " GROUP BY m) t WHERE id = m AND load + n <= capacity",
            [taken],
        )
        conn.execute(
            "INSERT INTO assignment SELECT * FROM unnest(%s::uuid[], %s::int[])", [keys, taken]
        )
        with conn.cursor().copy("COPY outbox2 (key, body) FROM STDIN") as copy:
            for key in keys:
                copy.write_row((key, BODY))
        conn.commit()


def _plan(conn: Any, servers: str, topic: str, count: int) -> None:
    for page in _read(servers, topic, count):
        keys = [record.key.decode() for record in page]
        conn.execute("INSERT INTO inbox2 SELECT * FROM unnest(%s::uuid[])", [keys])
        with conn.cursor().copy("COPY message (id, client, purpose, state) FROM STDIN") as copy:
            for key in keys:
                for purpose in ("first", "introduction", "card", "card_code"):
                    copy.write_row((uuid4(), key, purpose, "planned"))
        conn.commit()


def _lease(conn: Any, count: int) -> None:
    for _ in range(4 * count // BATCH):
        leased = conn.execute(
            "UPDATE message SET state = 'leased' WHERE id IN (SELECT id FROM message"
            f" WHERE state = 'planned' LIMIT {BATCH}) RETURNING id"
        ).fetchall()
        conn.commit()
        ids = [row[0] for row in leased]
        conn.execute("UPDATE message SET state = 'sent' WHERE id = ANY(%s)", [ids])
        conn.commit()
