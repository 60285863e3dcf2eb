"""One collection, disbursement or refund, from intent to final. What an order makes of it is orders' business.

    created --send--> sent --accept--> pending --succeed--> succeeded
       ^--not_taken----' |                `-------fail----> failed --come_late--> late
                         `--- succeed or fail: an answer, or a status query, may say so before "accepted" does
    sent or pending --park--> parked --succeed or fail--> ...

Money is asked for by a job, under the reference made with the intent; a retry carries the same one. Whatever is not
listed as final by the operator stays pending, and is asked about at growing intervals until it is final or parked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from transitions import Machine

from ussd_app import ledger, log, metrics
from ussd_app.clock import Clock
from ussd_app.errors import Reason, Rejected, Throttled, Unknown
from ussd_app.jobs import Jobs
from ussd_app.ledger import Insufficient
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Operator, Pending, Request, Status, Succeeded
from ussd_app.tables import audit, callbacks, payment_events, payments

MACHINE = Machine(
    model=None,
    states=["created", "sent", "pending", "parked", "succeeded", "failed", "late"],
    initial="created",
    transitions=[
        ["send", ["created", "sent"], "sent"],
        ["not_taken", "sent", "created"],
        ["accept", "sent", "pending"],
        ["park", ["sent", "pending"], "parked"],
        ["succeed", ["created", "sent", "pending", "parked"], "succeeded"],
        ["fail", ["created", "sent", "pending", "parked"], "failed"],
        ["come_late", "failed", "late"],
    ],
    auto_transitions=False,
    queued=False,
)
SUCCESSES = frozenset({"succeeded", "late"})
FINAL = SUCCESSES | {"failed"}

# Seconds after submission at which the operator is asked (wire/momo.md 1.6), then every EVERY until PATIENCE is over.
CHECK_AGES: tuple[int, ...] = (10, 30, 60, 120, 300)
EVERY = ((timedelta(hours=1), timedelta(minutes=5)), (timedelta(hours=72), timedelta(minutes=30)))
PATIENCE = timedelta(hours=72)
# A failure may be followed by success (law 11): it is looked at again this long after, in case no callback says so.
SECOND_LOOKS = (timedelta(minutes=10), timedelta(hours=24))
# A callback has the operator asked at most this often for one payment, however many arrive.
ASK_EVERY = timedelta(seconds=10)
# How often a call without an answer is made again under its reference, where the operator knows it for the same.
ATTEMPTS_MAX = 4
# How long a call that is certainly not taken is tried again before the payment has failed. What was collected waits
# longer to be handed on; a refund never gives up before a person looks at it.
GIVE_UP = {
    Kind.COLLECTION: timedelta(minutes=2),
    Kind.DISBURSEMENT: timedelta(minutes=15),
    Kind.REFUND: PATIENCE,
}


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Nobody could find out within PATIENCE: a person takes over."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a payment has just become, for the order it belongs to."""

    payment: RowMapping
    became: str  # succeeded | failed | late | parked
    reason: Reason | None = None


@dataclass(slots=True)
class Life:
    """A payment's state, as the machine moves it."""

    state: str

    def fire(self, trigger: str) -> bool:
        """Take a step if it is legal from here."""
        if not MACHINE.events[trigger].transitions.get(self.state):
            return False
        MACHINE.events[trigger].trigger(self)
        return True


class Payments:
    """Creates payments inside an order's commit, submits them, asks about them, and books what the operator says."""

    def __init__(
        self,
        engine: AsyncEngine,
        jobs: Jobs,
        operators: Mapping[str, Operator],
        clock: Clock,
        callback_urls: Mapping[str, str],  # operator -> address of its callbacks, up to and with its secret
    ) -> None:
        self.engine = engine
        self.jobs = jobs
        self.operators = operators
        self.clock = clock
        self.callback_urls = callback_urls

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
        refunds: UUID | None = None,
        after: timedelta = timedelta(),
    ) -> Insufficient | None:
        """Write the intent: payment, hold and job in the caller's commit, before any request leaves the machine."""
        now = self.clock.now()
        held = await ledger.hold(
            connection, *self._sides(order, kind, operator), amount, order=order, reason=f"{step} asked", at=now
        )
        if isinstance(held, Insufficient):
            return held
        payment = uuid4()
        values = {
            "id": payment, "order_id": order, "step": step, "kind": kind, "operator": operator, "msisdn": msisdn,
            "amount": amount.minor, "currency": amount.currency, "refunds": refunds, "state": "created",
            "label": label, "hold": held, "created_at": now,
        }  # fmt: skip
        await connection.execute(payments.insert().values(values))
        await self._event(connection, payment, "created", {"step": step})
        await self.jobs.defer(connection, "payments.submit", at=now + after if after else None, payment=str(payment))
        return None

    async def submit(self, payment: UUID) -> Status | None:
        """Ask the operator for the movement; None where nothing is to be settled yet (or this has been done)."""
        row = await self._send(payment)
        return await self._submit(row) if row else None

    async def poll(self, payment: UUID) -> Status | Unresolved | None:
        """The next of the growing intervals: plan the one after, then ask."""
        now = self.clock.now()
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            if row["next_check_at"] is None or row["next_check_at"] > now:
                return None  # an older job run twice
            following = self._next_check(row, now)
            if following is None:
                await connection.execute(update(payments).where(payments.c.id == payment).values(next_check_at=None))
            else:
                await self._plan_check(connection, payment, following, checks=row["checks"] + 1)
        status = await self._ask(row)
        final = isinstance(status, Succeeded | Failed)
        return status if final or following or row["state"] == "failed" else Unresolved()

    async def confirm(self, payment: UUID) -> Status | None:
        """Ask because a callback came."""
        async with self.engine.connect() as connection:
            row = await self._row(connection, payment)
        return None if row is None or row["state"] in SUCCESSES else await self._ask(row)

    async def keep_callback(self, provider: str, path: str, content_type: str, body: bytes) -> None:
        """Store a callback as it came and plan a confirm, in one commit; what it claims is not looked at."""
        async with self.engine.begin() as connection:
            values = {"provider": provider, "path": path, "content_type": content_type, "body": body}
            await connection.execute(callbacks.insert().values(**values, received_at=self.clock.now()))
            reference = self.operators[provider].parse_callback(path, body).reference
            if reference:
                await self.called_back(connection, reference)

    async def called_back(self, connection: AsyncConnection, reference: UUID) -> None:
        """Plan a confirm, at most one in ASK_EVERY for a payment; nothing for a reference nobody knows."""
        now = self.clock.now()
        due = func.greatest(now, func.coalesce(payments.c.asked_at + ASK_EVERY, now))
        planned = await connection.execute(
            update(payments)
            .where(payments.c.id == reference, payments.c.state.not_in(SUCCESSES))
            .where(or_(payments.c.asked_at.is_(None), payments.c.asked_at <= now))
            .values(asked_at=due)
            .returning(payments.c.asked_at)
        )
        at = planned.scalar_one_or_none()
        if at is not None:
            await self.jobs.defer(connection, "payments.confirm", at=at if at > now else None, payment=str(reference))

    async def settle(self, connection: AsyncConnection, payment: UUID, status: Status | Unresolved) -> Change | None:
        """Book a final status inside the order's commit; None where it changes nothing any more."""
        row = await self._lock(connection, payment)
        if isinstance(status, Succeeded):
            return await self._succeeded(connection, row, status)
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
            if not await self._set(connection, row, "park", next_check_at=None):
                return None
            await self.alert(connection, "another amount moved", payment=str(row["id"]), moved=str(status.amount))
            return Change(row, "parked")
        now = self.clock.now()
        if await self._set(connection, row, "succeed", receipt=status.receipt, final_at=now, next_check_at=None):
            await ledger.post(connection, row["hold"], reason=f"{row['step']} succeeded", at=now)
            became = "succeeded"
        elif await self._set(connection, row, "come_late", receipt=status.receipt, final_at=now, next_check_at=None):
            became = "late"  # its hold was voided: how it is booked depends on what the order did meanwhile
            await self.alert(connection, "late success", payment=str(row["id"]), step=row["step"])
        else:
            return None
        metrics.PAYMENTS.labels(row["operator"], row["kind"], became).inc()
        return Change(row, became)

    async def _failed(self, connection: AsyncConnection, row: RowMapping, status: Failed) -> Change | None:
        now = self.clock.now()
        if not await self._set(connection, row, "fail", reason=status.reason, final_at=now, next_check_at=None):
            return None
        await ledger.void(connection, row["hold"], reason=f"{row['step']} {status.reason}", at=now)
        if row["attempts"]:
            await self._plan_check(connection, row["id"], now + SECOND_LOOKS[0])
        metrics.PAYMENTS.labels(row["operator"], row["kind"], status.reason).inc()
        return Change(row, "failed", status.reason)

    async def book_late(self, connection: AsyncConnection, row: RowMapping) -> None:
        """Book a late success by a new transfer; what it spent and had been given back already is now owed to us."""
        debit, credit = self._sides(row["order_id"], row["kind"], row["operator"])
        money = Money(row["amount"], row["currency"])
        said = {"order": row["order_id"], "reason": f"{row['step']} came late", "at": self.clock.now()}
        if isinstance(await ledger.move(connection, debit, credit, money, **said), Insufficient):
            await ledger.move(connection, ledger.RECEIVABLE, credit, money, **said)
            await self.alert(connection, "paid out twice", payment=str(row["id"]), amount=str(money))

    async def _ask(self, row: RowMapping) -> Status | None:
        operator = self.operators[row["operator"]]
        self.clock.point(f"{row['kind']}.check.before_http")
        try:
            status = await operator.check(self._request(row))
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
            operator = self.operators[row["operator"]]
            if row["state"] not in {"created", "sent"}:
                return None
            if row["state"] == "sent" and row["kind"] not in operator.deduplicates:
                return None  # it may have been taken before this worker's predecessor died: the polling finds out
            await self._set(
                connection, row, "send", attempts=row["attempts"] + 1, submitted_at=row["submitted_at"] or now
            )
            if not row["attempts"]:
                await self._plan_check(connection, payment, now + timedelta(seconds=CHECK_AGES[0]))
            self.clock.point(f"{row['kind']}.send.in_commit")
        return row

    async def _submit(self, row: RowMapping) -> Status | None:
        """Ask, and classify the answer; the row's ``doubtful`` is what earlier attempts left behind."""
        operator = self.operators[row["operator"]]
        self.clock.point(f"{row['kind']}.submit.before_http")
        try:
            status = await operator.submit(self._request(row))
        except Rejected as error:
            # Refused now says nothing of an earlier attempt that may have been taken.
            return None if row["doubtful"] else Failed(error.reason, error.detail)
        except Unknown as error:
            await self._doubt(row["id"], error)
            return None
        except Throttled as error:
            return await self._not_taken(row["id"], error)
        self.clock.point(f"{row['kind']}.submit.after_http")
        if isinstance(status, Pending):
            await self._accepted(row["id"])
            return None
        return status

    async def _accepted(self, payment: UUID) -> None:
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            await self._set(connection, row, "accept")
            self.clock.point(f"{row['kind']}.accept.in_commit")
        self.clock.point(f"{row['kind']}.accept.after_commit")

    async def _not_taken(self, payment: UUID, error: Throttled) -> Status | None:
        now = self.clock.now()
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            if row["state"] != "sent":
                return None
            if not row["doubtful"]:
                await self._set(connection, row, "not_taken")
            if now - row["created_at"] < GIVE_UP[Kind(row["kind"])]:
                await self._submit_again(connection, row, error.after)
                return None
        if row["doubtful"]:
            return None  # an attempt that may have been taken forbids to call it failed; the polling goes on
        # A gateway may say "busy" for a request that did pass it: the last word is the operator's own.
        status = await self._ask(row)
        if status is None:
            return Failed(Reason.SERVICE_UNAVAILABLE, error.detail)
        return None if isinstance(status, Pending) else status

    async def _doubt(self, payment: UUID, error: Unknown) -> None:
        async with self.engine.begin() as connection:
            row = await self._lock(connection, payment)
            await connection.execute(update(payments).where(payments.c.id == payment).values(doubtful=True))
            await self._event(connection, payment, "unknown", {"detail": error.detail})
            deduplicated = row["kind"] in self.operators[row["operator"]].deduplicates
            if row["state"] == "sent" and deduplicated and row["attempts"] < ATTEMPTS_MAX:
                await self._submit_again(connection, row, 2.0)

    async def _submit_again(self, connection: AsyncConnection, row: RowMapping, after: float) -> None:
        wait = timedelta(seconds=max(after, min(2.0 ** row["attempts"], 60.0)))
        await self.jobs.defer(connection, "payments.submit", at=self.clock.now() + wait, payment=str(row["id"]))

    def _next_check(self, row: RowMapping, now: datetime) -> datetime | None:
        if row["state"] == "failed":
            return now + SECOND_LOOKS[1] if now - row["final_at"] < SECOND_LOOKS[1] else None
        age: timedelta = now - row["submitted_at"]
        for seconds in CHECK_AGES:
            if age.total_seconds() < seconds:
                return now - age + timedelta(seconds=seconds)
        intervals = (interval for until, interval in EVERY if age < until)
        interval = next(intervals, None)
        return now + interval if interval else None

    async def _plan_check(self, connection: AsyncConnection, payment: UUID, at: datetime, **values: object) -> None:
        await connection.execute(update(payments).where(payments.c.id == payment).values(next_check_at=at, **values))
        await self.jobs.defer(connection, "payments.poll", at=at, payment=str(payment))

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

    def _sides(self, order: UUID, kind: str, operator: str) -> tuple[str, str]:
        """Debit and credit: money in raises the float and what we owe, money out lowers both."""
        held = ledger.float_account(operator, kind, shared=self.operators[operator].one_float)
        clearing = ledger.clearing_account(order)
        return (held, clearing) if kind == Kind.COLLECTION else (clearing, held)

    def _request(self, row: RowMapping) -> Request:
        base = self.callback_urls[row["operator"]]
        return Request(
            reference=row["id"],
            kind=Kind(row["kind"]),
            msisdn=Msisdn(row["msisdn"]),
            amount=Money(row["amount"], row["currency"]),
            label=row["label"],
            note=f"Ref {row['label']}",
            callback_url=f"{base}/{row['kind']}/{row['id']}",
            refunds=row["refunds"],
        )
