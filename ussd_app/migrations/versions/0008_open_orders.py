"""Open orders, found by whose they are however old they are."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

OPEN = sa.text("state IN ('open', 'undoing', 'parked')")


def upgrade() -> None:
    """Index them."""
    op.create_index("ix_orders_msisdn_open", "orders", ["msisdn"], unique=False, postgresql_where=OPEN)
    op.create_index("ix_orders_recipient_open", "orders", ["recipient"], unique=False, postgresql_where=OPEN)
