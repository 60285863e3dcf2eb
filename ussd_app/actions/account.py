"""My account: name, language, last payments and favourites, which notices come, and the PIN.

A PIN is never kept from one hop to the next. What is kept are seals, keyed hashes good for one run of the flow: one
says that the old PIN was given rightly, the other is what the second entry of the new PIN is compared with.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ussd_app.actions import Call, Choice, Choices, Pin, action, choose_language
from ussd_app.actions.outcomes import commit
from ussd_app.actions.standing import Coming, Delivering, Refunding, Unclear, Waiting, line, open_outcome, page
from ussd_app.groups import members
from ussd_app.groups.model import Member
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Movement, history
from ussd_app.orders.history import Favourite
from ussd_app.subscribers import NoPin, PinLocked, PinOk, PinSet, PinWeak, PinWrong

MOVEMENTS = 5
FAVOURITES = 5
FAVOURITE_KINDS = ("send_money", "airtime", "bundle")


@dataclass(frozen=True, slots=True)
class LanguageSet:
    """From now on we speak this language."""

    language: str


@dataclass(frozen=True, slots=True)
class NameSet:
    """From now on we call them this."""

    name: str


@dataclass(frozen=True, slots=True)
class MoneyFavourite:
    """Money that is often sent."""

    recipient: Msisdn
    amount: Money


@dataclass(frozen=True, slots=True)
class OtherFavourite:
    """Airtime or a bundle that is often bought."""

    amount: Money
    party: str
    recipient: Msisdn


@dataclass(frozen=True, slots=True)
class NoticesOn:
    """Their groups tell them of it."""


@dataclass(frozen=True, slots=True)
class NoticesOff:
    """None of their groups tells them of it."""


@dataclass(frozen=True, slots=True)
class NoGroups:
    """They are in no group."""


@dataclass(frozen=True, slots=True)
class HasPin:
    """The old PIN is to be asked first."""


@dataclass(frozen=True, slots=True)
class FirstPin:
    """There is no old PIN to ask for."""

    proof: str = ""


@dataclass(frozen=True, slots=True)
class PinProven:
    """It is the person's PIN, and the rest of this run may rely on it."""

    proof: str


@dataclass(frozen=True, slots=True)
class PinSealed:
    """The first entry, ready to be compared with the second."""

    seal: str


@dataclass(frozen=True, slots=True)
class PinMismatch:
    """The two entries differ."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Money that went out."""

    amount: Money
    party: str
    at: datetime
    reference: str


@dataclass(frozen=True, slots=True)
class Received:
    """Money that came in."""

    amount: Money
    party: str
    at: datetime
    reference: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """Money that went out and came back."""

    amount: Money
    party: str
    at: datetime
    reference: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """No movement of this person has that code."""


LABELS: Mapping[str, type[Sent | Received | Refunded]] = {"sent": Sent, "received": Received, "refunded": Refunded}


@action()
async def languages(call: Call, after: str | None) -> Choices:
    """The languages to choose from."""
    return choose_language(call, after)


@action(writes=True)
async def set_language(call: Call, language: str) -> LanguageSet:
    """Speak another language to this person from now on."""
    await commit(call, call.services.subscribers.set_language(call.caller, language))
    return LanguageSet(language)


@action(writes=True)
async def set_name(call: Call, new_name: str) -> NameSet:
    """Call this person something else from now on; their groups go on knowing them as they joined."""
    return NameSet(await commit(call, call.services.subscribers.set_name(call.caller, new_name)))


@action()
async def movements(call: Call, after: str | None) -> Choices:
    """What has not come to its end, then the last payments in and out, in figures and names; newest first."""
    orders = call.services.orders
    waiting = await orders.standing(call.caller)
    moved = await orders.movements(call.caller, MOVEMENTS)
    return page([*map(line, waiting), *(Choice(each.code, _line(each)) for each in moved)], after)


@action()
async def movement(
    call: Call, code: str
) -> Sent | Received | Refunded | NotFound | Waiting | Delivering | Coming | Refunding | Unclear:
    """One of them."""
    orders = call.services.orders
    waiting = next((each for each in await orders.standing(call.caller) if each.code == code), None)
    if waiting:
        return open_outcome(waiting, others=False)
    for each in await orders.movements(call.caller, MOVEMENTS):
        if each.code == code:
            return LABELS[each.label](each.money, each.party, each.at, each.code)
    return NotFound()


@action()
async def favourites(call: Call, after: str | None) -> Choices:
    """What this person most often pays for, in figures and names alone, since these lines belong to no language."""
    found = [] if after else await _favourites(call)
    return Choices(tuple(Choice(each.code, each.label) for each in found), more=False)


@action()
async def favourite(call: Call, code: str) -> MoneyFavourite | OtherFavourite | NotFound:
    """One of them."""
    found = next((each for each in await _favourites(call) if each.code == code), None)
    if found is None or found.recipient is None:
        return NotFound()
    if found.kind == "send_money":
        return MoneyFavourite(found.recipient, found.amount)
    return OtherFavourite(found.amount, found.party, found.recipient)


@action()
async def notices(call: Call, notice: str) -> NoticesOn | NoticesOff | NoGroups:
    """Whether this person's groups tell them of one kind of events (``groups.audience.MUTABLE``)."""
    places = await _places(call)
    if not places:
        return NoGroups()
    return NoticesOff() if all(notice in place.muted for place in places) else NoticesOn()


@action(writes=True)
async def mute(call: Call, notice: str) -> NoticesOff:
    """Spare this person one kind of notices, in all their groups."""
    await commit(call, members.spare(call.services.groups, call.caller, notice, spared=True))
    return NoticesOff()


@action(writes=True)
async def unmute(call: Call, notice: str) -> NoticesOn:
    """Tell them again."""
    await commit(call, members.spare(call.services.groups, call.caller, notice, spared=False))
    return NoticesOn()


@action()
async def pin_state(call: Call) -> HasPin | FirstPin:
    """Whether there is a PIN to change, or one to set."""
    subscriber = await call.services.subscribers.find(call.caller)
    return HasPin() if subscriber and subscriber.has_pin else FirstPin()


@action()
async def check_pin(call: Call, pin: Pin) -> PinProven | PinWrong | PinLocked | FirstPin:
    """Whether this is the person's PIN; the third wrong try locks it for 30 minutes."""
    checked = await call.services.subscribers.check_pin(call.caller, pin)
    match checked:
        case PinOk():
            return PinProven(_seal(call, "old-pin", "proven"))
        case NoPin():
            return FirstPin()
    return checked


@action()
async def seal_pin(call: Call, new_pin: Pin) -> PinSealed:
    """Take the first entry of a new PIN."""
    return PinSealed(_seal(call, "new-pin", new_pin))


@action()
async def set_pin(
    call: Call, proof: str, seal: str, repeated_pin: Pin
) -> PinSet | PinMismatch | PinWeak | PinWrong | PinLocked:
    """Set the PIN where its two entries are equal; an old one must have been proven in this run."""
    if not hmac.compare_digest(seal, _seal(call, "new-pin", repeated_pin)):
        return PinMismatch()
    checked = hmac.compare_digest(proof, _seal(call, "old-pin", "proven"))
    done = await commit(call, call.services.subscribers.set_pin(call.caller, repeated_pin, checked=checked))
    call.may_have_effect = isinstance(done, PinSet)  # a refusal has written nothing
    return done


async def _favourites(call: Call) -> list[Favourite]:
    return await history.favourites(call.services.orders, call.caller, FAVOURITE_KINDS, FAVOURITES)


async def _places(call: Call) -> list[Member]:
    async with call.services.groups.store.look() as connection:
        return await members.mine(connection, call.caller)


def _seal(call: Call, purpose: str, words: str) -> str:
    key = call.services.settings.key(purpose)
    return hmac.digest(key, f"{call.caller} {call.run} {words}".encode(), "sha256").hex()[:32]


def _line(movement: Movement) -> str:
    sign = "-" if movement.label == "sent" else "+"
    return f"{movement.at:%d/%m} {sign}{movement.money.plain} {movement.party}"
