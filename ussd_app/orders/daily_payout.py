"""Daily savings to their saver: what is wallet money goes to their wallet; cash and commission follow in one commit."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Row, select

from ussd_app.errors import Reason
from ussd_app.groups import books, members, savings, takeouts
from ussd_app.groups.model import Refused
from ussd_app.groups.savings import Offer, Payable, Which
from ussd_app.groups.takeouts import HandedOver, TakeOut
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Operator
from ussd_app.orders import Leg, Order, Orders, Placed, Step, floats
from ussd_app.orders.course import Course
from ussd_app.orders.steps import PayingOut
from ussd_app.store import Look, Work
from ussd_app.tables import orders as orders_table
from ussd_app.tables import payments


@dataclass(frozen=True, slots=True)
class Disburse:
    """To the saver: the wallet money of what they take."""

    name: str = "disburse"
    kind: Kind = Kind.DISBURSEMENT

    def leg(self, order: Order) -> Leg:
        """The amount, out of the saver's account in their group."""
        out = _take_out(order)
        account = books.account(out.group_id, books.member_part(out.member_id))
        return Leg(order.details["operator"], order.msisdn, order.amount, account)


@dataclass(frozen=True, slots=True)
class DailyPayout(PayingOut):
    """The kind. Its savers are told by their group's notices."""

    steps: tuple[Step, ...] = (Disburse(),)

    async def settled(self, desk: Course, connection: Work, order: Order, state: str) -> None:
        """Close the cycles, or put them back; parked changes nothing."""
        out = _take_out(order)
        if state == "done":
            await takeouts.paid(desk.groups, connection, out)
        elif state == "failed":
            await takeouts.failed(desk.groups, connection, out, await _reason(connection, order.id))
        elif state == "late" and not await takeouts.late(desk.groups, connection, out):
            await desk.payments.alert(connection, "savings paid late", order=str(order.id), amount=str(order.amount))


KIND = DailyPayout()


async def quote(
    orders: Orders, msisdn: Msisdn, group_id: UUID, which: Which, *, network: str | None = None
) -> Payable | Refused:
    """What taking these savings out would give, or why it cannot be (savings.offer; not_served). Moves nothing."""
    async with orders.store.work() as connection:
        offer, _ = await _offer(orders, connection, msisdn, group_id, which, network)
    return offer if isinstance(offer, Refused) else offer.payable


async def place(
    orders: Orders,
    *,
    run: str,
    msisdn: Msisdn,
    language: str,
    group_id: UUID,
    which: Which,
    network: str | None = None,
) -> Placed | HandedOver | Refused:
    """Take savings out, once a run, or why it cannot be, as in quote. Cash alone is paid at once and takes no order."""
    async with orders.store.work() as connection:
        await books.lock(connection, group_id)
        placed = await _order(connection, run)
        if placed:
            return Placed(placed.code)
        earlier = await takeouts.handed_over(connection, run)
        if earlier:
            return earlier
        offer, operator = await _offer(orders, connection, msisdn, group_id, which, network)
        if isinstance(offer, Refused):
            return offer
        if not offer.payable.wallet:
            return await takeouts.hand_over(orders.groups, connection, offer, run)
        return await _place(orders, connection, run, language, offer, operator, network)


async def _offer(
    orders: Orders, connection: Work, msisdn: Msisdn, group_id: UUID, which: Which, network: str | None
) -> tuple[Offer | Refused, Operator | None]:
    """What these savings give, and through whom."""
    group = await members.load(connection, group_id)
    operator = await orders.routes.serving(connection, msisdn, network)
    step = operator.step(group.currency) if operator else 1
    offer = await savings.offer(orders.groups, connection, group, msisdn, which, step)
    if isinstance(offer, Offer) and offer.payable.wallet and operator is None:
        return Refused("not_served"), None
    if isinstance(offer, Offer) and operator:
        return await floats.pauses(connection, orders, operator, offer.payable.wallet) or offer, operator
    return offer, operator


async def _place(
    orders: Orders,
    connection: Work,
    run: str,
    language: str,
    offer: Offer,
    operator: Operator | None,
    network: str | None,
) -> Placed:
    group, member, payable = offer.group, offer.member, offer.payable
    placed = await orders.place_within(
        connection,
        "daily_payout",
        run=run,
        msisdn=member.msisdn,
        recipient=member.msisdn,
        language=language,
        amount=payable.wallet,
        fee=Money(0, group.currency),
        group=group.id,
        network=network,
        details={
            "operator": operator.name if operator else "",
            "group": group.name,
            "member": str(member.id),
            "cycles": ",".join(map(str, payable.cycles)),
            "cash": str(payable.cash.minor),
            "commission": str(payable.commission.minor),
        },
    )
    order = await _order(connection, run)
    if not isinstance(placed, Placed) or order is None:
        raise LookupError(f"{placed} for savings of {member.id}")
    await takeouts.reserve(orders.groups, connection, TakeOut(group.id, member.id, payable, order.code, order.id))
    return placed


async def _order(connection: Look, run: str) -> Row[UUID, str] | None:
    query = select(orders_table.c.id, orders_table.c.code).where(orders_table.c.run == run)
    return (await connection.execute(query)).one_or_none()


async def _reason(connection: Look, order: UUID) -> Reason:
    query = select(payments.c.reason).where(payments.c.order_id == order)
    return Reason((await connection.execute(query)).scalar_one())


def _take_out(order: Order) -> TakeOut:
    if order.group is None:
        raise LookupError(f"order {order.id} is of no group")
    details, currency = order.details, order.amount.currency
    cash = Money(int(details["cash"]), currency)
    cycles = tuple(map(int, details["cycles"].split(",")))
    payable = Payable(cycles, order.amount + cash, cash, Money(int(details["commission"]), currency))
    return TakeOut(order.group, UUID(details["member"]), payable, order.code, order.id)
