"""Deciding a request by its code: what it asks for, and a PIN to approve it or a key to reject it.

Whoever may not decide it, and whoever dials a code that is wrong or dead, hears the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ussd_app.actions import Call, Pin, action
from ussd_app.actions.arrival import arrival
from ussd_app.actions.outcomes import Cooling, SimChanged, commit, found_by_code, refusal, unproven
from ussd_app.actions.requested import Requested, describe
from ussd_app.groups import proposals
from ussd_app.groups.model import Proposal, Refused
from ussd_app.groups.proposals import Adopted, Counted, Found, Rejected
from ussd_app.money import Money
from ussd_app.orders import payout
from ussd_app.orders.payout import NotPaid
from ussd_app.subscribers import NoPin, PinLocked, PinWrong


@dataclass(frozen=True, slots=True)
class Newest:
    """This request waits for the caller."""

    waiting_code: str


@dataclass(frozen=True, slots=True)
class NoneWaits:
    """No request waits for the caller."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """It is to be shown."""

    code: str


@dataclass(frozen=True, slots=True)
class UnknownRequest:
    """No request of that code is the caller's to decide; why is nobody's business."""


@dataclass(frozen=True, slots=True)
class AlreadyVoted:
    """The caller has said what they think of it."""

    count: int
    needed: int


@dataclass(frozen=True, slots=True)
class WasApproved:
    """It has been carried already."""


@dataclass(frozen=True, slots=True)
class WasRejected:
    """It has been closed already."""


@dataclass(frozen=True, slots=True)
class Approved:
    """It is carried, and is done."""


@dataclass(frozen=True, slots=True)
class PayoutApproved:
    """It is carried, and money is on its way."""

    amount: Money
    payee: str


@dataclass(frozen=True, slots=True)
class SimUnknown:
    """The group wants to know the SIM of who approves, and nobody does."""


@dataclass(frozen=True, slots=True)
class CannotPay:
    """It is carried, and cannot be paid as it was asked: it has to be asked for again."""


@dataclass(frozen=True, slots=True)
class Closed:
    """It is closed, and nothing comes of it."""


Decided = AlreadyVoted | WasApproved | WasRejected
Distrusted = Cooling | SimChanged | SimUnknown
Voted = Counted | Approved | PayoutApproved | Closed | CannotPay | UnknownRequest | Decided | Distrusted

DISTRUSTED: Mapping[str, type[Distrusted]] = {
    "cooling": Cooling, "sim_changed": SimChanged, "sim_unknown": SimUnknown,
}  # fmt: skip


@action()
async def newest(call: Call) -> Newest | NoneWaits:
    """The newest request that waits for the caller, as home shows it."""
    waiting = (await arrival(call)).home.waiting
    return Newest(waiting.code) if waiting else NoneWaits()


@action()
async def choose(call: Call, waiting_code: str) -> Chosen:  # noqa: ARG001 - an action's signature
    """Take the one that is offered."""
    return Chosen(waiting_code)


@action()
async def show(call: Call, code: str) -> Requested | UnknownRequest | Decided:
    """What the request of this code asks for, or what has become of it."""
    found = await found_by_code(call, partial(proposals.find, call.services.groups, call.caller, code))
    if found is None:
        return UnknownRequest()
    return await describe(call, found) if _is_open(found) else _what_became(found)


@action()
async def approve(call: Call, code: str, pin: Pin) -> Voted | PinWrong | PinLocked | NoPin:
    """Approve it; who is the last one it takes carries it."""
    return await unproven(call, pin) or await _vote(call, code, approves=True)


@action(writes=True)
async def reject(call: Call, code: str) -> Voted:
    """Reject it, which takes no PIN: it stops what was asked for, and moves nothing."""
    return await _vote(call, code, approves=False)


async def _vote(call: Call, code: str, *, approves: bool) -> Voted:
    voted = await commit(call, payout.vote(call.services.orders, call.caller, code, approves=approves))
    if isinstance(voted, Adopted):
        return await _approved(call, voted.proposal)
    if isinstance(voted, Refused):
        return await _refused(call, code, voted)
    match voted:
        case None:
            return UnknownRequest()
        case Rejected():
            return Closed()
        case NotPaid():
            return CannotPay()
    return voted


async def _refused(call: Call, code: str, refused: Refused) -> Decided | UnknownRequest | Distrusted:
    if refused.why not in {"decided", "already_voted"}:
        return refusal(refused, DISTRUSTED)
    found = await proposals.find(call.services.groups, call.caller, code)
    return _what_became(found) if found else UnknownRequest()


async def _approved(call: Call, proposal: Proposal) -> Approved | PayoutApproved:
    found = await proposals.find(call.services.groups, call.caller, proposal.code)
    if found is None or found.payee is None or proposal.amount is None or proposal.cash is None:
        return Approved()
    return PayoutApproved(proposal.amount + proposal.cash, found.payee.name)


def _is_open(found: Found) -> bool:
    return found.proposal.state == "open" and found.voted is None


def _what_became(found: Found) -> Decided:
    if found.proposal.state == "open":
        return AlreadyVoted(found.count, found.needed)
    return WasApproved() if found.proposal.state == "adopted" else WasRejected()
