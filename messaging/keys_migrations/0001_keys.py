"""One table of keys per purpose, with the rights of each service's role on it."""

from alembic import op

from contracts.sealed import KEY_RIGHTS, PURPOSES

revision = "keys_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for purpose in PURPOSES:
        table = f"key_{purpose}"
        op.execute(
            f"""
            CREATE TABLE {table} (
                person uuid,
                version integer,
                public bytea NOT NULL,
                wrapped bytea,
                made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                destroyed_at timestamptz,
                PRIMARY KEY (person, version)
            )
            """
        )
        for role, purposes in KEY_RIGHTS.items():
            rights = purposes[purpose]
            op.execute(f"GRANT SELECT (person, version, public, destroyed_at) ON {table} TO {role}")
            if "make" in rights:
                op.execute(f"GRANT INSERT (person, version, public, wrapped) ON {table} TO {role}")
            if "open" in rights:
                op.execute(f"GRANT SELECT (wrapped) ON {table} TO {role}")
            if "destroy" in rights:
                op.execute(f"GRANT UPDATE (wrapped, destroyed_at) ON {table} TO {role}")
