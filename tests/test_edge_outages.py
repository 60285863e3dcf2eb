"""Stores that go away at the worst moment, against the whole application over real HTTP."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import httpx2 as httpx
import pytest
from edge import FORMATS, Edge, count
from redis.asyncio import Redis
from sqlalchemy import text
from test_journeys import application  # noqa: F401 - a fixture

from ussd_app import embedded
from ussd_app.app import Application

# A store that is silent costs real seconds of waiting; one that is cut is known at once.
HOWS = ["cut", pytest.param("silent", marks=pytest.mark.long)]

PAYERS = {name: f"23324000020{number}" for number, name in enumerate(FORMATS)}
BUSY = "Sorry, we are busy. Nothing was charged. Please dial again."
WE_WILL_SMS = "We will SMS you the result. Do not pay again."
FAILED = "Sorry, that did not work. Please dial again."


@dataclass
class Trap:
    """What happens when the connection that wrote an order sends its COMMIT."""

    spring: Callable[[], Awaitable[None]]
    carried: bool  # whether the COMMIT has gone on by then, so that its answer alone may be lost


@dataclass
class Wire:
    """A line to a store that can be cut (connections drop, new ones are refused) or go silent."""

    path: str  # of the store's socket
    address: str
    silent: bool = False
    trap: Trap | None = None
    server: asyncio.Server | None = None
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def sprung(self) -> bool:
        """Whether no trap is set any more."""
        return self.trap is None

    async def mend(self) -> None:
        """Carry bytes again."""
        self.silent = False
        if self.server is None:
            self.server = await asyncio.start_unix_server(self._carry, self.address)

    async def cut(self) -> None:
        """As if the store had been killed."""
        if self.server:
            self.server.close()
            self.server = None
        for writer in list(self.open):
            writer.transport.abort()

    @asynccontextmanager
    async def away(self, how: str) -> AsyncIterator[None]:
        """Cut or silent for a while, and back."""
        await self.lose(how)
        try:
            yield
        finally:
            await self.cut()
            await self.mend()

    async def lose(self, how: str) -> None:
        """Cut it, or let it hold its peace."""
        if how == "cut":
            await self.cut()
        else:
            self.silent = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self.path)
        self.open |= {writer, far_writer}
        await asyncio.gather(self._send(reader, far_writer), self._copy(far_reader, writer))
        self.open -= {writer, far_writer}

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what the application says, and spring the trap at an order's commit."""
        order = False
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                order = order or b"INSERT INTO orders" in data
                trap = self.trap if order and b"COMMIT" in data else None
                if trap is None or trap.carried:
                    await self._write(writer, data)
                if trap:
                    self.trap = None
                    await trap.spring()
                    if not trap.carried:
                        await self._write(writer, data)
        writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._write(writer, data)
        writer.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self.silent:
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def redis_wire(stores: embedded.Stores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    """The line to Redis, which is empty."""
    path = urlsplit(stores.redis_url).path
    async with Redis.from_url(stores.redis_url) as client:
        await client.flushall()
    wire = Wire(path, str(tmp_path_factory.mktemp("w") / "r"))
    await wire.mend()
    yield wire
    await wire.cut()


@pytest.fixture
def redis_url(redis_wire: Wire) -> str:
    """Redis at the other end of the line."""
    return f"unix://{redis_wire.address}"


@pytest.fixture(params=FORMATS)
async def phone(request: pytest.FixtureRequest, application: Application) -> AsyncIterator[Edge]:
    """A handset in each format."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        yield Edge(http, application.settings.public_url, request.param, PAYERS[request.param])


@pytest.mark.parametrize("how", HOWS)
async def test_redis_away_is_busy_at_once_and_back_is_well(phone: Edge, redis_wire: Wire, how: str) -> None:
    """END within two seconds, well-formed; when Redis is back the next dial works."""
    await phone.enrol()
    await phone.dial()
    async with redis_wire.away(how):
        started = time.monotonic()
        assert phone.read(await phone.press("3")) == f"END {BUSY}"
        assert time.monotonic() - started < 2
        assert phone.read(await phone.dial()) == f"END {BUSY}"
        assert time.monotonic() - started < 4
    assert "Akwaaba" in phone.read(await phone.dial())


@pytest.mark.long
@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_redis_away_after_placing_says_do_not_pay_again(
    phone: Edge, application: Application, redis_wire: Wire, postgres_wire: Wire, how: str
) -> None:
    """Redis goes between the order's commit and the hop's: one order, and no word of nothing having been charged."""
    await phone.enrol()
    await phone.confirm_screen()
    postgres_wire.trap = Trap(lambda: redis_wire.lose(how), carried=False)
    started = time.monotonic()
    assert phone.read(await phone.press("1")) == f"END {WE_WILL_SMS}"
    assert time.monotonic() - started < 5
    assert postgres_wire.sprung
    assert await count(application, "orders") == 1
    await redis_wire.cut()
    await redis_wire.mend()
    # The aggregator repeats what it sent, and the person dials again: still one order, and the screen says it waits.
    await phone.again()
    assert await count(application, "orders") == 1
    assert "Do not pay again" in phone.read(await phone.dial())
    assert await count(application, "orders") == 1


@pytest.mark.long
@pytest.mark.parametrize("entries", [(), ("3",), ("3", "0240000002"), ("3", "0240000002", "50")])
async def test_flushed_redis_restarts_politely_and_charges_nobody(
    phone: Edge,
    application: Application,
    stores: embedded.Stores,
    entries: tuple[str, ...],
) -> None:
    """At each screen of send money: whatever is typed next, no order comes without a new confirmation."""
    await phone.enrol()
    await phone.dial()
    for entry in entries:
        phone.read(await phone.press(entry))
    async with Redis.from_url(stores.redis_url) as client:
        await client.flushall()
    for entry in ("1", "1"):
        started = time.monotonic()
        shown = phone.read(await phone.press(entry))
        assert time.monotonic() - started < 1
        if "1 Confirm" in shown:
            break
        async with Redis.from_url(stores.redis_url) as client:
            await client.flushall()
    assert await count(application, "orders") == 0


async def test_flushed_while_placing_is_one_order(
    phone: Edge, application: Application, stores: embedded.Stores, postgres_wire: Wire
) -> None:
    """Redis is emptied between begin and commit of the confirming hop, and copies of it follow."""
    await phone.enrol()
    await phone.confirm_screen()

    async def flush() -> None:
        async with Redis.from_url(stores.redis_url) as client:
            await client.flushall()

    postgres_wire.trap = Trap(flush, carried=False)
    assert phone.read(await phone.press("1")) == f"END {WE_WILL_SMS}"
    assert postgres_wire.sprung
    for _ in range(3):
        assert "END Now approve" not in phone.read(await phone.again())
    assert await count(application, "orders") == 1


# Postgres


@pytest.fixture
async def postgres_wire(stores: embedded.Stores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    """The line to PostgreSQL."""
    directory = parse_qs(urlsplit(stores.database_url).query)["host"][0]
    wire = Wire(f"{directory}/.s.PGSQL.5432", str(tmp_path_factory.mktemp("w") / ".s.PGSQL.5432"))
    await wire.mend()
    yield wire
    await wire.cut()


@pytest.fixture
def database(database: str, postgres_wire: Wire) -> str:
    """This test's database at the other end of the line."""
    near, far = (path.rpartition("/")[0] for path in (postgres_wire.path, postgres_wire.address))
    return database.replace(quote(near, safe=""), quote(far, safe=""))


@pytest.mark.long
@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_postgres_away_ends_hops_well_formed(
    phone: Edge,
    application: Application,
    postgres_wire: Wire,
    how: str,
) -> None:
    """A hop that needs it ends in time and in its format, and once it is back the next dial works."""
    await phone.enrol()
    await phone.confirm_screen()
    async with postgres_wire.away(how):
        assert phone.read(await _timed(phone.press("1"))) in {f"END {WE_WILL_SMS}", f"END {FAILED}"}
        assert (await phone.http.get(f"{phone.url}/ready")).json() == {"redis": "ok", "postgres": "away"}
        assert phone.read(await _timed(phone.dial())) == f"END {FAILED}"
    assert await count(application, "orders") <= 1
    assert phone.read(await phone.dial()).startswith("CON ")


async def _timed(answer: Awaitable[httpx.Response]) -> httpx.Response:
    async with asyncio.timeout(8):
        return await answer


@pytest.mark.parametrize("how", HOWS)
async def test_postgres_away_stores_no_callback(
    application: Application,
    postgres_wire: Wire,
    how: str,
) -> None:
    """Callbacks and reports are not answered 2xx, and in time; both are stored once it is back."""
    addresses = application.callback_url("mtn_momo", f"collection/{uuid4()}"), application.report_urls["mtn"]
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        await asyncio.gather(*(http.post(address, json={}) for address in addresses))
        async with postgres_wire.away(how):
            refused = await asyncio.gather(*(_timed(http.post(address, json={})) for address in addresses))
            assert [answer.status_code for answer in refused] == [503, 503]
        for address in addresses:
            assert (await http.post(address, json={})).status_code == 200
    assert [await count(application, table) for table in ("callbacks", "reports")] == [2, 2]


@pytest.mark.parametrize("carried", [True, False], ids=["committed", "not_committed"])
@pytest.mark.parametrize("how", HOWS)
async def test_postgres_lost_at_the_very_commit_says_do_not_pay_again(
    phone: Edge, application: Application, postgres_wire: Wire, how: str, *, carried: bool
) -> None:
    """Whether the commit came through nobody knows: the words must fit both, and a copy must not place again."""
    await phone.enrol()
    await phone.confirm_screen()
    postgres_wire.trap = Trap(lambda: postgres_wire.lose(how), carried=carried)
    try:
        assert phone.read(await _timed(phone.press("1"))) == f"END {WE_WILL_SMS}"
        assert postgres_wire.sprung
    finally:
        await postgres_wire.cut()
        await postgres_wire.mend()
    assert phone.read(await phone.again()) == f"END {WE_WILL_SMS}"
    assert await count(application, "orders") == carried


async def test_placing_that_hangs_says_do_not_pay_again(phone: Edge, application: Application) -> None:
    """Somebody else's statement holds up the order's own: the reply does not wait for it, and a copy says the same."""
    await phone.enrol()
    await phone.confirm_screen()
    async with application.store.work() as other:
        await other.execute(text("LOCK TABLE orders IN EXCLUSIVE MODE"))  # which may be read, and not written
        assert phone.read(await _timed(phone.press("1"))) == f"END {WE_WILL_SMS}"
        assert phone.read(await _timed(phone.again())) == f"END {WE_WILL_SMS}"
    assert await count(application, "orders") <= 1
