"""Who is told of what, in which words: one table, and the few ways of meaning somebody that it uses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from ussd_app.groups.model import Member, Proposal
from ussd_app.msisdn import Msisdn

MUTABLE = ("contributions", "reminders", "changes")  # kinds of notices a member may be spared


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to tell; ``member`` is None for who is invited, and for the number a member had before."""

    msisdn: Msisdn
    language: str | None  # None: not registered, so nobody knows
    member: Member | None


@dataclass(frozen=True, slots=True)
class Turn:
    """A round whose pot somebody takes, and the day it is due."""

    round: int
    on: date


@dataclass(frozen=True, slots=True)
class Told:
    """An event, what is known of it, and ``words``: what its texts may show to everybody alike."""

    id: int
    kind: str
    member: UUID | None  # whom it concerns
    actor: UUID | None
    round_id: UUID | None
    order_id: UUID | None
    details: Mapping[str, Any]
    people: tuple[Person, ...]
    proposal: Proposal | None = None
    voters: frozenset[UUID] = frozenset()  # who may vote on it
    turns: Mapping[UUID, tuple[Turn, ...]] = field(default_factory=dict)  # to come, by member
    words: Mapping[str, Any] = field(default_factory=dict)


Means = Callable[[Told, Person], bool]


def everyone(_told: Told, person: Person) -> bool:
    """Every active member."""
    return person.member is not None and person.member.state == "active"


def witnesses(told: Told, person: Person) -> bool:
    """Every active member, where it is known whose pot it is."""
    return told.words.get("payee") is not None and everyone(told, person)


def concerned(told: Told, person: Person) -> bool:
    """Whom it is about, even if they have just left."""
    return person.member is not None and person.member.id == told.member


def outsider(_told: Told, person: Person) -> bool:
    """The number that was invited, or that a member had before."""
    return person.member is None


def officers(_told: Told, person: Person) -> bool:
    """Those who may approve money out."""
    return person.member is not None and person.member.is_officer


def other_officers(told: Told, person: Person) -> bool:
    """Those of them whom it is not about."""
    return officers(told, person) and not concerned(told, person)


def keeper(told: Told, person: Person) -> bool:
    """Who keeps the cash box: the treasurer or, where there is none, the chair."""
    people = [other.member for other in told.people if other.member and other.member.is_officer]
    role = "treasurer" if any(member.role == "treasurer" for member in people) else "chair"
    return officers(told, person) and person.member is not None and person.member.role == role


def keeping(told: Told, person: Person) -> bool:
    """Who keeps the box, where it is about them."""
    return keeper(told, person) and concerned(told, person)


def voters(told: Told, person: Person) -> bool:
    """Who may vote on the proposal."""
    return person.member is not None and person.member.id in told.voters


def parties(told: Told, person: Person) -> bool:
    """Who asked for it, who is to be paid, and who was asked by name."""
    if told.proposal is None or person.member is None:
        return False
    named = (told.proposal.asked_by, told.proposal.payee)
    return person.member.id in named or str(person.member.id) in told.proposal.policy.members


def with_a_turn(told: Told, person: Person) -> bool:
    """Whose turn is known."""
    return person.member is not None and person.member.id in told.turns


def swapping(told: Told, person: Person) -> bool:
    """Whose turn is now in one of the rounds that changed places."""
    turns = told.turns.get(person.member.id, ()) if person.member else ()
    return any(turn.round in told.details["rounds"] for turn in turns)


@dataclass(frozen=True, slots=True)
class Line:
    """A text of menus/sms.toml and whom it is for."""

    template: str
    means: Means
    waits: bool = True  # for the morning where it is night
    mute: str | None = None  # the kind of notices it is one of


CONTRIBUTION = Line("contribution_seen", witnesses, mute="contributions")
UNDECIDED = Line("contribution_seen_open", everyone, mute="contributions")
PAYMENT = Line("payment_seen", everyone, mute="contributions")

# What happened, as ``occasion`` calls it -> its lines. A person gets the first that means them, and no other.
NOTICES: Mapping[str, tuple[Line, ...]] = {
    "joined": (Line("group_joined", concerned, waits=False), Line("member_joined", officers)),
    "left": (Line("group_left", concerned, waits=False), Line("member_left", officers)),
    "left_owing": (Line("group_left_owing", concerned, waits=False), Line("member_left_owing", officers)),
    "invited": (Line("group_invited", outsider),),
    "removed_kept": (Line("group_removed_kept", concerned), Line("member_removed", everyone, mute="changes")),
    "removed": (Line("group_removed", concerned), Line("member_removed", everyone, mute="changes")),
    "role_chair": (Line("chair_changed", everyone, mute="changes"),),
    "role_secretary": (Line("secretary_changed", everyone, mute="changes"),),
    "role_treasurer": (Line("treasurer_changed", everyone, mute="changes"),),
    "role_member": (Line("officer_gone", everyone, mute="changes"),),
    "rules": (Line("rules_changed", everyone, mute="changes"),),
    "phone": (
        Line("number_taken", outsider, waits=False),
        Line("number_given", concerned, waits=False),
        Line("number_changed", everyone, mute="changes"),
    ),
    "sim_changed": (Line("sim_changed", other_officers, waits=False),),
    "started": (Line("turn_drawn", with_a_turn), Line("cycle_started", everyone)),
    "chosen": (Line("turn_given", concerned), Line("turn_chosen", everyone)),
    "swapped": (Line("turn_moved", swapping), Line("turns_swapped", everyone)),
    "skipped": (Line("turn_skipped", concerned), Line("turn_skipped_seen", everyone)),
    "cycle_closed": (Line("cycle_closed", everyone),),
    "contribution": (Line("contribution_paid", concerned, waits=False), CONTRIBUTION, UNDECIDED),
    "contribution_over": (Line("contribution_over", concerned, waits=False), CONTRIBUTION, UNDECIDED),
    "contribution_cash": (Line("contribution_cash", concerned, waits=False), CONTRIBUTION, UNDECIDED),
    "fine_paid": (Line("fine_paid", concerned, waits=False), PAYMENT),
    "advance": (Line("advance_paid", concerned, waits=False), PAYMENT),
    "saving": (Line("saving_paid", concerned, waits=False), PAYMENT),
    "payment_cash": (Line("contribution_cash", concerned, waits=False), PAYMENT),
    "reversed": (Line("contribution_reversed", concerned, waits=False), Line("reversal_seen", everyone)),
    "suspended_money": (Line("money_kept", concerned, waits=False), Line("money_kept_seen", keeper)),
    "allotted": (Line("money_allotted", concerned),),
    "fined": (Line("fined", concerned),),
    "round_due": (Line("round_missing", officers),),
    "proposed_payout": (Line("payout_asked", voters, waits=False),),
    "proposed_rules": (Line("rules_asked", voters),),
    "proposed_role": (Line("role_asked", voters),),
    "proposed_swap": (Line("swap_asked", voters),),
    "proposed_phone": (Line("number_asked", voters),),
    "proposed_removal": (Line("removal_asked", voters),),
    "approved_in_part": (Line("payout_approved_in_part", officers, waits=False),),
    "approved": (Line("payout_approved", officers, waits=False), Line("payout_approved", parties, waits=False)),
    "rejected_payout": (Line("payout_rejected", officers, waits=False), Line("payout_rejected", parties, waits=False)),
    "rejected": (Line("request_rejected", officers), Line("request_rejected", parties)),
    "expired_payout": (Line("payout_expired", officers), Line("payout_expired", parties)),
    "expired": (Line("request_expired", officers), Line("request_expired", parties)),
    "paid_out": (Line("payout_received", concerned, waits=False), Line("payout_seen", everyone, waits=False)),
    "paid_out_cash": (
        Line("payout_received_cash", concerned, waits=False),
        Line("payout_cash_due", keeper, waits=False),
        Line("payout_seen", everyone, waits=False),
    ),
    "payout_failed": (Line("payout_failed", officers, waits=False), Line("payout_failed", concerned, waits=False)),
    "savings_paid": (Line("savings_received", concerned, waits=False), Line("savings_paid", keeper, waits=False)),
    "taken_back": (Line("own_taken_back", concerned, waits=False), Line("own_taken_back_seen", keeper)),
    "taken_back_cash": (
        Line("own_taken_back", keeping, waits=False),
        Line("own_cash", concerned, waits=False),
        Line("own_cash_due", keeper, waits=False),
    ),
    "paused": (Line("saving_paused", other_officers),),
    "resumed": (Line("saving_resumed", other_officers),),
}


def occasion(told: Told) -> str | None:
    """Which of the NOTICES an event calls for; None where nobody is told."""
    kind, details = told.kind, told.details
    name = kind
    if kind == "contribution":
        name = _payment(told)
    elif kind == "left" and details.get("left_owing"):
        name = "left_owing"
    elif kind == "removed" and details.get("kept"):
        name = "removed_kept"
    elif kind == "taken_back" and details["source"] == "cash":
        name = "taken_back_cash"
    elif kind == "role":
        name = f"role_{details['role']}"
    elif kind == "round_opened":
        name = "chosen" if details.get("chosen") else ""
    elif kind == "paid_out" and details.get("cash"):
        name = "paid_out_cash"
    elif kind == "round_due" and not told.words.get("missing"):
        name = ""
    elif told.proposal and kind in {"proposed", "approved", "rejected", "expired"}:
        name = _vote(told, told.proposal)
    return name if name in NOTICES else None


def _payment(told: Told) -> str:
    """What a contribution was for; a saver's has a ``day`` among its words."""
    details = told.details
    if details["source"] == "cash":
        return "contribution_cash" if details.get("rounds") else "payment_cash"
    if details.get("rounds"):
        return "contribution_over" if details.get("over") else "contribution"
    if "day" in told.words:
        return "saving"
    return "fine_paid" if details.get("fines") else "advance"


def _vote(told: Told, proposal: Proposal) -> str:
    """What became of a request; of votes on others than payouts nobody hears before they are decided."""
    is_payout = proposal.kind == "payout"
    if told.kind == "proposed":
        return f"proposed_{proposal.kind}"
    if told.kind == "approved":
        in_part = told.details["count"] < told.details["needed"]
        return ("approved_in_part" if in_part else "approved") if is_payout else ""
    return f"{told.kind}_payout" if is_payout else told.kind


def lines(told: Told) -> list[tuple[Person, Line]]:
    """Everybody who is told, and in which words; whoever mutes a kind of notices is spared its lines."""
    name = occasion(told)
    found = []
    for person in told.people if name else ():
        line = next((line for line in NOTICES[name or ""] if line.means(told, person)), None)
        if line and not (person.member and line.mute in person.member.muted):
            found.append((person, line))
    return found
