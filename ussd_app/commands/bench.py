"""`ussd-app bench`: what a hop, a payment and a posting cost on this machine, beside an app that does only the I/O.

Server, worker, floor app, both stores and this load generator are processes of one machine, bound to 127.0.0.1.
"""

import asyncio
import gc
import os
import platform
import re
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import parse_qsl

import httpx2 as httpx
import uvloop
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ussd_app import app, embedded, http, ledger, migrations, redis_client
from ussd_app.commands import alone, outage
from ussd_app.commands.demo import send_money
from ussd_app.commands.load import (
    CODE,
    PATH,
    Caller,
    Figure,
    Server,
    environment,
    free_port,
    percentiles,
    running,
    serving,
    tally,
)
from ussd_app.commands.phone import Phone
from ussd_app.money import Money

EARLY, LATE = 2, 20  # the hops compared; both go into the menu
PAYMENTS_AT_ONCE = 4
LEDGER_CONNECTIONS = 16
WAIT_SECONDS = 30.0  # for a prompt, or for an SMS

# What was promised.
RATIO_MIN, DEPTH_MAX, DIALOGUE_BYTES_MAX, PAYMENT_SECONDS_MAX, TOKEN_SHARE_MAX = 0.6, 1.15, 1024, 1.0, 0.01

# Counters of /metrics. A payment's submit_... and check_... hold the operator's own calls, which are counted.
TOKENS = re.compile(r"^token_refreshes_total\{.*\} (\S+)$", re.MULTILINE)
CALLS = re.compile(r'^provider_seconds_count\{call="(?!submit_|check_).*\} (\S+)$', re.MULTILINE)

WORKER = ("-m", "ussd_app", "work")
SCREEN = "CON Akwaaba Ama\n3 Send money\n5 My account"
DIALOGUE = "x" * 300  # as long as one of ours


@dataclass(frozen=True, slots=True)
class Load:
    """How much is measured: ``seconds`` for each rate, from ``phones`` at once."""

    seconds: float = 10.0
    phones: int = 32
    deep: int = 100  # dialogues of LATE hops
    payments: int = 100


def run(seconds: float = 10.0, outage_seconds: float = 0.0) -> int:
    """Measure, and print; 1 where a target was missed. An outage of so many seconds is measured too, if any."""
    console = Console(highlight=False)
    console.print(
        f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} before. Stores, server, worker, floor app and load generator share these cores."
    )
    started = time.perf_counter()
    given = {"MENUS_DIR": str(app.menus_dir().resolve())}
    with (
        tempfile.TemporaryDirectory(prefix="ussd-") as directory,
        alone.alone(Path(directory), given),
        embedded.start(Path(directory)) as stores,
    ):
        figures = measure(Path(directory), stores.redis_url, stores.database_url, Load(seconds))
        figures.append(uvloop.run(outage.cost(stores.redis_url)))
        if outage_seconds:
            figures += uvloop.run(outage.measure(stores.redis_url, stores.database_url, outage_seconds))
    table = Table("what", "measured", "target")
    for figure in figures:
        table.add_row(figure.what, figure.measured, figure.target, style="red" if figure.missed else "")
    console.print(table)
    console.print(f"{time.perf_counter() - started:.0f} s in all")
    return int(any(figure.missed for figure in figures))


def measure(directory: Path, redis_url: str, database_url: str, load: Load) -> list[Figure]:
    """Every figure, on these stores (which get filled), with logs in ``directory``."""
    migrations.upgrade(database_url)
    port = free_port()
    alone = environment(redis_url, database_url, port)
    with (
        serving("ussd_app.app:create", port, directory / "server.log", alone) as ours,
        serving(f"{__name__}:floor", free_port(), directory / "floor.log", alone) as floor,
    ):
        figures = uvloop.run(_hops(ours, floor, load))
        figures.append(uvloop.run(_dialogue_bytes(ours.url, redis_url)))
    together = alone | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}  # the worker's counters on the server's page
    with (
        serving("ussd_app.app:create", port, directory / "server.log", together) as ours,
        running(WORKER, directory / "worker.log", together),
    ):
        figures += uvloop.run(_money(ours.url, load))
    figures.append(uvloop.run(_postings(database_url, load.seconds)))
    return figures


def floor() -> Starlette:
    """What no such app can do without: read the form, one GET and one SET in Redis, a screen."""
    redis = redis_client.connect(os.environ["REDIS_URL"])

    async def hop(request: Request) -> Response:
        key = "floor:" + dict(parse_qsl((await request.body()).decode()))["phoneNumber"]
        await redis.get(key)
        await redis.set(key, DIALOGUE, ex=300)
        return PlainTextResponse(SCREEN)

    gc.freeze()  # what only the rest of this module needs would make the floor's own collections longer
    return Starlette(routes=[Route(PATH, hop, methods=["POST"])])


# What is measured


async def _hops(ours: Server, floor: Server, load: Load) -> list[Figure]:
    """Menu-only hops, in turns with the floor so that what else this machine does falls on both."""
    async with http.client() as client:
        mine, base = [await tally(server, client, load.phones) for server in (ours, floor)]
        until = time.perf_counter() + 2 * load.seconds
        while time.perf_counter() < until or not mine.rates:
            await mine.round()
            await base.round()
        depth = await _depth(mine.phones[0], load.deep)
        await asyncio.gather(*(caller.leave() for caller in mine.phones + base.phones))
    ratio = median(rate / floors for rate, floors in zip(mine.rates, base.rates, strict=True))
    rates = f"{median(mine.rates):.0f}, floor {median(base.rates):.0f}: {ratio:.2f}"
    counts = f"{len(mine.waits)} hops in {len(mine.rates)} rounds, {load.phones} phones at once"
    return [
        Figure("menu-only hops a second", f"{rates} ({counts})", f">= {RATIO_MIN} of the floor", ratio < RATIO_MIN),
        Figure("one such hop", f"{mine.cost}; floor {base.cost}"),
        depth,
    ]


async def _depth(caller: Caller, count: int) -> Figure:
    """A late hop against an early one of the same dialogue, one at a time."""
    waits = []
    for _ in range(count):
        await caller.dial(CODE)  # hop 1
        waits.append(await caller.menus(LATE - 1))
    ratio = median(hops[LATE - 2] for hops in waits) / median(hops[EARLY - 2] for hops in waits)
    measured = f"{ratio:.2f} (medians of {count} dialogues, one at a time)"
    return Figure(f"hop {LATE} against hop {EARLY}", measured, f"<= {DEPTH_MAX}", ratio > DEPTH_MAX)


async def _dialogue_bytes(url: str, redis_url: str) -> Figure:
    """What a dialogue takes in Redis, screen by screen, while money is sent."""
    memory, stored = [], []
    async with http.client() as client, Redis.from_url(redis_url) as redis:
        async for _ in send_money(Phone(client, url, "233249000000"), "233249000001", "10", "Ama"):
            (key,) = await redis.keys("ussd:*233249000000*")
            memory.append(await redis.memory_usage(key, samples=0) or 0)
            stored.append(await redis.hstrlen(key, "dialogue"))
    typical = median(memory)
    measured = f"{typical:.0f} bytes, at most {max(memory)}; of them JSON {median(stored):.0f}, at most {max(stored)}"
    limit = f"typically < {DIALOGUE_BYTES_MAX}"
    return Figure("live dialogue in Redis", measured, limit, typical >= DIALOGUE_BYTES_MAX)


async def _money(url: str, load: Load) -> list[Figure]:
    """Payments from approval to the second SMS, with one worker; and the tokens fetched for them."""
    places = asyncio.Semaphore(PAYMENTS_AT_ONCE)
    async with http.client() as client:

        async def pay(number: int) -> float:
            async with places:
                return await _payment(client, url, number)

        took = await asyncio.gather(*map(pay, range(load.payments)))
        page = (await http.call(client, "GET", f"{url}/metrics")).body.decode()
    tokens, calls = (sum(map(float, counter.findall(page))) for counter in (TOKENS, CALLS))
    slow = quantiles(took, n=100, method="inclusive")[94] >= PAYMENT_SECONDS_MAX
    measured = f"{percentiles(took, 95)} ({load.payments} payments, {PAYMENTS_AT_ONCE} at once, one worker)"
    share = tokens / calls
    fetched = f"{tokens:.0f} for {calls:.0f} provider calls: {share:.2%}"
    return [
        Figure("send money, approval to second SMS", measured, f"p95 < {PAYMENT_SECONDS_MAX:g} s", slow),
        Figure("tokens fetched", fetched, f"< {TOKEN_SHARE_MAX:.0%}", share >= TOKEN_SHARE_MAX),
    ]


async def _payment(client: httpx.AsyncClient, url: str, number: int) -> float:
    """Seconds from one payment's approval until the sandbox had taken both SMS."""
    payer, payee = (Phone(client, url, f"23324{digit}{number:06}") for digit in (2, 3))
    async for _ in send_money(payer, payee.msisdn, "10", "Ama"):
        pass
    asked = await payer.wait(lambda state: bool(state.prompts), WAIT_SECONDS)
    if asked is None:
        raise RuntimeError("no prompt came: does the worker run?")
    approved = datetime.now(UTC)
    await payer.decide(asked.prompts[0], "approve")
    told = [await phone.wait(lambda state: bool(state.inbox), WAIT_SECONDS) for phone in (payer, payee)]
    return max((state.inbox[-1].at - approved).total_seconds() if state else WAIT_SECONDS for state in told)


async def _postings(database_url: str, seconds: float) -> Figure:
    """Transfers between one pair of accounts, each in a commit of its own, from many connections."""
    engine = create_async_engine(database_url, pool_size=LEDGER_CONNECTIONS)
    pair, one = ("float:bench", "suspense"), Money(1, "GHS")
    count, until = 0, time.perf_counter() + seconds

    async def post() -> None:
        nonlocal count
        while time.perf_counter() < until:
            async with engine.begin() as connection:
                await ledger.move(connection, *pair, one, order=None, reason="bench", at=datetime.now(UTC))
            count += 1

    await asyncio.gather(*(post() for _ in range(LEDGER_CONNECTIONS)))
    await engine.dispose()
    measured = f"{count / seconds:.0f} a second ({count} over {LEDGER_CONNECTIONS} connections)"
    return Figure("postings on one hot float row", measured)
