"""Savings groups, deliveries, vouchers and the watch over SIM cards."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

EVENTS_STAND = """
CREATE TRIGGER group_events_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON group_events
    FOR EACH STATEMENT EXECUTE FUNCTION never_changed();
"""


def upgrade() -> None:
    """Make what the first shape lacks."""
    op.create_table(
        "groups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rules_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("remind_on", sa.Date(), nullable=True),
        sa.Column("run", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("run", name=op.f("uq_groups_run")),
    )
    op.create_table(
        "sim_checks",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("msisdn", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("swapped_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_sim_checks")),
    )
    op.create_index("ix_sim_checks_msisdn", "sim_checks", ["msisdn", "asked_at"], unique=False)
    op.create_table(
        "vouchers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reference", sa.Uuid(), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vouchers")),
        sa.UniqueConstraint("product", "digest", name=op.f("uq_vouchers_product")),
        sa.UniqueConstraint("reference", name=op.f("uq_vouchers_reference")),
    )
    op.create_index(
        "ix_vouchers_stock",
        "vouchers",
        ["product", "added_at"],
        unique=False,
        postgresql_where=sa.text("reference IS NULL"),
    )
    op.create_table(
        "group_rules",
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rules", postgresql.JSONB(), nullable=False),
        sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_group_rules_group_id")),
        sa.PrimaryKeyConstraint("group_id", "version", name=op.f("pk_group_rules")),
    )
    op.create_table(
        "memberships",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("msisdn", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("slots", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("muted", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trusted_from", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_memberships_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
        sa.UniqueConstraint("group_id", "msisdn", name=op.f("uq_memberships_group_id")),
        sa.UniqueConstraint("group_id", "number", name="uq_memberships_number"),
    )
    op.create_index("ix_memberships_msisdn", "memberships", ["msisdn"], unique=False)
    op.create_table(
        "cycles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("share", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rules_version", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_cycles_group_id")),
        sa.ForeignKeyConstraint(["member_id"], ["memberships.id"], name=op.f("fk_cycles_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cycles")),
        sa.UniqueConstraint(
            "group_id", "member_id", "number", name=op.f("uq_cycles_group_id"), postgresql_nulls_not_distinct=True
        ),
    )
    op.create_table(
        "invites",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("msisdn", sa.Text(), nullable=True),
        sa.Column("invited_by", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_invites_group_id")),
        sa.ForeignKeyConstraint(["invited_by"], ["memberships.id"], name=op.f("fk_invites_invited_by")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_invites")),
    )
    op.create_index(op.f("ix_invites_group_id"), "invites", ["group_id"], unique=False)
    op.create_index("ix_invites_msisdn", "invites", ["msisdn"], unique=False)
    op.create_table(
        "rounds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cycle_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beneficiary", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("covered", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["beneficiary"], ["memberships.id"], name=op.f("fk_rounds_beneficiary")),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_rounds_cycle_id")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_rounds_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
        sa.UniqueConstraint("cycle_id", "number", name=op.f("uq_rounds_cycle_id")),
    )
    op.create_index(op.f("ix_rounds_group_id"), "rounds", ["group_id"], unique=False)
    op.create_table(
        "dues",
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fined", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint("paid >= 0 AND paid <= amount", name=op.f("ck_dues_never_overpaid")),
        sa.ForeignKeyConstraint(["member_id"], ["memberships.id"], name=op.f("fk_dues_member_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_dues_round_id")),
        sa.PrimaryKeyConstraint("round_id", "member_id", name=op.f("pk_dues")),
    )
    op.create_index("ix_dues_member", "dues", ["member_id"], unique=False, postgresql_where=sa.text("paid < amount"))
    op.create_table(
        "fines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("paid >= 0 AND paid <= amount", name=op.f("ck_fines_never_overpaid")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_fines_group_id")),
        sa.ForeignKeyConstraint(["member_id"], ["memberships.id"], name=op.f("fk_fines_member_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_fines_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fines")),
        sa.UniqueConstraint("member_id", "round_id", name=op.f("uq_fines_member_id")),
    )
    op.create_table(
        "proposals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("policy", postgresql.JSONB(), nullable=False),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.Column("asked_by", sa.Uuid(), nullable=False),
        sa.Column("payee", sa.Uuid(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("cash", sa.BigInteger(), nullable=True),
        sa.Column("round_id", sa.Uuid(), nullable=True),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["asked_by"], ["memberships.id"], name=op.f("fk_proposals_asked_by")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_proposals_group_id")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_proposals_order_id")),
        sa.ForeignKeyConstraint(["payee"], ["memberships.id"], name=op.f("fk_proposals_payee")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_proposals_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
        sa.UniqueConstraint("code", name=op.f("uq_proposals_code")),
        sa.UniqueConstraint("run", name=op.f("uq_proposals_run")),
    )
    op.create_index(op.f("ix_proposals_group_id"), "proposals", ["group_id"], unique=False)
    op.create_table(
        "group_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("actor", sa.Uuid(), nullable=True),
        sa.Column("member", sa.Uuid(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("round_id", sa.Uuid(), nullable=True),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("proposal_id", sa.Uuid(), nullable=True),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["actor"], ["memberships.id"], name=op.f("fk_group_events_actor")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_group_events_group_id")),
        sa.ForeignKeyConstraint(["member"], ["memberships.id"], name=op.f("fk_group_events_member")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_group_events_order_id")),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name=op.f("fk_group_events_proposal_id")),
        sa.ForeignKeyConstraint(["reverses"], ["group_events.id"], name=op.f("fk_group_events_reverses")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_group_events_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group_events")),
        sa.UniqueConstraint("code", name=op.f("uq_group_events_code")),
        sa.UniqueConstraint("reverses", name=op.f("uq_group_events_reverses")),
        sa.UniqueConstraint("run", name=op.f("uq_group_events_run")),
    )
    op.create_index("ix_group_events_group", "group_events", ["group_id", "id"], unique=False)
    op.create_index("ix_group_events_member", "group_events", ["member", "id"], unique=False)
    op.create_table(
        "votes",
        sa.Column("proposal_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("approves", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["member_id"], ["memberships.id"], name=op.f("fk_votes_member_id")),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name=op.f("fk_votes_proposal_id")),
        sa.PrimaryKeyConstraint("proposal_id", "member_id", name=op.f("pk_votes")),
    )
    op.create_index("ix_audit_msisdn", "audit", ["msisdn", "at"], unique=False)
    op.add_column("orders", sa.Column("group_id", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_orders_group_id"), "orders", ["group_id"], unique=False)
    op.create_foreign_key(op.f("fk_orders_group_id"), "orders", "groups", ["group_id"], ["id"])
    op.add_column("payments", sa.Column("account", sa.Text(), nullable=True))
    op.execute("UPDATE payments SET account = 'clearing:' || order_id")
    op.alter_column("payments", "account", nullable=False)
    op.add_column("payments", sa.Column("item", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("payments", sa.Column("external_id", sa.Text(), nullable=True))
    op.create_index("ix_payments_external_id", "payments", ["operator", "external_id"], unique=False)
    op.add_column("subscribers", sa.Column("sim_hash", sa.Text(), nullable=True))
    op.add_column("subscribers", sa.Column("sim_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("subscribers", sa.Column("sim_seen_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("subscribers", sa.Column("sim_changed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(EVENTS_STAND)
