"""Hops through our own protocol under uvicorn: whole and in pieces, in order, refused, failed, hung and let go."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
import uvicorn
from world import AT, EVENT, WORDS, FakeConversation, Screen, World, aggregator

from ussd_app.clock import Clock
from ussd_app.sessions import Hop
from ussd_app.ussd import Effects, Turn
from ussd_app.web.patience import Patient

TYPE = "application/x-www-form-urlencoded"


class Phone:
    """A connection of an aggregator's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, str, bytes]:
        """Status, head in lower case and body of the next response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split()[1]), head, await self.reader.readexactly(length)

    async def say(self, *pieces: bytes) -> tuple[int, str, bytes]:
        """The answer to what is sent piece by piece."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)
        return await self.answer()

    async def is_closed(self) -> bool:
        """Whether the other side has hung up."""
        return await self.reader.read() == b""


@asynccontextmanager
async def phone(world: World, **options: object) -> AsyncIterator[Phone]:
    """A connection to a real server."""
    config = uvicorn.Config(world.app, port=0, log_level="critical", lifespan="off", http=Patient, **options)  # type: ignore[arg-type]  # options of many types
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
        try:
            yield Phone(reader, writer)
        finally:
            writer.close()
            server.should_exit = True
            await running


def hop(
    fields: Mapping[str, str] = AT, path: str = "/ussd/africastalking", method: str = "POST", version: str = "1.1",
    **headers: str,
) -> bytes:  # fmt: skip
    """A request."""
    body = urlencode(fields)
    named = {"host": "x", "content-type": TYPE, "content-length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n{body}".encode()


async def test_a_hop_is_answered_the_same_whole_and_in_pieces() -> None:
    """In one segment, byte groups, and at the shared address; the connection stays."""
    async with phone(World()) as at:
        whole = hop()
        for pieces in ([whole], [whole[:30], whole[30:]], [whole[:-3], whole[-3:]], [hop(path="/ussd/callback")]):
            status, head, body = await at.say(*pieces)
            assert (status, body) == (200, b"CON Got 1\n1. Yes")
            assert "\r\ncontent-type: text/plain; charset=utf-8\r\n" in head
            assert "\r\ndate: " in head
            assert "connection:" not in head


async def test_hops_sent_one_behind_the_other_are_answered_in_order() -> None:
    """Three in one segment, and half of a fourth; another request among them."""
    async with phone(World()) as at:
        health = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
        nobody, last = hop(path="/ussd/vodacom"), hop()
        assert (await at.say(b"".join([hop(), nobody, health, hop(EVENT), last[:-2]])))[2] == b"CON Got 1\n1. Yes"
        assert (await at.answer())[0] == 404
        assert (await at.answer())[2] == b'{"status":"ok"}'
        assert (await at.answer())[2] == b""
        assert (await at.say(last[-2:]))[2] == b"CON Got 1\n1. Yes"


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (hop(path="/ussd/vodacom"), 404, b"Not Found"),
        (hop(path="/ussd/africastalking/guess"), 404, b"Not Found"),
        (hop(path="/ussd/mtn"), 415, b"mtn does not speak this format"),
        (hop(path="/ussd/mtn", method="GET"), 405, b"Method Not Allowed"),
        (hop(path="/ussd/mtn", method="DELETE"), 405, b"Method Not Allowed"),
        (hop(content_type="text/plain"), 415, b"send JSON, or a form (urlencoded or multipart)"),
        (hop({"a": "1"}), 400, b"serviceCode is missing"),
        (hop(AT | {"sessionId": ""}), 400, b"sessionId is missing"),
    ],
)
async def test_refusals_are_those_of_the_long_way(request_: bytes, status: int, said: bytes) -> None:
    """Whole or in pieces; the connection of a whole request stays."""
    async with phone(World()) as at:
        answered = await at.say(request_)
        assert answered[0] == status
        assert said == answered[2] or said.endswith(b"is missing")
        assert "connection: close" not in answered[1]
        pieces = await at.say(hop()[:20], hop()[20:])
        assert pieces[0] == 200


async def test_a_body_over_its_limit_is_refused_and_closed() -> None:
    """16 KB are taken, in one segment or many, one byte more is 413 and the end of the connection."""
    room = 16 * 1024 - len(urlencode(AT)) - len("&x=")
    async with phone(World()) as at:
        assert (await at.say(hop(AT | {"x": "y" * room})))[0] == 200
        status, head, _ = await at.say(hop(AT | {"x": "y" * (room + 1)}))
        assert status == 413
        assert "connection: close" in head
        assert await at.is_closed()


async def test_old_and_closing_clients_are_hung_up_on() -> None:
    """HTTP/1.0, and whoever asks for it."""
    for request_ in (hop(version="1.0"), hop(connection="close")):
        async with phone(World()) as at:
            status, head, body = await at.say(request_)
            assert (status, body) == (200, b"CON Got 1\n1. Yes")
            assert "connection: close" in head
            assert await at.is_closed()


async def test_an_allow_list_goes_by_the_proxys_word_where_it_is_trusted() -> None:
    """The short way knows nothing of proxies, and is not taken."""
    listed = aggregator("africastalking", ussd_allowed_ips="192.0.2.0/24")
    for trusted, status in (("127.0.0.1", 200), ("10.0.0.1", 403)):
        async with phone(World(aggregators=[listed]), forwarded_allow_ips=trusted) as at:
            assert (await at.say(hop(x_forwarded_for="192.0.2.7")))[0] == status
            assert (await at.say(hop()))[0] == 403


class Broken(FakeConversation):
    """One that cannot even say that it is broken."""

    async def turn(self, _hop: Hop, _turn: Turn, _effects: Effects) -> Screen:
        """Fail."""
        raise RuntimeError("PIN 4711")

    def word(self, _name: str, _language: str | None) -> str:
        """Fail too."""
        raise RuntimeError("PIN 4711")


async def test_a_fault_of_ours_is_a_500_and_the_next_is_served() -> None:
    """As on the long way; the server goes on."""
    async with phone(World(conversation=Broken())) as at:
        status, head, body = await at.say(hop())
        assert (status, body) == (500, b"Internal Server Error")
        assert "connection: close" in head
        assert await at.is_closed()


async def test_a_hop_that_clings_is_answered_in_time_and_the_connection_goes_on() -> None:
    """What is stuck, even against its cancelling, holds up neither the answer nor the next request."""
    freed = asyncio.Event()

    async def cling(_effects: Effects) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await freed.wait()

    conversation = FakeConversation(cling)
    async with phone(World(conversation=conversation, hop_seconds=0.1, clock=Clock())) as at:
        assert (await at.say(hop()))[2] == f"END {WORDS['failed']}".encode()
        conversation.act = None
        assert (await at.say(hop()))[2] == b"CON Got 1\n1. Yes"
        freed.set()
        assert (await at.say(hop()))[2] == b"CON Got 1\n1. Yes"


async def test_a_phone_that_hangs_up_meanwhile_disturbs_nobody() -> None:
    """Its hop runs to its end."""
    arrived, freed = asyncio.Event(), asyncio.Event()

    async def wait(_effects: Effects) -> None:
        arrived.set()
        await freed.wait()

    conversation = FakeConversation(wait)
    world = World(conversation=conversation, clock=Clock())
    async with phone(world) as at:
        at.writer.write(hop())
        await arrived.wait()
        at.writer.close()
        await asyncio.sleep(0.05)
        freed.set()
        await asyncio.sleep(0.05)
    assert conversation.entries == ["1"]


async def test_a_server_that_stops_answers_what_is_under_way() -> None:
    """With the last answer the connection is closed."""
    arrived, freed = asyncio.Event(), asyncio.Event()

    async def wait(_effects: Effects) -> None:
        arrived.set()
        await freed.wait()

    world = World(conversation=FakeConversation(wait), clock=Clock())
    config = uvicorn.Config(world.app, port=0, log_level="critical", lifespan="off", http=Patient)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
    at = Phone(reader, writer)
    writer.write(hop())
    await arrived.wait()
    server.should_exit = True
    await asyncio.sleep(0.3)
    freed.set()
    status, head, body = await at.answer()
    assert (status, body) == (200, b"CON Got 1\n1. Yes")
    assert "connection: close" in head
    assert await at.is_closed()
    writer.close()
    await running
