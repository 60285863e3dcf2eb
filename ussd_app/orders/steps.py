"""Steps that several kinds of orders take, and the words for a collection that failed."""

from collections.abc import Mapping
from dataclasses import dataclass

from ussd_app.errors import Reason
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Leg, Order

# Why a collection failed, where the payer can do something about it; every other reason has the general words.
FAILURES: Mapping[Reason, str] = {
    Reason.INSUFFICIENT_FUNDS: "payment_failed_funds",
    Reason.REJECTED_BY_PAYER: "payment_rejected",
    Reason.EXPIRED: "payment_expired",
}


def collection_failed(reason: Reason) -> str:
    """The SMS template that tells a payer why nothing was taken."""
    return FAILURES.get(reason, "payment_failed")


def recipient_of(order: Order) -> Msisdn:
    """Whom the order goes to."""
    if order.recipient is None:
        raise LookupError(f"order {order.id} goes to nobody")
    return order.recipient


@dataclass(frozen=True, slots=True)
class Collect:
    """From whoever asked: the amount and our fee, through their own operator."""

    name: str = "collect"
    kind: Kind = Kind.COLLECTION

    def leg(self, order: Order) -> Leg:
        """The total."""
        return Leg(order.details["sender_operator"], order.msisdn, order.amount + order.fee)


@dataclass(frozen=True, slots=True)
class Deliver:
    """To the recipient: what was paid for."""

    name: str = "deliver"
    kind: Kind = Kind.DELIVERY

    def leg(self, order: Order) -> Leg:
        """The amount's worth, of the item the order was placed for."""
        item = {name.removeprefix("item_"): text for name, text in order.details.items() if name.startswith("item_")}
        return Leg(order.details["delivery"], recipient_of(order), order.amount, item=item)
