"""Phones that cost the load generator little, so that many can call at the same time."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2 as httpx
import psycopg

from ussd_app.bench.floor import PATH
from ussd_app.commands.phone import NoScreen, Phone, Screen
from ussd_app.http import Answer

CODE = "*920*55#"
INTO, BACK = "5", "0"  # My account, and home again
DIALOGUE = (INTO, BACK, INTO)  # what a known person presses behind the dial; then they hang up
ANSWER_SECONDS = 60.0  # after which a hop counts as never answered
HEAD = (
    "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Caller(Phone):
    """A phone through Africa's Talking, on a keep-alive connection of its own that it opens again where it was closed.

    ``waits`` are the seconds of each of its hops.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, msisdn: str, *, sandbox: str | None = None) -> None:
        super().__init__(http, url, msisdn, sandbox=sandbox)
        self.waits: list[float] = []
        self._port = int(url.rpartition(":")[2])
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def dialogue(self, keys: Iterable[str] = DIALOGUE) -> None:
        """Dial, press each key, and hang up, of which the network tells."""
        await self.dial(CODE)
        for key in keys:
            screen = await self.press(key)
            if screen.over:
                raise NoScreen(f"an end in the middle: {screen.text}")
        await self.hang_up()

    async def hang_up(self) -> None:
        """The aggregator's notice that the session is over (wire/ussd.md section 3)."""
        notice = {
            "sessionId": f"ATUid_{self._session_id}", "phoneNumber": f"+{self.msisdn}", "serviceCode": CODE,
            "networkCode": "99999", "status": "Incomplete", "hopsCount": str(self.hops), "date": "2031-03-04 09:00:00",
        }  # fmt: skip
        await self._post(f"{PATH}/events", notice)

    async def register(self) -> Screen:
        """Enter the owner, a stranger."""
        await self.dial(CODE)
        await self.press("1")
        return await self.press("Ama")

    async def leave(self) -> None:
        """Close the connection."""
        if self._streams:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()
            self._streams = None

    async def _send(self, fields: dict[str, Any]) -> Answer:
        started = time.perf_counter()
        try:
            return await self._post(PATH, fields)
        finally:
            self.waits.append(time.perf_counter() - started)

    async def _post(self, path: str, fields: dict[str, Any]) -> Answer:
        body = urlencode(fields)
        request = (HEAD % (path, len(body)) + body).encode()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    return await self._exchange(request)
                except (OSError, EOFError):
                    await self.leave()  # the server has closed what was idle: an aggregator opens another
                    return await self._exchange(request)
        except (OSError, EOFError, TimeoutError) as error:
            await self.leave()
            raise NoScreen(f"no answer: {type(error).__name__}") from error

    async def _exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        return Answer(int(head.split()[1]), {}, await reader.readexactly(int(length[1]) if length else 0))


@dataclass
class Crowd:
    """Phones whose numbers follow each other, so that no two measurements meet in one."""

    http: httpx.AsyncClient
    url: str
    first: int
    sandbox: str | None = None
    _made: int = field(default=0, init=False)

    def strangers(self, count: int) -> list[Caller]:
        """Phones nobody has seen before."""
        numbers = range(self.first + self._made, self.first + self._made + count)
        self._made += count
        return [Caller(self.http, self.url, f"23324{number:07}", sandbox=self.sandbox) for number in numbers]


async def all_at_once(callers: Iterable[Caller], what: Callable[[Caller], Awaitable[object]]) -> float:
    """Seconds until every phone has done it."""
    started = time.perf_counter()
    await asyncio.gather(*(what(caller) for caller in callers))
    return time.perf_counter() - started


async def enrol(database_url: str, callers: Iterable[Phone]) -> None:
    """Enter the owners as registered people, without their dialogues."""
    conninfo = database_url.replace("+psycopg", "", 1)
    async with await psycopg.AsyncConnection.connect(conninfo) as connection, connection.cursor() as cursor:
        people = [(f"+{caller.msisdn}",) for caller in callers]
        await cursor.executemany(
            "INSERT INTO subscribers (msisdn, name, language, registered_at) VALUES (%s, 'Ama', 'en', now())", people
        )
