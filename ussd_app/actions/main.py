"""The home screen: who is calling, and whether money of theirs is still on its way."""

from collections.abc import Mapping
from dataclasses import dataclass

from ussd_app.actions import Call, Choices, action, choose_language
from ussd_app.money import Money


@dataclass(frozen=True, slots=True)
class Registered:
    """Somebody we know; a caller whose number is masked is greeted without a name."""

    name: str
    language: str


@dataclass(frozen=True, slots=True)
class NewSubscriber:
    """Somebody new, whose language nobody has told us."""


@dataclass(frozen=True, slots=True)
class NewSpeaker:
    """Somebody new, whose language the aggregator has told us."""

    language: str


@dataclass(frozen=True, slots=True)
class NothingOpen:
    """No payment of this person waits for anything."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The latest payment is neither made nor failed."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Paid:
    """The latest payment has arrived."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The latest payment was not made and nothing was taken."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Refunding:
    """The latest payment could not be delivered and is on its way back."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The latest payment could not be delivered and has come back."""

    amount: Money
    party: str
    reference: str


Payment = Waiting | Paid | Failed | Refunding | Refunded

STATES: Mapping[str, type[Payment]] = {
    "waiting": Waiting, "paid": Paid, "failed": Failed, "refunding": Refunding, "refunded": Refunded,
}  # fmt: skip


@action()
async def greet(call: Call) -> Registered | NewSubscriber | NewSpeaker:
    """Who is calling."""
    if call.msisdn is None:
        return Registered("", call.language)
    subscriber = await call.services.subscribers.find(call.msisdn)
    if subscriber:
        return Registered(subscriber.name, subscriber.language)
    # The dialogue speaks the aggregator's language wherever it is one of ours.
    told = (call.turn.language or "").lower().startswith(call.language)
    return NewSpeaker(call.language) if told else NewSubscriber()


@action()
async def languages(call: Call, after: str | None) -> Choices:
    """The languages to choose from."""
    return choose_language(call, after)


@action()
async def register(call: Call, name: str, language: str) -> Registered:
    """Enter a new subscriber; doing so again changes nothing."""
    if call.msisdn is None:
        return Registered("", language)
    subscriber = await call.services.subscribers.register(call.msisdn, name, language)
    return Registered(subscriber.name, subscriber.language)


@action()
async def pending_payment(call: Call) -> NothingOpen | Waiting | Refunding:
    """On a fresh dial: a payment of the last 15 minutes that is not settled, so that nobody pays twice."""
    latest = await _latest(call)
    return latest if isinstance(latest, Waiting | Refunding) else NothingOpen()


@action()
async def last_payment(call: Call) -> NothingOpen | Payment:
    """The latest payment of the last 15 minutes, settled or not."""
    return await _latest(call)


async def _latest(call: Call) -> NothingOpen | Payment:
    recent = await call.services.orders.recent(call.msisdn) if call.msisdn else None
    return STATES[recent.state](recent.amount, recent.party, recent.code) if recent else NothingOpen()
