"""Why a mentor was chosen and by whom, and roster files that are being loaded."""

from alembic import op

revision = "matching_0002"
down_revision = "matching_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE assignment ADD COLUMN why jsonb, ADD COLUMN decided_by uuid;
        CREATE INDEX assignment_client ON assignment (client_id);
        CREATE TABLE roster_load (
            id uuid PRIMARY KEY,
            facility_id uuid NOT NULL,
            at timestamptz NOT NULL,
            state text NOT NULL CHECK (state IN ('judged', 'loading', 'done', 'dropped')),
            rows integer NOT NULL,
            done integer NOT NULL,
            stored integer NOT NULL,
            errors jsonb NOT NULL
        );
        CREATE TABLE roster_chunk (
            load_id uuid REFERENCES roster_load,
            place integer,
            mentors jsonb NOT NULL,
            PRIMARY KEY (load_id, place)
        );
        """
    )
