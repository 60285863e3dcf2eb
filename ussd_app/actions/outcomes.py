"""What the actions of savings groups have in common: the PIN, what commits, and refusals as outcomes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TypeVar

from ussd_app.actions import Call, Pin
from ussd_app.groups.model import Refused
from ussd_app.subscribers import NoPin, PinLocked, PinOk, PinWrong

Result = TypeVar("Result")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class NotYours:
    """It is not for this person to do in this group."""


@dataclass(frozen=True, slots=True)
class NotNow:
    """The group is not in a state for it, or what it was about is gone."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """The group has no such member."""


@dataclass(frozen=True, slots=True)
class AlreadyMember:
    """They are a member of this group."""


@dataclass(frozen=True, slots=True)
class GroupFull:
    """The group has as many members as it may."""

    most: int


@dataclass(frozen=True, slots=True)
class TooManyGroups:
    """This person is in as many groups as anybody may be."""

    most: int


@dataclass(frozen=True, slots=True)
class OtherCurrency:
    """The group's money is of one currency, and this is none of it."""

    currency: str


@dataclass(frozen=True, slots=True)
class LastOfficer:
    """Without them the group would have no officer."""


@dataclass(frozen=True, slots=True)
class Cooling:
    """Somebody's office or number is too new for money to move at their word or to them."""

    until: datetime


@dataclass(frozen=True, slots=True)
class SimChanged:
    """Somebody's SIM is too new for the same."""


async def unproven(call: Call, pin: Pin) -> PinWrong | PinLocked | NoPin | None:
    """Why this PIN does not prove who is calling; None where it does."""
    checked = await call.services.subscribers.check_pin(call.caller, pin)
    return None if isinstance(checked, PinOk) else checked


async def found_by_code(call: Call, find: Callable[[], Awaitable[Result | None]]) -> Result | None:
    """What a typed code leads to; None as well, and unasked, for whoever has tried too many that lead nowhere."""
    guesses = call.services.guesses
    if not await guesses.may_try(call.caller):
        return None
    found = await find()
    if found is None:
        await guesses.wrong(call.caller)
    return found


async def commit(call: Call, work: Awaitable[Result]) -> Result:
    """Await what may be committed: from here on no reply says that nothing happened, unless it was refused."""
    call.may_have_effect = True
    done = await work
    call.may_have_effect = not isinstance(done, Refused)
    return done


def refusal(refused: Refused, outcomes: Mapping[str, type[Outcome]]) -> Outcome:
    """The outcome a refusal is, by its word; its fields come from what else the refusal says, people as a count."""
    outcome = outcomes[refused.why]
    named = {field.name for field in fields(outcome)}  # type: ignore[arg-type]  # every outcome is a dataclass
    told = {name: value for name, value in refused.words.items() if name in named}
    return outcome(**{name: len(value) if isinstance(value, list) else value for name, value in told.items()})
