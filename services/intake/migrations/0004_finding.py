"""Finding a client by keyed tokens, who took a task, and the names that mentors go by."""

from alembic import op

revision = "intake_0004_finding"
down_revision = "intake_0003_following"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE search_token (
            token text NOT NULL,
            client_id uuid NOT NULL REFERENCES client,
            PRIMARY KEY (token, client_id)
        );
        CREATE INDEX search_token_of_client ON search_token (client_id);
        CREATE TABLE mentor_name (
            mentor_id uuid PRIMARY KEY,
            name jsonb NOT NULL
        );
        ALTER TABLE task ADD COLUMN taken_by text, ADD COLUMN taken_at timestamptz;
        """
    )
