"""Callbacks found by the id a provider gives a movement, which may come before we know whose id that is."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make what the shape before lacks."""
    op.add_column("callbacks", sa.Column("external_id", sa.Text(), nullable=True))
    op.create_index("ix_callbacks_external_id", "callbacks", ["provider", "external_id"], unique=False)
