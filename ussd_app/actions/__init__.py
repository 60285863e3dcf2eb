"""The one door from menus to code: an action takes answers by name and type, and returns one of its outcomes."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ussd_app.msisdn import Msisdn
from ussd_app.ussd import Effects, Turn

if TYPE_CHECKING:
    from ussd_app.actions.arrival import Arrival
    from ussd_app.clock import Clock
    from ussd_app.config import Settings
    from ussd_app.groups import Groups
    from ussd_app.guesses import Guesses
    from ussd_app.orders import Orders
    from ussd_app.orders.bundle import Bundle
    from ussd_app.sims import Sims
    from ussd_app.subscribers import Subscribers

LABEL_SEPTETS_MAX = 30  # of one line of a list
WORD_SEPTETS_MAX = 9  # of a word behind it: date and amount are never cut for its sake

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
    groups: "Groups"
    subscribers: "Subscribers"
    sims: "Sims"
    guesses: "Guesses"
    languages: Callable[[], Mapping[str, str]]  # code -> what it calls itself, in the order they are offered
    bundles: Callable[[], Mapping[str, "Bundle"]]  # what is on sale, by id
    arrive: Callable[[Msisdn], Awaitable["Arrival"]]  # the one question of a dial


@dataclass(slots=True)
class Call:
    """Who is calling and what about: handed to every action of one hop."""

    services: Services
    turn: Turn
    run: str  # id of this run of the flow: the idempotency key of whatever it places
    language: str
    deadline: float  # on the clock's monotonic scale
    effects: Effects = field(default_factory=Effects)  # the hop's own: what is told it counts however the hop ends
    key: str = ""  # of this action in its run: what it commits is committed under it, or never (idempotency.py)
    arrival: "Arrival | None" = None  # what this hop has found of the caller, where it is a dial

    @property
    def msisdn(self) -> Msisdn | None:
        """The caller, or None where the aggregator masks its numbers (such a caller moves no money)."""
        return self.turn.msisdn

    @property
    def caller(self) -> Msisdn:
        """The caller, where a flow lets nobody come this far whose number is masked."""
        if self.turn.msisdn is None:
            raise PermissionError("a masked number has no account and moves no money")
        return self.turn.msisdn

    @property
    def may_have_effect(self) -> bool:
        """Set it before anything is committed: from then on no reply says "nothing happened"."""
        return self.effects.may_have_effect

    @may_have_effect.setter
    def may_have_effect(self, may: bool) -> None:
        self.effects.may_have_effect = may
        if may:
            self.effects.run, self.effects.key = self.run, self.key


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a list: what is kept and what is shown; behind it, where one is named, a word of the menus."""

    value: str
    label: str
    word: str = ""


@dataclass(frozen=True, slots=True)
class Choices:
    """A stretch of a list of any length, in an order that stays: what follows the value the action was given.

    ``after`` is the value of the last line shown, which may be gone by now, or None for the beginning. No screen has
    room for more than thirty lines, so none need be fetched; ``more`` says whether the list goes on behind these.
    """

    items: tuple[Choice, ...]
    more: bool


def action(*, collects: bool = False, writes: bool = False) -> Callable[[Function], Function]:
    """Open a coroutine to the menus; ``collects`` marks one that raises an operator's prompt on the caller's phone.

    ``writes`` marks one that changes something and takes no PIN. No dial string leads into either (design.md law 5):
    a link on a web page may be one.
    """

    def mark(function: Function) -> Function:
        function.__action__ = True  # type: ignore[attr-defined]  # functions carry attributes, types do not say so
        function.__collects__ = collects  # type: ignore[attr-defined]  # the same
        function.__writes__ = writes  # type: ignore[attr-defined]  # the same
        return function

    return mark


def choose_language(call: Call, after: str | None) -> Choices:
    """Every language there is, each under its own name."""
    spoken = call.services.languages() if after is None else {}
    return Choices(tuple(Choice(code, name) for code, name in spoken.items()), more=False)


def outcome_key(outcome: type) -> str:
    """How menus name an outcome: ``LimitReached`` is ``on.limit_reached``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", outcome.__name__).lower()
