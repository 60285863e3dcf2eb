"""Actions for menus under test: their signatures are all that is ever used of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ussd_app.actions import Call, Choices, Pin, action
from ussd_app.menus.model import Action
from ussd_app.menus.signature import read
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn


@dataclass(frozen=True)
class Known:
    """Somebody we know."""

    caller_name: str


@dataclass(frozen=True)
class Invited:
    """Somebody who is waited for."""

    caller_name: str
    invited: bool
    inviter: str


@dataclass(frozen=True)
class Quoted:
    """A price."""

    fee: Money
    total: Money
    at: datetime


@dataclass(frozen=True)
class LimitReached:
    """Too much."""

    limit: Money


@dataclass(frozen=True)
class Placed:
    """Done."""

    reference: str


@dataclass(frozen=True)
class Next:
    """On we go."""


@dataclass
class Changing:
    """An outcome that is not frozen."""


@action()
async def greet(call: Call) -> Known | Invited:
    """Who is calling."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def quote(call: Call, recipient: Msisdn, amount: Money) -> Quoted | LimitReached:
    """What it costs."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action(collects=True)
async def place(call: Call, recipient: Msisdn, amount: Money, pin: Pin) -> Placed | LimitReached:
    """Order it."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def favourites(call: Call, after: str | None) -> Choices:
    """Whom one sends to."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def step(call: Call) -> Next:
    """Nothing much."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def remind(call: Call, nickname: str) -> Next:
    """Write to a friend."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def note(call: Call, recipient: str) -> Next:
    """Write down a name."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def unfrozen(call: Call) -> Changing:
    """An action whose outcome can change."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def uncalled(pin: Pin) -> Next:
    """An action that is not told who calls."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def listless(call: Call, group: str) -> Choices:
    """A list that cannot be paged."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


@action()
async def shapeless(call: Call, anything: list[str]) -> Next:
    """An action that takes what nobody can answer."""
    raise NotImplementedError  # the checker reads signatures and runs nothing


FUNCTIONS: dict[str, Any] = {
    "main.greet": greet,
    "send.quote": quote,
    "send.place": place,
    "send.favourites": favourites,
    "send.step": step,
    "send.remind": remind,
    "send.note": note,
    "send.unfrozen": unfrozen,
    "send.uncalled": uncalled,
    "send.listless": listless,
    "send.shapeless": shapeless,
}


def resolve(name: str) -> Action | None:
    """The menus' resolver, over the actions above."""
    return read(name, FUNCTIONS[name]) if name in FUNCTIONS else None
