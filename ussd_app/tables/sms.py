"""Messages out, what became of them, and what came in."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from ussd_app.tables.base import Moment, metadata

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key", Text, nullable=False, unique=True),  # of the business event: one event, one message
    Column("msisdn", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("parts", SmallInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),  # 0 code, 1 receipt, 2 notice, 3 reminder, 4 bulk
    Column("sender", Text),  # whose pump takes it next; null: nobody's
    Column("state", Text, nullable=False),  # senders.State, or waiting | sending
    Column("created_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("deadline", Moment, nullable=False),
    Column("order_id", Uuid, ForeignKey("orders.id"), index=True),
    Index("ix_messages_waiting", "sender", "priority", "due_at", postgresql_where=text("state = 'waiting'")),
)

message_attempts = Table(
    "message_attempts",
    metadata,
    Column("correlator", Uuid, primary_key=True),  # ours, fresh for each attempt
    Column("message_id", Uuid, ForeignKey("messages.id"), nullable=False),
    Column("sender", Text, nullable=False),
    Column("number", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),  # sending | accepted | refused | throttled | indeterminate
    Column("external_id", Text),
    Column("reason", Text),
    Column("detail", Text),
    Column("started_at", Moment, nullable=False),
    Column("answered_at", Moment),
    Column("reported_at", Moment),
    UniqueConstraint("message_id", "sender", "number"),
    Index("ix_message_attempts_external_id", "sender", "external_id"),
    Index("ix_message_attempts_sending", "started_at", postgresql_where=text("state = 'sending'")),
)

reports = Table(
    "reports",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("sender", Text, nullable=False),
    Column("kind", Text, nullable=False),  # report | inbound
    Column("external_id", Text),
    Column("correlator", Text),
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("matched_at", Moment),  # null: came before the reply to its send, or is nobody's
    Index("ix_reports_unmatched_external_id", "sender", "external_id", postgresql_where=text("matched_at IS NULL")),
    Index("ix_reports_unmatched_correlator", "sender", "correlator", postgresql_where=text("matched_at IS NULL")),
)
