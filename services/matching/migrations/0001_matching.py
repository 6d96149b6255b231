"""Facilities, mentors, clients, assignments and refusals, with their guards."""

from alembic import op

revision = "matching_0001"
down_revision = None
branch_labels = ("matching",)
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE facility (
            id uuid PRIMARY KEY,
            code text NOT NULL UNIQUE,
            time_zone text NOT NULL,
            asks boolean NOT NULL,
            quiet_hours text NOT NULL
        );
        CREATE TABLE mentor (
            id uuid PRIMARY KEY,
            code text NOT NULL UNIQUE,
            facility_ids uuid[] NOT NULL,
            capacity integer NOT NULL CHECK (capacity >= 0),
            state text NOT NULL,
            stopped boolean NOT NULL,
            revision integer NOT NULL,
            profile jsonb NOT NULL
        );
        CREATE INDEX mentor_facilities ON mentor USING gin (facility_ids);
        CREATE TABLE client (
            id uuid PRIMARY KEY,
            facility_id uuid NOT NULL,
            discharge_id uuid NOT NULL,
            state text NOT NULL,
            high_risk boolean NOT NULL,
            waiting_since timestamptz NOT NULL,
            about jsonb NOT NULL
        );
        CREATE INDEX client_waiting ON client (facility_id, high_risk, waiting_since)
            WHERE state = 'waiting';
        CREATE TABLE assignment (
            id uuid PRIMARY KEY,
            client_id uuid NOT NULL REFERENCES client,
            discharge_id uuid NOT NULL,
            mentor_id uuid NOT NULL REFERENCES mentor,
            place integer NOT NULL CHECK (place > 0),
            state text NOT NULL CHECK (state IN ('offered', 'assigned', 'in_contact', 'ended')),
            offered_at timestamptz,
            answer_by timestamptz,
            assigned_at timestamptz,
            contact_at timestamptz,
            ended_at timestamptz,
            end_reason text
        );
        -- Never two mentors for a client; a place of a caseload is held by one client; a mentor
        -- is asked one thing at a time. These hold whatever the order of transactions.
        CREATE UNIQUE INDEX one_mentor ON assignment (client_id) WHERE state <> 'ended';
        CREATE UNIQUE INDEX one_client_a_place ON assignment (mentor_id, place)
            WHERE state <> 'ended';
        CREATE UNIQUE INDEX one_open_offer ON assignment (mentor_id) WHERE state = 'offered';
        CREATE FUNCTION within_capacity() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.place > (SELECT capacity FROM mentor WHERE id = NEW.mentor_id FOR SHARE) THEN
                RAISE exclusion_violation USING MESSAGE = 'the caseload is full';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER within_capacity BEFORE INSERT ON assignment
            FOR EACH ROW EXECUTE FUNCTION within_capacity();
        -- Whoever keeps their place may stay when a roster lowers the capacity.
        CREATE TRIGGER within_capacity_again BEFORE UPDATE OF state, mentor_id, place ON assignment
            FOR EACH ROW WHEN (NEW.state <> 'ended' AND (OLD.state = 'ended'
                OR NEW.mentor_id <> OLD.mentor_id OR NEW.place <> OLD.place))
            EXECUTE FUNCTION within_capacity();
        CREATE TABLE refusal (
            client_id uuid,
            mentor_id uuid,
            at timestamptz NOT NULL,
            PRIMARY KEY (client_id, mentor_id)
        );
        """
    )
