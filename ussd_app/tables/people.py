"""The people, their PINs, SIMs and networks, and what a person must be able to look up later."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Identity,
    Index,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from ussd_app.tables.base import Moment, metadata

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
    Column("sim_hash", Text),  # keyed, of the imsi last seen; null: never seen
    Column("sim_since", Moment),  # when that one was first seen
    Column("sim_seen_at", Moment),  # and when last, to the hour
    Column("sim_changed_at", Moment),  # null: it is the first we know
)

sim_checks = Table(
    "sim_checks",
    metadata,
    Column("request_id", Text, primary_key=True),  # the provider's; its answer names no number
    Column("msisdn", Text, nullable=False),
    Column("asked_at", Moment, nullable=False),
    Column("answered_at", Moment),
    Column("swapped_on", Date),  # null once answered: never
    Index("ix_sim_checks_msisdn", "msisdn", "asked_at"),
)

routes = Table(
    "routes",
    metadata,
    Column("msisdn", Text, primary_key=True),  # E.164 with plus
    Column("operator", Text, nullable=False),  # a name in OPERATORS
    Column("source", Text, nullable=False),  # network, chosen, staff, paid; or not_found: it is not on this one
    Column("at", Moment, nullable=False),  # when that was so
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("msisdn", Text),
    # registered, pin_set, pin_wrong, pin_locked, language_changed, name_changed, sim_changed, wrong_code, alert,
    # decided
    Column("event", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Index("ix_audit_msisdn", "msisdn", "at"),
)
