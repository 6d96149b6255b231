"""Where clients are, by ids alone, for intake to compare with what it has accepted."""

from alembic import op

revision = "matching_0003"
down_revision = "matching_0002"
branch_labels = None
depends_on = "messaging_0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE VIEW placed AS
            SELECT client.id AS client_id, coalesce(assignment.state, client.state) AS state
            FROM client LEFT JOIN assignment
                ON assignment.client_id = client.id AND assignment.state <> 'ended'
            UNION ALL SELECT key, 'parked' FROM parked_key;
        GRANT SELECT ON placed TO intake;
        """
    )
