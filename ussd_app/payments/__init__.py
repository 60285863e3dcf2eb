"""One collection, disbursement, refund or delivery, from intent to final. What an order makes of it is its business.

It is asked for by a job, under the reference made with the intent; a retry carries the same one. What is not listed
as final by the operator stays pending, and is asked about at growing intervals (schedule.py) until it is final or
parked. life.py draws the states.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ussd_app import ledger, log, metrics
from ussd_app.clock import Clock
from ussd_app.deliveries import Delivery
from ussd_app.errors import Reason, Rejected, Throttled, Unknown
from ussd_app.jobs import Jobs
from ussd_app.ledger import Insufficient
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind, Pending, Provider, Request, Status, Succeeded
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Operator
from ussd_app.payments import schedule
from ussd_app.payments.life import SUCCESSES, Change, Finding, Life, Refused, Unresolved
from ussd_app.tables import audit, payment_events, payments

__all__ = ["SUCCESSES", "Change", "Finding", "Payments"]


class Payments:
    """Creates payments inside an order's commit, submits them, asks about them, and books what the operator says."""

    def __init__(
        self,
        engine: AsyncEngine,
        jobs: Jobs,
        operators: Mapping[str, Operator],
        deliveries: Mapping[str, Delivery],
        clock: Clock,
        callback_urls: Mapping[str, str],  # provider -> address of its callbacks, up to and with its secret
    ) -> None:
        self.engine = engine
        self.jobs = jobs
        self.operators = operators
        self.deliveries = deliveries
        self.clock = clock
        self.callback_urls = callback_urls

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Whoever moves something for us, by name."""
        return {**self.operators, **self.deliveries}

    async def create(
        self,
        connection: AsyncConnection,
        order: UUID,
        step: str,
        kind: Kind,
        operator: str,
        msisdn: Msisdn,
        amount: Money,
        *,
        label: str,
        account: str | None = None,  # opposite our float; None: the order's clearing account
        item: Mapping[str, str] | None = None,
        refunds: UUID | None = None,
        after: timedelta = timedelta(),
    ) -> Insufficient | None:
        """Write the intent: payment, hold and job in the caller's commit, before any request leaves the machine."""
        now = self.clock.now()
        account = account or ledger.clearing_account(order)
        held = await ledger.hold(
            connection, *self._sides(kind, operator, account), amount, order=order, reason=f"{step} asked", at=now
        )
        if isinstance(held, Insufficient):
            return held
        payment = uuid4()
        values = {
            "id": payment, "order_id": order, "step": step, "kind": kind, "operator": operator, "account": account,
            "msisdn": msisdn, "item": dict(item or {}),
            "amount": amount.minor, "currency": amount.currency, "refunds": refunds, "state": "created",
            "label": label, "hold": held, "created_at": now,
        }  # fmt: skip
        await connection.execute(payments.insert().values(values))
        await self._event(connection, payment, "created", {"step": step})
        await self.jobs.defer(connection, "payments.submit", at=now + after if after else None, payment=str(payment))
        return None

    async def submit(self, payment: UUID) -> Finding | None:
        """Ask the operator for the movement; None where nothing is to be settled yet (or this has been done)."""
        row = await self._send(payment)
        return await self._submit(row) if row else None

    async def poll(self, payment: UUID, number: int) -> Finding | None:
        """The ``number``-th question of the growing intervals: plan the next, then ask.

        Its number, not its hour, tells whether it has been asked before: clocks differ.
        """
        now = self.clock.now()
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            if row["checks"] != number or row["state"] in SUCCESSES:
                return None  # an older job run twice, or one that is no longer needed
            failed = row["state"] == "failed"
            following = None if failed else schedule.next_check(row, now)
            if following:
                await self._plan_check(connection, row, following)
        status = await self._ask(row)
        if failed:
            await self._look_again(payment, number, answered=status is not None)
        return status if failed or following or isinstance(status, Succeeded | Failed) else Unresolved()

    async def _look_again(self, payment: UUID, number: int, *, answered: bool) -> None:
        """Plan the next look at a failure; whether there is one depends on what this one has told."""
        now = self.clock.now()
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            following = schedule.next_look(row, now, answered=answered) if row["state"] == "failed" else None
            if row["checks"] == number and following:
                await self._plan_check(connection, row, following)

    async def confirm(self, payment: UUID) -> Status | None:
        """Ask because a callback came."""
        async with self.engine.connect() as connection:
            row = await self._row(connection, payment)
        return None if row is None or row["state"] in SUCCESSES else await self._ask(row)

    async def settle(self, connection: AsyncConnection, payment: UUID, status: Finding) -> Change | None:
        """Book a final status inside the order's commit; None where it changes nothing any more."""
        row = await self._lock(connection, payment)
        if isinstance(status, Succeeded):
            return await self._succeeded(connection, row, status)
        if isinstance(status, Refused):
            # Refused now says nothing of an earlier attempt that may have been taken, nor of a later one.
            fails = row["state"] in {"created", "sent"} and row["attempts"] == status.attempt and not row["doubtful"]
            return await self._failed(connection, row, Failed(status.reason, status.raw)) if fails else None
        if isinstance(status, Failed):
            return await self._failed(connection, row, status)
        if isinstance(status, Unresolved) and await self._set(connection, row, "park"):
            await self.alert(connection, "payment unresolved", payment=str(payment), step=row["step"])
            return Change(row, "parked")
        return None

    async def alert(self, connection: AsyncConnection, what: str, **detail: str) -> None:
        """Leave what a person must look at in the audit table and in the log."""
        await connection.execute(
            audit.insert().values(at=self.clock.now(), event="alert", detail={"what": what, **detail})
        )
        log.get(__name__).error("alert", what=what, **detail)

    async def _succeeded(self, connection: AsyncConnection, row: RowMapping, status: Succeeded) -> Change | None:
        if status.amount != Money(row["amount"], row["currency"]):
            return await self._moved_another_amount(connection, row, status)
        now = self.clock.now()
        if await self._set(connection, row, "succeed", receipt=status.receipt, final_at=now):
            await ledger.post(connection, row["hold"], reason=f"{row['step']} succeeded", at=now)
            became = "succeeded"
        elif await self._set(connection, row, "come_late", receipt=status.receipt, final_at=now):
            became = "late"  # its hold was voided: how it is booked depends on what the order did meanwhile
            await self.alert(connection, "late success", payment=str(row["id"]), step=row["step"])
        else:
            return None
        metrics.PAYMENTS.labels(row["operator"], row["kind"], became).inc()
        return Change(row, became, handed_over=status.handed_over)

    async def _moved_another_amount(
        self, connection: AsyncConnection, row: RowMapping, status: Succeeded
    ) -> Change | None:
        """A person is told once, whatever the payment was; nothing is booked before they have looked."""
        parked = await self._set(connection, row, "park", receipt=status.receipt)
        if not parked and (row["state"] != "failed" or row["receipt"]):
            return None
        await connection.execute(update(payments).where(payments.c.id == row["id"]).values(receipt=status.receipt))
        await self.alert(connection, "another amount moved", payment=str(row["id"]), moved=str(status.amount))
        return Change(row, "parked") if parked else None

    async def _failed(self, connection: AsyncConnection, row: RowMapping, status: Failed) -> Change | None:
        now = self.clock.now()
        if not await self._set(connection, row, "fail", reason=status.reason, final_at=now):
            return None
        await ledger.void(connection, row["hold"], reason=f"{row['step']} {status.reason}", at=now)
        if row["attempts"]:
            await self._plan_check(connection, row, now + schedule.SECOND_LOOKS[0])
        metrics.PAYMENTS.labels(row["operator"], row["kind"], status.reason).inc()
        return Change(row, "failed", status.reason)

    async def book_late(self, connection: AsyncConnection, row: RowMapping) -> None:
        """Book a late success by a new transfer; what it spent and had been given back already is now owed to us."""
        debit, credit = self._sides(row["kind"], row["operator"], row["account"])
        money = Money(row["amount"], row["currency"])
        said = {"order": row["order_id"], "reason": f"{row['step']} came late", "at": self.clock.now()}
        if isinstance(await ledger.move(connection, debit, credit, money, **said), Insufficient):
            await ledger.move(connection, ledger.RECEIVABLE, credit, money, **said)
            await self.alert(connection, "paid out twice", payment=str(row["id"]), amount=str(money))

    async def _ask(self, row: RowMapping) -> Status | None:
        self.clock.point(f"{row['kind']}.check.before_http")
        try:
            status = await self.providers[row["operator"]].check(self._request(row))
        except Rejected as error:
            # The question was refused, not the payment: our credentials or address, which a person must mend.
            log.get(__name__).error("alert", what="status query refused", payment=str(row["id"]), reason=error.reason)
        except (Unknown, Throttled) as error:
            log.get(__name__).info("status unknown", payment=str(row["id"]), detail=error.detail)
        else:
            self.clock.point(f"{row['kind']}.check.after_http")
            return status
        return None

    async def _send(self, payment: UUID) -> RowMapping | None:
        """Commit that it is about to be asked for."""
        now = self.clock.now()
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            if row["state"] not in {"created", "sent"}:
                return None
            again = row["state"] == "sent"  # its worker died in the call, or it had no answer
            if again and row["kind"] not in self.providers[row["operator"]].deduplicates:
                return None  # it may have been taken: the polling finds out
            values = {"attempts": row["attempts"] + 1, "doubtful": row["doubtful"] or again}
            await self._set(connection, row, "send", submitted_at=row["submitted_at"] or now, **values)
            if not row["attempts"]:
                await self._plan_check(connection, row, now + timedelta(seconds=schedule.CHECK_AGES[0]))
            self.clock.point(f"{row['kind']}.send.in_commit")
            return await self._lock(connection, payment)

    async def _submit(self, row: RowMapping) -> Finding | None:
        """Ask, and classify the answer."""
        self.clock.point(f"{row['kind']}.submit.before_http")
        try:
            status = await self.providers[row["operator"]].submit(self._request(row))
        except Rejected as error:
            return Refused(row["attempts"], error.reason, error.detail)
        except Unknown as error:
            await self._doubt(row["id"], error)
            return None
        except Throttled as error:
            return await self._not_taken(row, error)
        self.clock.point(f"{row['kind']}.submit.after_http")
        if isinstance(status, Pending):
            await self._accepted(row["id"], status.external_id)
            return None
        return status

    async def _accepted(self, payment: UUID, external_id: str | None) -> None:
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            await self._set(connection, row, "accept")
            # A callback may have named it before, and may have lied: this is the provider's own answer.
            if external_id and not await self.name(connection, payment, row["operator"], external_id):
                await self.alert(connection, "one id for two movements", payment=str(payment))
            self.clock.point(f"{row['kind']}.accept.in_commit")
        self.clock.point(f"{row['kind']}.accept.after_commit")

    async def name(self, connection: AsyncConnection, payment: UUID, provider: str, external_id: str) -> bool:
        """Learn the provider's own id of a payment; False where another one has it: what moved once pays for one."""
        p, others = payments.c, payments.alias()
        same = (others.c.operator == provider) & (others.c.external_id == external_id) & (others.c.id != payment)
        own = update(payments).where(p.id == payment, p.operator == provider, ~select(others.c.id).where(same).exists())
        return bool((await connection.execute(own.values(external_id=external_id))).rowcount)

    async def _not_taken(self, sent: RowMapping, error: Throttled) -> Finding | None:
        """Try again for as long as its kind may, then fail it if the operator knows nothing of it."""
        async with self.engine.begin() as connection:
            row = await self._lock(connection, sent["id"])
            if row["state"] != "sent" or row["attempts"] != sent["attempts"]:
                return None
            if not row["doubtful"]:
                await self._set(connection, row, "not_taken")
            if self._is_early(row):
                await self._submit_again(connection, row, error.after)
                return None
        # A gateway may say "busy" for a request that did pass it: the last word is the operator's own.
        status = await self._ask(row)
        if isinstance(status, Pending):
            await self._accepted(row["id"], status.external_id)
        return status or Refused(row["attempts"], Reason.SERVICE_UNAVAILABLE, error.detail)

    async def _doubt(self, payment: UUID, error: Unknown) -> None:
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            await connection.execute(update(payments).where(payments.c.id == payment).values(doubtful=True))
            await self._event(connection, payment, "unknown", {"detail": error.detail})
            deduplicated = row["kind"] in self.providers[row["operator"]].deduplicates
            if row["state"] == "sent" and deduplicated and self._is_early(row):
                await self._submit_again(connection, row, 2.0)

    def _is_early(self, row: RowMapping) -> bool:
        """Whether its kind may still be tried again."""
        return bool(self.clock.now() - row["created_at"] < schedule.GIVE_UP[Kind(row["kind"])])

    async def _submit_again(self, connection: AsyncConnection, row: RowMapping, after: float) -> None:
        wait = timedelta(seconds=max(after, schedule.BACKOFF_SECONDS[min(row["attempts"], 6)]))
        await self.jobs.defer(connection, "payments.submit", at=self.clock.now() + wait, payment=str(row["id"]))

    async def _plan_check(self, connection: AsyncConnection, row: RowMapping, at: datetime) -> None:
        number = row["checks"] + 1
        await connection.execute(update(payments).where(payments.c.id == row["id"]).values(checks=number))
        await self.jobs.defer(connection, "payments.poll", at=at, payment=str(row["id"]), number=number)

    async def _set(self, connection: AsyncConnection, row: RowMapping, trigger: str, **values: object) -> bool:
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

    async def _event(self, connection: AsyncConnection, payment: UUID, event: str, detail: dict[str, str]) -> None:
        values = {"payment_id": payment, "at": self.clock.now(), "event": event, "detail": detail}
        await connection.execute(payment_events.insert().values(values))

    async def _row(self, connection: AsyncConnection, payment: UUID) -> RowMapping | None:
        return (await connection.execute(select(payments).where(payments.c.id == payment))).mappings().one_or_none()

    async def _lock(self, connection: AsyncConnection, payment: UUID) -> RowMapping:
        query = select(payments).where(payments.c.id == payment).with_for_update()
        return (await connection.execute(query)).mappings().one()

    def float_account(self, operator: str, kind: str) -> str:
        """The name of the account that holds what an operator holds for us."""
        return ledger.float_account(operator, kind, shared=self.providers[operator].one_float)

    def _sides(self, kind: str, operator: str, account: str) -> tuple[str, str]:
        """Debit and credit: money in raises the float and what we owe, money out lowers both."""
        held = self.float_account(operator, kind)
        return (held, account) if kind == Kind.COLLECTION else (account, held)

    def _request(self, row: RowMapping) -> Request:
        return Request(
            reference=row["id"],
            kind=Kind(row["kind"]),
            msisdn=Msisdn(row["msisdn"]),
            amount=Money(row["amount"], row["currency"]),
            label=row["label"],
            note=f"Ref {row['label']}",
            callback_url=f"{self.callback_urls[row['operator']]}/{row['kind']}/{row['id']}",
            refunds=row["refunds"],
            item=row["item"],
            external_id=row["external_id"],
        )
