"""Facilities, persons, consents, assignments, questions, messages, replies and cards."""

from alembic import op

revision = "notifications_0001"
down_revision = None
branch_labels = ("notifications",)
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE facility (
            id uuid PRIMARY KEY,
            alias text NOT NULL,
            time_zone text NOT NULL,
            language text NOT NULL,
            promised_hours integer NOT NULL,
            quiet_hours text NOT NULL,
            people jsonb NOT NULL
        );
        CREATE TABLE person (
            id uuid PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN ('client', 'mentor')),
            facility_id uuid,
            discharge_id uuid,
            state text NOT NULL,
            route text,
            route_ends_on date,
            mobile_token text,
            email_token text,
            contact jsonb
        );
        CREATE INDEX person_mobile ON person (mobile_token);
        CREATE TABLE stopped_address (token text PRIMARY KEY, since timestamptz NOT NULL);
        CREATE TABLE consent (
            client_id uuid,
            channel text,
            PRIMARY KEY (client_id, channel)
        );
        CREATE TABLE assignment (
            id uuid PRIMARY KEY,
            client_id uuid NOT NULL,
            discharge_id uuid NOT NULL,
            mentor_id uuid NOT NULL,
            state text NOT NULL,
            call_by timestamptz,
            answer_by timestamptz
        );
        CREATE INDEX assignment_of_client ON assignment (client_id);
        CREATE TABLE question (
            id uuid PRIMARY KEY,
            person_id uuid NOT NULL,
            kind text NOT NULL CHECK (kind IN ('offer', 'contact', 'introduction')),
            assignment_id uuid NOT NULL,
            client_id uuid NOT NULL,
            discharge_id uuid NOT NULL,
            state text NOT NULL CHECK (state IN ('open', 'waiting', 'closed')),
            asked_at timestamptz NOT NULL,
            UNIQUE (assignment_id, kind)
        );
        CREATE UNIQUE INDEX one_open_question ON question (person_id) WHERE state = 'open';
        CREATE INDEX question_of_person ON question (person_id) WHERE state <> 'closed';
        CREATE TABLE message (
            id uuid PRIMARY KEY,
            once text NOT NULL,
            person_id uuid,
            recipient text NOT NULL,
            subject_id uuid NOT NULL,
            discharge_id uuid,
            assignment_id uuid,
            facility_id uuid,
            purpose text NOT NULL,
            channel text NOT NULL,
            is_answer boolean NOT NULL,
            state text NOT NULL CHECK (state IN ('planned', 'leased', 'handed_over', 'delivered',
                'failed', 'unconfirmed', 'suppressed')),
            reason text,
            due_at timestamptz NOT NULL,
            first_due_at timestamptz NOT NULL,
            attempts integer NOT NULL,
            lease_until timestamptz,
            provider_id text,
            template text,
            version integer,
            said jsonb,
            address jsonb,
            handed_over_at timestamptz,
            UNIQUE (once, channel)
        );
        CREATE INDEX message_due ON message (due_at) WHERE state = 'planned';
        CREATE INDEX message_leased ON message (lease_until) WHERE state = 'leased';
        CREATE INDEX message_of_person ON message (person_id);
        CREATE INDEX message_of_subject ON message (subject_id);
        CREATE TABLE reply (
            id uuid PRIMARY KEY,
            provider_id text UNIQUE,
            person_id uuid,
            channel text NOT NULL,
            meaning text NOT NULL,
            words jsonb,
            received_at timestamptz NOT NULL
        );
        CREATE TABLE card (
            id uuid PRIMARY KEY,
            token text NOT NULL UNIQUE,
            assignment_id uuid NOT NULL UNIQUE,
            mentor_id uuid NOT NULL,
            client_id uuid NOT NULL,
            wrong_codes integer NOT NULL,
            made_at timestamptz NOT NULL,
            ended_at timestamptz
        );
        CREATE TABLE card_opening (
            place bigserial PRIMARY KEY,
            card_id uuid NOT NULL REFERENCES card,
            at timestamptz NOT NULL,
            outcome text NOT NULL
        );
        """
    )
