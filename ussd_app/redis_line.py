"""The hop's own line to Redis: one connection that carries scripts and nothing else, as cheaply as may be.

All that is asked in one tick of the event loop leaves in one write, and answers come in the order of the questions.
redis-py's cost for each command is some fifteen times this one's; what only happens now and then (finding a master,
TLS, credentials) is redis-py's all the same.
"""

import asyncio
import select
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol, cast

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

ANSWER_SECONDS = 0.5  # for each call, from its asking; nothing is tried again
CONNECT_SECONDS = 2.0  # for one attempt, in which several sentinels may be asked; nobody waits that long for it
GRACE_SECONDS = 0.01  # a loop that was busy reads before it judges who is late
WAITING_MAX = 10_000  # calls of one process, before more are refused

# Of a server that serves no longer, or not yet: another connection may find the one that does.
ELSEWHERE = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN", "MOVED")

# The server has hung up. Where a system has no such event, anything to be read on an idle connection says the same.
HUNG_UP: int = getattr(select, "POLLRDHUP", select.POLLIN)

_MORE: Any = object()  # the rest of an answer is still to come


class Code(Protocol):
    """A script: its words, and the SHA-1 by which a server that has seen it knows it."""

    @property
    def text(self) -> str:
        """The words."""
        ...

    @property
    def sha(self) -> str:
        """The digest."""
        ...


@dataclass(frozen=True, slots=True)
class Server:
    """Where a line leads to: a host and port, or the path of a socket; and what it says first."""

    host: str = ""
    port: int = 0
    path: str = ""
    ssl: SSLContext | None = None
    greeting: tuple[tuple[str | int, ...], ...] = ()  # AUTH, SELECT


Find = Callable[[], Awaitable[Server]]


class _Call:
    __slots__ = ("answer", "arguments", "code", "due", "key")

    def __init__(
        self,
        answer: asyncio.Future[Any],
        due: float,
        code: Code | None,
        key: str,
        arguments: Sequence[str | bytes | int],
    ) -> None:
        self.answer = answer
        self.due = due
        self.code = code
        self.key = key
        self.arguments = arguments

    def fail(self, error: Exception) -> None:
        if not self.answer.done():  # whoever asked may have gone away
            self.answer.set_exception(error)


class Line:
    """Runs scripts on whichever server ``find`` names, over one connection that is opened again where it was lost."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: _Wire | None = None
        self._unsent: deque[_Call] = deque()  # they wait for a connection
        self._connecting: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._suspected: _Call | None = None

    def run(self, script: Code, key: str, *arguments: str | bytes | int) -> asyncio.Future[Any]:
        """What the script answers for this key, in time; the future raises redis-py's RedisError.

        A caller that is cancelled leaves its script to run; the others get their own answers.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        answer = loop.create_future()
        call = _Call(answer, loop.time() + ANSWER_SECONDS, script, key, arguments)
        wire = self._wire
        if len(self._unsent) + (len(wire.sent) if wire else 0) >= WAITING_MAX:
            call.fail(RedisConnectionError(f"{WAITING_MAX} scripts are waiting already"))
            return answer
        if wire is not None and (wire.sent or not wire.is_closed()):
            wire.send(call)
        else:
            self._unsent.append(call)
            self._connect()
        if self._watch is None:
            self._watch = loop.call_at(call.due, self._look)
        return answer

    async def aclose(self) -> None:
        """Hang up; who still waits hears it."""
        connecting, self._connecting = self._connecting, None
        if connecting:
            connecting.cancel()
            with suppress(asyncio.CancelledError):
                await connecting
        if self._watch:
            self._watch.cancel()
            self._watch = None
        self._fail_unsent(RedisConnectionError("closed"))
        self._drop(RedisConnectionError("closed"))

    def _look(self) -> None:
        """Give up what is late. An answer that is late might still come, so its whole connection is given up."""
        loop = asyncio.get_running_loop()
        now, self._watch = loop.time(), None
        while self._unsent and self._unsent[0].due <= now:
            self._unsent.popleft().fail(RedisTimeoutError("no connection in time"))
        head = self._wire.sent[0] if self._wire and self._wire.sent else None
        if head and head.due <= now:
            if head is self._suspected:
                self._drop(RedisTimeoutError("no answer in time"))
                head = None
            else:
                self._suspected = head
                self._watch = loop.call_later(GRACE_SECONDS, self._look)
                return
        oldest = [call.due for call in (head, self._unsent[0] if self._unsent else None) if call]
        if oldest:
            self._watch = loop.call_at(min(oldest), self._look)

    def _connect(self) -> None:
        if self._wire:
            self._drop(RedisConnectionError("closed by the server"))
        if self._connecting is None and self._loop:
            self._connecting = self._loop.create_task(self._open())

    async def _open(self) -> None:
        """One attempt; all who wait for it hear of its failure."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                wire = await self._opened()
        except Exception as error:  # noqa: BLE001 - sockets, TLS, DNS, redis-py: nobody may be left waiting
            self._connecting = None
            self._fail_unsent(RedisConnectionError(type(error).__name__))
            return
        self._connecting, self._wire = None, wire
        while self._unsent:
            wire.send(self._unsent.popleft())

    async def _opened(self) -> "_Wire":
        loop = asyncio.get_running_loop()
        server = await self._find()
        wire = _Wire(loop, self._lost)
        if server.path:
            await loop.create_unix_connection(lambda: wire, server.path)
        else:
            await loop.create_connection(lambda: wire, server.host, server.port, ssl=server.ssl)
        try:
            for words in server.greeting:
                await wire.say(words)
        except BaseException:
            wire.close(RedisConnectionError("not let in"))
            raise
        return wire

    def _lost(self, wire: "_Wire") -> None:
        if self._wire is wire:
            self._wire = None

    def _drop(self, error: Exception) -> None:
        wire, self._wire, self._suspected = self._wire, None, None
        if wire:
            wire.close(error)

    def _fail_unsent(self, error: Exception) -> None:
        while self._unsent:
            self._unsent.popleft().fail(error)


class _Wire(asyncio.Protocol):
    """One connection, from its opening to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[["_Wire"], None]) -> None:
        self.sent: deque[_Call] = deque()
        self._loop = loop
        self._lost = lost
        self._reader = hiredis.Reader(replyError=ResponseError, notEnoughData=_MORE)
        self._packed: list[bytes] = []  # what this tick has asked
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's
        self._poll.register(transport.get_extra_info("socket").fileno(), HUNG_UP)

    def connection_lost(self, _error: Exception | None) -> None:
        """Nobody will be answered any more."""
        self._transport = None
        self._lost(self)
        self._fail_all(RedisConnectionError("the connection was lost"))

    def is_closed(self) -> bool:
        """Whether the server has hung up, of which the event loop may not have heard yet."""
        return self._transport is None or self._transport.is_closing() or bool(self._poll.poll(0))

    def close(self, error: Exception) -> None:
        """Hang up, and tell everybody why."""
        if self._transport:
            self._transport.abort()
        self._fail_all(error)

    def send(self, call: _Call) -> None:
        """Ask; what is asked until this tick is over leaves in one write."""
        code = call.code
        if code:
            words = ("EVALSHA", code.sha, 1, call.key, *call.arguments)
            self._ask(call, words)

    def say(self, words: Sequence[str | int]) -> asyncio.Future[Any]:
        """Any command, and its answer."""
        answer = self._loop.create_future()
        self._ask(_Call(answer, self._loop.time() + CONNECT_SECONDS, None, "", ()), words)
        return answer

    def data_received(self, data: bytes) -> None:
        """Answers, each to the oldest question."""
        reader, sent = self._reader, self.sent
        reader.feed(data)
        while sent:
            said = reader.gets()
            if said is _MORE:
                return
            call = sent.popleft()
            if isinstance(said, ResponseError):
                self._refused(call, said)
            elif not call.answer.done():
                call.answer.set_result(said)

    def _ask(self, call: _Call, words: Sequence[Any]) -> None:
        self.sent.append(call)
        if not self._packed:
            self._loop.call_soon(self._flush)
        self._packed.append(hiredis.pack_command(tuple(words)))

    def _flush(self) -> None:
        packed, self._packed = self._packed, []
        if self._transport and packed:
            self._transport.write(b"".join(packed))

    def _refused(self, call: _Call, error: ResponseError) -> None:
        """A server that was restarted has forgotten the script, and is sent it whole."""
        said = str(error)
        if call.code and said.startswith("NOSCRIPT"):
            self._ask(call, ("EVAL", call.code.text, 1, call.key, *call.arguments))
            return
        call.fail(error)
        if said.startswith(ELSEWHERE):
            self._lost(self)
            self.close(RedisConnectionError("the server does not serve"))

    def _fail_all(self, error: Exception) -> None:
        self._packed = []
        while self.sent:
            self.sent.popleft().fail(error)
