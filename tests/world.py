"""The web application with everything behind a hop replaced by fakes that fail on demand."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
from conftest import FakeClock
from starlette.applications import Starlette

from ussd_app import web
from ussd_app.aggregators import Aggregator
from ussd_app.clock import Clock
from ussd_app.config import load, provider
from ussd_app.promises import Promise
from ussd_app.sessions import Copy, Hop, Late
from ussd_app.ussd import Effects, Reply, Turn
from ussd_app.web.doors import Door
from ussd_app.web.gate import Gate
from ussd_app.web.hops import Conversation, Hops, Sessions

WORDS = {
    "busy": "Busy. Nothing was charged.",
    "failed": "Sorry, dial again.",
    "we_will_sms": "We will SMS you. Do not pay again.",
    "ended": "This session is over.",
}
AT: dict[str, Any] = {
    "sessionId": "s1",
    "phoneNumber": "+233240000001",
    "networkCode": "62001",
    "serviceCode": "*920*55#",
    "text": "1",
}
MADAPI: dict[str, Any] = {
    "sessionId": "s1",
    "messageType": "1",
    "msisdn": "233240000001",
    "serviceCode": "920",
    "ussdString": "1",
}
FLAT = MADAPI | {"messageType": 1, "network": "MTNN"}
CON_END = {"sessionId": "s1", "msisdn": "233240000001", "ussdString": "1", "serviceCode": "*920*55#"}
HUBTEL: dict[str, Any] = {
    "Type": "Response",
    "Message": "1",
    "ServiceCode": "920*55",
    "Operator": "mtn",
    "ClientState": "",
    "Mobile": "233240000001",
    "SessionId": "s1",
    "Sequence": 2,
    "Platform": "USSD",
}
EVENT = {name: value for name, value in AT.items() if name != "text"} | {"status": "Incomplete", "hopsCount": "4"}

HOP = Hop(
    key="k",
    fence=1,
    session_id="s1",
    first=False,
    redial=False,
    diverged=False,
    pretyped=(),
    input="1",
    dialogue={"before": 1},
    mark="m",
)

Act = Callable[[Effects], Awaitable[None]]


@dataclass
class FakeSessions:
    """Begins every hop as told, and remembers what was committed."""

    begins: Hop | Copy | Late | Exception = HOP
    commits: bool | Exception = True
    ends: Exception | None = None
    committed: list[tuple[dict[str, Any] | None, Reply]] = field(default_factory=list)
    ended: list[Turn] = field(default_factory=list)

    async def begin(self, _turn: Turn, _repeat_window_ms: int) -> Hop | Copy | Late:
        """What the test wants."""
        if isinstance(self.begins, Exception):
            raise self.begins
        return self.begins

    async def commit(self, _hop: Hop, dialogue: dict[str, Any] | None, reply: Reply) -> bool:
        """What the test wants."""
        if isinstance(self.commits, Exception):
            raise self.commits
        self.committed.append((dialogue, reply))
        return self.commits

    async def end(self, turn: Turn) -> None:
        """Remember it."""
        if self.ends:
            raise self.ends
        self.ended.append(turn)


@dataclass
class Screen:
    """An answer of FakeConversation."""

    reply: Reply
    dialogue: dict[str, Any] | None


@dataclass
class FakeConversation:
    """Shows the newest entry, after doing what a test wants done meanwhile."""

    act: Act | None = None
    close: bool = False
    entries: list[str] = field(default_factory=list)

    async def turn(self, hop: Hop, _turn: Turn, effects: Effects) -> Screen:
        """One screen."""
        effects.flow = "send_money"
        if self.act:
            await self.act(effects)
        self.entries.append(hop.input)
        shown = "".join(hop.pretyped) if hop.first else hop.input
        return Screen(Reply(f"Got {shown}\n1. Yes", close=self.close), {"entries": len(self.entries)})

    def word(self, name: str, _language: str | None) -> str:
        """A system sentence."""
        return WORDS[name]


@dataclass
class FakeKeeper:
    """Remembers what was promised, and keeps it at once or fails to."""

    fails: Exception | None = None
    made: list[Promise] = field(default_factory=list)
    kept: list[Promise] = field(default_factory=list)

    async def make(self, promise: Promise) -> None:
        """Promise."""
        self.made.append(promise)

    async def keep(self, promise: Promise) -> None:
        """Keep it."""
        if self.fails:
            raise self.fails
        self.kept.append(promise)


@dataclass
class Store:
    """Keeps callbacks, or fails to."""

    fails: Exception | None = None
    kept: list[tuple[str, str, str, bytes]] = field(default_factory=list)

    async def keep(self, name: str, path: str, content_type: str, body: bytes) -> None:
        """Store one."""
        if self.fails:
            raise self.fails
        self.kept.append((name, path, content_type, body))


def aggregator(name: str, **settings: object) -> Aggregator:
    """One aggregator in use."""
    module = provider("aggregators", name)
    built: Aggregator = module.Aggregator(load(module.Settings, **settings), "920*55", "GH")
    return built


@dataclass
class World:
    """An application and everything behind it."""

    sessions: Sessions = field(default_factory=FakeSessions)
    conversation: Conversation = field(default_factory=FakeConversation)
    aggregators: list[Aggregator] = field(
        default_factory=lambda: [aggregator(name) for name in ("africastalking", "mtn", "hubtel")]
    )
    keeper: FakeKeeper = field(default_factory=FakeKeeper)
    store: Store = field(default_factory=Store)
    checks: dict[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    clock: Clock = field(default_factory=FakeClock)
    hop_seconds: float = 5.0
    address: str = "127.0.0.1"
    gate: Gate | None = None  # the usual one

    @property
    def app(self) -> Starlette:
        """The application."""
        door = Door("s3cret", ("127.0.0.0/8", "192.0.2.0/24"))
        return web.build(
            web.Parts(
                aggregators={each.name: each for each in self.aggregators},
                hops=Hops(self.sessions, self.conversation, self.clock, self.keeper, self.gate),  # type: ignore[arg-type]  # no stores
                callbacks={"mtn_momo": door},
                keep_callback=self.store.keep,
                reports={"mtn": door},
                keep_report=self.store.keep,
                checks=self.checks,
                now=self.clock.now,
                hop_seconds=self.hop_seconds,
            )
        )

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """One request."""
        transport = httpx.ASGITransport(self.app, client=(self.address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://ussd.test") as client:
            return await client.request(method, path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """One POST."""
        return await self.call("POST", path, **options)
