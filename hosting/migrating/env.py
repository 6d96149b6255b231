"""What Alembic runs: one database, one transaction per migration, one migrator at a time."""

from alembic import context
from sqlalchemy import create_engine, text

_LOCK = 7_203_114

engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"))
    connection.commit()
engine.dispose()
