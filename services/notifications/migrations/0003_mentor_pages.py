"""The mentor's pages: sessions, what was shown, contacts, hellos, and which replies were read."""

from alembic import op

revision = "notifications_0003"
down_revision = "notifications_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX assignment_of_mentor ON assignment (mentor_id) WHERE state <> 'ended';
        ALTER TABLE reply ADD COLUMN read_at timestamptz;
        CREATE INDEX reply_unread ON reply (person_id) WHERE read_at IS NULL;
        CREATE TABLE mentor_session (
            hash text PRIMARY KEY,
            mentor_id uuid NOT NULL,
            card_id uuid NOT NULL REFERENCES card,
            began_at timestamptz NOT NULL,
            seen_at timestamptz NOT NULL,
            ended_at timestamptz
        );
        CREATE TABLE client_shown (
            place bigserial PRIMARY KEY,
            client_id uuid NOT NULL,
            mentor_id uuid NOT NULL,
            assignment_id uuid NOT NULL,
            page text NOT NULL,
            at timestamptz NOT NULL
        );
        CREATE TABLE contact_record (
            id uuid PRIMARY KEY,
            assignment_id uuid NOT NULL,
            client_id uuid NOT NULL,
            mentor_id uuid NOT NULL,
            way text NOT NULL CHECK (way IN ('call', 'text', 'in_person', 'video')),
            talked boolean NOT NULL,
            happened_at timestamptz NOT NULL,
            recorded_at timestamptz NOT NULL,
            next_step jsonb
        );
        CREATE INDEX contact_record_of_assignment ON contact_record (assignment_id, happened_at);
        CREATE TABLE hello (
            mentor_id uuid PRIMARY KEY,
            words jsonb NOT NULL,
            written_at timestamptz NOT NULL
        );
        """
    )
