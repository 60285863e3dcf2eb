"""Every table, as SQLAlchemy Core. migrations/ makes them; a test keeps the two equal."""

from ussd_app.tables.base import metadata
from ussd_app.tables.groups import (
    cycles,
    dues,
    fines,
    group_events,
    group_rules,
    groups,
    invites,
    memberships,
    proposals,
    rounds,
    votes,
)
from ussd_app.tables.money import (
    account_names,
    account_parts,
    accounts,
    callbacks,
    deposits,
    float_balances,
    orders,
    payment_events,
    payments,
    transfers,
    vouchers,
)
from ussd_app.tables.people import audit, routes, sim_checks, subscribers
from ussd_app.tables.promises import idempotency_keys, promises
from ussd_app.tables.sms import message_attempts, messages, reports

__all__ = [
    "account_names",
    "account_parts",
    "accounts",
    "audit",
    "callbacks",
    "cycles",
    "deposits",
    "dues",
    "fines",
    "float_balances",
    "group_events",
    "group_rules",
    "groups",
    "idempotency_keys",
    "invites",
    "memberships",
    "message_attempts",
    "messages",
    "metadata",
    "orders",
    "payment_events",
    "payments",
    "promises",
    "proposals",
    "reports",
    "rounds",
    "routes",
    "sim_checks",
    "subscribers",
    "transfers",
    "votes",
    "vouchers",
]
