"""How often a payment was asked for in vain."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Count tries from here on."""
    op.add_column("payments", sa.Column("tries", sa.Integer(), server_default="0", nullable=False))
