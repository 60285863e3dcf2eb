"""`ussd-app demo`: server, worker and sandbox in one process, and a journey played to whoever watches."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import uvicorn
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from ussd_app import http, ledger, worker
from ussd_app.app import Application
from ussd_app.commands import village
from ussd_app.commands.dial import FRAME_CHARS, framed, inbox
from ussd_app.commands.phone import NoScreen, Phone, Screen, State
from ussd_app.errors import ProviderError
from ussd_app.http import call
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES
from ussd_app.operators import Kind

READING_SECONDS = 0.7  # a screen stays, so that it can be followed
PROMPT_SECONDS = 20.0
SMS_SECONDS = 30.0
SCREENS_MAX = 15
NUMBERS = ("233240000001", "233240000002", "233240000003", "233240000004", "233240000005")

# What our float at the operator holds by our own ledger.
Float = Callable[[], Awaitable[Money]]


class _Server(uvicorn.Server):
    """Leaves signals to the demo, which ends the worker before the pools it works on."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(application: Application, port: int, *, stay: bool) -> int:
    """Start everything on 127.0.0.1, play the journey, and stay up if asked to; 0 where all went as it should."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    server = _Server(uvicorn.Config(application.web(), port=port, log_level="warning", access_log=False))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            return 1  # uvicorn has said why
        await asyncio.sleep(0.05)
    working = [asyncio.create_task(worker.run(application.jobs, signals=False))]
    if stay:
        working.append(asyncio.create_task(application.watch_menus()))
    try:
        url = f"http://127.0.0.1:{port}"
        well = await play(url, lambda: _our_float(application), code=application.settings.code)
        if stay and not told.is_set():
            await village.settle(application, NUMBERS)
            _invite(application.settings.service_code, url)
            await told.wait()
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        server.should_exit = True
        await serving
    return 0 if well else 1


def _invite(code: str, url: str) -> None:
    handsets = "\n".join(
        f"  {Path(sys.argv[0])} dial '{code}' --as {number} --url {url}   # {name}, {office}"
        for number, name, office in zip(NUMBERS, village.PEOPLE, ("chair", "secretary", "treasurer"), strict=False)
    )
    Console(highlight=False, soft_wrap=True).print(
        f"\nStill up at {url}; Ctrl-C ends it. Three handsets, each for a terminal of its own (PIN {village.PIN}):\n"
        f"{handsets}\n"
        f"They save together in {village.GROUP}: pay a round, ask for the payout, approve it from the other two.\n"
        f"Menus are reloaded while you edit them; docs/sandbox.md tells of the handsets at {url}/sandbox."
    )


async def play(
    url: str,
    our_float: Float,
    *,
    code: str = "920*55",
    payer: str = "233240000001",
    recipient: str = "233240000002",
    amount: str = "50",
    operator: str = "mtn_momo",
    reading_seconds: float = READING_SECONDS,
) -> bool:
    """Send money and show it; whether all of it arrived and the sandbox's books moved as our ledger did.

    Raises NoScreen where the server is away.
    """
    console = Console(highlight=False)
    async with http.client() as client:
        sender, receiver = (Phone(client, url, number, code=code) for number in (payer, recipient))
        ours = await our_float()
        theirs = await _their_float(client, url, operator, ours.currency)
        console.rule(f"{payer} dials *{code}# and sends {amount} to {recipient}")
        async for typed, screen in send_money(sender, recipient, amount, "Ama"):
            console.print(Text(f"> {typed}", style="bold"))
            console.print(framed(screen, sender))
            await asyncio.sleep(reading_seconds)
        arrived = await _approve(console, sender, receiver)
        ours = await our_float() - ours
        theirs = await _their_float(client, url, operator, ours.currency) - theirs
    console.print(f"What {operator} holds for us grew by {theirs} in the sandbox's books, by {ours} in our ledger.")
    console.print("They agree." if ours == theirs else "THEY DIFFER.", style="green" if ours == theirs else "red")
    return arrived and ours == theirs


async def send_money(phone: Phone, recipient: str, amount: str, name: str) -> AsyncIterator[tuple[str, Screen]]:
    """Each key and the screen it brings, to the END; whoever is not registered yet does so on the way."""
    # What a person answers to the words they see; anything else on the way is left by its last choice.
    answers = (
        (r"^You had not finished", "2"),
        (r"^Language", "1"),
        (r"your name", name),
        (r"^Send money\n", recipient),
        (r"^Amount", amount),
        (r"^Send .* to ", "1"),
        (r"^3\b.*Send money", "3"),
        (r"^2\b", "2"),
    )
    typed = f"*{phone.code}#"
    screen = await phone.dial(typed)
    yield typed, screen
    for _ in range(SCREENS_MAX):
        if screen.over:
            return
        typed = next((answer for words, answer in answers if re.search(words, screen.text, re.MULTILINE)), "0")
        screen = await phone.press(typed)
        yield typed, screen
    raise NoScreen(f"not one of the journey's screens: {screen.text!r}")


async def _approve(console: Console, sender: Phone, receiver: Phone) -> bool:
    """Say yes to the operator, and show what both are told."""
    before = [await phone.look() for phone in (sender, receiver)]
    read = [len(state.inbox) if state else 0 for state in before]
    asked = await sender.wait(lambda state: bool(state.prompts), PROMPT_SECONDS)
    if asked is None:
        console.print("No prompt came from the operator: is a worker running?", style="red")
        return False
    prompt = asked.prompts[-1]
    question = f"{prompt.message}\nPay {prompt.amount}?"
    console.print(Panel(Text(question.lstrip()), title=f"{prompt.operator} asks", width=FRAME_CHARS, style="yellow"))
    console.print(Text("> approve", style="bold"))
    await sender.decide(prompt, "approve")
    told = await asyncio.gather(*(_next_sms(phone, seen) for phone, seen in zip((sender, receiver), read, strict=True)))
    for phone, state in zip((sender, receiver), told, strict=True):
        console.print(f"{phone.msisdn}:")
        console.print(inbox(state) if state else Text("no SMS came", style="red"))
    return all(told)


async def _next_sms(phone: Phone, seen: int) -> State | None:
    return await phone.wait(lambda state: len(state.inbox) > seen, SMS_SECONDS)


async def _our_float(application: Application) -> Money:
    """What our ledger says the first operator holds for us."""
    name, operator = next(iter(application.operators.items()))
    currency = CURRENCIES[application.settings.country]
    async with application.engine.connect() as connection:
        account = ledger.float_account(name, Kind.COLLECTION, shared=operator.one_float)
        sums = await ledger.sums(connection, account, currency)
    return Money(sums.debits_posted - sums.credits_posted, currency)


async def _their_float(client: httpx.AsyncClient, url: str, operator: str, currency: str) -> Money:
    """What the operator holds for us by its own books."""
    try:
        books = (await call(client, "GET", f"{url}/sandbox/books")).json()
    except ProviderError as error:
        raise NoScreen(f"no answer from {url}: {error}") from error
    if not isinstance(books, dict):
        raise NoScreen(f"no sandbox at {url}: set SANDBOX=1")
    return Money.of(books["operators"][operator]["balances"][currency], currency)
