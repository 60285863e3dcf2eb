"""Dialogues as people hold them, beside the floor: menu hops, dials, whole dialogues, and strangers who register.

Ours and the floor are measured in turns, so that what else this machine does falls on both. A dialogue always begins
with its dial, in a session of its own, and ends by hanging up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import httpx2 as httpx
from redis.asyncio import Redis

from ussd_app import http
from ussd_app.bench.figures import Figure, at_most, of_floor, percentiles
from ussd_app.bench.phones import BACK, CODE, DIALOGUE, INTO, Caller, Crowd, all_at_once, enrol
from ussd_app.bench.stage import Process, Talking
from ussd_app.commands.demo import send_money

MENU_HOPS = 8  # of each phone, behind its dial
EARLY, LATE = 2, 20  # the hops compared; both go into the menu
MINIMUM_ROUNDS = 3

# What is wanted at least.
MENU_MIN, DIALOGUE_MIN, DIAL_CPU_MAX, DEPTH_MAX, BYTES_MAX, PLACING_CPU_MS_MAX = 1.2, 0.9, 2.5, 1.15, 1024, 3.0

Something = TypeVar("Something")
Way = Callable[[Caller], Awaitable[object]]


@dataclass
class Tally:
    """One server under one kind of load; rates are of each round."""

    server: Process
    callers: Sequence[Caller]
    hops: int = 0
    cpu_seconds: float = 0.0
    rates: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def round(self, way: Way, hops: int, before: Way | None = None) -> None:
        """All phones go this way at once, of so many hops each; what goes before it is not counted."""
        if before:
            await all_at_once(self.callers, before)
        for caller in self.callers:
            caller.waits.clear()
        cpu = self.server.cpu_seconds()
        seconds = await all_at_once(self.callers, way)
        self.cpu_seconds += self.server.cpu_seconds() - cpu
        self.hops += hops * len(self.callers)
        self.rates.append(hops * len(self.callers) / seconds)
        for caller in self.callers:
            self.waits += caller.waits

    @property
    def cpu_ms(self) -> float:
        """CPU of one hop in milliseconds."""
        return self.cpu_seconds / self.hops * 1000


async def measure(talking: Talking, seconds: float, phones: int, deep: int) -> list[Figure]:
    """All of them, each for ``seconds``."""
    async with http.client() as client:
        crowd = Crowd(client, talking.web.url, 1_000_000)
        known = crowd.strangers(phones)
        await enrol(talking.database, known)
        base = Crowd(client, talking.floor.url, 1_000_000).strangers(phones)
        pairs = _Pairs(talking.web, talking.floor, known, base, seconds)
        await pairs.run(Caller.dialogue, len(DIALOGUE) + 1, warm=True)
        menu = await pairs.run(_menus, MENU_HOPS, before=_dial)
        dialogue = await pairs.run(Caller.dialogue, len(DIALOGUE) + 1)
        dial = await pairs.run(_dial, 1)
        stranger = await _strangers(pairs, crowd)
        depth = await _depth(known[0], deep)
        for caller in (*known, *base):
            await caller.leave()
    counts = f"{phones} phones at once"
    return [
        of_floor("menu hop", menu[0].rates, menu[1].rates, MENU_MIN, counts),
        Figure("one menu hop", f"{percentiles(menu[0].waits, 99)}, {menu[0].cpu_ms:.2f} ms of CPU"
               f"; floor {percentiles(menu[1].waits, 99)}, {menu[1].cpu_ms:.2f} ms"),
        of_floor("dialogue of 4 hops with its dial, known person", dialogue[0].rates, dialogue[1].rates, DIALOGUE_MIN),
        of_floor("dialogue of 4 hops, stranger who registers", stranger[0].rates, stranger[1].rates, 0),
        of_floor("dial alone", dial[0].rates, dial[1].rates, 0),
        at_most("CPU of a dial against a menu hop", dial[0].cpu_ms / menu[0].cpu_ms, DIAL_CPU_MAX, " x",
                f"{dial[0].cpu_ms:.2f} ms"),
        depth,
    ]  # fmt: skip


@dataclass
class _Pairs:
    """Ours and the floor, measured in turns."""

    ours: Process
    floor: Process
    known: Sequence[Caller]
    base: Sequence[Caller]
    seconds: float

    async def run(self, way: Way, hops: int, *, before: Way | None = None, warm: bool = False) -> tuple[Tally, Tally]:
        """Rounds of both for twice the time, one of each at least."""
        mine, base = Tally(self.ours, self.known), Tally(self.floor, self.base)
        until = time.perf_counter() + 2 * self.seconds
        while len(mine.rates) < (1 if warm else MINIMUM_ROUNDS) or (not warm and time.perf_counter() < until):
            await mine.round(way, hops, before)
            await base.round(way, hops, before)
        return mine, base


async def _strangers(pairs: _Pairs, crowd: Crowd) -> tuple[Tally, Tally]:
    """Dial, language, name, and one menu behind it; each time by somebody new."""
    mine, base = Tally(pairs.ours, ()), Tally(pairs.floor, pairs.base)
    until = time.perf_counter() + 2 * pairs.seconds
    while len(mine.rates) < MINIMUM_ROUNDS or time.perf_counter() < until:
        mine.callers = crowd.strangers(len(pairs.base))
        await mine.round(_register, 4)
        await base.round(_register, 4)
        await all_at_once(mine.callers, Caller.leave)
    return mine, base


async def _dial(caller: Caller) -> None:
    await caller.dial(CODE)


async def _menus(caller: Caller) -> None:
    for number in range(MENU_HOPS):
        await caller.press(BACK if number % 2 else INTO)


async def _register(caller: Caller) -> None:
    await caller.register()
    await caller.press(INTO)


async def _depth(caller: Caller, count: int) -> Figure:
    """A late hop against an early one of the same dialogue, one at a time."""
    early, late = [], []
    for _ in range(count):
        await caller.dial(CODE)
        caller.waits.clear()
        for number in range(LATE - 1):
            await caller.press(BACK if number % 2 else INTO)
        early.append(caller.waits[EARLY - 2])
        late.append(caller.waits[LATE - 2])
    return at_most(f"hop {LATE} against hop {EARLY}", median(late) / median(early), DEPTH_MAX)


async def placing(talking: Talking, count: int, at_once: int) -> list[Figure]:
    """What send money's dialogue costs the web process, from the dial to "Now approve", and what it keeps in Redis."""
    web = talking.web
    async with http.client() as client:
        crowd = Crowd(client, web.url, 2_000_000, talking.sandbox.url)
        warm, payers = crowd.strangers(at_once), crowd.strangers(count)
        await enrol(talking.database, [*warm, *payers])
        await all_at_once(warm, _send_money)
        places, cpu = asyncio.Semaphore(at_once), web.cpu_seconds()

        async def place(caller: Caller) -> None:
            async with places:
                await _send_money(caller)

        await all_at_once(payers, place)
        cpu = (web.cpu_seconds() - cpu) / count * 1000
        kept = await _dialogue_bytes(talking.redis_url, client, web.url)
        await all_at_once([*warm, *payers], Caller.leave)
    hops = sum(len(caller.waits) for caller in payers) / count
    return [
        at_most("send money's dialogue: CPU of the web process", cpu, PLACING_CPU_MS_MAX, " ms", f"{hops:.0f} hops"),
        kept,
    ]


async def _send_money(caller: Caller) -> None:
    caller.waits.clear()
    async for _ in send_money(caller, f"23354{caller.msisdn[-7:]}", "10", "Ama"):
        pass


async def _dialogue_bytes(redis_url: str, client: httpx.AsyncClient, url: str) -> Figure:
    """What a dialogue takes in Redis, screen by screen, while money is sent."""
    memory, payer = [], Caller(client, url, "233249000000")
    async with Redis.from_url(redis_url) as redis:
        async for _ in send_money(payer, "233549000001", "10", "Ama"):
            (key,) = await redis.keys(f"ussd:*{payer.msisdn}*")
            memory.append(await redis.memory_usage(key, samples=0) or 0)
    await payer.leave()
    return at_most("live dialogue in Redis", median(memory), BYTES_MAX, " bytes", f"at most {max(memory)}")
