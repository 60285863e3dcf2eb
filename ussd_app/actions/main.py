"""The home screen: who is calling, whether money of theirs is still on its way, and what their groups ask of them.

A dial asks Postgres one question (arrival.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from ussd_app.actions import Call, Choices, action, choose_language
from ussd_app.actions.arrival import arrival
from ussd_app.actions.outcomes import commit
from ussd_app.actions.standing import Coming, Delivering, Refunding, Unclear, Waiting, line, open_outcome, page
from ussd_app.groups import members
from ussd_app.groups.home import Home
from ussd_app.money import Money
from ussd_app.msisdn import CURRENCIES
from ussd_app.orders import take_back
from ussd_app.subscribers import Subscriber


@dataclass(frozen=True, slots=True)
class Registered:
    """Somebody we know; a caller whose number is masked is greeted without a name."""

    first_name: str
    language: str


@dataclass(frozen=True, slots=True)
class Ordered(Registered):
    """Their last request was cut short, and placed an order all the same: what became of it comes first."""

    reference: str


@dataclass(frozen=True, slots=True)
class CarriedOut(Registered):
    """Their last request was cut short, and carried out all the same."""

    asked_at: datetime


@dataclass(frozen=True, slots=True)
class NotCarriedOut(Registered):
    """Their last request was cut short, and nothing came of it."""

    asked_at: datetime


@dataclass(frozen=True, slots=True)
class NewSubscriber:
    """Somebody new, whose language nobody has told us."""


@dataclass(frozen=True, slots=True)
class NewSpeaker:
    """Somebody new, whose language the aggregator has told us."""

    language: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What a person's groups ask of them; where nothing is due or waiting, the words about it are never shown."""

    due: bool
    due_group: str
    due_amount: Money
    waiting: bool
    waiting_code: str


@dataclass(frozen=True, slots=True)
class LeftMoney(Overview):
    """The same, of whoever has money in a group they are no member of any more."""

    left_group: str
    left_amount: Money


@dataclass(frozen=True, slots=True)
class NothingOpen:
    """No payment of this person waits for anything."""


@dataclass(frozen=True, slots=True)
class Paid:
    """The payment has arrived."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """What was on its way to them has arrived."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The payment was not made and nothing was taken."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What was on its way to them could not be paid and is where it was."""

    amount: Money
    party: str
    reference: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The payment could not be delivered and has come back."""

    amount: Money
    party: str
    reference: str


ENDS: Mapping[str, type[Paid | Arrived | Failed | Kept | Refunded]] = {
    "paid": Paid, "arrived": Arrived, "failed": Failed, "kept": Kept, "refunded": Refunded,
}  # fmt: skip


@action()
async def greet(call: Call) -> Registered | Ordered | CarriedOut | NotCarriedOut | NewSubscriber | NewSpeaker:
    """Who is calling."""
    if call.msisdn is None:
        return Registered("", call.language)
    subscriber = (await arrival(call)).subscriber
    if subscriber:
        await _guard(call, subscriber)
        return await _after_promise(call, subscriber)
    # The dialogue speaks the aggregator's language wherever it is one of ours.
    told = (call.turn.language or "").lower().startswith(call.language)
    return NewSpeaker(call.language) if told else NewSubscriber()


@action()
async def languages(call: Call, after: str | None) -> Choices:
    """The languages to choose from."""
    return choose_language(call, after)


@action(writes=True)
async def register(call: Call, name: str, language: str) -> Registered:
    """Enter a new subscriber; doing so again changes nothing."""
    if call.msisdn is None:
        return Registered("", language)
    subscriber = await commit(call, call.services.subscribers.register(call.msisdn, name, language))
    await _guard(call, subscriber)
    return Registered(_first(subscriber.name), subscriber.language)


@action()
async def whats_due(call: Call) -> Overview | LeftMoney:
    """What comes first at home: the oldest contribution that is due, and the newest request this person may decide.

    What is theirs in a group they are no member of any more is found nowhere else.
    """
    found = (await arrival(call)).home if call.msisdn else Home(None, None, has_groups=False)
    overview = Overview(
        due=found.due is not None,
        due_group=found.due.group if found.due else "",
        due_amount=found.due.amount if found.due else Money(0, CURRENCIES[call.services.settings.country]),
        waiting=found.waiting is not None,
        waiting_code=found.waiting.code if found.waiting else "",
    )
    left = (
        await take_back.left(call.services.orders, call.caller, network=call.turn.network) if found.has_left else None
    )
    if left is None:
        return overview
    known = {each.name: getattr(overview, each.name) for each in fields(overview)}
    return LeftMoney(**known, left_group=left.group.name, left_amount=left.wallet + left.cash)


@action()
async def open_payment(call: Call) -> NothingOpen | Waiting | Delivering | Coming | Refunding | Unclear:
    """On a fresh dial: the newest payment that has not come to its end, however old, so that nobody pays twice."""
    found = (await arrival(call)).standing if call.msisdn else []
    return open_outcome(found[0], others=len(found) > 1) if found else NothingOpen()


@action()
async def open_payments(call: Call, after: str | None) -> Choices:
    """All of them, newest first."""
    return page(list(map(line, await call.services.orders.standing(call.caller))), after)


@action()
async def payment(
    call: Call, reference: str
) -> (
    NothingOpen | Waiting | Delivering | Coming | Refunding | Unclear | Paid | Arrived | Failed | Kept | Refunded
):  # fmt: skip
    """One of them, which may have come to its end by now."""
    found = await call.services.orders.standing(call.caller, reference)
    wanted = next((each for each in found if each.code == reference), None)
    if wanted is None:
        return NothingOpen()
    if wanted.is_open:
        return open_outcome(wanted, others=len(found) > 1)
    return ENDS[wanted.state](wanted.amount, wanted.party, wanted.code)


async def _guard(call: Call, subscriber: Subscriber) -> None:
    """Look at the SIM this hop came from; a changed one is told to the person's groups."""
    services, imsi = call.services, call.turn.imsi
    known = subscriber.sim_hash, subscriber.sim_seen_at
    if not imsi or not services.sims.is_news(subscriber.msisdn, *known, imsi):
        return
    if await services.sims.seen(subscriber.msisdn, imsi):
        await members.sim_changed(services.groups, subscriber.msisdn)


async def _after_promise(call: Call, subscriber: Subscriber) -> Registered | Ordered | CarriedOut | NotCarriedOut:
    """Whoever was told "We will SMS you" sees once at home, too, what came of it."""
    known, kept = (_first(subscriber.name), subscriber.language), subscriber.kept
    if kept is None:
        return Registered(*known)
    await call.services.subscribers.shown(subscriber.msisdn)
    if kept.outcome == "ordered":
        return Ordered(*known, kept.reference)
    return (CarriedOut if kept.outcome == "done" else NotCarriedOut)(*known, kept.asked_at)


def _first(name: str) -> str:
    """What a person is greeted by: a home screen has no room for all of a long name."""
    return name.split(" ", 1)[0]
