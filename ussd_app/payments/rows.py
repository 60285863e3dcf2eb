"""The rows of payments: what they are read, locked, stepped and asked for by."""

from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from uuid import UUID

from sqlalchemy import select, update

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
from ussd_app.store import Look, Row, Store, Work
from ussd_app.tables import audit, payment_events, payments

RECEIPT = "receipt"  # the item of a refund: of what it gives back, as it was known when the refund was made


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
        await connection.execute(
            audit.insert().values(at=self.clock.now(), event="alert", detail={"what": what, **detail})
        )
        log.get(__name__).error("alert", what=what, **detail)

    async def alert_once(self, connection: Work, payment: UUID, what: str, **detail: str) -> bool:
        """The same of a payment, once however often it is met; False where it has been told before."""
        await self._lock(connection, payment)
        e = payment_events.c
        before = select(e.id).where(e.payment_id == payment, e.event == "alert", e.detail["what"].astext == what)
        if (await connection.execute(before.limit(1))).first():
            return False
        await self._event(connection, payment, "alert", {"what": what})
        await self.alert(connection, what, payment=str(payment), **detail)
        return True

    async def _plan_check(self, connection: Work, row: Row, at: datetime) -> None:
        number = row["checks"] + 1
        await connection.execute(update(payments).where(payments.c.id == row["id"]).values(checks=number))
        await self.jobs.defer(connection, "payments.poll", at=at, payment=str(row["id"]), number=number)

    async def _set(self, connection: Work, row: Row, trigger: str, **values: object) -> bool:
        """Take a step of the machine, with its event; False where it is not legal from the row's state."""
        life = Life(row["state"])
        if not life.fire(trigger):
            return False
        await connection.execute(update(payments).where(payments.c.id == row["id"]).values(state=life.state, **values))
        await self._event(
            connection, row["id"], trigger, {"reason": str(values["reason"])} if "reason" in values else {}
        )
        log.get(__name__).info(
            "payment", payment=str(row["id"]), order=str(row["order_id"]), step=row["step"], state=life.state
        )
        return True

    async def _event(self, connection: Work, payment: UUID, event: str, detail: dict[str, str]) -> None:
        values = {"payment_id": payment, "at": self.clock.now(), "event": event, "detail": detail}
        await connection.execute(payment_events.insert().values(values))

    async def _row(self, connection: Look, payment: UUID) -> Row | None:
        return (await connection.execute(select(payments).where(payments.c.id == payment))).mappings().one_or_none()

    async def find(self, connection: Look, provider: str, payment: UUID) -> Row | None:
        """A payment of that provider's; None where it has none of this id."""
        query = select(payments).where(payments.c.id == payment, payments.c.operator == provider)
        return (await connection.execute(query)).mappings().one_or_none()

    async def _lock(self, connection: Work, payment: UUID) -> Row:
        query = select(payments).where(payments.c.id == payment).with_for_update()
        return (await connection.execute(query)).mappings().one()

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
