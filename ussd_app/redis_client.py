"""How we speak to Redis: one client for every kind of URL, and scripts that travel together."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ussd_app.redis_line import Line, Server

TIMEOUT_SECONDS = 0.5  # to connect, and for an answer; nothing is tried again
CONNECTIONS_MAX = 50
QUEUE_SECONDS = 2.0  # for a connection, where all are in use
WAITING_MAX = 10_000  # scripts of one process, before more are refused
BATCH_MAX = 256  # scripts in one pipeline

Client = Redis | RedisCluster
AWAY = (RedisConnectionError, RedisTimeoutError)


def connect(url: str) -> Client:
    """A client for ``redis://``, ``rediss://``, ``unix://``, ``redis+cluster://`` or ``redis+sentinel://``.

    Sentinels are named as in ``redis+sentinel://user:password@host1:26379,host2:26379/<master>/<database>``.
    """
    scheme, _, kind = url.partition("://")[0].partition("+")
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if kind == "sentinel":
        return _master(urlsplit(url), options | {"ssl": scheme == "rediss"})
    if kind == "cluster":
        return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
    pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS_MAX, timeout=QUEUE_SECONDS, **options)
    return Direct.from_pool(pool)


class Direct(Redis):
    """A client of one server, with a line of its own for the scripts of hops."""

    _line: Line | None = None

    @property
    def line(self) -> Line:
        """It connects when something is asked, and is closed with the client."""
        if self._line is None:
            self._line = Line(lambda: _server(self.connection_pool))
        return self._line

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's own
        """Close both."""
        if self._line:
            await self._line.aclose()
        await super().aclose(close_connection_pool)


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script on one key."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> "Script":
        """The script with this text."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    key: str
    arguments: tuple[str | bytes | int, ...]
    answer: asyncio.Future[Any]


def hot(redis: Client) -> "Line | Scripts":
    """What runs the scripts of hops: the client's own line where it has one, else pipelines of redis-py's."""
    return redis.line if isinstance(redis, Direct) else Scripts(redis)


class Scripts:
    """Runs scripts, all that are asked for in one tick of the event loop in one pipeline on one connection.

    redis-py's own cost is per round trip rather than per command, so a crowd of hops costs little more than one.
    """

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def run(self, script: Script, key: str, *arguments: str | bytes | int) -> Any:  # noqa: ANN401 - a script's
        """What the script answers for this key; raises redis-py's RedisError."""
        if len(self._waiting) >= WAITING_MAX:
            raise RedisConnectionError(f"{WAITING_MAX} scripts are waiting already")
        loop = asyncio.get_running_loop()
        call = _Call(script, key, arguments, loop.create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return await call.answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                await self._batch(calls)
        finally:
            self._sending = None

    async def _batch(self, calls: list[_Call]) -> None:
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                answers = await self._answers(calls)
        except Exception as error:  # noqa: BLE001 - redis-py has several families, and nobody may be left waiting
            answers = [RedisConnectionError(type(error).__name__) for _ in calls]
        for call, answer in zip(calls, answers, strict=True):
            if call.answer.done():  # whoever asked was cancelled
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)
        if isinstance(self._redis, RedisCluster) and any(isinstance(answer, AWAY) for answer in answers):
            await self._redis.aclose()  # another node may hold the keys by now: it asks before its next command

    async def _answers(self, calls: list[_Call]) -> list[Any]:
        answers = await self._pipeline([("EVALSHA", call.script.sha, call) for call in calls])
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self._pipeline([("EVAL", calls[index].script.text, calls[index]) for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return answers

    async def _pipeline(self, commands: list[tuple[str, str, _Call]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command, script, call in commands:
                pipeline.execute_command(command, script, 1, call.key, *call.arguments)
            return await pipeline.execute(raise_on_error=False)


def _master(url: SplitResult, options: dict[str, Any]) -> Redis:
    account, _, hosts = url.netloc.rpartition("@")
    user, _, password = account.partition(":")
    name, _, database = url.path.strip("/").partition("/")
    if not name:
        raise ValueError("sentinels watch over a master by its name")
    sentinels = [(host, int(port or 26379)) for host, _, port in (pair.partition(":") for pair in hosts.split(","))]
    sentinel = Sentinel(sentinels, sentinel_kwargs=options)  # type: ignore[no-untyped-call] # redis-py's omission
    master: Direct = sentinel.master_for(
        name, Direct, db=int(database or 0), username=unquote(user) or None, password=unquote(password) or None,
        **options,
    )  # fmt: skip
    return master


async def _server(pool: ConnectionPool) -> Server:
    """Where this pool's connections lead now, and how they introduce themselves; raises RedisError."""
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's omission
    greeting: list[tuple[str | int, ...]] = []
    if connection.password:
        greeting.append(("AUTH", *([connection.username] if connection.username else []), connection.password))
    if connection.db:
        greeting.append(("SELECT", connection.db))
    if isinstance(connection, UnixDomainSocketConnection):
        return Server(path=connection.path, greeting=tuple(greeting))
    assert isinstance(connection, Connection)  # noqa: S101 - connect makes no other
    host, port = connection.host, connection.port
    if isinstance(pool, SentinelConnectionPool):
        host, port = await pool.get_master_address()  # type: ignore[no-untyped-call]  # the same
    context = connection.ssl_context.get() if isinstance(connection, SSLConnection) else None
    return Server(host, port, ssl=context, greeting=tuple(greeting))
