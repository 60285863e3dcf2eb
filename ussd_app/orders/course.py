"""The course of an order: from step to step, or back, and what it is told of on the way."""

from collections.abc import Collection
from datetime import timedelta
from random import Random
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from ussd_app import ledger
from ussd_app.clock import Clock
from ussd_app.config import Settings
from ussd_app.groups import Groups
from ussd_app.ledger import Insufficient
from ussd_app.messages import Messages
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind
from ussd_app.orders.model import Order, OrderKind, Receipt, Settling, kind_named, order_of
from ussd_app.payments import SUCCESSES, Change, Payments
from ussd_app.payments.life import FINAL
from ussd_app.routes import Routes
from ussd_app.store import Look, Statement, Store, Work, named
from ussd_app.tables import orders, payments, subscribers

HANDED_ON = frozenset({Kind.DISBURSEMENT, Kind.DELIVERY})
UNDO = "undo:"  # an undo's step is named after the step it undoes
# After this long whoever's money is still being handed on, or back, is told so.
DELAY = timedelta(minutes=1)


p = payments.c
ORDER = bindparam("order", type_=Uuid)
LOCK = Statement(select(orders).where(orders.c.id == ORDER).with_for_update(key_share=True))
STATE = Statement(update(orders).where(orders.c.id == ORDER).values(named(orders, "state", "finished_at")))
STEP = Statement(select(p.kind, p.state).where(p.order_id == ORDER, p.step == bindparam("step", type_=Text)))
LAST_REFUND = Statement(
    select(p.state).where(p.order_id == ORDER, p.kind == Kind.REFUND).order_by(p.created_at.desc()).limit(1)
)
HAS = Statement(
    select(p.id)
    .where(p.order_id == ORDER, p.state == bindparam("state", type_=Text))
    .where(p.kind == func.any(bindparam("kinds", type_=ARRAY(Text))))
    .limit(1)
)
_REFUND = payments.alias()
_REFUNDED = select(func.count()).where(_REFUND.c.refunds == p.id).scalar_subquery()
COLLECTED = Statement(  # and how often it was to go back before
    select(payments, _REFUNDED.label("refunded")).where(
        p.order_id == ORDER, p.kind == Kind.COLLECTION, p.state.in_(SUCCESSES)
    )
)
LANGUAGE = Statement(select(subscribers.c.language).where(subscribers.c.msisdn == bindparam("msisdn", type_=Text)))


class Course:
    """What an order makes of its payments, inside the commit that books them."""

    def __init__(
        self,
        store: Store,
        payments: Payments,
        messages: Messages,
        groups: Groups,
        clock: Clock,
        settings: Settings,
        random: Random,
        routes: Routes,
    ) -> None:
        self.store = store
        self.payments = payments
        self.messages = messages
        self.groups = groups
        self.clock = clock
        self.settings = settings
        self.random = random
        self.routes = routes

    async def lock_accounts(self, connection: Work, order: Order) -> None:
        """Every account with a floor that this order pays out of and that others spend too.

        Its clearing account is none of them: whoever settles the order has locked the order.
        """
        legs = [step.leg(order) for step in kind_named(order.kind).steps]
        await ledger.lock(connection, {leg.account for leg in legs if leg.account}, order.amount.currency)

    async def _advance(self, connection: Work, order: Order, change: Change) -> None:
        """What the order makes of a payment that has become final."""
        kind = kind_named(order.kind)
        step = change.payment["step"]
        if change.became == "parked":
            await self._finish(connection, order, "parked", kind.unresolved(order), about=step)
        elif change.became in {"doubted", "undoubted"}:
            await self._advance_doubt(connection, order, kind, change)
        elif step.startswith(UNDO):
            await self._advance_undo(connection, order, kind, change)
        elif change.became == "late":
            await self._advance_late(connection, order, kind, change)
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

    async def _advance_late(self, connection: Work, order: Order, kind: OrderKind, change: Change) -> None:
        await self.payments.book_late(connection, change.payment)
        if change.payment["kind"] == Kind.COLLECTION:
            await self._undo(connection, order)
        elif await self.refund_failed(connection, order.id):
            await self._finish(connection, order, "done", kind.done(order), change.handed_over)
        else:
            await self._settled(connection, order, "late")
            if _waits(order, kind, change):
                await self._state(connection, order, "done")
                await self._tell(connection, order, kind.done(order), change.handed_over)

    async def _advance_doubt(self, connection: Work, order: Order, kind: OrderKind, change: Change) -> None:
        """A failure may have been none: its order waits for a person where it is over, and they are told so.

        Where what was collected goes back, or has, nobody has lost anything by it but us.
        """
        step = change.payment["step"]
        if change.became == "doubted" and order.state == "failed":
            await self._state(connection, order, "parked")
            await self._tell(connection, order, kind.unresolved(order), about=step)
        elif change.became == "undoubted" and change.reason and _waits(order, kind, change):
            await self._state(connection, order, "failed")
            await self._tell(connection, order, kind.failed(order, step, change.reason), about="decided")

    async def _advance_undo(self, connection: Work, order: Order, kind: OrderKind, change: Change) -> None:
        # What came late was booked as owed to us while this refund was under way: what was collected pays for it.
        if change.became == "failed" and await self._has(connection, order, HANDED_ON, "late"):
            await self._no_longer_owed(connection, order, order.amount, "handed on late, not given back")
            await self._finish(connection, order, "done", kind.done(order))
            return
        if change.became == "failed" and await self._has(connection, order, {Kind.REFUND}, "late"):
            given_back = Money(change.payment["amount"], change.payment["currency"])
            await self._no_longer_owed(connection, order, given_back, "given back late, not twice")
            return
        if change.became == "failed":
            await self.payments.alert(connection, "refund refused", order=str(order.id), reason=str(change.reason))
            await self._finish(connection, order, "parked", kind.unresolved(order), about=change.payment["step"])
            return
        if change.became == "late":
            await self.payments.book_late(connection, change.payment)
        await self._finish(connection, order, "undone", kind.undone(order))

    async def _no_longer_owed(self, connection: Look, order: Order, money: Money, said: str) -> None:
        clearing, at = ledger.clearing_account(order.id), self.clock.now()
        await ledger.move(connection, clearing, ledger.RECEIVABLE, money, order=order.id, reason=said, at=at)

    async def refund_failed(self, look: Look, order: UUID) -> bool:
        """Whether what was collected was to go back, and the last try at it has failed."""
        return bool(await look.value(LAST_REFUND, order=order) == "failed")

    async def _has(self, look: Look, order: Order, kinds: Collection[Kind], state: str) -> bool:
        """Whether a payment of these kinds has come to this for the order."""
        return await look.value(HAS, order=order.id, kinds=list(kinds), state=state) is not None

    async def _undo(self, connection: Work, order: Order) -> None:
        """Give back what was collected, or close the order where nothing was."""
        collected = await connection.all(COLLECTED, order=order.id)
        for row in collected:
            tries = row["refunded"]
            step = f"{UNDO}{row['step']}{f':{tries + 1}' if tries else ''}"
            short = await self.payments.create(
                connection,
                order.id,
                step,
                Kind.REFUND,
                row["operator"],
                Msisdn(row["msisdn"]),
                Money(row["amount"], row["currency"]),
                label=order.code,
                refunds=row["id"],
            )
            if isinstance(short, Insufficient):
                raise LookupError(f"order {order.id} gives back more than it has")  # noqa: TRY004 - a result, no type
            await self._plan_delay(connection, order, step)
        await self._state(connection, order, "undoing" if collected else "failed")
        if not collected:
            await self._settled(connection, order, "failed")

    async def _begin(
        self, connection: Work, order: Order, index: int, after: timedelta = timedelta()
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
        if step.kind in HANDED_ON and not short:
            await self._plan_delay(connection, order, step.name, after)
        return short

    async def _plan_delay(self, connection: Work, order: Order, step: str, after: timedelta = timedelta()) -> None:
        """Have the person told, should this step hang."""
        at = self.clock.now() + after + DELAY
        await self.payments.jobs.defer(connection, "orders.tell_delay", at=at, order=str(order.id), step=step)

    async def tell_delay(self, order_id: UUID, step: str) -> None:
        """Job: tell whose money it is that it is on its way, where this step is not over; once an order."""
        async with self.store.work() as connection:
            # Whoever settles the step holds the order, so that this is never said after how it ended.
            row = await connection.one(LOCK, order=order_id)
            payment = await connection.one(STEP, order=order_id, step=step)
            if row is None or payment is None:
                raise LookupError(f"no step {step} of an order {order_id}")
            order = order_of(row)
            if order.state in {"open", "undoing"} and payment["state"] not in {*FINAL, "parked"}:
                receipts = kind_named(order.kind).delayed(order, Kind(payment["kind"]))
                await self._tell(connection, order, receipts, event="delayed")
            self.clock.point("delay.in_commit")
        self.clock.point("delay.after_commit")

    async def _finish(
        self,
        connection: Work,
        order: Order,
        state: str,
        receipts: tuple[Receipt, ...],
        handed_over: str = "",
        about: str = "",
    ) -> None:
        if state == "done" and order.fee:
            clearing, now = ledger.clearing_account(order.id), self.clock.now()
            await ledger.move(connection, clearing, ledger.FEES, order.fee, order=order.id, reason="fee earned", at=now)
        await self._state(connection, order, state)
        await self._settled(connection, order, state)
        await self._tell(connection, order, receipts, handed_over, about)

    async def _settled(self, connection: Work, order: Order, state: str) -> None:
        kind = kind_named(order.kind)
        if isinstance(kind, Settling):
            await kind.settled(self, connection, order, state)

    async def _state(self, work: Work, order: Order, state: str) -> None:
        finished_at = None if state in {"open", "undoing"} else self.clock.now()
        await work.run(STATE, order=order.id, state=state, finished_at=finished_at)

    async def _tell(
        self,
        connection: Work,
        order: Order,
        receipts: tuple[Receipt, ...],
        handed_over: str = "",
        event: str | None = None,
        about: str = "",  # tells two of one template apart, of which one order may need both
    ) -> None:
        """Queue an order's SMS: each template once, or where an ``event`` is named one of them for it."""
        own = {"reference": order.code, "at": self.clock.now(), "handed_over": handed_over}
        variables = {**kind_named(order.kind).variables(order), **own}
        for receipt in receipts:
            await self.messages.queue(
                connection,
                key=f"{order.id}:{event or receipt.template}:{receipt.msisdn.digits}{f':{about}' if about else ''}",
                msisdn=receipt.msisdn,
                template=receipt.template,
                language=await self._language(connection, receipt.msisdn) or order.language,
                variables=variables,
                order_id=order.id,
            )

    async def _language(self, look: Look, msisdn: Msisdn) -> str | None:
        """What somebody we know reads."""
        language: str | None = await look.value(LANGUAGE, msisdn=msisdn)
        return language


def _waits(order: Order, kind: OrderKind, change: Change) -> bool:
    """Whether an order that had nothing to give back waits for a person, because its first failure is in doubt."""
    return order.state == "parked" and change.payment["step"] == kind.steps[0].name
