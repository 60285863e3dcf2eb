"""A handset on a Conversation alone: services in memory, dialogues as the JSON they become between two hops."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from pydantic import SecretStr
from sqlalchemy import Result
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

from ussd_app.actions import Services
from ussd_app.actions.arrival import Arrival
from ussd_app.breakers import Breakers
from ussd_app.clock import Clock
from ussd_app.config import Settings
from ussd_app.conversation import Conversation
from ussd_app.groups import Groups
from ussd_app.groups.home import Home
from ussd_app.gsm import septets
from ussd_app.guesses import Guesses
from ussd_app.menus import Menus
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Movement, Orders, Placed, PlacedSlowly, Repeated, Standing, Wanted
from ussd_app.routes import Routes
from ussd_app.sessions import Hop
from ussd_app.sims import Sims
from ussd_app.store import Row, Statement, Store
from ussd_app.subscribers import (
    NoPin,
    PinLocked,
    PinOk,
    PinSet,
    PinWeak,
    PinWrong,
    Subscriber,
    Subscribers,
)
from ussd_app.ussd import Effects, Event, Turn

AMA = Msisdn("+233240000001")
KOFI = Msisdn("+233240000002")
TELECEL = Msisdn("+233200000001")
DIALOGUE_BYTES_MAX = 4096


class EmptyDatabase:
    """Stands for a store, and for who looks into it: nobody has paid for anything or is in any group."""

    @asynccontextmanager
    async def look(self) -> AsyncIterator["EmptyDatabase"]:
        """A reader."""
        yield self

    async def one(self, _statement: Statement, **_given: Any) -> None:  # noqa: ANN401 - as columns are
        """No row."""

    async def all(self, _statement: Statement, **_given: Any) -> list[Row]:  # noqa: ANN401 - as columns are
        """None either."""
        return []

    async def execute(self, _query: Any) -> Result[Any]:  # noqa: ANN401 - any query
        """No rows."""
        return IteratorResult(SimpleResultMetaData(()), iter(()))


class NoMoreGuesses:
    """Whoever it is has tried too many codes, so that none is looked up."""

    async def may_try(self, _msisdn: Msisdn) -> bool:
        """No."""
        return False


@dataclass
class FakeSubscribers:
    """People in a dictionary."""

    people: dict[Msisdn, Subscriber] = field(default_factory=dict)
    pins: dict[Msisdn, str] = field(default_factory=dict)
    tries: int = 3

    async def find(self, msisdn: Msisdn) -> Subscriber | None:
        """Who this is."""
        return self.people.get(msisdn)

    async def register(self, msisdn: Msisdn, name: str, language: str) -> Subscriber:
        """Enter a person."""
        return self.people.setdefault(msisdn, Subscriber(msisdn, name, language, has_pin=False))

    async def set_language(self, msisdn: Msisdn, language: str) -> None:
        """Speak another language."""
        old = self.people[msisdn]
        self.people[msisdn] = Subscriber(msisdn, old.name, language, old.has_pin)

    async def set_name(self, msisdn: Msisdn, name: str) -> str:
        """Call them something else."""
        old = self.people[msisdn]
        self.people[msisdn] = Subscriber(msisdn, name, old.language, old.has_pin)
        return name

    async def check_pin(self, msisdn: Msisdn, pin: str) -> PinOk | PinWrong | PinLocked | NoPin:
        """Three tries."""
        if msisdn not in self.pins:
            return NoPin()
        if self.tries and pin == self.pins[msisdn]:
            self.tries = 3
            return PinOk()
        self.tries = max(self.tries - 1, 0)
        return PinWrong(self.tries) if self.tries else PinLocked(30)

    async def set_pin(self, msisdn: Msisdn, pin: str, *, checked: bool) -> PinSet | PinWeak | PinWrong:
        """Set it, or change it where the old one has been given."""
        if pin == "1234":
            return PinWeak()
        if msisdn in self.pins and not checked:
            return PinWrong(self.tries)
        self.pins[msisdn] = pin
        old = self.people[msisdn]
        self.people[msisdn] = Subscriber(msisdn, old.name, old.language, has_pin=True)
        return PinSet()


class FakeOrders:
    """Orders that are placed and stay as they are."""

    def __init__(self) -> None:
        operator = SimpleNamespace(
            name="mtn_momo",
            brand="MTN",
            one_float=True,
            countries={"GH": "MTN"},
            step=lambda _currency: 10,
            name_of=self._name,
            is_active=self._active,
        )
        deliveries = dict.fromkeys(("airtime_africastalking", "bundles_africastalking", "voucher_sms"))
        self.payments = SimpleNamespace(
            operators={"mtn_momo": operator}, deliveries=deliveries, breakers=Breakers(None, Clock())
        )
        self.store = EmptyDatabase()
        self.routes = Routes(cast("Store", self.store), self.payments.operators, StandingClock())
        self.limit = Money(200_000, "GHS")
        self.placed: dict[str, dict[str, Any]] = {}
        self.latest: list[Standing] = []
        self.moved: list[Movement] = []
        self.repeated: Repeated | None = None
        self.fails = False
        self.slow = False

    async def refuses(self, wanted: Wanted) -> LimitReached | Repeated | None:
        """One limit for all; what a test says was ordered before."""
        return LimitReached(self.limit) if wanted.amount > self.limit else self.repeated

    async def place(self, kind: str, *, run: str, **asked: Any) -> Placed | LimitReached:  # noqa: ANN401 - kept as it came
        """Once for each run."""
        if self.fails:
            raise ConnectionError
        if asked["amount"] > self.limit:
            return LimitReached(self.limit)
        self.placed.setdefault(run, {"kind": kind, **asked})
        return PlacedSlowly("48215037", "MTN") if self.slow else Placed("48215037")

    try_place = place

    async def standing(self, _msisdn: Msisdn, code: str = "") -> list[Standing]:
        """What a test has put there: what is open, and the one of that code."""
        return [each for each in self.latest if each.is_open or each.code == code]

    async def movements(self, _msisdn: Msisdn, limit: int = 5) -> list[Movement]:
        """What a test has put there."""
        return self.moved[:limit]

    async def _name(self, _msisdn: Msisdn) -> str:
        return "KOFI MENSAH"

    async def _active(self, _msisdn: Msisdn) -> bool:
        return True


class StandingClock(Clock):
    """It is always the same moment."""

    def now(self) -> datetime:
        """A Tuesday morning."""
        return datetime(2026, 3, 3, 8, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        """The beginning."""
        return 0.0


@dataclass
class Phone:
    """Dials and presses keys; ``effects`` is what the last hop has said of itself."""

    menus: Menus
    msisdn: Msisdn | None = AMA
    language: str | None = None
    aggregator: str = "africastalking"
    cumulative: bool = True
    subscribers: FakeSubscribers = field(default_factory=FakeSubscribers)
    orders: FakeOrders = field(default_factory=FakeOrders)
    groups: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(store=EmptyDatabase(), clock=StandingClock(), settings=Settings())
    )
    effects: Effects = field(default_factory=Effects)
    dialogue: dict[str, Any] | None = None
    runs: int = 0

    def __post_init__(self) -> None:
        settings = Settings(secret_keys=(SecretStr("a key of a test"),), country="GH")
        services = Services(
            settings,
            StandingClock(),
            cast("Orders", self.orders),
            cast("Groups", self.groups),
            cast("Subscribers", self.subscribers),
            cast("Sims", None),  # these aggregators tell no imsi
            cast("Guesses", NoMoreGuesses()),
            languages=lambda: {"en": "English", "fr": "Francais", "sw": "Kiswahili", "tw": "Twi"},
            arrive=self.arrive,
            bundles=lambda: self.menus.bundles,
        )
        self.conversation = Conversation(lambda: self.menus, services, self._new_run)

    async def arrive(self, msisdn: Msisdn) -> Arrival:
        """Who a test has put there, and what of theirs is open."""
        standing = await self.orders.standing(msisdn)
        return Arrival(await self.subscribers.find(msisdn), standing, Home(None, None, has_groups=False))

    async def dial(self, *pretyped: str, redial: bool = False) -> str:
        """The first hop of a session; on a redial what was left behind is still there."""
        left = self.dialogue if redial else None
        return await self._hop(Event.BEGIN, first=True, redial=redial, pretyped=pretyped, dialogue=left)

    async def press(self, *keys: str) -> str:
        """One hop for each; the last screen."""
        screen = ""
        for key in keys:
            screen = await self._hop(Event.REPLY, typed=key, dialogue=self.dialogue)
        return screen

    async def diverge(self) -> str:
        """A hop whose input does not follow from the one before."""
        return await self._hop(Event.REPLY, diverged=True, dialogue=self.dialogue)

    async def lose(self, typed: str) -> str:
        """A key pressed in a session nobody remembers."""
        return await self._hop(Event.REPLY, first=True, typed=typed)

    async def _hop(
        self,
        event: Event,
        *,
        first: bool = False,
        redial: bool = False,
        diverged: bool = False,
        typed: str = "",
        pretyped: tuple[str, ...] = (),
        dialogue: dict[str, Any] | None = None,
    ) -> str:
        turn = Turn(
            self.aggregator, "s1", self.msisdn or "masked", self.msisdn, "*920*55#", event, "",
            cumulative=self.cumulative, language=self.language,
        )  # fmt: skip
        hop = Hop("k", 1, "s1", first, redial, diverged, pretyped, typed, dialogue, "")
        self.effects = Effects()
        answer = await self.conversation.turn(hop, turn, self.effects)
        stored = json.dumps(answer.dialogue)
        assert len(stored) <= DIALOGUE_BYTES_MAX
        assert answer.reply.close == (answer.dialogue is None)
        assert (septets(answer.reply.text) or 999) <= (140 if first else 160)
        self.dialogue = json.loads(stored)
        return ("END " if answer.reply.close else "CON ") + answer.reply.text

    def _new_run(self) -> str:
        self.runs += 1
        return f"run{self.runs}"


def registered(menus: Menus, language: str = "en", **given: Any) -> Phone:  # noqa: ANN401 - Phone's own fields
    """A phone whose owner is registered as Ama."""
    phone = Phone(menus, **given)
    phone.subscribers.people[AMA] = Subscriber(AMA, "Ama", language, has_pin=False)
    return phone
