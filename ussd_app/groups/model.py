"""The words of a savings group: its rules, its members, its rounds, and what it takes to let money out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from ussd_app.money import Money
from ussd_app.msisdn import Msisdn

OFFICERS = ("chair", "secretary", "treasurer")
ROLES = (*OFFICERS, "member")
PERIODS = ("daily", "weekly", "fortnightly", "monthly")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a group has agreed; each version is kept for ever. Money in minor units of the group's currency."""

    share: int  # one contribution of one slot
    period: str = "weekly"
    order: str = "agreed"  # whose turn: agreed (by number) | drawn | need (decided at each round)
    short: str | None = None  # not all have paid by the deadline: pay what is there | cover from the fund | wait
    arrears: str = "net"  # the beneficiary owes earlier rounds: net of it | skip the turn | swap with the next
    fine: int = 0  # for a contribution missed at the deadline
    members_min: int = 5
    members_max: int = 20
    approvals: int = 2  # of officers, beside who asks and who is paid
    request_hours: int = 48  # after which a request dies
    cooling_hours: int = 24  # after a change of officer, number or SIM
    vote_percent: int = 50  # of the members, more than which carries a change of rules or officers
    unknown_sim: str = "allow"  # an approval by somebody of whose SIM nothing is known: allow | refuse

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """From JSON; rules that came later have their defaults."""
        return cls(**{name: value for name, value in stored.items() if name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Group:
    """One group as it stands."""

    id: UUID
    kind: str
    name: str
    currency: str
    state: str  # forming | running | closed
    rules: Rules
    rules_version: int

    @property
    def share(self) -> Money:
        """One contribution."""
        return Money(self.rules.share, self.currency)


@dataclass(frozen=True, slots=True)
class Member:
    """One person's place in one group."""

    id: UUID
    group_id: UUID
    number: int
    msisdn: Msisdn
    name: str
    role: str
    slots: int
    state: str  # active | suspended | left
    muted: frozenset[str]
    paused_at: datetime | None
    trusted_from: datetime

    @property
    def is_officer(self) -> bool:
        """Whether they may approve money out."""
        return self.role in OFFICERS and self.state == "active"


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose consent a proposal takes: ``count`` of those who hold one of ``roles``, or more than ``percent`` of all."""

    count: int = 0
    percent: int = 0
    roles: tuple[str, ...] = ()  # empty: every active member
    members: tuple[str, ...] = ()  # ids of those asked by name (a swap); empty: nobody in particular
    veto: bool = False  # one rejection closes it

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(**{**stored, "roles": tuple(stored["roles"]), "members": tuple(stored["members"])})


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a cycle."""

    id: UUID
    cycle_id: UUID
    group_id: UUID
    number: int
    due_at: datetime
    beneficiary: UUID | None
    state: str  # planned | open | paid


@dataclass(frozen=True, slots=True)
class Due:
    """What one member owes one round."""

    round: Round
    member: Member
    amount: Money
    paid: Money

    @property
    def open(self) -> Money:
        """What is still to be paid."""
        return self.amount - self.paid


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something that takes the consent of others."""

    id: UUID
    group_id: UUID
    code: str
    kind: str  # payout | rules | role | swap | phone | removal
    state: str  # open | adopted | rejected | expired
    policy: Policy
    details: Mapping[str, Any]
    asked_by: UUID
    payee: UUID | None
    amount: Money | None
    cash: Money | None
    round_id: UUID | None
    order_id: UUID | None
    asked_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot be done; ``why`` is one word of a kind its function names."""

    why: str
    words: Mapping[str, Any] = field(default_factory=dict)
