"""The tables of messaging, kept in each service's database beside its own."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

METADATA = MetaData()

_MOMENT = DateTime(timezone=True)

#: One row: this database's epoch as a producer, which database that is, and how far the service's
#: own topic was read back, by partition, with the id that this topic had then.
EPOCH = Table(
    "epoch",
    METADATA,
    Column("one", Boolean, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("system", BigInteger),
    Column("timeline", Integer),
    Column("read_back", JSONB, nullable=False),
    Column("topic_id", Uuid),
)

#: How many events were said about each key.
STREAM = Table(
    "stream",
    METADATA,
    Column("key", Uuid, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

#: Everything this service ever said. Rows stay after they are published: Kafka is a cache.
OUTBOX = Table(
    "outbox",
    METADATA,
    Column("event_id", Uuid, primary_key=True),
    Column("key", Uuid, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", _MOMENT, nullable=False),
    Column("after", JSONB, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("published_partition", Integer),
    Column("published_offset", BigInteger),
    Column("published_at", _MOMENT),
    Index("outbox_place", "key", "epoch", "seq", unique=True),
    Index("outbox_unpublished", "key", "seq", postgresql_where=text("published_at IS NULL")),
)

#: How far each partition was applied; this alone decides, Kafka's own offsets are a hint.
#: All that was said before ``heard_at`` is applied or waits (see ``messaging/heartbeats.py``);
#: ``term`` is that of the leader who wrote what was applied last (see ``messaging/cut.py``).
STORED_OFFSET = Table(
    "stored_offset",
    METADATA,
    Column("topic_id", Uuid),
    Column("partition", Integer),
    Column("topic", Text, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("heard_at", _MOMENT),
    Column("term", Integer, nullable=False, server_default=text("-1")),
    PrimaryKeyConstraint("topic_id", "partition"),
)

#: Every event that was applied, and where it was read.
INBOX = Table(
    "inbox",
    METADATA,
    Column("producer", Text),
    Column("epoch", Integer),
    Column("key", Uuid),
    Column("seq", BigInteger),
    Column("event_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("applied_at", _MOMENT, nullable=False),
    PrimaryKeyConstraint("producer", "epoch", "key", "seq"),
)

#: How far each producer's events for a key were applied.
CURSOR = Table(
    "cursor",
    METADATA,
    Column("key", Uuid),
    Column("producer", Text),
    Column("epoch", Integer),
    Column("seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("key", "producer", "epoch"),
)

#: Events that came before what they build on; sealed as they travelled.
EARLY = Table(
    "early",
    METADATA,
    Column("producer", Text),
    Column("epoch", Integer),
    Column("key", Uuid),
    Column("seq", BigInteger),
    Column("waiting_on", Uuid, nullable=False),
    Column("record", JSONB, nullable=False),
    Column("since", _MOMENT, nullable=False),
    PrimaryKeyConstraint("producer", "epoch", "key", "seq"),
    Index("early_waiting_on", "waiting_on"),
    Index("early_key", "key"),
)

#: Subjects whose events wait in this service because one of them, ``event_id`` where it is known,
#: could not be handled.
PARKED_KEY = Table(
    "parked_key",
    METADATA,
    Column("key", Uuid, primary_key=True),
    Column("parked_at", _MOMENT, nullable=False),
    Column("handler", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("event_id", Uuid),
)

#: The parked event and those that queue behind it, in the order in which they came.
PARKED_EVENT = Table(
    "parked_event",
    METADATA,
    Column("place", BigInteger, primary_key=True, autoincrement=True),
    Column("key", Uuid, nullable=False, index=True),
    Column("record", JSONB, nullable=False),
    Column("since", _MOMENT, nullable=False),
)

#: Topics that somebody has stopped here by hand; the service's own is not published meanwhile.
HELD_TOPIC = Table(
    "held_topic",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("since", _MOMENT, nullable=False),
    Column("by", Text, nullable=False),
    Column("because", Text, nullable=False),
)

#: What people did by hand: by whom (an account, or a name given), and to what. Only added to.
AUDIT = Table(
    "audit",
    METADATA,
    Column("place", BigInteger, Identity(always=True), primary_key=True),
    Column("at", _MOMENT, nullable=False),
    Column("by", Text, nullable=False),
    Column("did", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("details", JSONB, nullable=False),
)

#: The audit's entries in the order in which they were chained, each with the hash of all so far.
AUDIT_CHAIN = Table(
    "audit_chain",
    METADATA,
    Column("link", BigInteger, primary_key=True, autoincrement=False),
    Column("place", BigInteger, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False),
)

#: Replays of many parked keys: of one cause or of all, how far each came, and what came of it.
REPLAY = Table(
    "replay",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("begun_at", _MOMENT, nullable=False),
    Column("by", Text, nullable=False),
    Column("handler", Text),
    Column("error", Text),
    Column("at_parked", _MOMENT),
    Column("at_key", Uuid),
    Column("released", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("failed_in_a_row", Integer, nullable=False, server_default="0"),
    Column("ended_at", _MOMENT),
    Index("one_replay", text("(true)"), unique=True, postgresql_where=text("ended_at IS NULL")),
)

#: Whose keys this service has destroyed, to be done again after the keys were restored.
SHREDDED = Table(
    "shredded",
    METADATA,
    Column("key", Uuid, primary_key=True),
    Column("at", _MOMENT, nullable=False),
)

#: What is to happen later; revocable, one per (key, name).
TIMER = Table(
    "timer",
    METADATA,
    Column("key", Uuid),
    Column("name", Text),
    Column("due_at", _MOMENT, nullable=False),
    Column("data", JSONB, nullable=False),
    PrimaryKeyConstraint("key", "name"),
    Index("timer_due", "due_at"),
)
