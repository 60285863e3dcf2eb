"""The promise "We will SMS you. Do not pay again.": kept for every action with an effect, whatever held it up."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

import httpx2 as httpx
import psycopg
import pytest
from edge import FORMATS, Edge, count, rows
from line import Line
from redis.asyncio import Redis
from test_journeys import application  # noqa: F401 - a fixture

from ussd_app import embedded
from ussd_app.app import Application
from ussd_app.groups import asking, founding, invites
from ussd_app.groups.founding import Created
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn

PROMISED = "END We will SMS you the result. Do not pay again."
TOO_LATE = "END Your last request was not carried out. Nothing was charged. Please dial again."
PIN = "2580"
NOT_DONE = re.compile(
    r"Your request of 4 Mar 2031 \d\d:\d\d was not carried out. Nothing was charged. Please dial again."
)
NOT_CARRIED_OUT = re.compile(
    r"CON Your request of 4 Mar 2031 \d\d:\d\d was NOT carried out.\nNothing was charged.\n1 Main menu"
)
STATE = """
    SELECT 'orders' AS what, count(*)::text AS now FROM orders
    UNION ALL SELECT 'events', count(*)::text FROM group_events
    UNION ALL SELECT 'votes', count(*)::text FROM votes
    UNION ALL SELECT 'groups', count(*)::text FROM groups
    UNION ALL SELECT 'members', count(*)::text FROM memberships
    UNION ALL SELECT 'muted', string_agg(muted::text, ' ' ORDER BY id) FROM memberships
    UNION ALL SELECT 'people', string_agg(name || pin_hash, ' ' ORDER BY msisdn) FROM subscribers
"""
DONE = re.compile(r"Your request of 4 Mar 2031 \d\d:\d\d was carried out.")
CARRIED_OUT = re.compile(r"CON Your request of 4 Mar 2031 \d\d:\d\d was carried out.\n1 Main menu")
WRITTEN = "orders, group_events, votes, audit, invites, memberships"  # what the actions below write
TOLD = "SELECT template, text FROM messages WHERE msisdn = '+{}' AND key LIKE 'promise:%'"


@pytest.fixture
async def redis_line(stores: embedded.Stores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    """The line to Redis, which is empty."""
    async with Redis.from_url(stores.redis_url) as client:
        await client.flushall()
    async with Line(urlsplit(stores.redis_url).path, str(tmp_path_factory.mktemp("l") / "r")).open() as line:
        yield line


@pytest.fixture
def redis_url(redis_line: Line) -> str:
    """Redis at the other end of it."""
    return f"unix://{redis_line.address}"


@pytest.fixture
async def postgres_line(stores: embedded.Stores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    """The line to PostgreSQL."""
    directory = parse_qs(urlsplit(stores.database_url).query)["host"][0]
    near = str(tmp_path_factory.mktemp("l") / ".s.PGSQL.5432")
    async with Line(f"{directory}/.s.PGSQL.5432", near).open() as line:
        yield line


@pytest.fixture
def database(database: str, postgres_line: Line) -> str:
    """This test's database at the other end of it."""
    far, near = (path.rpartition("/")[0] for path in (postgres_line.path, postgres_line.address))
    return database.replace(quote(far, safe=""), quote(near, safe=""))


@dataclass
class Village:
    """Groups to pay, to join and to vote in, and phones that do what may have an effect; each phone does one thing."""

    application: Application
    http: httpx.AsyncClient
    invite: str  # to a collector's savings
    rotating: str  # to a group whose chair has asked for a fine
    phones: int = 0

    async def phone(self, format_: str = "africastalking") -> Edge:
        """A handset of its own, whose owner is registered and has a PIN."""
        self.phones += 1
        edge = Edge(self.http, self.application.settings.public_url, format_, f"2332400003{self.phones:02}")
        await self._register(edge)
        return edge

    async def _register(self, edge: Edge) -> None:
        people, who = self.application.subscribers, Msisdn(f"+{edge.msisdn}")
        await people.register(who, "Ama", "en")
        await people.set_pin(who, PIN, checked=False)

    async def send_money(self, phone: Edge) -> str:
        """Up to the screen whose key is returned, which places the order."""
        await phone.confirm_screen()
        return "1"

    async def airtime(self, phone: Edge) -> str:
        """Airtime for oneself."""
        assert "1 Confirm" in await self._enter(phone, "4", "1", "1", "5")
        return "1"

    async def contribute(self, phone: Edge) -> str:
        """Home, where what is due is paid with one key."""
        await invites.join(self.application.groups, Msisdn(f"+{phone.msisdn}"), "Ama", self.invite)
        assert "1 Pay NKOSUO GHS 2.00" in await self._enter(phone)
        return "1"

    async def join(self, phone: Edge) -> str:
        """Joining by a code."""
        assert "1 Join" in await self._enter(phone, "6", self.invite)
        return "1"

    async def vote(self, phone: Edge) -> str:
        """A request, whose PIN approves it."""
        await invites.join(self.application.groups, Msisdn(f"+{phone.msisdn}"), "Ama", self.rotating)
        assert "PIN to approve" in await self._enter(phone, "7", await self._request())
        return PIN

    async def found(self, phone: Edge) -> str:
        """A group of one's own."""
        assert "PIN to create" in await self._enter(phone, "22", "1", "SUSU", "50", "1")
        return PIN

    async def rename(self, phone: Edge) -> str:
        """Another name."""
        await self._enter(phone, "5", "5")
        return "Afia"

    async def set_pin(self, phone: Edge) -> str:
        """Another PIN."""
        await self._enter(phone, "5", "3", PIN, "7391")
        return "7391"

    async def mute(self, phone: Edge) -> str:
        """Fewer SMS of all groups."""
        await invites.join(self.application.groups, Msisdn(f"+{phone.msisdn}"), "Ama", self.invite)
        assert "1 " in await self._enter(phone, "5", "6", "1")
        return "1"

    async def _request(self) -> str:
        return str((await rows(self.application, "SELECT code FROM proposals"))[0].code)

    async def _enter(self, phone: Edge, *entries: str) -> str:
        shown = phone.read(await phone.dial())
        for entry in entries:
            shown = phone.read(await phone.press(entry))
        return shown

    async def told(self, phone: Edge) -> list[str]:
        """The SMS that keep a promise to this phone."""
        found = await rows(self.application, TOLD.format(phone.msisdn))
        return [row.text for row in found]

    async def tells(self, phone: Edge, seconds: float = 15) -> str:
        """The one SMS that keeps its promise, once it is there."""
        deadline = time.monotonic() + seconds
        while not await self.told(phone):
            assert time.monotonic() < deadline, "nobody was told"
            await asyncio.sleep(0.1)
        (words,) = await self.told(phone)
        return words


@pytest.fixture
async def village(application: Application) -> AsyncIterator[Village]:
    """Two groups; the chair of the rotating one asks its members for a fine."""
    groups, chair = application.groups, Msisdn("+233240000390")
    share = Money.of(2, "GHS")
    saving = await founding.create(groups, "saving", chair, "daily", "NKOSUO", share, "daily")
    rotating = await founding.create(groups, "rotating", chair, "rotating", "ADEHYE", share, "weekly")
    assert isinstance(saving, Created)
    assert isinstance(rotating, Created)
    assert saving.code
    assert rotating.code
    for number in (91, 92):
        await invites.join(groups, Msisdn(f"+2332400003{number}"), "Kofi", rotating.code)
    await asking.rules(groups, "asked", chair, rotating.group_id, {"fine": 500})
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        yield Village(application, http, saving.code, rotating.code)


@asynccontextmanager
async def locked(stores: embedded.Stores, database: str, mode: str) -> AsyncIterator[None]:
    """Another connection holds what the actions write, to the end of the block."""
    name = urlsplit(database).path.removeprefix("/")
    conninfo = stores.conninfo.replace("/postgres?", f"/{name}?")
    async with await psycopg.AsyncConnection.connect(conninfo) as other:
        await other.execute(f"LOCK TABLE {WRITTEN} IN {mode} MODE".encode())
        yield
        await other.rollback()


ACTIONS = (
    *(("send_money", each) for each in FORMATS),
    *zip(("airtime", "contribute", "join", "vote", "found", "rename", "set_pin", "mute"), 2 * FORMATS, strict=True),
)
MONEY = ("send_money", "airtime", "contribute")  # what places an order


@dataclass
class Ready:
    """A phone whose next key does something, and what that key is."""

    does: str
    phone: Edge
    key: str

    async def press(self) -> str:
        """Press it; the screen, within what an aggregator waits."""
        async with asyncio.timeout(8):
            return self.phone.read(await self.phone.press(self.key))


async def all_ready(village: Village) -> list[Ready]:
    """One phone for each action."""
    ready = []
    for does, format_ in ACTIONS:
        phone = await village.phone(format_)
        ready.append(Ready(does, phone, await getattr(village, does)(phone)))
    return ready


async def state(application: Application) -> dict[str, str]:
    """Everything that the actions could change."""
    found = await rows(application, STATE)
    return {row.what: row.now for row in found}


async def test_what_was_rolled_back_is_told_to_have_cost_nothing(
    village: Village, application: Application, stores: embedded.Stores, database: str, redis: Redis
) -> None:
    """The database holds every action up until it is given up: nothing is done, ever, and the person is told so."""
    everyone = await all_ready(village)
    before = await state(application)
    sessions = {key: await redis.dump(key) for key in await redis.keys("ussd:*")}
    async with locked(stores, database, "SHARE"):
        assert {await each for each in asyncio.as_completed([one.press() for one in everyone])} == {PROMISED}
        # They are told while it still hangs: a void key can never be used.
        for one in everyone:
            assert NOT_DONE.fullmatch(await village.tells(one.phone)), one.does
    assert await state(application) == before
    assert {one.phone.read(await one.phone.again()) for one in everyone} == {PROMISED}
    # A Redis that has lost its last second takes the repeated request for a new one; it is refused, and told why.
    for key, dump in sessions.items():
        assert dump
        await redis.restore(key, 60_000, dump, replace=True)
    for one in everyone:
        assert one.phone.read(await one.phone.again()) == TOO_LATE, one.does
    assert await state(application) == before
    for one in everyone:
        assert NOT_CARRIED_OUT.fullmatch(one.phone.read(await one.phone.dial())), one.does
        assert one.phone.read(await one.phone.press("1")).startswith("CON Akwaaba Ama\n")
        assert one.phone.read(await one.phone.dial()).startswith("CON Akwaaba Ama\n")
        assert len(await village.told(one.phone)) == 1


async def test_what_was_done_is_told_where_only_the_reply_was_lost(
    village: Village, application: Application, stores: embedded.Stores, database: str, redis_line: Line
) -> None:
    """Redis goes while an action waits for the database, which then does it: once, and the SMS and home say so."""
    everyone = await all_ready(village)
    before = await state(application)
    async with locked(stores, database, "SHARE"):
        pressed = [asyncio.create_task(one.press()) for one in everyone]
        await asyncio.sleep(1.5)
        redis_line.hold()
    assert {await each for each in pressed} == {PROMISED}
    said = {one.phone.msisdn: await village.tells(one.phone) for one in everyone}
    redis_line.release()
    placed = {row.msisdn: row.code for row in await rows(application, "SELECT msisdn, code FROM orders")}
    assert len(placed) == sum(one.does in MONEY for one in everyone)
    for one in everyone:
        words = said[one.phone.msisdn]
        if one.does in MONEY:
            assert words.endswith(
                f" Do not pay again. We will SMS you the result. Ref {placed[f'+{one.phone.msisdn}']}"
            )
        else:
            assert DONE.fullmatch(words), one.does
    changed = await state(application)
    assert changed.keys() == before.keys()
    assert all(changed[what] != value for what, value in before.items())
    for one in everyone:
        shown = one.phone.read(await one.phone.dial())
        assert ("Do not pay again" in shown) if one.does in MONEY else CARRIED_OUT.fullmatch(shown), one.does
        assert one.phone.read(await one.phone.again()) == shown
        assert await village.told(one.phone) == [said[one.phone.msisdn]]
    assert await count(application, "orders") == len(placed)


async def test_a_commit_that_comes_late_is_waited_for_and_told(
    village: Village, application: Application, postgres_line: Line
) -> None:
    """The commit itself hangs until after the reply: nobody is told anything before it is known, and then the truth."""
    phone = await village.phone()
    key = await village.send_money(phone)
    with postgres_line.holding(b"INSERT INTO orders", b"COMMIT"):
        assert phone.read(await phone.press(key)) == PROMISED
        assert postgres_line.caught.is_set()
        await asyncio.sleep(3)
        assert await village.told(phone) == []
    words = await village.tells(phone)
    ((code,),) = await rows(application, "SELECT code FROM orders")
    assert words.startswith("We have your request for GHS 50.50 of 4 Mar 2031 ")
    assert words.endswith(f"Do not pay again. We will SMS you the result. Ref {code}")
    assert "Do not pay again" in phone.read(await phone.dial())
    assert await village.told(phone) == [words]
