"""The rows of payments: what they are read, locked, stepped and asked for by."""

from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB

from ussd_app import ledger, log
from ussd_app.breakers import Breakers
from ussd_app.clock import Clock
from ussd_app.deliveries import Delivery
from ussd_app.jobs import Jobs
from ussd_app.money import Money
from ussd_app.movement import Kind, Provider, Request, Unqueried
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Operator
from ussd_app.payments.life import Life
from ussd_app.payments.schedule import Schedule
from ussd_app.store import Look, Row, Statement, Store, Work, named
from ussd_app.tables import audit, payment_events, payments
from ussd_app.tables.base import Moment

RECEIPT = "receipt"  # the item of a refund: of what it gives back, as it was known when the refund was made


PAYMENT = bindparam("payment", type_=Uuid)
_ONE = select(payments).where(payments.c.id == PAYMENT)
FIND, LOCK = Statement(_ONE), Statement(_ONE.with_for_update())
FIND_AT = Statement(_ONE.where(payments.c.operator == bindparam("provider", type_=Text)))
EVENT_ROW = insert(payment_events).values(
    payment_id=PAYMENT,
    at=bindparam("now", type_=Moment),
    event=bindparam("event", type_=Text),
    detail=bindparam("detail", type_=JSONB),
)
EVENT = Statement(EVENT_ROW)
_STEP = update(payments).where(payments.c.id == PAYMENT).add_cte(EVENT_ROW.cte("events"))
# One statement for a step of the machine and its event, by what is written beside the state.
STEPS: Mapping[tuple[str, ...], Statement] = {
    names: Statement(_STEP.values(named(payments, "state", *names)))
    for names in (
        (),
        ("submitted_at", "attempts", "doubtful", "checks"),
        ("receipt", "final_at"),
        ("reason", "final_at", "checks"),
    )
}
CHECKS = Statement(update(payments).where(payments.c.id == PAYMENT).values(named(payments, "checks")))
TOLD_BEFORE = Statement(
    select(payment_events.c.id)
    .where(payment_events.c.payment_id == PAYMENT, payment_events.c.event == "alert")
    .where(payment_events.c.detail["what"].astext == bindparam("what", type_=Text))
    .limit(1)
)
ALERT = Statement(insert(audit).values(event="alert", **named(audit, "at", "detail")))


class Rows:
    """Every change of a payment's row is a step of the machine (life.py) and leaves its event."""

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        operators: Mapping[str, Operator],
        deliveries: Mapping[str, Delivery],
        clock: Clock,
        callback_url: Callable[[str, str], str],  # (provider, path) -> the address of callbacks about it
        breakers: Breakers,
        random: Random,
        schedule: Schedule | None = None,
    ) -> None:
        self.store = store
        self.jobs = jobs
        self.operators = operators
        self.deliveries = deliveries
        self.clock = clock
        self.callback_url = callback_url
        self.breakers = breakers
        self.random = random
        self.schedule = schedule or Schedule()

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Whoever moves something for us, by name."""
        return {**self.operators, **self.deliveries}

    def mute(self, row: Row) -> Unqueried | None:
        """The provider of a payment, where no query tells of its kind."""
        provider = self.providers[row["operator"]]
        return provider if isinstance(provider, Unqueried) and row["kind"] in provider.unqueried else None

    def float_account(self, operator: str, kind: str) -> str:
        """The name of the account that holds what an operator holds for us, and this kind moves."""
        provider, ours = self.providers[operator], self.operators.get(operator)
        side = ours.refunds_from if ours and kind == Kind.REFUND else kind
        return ledger.float_account(operator, side, shared=provider.one_float)

    async def alert(self, connection: Work, what: str, **detail: str) -> None:
        """Leave what a person must look at in the audit table and in the log."""
        await connection.run(ALERT, at=self.clock.now(), detail={"what": what, **detail})
        log.get(__name__).error("alert", what=what, **detail)

    async def alert_once(self, connection: Work, payment: UUID, what: str, **detail: str) -> bool:
        """The same of a payment, once however often it is met; False where it has been told before."""
        await self._lock(connection, payment)
        if await connection.value(TOLD_BEFORE, payment=payment, what=what):
            return False
        await self._event(connection, payment, "alert", {"what": what})
        await self.alert(connection, what, payment=str(payment), **detail)
        return True

    async def _plan_check(self, work: Work, row: Row, at: datetime) -> None:
        """Have the operator asked at that moment, once more than so far."""
        number = row["checks"] + 1
        await work.run(CHECKS, payment=row["id"], checks=number)
        await self._ask_at(work, row["id"], number, at)

    async def _ask_at(self, work: Work, payment: UUID, number: int, at: datetime) -> None:
        await self.jobs.defer(work, "payments.poll", at=at, payment=str(payment), number=number)

    async def _set(self, work: Work, row: Row, trigger: str, **values: Any) -> bool:  # noqa: ANN401 - as columns are
        """Take a step of the machine, with its event; False where it is not legal from the row's state."""
        life = Life(row["state"])
        if not life.fire(trigger):
            return False
        detail = {"reason": str(values["reason"])} if "reason" in values else {}
        event = {"now": self.clock.now(), "event": trigger, "detail": detail}
        await work.run(STEPS[tuple(values)], payment=row["id"], state=life.state, **values, **event)
        log.get(__name__).info(
            "payment", payment=str(row["id"]), order=str(row["order_id"]), step=row["step"], state=life.state
        )
        return True

    async def _event(self, work: Work, payment: UUID, event: str, detail: dict[str, str]) -> None:
        await work.run(EVENT, payment=payment, now=self.clock.now(), event=event, detail=detail)

    async def _row(self, look: Look, payment: UUID) -> Row | None:
        return await look.one(FIND, payment=payment)

    async def find(self, look: Look, provider: str, payment: UUID) -> Row | None:
        """A payment of that provider's; None where it has none of this id."""
        return await look.one(FIND_AT, payment=payment, provider=provider)

    async def _lock(self, work: Work, payment: UUID) -> Row:
        """A payment, which only this commit changes from now on; LookupError where there is none."""
        row = await work.one(LOCK, payment=payment)
        if row is None:
            raise LookupError(f"no payment {payment}")
        return row

    def _request(self, row: Row) -> Request:
        return Request(
            reference=row["id"],
            kind=Kind(row["kind"]),
            msisdn=Msisdn(row["msisdn"]),
            amount=Money(row["amount"], row["currency"]),
            label=row["label"],
            note=f"Ref {row['label']}",
            callback_url=self.callback_url(row["operator"], f"{row['kind']}/{row['id']}"),
            refunds=row["refunds"],
            receipt=row["item"].get(RECEIPT, ""),
            item=row["item"],
            external_id=row["external_id"],
        )
