"""One's own place in a group: the statement, which SMS come of it, and going."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ussd_app.actions import Call, Pin, action
from ussd_app.actions.groups import NotMember
from ussd_app.actions.outcomes import Cooling, LastOfficer, SimChanged, commit, refusal, unproven
from ussd_app.groups import members, statement, views
from ussd_app.groups.audience import MUTABLE
from ussd_app.groups.model import Refused
from ussd_app.groups.statement import Line
from ussd_app.money import Money
from ussd_app.orders import take_back
from ussd_app.subscribers import NoPin, PinLocked, PinWrong

ENTRY_SEPTETS = 17


@dataclass(frozen=True, slots=True)
class Statement:
    """The last five movements, newest first; those that are lacking are empty."""

    entry_1: str
    entry_2: str
    entry_3: str
    entry_4: str
    entry_5: str


@dataclass(frozen=True, slots=True)
class NothingYet:
    """Nothing has moved between this person and the group."""


@dataclass(frozen=True, slots=True)
class StatementSent:
    """The rest comes by SMS."""


@dataclass(frozen=True, slots=True)
class EverySms:
    """The group tells this person of everything."""


@dataclass(frozen=True, slots=True)
class FewSms:
    """The group spares this person some or all of what can be spared."""


@dataclass(frozen=True, slots=True)
class GroupLeft:
    """They are no member any more."""


@dataclass(frozen=True, slots=True)
class LeftOwing:
    """They are no member any more, and have had more than they have put in."""

    left_owing: Money


@dataclass(frozen=True, slots=True)
class HasMoney:
    """Money of theirs is there, or on its way to them: first it is to be taken out."""


REFUSALS: Mapping[str, type[NotMember | LastOfficer | HasMoney | SimChanged | Cooling]] = {
    "not_member": NotMember, "last_officer": LastOfficer, "savings": HasMoney, "payout": HasMoney,
    "sim_changed": SimChanged, "cooling": Cooling, "not_served": HasMoney, "paused": HasMoney,
}  # fmt: skip


@action()
async def recent(call: Call, group_id: str) -> Statement | NothingYet | NotMember:
    """What has moved between the caller and the group, in figures."""
    lines = await statement.last(call.services.groups, call.caller, UUID(group_id))
    if lines is None:
        return NotMember()
    entries = [_entry(line) for line in lines]
    return Statement(*entries, *[""] * (statement.SHOWN - len(entries))) if entries else NothingYet()


@action(writes=True)
async def send_statement(call: Call, group_id: str) -> StatementSent | NotMember:
    """Send the sums and what came before, once for each run of the flow."""
    sent = await commit(call, statement.send(call.services.groups, call.run, call.caller, UUID(group_id)))
    return StatementSent() if sent else NotMember()


@action()
async def sms(call: Call, group_id: str) -> EverySms | FewSms | NotMember:
    """Which SMS come of this group."""
    async with call.services.groups.store.look() as connection:
        found = await views.place(connection, call.caller, UUID(group_id))
    if found is None:
        return NotMember()
    return FewSms() if found[1].muted else EverySms()


@action(writes=True)
async def mute(call: Call, group_id: str) -> FewSms:
    """From now on be told only of what concerns oneself."""
    await commit(call, members.set_muted(call.services.groups, call.caller, UUID(group_id), MUTABLE))
    return FewSms()


@action(writes=True)
async def unmute(call: Call, group_id: str) -> EverySms:
    """From now on be told of everything."""
    await commit(call, members.set_muted(call.services.groups, call.caller, UUID(group_id), ()))
    return EverySms()


@action()
async def leave(
    call: Call, group_id: str, pin: Pin
) -> (
    GroupLeft | LeftOwing | NotMember | LastOfficer | HasMoney | SimChanged | Cooling | PinWrong | PinLocked | NoPin
):  # fmt: skip
    """Go, with what is one's own, once for each run of the flow."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    work = take_back.leave(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        language=call.language,
        group_id=UUID(group_id),
        network=call.turn.network,
    )
    left = await commit(call, work)
    if isinstance(left, Refused):
        return refusal(left, REFUSALS)
    return LeftOwing(left.owing) if left.owing else GroupLeft()


def _entry(line: Line) -> str:
    """``04/03 +50.00``; an amount is never cut, so that of a very large one the day is left out."""
    amount = f"{line.sign}{line.amount.plain}"
    dated = f"{line.at:%d/%m} {amount}"
    return dated if len(dated) <= ENTRY_SEPTETS else amount
