"""What a member sees of their groups: reads only, few queries each, and None for whoever is no member.

Money is owed for the rounds of the cycle that runs; a saver owes nothing, but is awaited every day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, null, select, tuple_

from ussd_app import codes
from ussd_app.groups import Groups, books, owed, savings
from ussd_app.groups.members import member_of
from ussd_app.groups.model import Group, Member, Rules
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look
from ussd_app.tables import accounts, cycles, dues, fines, group_events, group_rules, memberships, rounds
from ussd_app.tables import groups as groups_table

PAGE = 10  # lines of a list; no screen shows more
SAVERS = "daily"  # the kind whose members have cycles of their own

c, d, e, f, g, m, r = (t.c for t in (cycles, dues, group_events, fines, groups_table, memberships, rounds))

OWED = and_(d.paid < d.amount, c.state == "open")  # of a member's dues, joined to their rounds and cycles


@dataclass(frozen=True, slots=True)
class Due:
    """What one member pays next: for a round of the group, or (None) for today."""

    round: int | None
    amount: Money


@dataclass(frozen=True, slots=True)
class RoundNow:
    """The round whose pot is being filled."""

    id: UUID
    number: int
    of: int  # rounds of the cycle
    due_at: datetime
    beneficiary: str | None  # None: not yet decided
    paid: int  # members who have paid it in full
    members: int  # of so many who owe it
    pot: Money  # when all have paid


@dataclass(frozen=True, slots=True)
class Overview:
    """A group as one of its members sees it first; what does not apply is None."""

    group: Group
    member: Member
    members: int  # active ones
    round: RoundNow | None
    savings: savings.Savings | None
    due: Due | None
    owed: Money  # of all rounds together


@dataclass(frozen=True, slots=True)
class Turn:
    """A round whose pot is a member's."""

    round: int
    due_at: datetime
    paid: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """One member's turns in the cycle that runs, and what stands between them and the group."""

    turns: tuple[Turn, ...]
    advance: Money  # paid in for what comes; a saver's savings
    owed: Money
    fines: Money
    received: Money  # ever, in payouts


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list; ``key`` is what its next page begins after."""

    key: str
    number: int  # of the member, or 0
    name: str
    role: str = ""
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a list, and whether it goes on."""

    lines: tuple[Line, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a code stands for."""

    group: str
    kind: str  # of the event: contribution, paid_out, savings_paid, reversed, ...
    name: str  # whose money it was, or became
    amount: Money
    at: datetime
    round: int | None
    stands: bool  # False: it was reversed


async def my_groups(groups: Groups, msisdn: Msisdn, after: str | None = None) -> Page:
    """The groups somebody is an active member of, by name; the key is a group's id."""
    query = select(g.id, g.name).join(memberships, m.group_id == g.id).where(m.msisdn == msisdn, m.state == "active")
    if after:
        last = select(g.name, g.id).where(g.id == UUID(after)).correlate(None).subquery()
        query = query.where(tuple_(g.name, g.id) > select(last.c.name, last.c.id).scalar_subquery())
    async with groups.store.look() as connection:
        rows = (await connection.execute(query.order_by(g.name, g.id).limit(PAGE + 1))).all()
    return _page([Line(str(row.id), 0, row.name) for row in rows])


async def overview(groups: Groups, msisdn: Msisdn, group_id: UUID) -> Overview | None:
    """All that the group's own screen shows."""
    async with groups.store.look() as connection:
        found = await place(connection, msisdn, group_id)
        if found is None:
            return None
        group, member, count = found
        if group.kind == SAVERS:
            today = await savings.due(groups, connection, group, member)
            saved = await savings.state(connection, member)
            return Overview(group, member, count, None, saved, Due(None, today) if today else None, _none(group))
        dues_open = await owed.open_dues(connection, member, group.currency)
        now = await _round_now(connection, group)
    first = Due(dues_open[0].round.number, dues_open[0].open) if dues_open else None
    return Overview(group, member, count, now, None, first, sum((due.open for due in dues_open), _none(group)))


async def unpaid(groups: Groups, msisdn: Msisdn, group_id: UUID, after: str | None = None) -> Page | None:
    """Who has not paid the round whose pot is being filled, or has not saved today, by number."""
    async with groups.store.look() as connection:
        found = await place(connection, msisdn, group_id)
        if found is None:
            return None
        group = found[0]
        if group.kind == SAVERS:
            query = select(m.number, m.name, null().label("minor")).where(savings.awaited(savings.today(groups)))
        else:
            query = select(m.number, m.name, (d.amount - d.paid).label("minor")).join(dues, d.member_id == m.id)
            query = query.where(d.round_id == _current(group.id).scalar_subquery(), d.paid < d.amount)
        return await _by_number(connection, group, query, after)


async def members(groups: Groups, msisdn: Msisdn, group_id: UUID, after: str | None = None) -> Page | None:
    """The active members, by number."""
    async with groups.store.look() as connection:
        found = await place(connection, msisdn, group_id)
        query = select(m.number, m.name, m.role).where(m.state == "active")
        return await _by_number(connection, found[0], query, after) if found else None


async def turn(groups: Groups, msisdn: Msisdn, group_id: UUID) -> Standing | None:
    """When somebody's turn is, and how they stand with their group."""
    async with groups.store.look() as connection:
        found = await place(connection, msisdn, group_id)
        if found is None:
            return None
        group, member, _ = found
        mine = select(r.number, r.due_at, r.state).join(cycles, c.id == r.cycle_id)
        mine = mine.where(r.group_id == group.id, r.beneficiary == member.id, c.state == "open").order_by(r.number)
        turns = tuple(Turn(row.number, row.due_at, row.state == "paid") for row in await connection.execute(mine))
        sums = (await connection.execute(select(*_sums(group, member)))).one()
    return Standing(turns, *(Money(int(minor), group.currency) for minor in sums))


async def receipt(groups: Groups, msisdn: Msisdn, code: str) -> Receipt | None:
    """What a receipt's code stands for; None unless it is one of a group this person is in: a guess tells nothing."""
    if not codes.is_code(code):
        return None
    back, reader = group_events.alias(), memberships.alias()
    query = (
        select(e.kind, e.at, e.amount, m.name, g.name.label("group"), g.currency, r.number)
        .add_columns((~exists().where(back.c.reverses == e.id, back.c.kind == "reversed")).label("stands"))
        .select_from(group_events.join(groups_table, g.id == e.group_id).join(memberships, m.id == e.member))
        .outerjoin(rounds, r.id == e.round_id)
        .join(reader, and_(reader.c.group_id == e.group_id, reader.c.msisdn == msisdn, reader.c.state == "active"))
        .where(e.code == code, e.amount.is_not(None))
    )
    async with groups.store.look() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return Receipt(row.group, row.kind, row.name, Money(row.amount, row.currency), row.at, row.number, row.stands)


async def place(connection: Look, msisdn: Msisdn, group_id: UUID) -> tuple[Group, Member, int] | None:
    """A group, this person's place in it, and how many active members it has; None where they are not one."""
    other = memberships.alias()
    count = select(func.count()).where(other.c.group_id == g.id, other.c.state == "active").scalar_subquery()
    rules = and_(group_rules.c.group_id == g.id, group_rules.c.version == g.rules_version)
    query = (
        select(memberships, group_rules.c.rules, g.rules_version, g.kind, g.currency, count.label("members"))
        .add_columns(g.name.label("group_name"), g.state.label("group_state"))
        .select_from(memberships.join(groups_table, g.id == m.group_id).join(group_rules, rules))
        .where(m.msisdn == msisdn, m.group_id == group_id, m.state == "active")
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    name, state, version = row["group_name"], row["group_state"], row["rules_version"]
    group = Group(group_id, row["kind"], name, row["currency"], state, Rules.load(row["rules"]), version)
    return group, member_of(row), row["members"]


def share() -> ColumnElement[int]:
    """Of a row of memberships and the group_rules in force: minor units of one contribution of a saver's.

    That is the share their cycle began with, or the group's for who begins now.
    """
    begun = select(c.share).where(c.member_id == m.id, c.state == "open").order_by(c.number).limit(1).scalar_subquery()
    return func.coalesce(begun, group_rules.c.rules["share"].as_integer())


def _current(group_id: UUID) -> Select[Any]:
    """The id of the oldest round that is open."""
    query = select(r.id).join(cycles, c.id == r.cycle_id)
    return query.where(r.group_id == group_id, r.state == "open", c.state == "open").order_by(r.number).limit(1)


async def _round_now(connection: Look, group: Group) -> RoundNow | None:
    turns = rounds.alias()
    of = select(func.count()).where(turns.c.cycle_id == r.cycle_id).scalar_subquery()
    query = (
        select(r.id, r.number, of.label("of"), r.due_at, m.name, func.count(d.member_id).label("members"))
        .add_columns(func.count().filter(d.paid >= d.amount).label("paid"), func.sum(d.amount).label("pot"))
        .select_from(rounds.outerjoin(dues, d.round_id == r.id).outerjoin(memberships, m.id == r.beneficiary))
        .where(r.id == _current(group.id).correlate(None).scalar_subquery())
        .group_by(r.id, m.name)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    pot = Money(int(row.pot or 0), group.currency)
    return RoundNow(row.id, row.number, row.of, row.due_at, row.name, row.paid, row.members, pot)


def _sums(group: Group, member: Member) -> Sequence[ColumnElement[int]]:
    """What is paid in advance, owed, owed in fines, and received."""
    part = books.member_part(member.id)
    names = [books.account(group.id, part, cash=cash) for cash in (False, True)]
    a = accounts.c
    advance = select(func.sum(a.credits_posted - a.debits_posted)).where(
        a.name.in_(names), a.currency == group.currency
    )
    open_dues = select(func.sum(d.amount - d.paid)).select_from(_DUES).where(d.member_id == member.id, OWED)
    fined = select(func.sum(f.amount - f.paid)).where(f.member_id == member.id)
    received = select(func.sum(e.amount)).where(e.member == member.id, e.kind.in_(["paid_out", "savings_paid"]))
    return [func.coalesce(query.scalar_subquery(), 0) for query in (advance, open_dues, fined, received)]


async def _by_number(connection: Look, group: Group, query: Select[Any], after: str | None) -> Page:
    query = query.where(m.group_id == group.id, m.number > int(after or 0)).order_by(m.number).limit(PAGE + 1)
    rows = (await connection.execute(query)).mappings().all()
    return _page([_line(row, group) for row in rows])


def _line(row: Any, group: Group) -> Line:  # noqa: ANN401 - a row of whichever list
    minor = row.get("minor")
    amount = None if minor is None else Money(minor, group.currency)
    return Line(str(row["number"]), row["number"], row["name"], row.get("role", ""), amount)


def _page(lines: list[Line]) -> Page:
    return Page(tuple(lines[:PAGE]), more=len(lines) > PAGE)


def _none(group: Group) -> Money:
    return Money(0, group.currency)


_DUES = dues.join(rounds, r.id == d.round_id).join(cycles, c.id == r.cycle_id)
