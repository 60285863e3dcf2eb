"""My groups: which they are, and what one of them shows its member; lists are in names and figures alone.

A group goes by its id in ``group_id``, which its list or the group's own screen has set; that the caller is a member
is looked at again every time.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from ussd_app import gsm
from ussd_app.actions import LABEL_SEPTETS_MAX, Call, Choice, Choices, action
from ussd_app.groups import members as memberships
from ussd_app.groups import rotation, views
from ussd_app.groups.kinds.daily import CONTRIBUTIONS
from ussd_app.groups.model import OFFICERS
from ussd_app.groups.told import in_short
from ussd_app.groups.views import Overview, RoundNow
from ussd_app.money import Money

UNDECIDED = "?"  # in place of a name


@dataclass(frozen=True, slots=True)
class NoGroups:
    """They are in no group."""


@dataclass(frozen=True, slots=True)
class OneGroup:
    """They are in this one alone."""

    group_id: str


@dataclass(frozen=True, slots=True)
class SeveralGroups:
    """One is to be chosen."""


@dataclass(frozen=True, slots=True)
class NotMember:
    """They are not in this group, or not any more."""


@dataclass(frozen=True, slots=True)
class Forming:
    """No cycle runs: people join, and an officer starts it."""

    group: str
    members: int
    officer: bool


@dataclass(frozen=True, slots=True)
class RoundOpen:
    """A pot is being filled."""

    group: str
    group_short: str  # the same, where there is no room for more
    round: int
    last_round: int
    paid_up: int
    payers: int
    due_day: str
    pot: Money
    taker: str


@dataclass(frozen=True, slots=True)
class BetweenRounds:
    """Every pot that was opened is paid out; the next round begins at its time."""

    group: str


@dataclass(frozen=True, slots=True)
class Saving:
    """A saver's own cycle, with a collector."""

    group: str
    day: int
    days: int
    saved: Money
    resting: bool


@dataclass(frozen=True, slots=True)
class Collecting:
    """What the collector sees of those who save."""

    group: str
    members: int


@dataclass(frozen=True, slots=True)
class Person:
    """One of the members, and what the caller may do about them beside what every member may."""

    member: str
    officer: bool
    founding: bool  # the caller chairs a group whose cycle has not begun
    by_need: bool  # the caller names whose turn it is


@dataclass(frozen=True, slots=True)
class MyTurn:
    """The rounds of the cycle whose pots are the caller's, the day of the next, and how they stand."""

    rounds: str
    due_day: str
    owed: Money
    advance: Money


@dataclass(frozen=True, slots=True)
class NoTurn:
    """No round is the caller's, or not yet."""

    owed: Money
    advance: Money


@dataclass(frozen=True, slots=True)
class Officers:
    """Who holds which office."""

    chair: str
    secretary: str
    treasurer: str


@action()
async def mine(call: Call) -> NoGroups | OneGroup | SeveralGroups:
    """How many groups this person is in."""
    found = await views.my_groups(call.services.groups, call.caller)
    match found.lines:
        case ():
            return NoGroups()
        case (only,):
            return OneGroup(only.key)
    return SeveralGroups()


@action()
async def listed(call: Call, after: str | None) -> Choices:
    """The groups this person is in."""
    found = await views.my_groups(call.services.groups, call.caller, after)
    return Choices(tuple(Choice(line.key, line.name) for line in found.lines), more=found.more)


@action()
async def show(call: Call, group_id: str) -> NotMember | Forming | RoundOpen | BetweenRounds | Saving | Collecting:
    """The group's own screen."""
    seen = await views.overview(call.services.groups, call.caller, UUID(group_id))
    if seen is None:
        return NotMember()
    name = seen.group.name
    if seen.savings is not None:
        return Collecting(name, seen.members) if seen.member.role == "chair" else _saving(seen)
    if seen.group.state != "running":
        return Forming(name, seen.members, seen.member.is_officer)
    return _round(name, seen.round, call.caller.zone) if seen.round else BetweenRounds(name)


@action()
async def unpaid(call: Call, after: str | None, group_id: str) -> Choices:
    """Who has not paid this round, and what is missing; of savers, whose contribution of today has not come."""
    return _people(await views.unpaid(call.services.groups, call.caller, UUID(group_id), after))


@action()
async def members(call: Call, after: str | None, group_id: str) -> Choices:
    """Everybody, by number."""
    return _people(await views.members(call.services.groups, call.caller, UUID(group_id), after))


@action()
async def person(call: Call, group_id: str, number: str) -> Person | NotMember:
    """The member of a number."""
    async with call.services.groups.store.look() as connection:
        found = await views.place(connection, call.caller, UUID(group_id))
        other = await memberships.numbered(connection, UUID(group_id), int(number)) if found else None
    if found is None or other is None:
        return NotMember()
    group, caller, _ = found
    return Person(
        member=other.name,
        officer=caller.is_officer,
        founding=caller.role == "chair" and group.state == "forming" and group.kind != views.SAVERS,
        by_need=caller.is_officer and group.state == "running" and group.rules.order == "need",
    )


@action()
async def officers(call: Call, group_id: str) -> Officers | NotMember:
    """Who holds which office."""
    async with call.services.groups.store.look() as connection:
        if await views.place(connection, call.caller, UUID(group_id)) is None:
            return NotMember()
        everyone = await memberships.active(connection, UUID(group_id))
    held = {member.role: member.name for member in everyone}
    return Officers(*(held.get(role, "-") for role in OFFICERS))


@action()
async def turn(call: Call, group_id: str) -> MyTurn | NoTurn | NotMember:
    """When the caller's turn is, and how they stand with their group."""
    standing = await views.turn(call.services.groups, call.caller, UUID(group_id))
    if standing is None:
        return NotMember()
    owed = standing.owed + standing.fines
    if not standing.turns:
        return NoTurn(owed, standing.advance)
    following = next((turn for turn in standing.turns if not turn.paid), standing.turns[-1])
    numbers = in_short(turn.round for turn in standing.turns)
    return MyTurn(numbers, _day(following.due_at, call.caller.zone), owed, standing.advance)


@action()
async def turns(call: Call, after: str | None, group_id: str) -> Choices:
    """Who takes which pot of the cycle, and when it is due."""
    async with call.services.groups.store.look() as connection:
        found = await views.place(connection, call.caller, UUID(group_id))
        cycle = await rotation.running(connection, UUID(group_id)) if found else None
        if cycle is None:
            return Choices((), more=False)
        everyone = await memberships.everyone(connection, UUID(group_id))
        rounds = await rotation.rounds_of(connection, cycle["id"])
    zone = call.caller.zone
    names: dict[UUID | None, str] = {member.id: member.name for member in everyone}
    coming = [each for each in rounds if each.number > int(after or 0)]
    lines = (
        Choice(str(each.number), f"#{each.number} {_day(each.due_at, zone)} {names.get(each.beneficiary, UNDECIDED)}")
        for each in coming[: views.PAGE]
    )
    return Choices(tuple(lines), more=len(coming) > views.PAGE)


def _saving(seen: Overview) -> Saving:
    """The cycle that is being filled; one that is complete waits to be taken out."""
    cycles, total = (seen.savings.cycles, seen.savings.total) if seen.savings else ((), Money(0, seen.group.currency))
    day = next((cycle.contributions for cycle in reversed(cycles) if cycle.state == "open"), 0)
    return Saving(seen.group.name, day, CONTRIBUTIONS, total, seen.member.paused_at is not None)


def _round(group: str, now: RoundNow, zone: ZoneInfo) -> RoundOpen:
    return RoundOpen(
        group=group,
        group_short=group,
        round=now.number,
        last_round=now.of,
        paid_up=now.paid,
        payers=now.members,
        due_day=_day(now.due_at, zone),
        pot=now.pot,
        taker=now.beneficiary or UNDECIDED,
    )


def _people(page: views.Page | None) -> Choices:
    lines = page.lines if page else ()
    return Choices(tuple(Choice(line.key, _person(line)) for line in lines), more=page.more if page else False)


def _person(line: views.Line) -> str:
    """``#12 Kofi 50.00``: where there is no room for all of it, the name is cut and never the amount."""
    number, amount = f"#{line.number} ", f" {line.amount.plain}" if line.amount else ""
    return f"{number}{gsm.cut(line.name, LABEL_SEPTETS_MAX - len(number) - len(amount))}{amount}"


def _day(moment: datetime, zone: ZoneInfo) -> str:
    """Day and month in figures, which every language reads."""
    return f"{moment.astimezone(zone):%d/%m}"
