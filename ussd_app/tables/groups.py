"""Savings groups: who is in them, what they agreed, what is due and what happened."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from ussd_app.tables.base import Moment, metadata

groups = Table(
    "groups",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),  # a file of groups/kinds
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),  # forming | running | closed
    Column("rules_version", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("remind_on", Date),  # when those who save every day are reminded next; null: nobody is
    Column("run", Text, nullable=False, unique=True),  # one run of a flow creates once
)

group_rules = Table(
    "group_rules",
    metadata,
    Column("group_id", Uuid, ForeignKey("groups.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("rules", JSONB, nullable=False),
    Column("adopted_at", Moment, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.id"), nullable=False),
    Column("number", SmallInteger, nullable=False),  # how the group counts its members, from 1
    Column("msisdn", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),  # chair | secretary | treasurer | member
    Column("slots", SmallInteger, nullable=False, server_default="1"),  # shares of a round, and turns in a cycle
    Column("state", Text, nullable=False),  # active | suspended | left
    Column("muted", JSONB, nullable=False, server_default="[]"),  # kinds of notices this member does not want
    Column("paused_at", Moment),  # a saver who takes a rest
    Column("joined_at", Moment, nullable=False),
    Column("trusted_from", Moment, nullable=False),  # may approve from then on: a new officer or number cools first
    UniqueConstraint("group_id", "msisdn"),
    UniqueConstraint("group_id", "number", name="uq_memberships_number"),
    Index("ix_memberships_msisdn", "msisdn"),
)

invites = Table(
    "invites",
    metadata,
    Column("code", Text, primary_key=True),  # eight digits, the last a check digit
    Column("group_id", Uuid, ForeignKey("groups.id"), nullable=False, index=True),
    Column("msisdn", Text),  # whom it lets in, once; null: whoever has the code, until it expires
    Column("invited_by", Uuid, ForeignKey("memberships.id"), nullable=False),
    Column("state", Text, nullable=False),  # open | used | withdrawn
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_invites_msisdn", "msisdn"),
)

cycles = Table(
    "cycles",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.id"), nullable=False),
    Column("member_id", Uuid, ForeignKey("memberships.id")),  # a saver's own; null: the group's
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),  # open | complete | paying | closed
    Column("share", BigInteger, nullable=False),  # minor units of one contribution, fixed for the cycle
    Column("paid", BigInteger, nullable=False, server_default="0"),  # minor units a saver has put into their own
    Column("rules_version", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    UniqueConstraint("group_id", "member_id", "number", postgresql_nulls_not_distinct=True),
)

rounds = Table(
    "rounds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("cycle_id", Uuid, ForeignKey("cycles.id"), nullable=False),
    Column("group_id", Uuid, ForeignKey("groups.id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("beneficiary", Uuid, ForeignKey("memberships.id")),  # whose turn it is; null: not yet decided
    Column("state", Text, nullable=False),  # planned | open | paid
    Column("covered", BigInteger, nullable=False, server_default="0"),  # minor units the fund has put in, not yet back
    UniqueConstraint("cycle_id", "number"),
)

dues = Table(
    "dues",
    metadata,
    Column("round_id", Uuid, ForeignKey("rounds.id"), primary_key=True),
    Column("member_id", Uuid, ForeignKey("memberships.id"), primary_key=True),
    Column("amount", BigInteger, nullable=False),  # minor units
    Column("paid", BigInteger, nullable=False, server_default="0"),
    Column("fined", Boolean, nullable=False, server_default="false"),
    CheckConstraint("paid >= 0 AND paid <= amount", name="never_overpaid"),  # what is over goes to the next round
    Index("ix_dues_member", "member_id", postgresql_where=text("paid < amount")),
)

fines = Table(
    "fines",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.id"), nullable=False),
    Column("member_id", Uuid, ForeignKey("memberships.id"), nullable=False),
    Column("round_id", Uuid, ForeignKey("rounds.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units
    Column("paid", BigInteger, nullable=False, server_default="0"),
    Column("at", Moment, nullable=False),
    UniqueConstraint("member_id", "round_id"),
    CheckConstraint("paid >= 0 AND paid <= amount", name="never_overpaid"),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.id"), nullable=False, index=True),
    Column("code", Text, nullable=False, unique=True),  # eight digits, the last a check digit
    Column("run", Text, nullable=False, unique=True),  # one run of a flow proposes once
    Column("kind", Text, nullable=False),  # payout | rules | role | swap | phone | removal
    Column("state", Text, nullable=False),  # open | adopted | rejected | expired
    Column("policy", JSONB, nullable=False),  # whose consent it takes, as the rules were when it was asked
    Column("details", JSONB, nullable=False),
    Column("asked_by", Uuid, ForeignKey("memberships.id"), nullable=False),
    Column("payee", Uuid, ForeignKey("memberships.id")),
    Column("amount", BigInteger),  # minor units, out of the group's wallet money
    Column("cash", BigInteger),  # minor units, out of its cash box
    Column("round_id", Uuid, ForeignKey("rounds.id")),
    Column("order_id", Uuid, ForeignKey("orders.id")),  # that carries it out
    Column("asked_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("decided_at", Moment),
)

votes = Table(
    "votes",
    metadata,
    Column("proposal_id", Uuid, ForeignKey("proposals.id"), primary_key=True),
    Column("member_id", Uuid, ForeignKey("memberships.id"), primary_key=True),
    Column("approves", Boolean, nullable=False),
    Column("at", Moment, nullable=False),
)

group_events = Table(
    "group_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("group_id", Uuid, ForeignKey("groups.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("code", Text, unique=True),  # of the receipt any member may check
    Column("run", Text, unique=True),  # one run of a flow does what it does once
    Column("actor", Uuid, ForeignKey("memberships.id")),
    Column("member", Uuid, ForeignKey("memberships.id")),  # whom it concerns
    Column("amount", BigInteger),  # minor units
    Column("round_id", Uuid, ForeignKey("rounds.id")),
    Column("order_id", Uuid, ForeignKey("orders.id")),
    Column("proposal_id", Uuid, ForeignKey("proposals.id")),
    Column("reverses", BigInteger, ForeignKey("group_events.id"), unique=True),
    Column("details", JSONB, nullable=False),
    Index("ix_group_events_group", "group_id", "id"),
    Index("ix_group_events_member", "member", "id"),
)
