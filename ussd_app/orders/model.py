"""The words of an order: what it is, what its steps move, who is told; and what its kind must declare."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import RowMapping

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind


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
    details: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Leg:
    """One movement of money: who, through whom, how much."""

    operator: str
    msisdn: Msisdn
    amount: Money


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

    def undone(self, order: Order) -> tuple[Receipt, ...]:
        """Receipts when what was collected has gone back."""
        ...

    def unresolved(self, order: Order) -> tuple[Receipt, ...]:
        """Receipts when nobody could find out in time and a person takes over."""
        ...


@dataclass(frozen=True, slots=True)
class Placed:
    """The order stands; its code is what people read out to support."""

    reference: str


@dataclass(frozen=True, slots=True)
class LimitReached:
    """More than this person may move in one payment or in one day."""

    limit: Money


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of a person's account of what moved."""

    at: datetime
    label: str  # sent | received | refunded
    money: Money
    party: str
    code: str


@dataclass(frozen=True, slots=True)
class Recent:
    """The latest order of the last RECENT, as its payer sees it."""

    code: str
    kind: str
    amount: Money
    state: str  # waiting | paid | failed | refunding | refunded
    party: str


def order_of(row: RowMapping) -> Order:
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
        details=row["details"],
        created_at=row["created_at"],
    )
