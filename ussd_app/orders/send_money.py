"""Send money: collect amount and fee from the sender, disburse the amount to the recipient, or refund the sender."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ussd_app.errors import ProviderError
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind, Operator, serving
from ussd_app.orders import Leg, LimitReached, Order, Orders, Placed, Receipt, Step, TooFast
from ussd_app.orders.steps import AmountUnfit, Collect, Collecting, recipient_of


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

    undeliverable: ClassVar[str] = "recipient_failed"

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
        return order.details["recipient_name" if seen_by == order.msisdn else "sender_name"]

    def done(self, order: Order) -> tuple[Receipt, ...]:
        """Both are told."""
        return Receipt("money_sent", order.msisdn), Receipt("money_received", recipient_of(order))


KIND = SendMoney()


# The confirm screen waits this long for the recipient's name, and no longer.
NAME_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Quote:
    """What it will cost, and whom it will reach."""

    fee: Money
    total: Money
    recipient_name: str


@dataclass(frozen=True, slots=True)
class NotReachable:
    """No operator of ours pays out to this number."""

    recipient: Msisdn


@dataclass(frozen=True, slots=True)
class SelfSend:
    """Sender and recipient are one."""


def fee(amount: Money, step: int) -> Money:
    """Our fee: 1 % of the amount, rounded up to a multiple of ``step`` minor units."""
    return Money(-(-amount.minor // (100 * step)) * step, amount.currency)


async def quote(
    orders: Orders, msisdn: Msisdn, recipient: Msisdn, amount: Money
) -> Quote | LimitReached | TooFast | NotReachable | SelfSend | AmountUnfit:
    """What sending this would cost and whom it would reach, or why it cannot be done. Moves nothing."""
    if msisdn == recipient:
        return SelfSend()
    payer, payee = (serving(party, orders.payments.operators) for party in (msisdn, recipient))
    if payer is None or payee is None:
        return NotReachable(msisdn if payer is None else recipient)
    step = _step(payer, payee, amount.currency)
    if amount.minor % step:
        return AmountUnfit(Money(step, amount.currency))
    refused = await orders.refuses("send_money", msisdn, recipient, amount)
    if refused:
        return refused
    active, name = await _holder(payee, recipient)
    if not active:
        return NotReachable(recipient)
    charged = fee(amount, step)
    return Quote(charged, amount + charged, name or recipient.national)


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
) -> Placed | LimitReached | TooFast | NotReachable:
    """Place the order; its prompt reaches the sender's phone a moment later."""
    payer, payee = (serving(party, orders.payments.operators) for party in (msisdn, recipient))
    if payer is None or payee is None:
        return NotReachable(msisdn if payer is None else recipient)
    details = {
        "sender_name": sender_name,
        "sender_operator": payer.name,
        "recipient_name": recipient_name,
        "recipient_operator": payee.name,
    }
    return await orders.place(
        "send_money",
        run=run,
        msisdn=msisdn,
        recipient=recipient,
        language=language,
        amount=amount,
        fee=fee(amount, _step(payer, payee, amount.currency)),
        details=details,
    )


def _step(payer: Operator, payee: Operator, currency: str) -> int:
    return math.lcm(payer.step(currency), payee.step(currency))


async def _holder(operator: Operator, msisdn: Msisdn) -> tuple[bool, str | None]:
    """Whether a number can be paid, and its holder's name; an operator too slow to say is taken to say yes."""
    try:
        async with asyncio.timeout(NAME_SECONDS):
            active, name = await asyncio.gather(operator.is_active(msisdn), operator.name_of(msisdn))
    except (ProviderError, TimeoutError):
        return True, None
    return active, name
