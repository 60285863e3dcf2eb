"""A group's payout: disburse what its officers have approved out of a round's pot.

Nothing was collected, so nothing is undone: a payout that fails has its hold on the pot given up.
"""

import math
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update

from ussd_app import sims
from ussd_app.groups import books, members, owed, payouts, proposals
from ussd_app.groups.model import Group, Member, Proposal, Refused
from ussd_app.groups.payouts import Asked
from ussd_app.groups.proposals import Adopted, Counted, Rejected
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Leg, Order, Orders, Placed, Step, floats
from ussd_app.orders.course import Course
from ussd_app.orders.steps import PayingOut, recipient_of
from ussd_app.store import Work
from ussd_app.tables import orders as orders_table
from ussd_app.tables import payments, subscribers
from ussd_app.tables import proposals as proposals_table


@dataclass(frozen=True, slots=True)
class NotPaid:
    """It is approved, and cannot be carried out: turn_moved, short, sim_changed, cooling, paused or not_served."""

    why: str


@dataclass(frozen=True, slots=True)
class Disburse:
    """To the payee: the wallet money of the pot."""

    name: str = "disburse"
    kind: Kind = Kind.DISBURSEMENT

    def leg(self, order: Order) -> Leg:
        """The amount, out of the round's account."""
        return Leg(order.details["operator"], recipient_of(order), order.amount, order.details["account"])


@dataclass(frozen=True, slots=True)
class Payout(PayingOut):
    """The kind. Everybody is told by their group's notices."""

    steps: tuple[Step, ...] = (Disburse(),)

    def party(self, order: Order, seen_by: Msisdn) -> str:
        """The group it comes from; to whoever asked for it, the payee."""
        return order.details["group" if seen_by == order.recipient else "payee"]

    async def settled(self, desk: Course, connection: Work, order: Order, state: str) -> None:
        """The round has been paid, or its pot is whole again; parked changes nothing."""
        proposal = UUID(order.details["proposal"])
        if state == "done":
            await payouts.paid(desk.groups, connection, proposal, order.id, order.code)
        elif state == "failed":
            query = select(payments.c.reason).where(payments.c.order_id == order.id)
            reason = (await connection.execute(query)).scalar_one()
            await payouts.failed(desk.groups, connection, proposal, reason, order.id)
        elif state == "late" and not await payouts.late(desk.groups, connection, proposal, order.id, order.code):
            await desk.payments.alert(connection, "payout came late", order=str(order.id), amount=str(order.amount))


KIND = Payout()


async def ask(orders: Orders, *, run: str, msisdn: Msisdn, group_id: UUID) -> Asked | Refused:
    """Ask for the oldest pot that can be paid (payouts.ask), in amounts that every operator of ours can move."""
    async with orders.store.look() as connection:
        group = await members.load(connection, group_id)
    step = math.lcm(*(operator.step(group.currency) for operator in orders.payments.operators.values()))
    return await payouts.ask(orders.groups, run, msisdn, group_id, step)


async def vote(
    orders: Orders, msisdn: Msisdn, code: str, *, approves: bool
) -> Counted | Adopted | Rejected | Refused | NotPaid | None:
    """Approve or reject any proposal (proposals.vote); a payout that is carried by it is placed in the same commit."""
    async with orders.store.work() as connection:
        query = select(proposals_table.c.group_id).where(proposals_table.c.code == code)
        group_id = (await connection.execute(query)).scalar_one_or_none()
        if group_id is None:
            return None
        group, now = await members.load(connection, group_id), orders.clock.now()
        sim = await sims.trust(connection, msisdn, now, group.rules.cooling_hours)
        voted = await proposals.vote(orders.groups, connection, msisdn, code, approves=approves, sim=sim)
        if not isinstance(voted, Adopted) or voted.proposal.kind != "payout":
            return voted
        why = await _pay_out(orders, connection, group, voted.proposal)
        if why is None:
            return voted
        await payouts.failed(orders.groups, connection, voted.proposal.id, why)
        return NotPaid(why)


async def _pay_out(orders: Orders, connection: Work, group: Group, proposal: Proposal) -> str | None:
    """Carry out what has been approved, or say why it cannot be."""
    if proposal.payee is None or proposal.amount is None or proposal.round_id is None:
        raise LookupError(f"proposal {proposal.code} is no payout")
    payee, now = await owed.member(connection, proposal.payee), orders.clock.now()
    # Whoever has just taken somebody's number must not take their turn with it.
    if await sims.trust(connection, payee.msisdn, now, group.rules.cooling_hours) == "changed":
        return "sim_changed"
    if payee.trusted_from > now:
        return "cooling"
    operator = await orders.routes.serving(connection, payee.msisdn)
    if proposal.amount and operator is None:
        return "not_served"
    if operator and await floats.pauses(connection, orders, operator, proposal.amount):
        return "paused"
    unready = await payouts.prepare(orders.groups, connection, proposal)
    if unready:
        return unready.why
    if operator and proposal.amount:
        await _place(orders, connection, group, proposal, payee, operator.name)
    else:
        await payouts.paid(orders.groups, connection, proposal.id)
    return None


async def _place(
    orders: Orders, connection: Work, group: Group, proposal: Proposal, payee: Member, operator: str
) -> None:
    if proposal.amount is None or proposal.round_id is None:
        raise LookupError(f"proposal {proposal.code} is no payout")
    asker = await owed.member(connection, proposal.asked_by)
    query = select(subscribers.c.language).where(subscribers.c.msisdn == asker.msisdn)
    run = f"payout:{proposal.id}"
    placed = await orders.place_within(
        connection,
        "payout",
        run=run,
        msisdn=asker.msisdn,
        recipient=payee.msisdn,
        language=(await connection.execute(query)).scalar_one_or_none() or "en",
        amount=proposal.amount,
        fee=Money(0, group.currency),
        group=group.id,
        details={
            "operator": operator,
            "account": books.account(group.id, books.round_part(proposal.round_id)),
            "proposal": str(proposal.id),
            "group": group.name,
            "payee": payee.name,
        },
    )
    if not isinstance(placed, Placed):
        raise LookupError(f"{placed} for proposal {proposal.code}")  # noqa: TRY004 - a result, no type
    order = select(orders_table.c.id).where(orders_table.c.run == run).scalar_subquery()
    carried_out = update(proposals_table).where(proposals_table.c.id == proposal.id).values(order_id=order)
    await connection.execute(carried_out)
