"""A crowd: so many phones in one second, and what each of them met."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from ussd_app import http
from ussd_app.bench.figures import Figure, percentiles
from ussd_app.bench.phones import CODE, DIALOGUE, Caller, Crowd, enrol
from ussd_app.bench.stage import Talking
from ussd_app.commands.demo import send_money
from ussd_app.commands.phone import NoScreen

SENDERS, DIALLERS = 200, 1_000
LATE_SECONDS = 5.0  # what an aggregator waits for
BUSY = "we are busy"  # of menus/main.toml
BUSY_SHARE_MAX = 0.1

Way = Callable[[Caller], Awaitable[bool]]


async def measure(talking: Talking, senders: int = SENDERS, diallers: int = DIALLERS) -> list[Figure]:
    """Strangers who register and send money at once, and known people who dial and press three times."""
    async with http.client() as client:
        crowd = Crowd(client, talking.web.url, 4_000_000, talking.sandbox.url)
        before = talking.web.resident_megabytes()
        sending = await _all(f"{senders} strangers at once register and send money", crowd.strangers(senders), _send)
        known = crowd.strangers(diallers)
        await enrol(talking.database, known)
        dialling = await _all(f"{diallers} phones dial in one second, three presses", known, _menus, spread=1.0)
        grown = talking.web.resident_megabytes() - before
    return [sending, dialling, Figure("memory of the web process, grown by both crowds", f"{grown:.0f} MB")]


async def _all(what: str, callers: Sequence[Caller], way: Way, spread: float = 0.0) -> Figure:
    """Each begins within ``spread`` seconds; how many were answered wrongly, late, or with "busy"."""
    met: Counter[str] = Counter()

    async def one(number: int, caller: Caller) -> None:
        await asyncio.sleep(spread * number / len(callers))
        try:
            right = await way(caller)
        except NoScreen as failure:
            met["busy" if BUSY in str(failure) else "wrong"] += 1
        else:
            met["wrong"] += not right
        met["late"] += any(wait > LATE_SECONDS for wait in caller.waits)
        await caller.leave()

    started = time.perf_counter()
    await asyncio.gather(*(one(number, caller) for number, caller in enumerate(callers)))
    seconds = time.perf_counter() - started
    waits = [wait for caller in callers for wait in caller.waits]
    measured = (
        f"{met['wrong']} wrong, {met['late']} over {LATE_SECONDS:g} s, {met['busy']} busy; "
        f"{percentiles(waits, 99)}, {seconds:.1f} s in all"
    )
    missed = bool(met["wrong"] or met["late"]) or met["busy"] > BUSY_SHARE_MAX * len(callers)
    return Figure(what, measured, f"0 wrong, 0 late, busy <= {BUSY_SHARE_MAX:.0%}", missed)


async def _send(caller: Caller) -> bool:
    text = ""
    async for _, screen in send_money(caller, f"23354{caller.msisdn[-7:]}", "10", "Ama"):
        text = screen.text
        if BUSY in text:
            raise NoScreen(text)
    return text.startswith("Now approve")


async def _menus(caller: Caller) -> bool:
    screen = await caller.dial(CODE)
    for key in DIALOGUE:
        if screen.over:
            raise NoScreen(screen.text)
        screen = await caller.press(key)
    return not screen.over and "My account" in screen.text
