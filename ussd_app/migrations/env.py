"""Alembic's entry point."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from ussd_app.tables import metadata

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    # Two processes that start together must not both migrate.
    connection.execute(text("SELECT pg_advisory_lock(hashtext('ussd_app.migrations'))"))
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
