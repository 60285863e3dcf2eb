"""The sending half of a payment: asked for by a job, under the reference made with the intent, and tried again."""

from uuid import UUID

from sqlalchemy import Text, bindparam, select, update

from ussd_app import log
from ussd_app.breakers import Resting
from ussd_app.errors import Reason, Rejected, Throttled, Unknown
from ussd_app.http import RETRY_SECONDS
from ussd_app.movement import Kind, Pending, Status
from ussd_app.payments import schedule
from ussd_app.payments.life import Finding, Refused
from ussd_app.payments.rows import PAYMENT, Rows
from ussd_app.store import Row, Statement, Work, named
from ussd_app.tables import payments

_OTHERS = payments.alias()
_ANOTHERS = select(_OTHERS.c.id).where(
    _OTHERS.c.operator == bindparam("provider", type_=Text),
    _OTHERS.c.external_id == bindparam("external_id", type_=Text),
    _OTHERS.c.id != PAYMENT,
)
NAME = Statement(
    update(payments)
    .where(payments.c.id == PAYMENT, payments.c.operator == bindparam("provider", type_=Text), ~_ANOTHERS.exists())
    .values(external_id=bindparam("external_id", type_=Text))
)
DOUBT = Statement(update(payments).where(payments.c.id == PAYMENT).values(doubtful=True))
TRIES = Statement(update(payments).where(payments.c.id == PAYMENT).values(named(payments, "tries")))


class Sending(Rows):
    """Submits payments, asks about them, and repeats what may be repeated."""

    async def submit(self, payment: UUID) -> Finding | None:
        """Ask the operator for the movement; None where nothing is to be settled yet (or this has been done)."""
        if await self._waits(payment):
            return None
        row = await self._send(payment)
        return await self._submit(row) if row else None

    async def _waits(self, payment: UUID) -> bool:
        """Put off what its breaker would hold back: it costs one commit, and no question for what has never left."""
        async with self.store.look() as connection:
            row = await self._row(connection, payment)
        after = await self.breakers.held(row["operator"], row["kind"]) if row else 0.0
        if row is None or not after or row["state"] not in {"created", "sent"}:
            return False
        async with self.store.work() as connection:
            return await self._tries_again(connection, row, Resting(after))

    async def _ask(self, row: Row) -> Status | None:
        self.clock.point(f"{row['kind']}.check.before_http")
        try:
            check = self.providers[row["operator"]].check
            status = await self.breakers.call(row["operator"], "check", check, self._request(row))
        except Rejected as error:
            # The question was refused, not the payment: our credentials or address, which a person must mend.
            log.get(__name__).error("alert", what="status query refused", payment=str(row["id"]), reason=error.reason)
        except (Unknown, Throttled) as error:
            log.get(__name__).info("status unknown", payment=str(row["id"]), detail=error.detail)
        else:
            self.clock.point(f"{row['kind']}.check.after_http")
            return status
        return None

    async def _send(self, payment: UUID) -> Row | None:
        """Commit that it is about to be asked for."""
        now = self.clock.now()
        async with self.store.work() as connection:
            row = await self._lock(connection, payment)
            if row["state"] not in {"created", "sent"}:
                return None
            again = row["state"] == "sent"  # its worker died in the call, or it had no answer
            if again and row["kind"] not in self.providers[row["operator"]].deduplicates:
                return None  # it may have been taken: the polling finds out
            first = not row["attempts"]
            values = {
                "submitted_at": row["submitted_at"] or now, "attempts": row["attempts"] + 1,
                "doubtful": row["doubtful"] or again, "checks": row["checks"] + first,
            }  # fmt: skip
            await self._set(connection, row, "send", **values)
            if first:
                await self._ask_at(connection, payment, values["checks"], now + self.schedule.first_check)
            self.clock.point(f"{row['kind']}.send.in_commit")
            return {**row, **values, "state": "sent"}

    async def _submit(self, row: Row) -> Finding | None:
        """Ask, and classify the answer."""
        self.clock.point(f"{row['kind']}.submit.before_http")
        try:
            submit = self.providers[row["operator"]].submit
            status = await self.breakers.call(row["operator"], row["kind"], submit, self._request(row))
        except Rejected as error:
            if row["kind"] == Kind.REFUND and error.reason is Reason.NOT_AUTHORISED:
                # Our credentials, which a person must mend: what was collected goes back all the same.
                log.get(__name__).error("alert", what="refund not authorised", payment=str(row["id"]))
                return await self._not_taken(row, Throttled(RETRY_SECONDS, error.detail))
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
        async with self.store.work() as connection:
            row = await self._lock(connection, payment)
            await self._set(connection, row, "accept")
            # A callback may have named it before, and may have lied: this is the provider's own answer.
            if external_id and not await self.name(connection, payment, row["operator"], external_id):
                await self.alert(connection, "one id for two movements", payment=str(payment))
            elif external_id and row["attempts"] > 1:  # its callback may have come while nobody knew this id
                soon = self.clock.now() + self.schedule.first_check
                await self.jobs.defer(connection, "payments.confirm", at=soon, payment=str(payment))
            self.clock.point(f"{row['kind']}.accept.in_commit")
        self.clock.point(f"{row['kind']}.accept.after_commit")

    async def name(self, work: Work, payment: UUID, provider: str, external_id: str) -> bool:
        """Learn the provider's own id of a payment; False where another one has it: what moved once pays for one."""
        return bool(await work.run(NAME, payment=payment, provider=provider, external_id=external_id))

    async def _not_taken(self, sent: Row, error: Throttled) -> Finding | None:
        """Try again as often and as long as its kind may, then fail it if the operator knows nothing of it."""
        async with self.store.work() as connection:
            row = await self._lock(connection, sent["id"])
            if row["state"] != "sent" or row["attempts"] != sent["attempts"]:
                return None
            if not row["doubtful"]:
                await self._set(connection, row, "not_taken")
            if await self._tries_again(connection, row, error):
                return None
            if row["doubtful"]:
                await self._unanswered(connection, row)
        # A gateway may say "busy" for what did pass it: the last word is the operator's own, where it has one.
        status = None if self.mute(row) else await self._ask(row)
        if isinstance(status, Pending):
            await self._accepted(row["id"], status.external_id)
        return status or Refused(row["attempts"], Reason.SERVICE_UNAVAILABLE, error.detail)

    async def _doubt(self, payment: UUID, error: Unknown) -> None:
        async with self.store.work() as connection:
            row = await self._lock(connection, payment)
            await connection.run(DOUBT, payment=payment)
            await self._event(connection, payment, "unknown", {"detail": error.detail})
            deduplicated = row["kind"] in self.providers[row["operator"]].deduplicates
            if row["state"] == "sent" and deduplicated and error.outage:
                again = await self._tries_again(connection, row, error)
                if not again:
                    await self._unanswered(connection, row)

    async def _unanswered(self, connection: Work, row: Row) -> None:
        """Have a person know of a delivery that may have been taken, and by whose id nobody can ask."""
        if row["kind"] == Kind.DELIVERY and not row["external_id"]:
            await self.alert(connection, "delivery without an answer", payment=str(row["id"]))

    async def _tries_again(self, connection: Work, row: Row, error: Unknown | Throttled) -> bool:
        """Plan another submission, where its kind may still have one; what its breaker held back was no try."""
        tries = row["tries"]
        if not isinstance(error, Resting):
            tries += 1
            await connection.run(TRIES, payment=row["id"], tries=tries)
        now = self.clock.now()
        doubtful, age = row["doubtful"] or isinstance(error, Unknown), now - row["created_at"]
        wait = schedule.next_try(row["kind"], tries, age, error, self.random, doubtful=doubtful)
        if wait is None:
            return False
        await self.jobs.defer(connection, "payments.submit", at=now + wait, payment=str(row["id"]))
        return True
