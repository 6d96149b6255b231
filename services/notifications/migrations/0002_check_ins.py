"""Check-ins are questions too, and one of a kind may be asked again once it is closed."""

from alembic import op

revision = "notifications_0002"
down_revision = "notifications_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE question
            DROP CONSTRAINT question_kind_check,
            ADD CONSTRAINT question_kind_check
                CHECK (kind IN ('offer', 'contact', 'introduction', 'check_in')),
            DROP CONSTRAINT question_assignment_id_kind_key;
        CREATE UNIQUE INDEX one_unanswered_of_a_kind ON question (assignment_id, kind)
            WHERE state <> 'closed';
        """
    )
