"""The migrations make what tables.py says, and run as often as one likes."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from ussd_app.migrations import upgrade
from ussd_app.tables import metadata


def test_migrated_and_described_tables_are_equal(database: str) -> None:
    """A column added to one and forgotten in the other is found here."""
    upgrade(database)  # once more: nothing happens
    engine = create_engine(database)
    with engine.connect() as connection:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), metadata) == []
    engine.dispose()
