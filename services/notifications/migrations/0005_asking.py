"""When a network is asked about a text of which nobody knows whether it was taken."""

from alembic import op

revision = "notifications_0005"
down_revision = "notifications_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE message ADD COLUMN ask_at timestamptz,
            ADD COLUMN asked integer NOT NULL DEFAULT 0;
        CREATE INDEX message_to_ask_about ON message (ask_at) WHERE ask_at IS NOT NULL;
        """
    )
