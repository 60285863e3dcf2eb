"""What the sandbox's providers share: the people's handsets and wallets, the books, the faults, and time."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import httpx2 as httpx
from pydantic_settings import SettingsConfigDict

from ussd_app.clock import Clock
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES, InvalidMsisdn, parse
from ussd_app.sandbox.background import Appointment, Background
from ussd_app.sandbox.books import Books, Movement, charged, handed_over, merchant, person
from ussd_app.sandbox.faults import Faults
from ussd_app.sandbox.switches import Switches
from ussd_app.sandbox.wire import Wire

Answer = Literal["approve", "reject", "ignore"]
Verdict = Literal["approve", "reject", "expired"]


class CountrySwitches(Switches):
    """How the country's people begin, in major units."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_")

    opening_balance: Decimal = Decimal("1000.00")  # of every wallet
    opening_float: Decimal = Decimal("100000.00")  # of our own wallet at each operator
    auto: Answer | None = None  # what new handsets answer by themselves


@dataclass(frozen=True, slots=True)
class Prompt:
    """An operator's question on a handset, whether to pay this."""

    id: str
    operator: str
    amount: Money
    message: str
    decide: Callable[[Verdict], None]
    expiry: Appointment


@dataclass(frozen=True, slots=True)
class Sms:
    """A message in a handset's inbox; ``sender`` is the name or code it shows."""

    sender: str
    text: str
    at: datetime


@dataclass(slots=True)
class Handset:
    """A person's phone and wallet."""

    msisdn: str  # digits only
    name: str
    auto: Answer | None = None  # what it answers every prompt with, by itself
    active: bool = True  # has a wallet
    can_receive: bool = True  # and may be paid
    reachable: bool = True  # and is switched on, for SMS
    prompts: dict[str, Prompt] = field(default_factory=dict)
    inbox: list[Sms] = field(default_factory=list)
    bundles: list[dict[str, str]] = field(default_factory=list)  # product, quantity, unit and validity of each
    sim_swapped_at: date | None = None  # None: never
    network: str | None = None  # as `phonenumbers` names it; None: the one its range was allocated to


class Country:
    """One country in a box, in memory; ``code`` is its ISO 3166 code."""

    def __init__(
        self,
        code: str,
        switches: CountrySwitches,
        clock: Clock,
        http: httpx.AsyncClient,
        callback_urls: Mapping[str, str],
    ) -> None:
        self.code = code
        self.currency = CURRENCIES[code]
        self.switches = switches
        self.clock = clock
        self.callback_urls = callback_urls
        self.books = Books()
        self.faults = Faults()
        self.background = Background(clock)
        self.wire = Wire(self.faults, clock, self.background, http)
        self.operators: set[str] = set()  # where we hold a wallet
        self.deliveries: set[str] = set()  # that were asked to hand something over
        self.handsets: dict[str, Handset] = {}
        self.messages: dict[str, int] = {}  # SMS accepted, per sender

    def handset(self, msisdn: str) -> Handset:
        """The handset of a number, with or without plus; made, with an invented owner, when first asked for."""
        digits = msisdn.removeprefix("+")
        if digits not in self.handsets:
            self.handsets[digits] = Handset(digits, f"Handset {digits[-4:]}", auto=self.switches.auto)
            self.wallet(digits, self.currency)
        return self.handsets[digits]

    def on_network(self, handset: Handset, *names: str) -> bool:
        """Whether a handset is on one of these networks, by the names `phonenumbers` has for carriers."""
        try:
            allocated = parse(f"+{handset.msisdn}", self.code).network
        except InvalidMsisdn:
            allocated = ""
        return (handset.network or allocated) in names

    def wallet(self, msisdn: str, currency: str) -> str:
        """The account of a person's wallet, open in that currency."""
        account = person(msisdn)
        self.books.open(account, currency, self.switches.opening_balance)
        return account

    def merchant(self, operator: str, currency: str) -> str:
        """The account of our wallet at an operator, open in that currency."""
        account = merchant(operator)
        self.operators.add(operator)
        self.books.open(account, currency, self.switches.opening_float)
        return account

    def ask(self, operator: str, reference: str, kind: str, handset: Handset, amount: Money) -> Movement:
        """Write down a movement asked for; a ``collection`` is from the person to us, all others are to the person."""
        ours, theirs = self.merchant(operator, amount.currency), self.wallet(handset.msisdn, amount.currency)
        debit, credit = (theirs, ours) if kind == "collection" else (ours, theirs)
        now = self.clock.now()
        movement = Movement(operator, reference, kind, handset.msisdn, amount, debit, credit, now)
        self.books.movements.append(movement)
        return movement

    def hand_over(self, delivery: str, what: str, reference: str, handset: Handset, amount: Money) -> Movement:
        """Write down what a delivery was asked to hand over to a person, and will charge us for."""
        self.deliveries.add(delivery)
        debit, credit = charged(delivery), handed_over(what, handset.msisdn)
        movement = Movement(delivery, reference, "delivery", handset.msisdn, amount, debit, credit, self.clock.now())
        self.books.movements.append(movement)
        return movement

    def prompt(
        self, handset: Handset, movement: Movement, message: str, seconds: float, decide: Callable[[Verdict], None]
    ) -> None:
        """Ask the person to approve a movement; ``decide`` hears the verdict once, after ``seconds`` at the latest."""
        key = secrets.token_hex(6)

        def expire() -> None:
            handset.prompts.pop(key, None)
            decide("expired")

        expiry = self.background.later(seconds, expire)
        handset.prompts[key] = Prompt(key, movement.operator, movement.amount, message, decide, expiry)
        if handset.auto:
            automatic = handset.auto
            self.background.later(0, lambda: self.answer(handset, key, automatic))

    def answer(self, handset: Handset, key: str, answer: Answer) -> None:
        """What the person does with a prompt; one that is ignored leaves the screen and expires in its time."""
        prompt = handset.prompts.pop(key, None)
        if prompt and answer != "ignore":
            prompt.expiry.cancel()
            prompt.decide(answer)

    def deliver(self, provider: str, msisdn: str, sender: str, text: str) -> None:
        """Put an SMS that ``provider`` accepted into the inbox, where the handset is on."""
        self.messages[provider] = self.messages.get(provider, 0) + 1
        handset = self.handset(msisdn)
        if handset.reachable:
            handset.inbox.append(Sms(sender, text, self.clock.now()))
