"""Whether the floats an order is to be paid out of hold enough, looked at before anything is collected for it."""

from typing import TYPE_CHECKING

from ussd_app import ledger
from ussd_app.groups.model import Refused
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.operators import Operator
from ussd_app.orders.model import Leg, Order, Short, kind_named
from ussd_app.payments import floats
from ussd_app.store import Work

if TYPE_CHECKING:
    from ussd_app.orders import Orders


async def check(connection: Work, desk: "Orders", order: Order) -> Short | None:
    """Which float is too low for what this order pays out; None where every one is enough."""
    fed: dict[str, Money] = {}
    payouts: list[tuple[str, Leg, Money]] = []
    for step in kind_named(order.kind).steps:
        leg = step.leg(order)
        if step.kind is Kind.DELIVERY:
            continue
        account = desk.payments.float_account(leg.operator, step.kind)
        before = fed.get(account, Money(0, leg.amount.currency))
        if step.kind is Kind.COLLECTION:
            fed[account] = before + leg.amount
        elif before < leg.amount:
            payouts.append((account, leg, before))
    if not payouts:
        return None
    await desk.lock_accounts(connection, order)
    await ledger.lock_promises(connection, {account for account, *_ in payouts}, order.amount.currency)
    for account, leg, before in payouts:
        if await _refuses(connection, desk, leg.operator, leg.amount, before):
            return Short(account)
    return None


async def refuses(connection: Work, desk: "Orders", operator: str, amount: Money) -> bool:
    """Whether an operator's float is too low for a payout; ``fed`` is what the order brings it first.

    Leaves its alert. What it found holds to the end of the commit: nobody else promises anything of that float before.
    """
    account = desk.payments.float_account(operator, Kind.DISBURSEMENT)
    await ledger.lock_promises(connection, (account,), amount.currency)
    return await _refuses(connection, desk, operator, amount, Money(0, amount.currency))


async def pauses(connection: Work, desk: "Orders", operator: Operator, amount: Money) -> Refused | None:
    """The same for what a group pays out, as its members are told; nothing to pay needs no float."""
    if amount and await refuses(connection, desk, operator.name, amount):
        return Refused("paused", {"operator": operator.brand})
    return None


async def _refuses(connection: Work, desk: "Orders", operator: str, amount: Money, fed: Money) -> bool:
    least = Money.of(desk.settings.float_alert, amount.currency)
    return await floats.refuses(connection, desk.payments, operator, amount, fed=fed, alert_below=least)
