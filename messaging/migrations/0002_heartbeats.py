"""When each partition was last heard to its end."""

from alembic import op

revision = "messaging_0002"
down_revision = "messaging_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE stored_offset ADD COLUMN heard_at timestamptz")
