"""Switches that hold a topic by hand."""

from alembic import op

revision = "messaging_0003"
down_revision = "messaging_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE held_topic (
            topic text PRIMARY KEY,
            since timestamptz NOT NULL,
            by text NOT NULL,
            because text NOT NULL
        )
        """
    )
