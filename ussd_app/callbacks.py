"""What providers call back: kept as it came, answered at once, and believed only after they have been asked."""

from uuid import UUID

from sqlalchemy import Interval, Text, Uuid, bindparam, func, insert, or_, select, update

from ussd_app.movement import CallbackNote, Failed
from ussd_app.payments import SUCCESSES, Payments, claims, floats
from ussd_app.store import Look, Row, Statement, Work, named
from ussd_app.tables import callbacks, payments
from ussd_app.tables.base import Moment
from ussd_app.till import Tills

DEPOSIT = "deposit/"  # before the receipt of what was paid to our till: the answers to our questions about it


p = payments.c
PAYMENT, NOW = bindparam("payment", type_=Uuid), bindparam("now", type_=Moment)
KEPT = named(callbacks, "provider", "path", "payment", "external_id", "content_type", "body", "received_at")
KEEP = Statement(insert(callbacks).values(KEPT))
NAMED = Statement(
    select(p.id)
    .where(p.operator == bindparam("provider", type_=Text), p.external_id == bindparam("external_id", type_=Text))
    .limit(1)
)
UNNAMED = Statement(select(p.id).where(p.id == PAYMENT, p.external_id.is_(None)))
CONFIRM = Statement(
    update(payments)
    .where(p.id == PAYMENT, p.state.not_in(SUCCESSES), or_(p.asked_at.is_(None), p.asked_at <= NOW))
    .values(asked_at=func.greatest(NOW, func.coalesce(p.asked_at + bindparam("every", type_=Interval), NOW)))
    .returning(p.asked_at)
)


class Callbacks:
    """Keeps callbacks, and has the provider asked about the payment each names."""

    def __init__(self, payments: Payments, tills: Tills) -> None:
        self.payments = payments
        self.tills = tills

    async def keep(self, provider: str, path: str, content_type: str, body: bytes) -> None:
        """Store a callback as it came and plan a confirm, in one commit; what it claims is not looked at."""
        async with self.payments.store.work() as connection:
            note = self.payments.providers[provider].parse_callback(path, body)
            values = {
                "provider": provider, "path": path, "payment": note.reference, "external_id": note.external_id,
                "content_type": content_type, "body": body, "received_at": self.payments.clock.now(),
            }  # fmt: skip
            await connection.run(KEEP, **values)
            if path.startswith(DEPOSIT) and note.external_id:
                await self.tills.confirmed(connection, provider, note.external_id, note.status)
            elif note.deposit:
                await self.tills.keep(connection, provider, note.deposit)
            elif note.balance is not None:
                await floats.told(connection, self.payments, provider, path.rpartition("/")[2], note.balance)
            elif reference := note.reference or await self._named(connection, provider, note):
                await self._name(connection, provider, reference, note.external_id)
                row = await self.payments.find(connection, provider, reference)
                if row:
                    await self._of_payment(connection, row, path, note)

    async def _of_payment(self, connection: Work, row: Row, path: str, note: CallbackNote) -> None:
        if not await claims.complete(connection, row, note.status):
            await self.payments.alert_once(connection, row["id"], claims.TWICE)
        # Where a query tells, its word was the last; elsewhere nobody would ask again about what has succeeded.
        proved = row["state"] == "succeeded" and self.payments.mute(row)
        if proved and isinstance(note.status, Failed) and claims.proves(path, note, row):
            await self.payments.alert_once(connection, row["id"], claims.DENIED)
        await self.plan_confirm(connection, row["id"])

    async def _named(self, look: Look, provider: str, note: CallbackNote) -> UUID | None:
        """The payment that a provider calls by an id of its own, once it has told us that id."""
        if not note.external_id:
            return None
        found: UUID | None = await look.value(NAMED, provider=provider, external_id=note.external_id)
        return found

    async def _name(self, work: Work, provider: str, reference: UUID, external_id: str | None) -> None:
        """Learn the provider's own id where its answer was lost: without it some cannot even be asked."""
        if external_id and await work.value(UNNAMED, payment=reference):
            await self.payments.name(work, reference, provider, external_id)

    async def plan_confirm(self, connection: Work, reference: UUID) -> None:
        """Plan a confirm, one in Schedule.ask_every for a payment at most; nothing for a reference nobody knows."""
        now = self.payments.clock.now()
        at = await connection.value(CONFIRM, payment=reference, now=now, every=self.payments.schedule.ask_every)
        if at is not None:
            await self.payments.jobs.defer(
                connection, "payments.confirm", at=at if at > now else None, payment=str(reference)
            )
