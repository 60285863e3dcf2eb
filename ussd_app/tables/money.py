"""What was asked for, the payments it takes, and the ledger."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    column,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from ussd_app.tables.base import Moment, metadata

OPEN = text("state IN ('open', 'undoing', 'parked')")  # few, and looked for whenever somebody dials

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("run", Text, nullable=False, unique=True),  # one run of a flow places once
    Column("digest", Text, nullable=False),  # of what was asked: the same run with other words is an error
    Column("code", Text, nullable=False, unique=True),  # eight digits people can read out; the last is a check digit
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),  # open | undoing | parked | done | undone | failed
    Column("msisdn", Text, nullable=False),  # who asked
    Column("recipient", Text),  # who else sees it among their movements
    Column("language", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units
    Column("fee", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("group_id", Uuid, ForeignKey("groups.id"), index=True),  # whose accounts its settling touches
    Column("details", JSONB, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Index("ix_orders_msisdn_created_at", "msisdn", "created_at"),
    Index("ix_orders_recipient_finished_at", "recipient", "finished_at"),
    Index("ix_orders_msisdn_open", "msisdn", postgresql_where=OPEN),
    Index("ix_orders_recipient_open", "recipient", postgresql_where=OPEN),
)

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),  # UUIDv4: the reference on the wire, made once
    Column("order_id", Uuid, ForeignKey("orders.id"), nullable=False),
    Column("step", Text, nullable=False),  # which step of the order, or its undo
    Column("kind", Text, nullable=False),  # collection | disbursement | refund | delivery
    Column("operator", Text, nullable=False),  # or the delivery
    Column("account", Text, nullable=False),  # of ours, opposite the float: clearing:<order>, or a group's
    Column("msisdn", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("refunds", Uuid, ForeignKey("payments.id")),
    Column("label", Text, nullable=False),  # the order's code, shown to the parties
    Column("item", JSONB, nullable=False, server_default="{}"),  # what a delivery hands over
    Column("external_id", Text),  # the provider's own id, where it gives one before the end
    Column("state", Text, nullable=False),  # the states of payments.py
    Column("reason", Text),
    Column("receipt", Text),  # the operator's own id of the movement
    Column("hold", Uuid, nullable=False),  # the pending transfer posted or voided with the payment
    Column("created_at", Moment, nullable=False),
    Column("submitted_at", Moment),
    Column("final_at", Moment),
    Column("attempts", Integer, nullable=False, server_default="0"),  # submissions
    Column("tries", Integer, nullable=False, server_default="0"),  # of them, those that left and came to nothing
    Column("doubtful", Boolean, nullable=False, server_default="false"),  # one of them may have been taken unseen
    Column("checks", Integer, nullable=False, server_default="0"),  # status queries planned by the polling
    Column("asked_at", Moment),  # when a callback last had, or will have, the operator asked
    UniqueConstraint("order_id", "step"),
    Index("ix_payments_external_id", "operator", "external_id"),
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
    Column("payment", Uuid),  # which it names by our reference
    Column("external_id", Text),  # by which the provider calls the movement, where it does
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),  # as it came
    Column("received_at", Moment, nullable=False),
    Index("ix_callbacks_payment", "payment"),
    Index("ix_callbacks_external_id", "provider", "external_id"),
)

account_names = Table(
    "account_names",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),  # float:<operator>, clearing:<order>, fees, suspense, receivable
    Column("currency", Text, nullable=False),
    Column("floor", Boolean, nullable=False),  # debits may not exceed credits
    Column("spread", Boolean, nullable=False),  # many orders share it: its sums stand in a row for each lane
    UniqueConstraint("name", "currency"),
)

# An account's sums are the sums of its rows here. Only the ledger's triggers write them (migrations/0010).
account_parts = Table(
    "account_parts",
    metadata,
    Column("account", BigInteger, ForeignKey("account_names.id"), primary_key=True, autoincrement=False),
    Column("part", SmallInteger, primary_key=True, autoincrement=False),  # the lane; 0 of an account that is not spread
    Column("floor", Boolean, nullable=False),  # as of the account: the rows' floors make the sum's
    Column("debits_posted", BigInteger, nullable=False, server_default="0"),
    Column("credits_posted", BigInteger, nullable=False, server_default="0"),
    Column("debits_pending", BigInteger, nullable=False, server_default="0"),
    Column("credits_pending", BigInteger, nullable=False, server_default="0"),
    CheckConstraint(
        "debits_posted >= 0 AND credits_posted >= 0 AND debits_pending >= 0 AND credits_pending >= 0",
        name="no_negative_sum",
    ),
    # Pending credits are not counted: money on its way in may not be spent.
    CheckConstraint("NOT floor OR debits_posted + debits_pending <= credits_posted", name="floor"),
)

# The view that every reader of names and sums reads.
accounts = table(
    "accounts",
    column("id", BigInteger),
    column("name", Text),
    column("currency", Text),
    column("floor", Boolean),
    column("debits_posted", BigInteger),
    column("credits_posted", BigInteger),
    column("debits_pending", BigInteger),
    column("credits_pending", BigInteger),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),  # single | pending | post | void
    Column("debit_account", BigInteger, ForeignKey("account_names.id"), nullable=False),
    Column("credit_account", BigInteger, ForeignKey("account_names.id"), nullable=False),
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

float_balances = Table(
    "float_balances",
    metadata,
    Column("account", Text, primary_key=True),  # of ours: float:<operator>...
    Column("currency", Text, primary_key=True),
    Column("minor", BigInteger, nullable=False),  # what the operator last said it holds
    Column("told_at", Moment, nullable=False),
)

deposits = Table(
    "deposits",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("receipt", Text, nullable=False),  # the operator's own id of it
    Column("digits", Text, nullable=False),  # of the receipt: what its payer dials
    Column("amount", BigInteger, nullable=False),  # minor units
    Column("currency", Text, nullable=False),
    Column("payer", Text, nullable=False),  # as the operator shows it: whole, masked or hashed
    Column("label", Text, nullable=False),  # what they typed beside it
    Column("state", Text, nullable=False),  # told | confirmed | own | disputed: see till.py
    Column("looks", Integer, nullable=False, server_default="0"),  # questions to the operator planned
    Column("told_at", Moment, nullable=False),
    Column("confirmed_at", Moment),  # when it was booked
    Column("claimed_at", Moment),
    Column("claimed_by", Text),
    Column("order_id", Uuid, ForeignKey("orders.id"), index=True),  # that it is claimed for, or that collected it
    UniqueConstraint("provider", "receipt"),
    Index("ix_deposits_digits", "digits", postgresql_where=text("state = 'confirmed' AND claimed_at IS NULL")),
)

vouchers = Table(
    "vouchers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("product", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the code or credentials, encrypted
    Column("digest", LargeBinary, nullable=False),  # keyed, so that no code is stocked twice
    Column("added_at", Moment, nullable=False),
    Column("reference", Uuid, unique=True),  # of the payment it was handed over for; null: in stock
    Column("taken_at", Moment),
    UniqueConstraint("product", "digest"),
    Index("ix_vouchers_stock", "product", "added_at", postgresql_where=text("reference IS NULL")),
)
