"""`ussd-app demo`: server, worker and sandbox in one process, and a journey played to whoever watches."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2 as httpx
import uvicorn
from phonenumbers import (
    PhoneNumberType,
    country_code_for_region,
    example_number_for_type,
    national_significant_number,
)
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from ussd_app import app, http, log, migrations, sandbox, worker
from ussd_app.app import Application
from ussd_app.clock import Clock
from ussd_app.commands import alone, village
from ussd_app.commands.dial import FRAME_CHARS, framed, inbox
from ussd_app.commands.phone import NoScreen, Phone, Screen, State
from ussd_app.config import Settings, SettingsError, load
from ussd_app.errors import ProviderError
from ussd_app.http import call
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import CURRENCIES, InvalidMsisdn, parse
from ussd_app.payments import floats

# Of its own: what `serve` and `work` keep in .data where no stores are named is a real installation's.
DATA_DIR = Path(".data", "demo")
MOBILE = PhoneNumberType.MOBILE
READING_SECONDS = 0.7  # a screen stays, so that it can be followed
PROMPT_SECONDS = 20.0
SMS_SECONDS = 30.0
SCREENS_MAX = 15
PEOPLE = len(village.PEOPLE)
PART_OF_LIMIT = 40  # what is sent, and what a share of the village's group is: so much less than one payment may be
PAYOUTS = 100  # of the largest amount: what each float begins with where money crosses from one operator to another

# What our floats hold by our own ledger, together.
Float = Callable[[], Awaitable[Money]]


class _Server(uvicorn.Server):
    """Leaves signals to the demo, which ends the worker before the pools it works on."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def environment(country: str, port: int, directory: Path, stores: alone.Stores | None) -> dict[str, str]:
    """Every setting of a demo but its operators' credentials, which the sandbox makes; ``stores`` are not its own."""
    given = {
        "COUNTRY": country, "PUBLIC_URL": f"http://127.0.0.1:{port}", "SANDBOX": "1", "LOG_LEVEL": "WARNING",
        "DATA_DIR": str(directory.resolve()), "MENUS_DIR": str(app.menus_dir().resolve()),
    }  # fmt: skip
    named = {"DATABASE_URL": stores.database_url, "REDIS_URL": stores.redis_url} if stores else {}
    return given | {name: url for name, url in named.items() if url}


def start(port: int, *, stay: bool) -> int:
    """Run in stores that no real system uses; the settings are those of ``environment``."""
    # The sandbox makes a key of its own at the start, which both its halves have to know.
    os.environ.update(sandbox.environment(load(Settings)))
    settings, stores = app.with_stores(load(Settings))
    log.configure(settings.log_level)
    try:
        database, redis = (url.get_secret_value() if url else "" for url in (settings.database_url, settings.redis_url))
        database = app.sqlalchemy_url(database)
        alone.refuse_used(database, redis)
        migrations.upgrade(database)
        alone.mark(database, redis, Clock().now())
        return asyncio.run(run(Application(settings), port, stay=stay))
    finally:
        if stores:
            stores.stop()


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
        url, numbers, amount = f"http://127.0.0.1:{port}", handsets(application), _amount(application)
        await _fund(application, url)
        well = await play(
            url, lambda: _our_float(application), numbers[0], numbers[1], amount.plain, code=application.settings.code
        )
        if stay and not told.is_set():
            await village.settle(application, numbers, amount)
            _invite(application.settings.service_code, url, numbers)
            await told.wait()
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        server.should_exit = True
        await serving
    return 0 if well else 1


def handsets(application: Application) -> list[str]:
    """Five numbers of the country: the first operator's second, the last one's all others, so that money may cross."""
    country, operators = application.settings.country, list(application.operators.values())
    networks = [operators[0 if number == 1 else -1].countries[country] for number in range(PEOPLE)]
    return [_number(country, network, each) for each, network in enumerate(networks, start=1)]


def _number(country: str, network: str, last: int) -> str:
    """The first number that such a network could have given out, but for its last digits."""
    code, example = country_code_for_region(country), example_number_for_type(country, MOBILE)
    digits = len(national_significant_number(example)) if example else 0
    for length in (2, 3, 4):
        for prefix in sorted((f"{each:0{length}d}" for each in range(10**length)), key=lambda text: (text < "2", text)):
            with suppress(InvalidMsisdn):
                msisdn = parse(f"+{code}{prefix}{last:0{digits - length}d}", country)
                if msisdn.network == network:
                    return msisdn.digits
    raise SettingsError(f"no number of {network} in {country} could be made up")


def _amount(application: Application) -> Money:
    settings = application.settings
    return Money.of(settings.payment_limit // PART_OF_LIMIT, CURRENCIES[settings.country])


async def _fund(application: Application, url: str) -> None:
    """Let our ledger and the sandbox's books begin equal, and with enough to pay out where money crosses."""
    paying, settings = application.payments, application.settings
    currency, wanted = (
        CURRENCIES[settings.country],
        Money.of(settings.payment_limit * PAYOUTS, CURRENCIES[settings.country]),
    )
    held: dict[str, dict[str, str]] = {}
    for name in application.operators if len(application.operators) > 1 else ():
        account = paying.float_account(name, Kind.DISBURSEMENT)
        async with application.store.work() as connection:
            lacking = wanted - await floats.available(connection, account, currency)
            if lacking.minor > 0:
                await floats.put(connection, account, lacking, note="the demo's bank", at=application.clock.now())
            held[name] = {currency: (await floats.available(connection, account, currency)).plain}
    async with http.client() as client:
        await call(client, "PUT", f"{url}/sandbox/books", json=held)


def _invite(code: str, url: str, numbers: list[str]) -> None:
    handsets = "\n".join(
        f"  {Path(sys.argv[0])} dial '{code}' --as {number} --url {url}   # {name}, {office}"
        for number, name, office in zip(numbers, village.PEOPLE, ("chair", "secretary", "treasurer"), strict=False)
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
    payer: str,
    recipient: str,
    amount: str,
    *,
    code: str = "920*55",
    reading_seconds: float = READING_SECONDS,
) -> bool:
    """Send money and show it; whether all of it arrived and the sandbox's books moved as our ledger did.

    Raises NoScreen where the server is away.
    """
    console = Console(highlight=False)
    async with http.client() as client:
        sender, receiver = (Phone(client, url, number, code=code) for number in (payer, recipient))
        ours = await our_float()
        theirs = await _their_float(client, url, ours.currency)
        console.rule(f"{payer} dials *{code}# and sends {amount} to {recipient}")
        async for typed, screen in send_money(sender, recipient, amount, "Ama"):
            console.print(Text(f"> {typed}", style="bold"))
            console.print(framed(screen, sender))
            await asyncio.sleep(reading_seconds)
        arrived = await _approve(console, sender, receiver)
        ours = await our_float() - ours
        theirs = await _their_float(client, url, ours.currency) - theirs
    console.print(f"What operators hold for us grew by {theirs} in the sandbox's books, by {ours} in our ledger.")
    console.print("They agree." if ours == theirs else "THEY DIFFER.", style="green" if ours == theirs else "red")
    return arrived and ours == theirs


async def send_money(phone: Phone, recipient: str, amount: str, name: str) -> AsyncIterator[tuple[str, Screen]]:
    """Each key and the screen it brings, to the END; whoever is not registered yet does so on the way."""
    # What a person answers to the words they see; anything else on the way is left by its last choice.
    answers = (
        (r"^You had not finished", "2"),
        (r"^You asked to send", "1"),  # whoever plays a demo twice does mean it twice
        (r"^Language", "1"),
        (r"your name", name),
        (r"^Send money\n", recipient),
        (r"^Amount", amount.removesuffix(".00")),
        (r"^1 Confirm$", "1"),
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
    """What our ledger says all operators hold for us."""
    currency = CURRENCIES[application.settings.country]
    async with application.store.look() as connection:
        shown = await floats.show(connection, application.payments, currency)
    return sum((each.held for each in shown), Money(0, currency))


async def _their_float(client: httpx.AsyncClient, url: str, currency: str) -> Money:
    """What the operators hold for us by their own books."""
    try:
        books = (await call(client, "GET", f"{url}/sandbox/books")).json()
    except ProviderError as error:
        raise NoScreen(f"no answer from {url}: {error}") from error
    if not isinstance(books, dict):
        raise NoScreen(f"no sandbox at {url}: set SANDBOX=1")
    held = (Money.of(each["balances"][currency], currency) for each in books["operators"].values())
    return sum(held, Money(0, currency))
