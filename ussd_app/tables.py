"""Every table, as SQLAlchemy Core. migrations/ makes them; a test keeps the two equal."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Moment = DateTime(timezone=True)

subscribers = Table(
    "subscribers",
    metadata,
    Column("msisdn", Text, primary_key=True),  # E.164 with plus
    Column("name", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("registered_at", Moment, nullable=False),
    Column("pin_hash", Text),  # argon2 of the PIN's HMAC
    Column("pin_tries", SmallInteger, nullable=False, server_default="0"),
    Column("pin_locked_until", Moment),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("run", Text, nullable=False, unique=True),  # one run of a flow places once
    Column("digest", Text, nullable=False),  # of what was asked: the same run with other words is an error
    Column("code", Text, nullable=False, unique=True),  # eight digits people can read out; the last is a check digit
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),  # open | done | undone | failed | parked
    Column("msisdn", Text, nullable=False),  # who asked
    Column("recipient", Text),  # who else sees it among their movements
    Column("language", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units
    Column("fee", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("details", JSONB, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Index("ix_orders_msisdn_created_at", "msisdn", "created_at"),
    Index("ix_orders_recipient_finished_at", "recipient", "finished_at"),
)

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),  # UUIDv4: the reference on the wire, made once
    Column("order_id", Uuid, ForeignKey("orders.id"), nullable=False),
    Column("step", Text, nullable=False),  # which step of the order, or its undo
    Column("kind", Text, nullable=False),  # collection | disbursement | refund
    Column("operator", Text, nullable=False),
    Column("msisdn", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("refunds", Uuid, ForeignKey("payments.id")),
    Column("label", Text, nullable=False),  # the order's code, shown to the parties
    Column("state", Text, nullable=False),  # the states of payments.py
    Column("reason", Text),
    Column("receipt", Text),  # the operator's own id of the movement
    Column("hold", Uuid, nullable=False),  # the pending transfer posted or voided with the payment
    Column("created_at", Moment, nullable=False),
    Column("submitted_at", Moment),
    Column("final_at", Moment),
    Column("attempts", Integer, nullable=False, server_default="0"),  # submissions
    Column("doubtful", Boolean, nullable=False, server_default="false"),  # one of them may have been taken unseen
    Column("checks", Integer, nullable=False, server_default="0"),  # status queries planned by the polling
    Column("asked_at", Moment),  # when a callback last had, or will have, the operator asked
    UniqueConstraint("order_id", "step"),
    Index("ix_payments_open", "created_at", postgresql_where=text("final_at IS NULL")),
)

payment_events = Table(
    "payment_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("payment_id", Uuid, ForeignKey("payments.id"), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("path", Text, nullable=False),  # what followed the secret: kind and reference
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),  # as it came
    Column("received_at", Moment, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),  # float:<operator>, clearing:<order>, fees, suspense, receivable
    Column("currency", Text, nullable=False),
    Column("floor", Boolean, nullable=False),  # debits may not exceed credits
    Column("debits_posted", BigInteger, nullable=False, server_default="0"),
    Column("credits_posted", BigInteger, nullable=False, server_default="0"),
    Column("debits_pending", BigInteger, nullable=False, server_default="0"),
    Column("credits_pending", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("name", "currency"),
    CheckConstraint(
        "debits_posted >= 0 AND credits_posted >= 0 AND debits_pending >= 0 AND credits_pending >= 0",
        name="no_negative_sum",
    ),
    # Pending credits are not counted: money on its way in may not be spent.
    CheckConstraint("NOT floor OR debits_posted + debits_pending <= credits_posted", name="floor"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),  # single | pending | post | void
    Column("debit_account", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("credit_account", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units
    Column("currency", Text, nullable=False),
    Column("pending_id", Uuid, ForeignKey("transfers.id"), unique=True),  # of a post or void: resolved once
    Column("order_id", Uuid, ForeignKey("orders.id"), index=True),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
    CheckConstraint("amount > 0", name="positive"),
    CheckConstraint("debit_account <> credit_account", name="two_accounts"),
    CheckConstraint("kind IN ('single', 'pending', 'post', 'void')", name="kind"),
    CheckConstraint("(kind IN ('post', 'void')) = (pending_id IS NOT NULL)", name="resolves"),
)

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

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("msisdn", Text),
    Column("event", Text, nullable=False),  # registered, pin_set, pin_wrong, pin_locked, language_changed, alert
    Column("detail", JSONB, nullable=False),
)
