"""Founding a group: whoever does needs a PIN, and says its kind, its name, its share and how often it is paid."""

from collections.abc import Mapping
from dataclasses import dataclass

from ussd_app.actions import Call, Pin, action
from ussd_app.actions.outcomes import OtherCurrency, TooManyGroups, commit, refusal, unproven
from ussd_app.groups import founding
from ussd_app.groups.model import Refused
from ussd_app.groups.views import SAVERS
from ussd_app.money import Money
from ussd_app.subscribers import NoPin, PinLocked, PinWrong


@dataclass(frozen=True, slots=True)
class Ready:
    """They may found a group."""


@dataclass(frozen=True, slots=True)
class PeriodOpen:
    """How often is still to be said."""


@dataclass(frozen=True, slots=True)
class EveryDay:
    """It goes without saying."""

    period: str = "daily"


@dataclass(frozen=True, slots=True)
class GroupCreated:
    """The group stands, and others join with this code."""

    ussd: str
    invite: str


@dataclass(frozen=True, slots=True)
class BadName:
    """Nobody could call a group that."""


REFUSALS: Mapping[str, type[BadName | OtherCurrency | TooManyGroups]] = {
    "name": BadName, "other_currency": OtherCurrency, "too_many_groups": TooManyGroups,
}  # fmt: skip


@action()
async def begin(call: Call) -> Ready | NoPin:
    """Whether this person has a PIN: nobody is asked for anything before they have."""
    person = await call.services.subscribers.find(call.caller)
    return Ready() if person and person.has_pin else NoPin()


@action()
async def period_of(call: Call, kind: str) -> PeriodOpen | EveryDay:  # noqa: ARG001 - an action's signature
    """Whether a group of this kind says how often its members pay."""
    return EveryDay() if kind == SAVERS else PeriodOpen()


@action()
async def create(
    call: Call, kind: str, group: str, amount: Money, period: str, pin: Pin
) -> GroupCreated | BadName | OtherCurrency | TooManyGroups | PinWrong | PinLocked | NoPin:
    """Found the group, once for each run of the flow."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups = call.services.groups
    created = await commit(call, founding.create(groups, call.run, call.caller, kind, group, amount, period))
    if isinstance(created, Refused):
        return refusal(created, REFUSALS)
    return GroupCreated(groups.settings.code, created.code or "")
