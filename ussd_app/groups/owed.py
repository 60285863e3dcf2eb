"""What members owe: their dues of each round, and their fines; and how a member's account pays them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update

from ussd_app.groups import Groups, books, members, rotation
from ussd_app.groups.model import Due, Group, Member
from ussd_app.money import Money
from ussd_app.store import Look, Work
from ussd_app.tables import cycles, dues, fines, memberships, rounds

c, d, f, m, r = cycles.c, dues.c, fines.c, memberships.c, rounds.c


@dataclass(frozen=True, slots=True)
class Missing:
    """An active member who has not paid a round in full."""

    member: UUID
    name: str
    minor: int  # what is missing


async def open_dues(connection: Look, member: Member, currency: str) -> list[Due]:
    """What a member still owes in the cycle that runs, the oldest round first; a closed one asks for nothing more."""
    query = (
        select(rounds, d.amount, d.paid)
        .join(dues, d.round_id == r.id)
        .join(cycles, c.id == r.cycle_id)
        .where(d.member_id == member.id, d.paid < d.amount, c.state == "open")
        .order_by(r.number)
    )
    return [
        Due(rotation.round_of(row), member, Money(row["amount"], currency), Money(row["paid"], currency))
        for row in (await connection.execute(query)).mappings()
    ]


async def open_fines(connection: Look, member: Member, currency: str) -> dict[UUID, Money]:
    """What is unpaid of each of a member's fines, the oldest first."""
    query = select(f.id, f.amount - f.paid).where(f.member_id == member.id, f.paid < f.amount).order_by(f.at, f.id)
    return {fine: Money(minor, currency) for fine, minor in (await connection.execute(query)).all()}


async def expected(connection: Look, group: Group, member: Member) -> Money:
    """What the next payment of a member should be: what is due of every round that has been opened, and their fines."""
    dues_open = [due.open for due in await open_dues(connection, member, group.currency)]
    fines_open = (await open_fines(connection, member, group.currency)).values()
    return sum([*dues_open, *fines_open], Money(0, group.currency))


async def pay_dues(groups: Groups, connection: Work, group: Group, member: Member, *, cash: bool) -> None:
    """Pay a member's dues as far as their account goes, the oldest round first."""
    own = books.account(group.id, books.member_part(member.id), cash=cash)
    left = await books.spendable(connection, own, group.currency)
    for due in await open_dues(connection, member, group.currency):
        part = min(left, due.open)
        await pay_due(groups, connection, due, part, own, cash=cash)
        left -= part


async def pay_due(groups: Groups, connection: Work, due: Due, money: Money, source: str, *, cash: bool) -> None:
    """Pay into a round's pot, out of ``source``, what a member owes it.

    Where the fund has filled the pot in their stead, the fund gets its own back first.
    """
    if not money:
        return
    this, group = due.round, due.round.group_id
    covered: int = (await connection.execute(select(r.covered).where(r.id == this.id))).scalar_one()
    back = Money(min(covered, money.minor), money.currency)
    fund, pot = (books.account(group, part, cash=cash) for part in (books.FUND, books.round_part(this.id)))
    await books.move(groups, connection, source, fund, back, f"cover of round {this.number} back", None)
    await books.move(groups, connection, source, pot, money - back, f"round {this.number}", None)
    await cover(connection, this.id, -back.minor)
    own = (d.round_id == this.id) & (d.member_id == due.member.id)
    await connection.execute(update(dues).where(own).values(paid=d.paid + money.minor))


async def cover(connection: Work, round_id: UUID, minor: int) -> None:
    """Note that the fund has put so much more into a pot, or has got it back."""
    await connection.execute(update(rounds).where(r.id == round_id).values(covered=r.covered + minor))


async def pay_fines(groups: Groups, connection: Work, group: Group, member: Member, *, cash: bool) -> None:
    """Pay a member's fines into the fund as far as their account goes, the oldest first."""
    own = books.account(group.id, books.member_part(member.id), cash=cash)
    fund = books.account(group.id, books.FUND, cash=cash)
    left = await books.spendable(connection, own, group.currency)
    for fine, owed in (await open_fines(connection, member, group.currency)).items():
        part = min(left, owed)
        await books.move(groups, connection, own, fund, part, "fine", None)
        await connection.execute(update(fines).where(f.id == fine).values(paid=f.paid + part.minor))
        left -= part


async def member(connection: Look, member_id: UUID) -> Member:
    """Whoever it is, even if they have left since."""
    return members.member_of((await connection.execute(select(memberships).where(m.id == member_id))).mappings().one())


async def missing(connection: Look, round_id: UUID) -> list[Missing]:
    """Which active members have not paid a round in full, by number."""
    query = select(m.id, m.name, d.amount - d.paid).join(dues, d.member_id == m.id).order_by(m.number)
    unpaid = query.where(d.round_id == round_id, d.paid < d.amount, m.state == "active")
    return [Missing(*row) for row in await connection.execute(unpaid)]
