"""Checking a receipt: any member may ask what a code of one of their groups stands for."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ussd_app.actions import Call, action
from ussd_app.actions.outcomes import found_by_code
from ussd_app.groups import views
from ussd_app.money import Money


@dataclass(frozen=True, slots=True)
class _Receipt:
    """Whose money it was, or became."""

    group: str
    member: str
    amount: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class PaidRound(_Receipt):
    """Paid in, for a round."""

    round: int


@dataclass(frozen=True, slots=True)
class PaidIn(_Receipt):
    """Paid in, for no round in particular."""


@dataclass(frozen=True, slots=True)
class PaidOut(_Receipt):
    """Paid out."""


@dataclass(frozen=True, slots=True)
class TakenBack(_Receipt):
    """Paid in, and reversed since."""


@dataclass(frozen=True, slots=True)
class NoReceipt:
    """It is no receipt of a group this person is in."""


OUT = ("paid_out", "savings_paid", "taken_back")  # kinds of events that let money out


@action()
async def check(call: Call, code: str) -> PaidRound | PaidIn | PaidOut | TakenBack | NoReceipt:
    """What this code stands for."""
    found = await found_by_code(call, partial(views.receipt, call.services.groups, call.caller, code))
    if found is None:
        return NoReceipt()
    said = (found.group, found.name, found.amount, found.at)
    if not found.stands:
        return TakenBack(*said)
    if found.kind in OUT:
        return PaidOut(*said)
    return PaidIn(*said) if found.round is None else PaidRound(*said, found.round)
