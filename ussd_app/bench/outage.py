"""The outage part of `ussd-app bench`: one operator fails every call while another works, and what a call costs us.

Both are MTN's real client over a scripted line, with the stores, jobs and one worker of this process. Nothing is
compressed: a breaker rests for a minute of real time.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from random import SystemRandom
from statistics import median, quantiles
from typing import Any, cast
from uuid import uuid4

import httpx2 as httpx
import procrastinate
from pydantic import SecretStr
from sqlalchemy import select

from ussd_app import app, log, migrations, redis_client, worker
from ussd_app.bench.figures import Figure
from ussd_app.breakers import Breakers
from ussd_app.clock import Clock
from ussd_app.config import Settings, load
from ussd_app.groups import Groups
from ussd_app.jobs import Jobs
from ussd_app.messages import Messages
from ussd_app.messages.pace import Pace
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import Msisdn
from ussd_app.operators import mtn_momo
from ussd_app.orders import Orders
from ussd_app.payments import Payments
from ussd_app.providers.tokens import Token, Tokens
from ussd_app.routes import Routes
from ussd_app.sims import Sims
from ussd_app.store import Store, Work
from ussd_app.tables import payments

RATE = 20  # payments a second, by turns over both operators
BEFORE_SECONDS = 15.0  # of both operators working
AFTER_SECONDS = 45.0
FALL_SECONDS = 10.0  # from the first failure until the calls have fallen
CALLS = 1000

# What was promised.
CALLS_A_SECOND_MAX, RECOVERY_SECONDS_MAX, COST_MS_MAX = 1.0, 30.0, 0.3

NEVER_SECONDS = 999.0  # of what was not asked for in time

Asked = tuple[datetime, datetime | None, str]  # when a collection was placed and first asked for, and of whom

FAILING, WORKING = "mtn_momo", "bench_other"
TOKEN = {"access_token": "t", "token_type": "access_token", "expires_in": 3600}
BALANCE = {"availableBalance": "1000", "currency": "GHS"}


class Line:
    """One operator's end: takes everything, or drops every connection; notes when it was called."""

    def __init__(self) -> None:
        self.down = False
        self.called: list[float] = []
        self.took: list[float] = []
        self._book: dict[str, Any] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        self.called.append(time.monotonic())
        if self.down:
            raise httpx.ConnectError("nobody answers")
        path = request.url.path
        if path.endswith("/token/"):
            return httpx.Response(200, json=TOKEN)
        if path.endswith("/balance"):
            return httpx.Response(200, json=BALANCE)
        if request.method == "POST":
            self.took.append(time.monotonic())
            self._book[request.headers["X-Reference-Id"]] = json.loads(request.content)
            return httpx.Response(202)
        asked = self._book.get(path.rpartition("/")[2])
        if asked is None:
            return httpx.Response(404, json={"code": "RESOURCE_NOT_FOUND"})
        return httpx.Response(200, json={**asked, "status": "SUCCESSFUL", "financialTransactionId": "1"})


class _Other(mtn_momo.Operator):
    """The same client under another name: with its own breakers, tokens and books."""

    name = WORKING


class _Silent:
    """Stands for Messages: no SMS is written."""

    async def queue(self, _connection: Work, **_message: object) -> None:
        """Nothing."""

    async def wake(self) -> None:
        """Nobody sleeps."""

    async def pump(self, _sender: str) -> None:
        """Nothing is handed over."""


async def measure(redis_url: str, database_url: str, seconds: float) -> list[Figure]:
    """Both operators work, one fails for so long, both work again."""
    log.configure("CRITICAL")
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    await asyncio.to_thread(migrations.upgrade, database_url)
    clock, lines = Clock(), {FAILING: Line(), WORKING: Line()}
    redis = redis_client.connect(redis_url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        operators = {}
        for name, client in ((FAILING, mtn_momo.Operator), (WORKING, _Other)):
            http = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.MockTransport(lines[name])))
            operators[name] = client(_momo(), http, cast("Any", redis), clock)
        breakers = Breakers(redis, clock)
        # As web and worker have them: pools of their own.
        orders, _ = await _desk(stack, database_url, operators, breakers, clock)
        working_orders, jobs = await _desk(stack, database_url, operators, breakers, clock)
        worker.register(jobs, working_orders, Sims(working_orders.store, Jobs(jobs), None, clock, (b"bench",)))
        working = asyncio.create_task(worker.run(jobs, signals=False))
        started = time.monotonic()
        paid = asyncio.create_task(_pay(orders, BEFORE_SECONDS + seconds + AFTER_SECONDS))
        await asyncio.sleep(BEFORE_SECONDS)
        lines[FAILING].down, failed = True, time.monotonic()
        await asyncio.sleep(seconds)
        lines[FAILING].down, back = False, time.monotonic()
        count = await paid
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        async with orders.store.look() as connection:
            query = select(payments.c.created_at, payments.c.submitted_at, payments.c.operator)
            found = await connection.execute(query.where(payments.c.kind == Kind.COLLECTION))
            rows = [(row.created_at, row.submitted_at, row.operator) for row in found]
    return _figures(lines, rows, clock.now().timestamp() - time.monotonic(), (started, failed, back), count)


def _momo() -> mtn_momo.Settings:
    key = SecretStr("bench")
    return load(mtn_momo.Settings, environment="mtnghana", subscription_key=key, api_user="bench", api_key=key)


async def _desk(
    stack: AsyncExitStack,
    database_url: str,
    operators: Mapping[str, mtn_momo.Operator],
    breakers: Breakers,
    clock: Clock,
) -> tuple[Orders, procrastinate.App]:
    """An order desk, and the jobs it defers to."""
    store = Store(database_url, clock)
    stack.push_async_callback(store.close)
    conninfo = database_url.replace("+psycopg", "", 1)
    connector = procrastinate.PsycopgConnector(conninfo=conninfo, min_size=1, max_size=app.JOB_CONNECTIONS)
    jobs = procrastinate.App(connector=connector)
    await stack.enter_async_context(jobs.open_async())
    settings, messages, random = load(Settings, prompt_delay_ms=0), cast("Messages", _Silent()), SystemRandom()
    paying = Payments(
        store, Jobs(jobs), operators, {}, clock, lambda name, path: f"http://127.0.0.1/{name}/{path}", breakers, random
    )
    groups = Groups(store, Jobs(jobs), messages, clock, settings, random)
    routes = Routes(store, operators, clock)
    return Orders(store, paying, messages, groups, clock, settings, random, routes), jobs


async def _pay(orders: Orders, seconds: float) -> int:
    """RATE payments a second, each of people of its own; how many."""
    started, number = time.monotonic(), 0
    placing: set[asyncio.Task[Any]] = set()
    while (due := started + number / RATE) < started + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        operator = (FAILING, WORKING)[number % 2]
        sides = {"sender_operator": operator, "recipient_operator": operator}
        task = asyncio.create_task(
            orders.place(
                "send_money", run=uuid4().hex, msisdn=Msisdn(f"+23324{number:07}"), language="en",
                recipient=Msisdn(f"+23354{number:07}"), amount=Money.of(10, "GHS"), fee=Money.of("0.10", "GHS"),
                details={"sender_name": "A", "recipient_name": "B", **sides},
            )
        )  # fmt: skip
        placing.add(task)
        task.add_done_callback(placing.discard)
        number += 1
    await asyncio.gather(*placing)
    return number


def _figures(
    lines: Mapping[str, Line],
    rows: Sequence[Asked],
    epoch: float,
    moments: tuple[float, float, float],
    count: int,
) -> list[Figure]:
    """What the lines and the books have to say of it."""
    started, failed, back = moments
    during = [at for at in lines[FAILING].called if failed + FALL_SECONDS <= at < back]
    rate = len(during) / (back - failed - FALL_SECONDS)
    busiest = max(Counter(int(at) for at in during).values(), default=0)
    recovered = next((at - back for at in lines[FAILING].took if at >= back), AFTER_SECONDS)
    waits: dict[str, list[float]] = {"before": [], "during": []}
    for created_at, submitted_at, operator in rows:
        at = created_at.timestamp() - epoch
        when = "before" if started <= at < failed else "during" if failed <= at < back else ""
        if operator == WORKING and when:
            waits[when].append((submitted_at - created_at).total_seconds() if submitted_at else NEVER_SECONDS)
    before, meanwhile = (quantiles(waits[when], n=100, method="inclusive")[94] for when in ("before", "during"))
    return [
        Figure(
            "calls a second to an operator that fails", f"{rate:.2f}, at most {busiest} in one second"
            f" ({back - failed:.0f} s, {count} payments, {RATE} a second over two operators)",
            f"<= {CALLS_A_SECOND_MAX:g}", rate > CALLS_A_SECOND_MAX,
        ),
        Figure("the other one: placed to asked for", f"p95 {meanwhile * 1000:.0f} ms; before {before * 1000:.0f} ms"),
        Figure(
            "from its return to its first payment", f"{recovered:.1f} s", f"<= {RECOVERY_SECONDS_MAX:g} s",
            recovered > RECOVERY_SECONDS_MAX,
        ),
    ]  # fmt: skip


async def cost(redis_url: str, calls: int = CALLS) -> Figure:
    """Breaker, limiter and token cache of one call, less the bare Redis commands they make."""
    redis, clock = redis_client.connect(redis_url), Clock()
    breakers, pace, tokens = Breakers(redis, clock), Pace(redis, clock), Tokens(cast("Any", redis), clock)

    async def fetch() -> Token:
        return Token("t", 3600.0)

    async def call() -> None:
        await tokens.get("bench", "one", fetch)

    async def ours() -> None:
        await pace.take("bench", 1, 1_000_000)
        await breakers.call("bench", "collection", call)

    async def bare() -> None:
        await redis.eval("return 1", 1, "bench")
        await redis.get("bench")

    async def took(what: Any) -> float:  # noqa: ANN401 - either
        started = time.perf_counter()
        await what()
        return time.perf_counter() - started

    try:
        await ours()
        pairs = [(await took(ours), await took(bare)) for _ in range(calls)]
    finally:
        await redis.aclose()
    whole, base = (median(side) * 1000 for side in zip(*pairs, strict=True))
    measured = f"{whole - base:.3f} ms beyond Redis ({whole:.3f} ms, of it {base:.3f} ms two bare commands)"
    return Figure("breaker, limiter and token of a call", measured, f"< {COST_MS_MAX} ms", whole - base >= COST_MS_MAX)
