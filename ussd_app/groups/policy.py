"""Whose consent a proposal takes, and whether it has it. Pure: who the members are at that moment decides."""

from collections.abc import Iterable, Mapping
from typing import Literal
from uuid import UUID

from ussd_app.groups.model import Member, Policy

Decision = Literal["adopted", "rejected"]


def entitled(policy: Policy, people: Iterable[Member], asked_by: UUID, payee: UUID | None) -> frozenset[UUID]:
    """Who may vote, by id: never who asks, nor who is paid.

    Where too few hold the roles, every active member may: the quorum is never lowered.
    """
    others = [member for member in people if member.state == "active" and member.id not in {asked_by, payee}]
    if policy.members:
        return frozenset(member.id for member in others if str(member.id) in policy.members)
    holders = frozenset(member.id for member in others if member.role in policy.roles)
    if policy.roles and len(holders) >= max(1, policy.count):
        return holders
    return frozenset(member.id for member in others)


def needed(policy: Policy, voters: frozenset[UUID]) -> int:
    """How many must approve, at least one: a number, or more than a percentage of those entitled.

    Who asks is in favour anyway, so that with them it is more than that percentage of all members too.
    """
    return policy.count or max(1, min(len(voters), len(voters) * policy.percent // 100 + 1))


def is_possible(policy: Policy, voters: frozenset[UUID]) -> bool:
    """Whether there are enough to carry it."""
    return len(voters) >= needed(policy, voters)


def approvals(voters: frozenset[UUID], votes: Mapping[UUID, bool]) -> int:
    """How many approve; what somebody said who may no longer vote is not counted."""
    return sum(approves for voter, approves in votes.items() if voter in voters)


def decide(policy: Policy, voters: frozenset[UUID], votes: Mapping[UUID, bool]) -> Decision | None:
    """What the votes amount to; None while it is open. A veto comes before everything."""
    against = sum(not approves for voter, approves in votes.items() if voter in voters)
    if policy.veto and against:
        return "rejected"
    if approvals(voters, votes) >= needed(policy, voters):
        return "adopted"
    return "rejected" if len(voters) - against < needed(policy, voters) else None
