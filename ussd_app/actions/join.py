"""Joining a group by its code: what it is, and becoming a member."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ussd_app.actions import Call, action
from ussd_app.actions.outcomes import (
    AlreadyMember,
    GroupFull,
    OtherCurrency,
    TooManyGroups,
    commit,
    found_by_code,
    refusal,
)
from ussd_app.groups import invites
from ussd_app.groups.model import Refused
from ussd_app.groups.views import SAVERS
from ussd_app.money import Money


@dataclass(frozen=True, slots=True)
class _Group:
    """What somebody is asked to join, and by whom."""

    group: str
    share: Money
    by: str


@dataclass(frozen=True, slots=True)
class Savings(_Group):
    """Everybody saves for themselves, day by day, with a collector."""


@dataclass(frozen=True, slots=True)
class Daily(_Group):
    """A rotating group with a round every day."""


@dataclass(frozen=True, slots=True)
class Weekly(_Group):
    """A rotating group with a round every week."""


@dataclass(frozen=True, slots=True)
class Fortnightly(_Group):
    """A rotating group with a round every two weeks."""


@dataclass(frozen=True, slots=True)
class Monthly(_Group):
    """A rotating group with a round every month."""


@dataclass(frozen=True, slots=True)
class UnknownCode:
    """It lets this person into no group; why is nobody's business."""


@dataclass(frozen=True, slots=True)
class Joined:
    """They are a member."""

    group: str


@dataclass(frozen=True, slots=True)
class JoinedLater:
    """They are a member, and take part from the next cycle on."""

    group: str


Preview = Savings | Daily | Weekly | Fortnightly | Monthly

PERIODS: Mapping[str, type[Preview]] = {
    "daily": Daily, "weekly": Weekly, "fortnightly": Fortnightly, "monthly": Monthly,
}  # fmt: skip
REFUSALS: Mapping[str, type[AlreadyMember | GroupFull | OtherCurrency | TooManyGroups]] = {
    "already": AlreadyMember, "full": GroupFull, "other_currency": OtherCurrency, "too_many_groups": TooManyGroups,
}  # fmt: skip


@action()
async def preview(call: Call, code: str) -> Savings | Daily | Weekly | Fortnightly | Monthly | UnknownCode:
    """What this code lets the caller into."""
    seen = await found_by_code(call, partial(invites.preview, call.services.groups, call.caller, code))
    if seen is None:
        return UnknownCode()
    kind = Savings if seen.kind == SAVERS else PERIODS[seen.period]
    return kind(seen.name, seen.share, seen.by)


@action(writes=True)
async def join(
    call: Call, code: str
) -> Joined | JoinedLater | UnknownCode | AlreadyMember | GroupFull | OtherCurrency | TooManyGroups:
    """Become a member, under the name the person registered with."""
    person = await call.services.subscribers.find(call.caller)
    name = person.name if person else ""
    joined = await commit(call, invites.join(call.services.groups, call.caller, name, code))
    if joined is None:
        return UnknownCode()
    if isinstance(joined, Refused):
        return refusal(joined, REFUSALS)
    return (JoinedLater if joined.waits else Joined)(joined.group.name)
