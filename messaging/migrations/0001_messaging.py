"""The tables of messaging."""

from alembic import op

revision = "messaging_0001"
down_revision = None
branch_labels = ("messaging",)
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE epoch (
            one boolean PRIMARY KEY DEFAULT true CHECK (one),
            epoch integer NOT NULL
        );
        INSERT INTO epoch (epoch) VALUES (1);
        CREATE TABLE stream (key uuid PRIMARY KEY, seq bigint NOT NULL);
        CREATE TABLE outbox (
            event_id uuid PRIMARY KEY,
            key uuid NOT NULL,
            epoch integer NOT NULL,
            seq bigint NOT NULL,
            type text NOT NULL,
            at timestamptz NOT NULL,
            after jsonb NOT NULL,
            traceparent text NOT NULL,
            body bytea NOT NULL,
            published_partition integer,
            published_offset bigint,
            published_at timestamptz
        );
        CREATE UNIQUE INDEX outbox_place ON outbox (key, epoch, seq);
        CREATE INDEX outbox_unpublished ON outbox (key, seq) WHERE published_at IS NULL;
        CREATE TABLE stored_offset (
            topic_id uuid,
            partition integer,
            topic text NOT NULL,
            next_offset bigint NOT NULL,
            PRIMARY KEY (topic_id, partition)
        );
        CREATE TABLE inbox (
            producer text,
            epoch integer,
            key uuid,
            seq bigint,
            event_id uuid NOT NULL,
            type text NOT NULL,
            partition integer NOT NULL,
            "offset" bigint NOT NULL,
            applied_at timestamptz NOT NULL,
            PRIMARY KEY (producer, epoch, key, seq)
        );
        CREATE TABLE cursor (
            key uuid,
            producer text,
            epoch integer,
            seq bigint NOT NULL,
            PRIMARY KEY (key, producer, epoch)
        );
        CREATE TABLE early (
            producer text,
            epoch integer,
            key uuid,
            seq bigint,
            waiting_on uuid NOT NULL,
            record jsonb NOT NULL,
            since timestamptz NOT NULL,
            PRIMARY KEY (producer, epoch, key, seq)
        );
        CREATE INDEX early_waiting_on ON early (waiting_on);
        CREATE INDEX early_key ON early (key);
        CREATE TABLE parked_key (
            key uuid PRIMARY KEY,
            parked_at timestamptz NOT NULL,
            handler text NOT NULL,
            error text NOT NULL,
            attempts integer NOT NULL
        );
        CREATE TABLE parked_event (
            place bigserial PRIMARY KEY,
            key uuid NOT NULL,
            record jsonb NOT NULL,
            since timestamptz NOT NULL
        );
        CREATE INDEX ix_parked_event_key ON parked_event (key);
        CREATE TABLE timer (
            key uuid,
            name text,
            due_at timestamptz NOT NULL,
            data jsonb NOT NULL,
            PRIMARY KEY (key, name)
        );
        CREATE INDEX timer_due ON timer (due_at);
        """
    )
