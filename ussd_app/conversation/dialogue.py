"""What is remembered of a dialogue between two hops: plain JSON, small, and never a PIN."""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from ussd_app.money import Money
from ussd_app.msisdn import Msisdn

HISTORY_MAX = 12  # screens one can go back
RUN_BYTES = 12  # of a digest that no two runs may share
PLAIN = frozenset({str, bool, int})  # as JSON has them


@dataclass(slots=True)
class Page:
    """The part of a list that is on the screen."""

    pairs: list[list[str]]  # values and labels, numbered from 1
    more: str | None = None  # the value after which the next page begins, where there is one
    turned: bool = False  # not the first page

    def pair(self, typed: str) -> list[str] | None:
        """The value and label under a number on this page."""
        if not re.fullmatch("[1-9][0-9]?", typed) or int(typed) > len(self.pairs):
            return None
        return self.pairs[int(typed) - 1]


@dataclass(slots=True)
class Dialogue:
    """Where somebody is in the menus, and what they have answered so far."""

    state: str  # the screen's name; moved by the menus' state machine
    run: str  # id of this run of the flow
    language: str
    menus: str  # digest of the menus it speaks
    answers: dict[str, Any] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    page: Page | None = None
    tries: int = 0
    pin_given: bool = False  # in this run; such a run is never resumed after a redial
    resuming: bool = False  # what is on the screen is the question whether to go on
    home: str | None = None  # the home screen, once it has been reached, and what it knows
    known: dict[str, Any] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)  # digits dialled and not read yet: home comes first
    actions: int = 0  # that were called in this run

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> "Dialogue":
        """From what dump made; raises TypeError or ValueError where another version made it otherwise."""
        given = dict(stored)
        given["answers"] = _unpacked(given.get("answers", {}))
        given["known"] = _unpacked(given.get("known", {}))
        given["page"] = Page(**given["page"]) if given.get("page") else None
        loaded = cls(**given)
        loaded.history = [f"{loaded.flow}.{screen}" for screen in loaded.history]
        return loaded

    def dump(self) -> dict[str, Any]:
        """As JSON, without what is empty."""
        stored = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        if self.answers:
            stored["answers"] = _packed(self.answers)
        if self.known:
            stored["known"] = _packed(self.known)
        if self.page:
            stored["page"] = asdict(self.page)
        if self.history:
            stored["history"] = [state.removeprefix(f"{self.flow}.") for state in self.history]
        return stored

    @property
    def flow(self) -> str:
        """The flow it is in, and every screen one can go back to."""
        return self.state.partition(".")[0]

    def start(self) -> None:
        """Begin a run of a flow, which knows nothing of the one before.

        Its id follows from where it began, so that a copy of the hop that began it, even one that comes when Redis has
        forgotten the first, begins the same run and places nothing twice.
        """
        began = f"{self.run} {self.actions} {self.state}".encode()
        run = urlsafe_b64encode(hashlib.blake2b(began, digest_size=RUN_BYTES).digest()).decode()
        self.run, self.actions, self.answers, self.history, self.pin_given = run, 0, {}, [], False

    def visited(self, state: str) -> None:
        """Remember a screen for going back."""
        self.history = [*self.history, state][-HISTORY_MAX:]

    def leave(self, screens: Container[str]) -> str | None:
        """The last screen visited that still exists, forgotten again; None where there is none."""
        while self.history:
            state = self.history.pop()
            if state in screens:
                return state
        return None

    def reached_home(self, needed: Container[str]) -> None:
        """Remember the home screen and the ``needed`` part of what it knows; there is nothing behind it."""
        self.answers = {name: value for name, value in self.answers.items() if name in needed}
        self.home, self.known, self.history = self.state, dict(self.answers), []


def _packed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if type(value) in PLAIN else pack(value) for name, value in values.items()}


def _unpacked(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if type(value) in PLAIN else unpack(value) for name, value in values.items()}


def pack(value: Any) -> Any:  # noqa: ANN401 - anything a screen can show
    """A typed value as JSON: plain where JSON has the type, else a list, of a shape that no other type has."""
    match value:
        case Msisdn():
            return [str(value)]
        case Money():
            return [value.minor, value.currency]
        case datetime():
            return ["moment", value.isoformat()]
        case date():
            return ["date", value.isoformat()]
        case _ if type(value) in PLAIN:
            return value
        case _:  # a Pin among them
            raise TypeError(f"a {type(value).__name__} is not kept in a dialogue")


def unpack(packed: Any) -> Any:  # noqa: ANN401 - JSON
    """The typed value that pack was given."""
    match packed:
        case [str(number)] if number.startswith("+"):
            return Msisdn(number)
        case [int(minor), str(currency)]:
            return Money(minor, currency)
        case ["moment", text]:
            return datetime.fromisoformat(text)
        case ["date", text]:
            return date.fromisoformat(text)
        case str() | bool() | int():
            return packed
        case _:
            raise ValueError("not packed here")
