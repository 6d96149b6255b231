"""Who waits though nobody was told yet that there is nobody for them."""

from alembic import op

revision = "matching_0004"
down_revision = "matching_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE client ADD COLUMN untold boolean NOT NULL DEFAULT false")
