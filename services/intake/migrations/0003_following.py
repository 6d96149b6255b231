"""A step is found by the message or assignment that it names, and by what is measured."""

from alembic import op

revision = "intake_0003_following"
down_revision = "intake_0002_flow"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX step_naming
            ON step (coalesce(words ->> 'message_id', words ->> 'assignment_id'))
            WHERE coalesce(words ->> 'message_id', words ->> 'assignment_id') IS NOT NULL;
        CREATE INDEX step_reached ON step (what, at)
            WHERE (what = 'message_handed_over' AND words ->> 'purpose' = 'first')
            OR what = 'first_contact';
        """
    )
