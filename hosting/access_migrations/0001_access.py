"""API tokens, and the one offset of everybody's clock."""

from alembic import op

revision = "access_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE token (
            id uuid PRIMARY KEY,
            hash text NOT NULL UNIQUE,
            scope text NOT NULL,
            made_at timestamptz NOT NULL,
            revoked_at timestamptz
        );
        CREATE VIEW valid_token AS SELECT id, hash, scope FROM token WHERE revoked_at IS NULL;
        CREATE TABLE clock (
            one boolean PRIMARY KEY DEFAULT true CHECK (one),
            offset_seconds double precision NOT NULL
        );
        INSERT INTO clock (offset_seconds) VALUES (0);
        GRANT SELECT, INSERT, UPDATE ON token TO intake;
        GRANT SELECT ON valid_token, clock TO intake, matching, notifications;
        GRANT SELECT ON clock TO clock_reader;
        """
    )
