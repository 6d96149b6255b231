"""Which database an epoch belongs to, and how far its own topic was read back."""

from alembic import op

revision = "messaging_0004"
down_revision = "messaging_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE epoch ADD COLUMN system bigint, ADD COLUMN timeline integer,
            ADD COLUMN read_back jsonb NOT NULL DEFAULT '{}'
        """
    )
