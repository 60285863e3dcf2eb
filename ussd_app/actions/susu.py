"""A saver's own savings: taking them out, and a rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ussd_app.actions import Call, Choice, Choices, Pin, action
from ussd_app.actions.outcomes import Cooling, NotYours, SimChanged, commit, refusal, unproven
from ussd_app.groups import savings, views
from ussd_app.groups.kinds.daily import CONTRIBUTIONS
from ussd_app.groups.model import Refused
from ussd_app.groups.savings import Saved, Which
from ussd_app.money import Money
from ussd_app.orders import Placed, daily_payout
from ussd_app.orders.steps import PayoutsPaused
from ussd_app.subscribers import NoPin, PinLocked, PinWrong

COMPLETE = "complete"  # every cycle that is


@dataclass(frozen=True, slots=True)
class NothingSaved:
    """There is nothing to take out."""


@dataclass(frozen=True, slots=True)
class OneCycle:
    """There is one cycle to take out."""

    which: str


@dataclass(frozen=True, slots=True)
class SeveralCycles:
    """One is to be chosen, or all that are complete."""

    has_complete: bool


@dataclass(frozen=True, slots=True)
class ToWallet:
    """What taking out gives, all of it to the wallet."""

    amount: Money
    commission: Money


@dataclass(frozen=True, slots=True)
class PartlyCash:
    """What taking out gives, some or all of it in cash from the collector."""

    amount: Money
    cash: Money
    commission: Money


@dataclass(frozen=True, slots=True)
class Paying:
    """It is on its way already."""


@dataclass(frozen=True, slots=True)
class TooLittle:
    """All of it is the commission."""


@dataclass(frozen=True, slots=True)
class NotServed:
    """No operator of ours pays out to this number."""


@dataclass(frozen=True, slots=True)
class CashInHand:
    """It was all cash, and the collector hands it over; the code is the receipt's."""

    code: str


@dataclass(frozen=True, slots=True)
class Resting:
    """Nothing is awaited of them."""


@dataclass(frozen=True, slots=True)
class SavingAgain:
    """The rest is over."""


Refusal = NotYours | SimChanged | Cooling | NothingSaved | Paying | TooLittle | NotServed | PayoutsPaused
REFUSALS: Mapping[str, type[Refusal]] = {
    "not_member": NotYours, "sim_changed": SimChanged, "cooling": Cooling, "nothing": NothingSaved, "paying": Paying,
    "too_little": TooLittle, "not_served": NotServed, "paused": PayoutsPaused,
}  # fmt: skip


@action()
async def to_take(call: Call, group_id: str) -> NothingSaved | OneCycle | SeveralCycles:
    """What there is to take out."""
    held = await _held(call, group_id)
    match held:
        case []:
            return NothingSaved()
        case [only]:
            return OneCycle(str(only.number))
    return SeveralCycles(any(cycle.state == COMPLETE for cycle in held))


@action()
async def cycles(call: Call, after: str | None, group_id: str) -> Choices:
    """Every cycle that holds money and is not on its way."""
    held = [cycle for cycle in await _held(call, group_id) if cycle.number > int(after or 0)]
    lines = (
        Choice(str(cycle.number), f"#{cycle.number} {cycle.contributions}/{CONTRIBUTIONS} {cycle.money.plain}")
        for cycle in held[: views.PAGE]
    )
    return Choices(tuple(lines), more=len(held) > views.PAGE)


@action()
async def quote(call: Call, group_id: str, which: str) -> ToWallet | PartlyCash | Refusal:
    """What taking these savings out would give. Moves nothing."""
    found = await daily_payout.quote(
        call.services.orders, call.caller, UUID(group_id), _which(which), network=call.turn.network
    )
    if isinstance(found, Refused):
        return refusal(found, REFUSALS)
    if found.cash:
        return PartlyCash(found.amount, found.cash, found.commission)
    return ToWallet(found.amount, found.commission)


@action()
async def take(
    call: Call, group_id: str, which: str, pin: Pin
) -> Placed | CashInHand | Refusal | PinWrong | PinLocked | NoPin:
    """Take these savings out, once for each run of the flow."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    work = daily_payout.place(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        language=call.language,
        group_id=UUID(group_id),
        which=_which(which),
        network=call.turn.network,
    )
    placed = await commit(call, work)
    if isinstance(placed, Refused):
        return refusal(placed, REFUSALS)
    return placed if isinstance(placed, Placed) else CashInHand(placed.reference)


@action(writes=True)
async def rest(call: Call, group_id: str) -> Resting | NotYours:
    """A rest: no reminders."""
    done = await commit(call, savings.pause(call.services.groups, call.caller, UUID(group_id)))
    return NotYours() if isinstance(done, Refused) else Resting()


@action(writes=True)
async def resume(call: Call, group_id: str) -> SavingAgain | NotYours:
    """The end of a rest."""
    done = await commit(call, savings.resume(call.services.groups, call.caller, UUID(group_id)))
    return NotYours() if isinstance(done, Refused) else SavingAgain()


async def _held(call: Call, group_id: str) -> list[Saved]:
    """The caller's cycles that hold money, but those on their way."""
    async with call.services.groups.store.look() as connection:
        found = await views.place(connection, call.caller, UUID(group_id))
        if found is None:
            return []
        saved = await savings.state(connection, found[1])
    return [cycle for cycle in saved.cycles if cycle.state != "paying"]


def _which(which: str) -> Which:
    return "complete" if which == COMPLETE else int(which)
