"""What leaves next is found without looking at all that is due."""

from alembic import op

revision = "notifications_0006"
down_revision = "notifications_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX message_next ON message (is_answer DESC, due_at, id)
            WHERE state = 'planned'
        """
    )
