"""Airtime and bundles: for whom, what is on sale there, and placing the order; and once more what was bought last."""

from dataclasses import dataclass

from ussd_app.actions import Call, Choice, Choices, action
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Placed, PlacedSlowly, Repeated, TooFast, airtime, history
from ussd_app.orders import bundle as bundle_order
from ussd_app.orders.steps import AmountUnfit, NotServed, TooLarge, TooSmall


@dataclass(frozen=True, slots=True)
class NothingBought:
    """This person has bought nothing yet."""


@dataclass(frozen=True, slots=True)
class AirtimeBought:
    """What was bought last: airtime."""

    recipient: Msisdn
    amount: Money
    again: bool = True


@dataclass(frozen=True, slots=True)
class BundleBought:
    """What was bought last: a bundle that is still on sale."""

    recipient: Msisdn
    bundle: str
    bundle_name: str
    again: bool = True


@dataclass(frozen=True, slots=True)
class Mine:
    """It is for the caller's own phone."""

    recipient: Msisdn


@dataclass(frozen=True, slots=True)
class OnNetwork:
    """The network a number was allocated to; it may have been ported since."""

    network: str


@dataclass(frozen=True, slots=True)
class Available:
    """It can be had."""


@dataclass(frozen=True, slots=True)
class AvailableAgain:
    """The same, where just this was ordered so many minutes ago."""

    minutes: int


@dataclass(frozen=True, slots=True)
class Priced:
    """It can be had at this price."""

    amount: Money
    bundle_name: str


@dataclass(frozen=True, slots=True)
class PricedAgain:
    """The same, where just this was ordered so many minutes ago."""

    amount: Money
    bundle_name: str
    minutes: int


@dataclass(frozen=True, slots=True)
class SoldOut:
    """It is no longer on sale."""


@action()
async def last(call: Call) -> NothingBought | AirtimeBought | BundleBought:
    """What this person bought last."""
    found = await history.latest(call.services.orders, call.caller, ("airtime", "bundle"))
    if found is None or found.recipient is None:
        return NothingBought()
    if found.kind == "airtime":
        return AirtimeBought(found.recipient, found.amount)
    offered = call.services.bundles().get(found.details["bundle"])
    return BundleBought(found.recipient, offered.id, offered.name) if offered else NothingBought()


@action()
async def own(call: Call) -> Mine:
    """For the caller's own phone."""
    return Mine(call.caller)


@action()
async def network_of(call: Call, recipient: Msisdn) -> OnNetwork:  # noqa: ARG001 - an action's signature
    """The network of a number, as far as its digits tell."""
    return OnNetwork(recipient.network)


@action()
async def networks(call: Call, after: str | None) -> Choices:
    """The networks for which something is on sale."""
    found = dict.fromkeys(each.operator for each in call.services.bundles().values()) if after is None else ()
    return Choices(tuple(Choice(name, name) for name in found), more=False)


@action()
async def bundles(call: Call, after: str | None, network: str) -> Choices:
    """What is on sale for a network."""
    offered = [each for each in call.services.bundles().values() if each.operator == network]
    first = next((place for place, each in enumerate(offered, 1) if each.id == after), 0)
    return Choices(tuple(Choice(each.id, each.label) for each in offered[first:]), more=False)


@action()
async def quote(
    call: Call, recipient: Msisdn, amount: Money
) -> Available | AvailableAgain | LimitReached | TooFast | NotServed | AmountUnfit | TooSmall | TooLarge:
    """Whether this top-up can be had. Moves nothing."""
    network = call.turn.network
    refused = await airtime.quote(call.services.orders, call.caller, recipient, amount, network=network)
    if isinstance(refused, Repeated):
        return AvailableAgain(refused.minutes)
    return refused or Available()


@action(collects=True)
async def place(
    call: Call, recipient: Msisdn, amount: Money
) -> Placed | PlacedSlowly | LimitReached | TooFast | NotServed:
    """Order airtime, once for each run of the flow; the operator's prompt comes when the dialogue is over."""
    name = await _name(call)
    call.may_have_effect = True
    placed = await airtime.place(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        sender_name=name,
        recipient=recipient,
        amount=amount,
        language=call.language,
        network=call.turn.network,
    )
    call.may_have_effect = isinstance(placed, Placed)  # a refusal has written nothing
    return placed


@action()
async def price(
    call: Call, recipient: Msisdn, bundle: str
) -> Priced | PricedAgain | SoldOut | LimitReached | TooFast | NotServed | AmountUnfit:
    """What a bundle costs, and whether it can be had. Moves nothing."""
    offered = call.services.bundles().get(bundle)
    if offered is None:
        return SoldOut()
    network = call.turn.network
    refused = await bundle_order.quote(call.services.orders, call.caller, recipient, offered, network=network)
    if isinstance(refused, Repeated):
        return PricedAgain(offered.price, offered.name, refused.minutes)
    return refused or Priced(offered.price, offered.name)


@action(collects=True)
async def place_bundle(
    call: Call, recipient: Msisdn, bundle: str
) -> Placed | PlacedSlowly | SoldOut | LimitReached | TooFast | NotServed:
    """Order a bundle, once for each run of the flow; the operator's prompt comes when the dialogue is over."""
    offered = call.services.bundles().get(bundle)
    if offered is None:
        return SoldOut()
    name = await _name(call)
    call.may_have_effect = True
    placed = await bundle_order.place(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        sender_name=name,
        recipient=recipient,
        bundle=offered,
        language=call.language,
        network=call.turn.network,
    )
    call.may_have_effect = isinstance(placed, Placed)  # a refusal has written nothing
    return placed


async def _name(call: Call) -> str:
    subscriber = await call.services.subscribers.find(call.caller)
    return subscriber.name if subscriber else ""
