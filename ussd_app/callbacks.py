"""What providers call back: kept as it came, answered at once, and believed only after they have been asked."""

from uuid import UUID

from sqlalchemy import func, or_, select, update

from ussd_app.movement import CallbackNote, Failed
from ussd_app.payments import SUCCESSES, Payments, claims, floats
from ussd_app.store import Look, Row, Work
from ussd_app.tables import callbacks, payments
from ussd_app.till import Tills

DEPOSIT = "deposit/"  # before the receipt of what was paid to our till: the answers to our questions about it


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
            await connection.execute(callbacks.insert().values(values))
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

    async def _named(self, connection: Look, provider: str, note: CallbackNote) -> UUID | None:
        """The payment that a provider calls by an id of its own, once it has told us that id."""
        if not note.external_id:
            return None
        query = select(payments.c.id).where(payments.c.operator == provider, payments.c.external_id == note.external_id)
        return (await connection.execute(query.limit(1))).scalar_one_or_none()

    async def _name(self, connection: Work, provider: str, reference: UUID, external_id: str | None) -> None:
        """Learn the provider's own id where its answer was lost: without it some cannot even be asked."""
        unnamed = select(payments.c.id).where(payments.c.id == reference, payments.c.external_id.is_(None))
        if external_id and (await connection.execute(unnamed)).first():
            await self.payments.name(connection, reference, provider, external_id)

    async def plan_confirm(self, connection: Work, reference: UUID) -> None:
        """Plan a confirm, one in Schedule.ask_every for a payment at most; nothing for a reference nobody knows."""
        now = self.payments.clock.now()
        due = func.greatest(now, func.coalesce(payments.c.asked_at + self.payments.schedule.ask_every, now))
        planned = await connection.execute(
            update(payments)
            .where(payments.c.id == reference, payments.c.state.not_in(SUCCESSES))
            .where(or_(payments.c.asked_at.is_(None), payments.c.asked_at <= now))
            .values(asked_at=due)
            .returning(payments.c.asked_at)
        )
        at = planned.scalar_one_or_none()
        if at is not None:
            await self.payments.jobs.defer(
                connection, "payments.confirm", at=at if at > now else None, payment=str(reference)
            )
