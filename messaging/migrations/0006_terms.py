"""Of which leader's term the record was that was applied last; negative where nobody knows."""

from alembic import op

revision = "messaging_0006"
down_revision = "messaging_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE stored_offset ADD COLUMN term integer NOT NULL DEFAULT -1")
