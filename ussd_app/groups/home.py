"""What the home screen asks of a person's groups: what is due, what waits for their vote, if any."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from ussd_app.groups import savings
from ussd_app.groups.views import OWED, SAVERS, share
from ussd_app.money import Money
from ussd_app.tables import (
    accounts,
    cycles,
    dues,
    group_events,
    group_rules,
    memberships,
    proposals,
    rounds,
    votes,
)
from ussd_app.tables import groups as groups_table

c, d, g, m, p, r = (table.c for table in (cycles, dues, groups_table, memberships, proposals, rounds))


CALLER = bindparam("caller", type_=m.msisdn.type)
NOW, TODAY = (bindparam(name, type_=r.due_at.type) for name in ("now", "today"))
MINE = (m.msisdn == CALLER, m.state == "active")


@dataclass(frozen=True, slots=True)
class Due:
    """What somebody pays first: the oldest round they owe, or (None) today's savings."""

    group_id: UUID
    group: str
    amount: Money
    round: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The newest request somebody may decide."""

    code: str
    kind: str


@dataclass(frozen=True, slots=True)
class Home:
    """What comes first at home."""

    due: Due | None
    waiting: Waiting | None
    has_groups: bool
    has_left: bool = False  # something of theirs stands in a group they are no member of any more


def home_of(row: Mapping[str, Any]) -> Home:
    """What HOME has found."""
    owed = (
        Due(row["due_id"], row["due_name"], Money(row["due_minor"], row["due_currency"]), row["due_number"])
        if row["due_id"]
        else None
    )
    waits = Waiting(row["waiting_code"], row["waiting_kind"]) if row["waiting_code"] else None
    return Home(owed, waits, row["groups_any"], row["groups_left"])


def _left() -> ColumnElement[bool]:
    """Whether anything stands in the accounts of a former member, or waits in suspense; own.left says how much."""
    a, back = accounts.c, group_events.alias()
    part = func.concat("member:", cast(m.id, Text))
    names = [func.concat("group:", cast(m.group_id, Text), cash, part) for cash in (":", ":cash:")]
    stands = exists().where(a.name.in_(names), a.credits_posted > a.debits_posted + a.debits_pending)
    ended = exists().where(back.c.reverses == group_events.c.id)
    waits = exists().where(group_events.c.member == m.id, group_events.c.kind == "suspended_money", ~ended)
    return exists().where(m.msisdn == CALLER, m.state != "active", or_(stands, waits))


def _due() -> Select[Any]:
    """What is overdue, then what is awaited today, then what is due later; one row at most."""
    owing = (
        select(g.id, g.name, g.currency, (d.amount - d.paid).label("minor"), r.number, r.due_at.label("by"))
        .select_from(memberships.join(groups_table, g.id == m.group_id).join(dues, d.member_id == m.id))
        .join(rounds, r.id == d.round_id)
        .join(cycles, c.id == r.cycle_id)
        .where(*MINE, OWED)
    )
    rules = and_(group_rules.c.group_id == g.id, group_rules.c.version == g.rules_version)
    saving = (
        select(g.id, g.name, g.currency, share(), cast(null(), Integer), NOW)
        .select_from(memberships.join(groups_table, g.id == m.group_id).join(group_rules, rules))
        .where(*MINE, g.kind == SAVERS, g.state != "closed", savings.awaited(TODAY))
    )
    every = union_all(owing, saving).subquery()
    return select(every).order_by(every.c.by, every.c.number, every.c.id).limit(1)


def _waiting() -> Select[Any]:
    """What policy.entitled says, in SQL; what the proposal's own screen finds later decides."""
    voted = exists().where(votes.c.proposal_id == p.id, votes.c.member_id == m.id)
    return (
        select(p.code, p.kind)
        .join(memberships, m.group_id == p.group_id)
        .where(*MINE, p.state == "open", p.expires_at > NOW)
        .where(p.asked_by != m.id, p.payee.is_distinct_from(m.id), ~voted, _entitled())
        .order_by(p.asked_at.desc(), p.code)
        .limit(1)
    )


def _entitled() -> ColumnElement[bool]:
    """Asked by name; or holding one of the roles; or anybody, where no role is named or too few hold one."""
    named, roles = p.policy["members"], p.policy["roles"]
    nobody: ColumnElement[Any] = literal([], JSONB)
    other = memberships.alias()
    holders = (
        select(func.count())
        .where(other.c.group_id == p.group_id, other.c.state == "active", roles.has_key(other.c.role))
        .where(other.c.id != p.asked_by, other.c.id.is_distinct_from(p.payee))
        .scalar_subquery()
    )
    too_few = holders < func.greatest(1, p.policy["count"].as_integer())
    by_role = or_(roles == nobody, roles.has_key(m.role), too_few)
    return or_(and_(named != nobody, named.has_key(cast(m.id, Text))), and_(named == nobody, by_role))


# Parts of the one question of a dial (actions/arrival.py), each of one row at most: whether there are groups, what is
# due and what waits. They ask for ``caller``, ``now``, and ``today``: when it began.
HOME = (
    select(exists().where(*MINE).label("any"), _left().label("left")).subquery("groups"),
    _due().subquery("due"),
    _waiting().subquery("waiting"),
)
