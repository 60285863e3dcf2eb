"""What a person asked for: one kind per file, its steps, their undo and its receipts as data; this module drives them.

An order is a short list of steps. A step that succeeds makes room for the next; one that fails has the earlier ones
undone, in the same commit that books it. Every path ends in a state the person is told of by SMS.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import Any, Unpack
from uuid import UUID, uuid4

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ussd_app import codes, ledger
from ussd_app.clock import Clock
from ussd_app.config import Settings
from ussd_app.groups import Groups, books
from ussd_app.ledger import Insufficient
from ussd_app.messages import Messages
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind, Pending
from ussd_app.orders import history, limits
from ussd_app.orders.model import (
    Asked,
    Leg,
    LimitReached,
    Movement,
    Order,
    OrderKind,
    Placed,
    Receipt,
    Recent,
    Settling,
    Short,
    Step,
    TooFast,
    kind_named,
    order_of,
)
from ussd_app.payments import SUCCESSES, Change, Finding, Payments
from ussd_app.tables import orders, payments, subscribers

__all__ = [
    "Leg", "LimitReached", "Movement", "Order", "OrderKind", "Orders", "Placed", "Receipt", "Recent", "Short", "Step",
    "TooFast",
]  # fmt: skip

UNDO = "undo:"  # an undo's step is named after the step it undoes


class Orders:
    """Places orders and carries them on, one commit a change."""

    def __init__(
        self,
        engine: AsyncEngine,
        payments: Payments,
        messages: Messages,
        groups: Groups,
        clock: Clock,
        settings: Settings,
        random: Random,
    ) -> None:
        self.engine = engine
        self.payments = payments
        self.messages = messages
        self.groups = groups
        self.clock = clock
        self.settings = settings
        self.random = random

    async def place(self, kind: str, **asked: Unpack[Asked]) -> Placed | LimitReached | TooFast:
        """Write order, first payment, hold and job in one commit. The same run again gives the order it placed."""
        async with self.engine.begin() as connection:
            placed = await self.place_within(connection, kind, **asked)
        if isinstance(placed, Short):
            raise LookupError(f"{placed.account} has too little for a {kind}")  # noqa: TRY004 - a result, no type
        return placed

    async def place_within(
        self, connection: AsyncConnection, kind: str, **asked: Unpack[Asked]
    ) -> Placed | LimitReached | TooFast | Short:
        """The same in the caller's commit; Short only where the first step spends what an account of ours holds."""
        values = {
            "kind": kind, "run": asked["run"], "msisdn": asked["msisdn"], "recipient": asked.get("recipient"),
            "language": asked["language"], "amount": asked["amount"].minor, "fee": asked["fee"].minor,
            "currency": asked["amount"].currency, "group_id": asked.get("group"), "details": dict(asked["details"]),
        }  # fmt: skip
        limited = kind_named(kind).limited
        if limited:
            # One person's orders are placed one at a time, so that two phones of theirs cannot both pass a limit.
            who = {"who": asked["msisdn"]}
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:who, 1))"), who)
        placed = await self._placed(connection, values)
        if placed:
            return placed
        if limited:
            person, recipient = asked["msisdn"], asked.get("recipient")
            refused = await limits.check(connection, self, kind, person, recipient, asked["amount"])
            if refused:
                return refused
        return await self._place(connection, values)

    async def submit(self, payment: UUID) -> None:
        """Job: ask the operator for a payment."""
        await self._settle(payment, await self.payments.submit(payment))

    async def poll(self, payment: UUID, number: int) -> None:
        """Job: ask for its state, at growing intervals."""
        await self._settle(payment, await self.payments.poll(payment, number))

    async def confirm(self, payment: UUID) -> None:
        """Job: ask for its state because a callback came."""
        await self._settle(payment, await self.payments.confirm(payment))

    async def refuses(
        self, kind: str, msisdn: Msisdn, recipient: Msisdn | None, amount: Money
    ) -> LimitReached | TooFast | None:
        """What would be over a limit, for a quote; place looks again, safely."""
        async with self.engine.connect() as connection:
            return await limits.check(connection, self, kind, msisdn, recipient, amount)

    async def recent(self, msisdn: Msisdn) -> Recent | None:
        """The latest order this person placed within history.RECENT."""
        return await history.recent(self, msisdn)

    async def movements(self, msisdn: Msisdn, limit: int = 5) -> list[Movement]:
        """What this person last sent, received or got back, newest first."""
        return await history.movements(self, msisdn, limit)

    async def _settle(self, payment: UUID, status: Finding | None) -> None:
        if status is None or isinstance(status, Pending):
            return
        self.clock.point("settle.before_commit")
        async with self.engine.begin() as connection:
            # Order before payment, always: two jobs of one order wait here, not for each other.
            of = select(payments.c.order_id).where(payments.c.id == payment).scalar_subquery()
            # Rows that only name the order may still be written: who holds a group may have to (contributions.release).
            locked = select(orders).where(orders.c.id == of).with_for_update(key_share=True)
            row = (await connection.execute(locked)).mappings().one()
            order = order_of(row)
            if order.group:
                await books.lock(connection, order.group)
            await self._lock_accounts(connection, order)
            change = await self.payments.settle(connection, payment, status)
            if change:
                await self._advance(connection, order, change)
            self.clock.point("settle.in_commit")
        self.clock.point("settle.after_commit")

    async def _lock_accounts(self, connection: AsyncConnection, order: Order) -> None:
        """Every account of ours that this order's settling may touch."""
        operators = {step.leg(order).operator for step in kind_named(order.kind).steps}
        floats = {self.payments.float_account(name, kind) for name in operators for kind in Kind}
        await ledger.lock(connection, {*floats, ledger.FEES, ledger.RECEIVABLE}, order.amount.currency)

    async def _advance(self, connection: AsyncConnection, order: Order, change: Change) -> None:
        """What the order makes of a payment that has become final."""
        kind = kind_named(order.kind)
        step = change.payment["step"]
        if change.became == "parked":
            await self._finish(connection, order, "parked", kind.unresolved(order))
        elif step.startswith(UNDO):
            await self._advance_undo(connection, order, kind, change)
        elif change.became == "late":
            await self.payments.book_late(connection, change.payment)
            if change.payment["kind"] == Kind.COLLECTION:
                await self._undo(connection, order)
            else:
                await self._settled(connection, order, "late")
        elif change.became == "succeeded":
            following = [s.name for s in kind.steps].index(step) + 1
            if following < len(kind.steps):
                await self._state(connection, order, "open")  # it may have been parked
                await self._begin(connection, order, following)
            else:
                await self._finish(connection, order, "done", kind.done(order), change.handed_over)
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
        if not collected:
            await self._settled(connection, order, "failed")

    async def _begin(
        self, connection: AsyncConnection, order: Order, index: int, after: timedelta = timedelta()
    ) -> Insufficient | None:
        step = kind_named(order.kind).steps[index]
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
            account=leg.account,
            item=leg.item,
            after=after,
        )
        if short and index:
            raise LookupError(f"step {step.name} of order {order.id} moves more than was collected")
        return short

    async def _finish(
        self,
        connection: AsyncConnection,
        order: Order,
        state: str,
        receipts: tuple[Receipt, ...],
        handed_over: str = "",
    ) -> None:
        if state == "done" and order.fee:
            clearing, now = ledger.clearing_account(order.id), self.clock.now()
            await ledger.move(connection, clearing, ledger.FEES, order.fee, order=order.id, reason="fee earned", at=now)
        await self._state(connection, order, state)
        await self._settled(connection, order, state)
        await self._tell(connection, order, receipts, handed_over)

    async def _settled(self, connection: AsyncConnection, order: Order, state: str) -> None:
        kind = kind_named(order.kind)
        if isinstance(kind, Settling):
            await kind.settled(self, connection, order, state)

    async def _state(self, connection: AsyncConnection, order: Order, state: str) -> None:
        values = {"state": state, "finished_at": None if state in {"open", "undoing"} else self.clock.now()}
        await connection.execute(update(orders).where(orders.c.id == order.id).values(values))

    async def _tell(
        self, connection: AsyncConnection, order: Order, receipts: tuple[Receipt, ...], handed_over: str = ""
    ) -> None:
        own = {"reference": order.code, "at": self.clock.now(), "handed_over": handed_over}
        variables = {**kind_named(order.kind).variables(order), **own}
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

    async def _placed(self, connection: AsyncConnection, values: dict[str, Any]) -> Placed | None:
        query = select(orders.c.code, orders.c.digest).where(orders.c.run == values["run"])
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        if row.digest != _digest(values):
            await self.payments.alert(connection, "one run placed twice with other words", code=row.code)
        return Placed(row.code)

    async def _place(self, connection: AsyncConnection, values: dict[str, Any]) -> Placed | Short:
        now = self.clock.now()
        values |= {"id": uuid4(), "digest": _digest(values), "state": "open", "created_at": now}
        # An account that is short must not cost the caller the rest of its commit, nor leave an order without a step.
        async with connection.begin_nested() as savepoint:
            order = await self._insert(connection, values)
            wait = timedelta(milliseconds=self.settings.prompt_delay_ms)
            short = await self._begin(connection, order, 0, after=wait)
            if short:
                await savepoint.rollback()
                return Short(short.account)
        self.clock.point("place.in_commit")
        return Placed(order.code)

    async def _insert(self, connection: AsyncConnection, values: dict[str, Any]) -> Order:
        """The row under a code nobody has yet."""
        while True:
            query = (
                insert(orders)
                .values(**values, code=codes.new(self.random))
                .on_conflict_do_nothing(index_elements=["code"])
            )
            row = (await connection.execute(query.returning(orders))).mappings().one_or_none()
            if row:
                return order_of(row)


def _digest(values: Mapping[str, Any]) -> str:
    """Of what was asked for: the same run must ask for the same."""
    words = {name: value if isinstance(value, dict | int) else str(value) for name, value in values.items()}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
