"""What is counted is found without reading everything."""

from alembic import op

revision = "intake_0002_flow"
down_revision = "intake_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX discharge_entered ON discharge (accepted_at);
        CREATE INDEX discharge_under_way ON discharge (state, accepted_at)
            WHERE state NOT IN ('closed', 'in_contact');
        CREATE INDEX task_of_kind ON task (kind, opened_at) WHERE done_at IS NULL;
        """
    )
