"""Journeys through the whole application: menus, money and SMS over real HTTP, against the sandbox."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from journey import Live, play
from later import LaterClock, keep, move, settle
from redis.asyncio import Redis
from script import HOME, country, only_once, only_talk

from ussd_app import ledger, menus, worker
from ussd_app.app import Application
from ussd_app.commands import treasury
from ussd_app.config import Settings, load
from ussd_app.deliveries import voucher_sms
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.msisdn import CURRENCIES
from ussd_app.payments import floats
from ussd_app.payments.decisions import Decision
from ussd_app.payments.schedule import Schedule
from ussd_app.sandbox import environment
from ussd_app.seals import Seals

MENUS = Path(__file__).parents[1] / "menus"
# Those that are only talk are played on services in memory (test_dialogues.py), which is quicker.
JOURNEYS = [path for path in sorted((Path(__file__).parent / "journeys").glob("*.txt")) if not only_talk(path)]
load_menus = cache(menus.load)  # it takes a second or two, and nobody edits them meanwhile
EVERY_SECOND = "* * * * * *"


class Doubled(Live):
    """An aggregator that sends every hop twice at once."""

    async def _hop(self, **body: Any) -> str:  # noqa: ANN401 - httpx's own
        first, second = await asyncio.gather(super()._hop(**body), super()._hop(**body))
        assert first == second
        return first


# Played with every hop doubled in `make test`; the others that are not long, in `make test-long`.
TWICE = {
    "send_money", "redial", "refunded", "callback_first", "create_group", "ke_send", "ug_send",
}  # fmt: skip
# The slowest whose steps others take too are played in `make test-long` alone.
SLOW = {"cycle", "sim_asked", "ug_paid_late", "ug_late_success", "ke_late_success"}


def played(path: Path, world: type[Live], *marks: pytest.MarkDecorator) -> Any:  # noqa: ANN401 - pytest names no type
    """A journey in its country, as test_journey takes it."""
    return pytest.param(country(path), path, world, marks=marks, id=f"{path.stem}-{world.__name__}")


PLAYED = [
    *(played(path, Live, *([pytest.mark.long] if path.stem in SLOW else [])) for path in JOURNEYS),
    *(
        played(path, Doubled, *([] if path.stem in TWICE else [pytest.mark.long]))
        for path in JOURNEYS
        if not only_once(path)
    ),
]


def surroundings(where: str, database: str, redis_url: str) -> tuple[int, dict[str, str]]:
    """A free port, and the variables of an application of that country at it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    return port, {
        **environment(Settings(public_url=url, country=where)),
        "PUBLIC_URL": url,
        "COUNTRY": where,
        "SANDBOX": "1",
        "SECRET_KEYS": "of the tests",
        "REDIS_URL": redis_url,
        "DATABASE_URL": database.replace("+psycopg", ""),
        "MENUS_DIR": str(MENUS),
    }


@pytest.fixture
async def application(
    request: pytest.FixtureRequest, database: str, redis_url: str, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Application]:
    """Server, sandbox and worker in this process, at a port of their own, in the country of its parameter."""
    port, variables = surroundings(getattr(request, "param", HOME), database, redis_url)
    given = {
        **variables,
        "PROMPT_DELAY_MS": "50",
        "MTN_REPEAT_WINDOW_MS": "200",
        "SANDBOX_MTN_RECEIPT_SECONDS": "0",
        "SIM_CHECKS": "africastalking",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    later = LaterClock()
    # Notices and reminders wait for a worker that looks.
    application = Application(load(Settings), later, read_menus=load_menus, schedule=schedule, tend=EVERY_SECOND)
    await keep(application.store, later)
    async with served(application, port):
        seals = Seals(application.settings.secret_keys, voucher_sms.PURPOSE)
        await voucher_sms.stock(application.store, seals, "wifi-day", ["user ama7 pass 4711"], later.now())
        yield application


@asynccontextmanager
async def served(application: Application, port: int, *, works: bool = True) -> AsyncIterator[None]:
    """Web, and a worker where one is wanted, to the end of the block."""
    config = uvicorn.Config(application.web(), port=port, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    working = [asyncio.create_task(worker.run(application.jobs, signals=False))] if works else []
    try:
        yield
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        server.should_exit = True
        await serving


async def balance(application: Application, account: str) -> Decimal:
    """Debits less credits of ``name:currency``, in major units."""
    name, currency = account.rsplit(":", 1)
    async with application.store.look() as connection:
        sums = await ledger.sums(connection, name, currency)
    return Money(sums.debits_posted - sums.credits_posted, currency).decimal


async def agree(application: Application, http: httpx.AsyncClient) -> None:
    """Every operator's books say what our ledger does, and nothing in it is out of balance."""
    currency, paying = CURRENCIES[application.settings.country], application.payments
    books = (await http.get(f"{application.settings.public_url}/sandbox/books")).json()["operators"]
    for name in application.operators:
        ours = {paying.float_account(name, kind) for kind in (Kind.COLLECTION, Kind.DISBURSEMENT)}
        held = [await balance(application, f"{account}:{currency}") for account in ours]
        assert Decimal(books[name]["balances"].get(currency, "0")) == sum(held), name
    async with application.store.look() as connection:
        assert set((await ledger.imbalance(connection)).values()) <= {0}


def phones(application: Application, redis: Redis, http: httpx.AsyncClient, world: type[Live] = Live) -> Live:
    """The handsets of the application's country, to which the ledger, the time and the floats are within reach."""
    later, settings = application.clock, application.settings
    assert isinstance(later, LaterClock)

    async def advance(by: timedelta) -> None:
        await move(application.store, redis, later, by)
        await settle(application.store, later)

    async def fund(operator: str, amount: Decimal) -> None:
        account, money = application.payments.float_account(operator, Kind.DISBURSEMENT), CURRENCIES[settings.country]
        async with application.store.work() as connection:
            await floats.put(connection, account, Money.of(amount, money), note="a bank", at=later.now())

    async def decide(code: str, receipt: str | None) -> None:
        async with application.store.look() as connection:
            row = await treasury.named(connection, code)
        assert await application.orders.decide(row["id"], Decision("a treasurer", receipt)) is None

    return world(
        http, settings.public_url, ledger=lambda account: balance(application, account), advance=advance,
        fund=fund, country=settings.country, decide=decide,
    )  # fmt: skip


@pytest.mark.parametrize(("application", "path", "world"), PLAYED, indirect=["application"])
async def test_journey(application: Application, redis: Redis, path: Path, world: type[Live]) -> None:
    """As written, once; and with every hop sent twice, unless it is long."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        await play(path, phones(application, redis, http, world))
        await agree(application, http)
