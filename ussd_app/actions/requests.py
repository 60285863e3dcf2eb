"""What takes the consent of others: the pot, an office, another's turn, a new number, a removal.

Whoever asks gives their PIN; those who decide are told the code by SMS, and decide in approve.py. Other
rules are asked for in rules.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ussd_app.actions import Call, Pin, action
from ussd_app.actions.outcomes import (
    Cooling,
    LastOfficer,
    Nobody,
    NotNow,
    NotYours,
    OtherCurrency,
    SimChanged,
    commit,
    refusal,
    unproven,
)
from ussd_app.groups import asking, members
from ussd_app.groups.model import Refused
from ussd_app.groups.payouts import Asked
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import payout as payout_order
from ussd_app.subscribers import NoPin, PinLocked, PinWrong


@dataclass(frozen=True, slots=True)
class PayoutAsked:
    """The officers are asked."""

    code: str
    amount: Money  # to the wallet
    payee: str
    needed: int


@dataclass(frozen=True, slots=True)
class RequestMade:
    """The others are asked."""

    code: str


@dataclass(frozen=True, slots=True)
class AlreadyAsked:
    """It waits to be decided."""

    code: str


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """It has been approved, and is being paid."""


@dataclass(frozen=True, slots=True)
class NobodyToApprove:
    """Too few others could decide it."""


@dataclass(frozen=True, slots=True)
class NothingToPay:
    """No pot holds anything."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nobody has said whose turn it is."""


@dataclass(frozen=True, slots=True)
class TurnMoved:
    """Who asks owes earlier rounds, so somebody else is paid first."""

    name: str


@dataclass(frozen=True, slots=True)
class Netted:
    """All of the pot went to earlier rounds, which its beneficiary owed."""

    amount: Money


@dataclass(frozen=True, slots=True)
class NotAllPaid:
    """So many have not paid, and the group waits for them."""

    missing: int


@dataclass(frozen=True, slots=True)
class NoRule:
    """So many have not paid in time, and the group has not agreed what then."""

    missing: int


@dataclass(frozen=True, slots=True)
class NoChange:
    """It is so already, or nothing a group may agree on."""


@dataclass(frozen=True, slots=True)
class NumberTaken:
    """It is, or was, a member's of this group."""


@dataclass(frozen=True, slots=True)
class NoTurn:
    """One of the two has no turn to come."""


@dataclass(frozen=True, slots=True)
class RoleGiven:
    """They hold it from now on."""

    member: str


Unasked = (
    NotYours | Cooling | SimChanged | NothingToPay | Undecided | AlreadyAsked | OnItsWay | NobodyToApprove | TurnMoved
    | Netted | NotAllPaid | NoRule
)  # fmt: skip
PAYOUT: Mapping[str, type[Unasked]] = {
    "not_member": NotYours, "not_entitled": NotYours, "cooling": Cooling, "sim_changed": SimChanged,
    "nothing": NothingToPay, "undecided": Undecided, "already_asked": AlreadyAsked,
    "nobody_to_approve": NobodyToApprove, "turn_moved": TurnMoved, "netted": Netted, "not_all_paid": NotAllPaid,
    "no_rule": NoRule, "wait": NotAllPaid,
}  # fmt: skip
ROLE: Mapping[str, type[AlreadyAsked | NobodyToApprove | NoChange | Nobody | LastOfficer | NotYours | NotNow]] = {
    "asked": AlreadyAsked, "nobody_to_approve": NobodyToApprove, "role": NoChange, "nobody": Nobody,
    "last_officer": LastOfficer, "not_member": NotYours, "closed": NotNow,
}  # fmt: skip
SWAP: Mapping[str, type[AlreadyAsked | NobodyToApprove | NoTurn | Nobody | NotYours | NotNow]] = {
    "asked": AlreadyAsked, "nobody_to_approve": NobodyToApprove, "turn": NoTurn, "nobody": Nobody,
    "not_member": NotYours, "closed": NotNow,
}  # fmt: skip
PHONE: Mapping[
    str, type[AlreadyAsked | NobodyToApprove | NumberTaken | OtherCurrency | Nobody | NotYours | NotNow]
] = {
    "asked": AlreadyAsked, "nobody_to_approve": NobodyToApprove, "already": NumberTaken,
    "other_currency": OtherCurrency, "nobody": Nobody, "not_member": NotYours, "closed": NotNow,
}  # fmt: skip
REMOVAL: Mapping[str, type[AlreadyAsked | NobodyToApprove | Nobody | LastOfficer | NotYours | NotNow]] = {
    "asked": AlreadyAsked, "nobody_to_approve": NobodyToApprove, "nobody": Nobody, "last_officer": LastOfficer,
    "not_member": NotYours, "closed": NotNow,
}  # fmt: skip


@action()
async def payout(
    call: Call, group_id: str, pin: Pin
) -> (
    PayoutAsked | NotYours | Cooling | SimChanged | NothingToPay | Undecided | AlreadyAsked | OnItsWay
    | NobodyToApprove | TurnMoved | Netted | NotAllPaid | NoRule | PinWrong | PinLocked | NoPin
):  # fmt: skip
    """Ask for the oldest pot that can be paid, and have it asked whether anybody's SIM was swapped."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    group = UUID(group_id)
    call.may_have_effect = True
    asked = await payout_order.ask(call.services.orders, run=call.run, msisdn=call.caller, group_id=group)
    if isinstance(asked, Refused):
        # A pot that is netted away is booked; another refusal has written nothing.
        call.may_have_effect = asked.why == "netted"
        if asked.why == "already_asked" and "code" not in asked.words:
            return OnItsWay()
        return refusal(asked, PAYOUT)
    await _ask_about_sims(call, group, asked)
    return PayoutAsked(asked.code, asked.amount + asked.cash, asked.payee, asked.needed)


@action()
async def role(
    call: Call, group_id: str, number: str, role: str, pin: Pin
) -> (
    RequestMade | RoleGiven | AlreadyAsked | NobodyToApprove | NoChange | Nobody | LastOfficer | NotYours | NotNow
    | PinWrong | PinLocked | NoPin
):  # fmt: skip
    """Give an office, where the chair of a group that has not begun says so; else ask everybody."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups, group = call.services.groups, UUID(group_id)
    given = await commit(call, members.appoint(groups, call.caller, group, int(number), role))
    if isinstance(given, members.Changed):
        return RoleGiven(given.member.name)
    if given.why not in {"not_chair", "running"}:
        return refusal(given, ROLE)
    asked = await commit(call, asking.role(groups, call.run, call.caller, group, int(number), role))
    return refusal(asked, ROLE) if isinstance(asked, Refused) else RequestMade(asked.code)


@action()
async def swap(
    call: Call, group_id: str, number: str, pin: Pin
) -> RequestMade | AlreadyAsked | NobodyToApprove | NoTurn | Nobody | NotYours | NotNow | PinWrong | PinLocked | NoPin:
    """Ask a member for their next turn in exchange for one's own."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups, group = call.services.groups, UUID(group_id)
    asked = await commit(call, asking.swap(groups, call.run, call.caller, group, int(number)))
    return refusal(asked, SWAP) if isinstance(asked, Refused) else RequestMade(asked.code)


@action()
async def phone(
    call: Call, group_id: str, number: str, new_number: Msisdn, pin: Pin
) -> (
    RequestMade | AlreadyAsked | NobodyToApprove | NumberTaken | OtherCurrency | Nobody | NotYours | NotNow
    | PinWrong | PinLocked | NoPin
):  # fmt: skip
    """Ask the officers to let a member have another number."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups, group = call.services.groups, UUID(group_id)
    asked = await commit(call, asking.phone(groups, call.run, call.caller, group, int(number), new_number))
    return refusal(asked, PHONE) if isinstance(asked, Refused) else RequestMade(asked.code)


@action()
async def removal(
    call: Call, group_id: str, number: str, pin: Pin
) -> (
    RequestMade | AlreadyAsked | NobodyToApprove | Nobody | LastOfficer | NotYours | NotNow
    | PinWrong | PinLocked | NoPin
):  # fmt: skip
    """Ask the officers to suspend a member who died or cannot be found."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups, group = call.services.groups, UUID(group_id)
    asked = await commit(call, asking.removal(groups, call.run, call.caller, group, int(number)))
    return refusal(asked, REMOVAL) if isinstance(asked, Refused) else RequestMade(asked.code)


async def _ask_about_sims(call: Call, group: UUID, asked: Asked) -> None:
    """The answers come by callback, and count when the request is decided."""
    async with call.services.groups.store.work() as connection:
        everyone = await members.active(connection, group)
        trusted = [each.msisdn for each in everyone if each.is_officer or each.name == asked.payee]
        await call.services.sims.ask(connection, trusted)
