"""Send money: collect amount and fee from the sender, disburse the amount to the recipient, or refund the sender."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ussd_app.errors import ProviderError
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.networks import Bounds
from ussd_app.operators import Kind, Operator
from ussd_app.orders import (
    Leg,
    LimitReached,
    Order,
    Orders,
    Placed,
    Receipt,
    Repeated,
    Short,
    Step,
    TooFast,
    Wanted,
    floats,
)
from ussd_app.orders.steps import (
    AmountUnfit,
    Collect,
    Collecting,
    PayoutsPaused,
    TooLarge,
    TooSmall,
    bounds,
    misfit,
    recipient_of,
)


@dataclass(frozen=True, slots=True)
class Disburse:
    """To the recipient: the amount."""

    name: str = "disburse"
    kind: Kind = Kind.DISBURSEMENT

    def leg(self, order: Order) -> Leg:
        """The amount, through the recipient's operator."""
        return Leg(order.details["recipient_operator"], recipient_of(order), order.amount)


@dataclass(frozen=True, slots=True)
class SendMoney(Collecting):
    """The kind."""

    undeliverable: ClassVar[str] = "not_delivered"
    unreceivable: ClassVar[str] = "recipient_failed"

    steps: tuple[Step, ...] = (Collect(), Disburse())

    def variables(self, order: Order) -> Mapping[str, Any]:
        """Both parties and all amounts."""
        return {
            "amount": order.amount,
            "fee": order.fee,
            "total": order.amount + order.fee,
            "sender": order.msisdn,
            "sender_name": order.details["sender_name"],
            "recipient": recipient_of(order),
            "recipient_name": order.details["recipient_name"],
        }

    def party(self, order: Order, seen_by: Msisdn) -> str:
        """Whom it went to, or from whom it came."""
        if seen_by != order.msisdn:
            return order.details["sender_name"]
        return order.details.get("unnamed") or order.details["recipient_name"]

    def done(self, order: Order) -> tuple[Receipt, ...]:
        """Both are told."""
        return Receipt("money_sent", order.msisdn), Receipt("money_received", recipient_of(order))


KIND = SendMoney()


# The confirm screen waits this long for the recipient's name, and no longer.
NAME_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Quote:
    """What it will cost, and whom it will reach through which operator."""

    fee: Money
    total: Money
    recipient_name: str
    payee: Operator
    others: bool  # whether the recipient may be on another operator of ours
    repeated: Repeated | None = None  # where the sender has ordered just this already


@dataclass(frozen=True, slots=True)
class NotReachable:
    """No operator of ours pays out to this number."""

    recipient: Msisdn


@dataclass(frozen=True, slots=True)
class NotOnNetwork:
    """This operator does not know the number, and another of ours may."""

    recipient: Msisdn
    payee: Operator


@dataclass(frozen=True, slots=True)
class SelfSend:
    """Sender and recipient are one."""


def fee(amount: Money, step: int) -> Money:
    """Our fee: 1 % of the amount, rounded up to a multiple of ``step`` minor units."""
    return Money(-(-amount.minor // (100 * step)) * step, amount.currency)


async def quote(
    orders: Orders,
    msisdn: Msisdn,
    recipient: Msisdn,
    amount: Money,
    *,
    network: str | None = None,
    through: str | None = None,
) -> (
    Quote | LimitReached | TooFast | NotReachable | NotOnNetwork | SelfSend | AmountUnfit | TooSmall | TooLarge
    | PayoutsPaused
):  # fmt: skip
    """What sending this would cost and whom it would reach, or why it cannot be done. Moves nothing.

    ``network`` is the sender's as their session tells it, ``through`` the operator they have chosen for the recipient.
    """
    if msisdn == recipient:
        return SelfSend()
    payer, payee, _ = await _parties(orders, msisdn, recipient, network, through)
    if payer is None or payee is None:
        return NotReachable(msisdn if payer is None else recipient)
    refused = await _refusal(orders, msisdn, recipient, amount, payer, payee)
    repeated = refused if isinstance(refused, Repeated) else None
    if refused and not isinstance(refused, Repeated):
        return refused
    active, name = await _holder(orders, payee, recipient)
    others = len(orders.routes.of_country(recipient)) > 1
    if not active:
        return NotOnNetwork(recipient, payee) if others else NotReachable(recipient)
    charged = fee(amount, _step(payer, payee, amount.currency))
    return Quote(charged, amount + charged, name or payee.brand, payee, others, repeated)


async def place(
    orders: Orders,
    *,
    run: str,
    msisdn: Msisdn,
    sender_name: str,
    recipient: Msisdn,
    recipient_name: str,
    amount: Money,
    language: str,
    network: str | None = None,
    through: str | None = None,
) -> Placed | LimitReached | TooFast | NotReachable | PayoutsPaused:
    """Place the order; its prompt reaches the sender's phone a moment later."""
    payer, payee, chosen = await _parties(orders, msisdn, recipient, network, through)
    if payer is None or payee is None:
        return NotReachable(msisdn if payer is None else recipient)
    details = {
        "sender_name": sender_name,
        "sender_operator": payer.name,
        "recipient_name": recipient_name,
        "recipient_operator": payee.name,
        # Beside a number the brand stands for a name nobody tells; alone it would be anybody's.
        **({"unnamed": recipient.national} if recipient_name == payee.brand else {}),
        # A stranger's choice is remembered for others only once money has arrived there.
        **({"chosen": Disburse().name} if chosen else {}),
    }
    placed = await orders.try_place(
        "send_money",
        run=run,
        msisdn=msisdn,
        recipient=recipient,
        language=language,
        amount=amount,
        fee=fee(amount, _step(payer, payee, amount.currency)),
        network=network,
        details=details,
    )
    return PayoutsPaused(payee.brand) if isinstance(placed, Short) else placed


async def _refusal(
    orders: Orders, msisdn: Msisdn, recipient: Msisdn, amount: Money, payer: Operator, payee: Operator
) -> LimitReached | TooFast | AmountUnfit | TooSmall | TooLarge | PayoutsPaused | Repeated | None:
    """Why neither side could do it, whoever the recipient is; else Repeated where the sender has done it just now."""
    step = _step(payer, payee, amount.currency)
    unfit = misfit(amount, step, _before_fee(bounds(payer, msisdn), step), bounds(payee, recipient, out=True))
    if unfit and not isinstance(unfit, TooLarge):
        return unfit
    # Our own limits are usually the lower ones, and are told first.
    limited = await orders.refuses(Wanted("send_money", msisdn, amount, recipient))
    if isinstance(limited, LimitReached | TooFast):
        return limited
    if unfit:
        return unfit
    if payer is payee and payee.one_float:
        return limited
    async with orders.store.work() as connection:
        short = await floats.refuses(connection, orders, payee.name, amount)
    return PayoutsPaused(payee.brand) if short else limited


async def _parties(
    orders: Orders, msisdn: Msisdn, recipient: Msisdn, network: str | None, through: str | None
) -> tuple[Operator | None, Operator | None, bool]:
    """Both operators, and whether the recipient's is another than we would have taken."""
    async with orders.store.look() as connection:
        payer = await orders.routes.serving(connection, msisdn, network)
        likely = await orders.routes.serving(connection, recipient)
    if through is None:
        return payer, likely, False
    payee = orders.routes.of_country(recipient).get(through)
    return payer, payee, payee is not likely


def _step(payer: Operator, payee: Operator, currency: str) -> int:
    return math.lcm(payer.step(currency), payee.step(currency))


def _before_fee(total: Bounds | None, step: int) -> Bounds | None:
    """What may be sent where this is what may be collected, our fee included."""
    if total is None or total.largest is None:
        return total
    most = total.largest
    amount = Money(most.minor * 100 // 101 // step * step, most.currency)
    over = amount + fee(amount, step) > most
    return Bounds(total.smallest, Money(amount.minor - step, amount.currency) if over else amount)


async def _holder(orders: Orders, operator: Operator, msisdn: Msisdn) -> tuple[bool, str | None]:
    """Whether a number can be paid, and its holder's name; an operator too slow to say is taken to say yes."""

    async def both() -> tuple[bool, str | None]:
        return await asyncio.gather(operator.is_active(msisdn), operator.name_of(msisdn))

    try:
        async with asyncio.timeout(NAME_SECONDS):
            active, name = await orders.payments.breakers.call(operator.name, "is_active", both)
    except (ProviderError, TimeoutError):
        return True, None
    return active, name
