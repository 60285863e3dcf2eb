"""What a request asks for, as those who decide it read it: one outcome for each thing that can be asked."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ussd_app.actions import Call
from ussd_app.errors import ProviderError
from ussd_app.groups import books, members
from ussd_app.groups.model import Member, Proposal
from ussd_app.groups.proposals import Found
from ussd_app.money import MAX_MAJOR, Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders.send_money import NAME_SECONDS

FIGURES_CHARS = 12


@dataclass(frozen=True, slots=True)
class _Request:
    """What every request says: which group's, and who asked."""

    group: str
    asker: str


@dataclass(frozen=True, slots=True)
class PayoutOpen:
    """Money out: to whom, as their operator knows them, and what the group holds after."""

    from_group: str
    asked_by: str
    amount: Money
    holder: str
    ending: str  # of their number
    left_figures: str


@dataclass(frozen=True, slots=True)
class ShareOpen(_Request):
    """Another share."""

    amount: Money


@dataclass(frozen=True, slots=True)
class FineOpen(_Request):
    """Another fine; none, where it is 0."""

    amount: Money


@dataclass(frozen=True, slots=True)
class WeeklyOpen(_Request):
    """A round every week."""


@dataclass(frozen=True, slots=True)
class FortnightlyOpen(_Request):
    """A round every two weeks."""


@dataclass(frozen=True, slots=True)
class MonthlyOpen(_Request):
    """A round every month."""


@dataclass(frozen=True, slots=True)
class PayShortOpen(_Request):
    """A pot that is short is paid as it is."""


@dataclass(frozen=True, slots=True)
class CoverOpen(_Request):
    """A pot that is short is filled from the fund."""


@dataclass(frozen=True, slots=True)
class WaitOpen(_Request):
    """A pot that is short waits."""


@dataclass(frozen=True, slots=True)
class NetOpen(_Request):
    """Who owes earlier rounds is paid net of it."""


@dataclass(frozen=True, slots=True)
class SkipOpen(_Request):
    """Who owes earlier rounds goes to the end of the row."""


@dataclass(frozen=True, slots=True)
class SwapNextOpen(_Request):
    """Who owes earlier rounds changes places with the next."""


@dataclass(frozen=True, slots=True)
class AgreedOpen(_Request):
    """Turns go by number."""


@dataclass(frozen=True, slots=True)
class DrawnOpen(_Request):
    """Turns go by lot."""


@dataclass(frozen=True, slots=True)
class NeedOpen(_Request):
    """Turns go by need."""


@dataclass(frozen=True, slots=True)
class RulesOpen(_Request):
    """Rules no screen has words for."""


@dataclass(frozen=True, slots=True)
class ChairOpen(_Request):
    """Another chair."""

    member: str


@dataclass(frozen=True, slots=True)
class SecretaryOpen(_Request):
    """Another secretary."""

    member: str


@dataclass(frozen=True, slots=True)
class TreasurerOpen(_Request):
    """Another treasurer."""

    member: str


@dataclass(frozen=True, slots=True)
class NoOfficeOpen(_Request):
    """An officer less."""

    member: str


@dataclass(frozen=True, slots=True)
class SwapOpen(_Request):
    """Two turns change places: the caller's for that of who asks."""

    yours: int
    theirs: int


@dataclass(frozen=True, slots=True)
class PhoneOpen(_Request):
    """Another number for a member."""

    member: str
    new_number: Msisdn


@dataclass(frozen=True, slots=True)
class RemovalOpen(_Request):
    """The end of a membership."""

    member: str


Rule = (
    WeeklyOpen | FortnightlyOpen | MonthlyOpen | PayShortOpen | CoverOpen | WaitOpen | NetOpen | SkipOpen
    | SwapNextOpen | AgreedOpen | DrawnOpen | NeedOpen | RulesOpen
)  # fmt: skip
Office = ChairOpen | SecretaryOpen | TreasurerOpen | NoOfficeOpen
Requested = PayoutOpen | ShareOpen | FineOpen | Rule | Office | SwapOpen | PhoneOpen | RemovalOpen

RULES: Mapping[tuple[str, Any], type[Rule]] = {
    ("period", "weekly"): WeeklyOpen, ("period", "fortnightly"): FortnightlyOpen, ("period", "monthly"): MonthlyOpen,
    ("short", "pay"): PayShortOpen, ("short", "cover"): CoverOpen, ("short", "wait"): WaitOpen,
    ("arrears", "net"): NetOpen, ("arrears", "skip"): SkipOpen, ("arrears", "swap"): SwapNextOpen,
    ("order", "agreed"): AgreedOpen, ("order", "drawn"): DrawnOpen, ("order", "need"): NeedOpen,
}  # fmt: skip
OFFICES: Mapping[str, type[Office]] = {
    "chair": ChairOpen, "secretary": SecretaryOpen, "treasurer": TreasurerOpen, "member": NoOfficeOpen,
}  # fmt: skip


async def describe(call: Call, found: Found) -> Requested:
    """The request in full."""
    proposal, said = found.proposal, (found.group.name, found.asked_by.name)
    match proposal.kind:
        case "payout":
            return await _payout(call, found)
        case "rules":
            return _rules(said, proposal.details["changes"], found.group.currency)
        case "swap":
            yours, theirs = _swapped(proposal)
            return SwapOpen(*said, yours, theirs)
    member = await _concerned(call, found)
    match proposal.kind:
        case "role":
            return OFFICES[proposal.details["role"]](*said, member.name)
        case "phone":
            return PhoneOpen(*said, member.name, Msisdn(proposal.details["msisdn"]))
    return RemovalOpen(*said, member.name)


async def _payout(call: Call, found: Found) -> PayoutOpen:
    proposal, payee, currency = found.proposal, found.payee, found.group.currency
    if payee is None or proposal.amount is None or proposal.cash is None:
        raise LookupError(f"proposal {proposal.code} is no payout")
    async with call.services.groups.store.look() as connection:
        held = await books.balances(connection, found.group.id, currency)
    box = books.cash_box(found.group.id)
    amount = proposal.amount + proposal.cash
    left = sum((money for name, money in held.items() if name != box), Money(0, currency)) - amount
    holder = await _holder(call, payee.msisdn) or payee.name
    return PayoutOpen(found.group.name, found.asked_by.name, amount, holder, payee.msisdn[-3:], figures(left))


def figures(money: Money) -> str:
    """An amount whose currency stands beside it; one no screen has room for is never cut to another."""
    return money.plain if len(money.plain) <= FIGURES_CHARS else f">{MAX_MAJOR}"


async def _holder(call: Call, msisdn: Msisdn) -> str | None:
    """The account holder's name, where the operator gives one soon enough."""
    payments = call.services.orders.payments
    operator = await call.services.orders.routes.find(msisdn)
    if operator is None:
        return None
    try:
        async with asyncio.timeout(NAME_SECONDS):
            return await payments.breakers.call(operator.name, "name_of", operator.name_of, msisdn)
    except (ProviderError, TimeoutError):
        return None


def _rules(said: tuple[str, str], changes: Mapping[str, Any], currency: str) -> ShareOpen | FineOpen | Rule:
    """One rule is changed at a time; more than one have no screen of their own."""
    if len(changes) != 1:
        return RulesOpen(*said)
    (changed,) = changes.items()
    match changed:
        case ("share", int(minor)):
            return ShareOpen(*said, Money(minor, currency))
        case ("fine", int(minor)):
            return FineOpen(*said, Money(minor, currency))
    return RULES.get(changed, RulesOpen)(*said)


def _swapped(proposal: Proposal) -> tuple[int, int]:
    """The rounds by number: of who is asked, and of who asks."""
    theirs, yours = proposal.details["rounds"]
    return yours, theirs


async def _concerned(call: Call, found: Found) -> Member:
    """Whom a request is about where nobody is paid."""
    async with call.services.groups.store.look() as connection:
        everyone = await members.everyone(connection, found.group.id)
    return next(member for member in everyone if str(member.id) == found.proposal.details["member"])
