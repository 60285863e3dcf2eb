"""What a hop may still do, and what came of requests whose answer was promised by SMS."""

from sqlalchemy import CheckConstraint, Column, Index, Table, Text, text

from ussd_app.tables.base import Moment, metadata

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, primary_key=True),  # of one action in one run of a flow
    Column("state", Text, nullable=False),  # used: in the commit of the effect; void: there is none and will be none
    Column("at", Moment, nullable=False),
    CheckConstraint("state IN ('used', 'void')", name="state"),
    Index("ix_idempotency_keys_at", "at"),
)

promises = Table(
    "promises",
    metadata,
    Column("key", Text, primary_key=True),
    Column("msisdn", Text, nullable=False),  # who was told "We will SMS you"
    Column("outcome", Text, nullable=False),  # ordered | done | not_done
    Column("reference", Text),  # the code of what was ordered
    Column("asked_at", Moment, nullable=False),
    Column("kept_at", Moment, nullable=False),  # when it was looked up, and the SMS written
    Column("shown_at", Moment),  # when home showed it; null: not yet
    CheckConstraint("outcome IN ('ordered', 'done', 'not_done')", name="outcome"),
    Index("ix_promises_unshown", "msisdn", postgresql_where=text("shown_at IS NULL")),
)
