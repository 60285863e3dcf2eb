"""How scripts travel to Redis, and which Redis a URL leads to."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from ussd_app import embedded, redis_client
from ussd_app.redis_client import WAITING_MAX, Script, Scripts

COUNT = Script.of("return redis.call('INCR', KEYS[1])")
ECHO = Script.of("return ARGV[1]")


async def test_a_script_that_fails_fails_alone(redis_url: str) -> None:
    """Of scripts that travel together, each hears its own answer or error."""
    client = redis_client.connect(redis_url)
    await client.set("word", "no number")
    scripts = Scripts(client)
    asked = (scripts.run(ECHO, "k", "1"), scripts.run(COUNT, "word"), scripts.run(ECHO, "k", "2"))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (b"1", b"2")
    assert isinstance(outcomes[1], ResponseError)
    await client.aclose()


async def test_who_goes_away_disturbs_nobody(redis_url: str) -> None:
    """A cancelled caller's script may run; the others get their own answers."""
    client = redis_client.connect(redis_url)
    scripts = Scripts(client)
    tasks = [asyncio.create_task(scripts.run(ECHO, "k", str(number))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (b"0", b"2")
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert await scripts.run(ECHO, "k", "next") == b"next"
    await client.aclose()


async def test_a_crowd_beyond_the_limit_is_refused(redis_url: str) -> None:
    """The queue has an end, and a batch too: what fits is answered in turn."""
    client = redis_client.connect(redis_url)
    scripts = Scripts(client)
    asked = (scripts.run(ECHO, "k", str(n)) for n in range(WAITING_MAX + 1))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert outcomes[:-1] == [b"%d" % n for n in range(WAITING_MAX)]
    assert isinstance(outcomes[-1], RedisConnectionError)
    await client.aclose()


async def test_a_cluster_is_found(cluster_port: int) -> None:
    """A cluster's URL leads to a client that knows its slots."""
    client = redis_client.connect(f"redis+cluster://127.0.0.1:{cluster_port}")
    assert isinstance(client, RedisCluster)
    assert await asyncio.gather(*(Scripts(client).run(ECHO, f"k{n}", str(n)) for n in range(3))) == [b"0", b"1", b"2"]
    await client.aclose()


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[int]:
    """The port of a sentinel that watches a master called ``main`` with a password."""
    master, port = _free_port(), _free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {master} 1\nsentinel auth-pass main secret!\n")
    options: list[list[str | Path]] = [
        ["--port", str(master), "--requirepass", "secret!", "--save", ""],
        [config, "--sentinel", "--port", str(port)],
    ]
    program = embedded.redis_server()
    servers = [subprocess.Popen([program, *words], cwd=tmp_path, stdout=subprocess.DEVNULL) for words in options]
    _until_open(master, port)
    yield port
    for server in servers:
        server.terminate()
        server.wait()


async def test_a_master_is_found_through_any_sentinel(sentinel: int) -> None:
    """Of the sentinels named one has to answer; account and database belong to the master."""
    url = f"redis+sentinel://:secret%21@127.0.0.1:{_free_port()},127.0.0.1:{sentinel}/main/2"
    client: Any = redis_client.connect(url)
    assert await client.set("word", "kept")
    assert "db2" in await client.info("keyspace")
    # redis-py leaves its connections to the sentinels open when the client is closed.
    for watcher in client.connection_pool.sentinel_manager.sentinels:
        await watcher.aclose()
    await client.aclose()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_open(*ports: int) -> None:
    deadline = time.monotonic() + 10
    for port in ports:
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)):
                assert time.monotonic() < deadline
                time.sleep(0.02)
