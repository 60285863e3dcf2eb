"""Compiled menus: immutable, wired once, shared by every dialogue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from transitions import Machine

from ussd_app.orders.bundle import Bundle

BACK, HOME, MORE = "0", "00", "98"  # the framework's keys: no option, code or answer may be one of them
HOME_FLOW = "main"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many GSM-7 septets the smallest aggregator in use shows: on any screen, and on the first of a session."""

    screen_septets: int = 160
    opening_septets: int = 140


@dataclass(frozen=True, slots=True)
class Action:
    """Code a screen may call, as its own signature tells it."""

    name: str  # "send_money.quote"
    function: Callable[..., Any]
    parameters: Mapping[str, type]  # answers it takes, without ``call`` (and ``after`` of a list)
    outcomes: Mapping[str, type]  # "quoted" -> Quoted; empty for the action of a list
    collects: bool
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Screen:
    """What every kind of screen has. ``state`` is its name in the machine and in texts: ``send_money.amount``."""

    state: str
    flow: str
    line: int  # of its header in the flow's file


@dataclass(frozen=True, slots=True)
class Option:
    """One numbered line. ``text_id`` is its text's msgctxt: ``send_money.confirm.1``."""

    key: str
    text_id: str
    next: str
    when: str | None = None
    set: Mapping[str, str] = field(default_factory=dict)
    listed: bool = True  # False: its key works, and no line says so


@dataclass(frozen=True, slots=True)
class Ask(Screen):
    """One answer of a named type; ``fixed`` are keys that mean something else than an answer."""

    type: str  # "msisdn", "amount", "pin", "text", "number", "date", "code"
    keep: str
    next: str
    fixed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options(Screen):
    """A numbered menu; the home screen of ``main`` also lists the flows under their codes, after its own options.

    One to be answered ``by_hand`` is a question: no dial string says yes to it.
    """

    options: tuple[Option, ...]
    lists_flows: bool = False
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class Choose(Screen):
    """A list only known now, paged by itself."""

    action: Action
    keep: str
    next: str
    empty: str


@dataclass(frozen=True, slots=True)
class Do(Screen):
    """A call to code; each outcome leads to a screen."""

    action: Action
    on: Mapping[str, str]  # outcome key -> state


@dataclass(frozen=True, slots=True)
class End(Screen):
    """Last words; the dialogue closes."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One file of menus/."""

    name: str
    title: str  # msgctxt "<flow>.title"; a line of the home screen, which may show what is known there
    code: str | None  # its key at home and in *920*55*<code>#; None: only other flows lead there
    resume: str  # "ask" | "restart" | "silent"
    entry: str  # state of its first screen
    when: str | None = None  # boolean variable that must be true for its code to work
    listed: bool = True  # False: its code works, and the home screen does not show it


class Texts(Protocol):
    """Renders every text in every language. Variables are typed values (Money, Msisdn, str, int, datetime, bool)."""

    languages: tuple[str, ...]

    def render(self, text_id: str, language: str, variables: Mapping[str, Any]) -> str:
        """The words in GSM-7; a text missing in that language falls back to English."""
        ...


@dataclass(frozen=True, slots=True)
class SmsTemplate:
    """One text of sms.toml; ``text_id`` is ``sms.<name>``."""

    name: str
    priority: str  # code | receipt | notice | reminder | bulk
    text_id: str
    variables: frozenset[str]
    parts: int = 1  # SMS parts it may take at its worst
    validity_minutes: int | None = None  # None: the sender's own


@dataclass(frozen=True, slots=True)
class Opening:
    """A flow's line at home, where it is for whom ``when`` says, and its key without a line, for everybody else."""

    when: str | None
    shown: Option
    hidden: Option

    @classmethod
    def of(cls, code: str, flow: Flow) -> "Opening":
        """That of a flow under its code."""
        option = Option(code, flow.title, flow.entry, listed=flow.listed)
        return cls(flow.when, option, replace(option, listed=False))


@dataclass(frozen=True, slots=True)
class Menus:
    """Everything menus/ says, checked."""

    flows: Mapping[str, Flow]
    codes: Mapping[str, Flow]  # by the digits that open them
    screens: Mapping[str, Screen]  # by state
    machine: Machine  # triggers: "answer", "key_<digits>", "on_<outcome>", "empty"; fired on any object with .state
    texts: Texts
    sms: Mapping[str, SmsTemplate]
    digest: str  # of every file: a live dialogue remembers which menus it was speaking
    limits: Limits = field(default_factory=Limits)  # they were checked for; hints stand where these leave room
    bundles: Mapping[str, Bundle] = field(default_factory=dict)  # by id, in the order of the file
    home_needs: frozenset[str] = frozenset()  # every variable the home flow asks for; a dialogue forgets its others
    openings: tuple[Opening, ...] = field(init=False, repr=False, compare=False)  # by their codes, the lowest first

    def __post_init__(self) -> None:
        coded = sorted(self.codes.items(), key=lambda item: int(item[0]))
        object.__setattr__(self, "openings", tuple(Opening.of(code, flow) for code, flow in coded))
