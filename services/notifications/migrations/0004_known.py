"""Which clients are known, by ids alone, for intake to compare with what it has accepted."""

from alembic import op

revision = "notifications_0004"
down_revision = "notifications_0003"
branch_labels = None
depends_on = "messaging_0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE VIEW placed AS
            SELECT id AS client_id, 'known' AS state FROM person WHERE kind = 'client'
            UNION ALL SELECT key, 'parked' FROM parked_key;
        GRANT SELECT ON placed TO intake;
        """
    )
