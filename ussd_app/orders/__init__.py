"""What a person asked for: one kind per file, its steps, their undo and its receipts as data; this module drives them.

An order is a short list of steps. A step that succeeds makes room for the next; one that fails has the earlier ones
undone, in the same commit that books it. Every path ends in a state the person is told of by SMS.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ussd_app import ledger
from ussd_app.clock import Clock
from ussd_app.config import Settings, provider
from ussd_app.ledger import Insufficient
from ussd_app.messages import Messages
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind, Pending
from ussd_app.orders.model import (
    Leg,
    LimitReached,
    Movement,
    Order,
    OrderKind,
    Placed,
    Receipt,
    Recent,
    Step,
    order_of,
)
from ussd_app.payments import SUCCESSES, Change, Finding, Payments
from ussd_app.tables import orders, payments, subscribers

__all__ = ["Leg", "LimitReached", "Movement", "Order", "OrderKind", "Orders", "Placed", "Receipt", "Recent", "Step"]

RECENT = timedelta(minutes=15)  # a redial this soon opens on what is unresolved
DAY = timedelta(hours=24)
UNDO = "undo:"  # an undo's step is named after the step it undoes


class Orders:
    """Places orders and carries them on, one commit a change."""

    def __init__(
        self,
        engine: AsyncEngine,
        payments: Payments,
        messages: Messages,
        clock: Clock,
        settings: Settings,
        random: Random,
    ) -> None:
        self.engine = engine
        self.payments = payments
        self.messages = messages
        self.clock = clock
        self.settings = settings
        self.random = random

    async def place(
        self,
        kind: str,
        *,
        run: str,
        msisdn: Msisdn,
        language: str,
        amount: Money,
        fee: Money,
        details: Mapping[str, str],
        recipient: Msisdn | None = None,
    ) -> Placed | LimitReached:
        """Write order, first payment, hold and job in one commit. The same run again gives the order it placed."""
        now = self.clock.now()
        digest = hashlib.sha256(
            json.dumps([kind, msisdn, recipient, str(amount), str(fee), dict(details)]).encode()
        ).hexdigest()
        async with self.engine.begin() as connection:
            # One person's orders are placed one at a time, so that two phones of theirs cannot both pass a limit.
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:who, 1))"), {"who": msisdn})
            placed = await self._placed(connection, run, digest)
            if placed:
                return placed
            limit = await self._over_limit(connection, msisdn, amount)
            if limit:
                return limit
            values = {
                "id": uuid4(), "run": run, "digest": digest, "kind": kind, "state": "open", "msisdn": msisdn,
                "recipient": recipient, "language": language, "amount": amount.minor, "fee": fee.minor,
                "currency": amount.currency,
                "details": dict(details), "created_at": now,
            }  # fmt: skip
            order = await self._insert(connection, values)
            await self._begin(connection, order, 0, after=timedelta(milliseconds=self.settings.prompt_delay_ms))
            self.clock.point("place.in_commit")
        return Placed(order.code)

    async def submit(self, payment: UUID) -> None:
        """Job: ask the operator for a payment."""
        await self._settle(payment, await self.payments.submit(payment))

    async def poll(self, payment: UUID, number: int) -> None:
        """Job: ask for its state, at growing intervals."""
        await self._settle(payment, await self.payments.poll(payment, number))

    async def confirm(self, payment: UUID) -> None:
        """Job: ask for its state because a callback came."""
        await self._settle(payment, await self.payments.confirm(payment))

    async def over_limit(self, msisdn: Msisdn, amount: Money) -> LimitReached | None:
        """The limit this amount would break, for a quote; place looks again, safely."""
        async with self.engine.connect() as connection:
            return await self._over_limit(connection, msisdn, amount)

    async def recent(self, msisdn: Msisdn) -> Recent | None:
        """The latest order this person placed within RECENT."""
        query = (
            select(orders)
            .where(orders.c.msisdn == msisdn, orders.c.created_at > self.clock.now() - RECENT)
            .order_by(orders.c.created_at.desc())
            .limit(1)
        )
        async with self.engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        order = order_of(row)
        said = {"open": "waiting", "done": "paid", "failed": "failed", "undoing": "refunding", "undone": "refunded"}
        party = _kind(order.kind).party(order, msisdn)
        return Recent(order.code, order.kind, order.amount, said.get(order.state, "waiting"), party)

    async def movements(self, msisdn: Msisdn, limit: int = 5) -> list[Movement]:
        """What this person last sent, received or got back, newest first."""
        query = (
            select(orders)
            .where((orders.c.msisdn == msisdn) | (orders.c.recipient == msisdn) & (orders.c.state == "done"))
            .where(orders.c.state.in_(["done", "undone"]))
            .order_by(orders.c.finished_at.desc())
            .limit(limit)
        )
        async with self.engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [_movement(order_of(row), row["finished_at"], msisdn) for row in rows]

    async def _settle(self, payment: UUID, status: Finding | None) -> None:
        if status is None or isinstance(status, Pending):
            return
        self.clock.point("settle.before_commit")
        async with self.engine.begin() as connection:
            # Order before payment, always: two jobs of one order wait here, not for each other.
            of = select(payments.c.order_id).where(payments.c.id == payment).scalar_subquery()
            row = (await connection.execute(select(orders).where(orders.c.id == of).with_for_update())).mappings().one()
            order = order_of(row)
            await self._lock_accounts(connection, order)
            change = await self.payments.settle(connection, payment, status)
            if change:
                await self._advance(connection, order, change)
            self.clock.point("settle.in_commit")
        self.clock.point("settle.after_commit")

    async def _lock_accounts(self, connection: AsyncConnection, order: Order) -> None:
        """Every account of ours that this order's settling may touch."""
        operators = {step.leg(order).operator for step in _kind(order.kind).steps}
        floats = {self.payments.float_account(name, kind) for name in operators for kind in Kind}
        await ledger.lock(connection, {*floats, ledger.FEES, ledger.RECEIVABLE}, order.amount.currency)

    async def _advance(self, connection: AsyncConnection, order: Order, change: Change) -> None:
        """What the order makes of a payment that has become final."""
        kind = _kind(order.kind)
        step = change.payment["step"]
        if change.became == "parked":
            await self._finish(connection, order, "parked", kind.unresolved(order))
        elif step.startswith(UNDO):
            await self._advance_undo(connection, order, kind, change)
        elif change.became == "late":
            await self.payments.book_late(connection, change.payment)
            if change.payment["kind"] == Kind.COLLECTION:
                await self._undo(connection, order)
        elif change.became == "succeeded":
            following = [s.name for s in kind.steps].index(step) + 1
            if following < len(kind.steps):
                await self._state(connection, order, "open")  # it may have been parked
                await self._begin(connection, order, following)
            else:
                await self._finish(connection, order, "done", kind.done(order))
        elif change.became == "failed" and change.reason:
            await self._tell(connection, order, kind.failed(order, step, change.reason))
            await self._undo(connection, order)

    async def _advance_undo(self, connection: AsyncConnection, order: Order, kind: OrderKind, change: Change) -> None:
        if change.became == "failed":
            await self.payments.alert(connection, "refund refused", order=str(order.id), reason=str(change.reason))
            await self._finish(connection, order, "parked", kind.unresolved(order))
            return
        if change.became == "late":
            await self.payments.book_late(connection, change.payment)
        await self._finish(connection, order, "undone", kind.undone(order))

    async def _undo(self, connection: AsyncConnection, order: Order) -> None:
        """Give back what was collected, or close the order where nothing was."""
        collected = (
            (
                await connection.execute(
                    select(payments).where(
                        payments.c.order_id == order.id,
                        payments.c.kind == Kind.COLLECTION,
                        payments.c.state.in_(SUCCESSES),
                    )
                )
            )
            .mappings()
            .all()
        )
        for row in collected:
            short = await self.payments.create(
                connection,
                order.id,
                UNDO + row["step"],
                Kind.REFUND,
                row["operator"],
                Msisdn(row["msisdn"]),
                Money(row["amount"], row["currency"]),
                label=order.code,
                refunds=row["id"],
            )
            if isinstance(short, Insufficient):
                raise LookupError(f"order {order.id} gives back more than it has")  # noqa: TRY004 - a result, no type
        await self._state(connection, order, "undoing" if collected else "failed")

    async def _begin(
        self, connection: AsyncConnection, order: Order, index: int, after: timedelta = timedelta()
    ) -> None:
        step = _kind(order.kind).steps[index]
        leg = step.leg(order)
        short = await self.payments.create(
            connection,
            order.id,
            step.name,
            step.kind,
            leg.operator,
            leg.msisdn,
            leg.amount,
            label=order.code,
            after=after,
        )
        if isinstance(short, Insufficient):
            raise LookupError(f"step {step.name} of order {order.id} moves more than was collected")  # noqa: TRY004 - a result, no type

    async def _finish(
        self, connection: AsyncConnection, order: Order, state: str, receipts: tuple[Receipt, ...]
    ) -> None:
        if state == "done" and order.fee:
            await ledger.move(
                connection,
                ledger.clearing_account(order.id),
                ledger.FEES,
                order.fee,
                order=order.id,
                reason="fee earned",
                at=self.clock.now(),
            )
        await self._state(connection, order, state)
        await self._tell(connection, order, receipts)

    async def _state(self, connection: AsyncConnection, order: Order, state: str) -> None:
        values = {"state": state, "finished_at": None if state in {"open", "undoing"} else self.clock.now()}
        await connection.execute(update(orders).where(orders.c.id == order.id).values(values))

    async def _tell(self, connection: AsyncConnection, order: Order, receipts: tuple[Receipt, ...]) -> None:
        variables = {**_kind(order.kind).variables(order), "reference": order.code, "at": self.clock.now()}
        for receipt in receipts:
            await self.messages.queue(
                connection,
                key=f"{order.id}:{receipt.template}:{receipt.msisdn.digits}",
                msisdn=receipt.msisdn,
                template=receipt.template,
                language=await self._language(connection, receipt.msisdn) or order.language,
                variables=variables,
                order_id=order.id,
            )

    async def _language(self, connection: AsyncConnection, msisdn: Msisdn) -> str | None:
        """What somebody we know reads."""
        query = select(subscribers.c.language).where(subscribers.c.msisdn == msisdn)
        return (await connection.execute(query)).scalar_one_or_none()

    async def _placed(self, connection: AsyncConnection, run: str, digest: str) -> Placed | None:
        query = select(orders.c.code, orders.c.digest).where(orders.c.run == run)
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        if row.digest != digest:
            await self.payments.alert(connection, "one run placed twice with other words", code=row.code)
        return Placed(row.code)

    async def _over_limit(self, connection: AsyncConnection, msisdn: Msisdn, amount: Money) -> LimitReached | None:
        """What failed or went back does not count; what is under way does."""
        once = Money.of(self.settings.payment_limit, amount.currency)
        if amount > once:
            return LimitReached(once)
        query = select(func.coalesce(func.sum(orders.c.amount), 0)).where(
            orders.c.msisdn == msisdn,
            orders.c.currency == amount.currency,
            orders.c.created_at > self.clock.now() - DAY,
            orders.c.state.not_in(["failed", "undone"]),
        )
        moved = Money(int((await connection.execute(query)).scalar_one()), amount.currency)
        daily = Money.of(self.settings.daily_limit, amount.currency)
        return LimitReached(daily) if moved + amount > daily else None

    async def _insert(self, connection: AsyncConnection, values: dict[str, Any]) -> Order:
        """The row under a code nobody has yet."""
        while True:
            query = insert(orders).values(**values, code=self._code()).on_conflict_do_nothing(index_elements=["code"])
            row = (await connection.execute(query.returning(orders))).mappings().one_or_none()
            if row:
                return order_of(row)

    def _code(self) -> str:
        """Eight digits: seven at random, and a check digit that makes them a multiple of eleven by weight."""
        while True:
            digits = [self.random.randrange(1, 10), *(self.random.randrange(10) for _ in range(6))]
            check = -sum(weight * digit for weight, digit in zip(range(8, 1, -1), digits, strict=True)) % 11
            if check < 10:  # noqa: PLR2004 - one decimal digit
                return "".join(map(str, [*digits, check]))


def _kind(name: str) -> OrderKind:
    found: OrderKind = provider("orders", name).KIND
    return found


def _movement(order: Order, at: datetime, seen_by: Msisdn) -> Movement:
    sent = "sent" if order.state == "done" else "refunded"
    label = sent if order.msisdn == seen_by else "received"
    return Movement(at, label, order.amount, _kind(order.kind).party(order, seen_by), order.code)
