"""What operators say of our floats, and callbacks found by their payment."""

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
    op.add_column("callbacks", sa.Column("payment", sa.Uuid(), nullable=True))
    op.create_index("ix_callbacks_payment", "callbacks", ["payment"], unique=False)
