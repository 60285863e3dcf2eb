"""One collection, disbursement, refund or delivery, from intent to final. What an order makes of it is its business.

It is asked for by a job, under the reference made with the intent; a retry carries the same one. What is not listed
as final by the operator stays pending, and is asked about at growing intervals (schedule.py) until it is final or
parked. life.py draws the states.
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import insert, update

from ussd_app import ledger, metrics
from ussd_app.errors import Reason
from ussd_app.ledger import Insufficient
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind, Succeeded
from ussd_app.msisdn import Msisdn
from ussd_app.payments import claims, decisions, schedule
from ussd_app.payments.decisions import Decision, Undecided
from ussd_app.payments.life import SUCCESSES, Change, Finding, Refused, Unresolved
from ussd_app.payments.rows import EVENT_ROW, RECEIPT
from ussd_app.payments.sending import Sending
from ussd_app.store import Row, Statement, Work, named
from ussd_app.tables import audit, payments

__all__ = ["SUCCESSES", "Change", "Finding", "Payments"]


CREATED = named(
    payments, "id", "order_id", "step", "kind", "operator", "account", "msisdn", "item", "amount", "currency",
    "refunds", "state", "label", "hold", "created_at",
)  # fmt: skip
CREATE = Statement(insert(payments).values(CREATED).add_cte(EVENT_ROW.cte("events")))


class Payments(Sending):
    """Creates payments inside an order's commit, submits them, asks about them, and books what the operator says."""

    async def create(
        self,
        connection: Work,
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
        if refunds:
            receipt = (await self._lock(connection, refunds))["receipt"]
            item = {RECEIPT: receipt} if receipt else {}
        payment = uuid4()
        values = {
            "id": payment, "order_id": order, "step": step, "kind": kind, "operator": operator, "account": account,
            "msisdn": msisdn, "item": dict(item or {}),
            "amount": amount.minor, "currency": amount.currency, "refunds": refunds, "state": "created",
            "label": label, "hold": held, "created_at": now,
        }  # fmt: skip
        created = {"payment": payment, "now": now, "event": "created", "detail": {"step": step}}
        await connection.run(CREATE, **values, **created)
        await self.jobs.defer(connection, "payments.submit", at=now + after if after else None, payment=str(payment))
        return None

    async def poll(self, payment: UUID, number: int) -> Finding | None:
        """The ``number``-th question of the growing intervals: plan the next, then ask.

        Its number, not its hour, tells whether it has been asked before: clocks differ.
        """
        now = self.clock.now()
        async with self.store.work() as connection:
            row = await self._lock(connection, payment)
            if row["checks"] != number or row["state"] in SUCCESSES:
                return None  # an older job run twice, or one that is no longer needed
            failed = row["state"] == "failed"
            following = None if failed else self.schedule.next_check(row, now)
            if following:
                await self._plan_check(connection, row, following)
        status = await self._ask(row)
        if failed:
            await self._look_again(payment, number, answered=status is not None)
        return status if failed or following or isinstance(status, Succeeded | Failed) else Unresolved()

    async def _look_again(self, payment: UUID, number: int, *, answered: bool) -> None:
        """Plan the next look at a failure; whether there is one depends on what this one has told."""
        now = self.clock.now()
        async with self.store.work() as connection:
            row = await self._lock(connection, payment)
            following = schedule.next_look(row, now, answered=answered) if row["state"] == "failed" else None
            if row["checks"] == number and following:
                await self._plan_check(connection, row, following)

    async def confirm(self, payment: UUID) -> Finding | None:
        """Ask because a callback came; where no query tells, what it claims decides."""
        async with self.store.look() as connection:
            row = await self._row(connection, payment)
            if row is None or row["state"] in SUCCESSES:
                return None
            mute = self.mute(row)
            told = await claims.of(connection, row, mute) if mute else []
        found = claims.believed(told, row, mute) if mute else await self._ask(row)
        if row["state"] == "failed" and not isinstance(found, Succeeded | Unresolved):
            return Failed(Reason(row["reason"]))  # as it was booked: a claim that it moved contradicts it
        return found

    async def settle(self, connection: Work, payment: UUID, status: Finding) -> Change | None:
        """Book a final status inside the order's commit; None where it changes nothing any more."""
        row = await self._lock(connection, payment)
        if isinstance(status, Succeeded):
            change = await self._succeeded(connection, row, status)
            if change and change.became == "succeeded" and self.mute(row):
                await self._denied(connection, row)
            return change
        if isinstance(status, Refused):
            # Refused now says nothing of an earlier attempt that may have been taken, nor of a later one.
            fails = row["state"] in {"created", "sent"} and row["attempts"] == status.attempt and not row["doubtful"]
            return await self._failed(connection, row, Failed(status.reason, status.raw)) if fails else None
        if isinstance(status, Failed):
            return await self._failed(connection, row, status)
        if isinstance(status, Unresolved):
            return await self._doubted(connection, row, status.why)
        return None

    async def decide(self, connection: Work, payment: UUID, decision: Decision) -> Change | Undecided:
        """Book a person's word inside the order's commit, as decisions.TABLE has it."""
        row = await self._lock(connection, payment)
        why = await decisions.refusal(connection, row, decision)
        if why:
            return Undecided(why)
        said = {"by": decision.by, "found": decision.word, "receipt": decision.receipt or "", "was": row["state"]}
        detail = {"payment": str(payment), **said}
        await connection.execute(audit.insert().values(at=self.clock.now(), event="decided", detail=detail))
        await self._event(connection, payment, "decided", said)
        if decision.receipt is not None:
            moved = Succeeded(decision.receipt, Money(row["amount"], row["currency"]))
            change = await self._succeeded(connection, row, moved)
        elif row["state"] == "failed":
            change = Change(row, "undoubted", Reason(row["reason"]))
        else:
            change = await self._fail(connection, row, Failed(Reason.INTERNAL, "decided by a person"))
        if change is None:
            raise LookupError(f"payment {payment} is {row['state']}, where {decision.word} is to be booked")
        return change

    async def _succeeded(self, connection: Work, row: Row, status: Succeeded) -> Change | None:
        if status.amount != Money(row["amount"], row["currency"]):
            return await self._moved_another_amount(connection, row, status)
        now = self.clock.now()
        receipt = status.receipt or await claims.receipt(connection, row, self.providers[row["operator"]])
        if await self._set(connection, row, "succeed", receipt=receipt, final_at=now):
            await ledger.post(connection, row["hold"], reason=f"{row['step']} succeeded", at=now)
            became = "succeeded"
        elif await self._set(connection, row, "come_late", receipt=receipt, final_at=now):
            became = "late"  # its hold was voided: how it is booked depends on what the order did meanwhile
            await self.alert(connection, "late success", payment=str(row["id"]), step=row["step"])
        else:
            return None
        metrics.PAYMENTS.labels(row["operator"], row["kind"], became).inc()
        return Change(row, became, handed_over=status.handed_over)

    async def _moved_another_amount(self, connection: Work, row: Row, status: Succeeded) -> Change | None:
        """A person is told once, whatever the payment was; nothing is booked before they have looked."""
        change = await self._doubted(connection, row, "another amount moved", moved=str(status.amount))
        if change:
            await connection.execute(update(payments).where(payments.c.id == row["id"]).values(receipt=status.receipt))
        return change

    async def _doubted(self, connection: Work, row: Row, what: str, **detail: str) -> Change | None:
        """Hand over to a person, who is told once: what is not final waits for them, and a failure is in doubt."""
        parked = await self._set(connection, row, "park")
        if not parked and row["state"] != "failed":
            return None
        new = await self.alert_once(connection, row["id"], what, step=row["step"], **detail)
        if parked:
            return Change(row, "parked")
        return Change(row, "doubted") if new else None

    async def _denied(self, connection: Work, row: Row) -> None:
        """Tell a person where only callbacks tell, and they differ: the one that says paid was believed."""
        told = await claims.of(connection, row, self.providers[row["operator"]])
        if any(isinstance(claim, Failed) for claim in told):
            await self.alert_once(connection, row["id"], claims.DENIED, step=row["step"])

    async def _failed(self, connection: Work, row: Row, status: Failed) -> Change | None:
        """Book a failure, unless a callback says that it moved: not knowing is not failing."""
        claim = await claims.paid(connection, row, self.providers[row["operator"]])
        if claim is None:
            return await self._fail(connection, row, status)
        detail = {"claimed": claim.receipt, "found": status.reason}
        if row["state"] == "parked":
            await self.alert_once(connection, row["id"], claims.CONTRADICTED, step=row["step"], **detail)
        return await self._doubted(connection, row, claims.CONTRADICTED, **detail)

    async def _fail(self, connection: Work, row: Row, status: Failed) -> Change | None:
        now = self.clock.now()
        reason = await claims.reason(connection, row, self.providers[row["operator"]], status.reason)
        looked_after = bool(row["attempts"])  # what has never left cannot succeed after all
        values = {"reason": reason, "final_at": now, "checks": row["checks"] + looked_after}
        if not await self._set(connection, row, "fail", **values):
            return None
        await ledger.void(connection, row["hold"], reason=f"{row['step']} {reason}", at=now)
        if looked_after:
            await self._ask_at(connection, row["id"], values["checks"], now + schedule.SECOND_LOOKS[0])
        metrics.PAYMENTS.labels(row["operator"], row["kind"], reason).inc()
        return Change(row, "failed", reason)

    async def book_late(self, connection: Work, row: Row) -> None:
        """Book a late success by a new transfer; what it spent and had been given back already is now owed to us."""
        debit, credit = self._sides(row["kind"], row["operator"], row["account"])
        money = Money(row["amount"], row["currency"])
        said = {"order": row["order_id"], "reason": f"{row['step']} came late", "at": self.clock.now()}
        if isinstance(await ledger.move(connection, debit, credit, money, **said), Insufficient):
            await ledger.move(connection, ledger.RECEIVABLE, credit, money, **said)
            await self.alert(connection, "paid out twice", payment=str(row["id"]), amount=str(money))

    def _sides(self, kind: str, operator: str, account: str) -> tuple[str, str]:
        """Debit and credit: money in raises the float and what we owe, money out lowers both."""
        held = self.float_account(operator, kind)
        return (held, account) if kind == Kind.COLLECTION else (account, held)
