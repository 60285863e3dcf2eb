"""Bundles and vouchers: collect the catalogue's price from whoever asked, hand the bundle over, or refund."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Order, Orders, Placed, Receipt, Repeated, Step, TooFast, Wanted
from ussd_app.orders.steps import AmountUnfit, Collect, Collecting, Deliver, NotServed, recipient_of

VOUCHER = "voucher"  # what the name of a delivery that hands over a code by SMS begins with


@dataclass(frozen=True, slots=True)
class Bundle:
    """One line of menus/bundles.toml: what can be bought for a number of ``operator``, and who hands it over."""

    id: str
    operator: str  # the network, as Msisdn.network names it
    name: str
    size: str
    validity: str  # Day | Week | Month
    price: Money
    delivery: str  # module of ussd_app/deliveries
    item: Mapping[str, str]  # what it is asked for: product, validity, and quantity and unit where it has them

    @property
    def label(self) -> str:
        """Its line in a list, in figures and the operator's own words: ``1GB Week GHS 10.00``."""
        return f"{self.size} {self.validity} {self.price}"


@dataclass(frozen=True, slots=True)
class BundleOrder(Collecting):
    """The kind."""

    undeliverable: ClassVar[str] = "bundle_failed"

    steps: tuple[Step, ...] = (Collect(), Deliver())

    def variables(self, order: Order) -> Mapping[str, Any]:
        """What was bought, and for whom."""
        return {
            "amount": order.amount,
            "total": order.amount + order.fee,
            "bundle": order.details["bundle_name"],
            "recipient": recipient_of(order),
            "recipient_name": order.details["bundle_name"],
            "sender": order.msisdn,
            "sender_name": order.details["sender_name"],
        }

    def party(self, order: Order, seen_by: Msisdn) -> str:
        """What was bought, or who bought it for us."""
        theirs = seen_by == order.recipient != order.msisdn
        return order.details["sender_name" if theirs else "bundle_name"]

    def done(self, order: Order) -> tuple[Receipt, ...]:
        """The payer is told; the recipient gets the code, or hears of the bundle where somebody else paid."""
        recipient = recipient_of(order)
        if order.details["delivery"].startswith(VOUCHER):
            code = Receipt("voucher_code", recipient)
            return (code,) if recipient == order.msisdn else (Receipt("bundle_sent", order.msisdn), code)
        sent = Receipt("bundle_sent", order.msisdn)
        return (sent,) if recipient == order.msisdn else (sent, Receipt("bundle_received", recipient))


KIND = BundleOrder()


async def quote(
    orders: Orders, msisdn: Msisdn, recipient: Msisdn, bundle: Bundle, *, network: str | None = None
) -> LimitReached | TooFast | NotServed | AmountUnfit | Repeated | None:
    """Why this bundle cannot be had, or was ordered just now; None where it can. Moves nothing."""
    payer = await orders.routes.find(msisdn, network)
    if payer is None:
        return NotServed(msisdn)
    if bundle.delivery not in orders.payments.deliveries:
        return NotServed(recipient)
    step = payer.step(bundle.price.currency)
    if bundle.price.minor % step:
        return AmountUnfit(Money(step, bundle.price.currency))
    return await orders.refuses(Wanted("bundle", msisdn, bundle.price, recipient, bundle=bundle.id))


async def place(
    orders: Orders,
    *,
    run: str,
    msisdn: Msisdn,
    sender_name: str,
    recipient: Msisdn,
    bundle: Bundle,
    language: str,
    network: str | None = None,
) -> Placed | LimitReached | TooFast | NotServed:
    """Place the order; its prompt reaches the payer's phone a moment later."""
    payer = await orders.routes.find(msisdn, network)
    if payer is None or bundle.delivery not in orders.payments.deliveries:
        return NotServed(msisdn if payer is None else recipient)
    details = {
        "sender_name": sender_name,
        "sender_operator": payer.name,
        "delivery": bundle.delivery,
        "bundle": bundle.id,
        "bundle_name": bundle.name,
        **{f"item_{name}": text for name, text in bundle.item.items()},
    }
    return await orders.place(
        "bundle",
        run=run,
        msisdn=msisdn,
        recipient=recipient,
        language=language,
        amount=bundle.price,
        fee=Money(0, bundle.price.currency),
        network=network,
        details=details,
    )
