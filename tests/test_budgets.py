"""How many statements and commits each way of a person, or of a payment, costs: no more than budgets.toml allows.

Counted by Postgres itself, from its log: the same whoever sends them. Jobs run one after the other, and a way begins
and ends when everything is at rest, so that the figures are the same in every run, however fast the machine.
"""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import pytest
from journey import Live
from later import LaterClock, keep
from player import Handset
from redis.asyncio import Redis
from sqlalchemy import text
from test_journeys import served, surroundings

from ussd_app import embedded
from ussd_app.app import Application
from ussd_app.bench import statements
from ussd_app.bench.statements import Sent, StatementLog
from ussd_app.commands import village
from ussd_app.config import Settings, load
from ussd_app.money import Money
from ussd_app.payments.schedule import Schedule
from ussd_app.store import Store

BUDGETS: Mapping[str, Mapping[str, int]] = tomllib.loads((Path(__file__).parent / "budgets.toml").read_text())
AMA, KOFI = Handset("233240000061"), Handset("233240000062")
CANNOT_RECEIVE = "233240009999"
DIAL = "*920*55#"
FALLS = 0.7  # of its budget: a way that costs less has a new one. Callbacks and SMS do not always come in one order
SHOWN_CHARS = 80  # of each statement, where a way costs more than it may
LOOK_SECONDS, LOOKS = 0.05, 1200
SOON_SECONDS = 60.0  # what the sandbox does by itself within these belongs to the way: prompts expire later
AT_ONCE = {"MTN_SMS_PARTS_PER_SECOND": "500"}  # no SMS waits for its turn
# An operator is asked where it has called back, and not because a machine was slow.
UNASKED = Schedule(check_ages=(3600,))
OPEN = text("SELECT count(*) FROM orders WHERE finished_at IS NULL")
DUE = text("""
    SELECT (SELECT count(*) FROM procrastinate_jobs WHERE queue_name <> 'tend'
        AND (status = 'doing' OR (status = 'todo' AND coalesce(scheduled_at, now()) <= now())))
    + (SELECT count(*) FROM messages WHERE state IN ('waiting', 'sending') AND due_at <= :now AND deadline > :now)
""")


@dataclass
class Counter:
    """An application without a worker, its phones, and what each way of theirs has sent to Postgres."""

    application: Application
    http: httpx.AsyncClient
    live: Live
    log: StatementLog
    observer: Store  # a test's own questions are not the way's
    found: dict[str, Sent] = field(default_factory=dict)

    async def keys(self, phone: Handset, *typed: str) -> str:
        """Dial and press; the last screen."""
        screens = [await self.live.enter(phone, each) for each in typed]
        return screens[-1]

    async def know(self, phone: Handset, pin: str = "") -> None:
        """Register somebody, with a PIN where one is given."""
        await self.keys(phone, DIAL, "1", "Ama")
        if pin:
            await self.keys(phone, "*920*55*5*3#", pin, pin)

    @asynccontextmanager
    async def way(self, name: str) -> AsyncIterator[None]:
        """Count what is sent meanwhile, and what comes of it unasked."""
        await self.quiet()
        self.log.begin()
        yield
        await self.quiet()
        self.found[name] = self.log.sent()

    async def quiet(self) -> None:
        """Wait until no callback and no report is under way or about to come."""
        for _ in range(LOOKS):
            said = (await self.http.get(f"{self.application.settings.public_url}/sandbox/background")).json()
            if not said["under_way"] and all(seconds > SOON_SECONDS for seconds in said["coming"]):
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise TimeoutError(said)

    async def work(self) -> None:
        """Run what is due, one job at a time, with what comes of it, until everything is at rest."""
        for _ in range(LOOKS):
            await self.application.jobs.run_worker_async(
                wait=False, concurrency=1, install_signal_handlers=False, delete_jobs="successful",
                queues=["money", "sms", "groups"],
            )  # fmt: skip
            await self.quiet()
            async with self.observer.look() as connection:
                if not (await connection.execute(DUE, {"now": self.application.clock.now()})).scalar_one():
                    return
            await asyncio.sleep(LOOK_SECONDS)
        raise TimeoutError

    async def pay(self, name: str, payer: Handset, *keys: str) -> None:
        """A payment from its confirmation to the last SMS; ``keys`` lead to the screen whose 1 places it."""
        await self.keys(payer, *keys)
        async with self.way(name):
            placed = await self.keys(payer, "1")
            assert placed.startswith("END "), f"{name}: {placed}"
            await self.work()
            await self.approve(payer)
        assert await self.live.inbox(payer.msisdn), name

    async def approve(self, payer: Handset) -> None:
        """Say yes to the prompt, and work until everything is at rest: every order is at its end then."""
        assert await self.live.answer(payer.msisdn, "approve")
        await self.work()
        async with self.observer.look() as connection:
            assert not (await connection.execute(OPEN)).scalar_one()


@pytest.fixture
async def counter(
    stores: embedded.Stores,
    database: str,
    store: Store,
    redis: Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Counter]:
    """Ghana, with nobody in it yet."""
    del redis  # it is asked for to be empty
    port, variables = surroundings("GH", database, redis_url)
    for key, value in {**variables, "PROMPT_DELAY_MS": "0", "SANDBOX_MTN_RECEIPT_SECONDS": "0", **AT_ONCE}.items():
        monkeypatch.setenv(key, value)
    later = LaterClock()  # a morning: what a group tells waits for no quiet hours to end
    application = Application(load(Settings), later, schedule=UNASKED)
    await keep(application.store, later)
    with statements.kept(stores.conninfo):
        async with served(application, port, works=False), httpx.AsyncClient(trust_env=False, timeout=20) as http:
            log = StatementLog(stores.postgres_log, database)
            counter = Counter(application, http, Live(http, application.settings.public_url), log, store)
            await counter.know(KOFI)  # what only a connection's first statement costs is no way's
            yield counter


def check(found: Mapping[str, Sent]) -> None:
    """Fail where a way costs more than its budget, or much less: then the budget is to fall."""
    wrong = []
    for name, sent in found.items():
        allowed = BUDGETS.get(name, {"statements": 0, "commits": 0})
        measured = {"statements": sent.statements, "commits": sent.commits}
        if not all(FALLS * allowed[what] <= count <= allowed[what] for what, count in measured.items()):
            texts = "\n".join(each[:SHOWN_CHARS] for each in sent.texts)
            wrong.append(f"{name}: {measured}, and {sent.jobs} of Procrastinate's; allowed are {allowed}\n{texts}")
    assert not wrong, "\n\n".join(wrong)


async def test_dials_and_hops(counter: Counter) -> None:
    """A stranger's dial, a known person's, one of a group's member, and hops into a menu and back."""
    async with counter.way("dial, stranger"):
        await counter.keys(AMA, DIAL)
    async with counter.way("register"):
        await counter.keys(AMA, "1", "Ama")
    async with counter.way("dial"):
        await counter.keys(AMA, DIAL)
    async with counter.way("menu hops"):
        await counter.keys(AMA, "5", "0", "5")
    await village.settle(counter.application, [f"23324000020{each}" for each in range(5)], Money.of(50, "GHS"))
    await counter.work()
    async with counter.way("dial, member"):
        assert "Pay ADEHYE" in await counter.keys(Handset("233240000203"), DIAL)
    check(counter.found)


async def test_payments(counter: Counter) -> None:
    """One SMS; then send money, its refund, airtime and a bundle, each from the key that places it."""
    await counter.know(AMA, "2580")
    async with counter.way("one SMS"):  # that a PIN was set
        await counter.work()
    await counter.keys(AMA, DIAL, "3", "0240000062")
    async with counter.way("quote"):
        assert "1 Confirm" in await counter.keys(AMA, "10")
    async with counter.way("placing"):
        assert (await counter.keys(AMA, "1")).startswith("END Now approve")
    await counter.work()
    await counter.approve(AMA)
    await counter.pay("send money", AMA, DIAL, "3", "0240000063", "10")
    await counter.live.arrange("handset", CANNOT_RECEIVE, ["can_receive=false"])
    await counter.pay("send money, refunded", AMA, DIAL, "3", "0240009999", "10")
    await counter.pay("airtime", AMA, "*920*55*4*1*1*5#")
    await counter.pay("bundle", AMA, "*920*55*4#", "2", "1", "1", "1")
    check(counter.found)


async def test_groups(counter: Counter) -> None:
    """A contribution, and a payout from its last approval."""
    people = [Handset(f"23324000020{each}") for each in range(5)]
    await village.settle(counter.application, [each.msisdn for each in people], Money.of(50, "GHS"))
    await counter.work()
    for number, phone in enumerate(people):
        await counter.keys(phone, DIAL)
        async with counter.way("contribution" if number == 0 else f"contribution {number + 1}"):
            await counter.keys(phone, "1")
            await counter.work()
            await counter.approve(phone)
    assert "PIN" in await counter.keys(people[0], "*920*55*2*5*3#")
    asked = await counter.keys(people[0], village.PIN)
    code = asked.split("Request ")[1].split(":")[0]
    await counter.work()
    await counter.keys(people[1], f"*920*55*7*{code}#", village.PIN)
    await counter.work()
    await counter.keys(people[2], f"*920*55*7*{code}#")
    async with counter.way("payout"):
        assert "on its way" in await counter.keys(people[2], village.PIN)
        await counter.work()
    kept = {name: sent for name, sent in counter.found.items() if name in {"contribution", "payout"}}
    check(kept)
