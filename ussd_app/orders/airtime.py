"""Airtime: collect its face value from whoever asked, top up the recipient's number, or refund."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.orders import LimitReached, Order, Orders, Placed, Receipt, Repeated, Step, TooFast, Wanted
from ussd_app.orders.steps import (
    AmountUnfit,
    Collect,
    Collecting,
    Deliver,
    NotServed,
    TooLarge,
    TooSmall,
    bounds,
    misfit,
    recipient_of,
)

DELIVERY = "airtime"  # what the name of a delivery that tops up begins with


@dataclass(frozen=True, slots=True)
class Airtime(Collecting):
    """The kind."""

    undeliverable: ClassVar[str] = "airtime_failed"

    steps: tuple[Step, ...] = (Collect(), Deliver())

    def variables(self, order: Order) -> Mapping[str, Any]:
        """Whose phone, and how much."""
        return {
            "amount": order.amount,
            "total": order.amount + order.fee,
            "recipient": recipient_of(order),
            "recipient_name": self.party(order, order.msisdn),
            "sender": order.msisdn,
            "sender_name": order.details["sender_name"],
        }

    def party(self, order: Order, seen_by: Msisdn) -> str:
        """The phone that was topped up, or whoever topped up ours."""
        recipient = recipient_of(order)
        return order.details["sender_name"] if seen_by == recipient != order.msisdn else recipient.national

    def done(self, order: Order) -> tuple[Receipt, ...]:
        """The payer is told, and the recipient where that is somebody else."""
        receipts = (Receipt("airtime_sent", order.msisdn),)
        recipient = recipient_of(order)
        return receipts if recipient == order.msisdn else (*receipts, Receipt("airtime_received", recipient))


KIND = Airtime()


async def quote(
    orders: Orders, msisdn: Msisdn, recipient: Msisdn, amount: Money, *, network: str | None = None
) -> LimitReached | TooFast | NotServed | AmountUnfit | TooSmall | TooLarge | Repeated | None:
    """Why this top-up cannot be had, or was ordered just now; None where it can. It costs its face value."""
    payer = await orders.routes.find(msisdn, network)
    if payer is None:
        return NotServed(msisdn)
    # Airtime is sold in the currency of the recipient's own country.
    if delivery(orders) is None or CURRENCIES.get(recipient.country) != amount.currency:
        return NotServed(recipient)
    unfit = misfit(amount, payer.step(amount.currency), bounds(payer, msisdn))
    if unfit and not isinstance(unfit, TooLarge):
        return unfit
    # Our own limits are usually the lower ones, and are told first.
    limited = await orders.refuses(Wanted("airtime", msisdn, amount, recipient))
    return limited if isinstance(limited, LimitReached | TooFast) else unfit or limited


async def place(
    orders: Orders,
    *,
    run: str,
    msisdn: Msisdn,
    sender_name: str,
    recipient: Msisdn,
    amount: Money,
    language: str,
    network: str | None = None,
) -> Placed | LimitReached | TooFast | NotServed:
    """Place the order; its prompt reaches the payer's phone a moment later."""
    payer, by = await orders.routes.find(msisdn, network), delivery(orders)
    if payer is None or by is None:
        return NotServed(msisdn if payer is None else recipient)
    return await orders.place(
        "airtime",
        run=run,
        msisdn=msisdn,
        recipient=recipient,
        language=language,
        amount=amount,
        fee=Money(0, amount.currency),
        network=network,
        details={"sender_name": sender_name, "sender_operator": payer.name, "delivery": by},
    )


def delivery(orders: Orders) -> str | None:
    """Who tops up: the first delivery in use whose name says so."""
    return next((name for name in orders.payments.deliveries if name.startswith(DELIVERY)), None)
