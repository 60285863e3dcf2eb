"""A village at its border: real menus, real services and books; only the operator and the SMS are scripted."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from desk import Desk
from groups import Circle, phone
from phone import Phone
from pydantic import SecretStr
from sqlalchemy import text

from ussd_app import menus
from ussd_app.actions import Call, Services
from ussd_app.actions.arrival import arrive
from ussd_app.config import Settings
from ussd_app.conversation import Conversation
from ussd_app.guesses import Guesses
from ussd_app.menus import Menus
from ussd_app.sims import Sims
from ussd_app.subscribers import Subscribers
from ussd_app.ussd import Event, Turn

PIN = "7391"


@pytest.fixture(scope="module")
def real() -> Menus:
    """The menus as they are shipped."""
    return menus.load(Path(__file__).parents[1] / "menus")


@dataclass
class Thumb(Phone):
    """A handset on the real menus with the real services behind them."""

    services: Services | None = None

    def __post_init__(self) -> None:
        assert self.services
        self.conversation = Conversation(lambda: self.menus, self.services, lambda: uuid4().hex)


@dataclass
class Border:
    """A village, and whoever dials into it."""

    circle: Circle
    services: Services
    menus: Menus

    def thumb(self, number: int) -> Thumb:
        """The handset of person ``number``."""
        return Thumb(self.menus, phone(number), services=self.services)

    def call(self, number: int) -> Call:
        """A hop of person ``number``."""
        turn = Turn("mtn", "s1", phone(number).digits, phone(number), "*920*55#", Event.BEGIN, "")
        return Call(self.services, turn, uuid4().hex, "en", 5.0)

    async def secured(self, *numbers: int) -> None:
        """They have the PIN."""
        for number in numbers:
            await self.services.subscribers.register(phone(number), "Stranger", "en")
            await self.services.subscribers.set_pin(phone(number), PIN, checked=True)

    async def rows(self, query: str) -> list[Any]:
        """Whatever the database answers."""
        async with self.circle.store.look() as connection:
            return [tuple(row) for row in await connection.execute(text(query))]

    async def state(self) -> list[list[Any]]:
        """All that a group, its people and its books are."""
        tables = ("groups", "group_rules", "memberships", "invites", "group_events", "proposals", "votes", "cycles",
                  "orders", "transfers", "messages")  # fmt: skip
        people = "SELECT msisdn, name, language FROM subscribers ORDER BY msisdn"
        return [await self.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables] + [await self.rows(people)]


@pytest.fixture
async def border(circle: Circle, desk: Desk, real: Menus) -> Border:
    """Everything real but the operator and the SMS."""
    people = Subscribers(circle.store, circle.groups.messages, circle.clock, (b"k" * 32,))
    sims = Sims(circle.store, circle.groups.jobs, None, circle.clock, (b"s" * 32,))
    settings = Settings(secret_keys=(SecretStr("of the tests"),))
    services = Services(
        settings, circle.clock, desk.orders, circle.groups, people, sims, Guesses(circle.store, circle.clock),
        languages=lambda: {"en": "English", "fr": "Francais"}, bundles=lambda: real.bundles,
        arrive=partial(arrive, desk.orders, circle.groups),
    )  # fmt: skip
    return Border(circle, services, real)
