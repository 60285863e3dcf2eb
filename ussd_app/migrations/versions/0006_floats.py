"""What operators say of our floats, and callbacks found by their address."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make what the shape before lacks."""
    op.create_table(
        "float_balances",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "currency", name=op.f("pk_float_balances")),
    )
    op.create_index(op.f("ix_callbacks_path"), "callbacks", ["provider", "path"], unique=False)
