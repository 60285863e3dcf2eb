"""An order desk with a scripted operator: everything real but the outside party and the SMS."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, cast
from uuid import UUID

import procrastinate
from conftest import FakeClock
from sqlalchemy import Row, select, text

from ussd_app import ledger, worker
from ussd_app.breakers import Breakers
from ussd_app.callbacks import Callbacks
from ussd_app.config import Settings
from ussd_app.errors import ProviderError, Unknown
from ussd_app.groups import Groups
from ussd_app.jobs import Jobs
from ussd_app.messages import Messages, Sms
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import CallbackNote, Kind, Pending, Request, Status, Succeeded
from ussd_app.orders import LimitReached, Orders, Placed, airtime, send_money
from ussd_app.payments import Payments
from ussd_app.payments.schedule import Schedule
from ussd_app.routes import Routes
from ussd_app.sims import Sims
from ussd_app.store import Look, Store
from ussd_app.tables import orders, payments
from ussd_app.till import Tills

AMA = Msisdn("+233240000001")
KOFI = Msisdn("+233240000002")


@dataclass
class ScriptedOperator:
    """Answers what it is told to, and keeps a book of what it was asked for: one entry a reference."""

    name: str = "scripted"
    brand: str = "Scripted"
    countries: Mapping[str, str] = field(default_factory=lambda: {"GH": "MTN"})
    deduplicates: frozenset[Kind] = frozenset(Kind)
    one_float: bool = True
    refunds_from: Kind = Kind.DISBURSEMENT
    submissions: list[Request] = field(default_factory=list)
    checks: list[Request] = field(default_factory=list)
    answers: dict[Kind, deque[Status | ProviderError]] = field(default_factory=lambda: {k: deque() for k in Kind})
    states: dict[Kind, Status | ProviderError] = field(default_factory=dict)  # what check says; else success

    def step(self, currency: str) -> int:
        """Any amount."""
        return 1 if currency else 0

    async def submit(self, request: Request) -> Status:
        """The next scripted answer, or 202."""
        self.submissions.append(request)
        answer = self.answers[request.kind].popleft() if self.answers[request.kind] else Pending()
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    async def check(self, request: Request) -> Status:
        """The state of its kind, or success; what it was never asked for it does not know."""
        self.checks.append(request)
        if all(submitted.reference != request.reference for submitted in self.submissions):
            raise Unknown("404")
        state = self.states.get(request.kind, Succeeded("R-1", request.amount))
        if isinstance(state, ProviderError):
            raise state
        return state

    async def name_of(self, msisdn: Msisdn) -> str | None:
        """Everybody is called after their number."""
        return f"Holder {msisdn[-3:]}"

    async def is_active(self, msisdn: Msisdn) -> bool:
        """Everybody is."""
        return bool(msisdn)

    async def balance(self, kind: Kind, currency: str, _callback_url: str = "") -> Money:
        """Nothing."""
        return Money(0, currency) if kind else Money(0, "")

    def parse_callback(self, path: str, body: bytes) -> CallbackNote:
        """A reference and a claim."""
        return CallbackNote(UUID(path.rsplit("/", 1)[-1]), Pending(body.decode()))


@dataclass
class Outbox:
    """Stands for Messages: remembers each key once, as the table does."""

    sent: dict[str, tuple[str, Msisdn]] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)  # the variables last given to a template
    notices: dict[str, tuple[str, Msisdn]] = field(default_factory=dict)  # what groups tell their members

    async def queue(
        self,
        _connection: Look,
        *,
        key: str,
        msisdn: Msisdn,
        template: str,
        variables: Mapping[str, Any],
        **_: object,
    ) -> None:
        """Remember it."""
        self.sent.setdefault(key, (template, msisdn))
        self.said[template] = variables

    async def queue_all(self, _connection: Look, batch: Iterable[Sms]) -> None:
        """Remember a group's notices."""
        for sms in batch:
            self.notices.setdefault(sms.key, (sms.template, sms.msisdn))

    async def pump(self, sender: str) -> None:
        """Nothing is handed over."""

    async def wake(self) -> None:
        """Nobody sleeps."""

    @property
    def templates(self) -> list[str]:
        """What was said, in order."""
        return [template for template, _ in self.sent.values()]


@dataclass
class Desk:
    """The parts of one test's order desk."""

    store: Store
    clock: FakeClock
    operator: ScriptedOperator
    delivery: ScriptedOperator
    outbox: Outbox
    orders: Orders
    payments: Payments
    app: procrastinate.App

    async def send(self, amount: str = "50", run: str = "run-1") -> Placed | LimitReached:
        """Ama sends Kofi money."""
        placed = await send_money.place(
            self.orders,
            run=run,
            msisdn=AMA,
            sender_name="Ama",
            recipient=KOFI,
            recipient_name="Kofi",
            amount=Money.of(amount, "GHS"),
            language="en",
        )
        assert isinstance(placed, Placed | LimitReached)
        return placed

    async def top_up(self, recipient: Msisdn = KOFI) -> Placed | LimitReached:
        """Ama buys airtime for 5."""
        placed = await airtime.place(
            self.orders,
            run="run-1",
            msisdn=AMA,
            sender_name="Ama",
            recipient=recipient,
            amount=Money.of("5", "GHS"),
            language="en",
        )
        assert isinstance(placed, Placed | LimitReached)
        return placed

    async def run(self, seconds: float = 0) -> None:
        """Let time pass, and run every job that is due by then, in order, with those they bring about."""
        until = self.clock.seconds + seconds
        while True:
            due = await self._bring_forward(until)
            if due is None:
                break
            self.clock.seconds = max(self.clock.seconds, due)
            await self.app.run_worker_async(
                wait=False, listen_notify=False, install_signal_handlers=False, delete_jobs="successful"
            )
        self.clock.seconds = until

    @property
    def callbacks(self) -> Callbacks:
        """What providers call back."""
        return Callbacks(self.payments, Tills(self.payments, self.orders.messages, self.orders.settings))

    async def callback(self, payment: UUID) -> None:
        """A callback about a payment is stored."""
        async with self.store.work() as connection:
            await self.callbacks.plan_confirm(connection, payment)

    async def payment(self, step: str) -> Row[Any]:
        """The payment of a step."""
        async with self.store.look() as connection:
            return (await connection.execute(select(payments).where(payments.c.step == step))).one()

    async def order_states(self) -> list[str]:
        """Every order's state, oldest first."""
        async with self.store.look() as connection:
            return list((await connection.execute(select(orders.c.state).order_by(orders.c.created_at))).scalars())

    async def balance(self, account: str) -> str:
        """Debits less credits of an account, in cedis, nothing being pending."""
        async with self.store.look() as connection:
            sums = await ledger.sums(connection, account, "GHS")
            assert await ledger.imbalance(connection) in ({"GHS": 0}, {})
        assert sums.debits_pending == sums.credits_pending == 0
        return Money(sums.debits_posted - sums.credits_posted, "GHS").plain

    async def _bring_forward(self, until: float) -> float | None:
        """Make the earliest waiting job (and those of its moment) due now; the fake second it was waiting for."""
        limit = self.clock.now().timestamp() - self.clock.seconds + until
        async with self.store.work() as connection:
            query = text(
                "SELECT extract(epoch FROM min(coalesce(scheduled_at, 'epoch'))) FROM procrastinate_jobs"
                " WHERE status = 'todo'"
            )
            at = (await connection.execute(query)).scalar_one()
            if at is None or float(at) > limit:
                return None
            await connection.execute(
                text(
                    "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'"
                    " AND coalesce(scheduled_at, 'epoch') <= to_timestamp(:at)"
                ),
                {"at": float(at)},
            )
        return float(at) - (self.clock.now().timestamp() - self.clock.seconds)


@asynccontextmanager
async def open_desk(
    store: Store, database: str, clock: FakeClock, schedule: Schedule | None = None
) -> AsyncIterator[Desk]:
    """Build one."""
    connector = procrastinate.PsycopgConnector(conninfo=database.replace("+psycopg", ""), min_size=1, max_size=4)
    app = procrastinate.App(connector=connector)
    operator, delivery, outbox = ScriptedOperator(), ScriptedOperator("airtime_scripted"), Outbox()

    def callback_url(provider: str, path: str) -> str:
        return f"http://127.0.0.1/callbacks/{provider}/x/{path}"

    paying = Payments(
        store, Jobs(app), {operator.name: operator}, {delivery.name: delivery}, clock, callback_url,
        Breakers(None, clock), SystemRandom(), schedule,
    )  # fmt: skip
    settings = Settings()
    messages = cast("Messages", outbox)
    groups = Groups(store, Jobs(app), messages, clock, settings, SystemRandom())
    routes = Routes(store, paying.operators, clock)
    desk = Orders(store, paying, messages, groups, clock, settings, SystemRandom(), routes)
    worker.register(app, desk, Sims(store, Jobs(app), None, clock, (b"key",)))
    async with app.open_async():
        yield Desk(store, clock, operator, delivery, outbox, desk, paying, app)
