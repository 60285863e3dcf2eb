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
    """What may be taken back, to the wallet and in cash."""

    amount: Money
    cash: Money


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The one is on its way, the other is handed over."""

    amount: Money
    cash: Money


Refusal = NotYours | SimChanged | Cooling | NothingOwn | NotServed | PayoutsPaused
REFUSALS: Mapping[str, type[Refusal]] = {
    "not_member": NotYours, "sim_changed": SimChanged, "cooling": Cooling, "nothing": NothingOwn,
    "not_served": NotServed, "paused": PayoutsPaused,
}  # fmt: skip


@action()
async def quote(call: Call, group_id: str) -> OwnMoney | Refusal:
    """What the caller may take back. Moves nothing."""
    found = await take_back.quote(call.services.orders, call.caller, UUID(group_id), network=call.turn.network)
    return refusal(found, REFUSALS) if isinstance(found, Refused) else OwnMoney(found.wallet, found.cash)


@action()
async def take(call: Call, group_id: str, pin: Pin) -> TakenBack | Refusal | PinWrong | PinLocked | NoPin:
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
    return refusal(taken, REFUSALS) if isinstance(taken, Refused) else TakenBack(taken.wallet, taken.cash)
