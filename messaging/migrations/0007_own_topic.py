"""Which topic of its own a service has read back: one that was made anew has other places."""

from alembic import op

revision = "messaging_0007"
down_revision = "messaging_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE epoch ADD COLUMN topic_id uuid")
