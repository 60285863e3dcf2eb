"""Paying into a group: what is due first of all, what is due in one group, several days at once, or any amount."""

from dataclasses import dataclass
from uuid import UUID

from ussd_app.actions import Call, action
from ussd_app.actions.arrival import arrival
from ussd_app.groups import owed, savings, views
from ussd_app.money import MAX_MAJOR, Money
from ussd_app.orders import LimitReached, Placed, PlacedSlowly, Repeated, TooFast, contribution
from ussd_app.orders.contribution import NothingDue, NotMember, NotOpen
from ussd_app.orders.steps import AmountUnfit, NotServed, TooLarge, TooSmall


@dataclass(frozen=True, slots=True)
class Placing:
    """What is due first of all is being asked for on the payer's phone."""

    group: str
    amount: Money
    reference: str


@dataclass(frozen=True, slots=True)
class PlacedBefore:
    """Just this was asked for so many minutes ago; nothing is asked for now."""

    group: str
    group_id: str
    amount: Money
    minutes: int


@dataclass(frozen=True, slots=True)
class Owing:
    """So much is due."""

    amount: Money


@dataclass(frozen=True, slots=True)
class TooMuch:
    """More than can be paid at once."""


Refusal = (
    NothingDue | LimitReached | TooFast | NotMember | NotOpen | NotServed | AmountUnfit | TooSmall | TooLarge
)  # fmt: skip


@action(collects=True)
async def due(
    call: Call,
) -> Placing | PlacedSlowly | PlacedBefore | Refusal:
    """Pay what is due first, as home shows it; the operator's prompt comes when the dialogue is over."""
    first = (await arrival(call)).home.due
    if first is None:
        return NothingDue()
    amount = first.amount
    placed = await _place(call, first.group_id, amount)
    if isinstance(placed, AmountUnfit):  # what its rounding adds is paid ahead
        amount = Money(-(-amount.minor // placed.step.minor) * placed.step.minor, amount.currency)
        placed = await _place(call, first.group_id, amount)
    match placed:
        case PlacedSlowly():
            return placed
        case Placed():
            return Placing(first.group, amount, placed.reference)
        case Repeated():
            return PlacedBefore(first.group, str(first.group_id), amount, placed.minutes)
    return placed


@action()
async def owing(call: Call, group_id: str) -> Owing | NothingDue | NotMember:
    """What this person owes one group, fines too; to a daily group, today's contribution. Moves nothing."""
    async with call.services.groups.store.look() as connection:
        found = await views.place(connection, call.caller, UUID(group_id))
        if found is None:
            return NotMember()
        group, member, _ = found
        if group.kind == views.SAVERS:
            amount = await savings.due(call.services.groups, connection, group, member)
        else:
            amount = await owed.expected(connection, group, member)
    return Owing(amount) if amount else NothingDue()


@action()
async def for_days(call: Call, group_id: str, several: int) -> Owing | TooMuch | NotMember:
    """What so many days come to. Moves nothing."""
    seen = await views.overview(call.services.groups, call.caller, UUID(group_id))
    if seen is None:
        return NotMember()
    share = seen.due.amount if seen.due else seen.group.share
    amount = Money(share.minor * several, share.currency)
    return Owing(amount) if amount.decimal <= MAX_MAJOR else TooMuch()


@action(collects=True)
async def place(call: Call, group_id: str, amount: Money) -> Placed | PlacedSlowly | Repeated | Refusal:
    """Pay any amount, once for each run of the flow; the operator's prompt comes when the dialogue is over."""
    return await _place(call, UUID(group_id), amount)


@action(collects=True)
async def place_again(call: Call, group_id: str, amount: Money) -> Placed | PlacedSlowly | Refusal:
    """The same, though an equal payment was placed just now: the payer has been asked."""
    placed = await _place(call, UUID(group_id), amount, again=True)
    if isinstance(placed, Repeated):
        raise LookupError(f"{placed}, which nobody asked for")  # noqa: TRY004 - a result, no type
    return placed


async def _place(
    call: Call, group_id: UUID, amount: Money, *, again: bool = False
) -> Placed | PlacedSlowly | Repeated | Refusal:
    call.may_have_effect = True
    placed = await contribution.place(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        language=call.language,
        group_id=group_id,
        amount=amount,
        network=call.turn.network,
        again=again,
    )
    call.may_have_effect = isinstance(placed, Placed)  # a refusal has written nothing
    return placed
