"""What the bench measures: stores, web, worker, sandbox and floor, each a process of its own on 127.0.0.1."""

import math
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from ussd_app import app, embedded, migrations, sandbox
from ussd_app.config import Settings, load

START_SECONDS = 60.0  # of one process, on a machine that does other things too
STOP_SECONDS = 30.0
LIMITLESS = 1_000_000  # of what a person may pay: the bench's phones do nothing else


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the stage; ``port`` is 0 where it serves nothing."""

    pid: int
    port: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """User and system time it has used; nan where the machine has no /proc."""
        return _cpu_seconds(Path(f"/proc/{self.pid}/stat"))

    def resident_megabytes(self) -> float:
        """Memory it holds now; nan where the machine has no /proc."""
        status = Path(f"/proc/{self.pid}/statm")
        if not status.exists():
            return math.nan
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True, slots=True)
class Postgres:
    """The database server: all its processes together."""

    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of all connections, those that are closed too; nan where the machine has no /proc."""
        own = Path(f"/proc/{self.pid}/stat")
        if not own.exists():
            return math.nan
        seconds = _cpu_seconds(own, children=True)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.pid:
                    seconds += _cpu_seconds(stat)
            except (OSError, ValueError):
                continue  # it has ended meanwhile
        return seconds


@dataclass
class Stage:
    """Stores, and processes around one database each."""

    directory: Path
    stores: embedded.Stores
    _port: int = field(default_factory=free_port)
    _sandbox_port: int = field(default_factory=free_port)

    @property
    def postgres(self) -> Postgres:
        """The database server."""
        return Postgres(self.stores.postgres_pid)

    def database(self, name: str) -> str:
        """The URL of a new database with every migration applied."""
        named = f"bench_{name}_{uuid4().hex[:8]}"
        with psycopg.connect(self.stores.conninfo, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(named), sql.Identifier(self._template))
            )
        return self._url(named)

    @cached_property
    def _template(self) -> str:
        """A database with every migration applied and nothing in it, of which the others are copies."""
        named = f"bench_{uuid4().hex[:8]}"
        with psycopg.connect(self.stores.conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(named)))
        migrations.upgrade(self._url(named))
        return named

    def _url(self, named: str) -> str:
        return self.stores.database_url.replace("/postgres?", f"/{named}?")

    def environment(self, database_url: str, **given: str) -> dict[str, str]:
        """Settings of our processes: defaults, but for stores, limits and a sandbox in a process of its own."""
        settings = load(Settings, public_url=f"http://127.0.0.1:{self._port}", country="GH")
        elsewhere = settings.model_copy(update={"public_url": f"http://127.0.0.1:{self._sandbox_port}"})
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
        ours = {
            "PUBLIC_URL": settings.public_url, "SECRET_KEYS": secrets.token_hex(), "COUNTRY": settings.country,
            "REDIS_URL": self.stores.redis_url, "DATABASE_URL": database_url,
            "MENUS_DIR": str(app.menus_dir(settings).resolve()), "LOG_LEVEL": "WARNING",
            "PAYMENTS_PER_HOUR": str(LIMITLESS), "NEW_RECIPIENTS_PER_DAY": str(LIMITLESS),
        }  # fmt: skip
        return kept | ours | sandbox.environment(elsewhere) | given

    @contextmanager
    def web(self, environment: Mapping[str, str]) -> Iterator[Process]:
        """Our web process, as `ussd-app serve` runs it."""
        words = ("-m", "ussd_app", "serve", "--port", str(self._port))
        with _serving(words, self._port, self.directory / "web.log", environment) as process:
            yield process

    @contextmanager
    def sandbox(self, environment: Mapping[str, str]) -> Iterator[Process]:
        """The sandbox that our clients call, in a process of its own."""
        words = _uvicorn("ussd_app.bench.country:create", self._sandbox_port)
        with _serving(words, self._sandbox_port, self.directory / "sandbox.log", environment) as process:
            yield process

    @contextmanager
    def floor(self, environment: Mapping[str, str]) -> Iterator[Process]:
        """The floor app."""
        port = free_port()
        words = _uvicorn("ussd_app.bench.floor:create", port)
        with _serving(words, port, self.directory / "floor.log", environment) as process:
            yield process

    @contextmanager
    def worker(self, environment: Mapping[str, str]) -> Iterator[Process]:
        """One worker."""
        with _running(("-m", "ussd_app", "work"), self.directory / "worker.log", environment) as process:
            yield Process(process.pid)


@dataclass(frozen=True, slots=True)
class Talking:
    """What is talked with, and no worker beside it: web, sandbox and floor around one database."""

    web: Process
    sandbox: Process
    floor: Process
    database: str
    redis_url: str


@dataclass(frozen=True, slots=True)
class Paying:
    """What moves money: web, sandbox and worker around one database."""

    web: Process
    sandbox: Process
    worker: Process
    postgres: Postgres
    database: str


@contextmanager
def talking(stage: Stage) -> Iterator[Talking]:
    """All of it, running."""
    database = stage.database("talking")
    environment = stage.environment(database)
    with stage.sandbox(environment) as sandbox_, stage.web(environment) as web, stage.floor(environment) as floor:
        yield Talking(web, sandbox_, floor, database, stage.stores.redis_url)


@contextmanager
def paying(stage: Stage) -> Iterator[Paying]:
    """All of it, running."""
    database = stage.database("paying")
    environment = stage.environment(database)
    with stage.sandbox(environment) as sandbox_, stage.web(environment) as web, stage.worker(environment) as worker:
        yield Paying(web, sandbox_, worker, stage.postgres, database)


@contextmanager
def open_stage(directory: Path) -> Iterator[Stage]:
    """A stage whose stores live in ``directory``, durable as by default."""
    with embedded.start(directory) as stores:
        yield Stage(directory, stores)


def _uvicorn(factory: str, port: int) -> tuple[str, ...]:
    return ("-m", "uvicorn", "--factory", factory, "--port", str(port), "--no-access-log", "--log-level", "warning")


@contextmanager
def _serving(words: Sequence[str], port: int, log: Path, environment: Mapping[str, str]) -> Iterator[Process]:
    with _running(words, log, environment) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(words)} did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield Process(process.pid, port)


@contextmanager
def _running(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, ended afterwards; what it prints goes to ``log``."""
    # In the log's directory, so that no .env of ours is read.
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, *words], env=environment, cwd=log.parent, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_seconds(stat: Path, *, children: bool = False) -> float:
    """User and system time of a process, with that of the children it has waited for where these are wanted."""
    if not stat.exists():
        return math.nan
    fields = stat.read_text().rpartition(")")[2].split()
    ticks = sum(map(int, fields[11:15] if children else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")
