"""Money paid to our till without having been asked: finding one's own, and saying what becomes of it."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from ussd_app import till
from ussd_app.actions import Call, Choice, Choices, action
from ussd_app.actions.outcomes import found_by_code
from ussd_app.groups import views
from ussd_app.money import Money
from ussd_app.orders import LimitReached, Placed, TooFast, till_back, till_in
from ussd_app.orders.contribution import NotMember, NotOpen
from ussd_app.orders.steps import PayoutsPaused
from ussd_app.orders.till_back import Gone, NotSentBack
from ussd_app.till import Unclaimed


@dataclass(frozen=True, slots=True)
class OneDeposit:
    """Just one is theirs."""

    deposit: str


@dataclass(frozen=True, slots=True)
class SeveralDeposits:
    """One of them is to be chosen."""


@dataclass(frozen=True, slots=True)
class NoDeposit:
    """None of these digits is theirs, or it has been claimed; which is nobody's business."""


@dataclass(frozen=True, slots=True)
class ForGroups:
    """It may be put into this group or, with ``others``, into another; with ``back`` it can be sent back too."""

    amount: Money
    paid_at: datetime
    group_id: str
    group: str
    others: bool
    back: bool


@dataclass(frozen=True, slots=True)
class ForNoGroup:
    """No group of theirs takes it now: it can be sent back."""

    amount: Money
    paid_at: datetime


@action()
async def find(call: Call, receipt: str) -> OneDeposit | SeveralDeposits | NoDeposit:
    """What the caller may claim with this receipt."""
    found = await found_by_code(call, partial(_found, call, receipt))
    if found is None:
        return NoDeposit()
    return OneDeposit(str(found[0].id)) if len(found) == 1 else SeveralDeposits()


@action()
async def deposits(call: Call, after: str | None, receipt: str) -> Choices:
    """Those of the caller's that have these digits, by amount and time."""
    found = await _found(call, receipt) or []
    begin = next((index for index, one in enumerate(found, 1) if str(one.id) == after), 0)
    zone = call.services.settings.zone
    lines = [Choice(str(one.id), f"{one.amount.plain} {one.at.astimezone(zone):%d/%m %H:%M}") for one in found[begin:]]
    return Choices(tuple(lines[: views.PAGE]), more=len(lines) > views.PAGE)


@action()
async def show(call: Call, deposit: str) -> ForGroups | ForNoGroup | NotSentBack | Gone:
    """What may become of it. Moves nothing."""
    async with call.services.orders.store.look() as connection:
        found = await till.read(connection, UUID(deposit), call.caller)
        if found is None:
            return Gone()
        groups = await till_in.groups_for(connection, call.caller, found.amount)
    back = till_back.sends(call.services.orders, found) is not None
    if groups:
        first = groups[0]
        return ForGroups(found.amount, found.at, str(first.id), first.name, len(groups) > 1, back)
    return ForNoGroup(found.amount, found.at) if back else NotSentBack()


@action()
async def groups(call: Call, after: str | None, deposit: str) -> Choices:
    """The caller's groups that take it."""
    async with call.services.orders.store.look() as connection:
        found = await till.read(connection, UUID(deposit), call.caller)
        theirs = await till_in.groups_for(connection, call.caller, found.amount) if found else []
    begin = next((index for index, group in enumerate(theirs, 1) if str(group.id) == after), 0)
    lines = [Choice(str(group.id), group.name) for group in theirs[begin : begin + views.PAGE]]
    return Choices(tuple(lines), more=len(theirs) > begin + views.PAGE)


@action(writes=True)
async def put(call: Call, deposit: str, group_id: str) -> Placed | Gone | NotMember | NotOpen | LimitReached | TooFast:
    """Put it into a group, once for each run of the flow."""
    call.may_have_effect = True
    placed = await till_in.place(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        language=call.language,
        deposit=UUID(deposit),
        group_id=UUID(group_id),
    )
    call.may_have_effect = isinstance(placed, Placed)  # a refusal has written nothing
    return placed


@action(writes=True)
async def send(call: Call, deposit: str) -> Placed | Gone | NotSentBack | PayoutsPaused:
    """Send it back to the caller, once for each run of the flow."""
    call.may_have_effect = True
    placed = await till_back.place(
        call.services.orders, run=call.run, msisdn=call.caller, language=call.language, deposit=UUID(deposit)
    )
    call.may_have_effect = isinstance(placed, Placed)  # a refusal has written nothing
    return placed


async def _found(call: Call, receipt: str) -> list[Unclaimed] | None:
    async with call.services.orders.store.look() as connection:
        return await till.find(connection, call.caller, receipt) or None
