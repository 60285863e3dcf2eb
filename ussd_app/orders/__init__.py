"""What a person asked for: one kind per file, its steps, their undo and its receipts as data; this module drives them.

An order is a short list of steps. A step that succeeds makes room for the next; one that fails has the earlier ones
undone, in the same commit that books it. Every path ends in a state the person is told of by SMS.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Unpack
from uuid import UUID, uuid4

from sqlalchemy import Text, Uuid, bindparam, select, text
from sqlalchemy.dialects.postgresql import insert

from ussd_app import codes, idempotency
from ussd_app.groups import books
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind, Pending
from ussd_app.orders import floats, history, limits
from ussd_app.orders.course import Course
from ussd_app.orders.model import (
    Asked,
    Leg,
    LimitReached,
    Movement,
    Order,
    OrderKind,
    Placed,
    PlacedSlowly,
    Receipt,
    Repeated,
    Short,
    Standing,
    Step,
    TooFast,
    Wanted,
    kind_named,
    order_of,
)
from ussd_app.payments import Change, Finding
from ussd_app.payments.decisions import Decision, Undecided
from ussd_app.payments.life import FINAL
from ussd_app.store import Statement, Work, named
from ussd_app.tables import audit, orders, payments

__all__ = [
    "Leg", "LimitReached", "Movement", "Order", "OrderKind", "Orders", "Placed", "PlacedSlowly", "Receipt", "Repeated",
    "Short", "Standing", "Step", "TooFast", "Wanted",
]  # fmt: skip


ONE_AT_A_TIME = Statement(text("SELECT pg_advisory_xact_lock(hashtextextended(:who, 1))"))
OF_RUN = Statement(select(orders.c.code, orders.c.digest).where(orders.c.run == bindparam("run", type_=Text)))
# Rows that only name the order may still be written: who holds a group may have to (contributions.release).
LOCK_OF_PAYMENT = Statement(
    select(orders)
    .where(
        orders.c.id
        == select(payments.c.order_id).where(payments.c.id == bindparam("payment", type_=Uuid)).scalar_subquery()
    )
    .with_for_update(key_share=True)
)
ASKED = named(
    orders, "id", "run", "digest", "code", "kind", "state", "msisdn", "recipient", "language", "amount", "fee",
    "currency", "group_id", "details", "created_at",
)  # fmt: skip
INSERT = Statement(insert(orders).values(ASKED).on_conflict_do_nothing(index_elements=["code"]).returning(orders))


class Orders(Course):
    """Places orders and carries them on, one commit a change."""

    async def place(self, kind: str, **asked: Unpack[Asked]) -> Placed | LimitReached | TooFast:
        """Write order, first payment, hold and job in one commit. The same run again gives the order it placed."""
        placed = await self.try_place(kind, **asked)
        if isinstance(placed, Short):
            raise LookupError(f"{placed.account} has too little for a {kind}")  # noqa: TRY004 - a result, no type
        return placed

    async def try_place(self, kind: str, **asked: Unpack[Asked]) -> Placed | LimitReached | TooFast | Short:
        """The same of a kind that pays out: Short where the float it is to be paid out of is."""
        placed = await self.place_unless_repeated(kind, **asked)
        if isinstance(placed, Repeated):
            raise LookupError(f"a {kind} is refused as repeated, which nobody asked for")  # noqa: TRY004 - a result
        return placed

    async def place_unless_repeated(
        self, kind: str, **asked: Unpack[Asked]
    ) -> Placed | LimitReached | TooFast | Short | Repeated:
        """The same; Repeated, and nothing written, where an equal order stands and the payer did not say ``again``."""
        async with self.store.work() as connection:
            placed = await self.place_within(connection, kind, **asked)
        payer = self.payments.operators.get(asked["details"].get("sender_operator", ""))
        if isinstance(placed, Placed) and payer and await self.payments.breakers.resting(payer.name, Kind.COLLECTION):
            return PlacedSlowly(placed.reference, payer.brand)
        return placed

    async def place_within(
        self, connection: Work, kind: str, **asked: Unpack[Asked]
    ) -> Placed | LimitReached | TooFast | Short | Repeated:
        """The same in the caller's commit; Short where an account of ours holds too little."""
        values = {
            "kind": kind, "run": asked["run"], "msisdn": asked["msisdn"], "recipient": asked.get("recipient"),
            "language": asked["language"], "amount": asked["amount"].minor, "fee": asked["fee"].minor,
            "currency": asked["amount"].currency, "group_id": asked.get("group"), "details": dict(asked["details"]),
        }  # fmt: skip
        limited = kind_named(kind).limited
        if limited:
            # One person's orders are placed one at a time, so that two phones of theirs cannot both pass a limit.
            await connection.run(ONE_AT_A_TIME, who=asked["msisdn"])
        placed = await self._placed(connection, values)
        if placed:
            return placed
        if limited:
            wanted = Wanted(
                kind, asked["msisdn"], asked["amount"], asked.get("recipient"), asked.get("group"),
                asked["details"].get("bundle"),
            )  # fmt: skip
            refused = await limits.check(connection, self, wanted)
            if refused and not (isinstance(refused, Repeated) and asked.get("again", True)):
                return refused
        new = await self._place(connection, values)
        if isinstance(new, Placed):
            await self.routes.heard(connection, asked["msisdn"], asked.get("network"))
        return new

    async def submit(self, payment: UUID) -> None:
        """Job: ask the operator for a payment."""
        await self._settle(payment, await self.payments.submit(payment))

    async def poll(self, payment: UUID, number: int) -> None:
        """Job: ask for its state, at growing intervals."""
        await self._settle(payment, await self.payments.poll(payment, number))

    async def confirm(self, payment: UUID) -> None:
        """Job: ask for its state because a callback came."""
        await self._settle(payment, await self.payments.confirm(payment))

    async def decide(self, payment: UUID, decision: Decision) -> Undecided | None:
        """Book what a person has read of a payment in its operator's own statement; Undecided says why not."""
        self.clock.point("decide.before_commit")
        async with self.store.work() as connection:
            order = await self._locked(connection, payment)
            decided = await self.payments.decide(connection, payment, decision)
            if isinstance(decided, Undecided):
                return decided
            await self._carry_on(connection, order, decided)
            self.clock.point("decide.in_commit")
        self.clock.point("decide.after_commit")
        return None

    async def refund_again(self, code: str, by: str) -> bool:
        """Ask once more, on a person's word, for a refund that has failed; False where no order waits for that."""
        async with self.store.work() as connection:
            locked = select(orders).where(orders.c.code == code).with_for_update(key_share=True)
            row = (await connection.execute(locked)).mappings().one_or_none()
            if row is None or row["state"] != "parked" or not await self.refund_failed(connection, row["id"]):
                return False
            order = order_of(row)
            await self.lock_accounts(connection, order)
            detail = {"order": str(order.id), "by": by, "found": "refund again"}
            await connection.execute(audit.insert().values(at=self.clock.now(), event="decided", detail=detail))
            await self._undo(connection, order)
            return True

    async def refuses(self, wanted: Wanted) -> LimitReached | TooFast | Repeated | None:
        """What would be over a limit, or was ordered just now, for a quote; place looks again, safely."""
        async with self.store.look() as connection:
            return await limits.check(connection, self, wanted)

    async def standing(self, msisdn: Msisdn, code: str = "") -> list[Standing]:
        """Every order whose money is this person's and that has not ended, newest first; and the one of that code."""
        return await history.standing(self, msisdn, code)

    async def movements(self, msisdn: Msisdn, limit: int = 5) -> list[Movement]:
        """What this person last sent, received or got back, newest first."""
        return await history.movements(self, msisdn, limit)

    async def _settle(self, payment: UUID, status: Finding | None) -> None:
        if status is None or isinstance(status, Pending):
            return
        self.clock.point("settle.before_commit")
        async with self.store.work() as connection:
            order = await self._locked(connection, payment)
            change = await self.payments.settle(connection, payment, status)
            if change:
                await self._carry_on(connection, order, change)
            self.clock.point("settle.in_commit")
        self.clock.point("settle.after_commit")

    async def _locked(self, connection: Work, payment: UUID) -> Order:
        """The order of a payment, with all that its settling may touch."""
        # Order before payment, always: two jobs of one order wait here, not for each other.
        row = await connection.one(LOCK_OF_PAYMENT, payment=payment)
        if row is None:
            raise LookupError(f"no payment {payment}")
        order = order_of(row)
        if order.group:
            await books.lock(connection, order.group)
        await self.lock_accounts(connection, order)
        return order

    async def _carry_on(self, connection: Work, order: Order, change: Change) -> None:
        if change.became in FINAL:
            chosen = change.payment["step"] == order.details.get("chosen")
            await self.routes.settled(connection, change.payment, change.reason, chosen=chosen)
        await self._advance(connection, order, change)

    async def _placed(self, connection: Work, values: dict[str, Any]) -> Placed | None:
        row = await connection.one(OF_RUN, run=values["run"])
        if row is None:
            return None
        if row["digest"] != _digest(values):
            await self.payments.alert(connection, "one run placed twice with other words", code=row["code"])
        return Placed(row["code"])

    async def _place(self, connection: Work, values: dict[str, Any]) -> Placed | Short:
        now = self.clock.now()
        values |= {"id": uuid4(), "digest": _digest(values), "state": "open", "created_at": now}
        dry = await floats.check(connection, self, order_of({**values, "code": ""}))
        if dry:
            return dry
        # An account that is short must not cost the caller the rest of its commit, nor leave an order without a step.
        async with connection.savepoint():
            order = await self._insert(connection, values)
            kind = kind_named(order.kind)
            if not kind.steps:  # nobody has to be asked: our own books hold the money
                await self._finish(connection, order, "done", kind.done(order))
                return Placed(order.code)
            wait = timedelta(milliseconds=self.settings.prompt_delay_ms)
            short = await self._begin(connection, order, 0, after=wait)
            if short:
                await connection.undo()
                return Short(short.account)
        self.clock.point("place.in_commit")
        return Placed(order.code)

    async def _insert(self, work: Work, values: dict[str, Any]) -> Order:
        """The row under a code nobody has yet."""
        await idempotency.use(work, values["created_at"])
        while True:
            row = await work.one(INSERT, **values, code=codes.new(self.random))
            if row:
                return order_of(row)


def _digest(values: Mapping[str, Any]) -> str:
    """Of what was asked for: the same run must ask for the same."""
    words = {name: value if isinstance(value, dict | int) else str(value) for name, value in values.items()}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
