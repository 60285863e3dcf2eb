"""Idempotency keys, and promises of an SMS."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make what the shape before lacks."""
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('used', 'void')", name=op.f("ck_idempotency_keys_state")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_at", "idempotency_keys", ["at"], unique=False)
    op.create_table(
        "promises",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("msisdn", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("outcome IN ('ordered', 'done', 'not_done')", name=op.f("ck_promises_outcome")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_promises")),
    )
    op.create_index(
        "ix_promises_unshown",
        "promises",
        ["msisdn"],
        unique=False,
        postgresql_where=sa.text("shown_at IS NULL"),
    )
