"""A member takes back their own: an advance nothing is due for, or a collector's commission, to their own wallet.

Nothing was collected, so nothing is undone: where it fails, the hold on the group's account is given up.
"""

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select

from ussd_app.errors import Reason
from ussd_app.groups import books, contributions, departures, events, members, own
from ussd_app.groups.departures import Left
from ussd_app.groups.model import Group, Member, Refused
from ussd_app.groups.own import Own
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Operator
from ussd_app.orders import Leg, Order, Orders, Placed, Receipt, Step, floats
from ussd_app.orders.course import Course
from ussd_app.orders.steps import PayingOut
from ussd_app.store import Look, Work
from ussd_app.tables import group_events
from ussd_app.tables import groups as groups_table
from ussd_app.tables import orders as orders_table


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The wallet money is on its way (nothing where the group holds none), the cash is the owner's."""

    wallet: Money
    cash: Money
    keeper: str = field(default="", compare=False)  # who hands it over


@dataclass(frozen=True, slots=True)
class Disburse:
    """To its owner, out of the group's account."""

    name: str = "disburse"
    kind: Kind = Kind.DISBURSEMENT

    def leg(self, order: Order) -> Leg:
        """All of it."""
        return Leg(order.details["operator"], order.msisdn, order.amount, order.details["account"])


@dataclass(frozen=True, slots=True)
class TakeBack(PayingOut):
    """The kind."""

    steps: tuple[Step, ...] = (Disburse(),)

    def failed(self, order: Order, step: str, reason: Reason) -> tuple[Receipt, ...]:  # noqa: ARG002 - whatever it was
        """It is still in the group."""
        return (Receipt("own_not_paid", order.msisdn),)

    async def settled(self, desk: Course, connection: Work, order: Order, state: str) -> None:
        """Tell the group's keeper, as of every movement of its money; what came late may be ours to miss instead.

        What did not arrive pays what has fallen due meanwhile.
        """
        if order.group and state == "failed":
            member, account = UUID(order.details["member"]), order.details["account"]
            await own.kept(desk.groups, connection, order.group, member, account, order.amount)
        late = state == "late" and await books.has_paid(connection, order.details["account"], order.id)
        if order.group and (state == "done" or late):
            code = await contributions.receipt_code(desk.groups, connection, order.code)
            await events.record(
                desk.groups, connection, order.group, "taken_back",
                member=UUID(order.details["member"]), amount=order.amount.minor, code=code, order_id=order.id,
                source="wallet",
            )  # fmt: skip


KIND = TakeBack()


async def quote(orders: Orders, msisdn: Msisdn, group_id: UUID, *, network: str | None = None) -> Own | Refused:
    """What this person may take back of their own (own.find), or why not; not_served. Moves nothing."""
    async with orders.store.work() as connection:
        found, _ = await _find(orders, connection, msisdn, group_id, network)
    return found


async def place(
    orders: Orders, *, run: str, msisdn: Msisdn, language: str, group_id: UUID, network: str | None = None
) -> TakenBack | Refused:
    """Take back one's own, once a run, or why it cannot be, as in quote."""
    async with orders.store.work() as connection:
        await books.lock(connection, group_id)
        earlier = await _earlier(connection, group_id, run)
        if earlier:
            return earlier
        found, operator = await _find(orders, connection, msisdn, group_id, network)
        if isinstance(found, Refused):
            return found
        await own.hand_over(orders.groups, connection, found, run)
        if found.wallet:
            await _place(orders, connection, run, language, found, operator, network)
        return TakenBack(found.wallet, found.cash, found.keeper)


async def left(orders: Orders, msisdn: Msisdn, *, network: str | None = None) -> Own | None:
    """What this person may take out of a group they are no member of any more (own.left). Moves nothing."""
    async with orders.store.look() as connection:
        operator = await orders.routes.serving(connection, msisdn, network)
        return await own.left(connection, msisdn, operator.step if operator else lambda _currency: 1)


async def leave(
    orders: Orders, *, run: str, msisdn: Msisdn, language: str, group_id: UUID, network: str | None = None
) -> Left | Refused:
    """Leave a group and take along what is one's own, in one commit, once a run; or why neither can be.

    Refused as departures.leave and quote refuse, but that nothing is there.
    """

    async def take(connection: Work, group: Group, member: Member) -> Refused | None:
        found, operator = await _find(orders, connection, msisdn, group_id, network, leaving=True)
        if isinstance(found, Refused):
            return found if found.why != "nothing" else None
        await own.gather(orders.groups, connection, group, member)
        along = f"{run}:along"
        await own.hand_over(orders.groups, connection, found, along)
        if found.wallet:
            await _place(orders, connection, along, language, found, operator, network)
        return None

    return await departures.leave(orders.groups, msisdn, group_id, run=run, take=take)


async def _find(
    orders: Orders,
    connection: Work,
    msisdn: Msisdn,
    group_id: UUID,
    network: str | None,
    *,
    leaving: bool = False,
) -> tuple[Own | Refused, Operator | None]:
    """What is theirs, and through whom."""
    operator = await orders.routes.serving(connection, msisdn, network)
    group = await members.load(connection, group_id)
    step = operator.step(group.currency) if operator else 1
    found = await own.find(orders.groups, connection, group, msisdn, step, leaving=leaving)
    if isinstance(found, Own) and found.wallet and operator is None:
        return Refused("not_served"), None
    if isinstance(found, Own) and operator:
        return await floats.pauses(connection, orders, operator, found.wallet) or found, operator
    return found, operator


async def _place(
    orders: Orders,
    connection: Work,
    run: str,
    language: str,
    found: Own,
    operator: Operator | None,
    network: str | None,
) -> None:
    placed = await orders.place_within(
        connection,
        "take_back",
        run=run,
        msisdn=found.member.msisdn,
        language=language,
        amount=found.wallet,
        fee=Money(0, found.group.currency),
        group=found.group.id,
        network=network,
        details={
            "operator": operator.name if operator else "",
            "account": books.account(found.group.id, found.part),
            "member": str(found.member.id),
            "group": found.group.name,
        },
    )
    if not isinstance(placed, Placed):
        raise LookupError(f"{placed} for what {found.member.id} takes back")  # noqa: TRY004 - a result, no type


async def _earlier(connection: Look, group_id: UUID, run: str) -> TakenBack | None:
    """What this run of a flow has taken back already."""
    ordered = select(orders_table.c.amount).where(orders_table.c.run == run).scalar_subquery()
    handed = select(group_events.c.amount).where(group_events.c.run == run).scalar_subquery()
    currency = select(groups_table.c.currency).where(groups_table.c.id == group_id).scalar_subquery()
    row = (
        await connection.execute(select(ordered.label("wallet"), handed.label("cash"), currency.label("currency")))
    ).one()
    if row.wallet is None and row.cash is None:
        return None
    keeper = await members.keeper(connection, group_id)
    name = keeper.name if keeper else ""
    return TakenBack(Money(row.wallet or 0, row.currency), Money(row.cash or 0, row.currency), name)
