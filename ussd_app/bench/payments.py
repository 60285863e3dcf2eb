"""Payments: how many a second, how long until both are told, and what one costs each process and Postgres.

Payers dial, the sandbox's operator asks, they approve, money is paid out, and two SMS arrive. The sandbox is a process
of its own, so that what it costs is not taken for ours.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count as numbers

import httpx2 as httpx
import psycopg

from ussd_app import http
from ussd_app.bench.figures import Figure, at_most, percentile, percentiles
from ussd_app.bench.phones import CODE, Caller, Crowd, enrol
from ussd_app.bench.stage import Paying
from ussd_app.bench.statements import Sent, StatementLog
from ussd_app.commands.demo import send_money
from ussd_app.commands.phone import NoScreen, Phone
from ussd_app.http import call

AT_ONCE = (1, 8, 32)
OPEN_RATE = 10  # payments begun a second, however many are under way
WAIT_SECONDS = 60.0  # for a prompt, for an SMS, and for what is left to end
COUNTED = 8  # payments of each kind whose statements are counted

# What is wanted at least.
RATE_MIN, OPEN_P95_MAX, STATEMENTS_MAX, COMMITS_MAX, WORKER_MS_MAX = 25.0, 1.0, 60.0, 16.0, 20.0

# Nothing that is due or under way, but for what comes again every few seconds.
IDLE = """
    SELECT NOT EXISTS (SELECT FROM procrastinate_jobs WHERE queue_name <> 'tend'
    AND (status = 'doing' OR (status = 'todo' AND coalesce(scheduled_at, now()) <= now())))
    AND NOT EXISTS (SELECT FROM messages WHERE state IN ('waiting', 'sending'))
"""
CANNOT_RECEIVE = "233549999999"
SCENES = numbers()  # so that no two have the same phones


@dataclass
class _Scene:
    """What moves money, and its phones."""

    stage: Paying
    client: httpx.AsyncClient
    crowd: Crowd = field(init=False)

    def __post_init__(self) -> None:
        self.crowd = Crowd(
            self.client, self.stage.web.url, 3_000_000 + 1_000_000 * next(SCENES), self.stage.sandbox.url
        )

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process, with the load generator's own."""
        stage = self.stage
        return {
            "worker": stage.worker.cpu_seconds(), "web": stage.web.cpu_seconds(),
            "sandbox": stage.sandbox.cpu_seconds(), "Postgres": stage.postgres.cpu_seconds(),
            "load": time.process_time(),
        }  # fmt: skip

    async def payers(self, count: int) -> list[Caller]:
        """So many registered people."""
        callers = self.crowd.strangers(count)
        await enrol(self.stage.database, callers)
        return callers

    async def idle(self) -> None:
        """Wait until nothing is due any more."""
        conninfo = self.stage.database.replace("+psycopg", "", 1)
        deadline = time.monotonic() + WAIT_SECONDS
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            while time.monotonic() < deadline:
                row = await (await connection.execute(IDLE)).fetchone()
                if row and row[0]:
                    return
                await asyncio.sleep(0.1)


async def measure(paying: Paying, count: int, at_once: Sequence[int] = AT_ONCE) -> list[Figure]:
    """Rates with so many at once (``count`` payments or more each), one open load, and the cost by process."""
    figures = []
    async with http.client(connections=256) as client:
        scene = _Scene(paying, client)
        await _closed(scene, 2, 2)  # tokens, statements, connections: what only the first ones cost
        for most in at_once:
            rate, waits, cost = await _closed(scene, max(count, 2 * most), most)
            figures.append(_rate_figure(most, rate, waits, wanted=most == at_once[-1]))
        costs = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in cost.items())
        figures.append(at_most("payment: CPU of the worker", cost["worker"] * 1000, WORKER_MS_MAX, " ms", costs))
        figures.append(await _open(scene, max(count, OPEN_RATE)))
    return figures


async def costs(paying: Paying, log: StatementLog) -> list[Figure]:
    """Statements and commits of one payment of each kind, COUNTED of them at once; Procrastinate's apart."""
    figures = []
    async with http.client(connections=256) as client:
        scene = _Scene(paying, client)
        await call(client, "PUT", _handset(scene, CANNOT_RECEIVE), json={"can_receive": False})
        for kind, way in KINDS.items():
            payers = await scene.payers(COUNTED)
            await scene.idle()
            log.begin()
            await asyncio.gather(*(way(scene, payer) for payer in payers))
            await scene.idle()
            figures.append(_cost_figure(kind, log.sent()))
            await asyncio.gather(*(payer.leave() for payer in payers))
    return figures


def _rate_figure(at_once: int, rate: float, waits: list[float], *, wanted: bool) -> Figure:
    measured = f"{rate:.1f} a second; approval to second SMS {percentiles(waits, 95)}"
    target = f">= {RATE_MIN:g} a second" if wanted else ""
    return Figure(f"payments, {at_once} at once", measured, target, wanted and rate < RATE_MIN)


def _cost_figure(kind: str, sent: Sent) -> Figure:
    each, commits, jobs = sent.statements / COUNTED, sent.commits / COUNTED, sent.jobs / COUNTED
    measured = f"{each:.0f} statements, {commits:.1f} commits; Procrastinate {jobs:.0f} statements"
    wanted = f"<= {STATEMENTS_MAX:g} / {COMMITS_MAX:g}" if kind == "send money" else ""
    missed = bool(wanted) and (each > STATEMENTS_MAX or commits > COMMITS_MAX)
    return Figure(f"{kind}, dial to last SMS", measured, wanted, missed)


async def _closed(scene: _Scene, count: int, at_once: int) -> tuple[float, list[float], dict[str, float]]:
    """So many payments, so many at any time: their rate, each one's seconds to the second SMS, the CPU of one."""
    payers, places = await scene.payers(count), asyncio.Semaphore(at_once)
    waits: list[float] = []

    async def pay(payer: Caller) -> None:
        async with places:
            waits.append(await _send(scene, payer))

    before, started = scene.cpu(), time.perf_counter()
    await asyncio.gather(*map(pay, payers))
    seconds = time.perf_counter() - started
    await scene.idle()
    cost = {name: (spent - before[name]) / count for name, spent in scene.cpu().items()}
    await asyncio.gather(*(payer.leave() for payer in payers))
    return count / seconds, waits, cost


async def _open(scene: _Scene, count: int) -> Figure:
    """OPEN_RATE payments begun a second, whatever becomes of them."""
    payers = await scene.payers(count)
    started, paying = time.perf_counter(), []
    for number, payer in enumerate(payers):
        await asyncio.sleep(max(0.0, started + number / OPEN_RATE - time.perf_counter()))
        paying.append(asyncio.create_task(_send(scene, payer)))
    waits = await asyncio.gather(*paying)
    await asyncio.gather(*(payer.leave() for payer in payers))
    name = f"approval to second SMS, {OPEN_RATE} payments begun a second"
    return at_most(f"{name}: p95", percentile(waits, 95), OPEN_P95_MAX, " s", f"{count} payments")


async def _send(scene: _Scene, payer: Caller) -> float:
    """Seconds from one payment's approval to the second of its SMS, WAIT_SECONDS where it did not come."""
    payee = Phone(scene.client, scene.stage.sandbox.url, f"23354{payer.msisdn[-7:]}")
    async for _ in send_money(payer, payee.msisdn, "10", "Ama"):
        pass
    return await _approved(payer, (payer, payee))


async def _approved(payer: Phone, told: tuple[Phone, ...], messages: int = 1) -> float:
    asked = await payer.wait(lambda state: bool(state.prompts), WAIT_SECONDS)
    if asked is None:
        return WAIT_SECONDS
    approved = datetime.now(UTC)
    await payer.decide(asked.prompts[0], "approve")
    states = [await phone.wait(lambda state: len(state.inbox) >= messages, WAIT_SECONDS) for phone in told]
    arrived = [state.inbox[-1].at for state in states if state]
    return (max(arrived) - approved).total_seconds() if len(arrived) == len(told) else WAIT_SECONDS


async def _refund(_scene: _Scene, payer: Caller) -> None:
    async for _ in send_money(payer, CANNOT_RECEIVE, "10", "Ama"):
        pass
    await _approved(payer, (payer,), messages=2)


async def _airtime(_scene: _Scene, payer: Caller) -> None:
    screen = await payer.dial(f"{CODE.removesuffix('#')}*4*1*1*5#")
    if not (await payer.press("1")).over:
        raise NoScreen(f"not the confirmation of airtime: {screen.text!r}")
    await _approved(payer, (payer,))


def _handset(scene: _Scene, msisdn: str) -> str:
    return f"{scene.stage.sandbox.url}/sandbox/handsets/{msisdn}"


KINDS: Mapping[str, Callable[[_Scene, Caller], Awaitable[object]]] = {
    "send money": _send, "send money, refunded": _refund, "airtime": _airtime,
}  # fmt: skip
