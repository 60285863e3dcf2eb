"""The stores, the time and the surroundings every test may ask for."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from ussd_app import embedded
from ussd_app.clock import Clock
from ussd_app.payments.schedule import Schedule
from ussd_app.store import Store

pytest_plugins = ["deadline"]

# What the machine needs to run at all; everything else is taken from a test's surroundings.
KEPT = re.compile(r"PATH|HOME|USER|LANG|LC_.*|TMPDIR|VIRTUAL_ENV|(PYTHON|PYTEST|COVERAGE|HYPOTHESIS).*")


class FakeClock(Clock):
    """Time that stands still until a test moves it; whoever sleeps moves it too."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """A Tuesday morning, and what has passed since."""
        return datetime(2031, 3, 4, 8, 0, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Seconds that have passed."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once, and the others run."""
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Move the time."""
        self.seconds += seconds


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests and fixtures run on asyncio, in one loop."""
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine, no ``.env`` and no proxy reaches a test."""
    for name in list(os.environ):
        if not KEPT.fullmatch(name):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only the test moves."""
    return FakeClock()


@pytest.fixture(scope="session")
def stores() -> Iterator[embedded.Stores]:
    """A Redis and a PostgreSQL for the whole run, in a directory short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="ussd-"))
    with embedded.start(directory) as stores:
        with psycopg.connect(stores.conninfo, autocommit=True) as connection:
            # Nobody pulls this machine's plug; what a killed process leaves behind is the same without.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET synchronous_commit = off")
            connection.execute("SELECT pg_reload_conf()")
        yield stores
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def redis_url(stores: embedded.Stores) -> str:
    """The embedded Redis, as a setting would name it."""
    return stores.redis_url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the embedded Redis, which is empty."""
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
        yield client


@pytest.fixture(scope="session")
def template(stores: embedded.Stores) -> str:
    """The name of a database with every migration applied and nothing in it."""
    from ussd_app.migrations import upgrade  # noqa: PLC0415 - tests without a database do not wait for alembic

    _administer(stores, "CREATE DATABASE template_ussd")
    upgrade(_database_url(stores, "template_ussd"))
    return "template_ussd"


@pytest.fixture
def schedule() -> Schedule:
    """When whole applications ask about payments: ten times as often as for people, who have days."""
    return Schedule(check_ages=(1, 2, 3, 5, 10), ask_every=timedelta(seconds=1))


@pytest.fixture
def database(stores: embedded.Stores, template: str) -> Iterator[str]:
    """The URL of a migrated, empty database of this test's own."""
    name = f"test_{uuid.uuid4().hex}"
    _administer(stores, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _database_url(stores, name)
    _administer(stores, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def store(database: str, clock: FakeClock) -> AsyncIterator[Store]:
    """A store on this test's own database."""
    store = Store(database, clock)
    yield store
    await store.close()


@pytest.fixture(scope="session")
def cluster_port() -> Iterator[int]:
    """The TCP port of a node that runs with ``cluster-enabled yes`` and owns every slot."""
    directory = Path(tempfile.mkdtemp(prefix="ussd-"))
    port, bus = _free_port(), _free_port()
    options = {"port": port, "cluster-port": bus, "bind": "127.0.0.1", "cluster-enabled": "yes", "save": ""}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen([embedded.redis_server(), *words], cwd=directory, stdout=subprocess.DEVNULL) as node:
        _until_cluster_is_ok(port)
        yield port
        node.terminate()
    shutil.rmtree(directory)


@pytest.fixture
async def cluster(cluster_port: int) -> AsyncIterator[RedisCluster]:
    """A cluster client of that node, which is empty."""
    async with RedisCluster(host="127.0.0.1", port=cluster_port) as client:
        await client.flushall(target_nodes=RedisCluster.PRIMARIES)
        yield client


def _administer(stores: embedded.Stores, statement: str) -> None:
    with psycopg.connect(stores.conninfo, autocommit=True) as connection:
        connection.execute(statement.encode())


def _database_url(stores: embedded.Stores, name: str) -> str:
    return stores.database_url.replace("/postgres?", f"/{name}?")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_cluster_is_ok(port: int) -> None:
    deadline = time.monotonic() + 10
    asked = b"CLUSTER ADDSLOTSRANGE 0 16383\r\nCLUSTER INFO\r\n"
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(asked)
            time.sleep(0.05)
            if b"cluster_state:ok" in connection.recv(4096):
                return
    raise TimeoutError("the cluster node did not come up")
