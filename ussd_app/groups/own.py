"""What is one person's own and allotted to nothing: an advance, what waits in suspense, or what a collector has earned.

Nobody's consent is needed for it, so nobody but its owner gets it, at their own number.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ussd_app import sims
from ussd_app.groups import Groups, books, contributions, events, fresh, kinds, members, owed
from ussd_app.groups.model import Group, Member, Refused
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.tables import cycles, group_events, memberships

c, e, m = cycles.c, group_events.c, memberships.c


@dataclass(frozen=True, slots=True)
class Own:
    """What its owner may take back, out of one part of the group's books."""

    group: Group
    member: Member
    part: str
    wallet: Money
    cash: Money


async def find(groups: Groups, connection: AsyncConnection, group: Group, msisdn: Msisdn, step: int) -> Own | Refused:
    """The first part that holds something of theirs, or refused: not_member, sim_changed, cooling, nothing.

    A wallet is paid in multiples of ``step`` minor units. Whoever has left may still take what is theirs.
    """
    query = select(memberships).where(m.group_id == group.id, m.msisdn == msisdn)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return Refused("not_member")
    member, now = members.member_of(row), groups.clock.now()
    if await sims.trust(connection, msisdn, now, group.rules.cooling_hours) == "changed":
        return Refused("sim_changed")
    if member.trusted_from > now:
        return Refused("cooling", {"until": member.trusted_from})
    collects = member.role == "chair" and member.state == "active"
    for part in (books.member_part(member.id), *((books.COMMISSION,) if collects else ())):
        own = await _held(connection, group, member, part, step)
        if own.wallet or own.cash:
            return own
    return Refused("nothing")


async def hand_over(groups: Groups, connection: AsyncConnection, own: Own, run: str) -> None:
    """Make it ready in the commit that found it; its cash changes hands, and whoever keeps the box is told."""
    await contributions.release(groups, connection, own.group, own.member)
    if own.cash:
        held = books.account(own.group.id, own.part, cash=True)
        await books.move(groups, connection, held, books.cash_box(own.group.id), own.cash, "taken back", None)
        code = await fresh.code(groups, connection, e.code)
        await events.record(
            groups, connection, own.group.id, "taken_back",
            member=own.member.id, amount=own.cash.minor, code=code, run=run, source="cash",
        )  # fmt: skip


async def kept(groups: Groups, connection: AsyncConnection, group_id: UUID, member_id: UUID) -> None:
    """It did not arrive and is theirs as before: what has fallen due meanwhile is paid with it. The group is locked."""
    group, member = await members.load(connection, group_id), await owed.member(connection, member_id)
    await kinds.kind(group.kind).allot(groups, connection, group, member, cash=False)


async def _held(connection: AsyncConnection, group: Group, member: Member, part: str, step: int) -> Own:
    """What stands there and is divided into no cycle of a saver's, and what waits in suspense for them."""
    wallet, cash = [
        (await books.spendable(connection, books.account(group.id, part, cash=is_cash), group.currency)).minor
        for is_cash in (False, True)
    ]
    if part != books.COMMISSION:
        saved = select(func.coalesce(func.sum(c.paid), 0)).where(c.member_id == member.id, c.state != "closed")
        free = max(0, wallet + cash - int((await connection.execute(saved)).scalar_one()))
        wallet = min(wallet, free)
        cash = min(cash, free - wallet)
        wallet += (await contributions.suspended(connection, group, member, cash=False)).minor
        cash += (await contributions.suspended(connection, group, member, cash=True)).minor
    wallet -= wallet % step
    return Own(group, member, part, Money(wallet, group.currency), Money(cash, group.currency))
