"""Which event a key is parked for: several of its type may wait."""

from alembic import op

revision = "messaging_0008"
down_revision = "messaging_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE parked_key ADD COLUMN event_id uuid")
