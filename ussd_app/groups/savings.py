"""A saver's daily savings: what is in them, whose contribution is awaited today, a rest, and taking them out.

Whoever takes out gets all of a cycle but one contribution, the collector's commission: 30 of 31 of a complete cycle.
Their wallet is paid as far as wallet money goes; the rest is cash, which the collector hands over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, exists, func, select, update

from ussd_app import sims
from ussd_app.groups import Groups, books, events, members
from ussd_app.groups.kinds import daily
from ussd_app.groups.model import Group, Member, Refused
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look
from ussd_app.tables import cycles, group_events, memberships
from ussd_app.tables import groups as groups_table

Which = int | Literal["complete"]  # the number of a cycle, or every one that is complete

m = memberships.c


@dataclass(frozen=True, slots=True)
class Saved:
    """One cycle that holds money."""

    number: int
    contributions: int  # paid in whole, of daily.CONTRIBUTIONS
    money: Money
    state: str  # open | complete | paying


@dataclass(frozen=True, slots=True)
class Savings:
    """All that one saver has, oldest cycle first."""

    cycles: tuple[Saved, ...]
    total: Money
    payable: Money  # to them, if they took out all that is not on its way already


@dataclass(frozen=True, slots=True)
class Payable:
    """What taking out gives."""

    cycles: tuple[int, ...]
    amount: Money  # to the saver
    cash: Money  # of it, handed over by the collector
    commission: Money  # to the collector

    @property
    def wallet(self) -> Money:
        """Of the amount, what goes to the saver's wallet."""
        return self.amount - self.cash

    @property
    def taken(self) -> Money:
        """What leaves the saver's account and its cash twin."""
        return self.amount + self.commission


@dataclass(frozen=True, slots=True)
class Offer:
    """What a saver may take out now, for as long as their group is locked."""

    group: Group
    member: Member
    payable: Payable


async def state(connection: Look, member: Member) -> Savings:
    """What a saver has in their cycles; those with nothing in them are not shown."""
    holds = and_(cycles.c.member_id == member.id, cycles.c.state.in_(daily.LIVE), cycles.c.paid > 0)
    query = select(groups_table.c.currency, cycles).select_from(groups_table.outerjoin(cycles, holds))
    rows = (await connection.execute(query.where(groups_table.c.id == member.group_id).order_by(cycles.c.number))).all()
    currency = rows[0].currency
    held = [row for row in rows if row.number is not None]
    return Savings(
        tuple(Saved(row.number, row.paid // row.share, Money(row.paid, currency), row.state) for row in held),
        Money(sum(row.paid for row in held), currency),
        Money(sum(_worth(row) for row in held if row.state != "paying"), currency),
    )


async def pause(groups: Groups, msisdn: Msisdn, group_id: UUID) -> members.Changed | Refused:
    """A rest: no reminders, and nobody counts the saver as missing; what they pay all the same is taken."""
    return await _rest(groups, msisdn, group_id, "paused", groups.clock.now())


async def resume(groups: Groups, msisdn: Msisdn, group_id: UUID) -> members.Changed | Refused:
    """The end of a rest."""
    return await _rest(groups, msisdn, group_id, "resumed", None)


def today(groups: Groups) -> datetime:
    """When the day began: days are those of our country."""
    return groups.clock.now().astimezone(groups.settings.zone).replace(hour=0, minute=0, second=0, microsecond=0)


def awaited(today: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Of a row of memberships of a daily group: a contribution of ``today`` is awaited, and nothing has come.

    The collector (the chair) is not asked to pay in with themselves.
    """
    paid, back = group_events.alias(), group_events.alias()
    reversed_ = exists().where(back.c.reverses == paid.c.id)
    came = exists().where(paid.c.member == m.id, paid.c.kind == "contribution", paid.c.at >= today, ~reversed_)
    return and_(m.state == "active", m.role != "chair", m.paused_at.is_(None), ~came)


async def missing(groups: Groups, connection: Look, group: Group) -> list[Member]:
    """Who has not paid today, by number."""
    query = select(memberships).where(m.group_id == group.id, awaited(today(groups))).order_by(m.number)
    return [members.member_of(row) for row in (await connection.execute(query)).mappings()]


async def due(groups: Groups, connection: Look, group: Group, member: Member) -> Money | None:
    """Today's contribution, by the share their cycle began with; None where it has come or is not awaited."""
    first = daily.live(member).where(cycles.c.state == "open").with_only_columns(cycles.c.share).limit(1)
    share = func.coalesce(first.scalar_subquery(), group.rules.share)
    minor = (
        await connection.execute(select(share).where(m.id == member.id, awaited(today(groups))))
    ).scalar_one_or_none()
    return None if minor is None else Money(minor, group.currency)


async def offer(
    groups: Groups, connection: Look, group: Group, msisdn: Msisdn, which: Which, step: int
) -> Offer | Refused:
    """What this person may take out, or why not: not_member, sim_changed, cooling, nothing, paying, too_little.

    Whoever has left may still take what is theirs. A wallet is paid in multiples of ``step`` minor units.
    """
    query = select(memberships).where(m.group_id == group.id, m.msisdn == msisdn)
    found = (await connection.execute(query)).mappings().one_or_none()
    if found is None:
        return Refused("not_member")
    member, now = members.member_of(found), groups.clock.now()
    if await sims.trust(connection, msisdn, now, group.rules.cooling_hours) == "changed":
        return Refused("sim_changed")
    if member.trusted_from > now:
        return Refused("cooling", {"until": member.trusted_from})
    held = [row for row in (await connection.execute(daily.live(member))).all() if row.paid]
    wanted = [row for row in held if row.number == which or (which == "complete" and row.state != "open")]
    chosen = [row for row in wanted if row.state != "paying"]
    if not chosen:
        return Refused("paying" if wanted else "nothing")
    payable = await _payable(connection, group, member, chosen, step)
    return Offer(group, member, payable) if payable.amount else Refused("too_little")


async def _payable(connection: Look, group: Group, member: Member, chosen: Sequence[Row[Any]], step: int) -> Payable:
    """As much as can be from the wallet money, the rest in cash; what fits neither is left with the commission."""
    part, currency = books.member_part(member.id), group.currency
    there = await books.spendable(connection, books.account(group.id, part), currency)
    in_cash = await books.spendable(connection, books.account(group.id, part, cash=True), currency)
    worth = sum(_worth(row) for row in chosen)
    wallet = min(worth, there.minor) // step * step
    cash = min(worth - wallet, in_cash.minor)
    commission = sum(row.paid for row in chosen) - wallet - cash
    return Payable(
        tuple(row.number for row in chosen),
        Money(wallet + cash, currency),
        Money(cash, currency),
        Money(commission, currency),
    )


async def _rest(
    groups: Groups, msisdn: Msisdn, group_id: UUID, kind: Literal["paused", "resumed"], since: datetime | None
) -> members.Changed | Refused:
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        member = await members.member(connection, group_id, msisdn)
        if member is None:
            return Refused("not_member")
        if (member.paused_at is None) == (since is None):
            return members.Changed(member)
        await connection.execute(update(memberships).where(m.id == member.id).values(paused_at=since))
        await events.record(groups, connection, group_id, kind, actor=member.id, member=member.id)
    return members.Changed(replace(member, paused_at=since))


def _worth(row: Row[Any]) -> int:
    """Of a cycle, to its saver: all but one contribution."""
    return int(max(row.paid - row.share, 0))
