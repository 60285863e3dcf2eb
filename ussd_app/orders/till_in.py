"""What somebody paid to our till, put into a group of theirs: a contribution whose money we hold already.

It has no step, since nobody is asked for anything: it is done in the commit that places it.
"""

from dataclasses import dataclass
from uuid import UUID

from ussd_app import ledger, till
from ussd_app.groups import books, kinds, members
from ussd_app.groups.model import Group, Member
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Order, Orders, Placed, Repeated, Short, Step, TooFast, contribution
from ussd_app.orders.contribution import Contribution, NotMember, NotOpen
from ussd_app.orders.course import Course
from ussd_app.orders.till_back import Gone, earlier
from ussd_app.store import Look, Work
from ussd_app.till import Unclaimed


@dataclass(frozen=True, slots=True)
class TillIn(Contribution):
    """The kind."""

    steps: tuple[Step, ...] = ()

    async def settled(self, desk: Course, connection: Work, order: Order, state: str) -> None:
        """It goes the way of every contribution, out of the order's clearing account."""
        clearing = ledger.clearing_account(order.id)
        await books.move(desk.groups, connection, till.SUSPENSE, clearing, order.amount, "claimed", order.id)
        await contribution.KIND.settled(desk, connection, order, state)


KIND = TillIn()


async def groups_for(connection: Look, msisdn: Msisdn, money: Money) -> list[Group]:
    """The groups of theirs that take this money now, the oldest membership first."""
    found = [await members.load(connection, place.group_id) for place in await members.mine(connection, msisdn)]
    return [group for group in found if await _takes(connection, group, money)]


async def place(
    orders: Orders, *, run: str, msisdn: Msisdn, language: str, deposit: UUID, group_id: UUID
) -> Placed | Gone | NotMember | NotOpen | LimitReached | TooFast:
    """Put a deposit of theirs into a group, once a run; of two who want it at once, one has it."""
    async with orders.store.work() as connection:
        await books.lock(connection, group_id)
        seen = await till.read(connection, deposit, msisdn)
        if seen:
            # Before the deposit, as whoever settles an order that sends one back.
            await ledger.lock(connection, (till.SUSPENSE,), seen.amount.currency)
        found = await till.read(connection, deposit, msisdn, lock=True)
        if found is None:
            return await earlier(connection, run) or Gone()
        member = await members.member(connection, group_id, msisdn)
        if member is None:
            return NotMember()
        group = await members.load(connection, group_id)
        if not await _takes(connection, group, found.amount):
            return NotOpen()
        placed = await _place(orders, connection, run, language, group, member, found)
        if isinstance(placed, Placed):
            await till.claim(connection, deposit, msisdn, placed.reference, orders.clock.now())
        return placed


async def _takes(connection: Look, group: Group, money: Money) -> bool:
    return group.currency == money.currency and await kinds.kind(group.kind).is_open(connection, group)


async def _place(
    orders: Orders, connection: Work, run: str, language: str, group: Group, member: Member, found: Unclaimed
) -> Placed | LimitReached | TooFast:
    placed = await orders.place_within(
        connection,
        "till_in",
        run=run,
        msisdn=member.msisdn,
        language=language,
        amount=found.amount,
        fee=Money(0, group.currency),
        group=group.id,
        details={"recipient_name": group.name, "member": str(member.id), "deposit": str(found.id)},
    )
    if isinstance(placed, Short | Repeated):
        raise LookupError(f"{placed} for deposit {found.id}")  # noqa: TRY004 - a result, no type
    return placed
