"""The words of an order: what it is, what its steps move, who is told; and what its kind must declare."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict, runtime_checkable
from uuid import UUID

from ussd_app.config import provider
from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind
from ussd_app.store import Row, Work

if TYPE_CHECKING:
    from ussd_app.orders.course import Course

OPEN = ("open", "undoing", "parked")  # an order's states before its end
OPEN_STATES = frozenset({"waiting", "delivering", "coming", "refunding", "unclear"})  # of its Standing


@dataclass(frozen=True, slots=True)
class Order:
    """One row of orders, typed."""

    id: UUID
    code: str
    kind: str
    state: str
    msisdn: Msisdn
    recipient: Msisdn | None
    language: str
    amount: Money
    fee: Money
    group: UUID | None  # the savings group whose accounts it touches
    details: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Leg:
    """One movement: who, through whom, how much, and between our float and which account."""

    operator: str  # or the delivery
    msisdn: Msisdn
    amount: Money
    account: str | None = None  # None: the order's own clearing account
    item: Mapping[str, str] = field(default_factory=dict)  # what a delivery hands over


@dataclass(frozen=True, slots=True)
class Receipt:
    """An SMS: a template of menus/sms.toml and who gets it."""

    template: str
    msisdn: Msisdn


class Step(Protocol):
    """One step of an order kind."""

    @property
    def name(self) -> str:
        """Its name in payments."""
        ...

    @property
    def kind(self) -> Kind:
        """What it asks of an operator."""
        ...

    def leg(self, order: Order) -> Leg:
        """What this step moves."""
        ...


class OrderKind(Protocol):
    """What a file of this folder declares, as ``KIND``."""

    @property
    def limited(self) -> bool:
        """Whether it counts towards what a person may move: their own money going out."""
        return True

    @property
    def steps(self) -> tuple[Step, ...]:
        """In the order they are taken."""
        ...

    def variables(self, order: Order) -> Mapping[str, Any]:
        """What its receipts may say."""
        ...

    def party(self, order: Order, seen_by: Msisdn) -> str:
        """The other side's name, for one line of somebody's movements."""
        ...

    def done(self, order: Order) -> tuple[Receipt, ...]:
        """Receipts when every step has succeeded."""
        ...

    def failed(self, order: Order, step: str, reason: Reason) -> tuple[Receipt, ...]:
        """Receipts when a step has failed, before its undo (if there is anything to undo) has begun."""
        ...

    def delayed(self, order: Order, asked: Kind) -> tuple[Receipt, ...]:
        """Receipts when money of theirs is on its way a minute after it was ``asked`` for: handed on, or refunded."""
        ...

    def undone(self, order: Order) -> tuple[Receipt, ...]:
        """Receipts when what was collected has gone back."""
        ...

    def unresolved(self, order: Order) -> tuple[Receipt, ...]:
        """Receipts when nobody could find out in time and a person takes over."""
        ...


@runtime_checkable
class Settling(Protocol):
    """A kind that has more to write in the commit in which its order settles."""

    async def settled(self, desk: "Course", connection: Work, order: Order, state: str) -> None:
        """Take note that the order has become done, failed, undone or parked.

        Or ``late``: its last step has succeeded after all, and has been booked.
        """
        ...


class Asked(TypedDict):
    """What an order is placed for."""

    run: str  # of the flow: the idempotency key
    msisdn: Msisdn  # who asks
    language: str
    amount: Money
    fee: Money
    details: Mapping[str, str]
    recipient: NotRequired[Msisdn | None]  # who else sees it among their movements
    group: NotRequired[UUID | None]  # the savings group whose accounts it touches
    network: NotRequired[str | None]  # whom their session says ``msisdn`` is with, in the aggregator's words
    again: NotRequired[bool]  # whether it is placed though an equal one was, as the payer wants; True where not said


@dataclass(frozen=True, slots=True)
class Wanted:
    """As much of an order as tells whether it may be placed, and whether an equal one was placed just now."""

    kind: str
    msisdn: Msisdn
    amount: Money
    recipient: Msisdn | None = None
    group: UUID | None = None
    bundle: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The order stands; its code is what people read out to support."""

    reference: str


@dataclass(frozen=True, slots=True)
class PlacedSlowly(Placed):
    """The same, while nothing is asked of the payer's operator for a while: its prompt comes late, or not at all."""

    operator: str  # its brand


@dataclass(frozen=True, slots=True)
class LimitReached:
    """More than this person may move in one payment or in one day."""

    limit: Money


@dataclass(frozen=True, slots=True)
class TooFast:
    """More payments, or more new recipients, than one person makes; another may follow after this long."""

    minutes: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """The payer ordered just this so many minutes ago, and it has not failed."""

    minutes: int


@dataclass(frozen=True, slots=True)
class Short:
    """An account has less to spend than the order moves; nothing was written."""

    account: str


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of a person's account of what moved."""

    at: datetime
    label: str  # sent | received | refunded
    money: Money
    party: str
    code: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands, as the person sees it whose money it moves.

    ``state``, while the order is open: ``waiting`` (for the payer's approval, as far as is known), ``delivering``
    (it is paid), ``coming`` (money of theirs that nobody collected), ``refunding``, ``unclear`` (we look into it).
    At its end: ``paid``, ``failed``, ``refunded``; of what was coming ``arrived`` or ``kept``.
    """

    code: str
    at: datetime  # when it was placed
    amount: Money
    state: str
    party: str
    brand: str  # of whoever collects it

    @property
    def is_open(self) -> bool:
        """Whether its end is yet to come."""
        return self.state in OPEN_STATES


def kind_named(name: str) -> OrderKind:
    """The kind a file of this folder declares."""
    found: OrderKind = provider("orders", name).KIND
    return found


def order_of(row: Row | Mapping[str, Any]) -> Order:
    """A row, typed."""
    return Order(
        id=row["id"],
        code=row["code"],
        kind=row["kind"],
        state=row["state"],
        msisdn=Msisdn(row["msisdn"]),
        recipient=Msisdn(row["recipient"]) if row["recipient"] else None,
        language=row["language"],
        amount=Money(row["amount"], row["currency"]),
        fee=Money(row["fee"], row["currency"]),
        group=row["group_id"],
        details=row["details"],
        created_at=row["created_at"],
    )
