"""A promise outlives whoever made it: the web process dies by SIGKILL, PostgreSQL stops or dies, and it is kept."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import psycopg
import pytest
from edge import Edge
from sqlalchemy import text
from town import SERVE, Town, open_town

from ussd_app import embedded
from ussd_app.clock import Clock
from ussd_app.migrations import upgrade
from ussd_app.store import Store

pytestmark = pytest.mark.long

PROMISED = "END We will SMS you the result. Do not pay again."
PROMISES = "SELECT template, msisdn FROM messages WHERE key LIKE 'promise:%'"


class Stores:
    """A Redis and a PostgreSQL of this test's own, the second of which may stop, die and come back."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running = embedded.start(directory)
        self.again: embedded.Stores | None = None
        upgrade(self.running.database_url)

    @property
    def postmaster(self) -> int:
        """Its process."""
        return int((self.directory / "postgres" / "postmaster.pid").read_text().split()[0])

    def signal(self, number: signal.Signals) -> None:
        """To every process of it."""
        postmaster = self.postmaster
        os.kill(postmaster, number)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(path.read_text().rpartition(")")[2].split()[1]) == postmaster:
                    os.kill(int(path.parent.name), number)

    def lose(self, how: str) -> None:
        """Stop it or kill it; ``locked`` leaves it alone."""
        if how != "locked":
            self.signal(signal.SIGSTOP if how == "stopped" else signal.SIGKILL)

    def back(self, how: str) -> None:
        """It answers again."""
        if how == "stopped":
            self.signal(signal.SIGCONT)
        elif how == "killed":
            self.again = embedded.start(self.directory)


@pytest.fixture
def own() -> Iterator[Stores]:
    """Both, in a directory short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="ussd-"))
    stores = Stores(directory)
    yield stores
    with contextlib.suppress(OSError):
        stores.signal(signal.SIGCONT)
    if stores.again:
        stores.again.stop()
    stores.running.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def town(own: Stores) -> AsyncIterator[Town]:
    """The application on them, without a worker."""
    store = Store(own.running.database_url, Clock())
    async with open_town(store, own.running.database_url, own.running.redis_url) as town:
        yield town
    await store.close()


@pytest.mark.parametrize(
    ("how", "heir"),
    [("locked", "worker"), ("locked", "web"), ("stopped", None), ("killed", None), ("killed", "worker")],
)
async def test_a_promise_is_kept_by_whoever_is_left(town: Town, own: Stores, how: str, heir: str | None) -> None:
    """Placing hangs, and then the database or the web process that promised is gone, or both: one SMS, no order."""
    phone = Edge(town.http, town.url, "africastalking", "233240000331")
    await phone.enrol()
    await phone.confirm_screen()
    async with await psycopg.AsyncConnection.connect(own.running.conninfo) as other:
        # What places waits for the one, and whoever keeps a promise for the other.
        await other.execute("LOCK TABLE orders, promises IN SHARE MODE")
        pressed = asyncio.create_task(phone.press("1"))
        await asyncio.sleep(2)
        own.lose(how)
        assert phone.read(await pressed) == PROMISED
        if heir:
            town.processes[0].kill()
            town.processes[0].wait()
        await asyncio.to_thread(own.back, how)
        with contextlib.suppress(psycopg.OperationalError):
            await other.rollback()
    web = [sys.executable, *SERVE, "serve", "--port", str(urlsplit(town.url).port)]
    if heir == "worker":
        town.work()
    elif heir == "web":
        town.start(web)
    await town.until("SELECT count(*) > 0 FROM messages WHERE key LIKE 'promise:%'")
    if heir == "worker":
        town.start(web)
    assert "NOT carried out" in await dialled(phone)
    async with town.store.look() as connection:
        told = [tuple(row) for row in await connection.execute(text(PROMISES))]
        orders = (await connection.execute(text("SELECT count(*) FROM orders"))).scalar_one()
    assert told == [("promise_not_done", "+233240000331")]
    assert orders == 0
    assert phone.read(await phone.dial()).startswith("CON Akwaaba Ama\n")


async def dialled(phone: Edge) -> str:
    """The first screen, once the server answers."""
    for _ in range(900):
        with contextlib.suppress(httpx.HTTPError):
            return phone.read(await phone.dial())
        await asyncio.sleep(0.1)
    raise TimeoutError
