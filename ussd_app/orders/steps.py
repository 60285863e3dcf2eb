"""What several kinds of orders have in common: the steps they take, their receipts, and why they are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.networks import TABLE, Bounds
from ussd_app.operators import Operator
from ussd_app.orders import Leg, Order, OrderKind, Receipt

# Why a collection failed, where the payer can do something about it; every other reason has the general words.
FAILURES: Mapping[Reason, str] = {
    Reason.INSUFFICIENT_FUNDS: "payment_failed_funds",
    Reason.REJECTED_BY_PAYER: "payment_rejected",
    Reason.EXPIRED: "payment_expired",
}

# Why something could not be handed on, where it is whoever was to get it; every other cause is ours or an operator's,
# and no text may lay it on them.
RECIPIENTS_OWN = frozenset(
    {Reason.PARTY_NOT_FOUND, Reason.PARTY_NOT_ALLOWED, Reason.LIMIT_REACHED, Reason.BAD_RECIPIENT}
)


@dataclass(frozen=True, slots=True)
class NotServed:
    """No operator of ours collects from this number, or nobody of ours can hand anything over to it."""

    msisdn: Msisdn


@dataclass(frozen=True, slots=True)
class PayoutsPaused:
    """Our float at this operator is too low to pay out of; nothing was written but an alert."""

    operator: str  # its brand


@dataclass(frozen=True, slots=True)
class AmountUnfit:
    """The operator moves only multiples of this."""

    step: Money


@dataclass(frozen=True, slots=True)
class TooSmall:
    """The operator moves no less than this in one payment."""

    smallest: Money


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The operator moves no more than this in one payment."""

    largest: Money


def misfit(amount: Money, step: int, *bounds: Bounds | None) -> AmountUnfit | TooSmall | TooLarge | None:
    """Why an amount cannot be moved in one payment between these bounds, by multiples of ``step`` minor units."""
    if amount.minor % step:
        return AmountUnfit(Money(step, amount.currency))
    ours = [each for each in bounds if each and each.smallest.currency == amount.currency]
    smallest = max((each.smallest for each in ours), default=amount)
    largest = min((each.largest for each in ours if each.largest), default=amount)
    if amount < smallest:
        return TooSmall(smallest)
    return TooLarge(largest) if amount > largest else None


def bounds(operator: Operator, msisdn: Msisdn, *, out: bool = False) -> Bounds | None:
    """What one payment from, or ``out`` to, a number that is served by this operator may be."""
    country = msisdn.country
    return TABLE.bounds(country, operator.countries[country], out=out)


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


class Collecting(OrderKind, Protocol):
    """A kind that collects first, and gives back what cannot be handed on."""

    undeliverable: ClassVar[str] = ""  # the SMS template that says so, and blames nobody
    unreceivable: ClassVar[str] = ""  # the same where it is the recipient's own; empty where one says all

    def done(self, order: Order) -> tuple[Receipt, ...]:  # noqa: ARG002 - said by whoever sells something
        """None, where a group's notice is the receipt."""
        return ()

    def failed(self, order: Order, step: str, reason: Reason) -> tuple[Receipt, ...]:
        """The payer is told whether nothing was taken, or that it is on its way back."""
        if step == "collect":
            return (Receipt(FAILURES.get(reason, "payment_failed"), order.msisdn),)
        own = self.unreceivable if reason in RECIPIENTS_OWN else ""
        return (Receipt(own or self.undeliverable, order.msisdn),)

    def delayed(self, order: Order, asked: Kind) -> tuple[Receipt, ...]:
        """The payer need not pay again: it is being delivered, or on its way back."""
        return (Receipt("money_going_back" if asked is Kind.REFUND else "being_delivered", order.msisdn),)

    def undone(self, order: Order) -> tuple[Receipt, ...]:
        """The payer has it back."""
        return (Receipt("money_refunded", order.msisdn),)

    def unresolved(self, order: Order) -> tuple[Receipt, ...]:
        """A person looks at it."""
        return (Receipt("still_waiting", order.msisdn),)


class PayingOut(OrderKind, Protocol):
    """A kind that pays a group's money out, of which the group's notices tell; nothing of it was collected."""

    @property
    def limited(self) -> bool:
        """It is nobody's spending."""
        return False

    def variables(self, order: Order) -> Mapping[str, Any]:
        """How much, out of which group."""
        return {"amount": order.amount, "total": order.amount, "group": order.details["group"]}

    def party(self, order: Order, seen_by: Msisdn) -> str:  # noqa: ARG002 - whoever sees it
        """The group it comes from."""
        return order.details["group"]

    def done(self, order: Order) -> tuple[Receipt, ...]:  # noqa: ARG002 - the group's notice tells
        """None beside the notice."""
        return ()

    def failed(self, order: Order, step: str, reason: Reason) -> tuple[Receipt, ...]:  # noqa: ARG002 - the same
        """None beside the notice."""
        return ()

    def delayed(self, order: Order, asked: Kind) -> tuple[Receipt, ...]:  # noqa: ARG002 - it is never refunded
        """Whoever gets it is told that it comes."""
        return (Receipt("payout_coming", order.recipient or order.msisdn),)

    def undone(self, order: Order) -> tuple[Receipt, ...]:  # noqa: ARG002 - nothing was collected
        """None: it never is."""
        return ()

    def unresolved(self, order: Order) -> tuple[Receipt, ...]:
        """A person looks at it."""
        return (Receipt("payout_waiting", order.msisdn),)
