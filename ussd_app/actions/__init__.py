"""The one door from menus to code: an action takes answers by name and type, and returns one of its outcomes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ussd_app.msisdn import Msisdn
from ussd_app.ussd import Turn

if TYPE_CHECKING:
    from ussd_app.clock import Clock
    from ussd_app.config import Settings
    from ussd_app.orders import Orders
    from ussd_app.subscribers import Subscribers

Function = TypeVar("Function", bound=Callable[..., Any])


class Pin(str):
    """A PIN on its way from the keypad to its check: never stored, echoed or logged."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Services:
    """What actions may call, built once in app.py."""

    settings: "Settings"
    clock: "Clock"
    orders: "Orders"
    subscribers: "Subscribers"
    languages: Callable[[], Mapping[str, str]]  # code -> what it calls itself, in the order they are offered


@dataclass(slots=True)
class Call:
    """Who is calling and what about: handed to every action of one hop."""

    services: Services
    turn: Turn
    run: str  # id of this run of the flow: the idempotency key of whatever it places
    language: str
    deadline: float  # on the clock's monotonic scale
    may_have_effect: bool = False  # set before anything is committed: from then on no reply says "nothing happened"

    @property
    def msisdn(self) -> Msisdn | None:
        """The caller, or None where the aggregator masks its numbers (such a caller moves no money)."""
        return self.turn.msisdn


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a list: what is kept and what is shown."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Choices:
    """A stretch of a list, beginning after the value the action was given."""

    items: tuple[Choice, ...]
    more: bool


def action(*, collects: bool = False) -> Callable[[Function], Function]:
    """Open a coroutine to the menus; ``collects`` marks one that raises an operator's prompt on the caller's phone."""

    def mark(function: Function) -> Function:
        function.__action__ = True  # type: ignore[attr-defined]  # functions carry attributes, types do not say so
        function.__collects__ = collects  # type: ignore[attr-defined]  # the same
        return function

    return mark


def choose_language(call: Call, after: str | None) -> Choices:
    """Every language there is, each under its own name."""
    spoken = call.services.languages() if after is None else {}
    return Choices(tuple(Choice(code, name) for code, name in spoken.items()), more=False)


def outcome_key(outcome: type) -> str:
    """How menus name an outcome: ``LimitReached`` is ``on.limit_reached``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", outcome.__name__).lower()
