"""How we speak to Redis: one client for every kind of URL, and scripts that travel together."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

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
    return Redis.from_pool(pool)


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
    master: Redis = sentinel.master_for(
        name, db=int(database or 0), username=unquote(user) or None, password=unquote(password) or None, **options
    )
    return master
