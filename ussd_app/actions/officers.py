"""What the officers of a group do on their own: start a cycle, let people in, keep the cash, name whose turn it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ussd_app.actions import Call, Pin, action
from ussd_app.actions.outcomes import (
    AlreadyMember,
    GroupFull,
    Nobody,
    NotNow,
    NotYours,
    OtherCurrency,
    commit,
    refusal,
    unproven,
)
from ussd_app.groups import contributions, cycles, invites, members, rotation, views
from ussd_app.groups.model import Refused
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.subscribers import NoPin, PinLocked, PinWrong


@dataclass(frozen=True, slots=True)
class CycleStarted:
    """It has so many rounds, and the first is due that day."""

    last_round: int
    due_day: str


@dataclass(frozen=True, slots=True)
class TooFew:
    """It takes more members."""

    least: int


@dataclass(frozen=True, slots=True)
class OpenCode:
    """What lets anybody in who dials it in time."""

    ussd: str
    invite: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NoOpenCode:
    """The last one is over."""


@dataclass(frozen=True, slots=True)
class Invited:
    """They are told by SMS."""


@dataclass(frozen=True, slots=True)
class CashBooked:
    """It stands in the books; the member is told."""

    member: str
    code: str


@dataclass(frozen=True, slots=True)
class CashReversed:
    """It counts no more; everybody is told."""

    member: str
    amount: Money


@dataclass(frozen=True, slots=True)
class UnknownEntry:
    """No such entry of cash that the caller keeps."""


@dataclass(frozen=True, slots=True)
class ReversedBefore:
    """It did not count any more."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Its money is no longer where it was put."""


@dataclass(frozen=True, slots=True)
class SharesSet:
    """The member pays, and takes, so many times."""

    member: str
    slots: int


@dataclass(frozen=True, slots=True)
class SharesUnfit:
    """Nobody may have so many."""

    most: int


@dataclass(frozen=True, slots=True)
class PotGiven:
    """The pot of this round goes to that member."""

    round: int
    member: str


@dataclass(frozen=True, slots=True)
class HadTurn:
    """They had theirs in this cycle."""


INVITING: Mapping[str, type[AlreadyMember | GroupFull | OtherCurrency | NotYours | NotNow]] = {
    "already": AlreadyMember, "full": GroupFull, "other_currency": OtherCurrency, "closed": NotNow,
    "not_member": NotYours, "not_officer": NotYours,
}  # fmt: skip
RENEWING: Mapping[str, type[NotYours | NotNow]] = {
    "not_member": NotYours, "not_officer": NotYours, "closed": NotNow,
}  # fmt: skip
STARTING: Mapping[str, type[TooFew | NotYours | NotNow]] = {**RENEWING, "running": NotNow, "too_few": TooFew}
CASH: Mapping[str, type[Nobody | OtherCurrency | NotYours]] = {
    "nobody": Nobody, "currency": OtherCurrency, "not_member": NotYours, "not_treasurer": NotYours,
}  # fmt: skip
REVERSING: Mapping[str, type[UnknownEntry | ReversedBefore | Moved]] = {
    "unknown": UnknownEntry, "reversed": ReversedBefore, "moved": Moved,
}  # fmt: skip
SHARES: Mapping[str, type[SharesUnfit | Nobody | NotYours | NotNow]] = {
    "slots": SharesUnfit, "nobody": Nobody, "not_member": NotYours, "not_chair": NotYours, "running": NotNow,
}  # fmt: skip
GIVING: Mapping[str, type[Nobody | HadTurn | NotYours | NotNow]] = {
    "nobody": Nobody, "had_turn": HadTurn, "not_member": NotYours, "not_officer": NotYours, "decided": NotNow,
}  # fmt: skip


@action()
async def start(
    call: Call, group_id: str, pin: Pin
) -> CycleStarted | TooFew | NotYours | NotNow | PinWrong | PinLocked | NoPin:
    """Begin a cycle with everybody who is there."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    started = await commit(call, cycles.start(call.services.groups, call.run, call.caller, UUID(group_id)))
    if isinstance(started, Refused):
        return refusal(started, STARTING)
    return CycleStarted(started.rounds, f"{started.first_due.astimezone(call.caller.zone):%d/%m}")


@action()
async def invitation(call: Call, group_id: str) -> OpenCode | NoOpenCode | NotYours:
    """The open code in force, to officers."""
    groups = call.services.groups
    async with groups.store.look() as connection:
        found = await views.place(connection, call.caller, UUID(group_id))
        if found is None or not found[1].is_officer:
            return NotYours()
        invite = await invites.open_code(groups, connection, UUID(group_id))
    return OpenCode(groups.settings.code, invite.code, invite.expires_at) if invite else NoOpenCode()


@action(writes=True)
async def renew_code(call: Call, group_id: str) -> OpenCode | NotYours | NotNow:
    """A new open code; the one before lets nobody in any more."""
    groups = call.services.groups
    made = await commit(call, invites.renew_open_code(groups, call.caller, UUID(group_id)))
    if isinstance(made, Refused):
        return refusal(made, RENEWING)
    return OpenCode(groups.settings.code, made.code, made.expires_at)


@action(writes=True)
async def invite(
    call: Call, group_id: str, guest: Msisdn
) -> Invited | AlreadyMember | GroupFull | OtherCurrency | NotYours | NotNow:
    """Invite a number."""
    made = await commit(call, invites.invite(call.services.groups, call.caller, UUID(group_id), guest))
    return refusal(made, INVITING) if isinstance(made, Refused) else Invited()


@action()
async def cash(
    call: Call, group_id: str, number: str, amount: Money, pin: Pin
) -> CashBooked | Nobody | OtherCurrency | NotYours | PinWrong | PinLocked | NoPin:
    """Enter what a member has given in cash, once for each run of the flow."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups, group = call.services.groups, UUID(group_id)
    booked = await commit(call, contributions.book_cash(groups, call.run, call.caller, group, int(number), amount))
    return refusal(booked, CASH) if isinstance(booked, Refused) else CashBooked(booked.name, booked.code)


@action()
async def reverse(
    call: Call, code: str, pin: Pin
) -> CashReversed | UnknownEntry | ReversedBefore | Moved | PinWrong | PinLocked | NoPin:
    """Take back an entry of cash by the code of its receipt."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    undone = await commit(call, contributions.reverse(call.services.groups, call.run, call.caller, code))
    return refusal(undone, REVERSING) if isinstance(undone, Refused) else CashReversed(undone.name, undone.money)


@action()
async def shares(
    call: Call, group_id: str, number: str, slots: int, pin: Pin
) -> SharesSet | SharesUnfit | Nobody | NotYours | NotNow | PinWrong | PinLocked | NoPin:
    """Say how many shares of each round a member has, before the cycle begins."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups, group = call.services.groups, UUID(group_id)
    changed = await commit(call, members.set_slots(groups, call.caller, group, int(number), slots))
    if isinstance(changed, Refused):
        return refusal(changed, SHARES)
    return SharesSet(changed.member.name, changed.member.slots)


@action()
async def give_pot(
    call: Call, group_id: str, number: str, pin: Pin
) -> PotGiven | Nobody | HadTurn | NotYours | NotNow | PinWrong | PinLocked | NoPin:
    """Name who needs the pot that nobody has yet, where that is how the group goes."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    groups, group = call.services.groups, UUID(group_id)
    chosen = await commit(call, rotation.choose_beneficiary(groups, call.run, call.caller, group, int(number)))
    return refusal(chosen, GIVING) if isinstance(chosen, Refused) else PotGiven(chosen.number, chosen.member.name)
