"""Facilities, clients, discharges, consents, tasks and the story."""

from alembic import op

revision = "intake_0001"
down_revision = None
branch_labels = ("intake",)
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE facility (
            id uuid PRIMARY KEY,
            code text NOT NULL UNIQUE,
            settings jsonb NOT NULL,
            people jsonb NOT NULL
        );
        CREATE TABLE client (
            id uuid PRIMARY KEY,
            facility_id uuid NOT NULL REFERENCES facility,
            record_token text NOT NULL,
            person jsonb NOT NULL,
            died_at timestamptz,
            UNIQUE (facility_id, record_token)
        );
        CREATE TABLE discharge (
            id uuid PRIMARY KEY,
            client_id uuid NOT NULL REFERENCES client,
            facility_id uuid NOT NULL REFERENCES facility,
            visit_token text NOT NULL,
            details jsonb NOT NULL,
            high_risk boolean NOT NULL,
            state text NOT NULL,
            unparked_state text,
            closed_because text,
            accepted_at timestamptz NOT NULL,
            said_at timestamptz,
            next_what text,
            next_by timestamptz,
            UNIQUE (client_id, visit_token)
        );
        CREATE TABLE consent (
            client_id uuid NOT NULL REFERENCES client,
            channel text NOT NULL,
            wording text NOT NULL,
            method text NOT NULL,
            given_at timestamptz NOT NULL,
            obtained_by jsonb NOT NULL,
            recorded_at timestamptz NOT NULL,
            revoked_at timestamptz
        );
        CREATE UNIQUE INDEX consent_in_force ON consent (client_id, channel)
            WHERE revoked_at IS NULL;
        CREATE TABLE task (
            id uuid PRIMARY KEY,
            kind text NOT NULL,
            about uuid NOT NULL,
            facility_id uuid,
            client_id uuid,
            discharge_id uuid,
            owner text NOT NULL,
            high_risk boolean NOT NULL,
            opened_at timestamptz NOT NULL,
            due_at timestamptz NOT NULL,
            done_at timestamptz,
            done_because text,
            done_by text,
            done_words text
        );
        CREATE UNIQUE INDEX task_open ON task (kind, about) WHERE done_at IS NULL;
        CREATE INDEX task_of_facility ON task (facility_id, due_at) WHERE done_at IS NULL;
        CREATE TABLE step (
            place bigserial PRIMARY KEY,
            client_id uuid NOT NULL,
            discharge_id uuid,
            at timestamptz NOT NULL,
            service text NOT NULL,
            what text NOT NULL,
            event_id uuid UNIQUE,
            words jsonb NOT NULL
        );
        CREATE INDEX step_of_client ON step (client_id, place);
        CREATE TABLE answered (
            caller text NOT NULL,
            key_token text NOT NULL,
            body_token text NOT NULL,
            answer jsonb NOT NULL,
            at timestamptz NOT NULL,
            PRIMARY KEY (caller, key_token)
        );
        """
    )
