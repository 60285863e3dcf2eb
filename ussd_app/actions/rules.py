"""What a group has agreed on, and asking everybody for another rule: those who decide do so in approve.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ussd_app.actions import Call, Pin, action
from ussd_app.actions.groups import NotMember
from ussd_app.actions.outcomes import NotNow, NotYours, commit, refusal, unproven
from ussd_app.actions.requests import AlreadyAsked, NobodyToApprove, NoChange, RequestMade
from ussd_app.groups import asking, views
from ussd_app.groups.model import Refused
from ussd_app.money import Money
from ussd_app.subscribers import NoPin, PinLocked, PinWrong


@dataclass(frozen=True, slots=True)
class ShareNow:
    """What each pays each round."""

    amount: Money


@dataclass(frozen=True, slots=True)
class FineNow:
    """What it costs to miss a round."""

    amount: Money


@dataclass(frozen=True, slots=True)
class NoFine:
    """It costs nothing to miss a round."""


@dataclass(frozen=True, slots=True)
class Daily:
    """A round every day."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """A round every week."""


@dataclass(frozen=True, slots=True)
class Fortnightly:
    """A round every two weeks."""


@dataclass(frozen=True, slots=True)
class Monthly:
    """A round every month."""


@dataclass(frozen=True, slots=True)
class NotAgreed:
    """Nobody has said what becomes of a pot that is short."""


@dataclass(frozen=True, slots=True)
class PayShort:
    """It is paid as it is."""


@dataclass(frozen=True, slots=True)
class Cover:
    """It is filled from the fund."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It waits."""


@dataclass(frozen=True, slots=True)
class Net:
    """Who owes earlier rounds is paid net of it."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Who owes earlier rounds goes to the end of the row."""


@dataclass(frozen=True, slots=True)
class SwapNext:
    """Who owes earlier rounds changes places with the next."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """Turns go by number."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Turns go by lot."""


@dataclass(frozen=True, slots=True)
class Need:
    """Turns go by need."""


Worded = (
    Daily | Weekly | Fortnightly | Monthly | NotAgreed | PayShort | Cover | Wait | Net | Skip | SwapNext | Agreed
    | Drawn | Need
)  # fmt: skip
Asked = RequestMade | AlreadyAsked | NobodyToApprove | NoChange | NotYours | NotNow | PinWrong | PinLocked | NoPin

WORDED: Mapping[tuple[str, Any], type[Worded]] = {
    ("period", "daily"): Daily, ("period", "weekly"): Weekly, ("period", "fortnightly"): Fortnightly,
    ("period", "monthly"): Monthly, ("short", None): NotAgreed, ("short", "pay"): PayShort, ("short", "cover"): Cover,
    ("short", "wait"): Wait, ("arrears", "net"): Net, ("arrears", "skip"): Skip, ("arrears", "swap"): SwapNext,
    ("order", "agreed"): Agreed, ("order", "drawn"): Drawn, ("order", "need"): Need,
}  # fmt: skip
REFUSALS: Mapping[str, type[AlreadyAsked | NobodyToApprove | NoChange | NotYours | NotNow]] = {
    "asked": AlreadyAsked, "nobody_to_approve": NobodyToApprove, "rules": NoChange, "not_member": NotYours,
    "closed": NotNow,
}  # fmt: skip


@action()
async def now(call: Call, group_id: str, rule: str) -> ShareNow | FineNow | NoFine | Worded | NotMember:
    """What is in force."""
    async with call.services.groups.store.look() as connection:
        found = await views.place(connection, call.caller, UUID(group_id))
    if found is None:
        return NotMember()
    group, rules = found[0], found[0].rules
    match rule:
        case "share":
            return ShareNow(group.share)
        case "fine":
            return FineNow(Money(rules.fine, group.currency)) if rules.fine else NoFine()
    return WORDED[rule, getattr(rules, rule)]()


@action()
async def ask(call: Call, group_id: str, rule: str, value: str, pin: Pin) -> Asked:
    """Ask everybody for another rule: ``value`` is a word, or a number in figures."""
    return await _ask(call, group_id, {rule: int(value) if value.isdigit() else value}, pin)


@action()
async def ask_amount(call: Call, group_id: str, rule: str, amount: Money, pin: Pin) -> Asked:
    """Ask everybody for another amount of a rule."""
    return await _ask(call, group_id, {rule: amount.minor}, pin)


async def _ask(call: Call, group_id: str, changed: Mapping[str, int | str], pin: Pin) -> Asked:
    refused = await unproven(call, pin)
    if refused:
        return refused
    asked = await commit(call, asking.rules(call.services.groups, call.run, call.caller, UUID(group_id), changed))
    return refusal(asked, REFUSALS) if isinstance(asked, Refused) else RequestMade(asked.code)
