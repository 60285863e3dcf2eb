"""The hop's own line to Redis, to a real server that stops, freezes, is restarted, asks who we are or is another."""

import asyncio
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from test_redis_client import COUNT, ECHO, _free_port, _until_open

from ussd_app import embedded, redis_client
from ussd_app.redis_client import Direct, Script
from ussd_app.redis_line import WAITING_MAX, Line

SLOW = Script.of("local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 2 do end return 1")
DATABASE = Script.of("return redis.call('SET', KEYS[1], ARGV[1])")


@dataclass
class Server:
    """A real Redis of this test's own, on a port that stays the same."""

    directory: Path
    port: int = field(default_factory=_free_port)
    options: tuple[str, ...] = ("--save", "")
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Begin to listen, and know nothing."""
        words = [*self.options, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [embedded.redis_server(), *words], cwd=self.directory, stdout=subprocess.DEVNULL
        )
        _until_open(self.port)

    def stop(self) -> None:
        """End at once."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def say(self, said: signal.Signals) -> None:
        """SIGSTOP or SIGCONT."""
        assert self.process
        self.process.send_signal(said)


@pytest.fixture
def server() -> Iterator[Server]:
    """One that runs."""
    with tempfile.TemporaryDirectory(prefix="ussd-") as name:
        made = Server(Path(name))
        made.start()
        yield made
        made.stop()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """The line of the client that this URL makes."""
    client = redis_client.connect(url)
    assert isinstance(client, Direct)
    yield client.line
    await client.aclose()


@asynccontextmanager
async def beside(server: Server, **account: str) -> AsyncIterator[Redis]:
    """Another client of the same server."""
    async with Redis(port=server.port, **account) as client:  # type: ignore[arg-type]  # keywords of strings only
        yield client


async def test_answers_come_in_the_order_of_the_questions(server: Server) -> None:
    """A crowd in one tick and one after another."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        for size in (1, 2, 1000):
            answers = await asyncio.gather(*(line.run(ECHO, "k", str(n)) for n in range(size)))
            assert answers == [b"%d" % n for n in range(size)]


async def test_a_script_that_fails_fails_alone(server: Server) -> None:
    """Its neighbours hear their own answers."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        await line.run(DATABASE, "word", "no number")
        asked = (line.run(ECHO, "k", "1"), line.run(COUNT, "word"), line.run(ECHO, "k", "2"))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert (outcomes[0], outcomes[2]) == (b"1", b"2")
        assert isinstance(outcomes[1], ResponseError)


async def test_who_goes_away_shifts_nobodys_answer(server: Server) -> None:
    """A cancelled caller's script may run; the others get their own answers, those after it too."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:

        async def ask(number: int) -> object:
            return await line.run(ECHO, "k", str(number))

        await ask(0)
        tasks = [asyncio.create_task(ask(number)) for number in range(9)]
        await asyncio.sleep(0)
        for number in (0, 4, 8):
            tasks[number].cancel()
        later = asyncio.create_task(ask(9))
        outcomes = await asyncio.gather(*tasks, later, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            assert outcome == b"%d" % number if number not in {0, 4, 8} else isinstance(outcome, asyncio.CancelledError)


async def test_what_waits_has_a_limit(server: Server) -> None:
    """10,000 calls are answered, one more is refused, and the line goes on."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        asked = (line.run(ECHO, "k", str(n)) for n in range(WAITING_MAX + 1))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert outcomes[:-1] == [b"%d" % n for n in range(WAITING_MAX)]
        assert isinstance(outcomes[-1], RedisConnectionError)
        assert await line.run(ECHO, "k", "next") == b"next"


async def test_a_server_that_is_stopped_and_started_again(server: Server) -> None:
    """Who asks meanwhile hears so at once; the first who asks afterwards is answered, though scripts are forgotten."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        assert await line.run(ECHO, "k", "before") == b"before"
        server.stop()
        started = time.monotonic()
        outcomes = await asyncio.gather(*(line.run(ECHO, "k", str(n)) for n in range(50)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {RedisConnectionError}
        assert time.monotonic() - started < 1
        server.start()
        assert await line.run(ECHO, "k", "after") == b"after"


async def test_a_server_restarted_while_nobody_asks(server: Server) -> None:
    """No hop pays for a connection that was lost in silence."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        assert await line.run(ECHO, "k", "before") == b"before"
        server.stop()
        server.start()
        assert await line.run(ECHO, "k", "after") == b"after"


async def test_a_server_that_freezes_and_thaws(server: Server) -> None:
    """Nobody waits longer than half a second, nobody gets another's late answer, and the first after it is served."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        assert await line.run(ECHO, "k", "before") == b"before"
        server.say(signal.SIGSTOP)
        for _ in range(2):
            started = time.monotonic()
            outcomes = await asyncio.gather(*(line.run(ECHO, "k", str(n)) for n in range(50)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {RedisTimeoutError}
            assert 0.4 < time.monotonic() - started < 0.9
        server.say(signal.SIGCONT)
        assert await line.run(ECHO, "k", "after") == b"after"


async def test_a_loop_that_was_busy_reads_before_it_judges(server: Server) -> None:
    """An answer that lay there while we did something else is no late one."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        await line.run(ECHO, "k", "before")
        answer = line.run(ECHO, "k", "mine")
        await asyncio.sleep(0)
        time.sleep(0.7)  # noqa: ASYNC251 - the busy loop
        assert await answer == b"mine"


@pytest.mark.parametrize(
    "what",
    [
        test_answers_come_in_the_order_of_the_questions, test_a_server_that_is_stopped_and_started_again,
        test_a_server_restarted_while_nobody_asks, test_a_server_that_freezes_and_thaws,
        test_a_loop_that_was_busy_reads_before_it_judges,
    ],
)  # fmt: skip
def test_the_loop_that_serves_is_uvloop(server: Server, what: Callable[[Server], Coroutine[None, None, None]]) -> None:
    """Its sockets and timers are its own, and the same holds on them."""
    uvloop.run(what(server))


async def test_a_connection_that_is_killed(server: Server) -> None:
    """The hop under way hears it, the next is served; killed between two hops, nobody notices."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line, beside(server) as other:
        await line.run(ECHO, "k", "before")
        await other.client_kill_filter(_type="normal", skipme=True)
        assert await line.run(ECHO, "k", "after") == b"after"
        under_way = asyncio.ensure_future(line.run(SLOW, "k"))
        await asyncio.sleep(0.05)
        server.stop()
        with pytest.raises(RedisConnectionError):
            await under_way
        server.start()
        assert await line.run(ECHO, "k", "after") == b"after"


async def test_scripts_that_are_flushed_are_sent_whole(server: Server) -> None:
    """NOSCRIPT is nobody's failure, also in the middle of others."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line, beside(server) as other:
        await line.run(ECHO, "k", "before")
        await other.script_flush()
        asked = [line.run(ECHO, "k", str(n)) if n % 2 else line.run(COUNT, f"n{n}") for n in range(20)]
        assert await asyncio.gather(*asked) == [b"%d" % n if n % 2 else 1 for n in range(20)]


@pytest.mark.parametrize(
    ("url", "let_in"),
    [
        ("redis://:secret%21@127.0.0.1:{}/3", True),
        ("redis://hop:w%40rd@127.0.0.1:{}/3", True),
        ("redis://127.0.0.1:{}/3", False),
        ("redis://:wrong@127.0.0.1:{}/3", False),
        ("redis://hop:wrong@127.0.0.1:{}/3", False),
        ("redis://:secret%21@127.0.0.1:{}/99", False),
    ],
)
async def test_a_server_that_asks_who_we_are(server: Server, url: str, *, let_in: bool) -> None:
    """A password, an account and a database; whoever is not let in hears it, and nothing is asked of any other."""
    server.stop()
    server.options = ("--requirepass", "secret!")
    server.start()
    async with line_to(url.format(server.port)) as line, beside(server, password="secret!") as other:
        await other.acl_setuser("hop", enabled=True, passwords=["+w@rd"], keys=["*"], categories=["+@all"])
        if let_in:
            assert await line.run(DATABASE, "word", "kept") == b"OK"
            assert "db3" in await other.info("keyspace")
        else:
            with pytest.raises(RedisError):
                await line.run(DATABASE, "word", "lost")
            assert not await other.info("keyspace")


async def test_a_password_that_is_set_meanwhile_is_asked_for_again(server: Server) -> None:
    """What a server no longer lets in is given up, so that a new connection may introduce itself."""
    server.stop()
    server.options = ("--requirepass", "old")
    server.start()
    async with line_to(f"redis://:old@127.0.0.1:{server.port}") as line:
        assert await line.run(ECHO, "k", "before") == b"before"
        server.stop()
        server.options = ("--requirepass", "new")
        server.start()
        with pytest.raises(RedisConnectionError):
            await line.run(ECHO, "k", "refused")
        server.stop()
        server.options = ("--requirepass", "old")
        server.start()
        assert await line.run(ECHO, "k", "after") == b"after"


async def test_a_socket_in_the_file_system(redis_url: str) -> None:
    """``unix://`` as the embedded stores have it."""
    assert redis_url.startswith("unix://")
    async with line_to(redis_url) as line:
        assert await line.run(ECHO, "k", "1") == b"1"


async def test_another_master_is_found_through_the_sentinel(server: Server) -> None:
    """When the master is gone, or serves no longer, the next connection leads to the one the sentinel names now."""
    second = Server(server.directory)
    second.start()
    port = _free_port()
    config = server.directory / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {server.port} 1\n")
    watcher = Server(server.directory, port, (str(config), "--sentinel"))
    watcher.start()
    client = redis_client.connect(f"redis+sentinel://127.0.0.1:{_free_port()},127.0.0.1:{port}/main/0")
    assert isinstance(client, Direct)
    try:
        assert await client.line.run(COUNT, "word") == 1
        async with Redis(port=port) as sentinel:
            await sentinel.sentinel_remove("main")
            await sentinel.sentinel_monitor("main", "127.0.0.1", second.port, 1)
        async with beside(server) as demoted, beside(second) as promoted:
            await promoted.set("word", 10)
            await demoted.replicaof("127.0.0.1", str(second.port))
            with pytest.raises(RedisError):
                await client.line.run(COUNT, "word")
        assert await client.line.run(COUNT, "word") == 11
    finally:
        # redis-py leaves its connections to the sentinels open when the client is closed.
        for each in client.connection_pool.sentinel_manager.sentinels:  # type: ignore[attr-defined]
            await each.aclose()
        await client.aclose()
        watcher.stop()
        second.stop()


async def test_who_waits_when_the_line_is_closed_hears_it(server: Server) -> None:
    """Nothing is left hanging."""
    async with line_to(f"redis://127.0.0.1:{server.port}") as line:
        early = line.run(ECHO, "k", "1")
        await line.aclose()
        late = line.run(ECHO, "k", "2")
        assert await late == b"2"
        with pytest.raises(RedisConnectionError):
            await early
