"""Whether the floats an order is to be paid out of hold enough, looked at before anything is collected for it."""

from typing import TYPE_CHECKING

from ussd_app import ledger
from ussd_app.groups.model import Refused
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.operators import Operator
from ussd_app.orders.model import Order, Short, kind_named
from ussd_app.payments import floats
from ussd_app.store import Work

if TYPE_CHECKING:
    from ussd_app.orders import Orders


async def check(connection: Work, desk: "Orders", order: Order) -> Short | None:
    """Which float is too low for what this order pays out; None where every one is enough."""
    fed: dict[str, Money] = {}
    for step in kind_named(order.kind).steps:
        leg = step.leg(order)
        if step.kind is Kind.DELIVERY:
            continue
        account = desk.payments.float_account(leg.operator, step.kind)
        before = fed.get(account, Money(0, leg.amount.currency))
        if step.kind is Kind.COLLECTION:
            fed[account] = before + leg.amount
        elif before < leg.amount:
            # Every account of the order at once, as its settling locks them: no two commits wait for each other.
            await desk.lock_accounts(connection, order)
            if await refuses(connection, desk, leg.operator, leg.amount, fed=before):
                return Short(account)
    return None


async def refuses(connection: Work, desk: "Orders", operator: str, amount: Money, *, fed: Money | None = None) -> bool:
    """Whether an operator's float is too low for a payout; ``fed`` is what the order brings it first.

    Leaves its alert. What it found holds to the end of the commit: the float's account stays locked, and with it every
    other that the order of such a payout locks, so that no two commits wait for each other.
    """
    ours = {desk.payments.float_account(operator, kind) for kind in Kind}
    await ledger.lock(connection, {*ours, ledger.FEES, ledger.RECEIVABLE}, amount.currency)
    before, least = fed or Money(0, amount.currency), Money.of(desk.settings.float_alert, amount.currency)
    return await floats.refuses(connection, desk.payments, operator, amount, fed=before, alert_below=least)


async def pauses(connection: Work, desk: "Orders", operator: Operator, amount: Money) -> Refused | None:
    """The same for what a group pays out, as its members are told; nothing to pay needs no float."""
    if amount and await refuses(connection, desk, operator.name, amount):
        return Refused("paused", {"operator": operator.brand})
    return None
