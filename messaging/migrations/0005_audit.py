"""What people did by hand, chained so that nothing of it is altered unseen; replays; erasures."""

from alembic import op

revision = "messaging_0005"
down_revision = "messaging_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE audit (
            place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL,
            by text NOT NULL,
            did text NOT NULL,
            about text NOT NULL,
            details jsonb NOT NULL
        );
        CREATE TABLE audit_chain (
            link bigint PRIMARY KEY,
            place bigint NOT NULL UNIQUE REFERENCES audit,
            hash bytea NOT NULL
        );
        CREATE FUNCTION only_append() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'the audit is only added to'; END $$;
        CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
            FOR EACH STATEMENT EXECUTE FUNCTION only_append();
        CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
            FOR EACH STATEMENT EXECUTE FUNCTION only_append();
        CREATE TABLE replay (
            id uuid PRIMARY KEY,
            begun_at timestamptz NOT NULL,
            by text NOT NULL,
            handler text,
            error text,
            at_parked timestamptz,
            at_key uuid,
            released integer NOT NULL DEFAULT 0,
            failed integer NOT NULL DEFAULT 0,
            failed_in_a_row integer NOT NULL DEFAULT 0,
            ended_at timestamptz
        );
        CREATE TABLE shredded (key uuid PRIMARY KEY, at timestamptz NOT NULL);
        CREATE UNIQUE INDEX one_replay ON replay ((true)) WHERE ended_at IS NULL;
        """
    )
