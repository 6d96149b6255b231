"""Accounts of people, and their sessions."""

from alembic import op

revision = "access_0002"
down_revision = "access_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE account (
            id uuid PRIMARY KEY,
            login_token text NOT NULL UNIQUE,
            password_hash text NOT NULL,
            role text NOT NULL,
            scope text NOT NULL,
            failures integer NOT NULL DEFAULT 0,
            locked_until timestamptz,
            made_at timestamptz NOT NULL,
            ended_at timestamptz
        );
        CREATE TABLE session (
            hash text PRIMARY KEY,
            account_id uuid NOT NULL REFERENCES account,
            began_at timestamptz NOT NULL,
            seen_at timestamptz NOT NULL,
            ended_at timestamptz
        );
        CREATE INDEX session_of_account ON session (account_id) WHERE ended_at IS NULL;
        CREATE TABLE sign_in_link (
            hash text PRIMARY KEY,
            account_id uuid NOT NULL REFERENCES account,
            made_at timestamptz NOT NULL,
            used_at timestamptz
        );
        CREATE VIEW valid_session AS
            SELECT session.hash, account.id AS account_id, account.role, account.scope,
                session.began_at, session.seen_at
            FROM session JOIN account ON account.id = session.account_id
            WHERE session.ended_at IS NULL AND account.ended_at IS NULL;
        GRANT SELECT, INSERT, UPDATE ON account, session, sign_in_link TO intake;
        GRANT SELECT ON valid_session TO intake, matching, notifications;
        """
    )
