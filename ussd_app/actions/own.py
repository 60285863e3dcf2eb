"""A member's own money in a group, which nothing is due for: taking it back."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from ussd_app.actions import Call, Pin, action
from ussd_app.actions.outcomes import Cooling, NotYours, SimChanged, commit, refusal, unproven
from ussd_app.groups.model import Refused
from ussd_app.money import Money
from ussd_app.orders import take_back
from ussd_app.orders.steps import PayoutsPaused
from ussd_app.subscribers import NoPin, PinLocked, PinWrong


@dataclass(frozen=True, slots=True)
class NothingOwn:
    """All they have paid in is allotted."""


@dataclass(frozen=True, slots=True)
class NotServed:
    """No operator of ours pays out to this number."""


@dataclass(frozen=True, slots=True)
class OwnMoney:
    """What may be taken back, all of it to the wallet."""

    group_id: str
    group: str
    amount: Money


@dataclass(frozen=True, slots=True)
class OwnWithCash:
    """The same, some or all of it in cash, which whoever keeps the box hands over."""

    group_id: str
    group: str
    amount: Money
    cash: Money
    keeper: str


@dataclass(frozen=True, slots=True)
class OwnLessCommission:
    """The same of somebody whose cycles end, of which the collector has earned a part."""

    group_id: str
    group: str
    amount: Money
    cash: Money
    keeper: str
    commission: Money


@dataclass(frozen=True, slots=True)
class TakenBack:
    """It is on its way."""

    amount: Money


@dataclass(frozen=True, slots=True)
class TakenWithCash:
    """The one is on its way, the other is handed over."""

    amount: Money
    cash: Money
    keeper: str


Found = OwnMoney | OwnWithCash | OwnLessCommission
Refusal = NotYours | SimChanged | Cooling | NothingOwn | NotServed | PayoutsPaused
REFUSALS: Mapping[str, type[Refusal]] = {
    "not_member": NotYours, "sim_changed": SimChanged, "cooling": Cooling, "nothing": NothingOwn,
    "not_served": NotServed, "paused": PayoutsPaused,
}  # fmt: skip


@action()
async def quote(call: Call, group_id: str) -> Found | Refusal:
    """What the caller may take back. Moves nothing."""
    return await _quoted(call, UUID(group_id))


@action()
async def left(call: Call) -> Found | Refusal:
    """What the caller may take out of a group they are no member of any more, as home shows it. Moves nothing."""
    found = await take_back.left(call.services.orders, call.caller, network=call.turn.network)
    return await _quoted(call, found.group.id) if found else NothingOwn()


@action()
async def take(
    call: Call, group_id: str, pin: Pin
) -> TakenBack | TakenWithCash | Refusal | PinWrong | PinLocked | NoPin:
    """Take it back, once for each run of the flow."""
    refused = await unproven(call, pin)
    if refused:
        return refused
    work = take_back.place(
        call.services.orders,
        run=call.run,
        msisdn=call.caller,
        language=call.language,
        group_id=UUID(group_id),
        network=call.turn.network,
    )
    taken = await commit(call, work)
    if isinstance(taken, Refused):
        return refusal(taken, REFUSALS)
    return TakenWithCash(taken.wallet, taken.cash, taken.keeper) if taken.cash else TakenBack(taken.wallet)


async def _quoted(call: Call, group_id: UUID) -> Found | Refusal:
    found = await take_back.quote(call.services.orders, call.caller, group_id, network=call.turn.network)
    if isinstance(found, Refused):
        return refusal(found, REFUSALS)
    of = str(group_id), found.group.name
    if found.commission:
        return OwnLessCommission(*of, found.wallet, found.cash, found.keeper, found.commission)
    return OwnWithCash(*of, found.wallet, found.cash, found.keeper) if found.cash else OwnMoney(*of, found.wallet)
