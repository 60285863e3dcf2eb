"""What somebody paid to our till, sent back to their own wallet by the operator that holds it.

Nothing was collected, so nothing is undone: where it fails, the hold on ``suspense`` is given up and the deposit can be
claimed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from ussd_app import ledger, till
from ussd_app.errors import Reason
from ussd_app.groups import books
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Operator
from ussd_app.orders import Leg, Order, OrderKind, Orders, Placed, Receipt, Step
from ussd_app.orders.course import Course
from ussd_app.orders.steps import PayoutsPaused
from ussd_app.store import Look, Work
from ussd_app.tables import orders as orders_table
from ussd_app.till import Unclaimed


@dataclass(frozen=True, slots=True)
class Gone:
    """It waits for this person no longer, or never did."""


@dataclass(frozen=True, slots=True)
class NotSentBack:
    """The operator that holds it moves no such amount."""


@dataclass(frozen=True, slots=True)
class Disburse:
    """To whoever paid it, out of what is nobody's yet."""

    name: str = "disburse"
    kind: Kind = Kind.DISBURSEMENT

    def leg(self, order: Order) -> Leg:
        """All of it."""
        return Leg(order.details["operator"], order.msisdn, order.amount, till.SUSPENSE)


@dataclass(frozen=True, slots=True)
class TillBack(OrderKind):
    """The kind."""

    steps: tuple[Step, ...] = (Disburse(),)

    @property
    def limited(self) -> bool:
        """It comes back to them: nobody's spending."""
        return False

    def variables(self, order: Order) -> Mapping[str, Any]:
        """How much, and how it is claimed again."""
        return {"amount": order.amount, "ussd": order.details["ussd"], "digits": order.details["digits"]}

    def party(self, order: Order, seen_by: Msisdn) -> str:  # noqa: ARG002 - whoever sees it
        """The operator whose till it was."""
        return order.details["brand"]

    def done(self, order: Order) -> tuple[Receipt, ...]:
        """They have it back."""
        return (Receipt("till_sent_back", order.msisdn),)

    def failed(self, order: Order, step: str, reason: Reason) -> tuple[Receipt, ...]:  # noqa: ARG002 - whatever it was
        """It is still with us."""
        return (Receipt("till_not_sent_back", order.msisdn),)

    def delayed(self, order: Order, asked: Kind) -> tuple[Receipt, ...]:  # noqa: ARG002 - it is never refunded
        """It is on its way back to them."""
        return (Receipt("till_coming_back", order.msisdn),)

    def undone(self, order: Order) -> tuple[Receipt, ...]:  # noqa: ARG002 - nothing was collected
        """None: it never is."""
        return ()

    def unresolved(self, order: Order) -> tuple[Receipt, ...]:
        """A person looks at it."""
        return (Receipt("till_waiting", order.msisdn),)

    async def settled(self, desk: Course, connection: Work, order: Order, state: str) -> None:
        """What has failed can be claimed again; what has left after all, no more."""
        if state == "failed":
            await till.give_up(connection, order.id)
        elif state == "late" and await books.has_paid(connection, till.SUSPENSE, order.id):
            await _left_after_all(desk, connection, order)


KIND = TillBack()


def sends(orders: Orders, found: Unclaimed) -> Operator | None:
    """The operator that can send it back: whoever holds it, where its amounts may be such."""
    operator = orders.payments.operators.get(found.provider)
    return operator if operator and found.amount.minor % operator.step(found.amount.currency) == 0 else None


async def place(
    orders: Orders, *, run: str, msisdn: Msisdn, language: str, deposit: UUID
) -> Placed | Gone | NotSentBack | PayoutsPaused:
    """Send a deposit of theirs back, once a run; of two who want it at once, one has it."""
    async with orders.store.work() as connection:
        seen = await till.read(connection, deposit, msisdn)
        operator = sends(orders, seen) if seen else None
        if seen and operator is None:
            return NotSentBack()
        if seen and operator:
            # Before the deposit, as whoever settles an order that sends one back.
            await ledger.lock(connection, (till.SUSPENSE,), seen.amount.currency)
        found = await till.read(connection, deposit, msisdn, lock=True)
        copied = await earlier(connection, run)  # and it may have failed, and given the deposit up, since
        if copied or found is None or operator is None:
            return copied or Gone()
        placed = await _place(orders, connection, run, msisdn, language, operator, found)
        if placed is None:
            return PayoutsPaused(operator.brand)
        await till.claim(connection, deposit, msisdn, placed.reference, orders.clock.now())
        return placed


async def earlier(connection: Look, run: str) -> Placed | None:
    """What this run of a flow has made of a deposit already."""
    query = select(orders_table.c.code).where(orders_table.c.run == run)
    code = (await connection.execute(query)).scalar_one_or_none()
    return Placed(code) if code else None


async def _place(
    orders: Orders,
    connection: Work,
    run: str,
    msisdn: Msisdn,
    language: str,
    operator: Operator,
    found: Unclaimed,
) -> Placed | None:
    placed = await orders.place_within(
        connection,
        "till_back",
        run=run,
        msisdn=msisdn,
        language=language,
        amount=found.amount,
        fee=Money(0, found.amount.currency),
        details={
            "operator": operator.name,
            "brand": operator.brand,
            "deposit": str(found.id),
            "digits": found.digits,
            "ussd": orders.settings.code,
        },
    )
    return placed if isinstance(placed, Placed) else None  # Short, no kind of limit


async def _left_after_all(desk: Course, connection: Work, order: Order) -> None:
    """It was booked as late against ``suspense``: rightly where it still waited there, else it is now owed to us."""
    deposit = UUID(order.details["deposit"])
    # Whoever claims it holds the accounts, as we do, before they lock it.
    if await till.read(connection, deposit, order.msisdn, lock=True):
        await till.claim(connection, deposit, order.msisdn, order.code, desk.clock.now())
        return
    receivable, now = ledger.RECEIVABLE, desk.clock.now()
    said = "sent back twice"
    await ledger.move(connection, receivable, till.SUSPENSE, order.amount, order=order.id, reason=said, at=now)
    await desk.payments.alert(connection, "paid out twice", order=str(order.id), amount=str(order.amount))
