"""What the bench measures with: processes on 127.0.0.1, and phones that call them at the same time."""

import asyncio
import math
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlencode

import httpx2 as httpx

from ussd_app import app, sandbox
from ussd_app.commands.phone import Phone
from ussd_app.config import Settings, load
from ussd_app.http import Answer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

DIALOGUES = 10  # of each phone in a round
HOPS = 8  # of each of them, behind its dial: into a menu and back
INTO, BACK = "5", "0"
START_SECONDS = 30.0
PATH = "/ussd/africastalking"
HEAD = (
    f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
).encode()
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CODE = "*920*55#"


def percentiles(seconds: Sequence[float], high: int) -> str:
    """The median and one high percentile, in milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49] * 1000:.1f} ms, p{high} {cuts[high - 1] * 1000:.1f} ms"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result."""

    what: str
    measured: str
    target: str = ""
    missed: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """A web server of one process."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """User and system time it has used; nan where the machine has no /proc."""
        stat = Path(f"/proc/{self.pid}/stat")
        if not stat.exists():
            return math.nan
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment(redis_url: str, database_url: str, port: int) -> dict[str, str]:
    """Our own settings: defaults, but for stores and sandbox; nothing of this process's own."""
    url = f"http://127.0.0.1:{port}"
    settings = load(Settings, public_url=url, country="GH", sandbox=True)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    given = {
        "PUBLIC_URL": url, "SECRET_KEYS": secrets.token_hex(), "COUNTRY": "GH", "SANDBOX": "1", "REDIS_URL": redis_url,
        "DATABASE_URL": database_url, "MENUS_DIR": str(app.menus_dir(settings).resolve()),
    }  # fmt: skip
    return kept | given | sandbox.environment(settings)


@contextmanager
def serving(factory: str, port: int, log: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """A server under uvicorn, ready; the same settings for all."""
    words = ["-m", "uvicorn", "--factory", factory, "--port", str(port), "--no-access-log", "--log-level", "warning"]
    with running(words, log, environment) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{factory} did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield Server(process.pid, port)


@contextmanager
def running(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, ended afterwards; what it prints goes to ``log``."""
    # In the log's directory, so that no .env of ours is read.
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, *words], env=environment, cwd=log.parent, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Caller(Phone):
    """A phone through Africa's Talking, on a keep-alive connection that costs the load generator little."""

    def __init__(self, client: httpx.AsyncClient, streams: Streams, url: str, number: int) -> None:
        super().__init__(client, url, f"23324{1_000_000 + number}")
        self._reader, self._writer = streams

    async def _send(self, fields: dict[str, Any]) -> Answer:
        body = urlencode(fields).encode()
        self._writer.write(HEAD % len(body) + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        return Answer(int(head.split()[1]), {}, await self._reader.readexactly(int(length[1]) if length else 0))

    async def register(self) -> None:
        """Enter the owner, where the server asks for one."""
        if "Language" in (await self.dial(CODE)).text:
            await self.press("1")
            await self.press("Ama")

    async def menus(self, hops: int) -> list[float]:
        """Seconds of each of so many hops into a menu and back."""
        waits = []
        for number in range(hops):
            started = time.perf_counter()
            screen = await self.press(BACK if number % 2 else INTO)
            waits.append(time.perf_counter() - started)
            if screen.over:
                raise RuntimeError(f"an end in the middle: {screen.text}")
        return waits

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()


@dataclass(slots=True)
class Tally:
    """One server under load from phones that call at the same time."""

    server: Server
    phones: list[Caller]
    cpu_seconds: float = 0.0
    rates: list[float] = field(default_factory=list)  # hops a second, of each round
    waits: list[float] = field(default_factory=list)  # seconds, of each hop

    @property
    def cost(self) -> str:
        """What one hop takes."""
        return f"{percentiles(self.waits, 99)}, {self.cpu_seconds / len(self.waits) * 1000:.2f} ms of CPU"

    async def round(self) -> None:
        """All dial, uncounted; then all go into a menu and back, hop by hop; and that again."""
        seconds, waits = 0.0, list[float]()
        for _ in range(DIALOGUES):
            await asyncio.gather(*(phone.dial(CODE) for phone in self.phones))
            cpu, started = self.server.cpu_seconds(), time.perf_counter()
            done = await asyncio.gather(*(phone.menus(HOPS) for phone in self.phones))
            seconds += time.perf_counter() - started
            self.cpu_seconds += self.server.cpu_seconds() - cpu
            waits += chain.from_iterable(done)
        self.rates.append(len(waits) / seconds)
        self.waits += waits


async def tally(server: Server, client: httpx.AsyncClient, phones: int) -> Tally:
    """A server whose callers are registered, warmed up with one round."""
    connections = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(phones)]
    callers = [Caller(client, streams, server.url, number) for number, streams in enumerate(connections)]
    await asyncio.gather(*(caller.register() for caller in callers))
    await Tally(server, callers).round()
    return Tally(server, callers)
