"""What is one person's own and allotted to nothing: an advance, what waits in suspense, or what a collector has earned.

Of whoever is no member any more it is all that stands in their accounts: a saver's cycles end with their membership.
Nobody's consent is needed for it, so nobody but its owner gets it, at their own number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import case, func, select, update

from ussd_app import sims
from ussd_app.groups import Groups, books, contributions, events, fresh, kinds, members, owed
from ussd_app.groups.kinds import daily
from ussd_app.groups.model import Group, Member, Refused
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Work
from ussd_app.tables import cycles, group_events, memberships

ENDED = ("open", "complete")  # states of cycles that end with a membership; one that is ``paying`` ends by its order

c, e, m = cycles.c, group_events.c, memberships.c


@dataclass(frozen=True, slots=True)
class Own:
    """What its owner may take back, out of one part of the group's books."""

    group: Group
    member: Member
    part: str
    wallet: Money
    cash: Money
    commission: Money  # the collector's, of complete cycles that end; beside the other two
    keeper: str = ""  # who hands the cash over


async def find(
    groups: Groups, connection: Look, group: Group, msisdn: Msisdn, step: int, *, leaving: bool = False
) -> Own | Refused:
    """The first part that holds something of theirs, or refused: not_member, sim_changed, cooling, nothing.

    A wallet is paid in multiples of ``step`` minor units. Whoever has left may still take what is theirs. To who is
    ``leaving`` all of it is one part.
    """
    query = select(memberships).where(m.group_id == group.id, m.msisdn == msisdn)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return Refused("not_member")
    member, now = members.member_of(row), groups.clock.now()
    if await sims.trust(connection, msisdn, now, group.rules.cooling_hours) == "changed":
        return Refused("sim_changed")
    if member.trusted_from > now:
        return Refused("cooling", {"until": member.trusted_from})
    return await held(connection, group, member, step, leaving=leaving) or Refused("nothing")


async def held(connection: Look, group: Group, member: Member, step: int, *, leaving: bool = False) -> Own | None:
    """The same of a member, whoever asks."""
    own = books.member_part(member.id)
    parts = {part: await _standing(connection, group, member, part) for part in _parts(member)}
    if leaving:
        parts = {own: sum(parts.values(), _Standing(0, 0))}
    for part, there in parts.items():
        wallet = there.wallet - there.wallet % step
        if wallet or there.cash:
            keeper = await members.keeper(connection, group.id) if there.cash else None
            return Own(
                group=group,
                member=member,
                part=part,
                wallet=Money(wallet, group.currency),
                cash=Money(there.cash, group.currency),
                commission=Money(there.commission, group.currency),
                keeper=keeper.name if keeper else group.name,
            )
    return None


async def left(connection: Look, msisdn: Msisdn, step: Callable[[str], int]) -> Own | None:
    """What is this person's in a group they are no member of any more; of several, in the one they joined first.

    ``step`` is of a currency.
    """
    former = select(memberships).where(m.msisdn == msisdn, m.state != "active").order_by(m.joined_at, m.id)
    for row in (await connection.execute(former)).mappings().all():
        member = members.member_of(row)
        group = await members.load(connection, member.group_id)
        found = await held(connection, group, member, step(group.currency))
        if found:
            return found
    return None


async def hand_over(groups: Groups, connection: Work, own: Own, run: str) -> None:
    """Make it ready in the commit that found it; its cash changes hands, and whoever keeps the box is told."""
    if own.member.state != "active":
        await _end_cycles(groups, connection, own)
    await contributions.release(groups, connection, own.group, own.member)
    if own.cash:
        held_in = books.account(own.group.id, own.part, cash=True)
        await books.move(groups, connection, held_in, books.cash_box(own.group.id), own.cash, "taken back", None)
        code = await fresh.code(groups, connection, e.code)
        await events.record(
            groups, connection, own.group.id, "taken_back",
            member=own.member.id, amount=own.cash.minor, code=code, run=run, source="cash",
        )  # fmt: skip


async def kept(groups: Groups, connection: Work, group_id: UUID, member_id: UUID, account: str, money: Money) -> None:
    """It did not arrive and is theirs as before: what has fallen due meanwhile is paid with it. The group is locked."""
    group, member = await members.load(connection, group_id), await owed.member(connection, member_id)
    if account not in {books.account(group_id, part) for part in _parts(member)}:
        # They have gone since, or another collects.
        part = books.earned_part(member_id) if member.state == "active" else books.member_part(member_id)
        await books.move(groups, connection, account, books.account(group_id, part), money, "not paid", None)
    kind = kinds.kind(group.kind)
    # Nobody saves any more who has gone: a new cycle would cost them a commission again.
    if member.state == "active" or kind is not daily.KIND:
        await kind.allot(groups, connection, group, member, cash=False)


async def gather(groups: Groups, connection: Look, group: Group, member: Member) -> None:
    """Put all that is a leaver's own into one part, in the commit of their leaving."""
    for part in _parts(member)[1:]:
        own = books.member_part(member.id)
        await books.move_all(groups, connection, group.id, group.currency, part, own, "earned")


def _parts(member: Member) -> tuple[str, ...]:
    """Of the group's books, where what is their own stands; of who has gone it is one."""
    if member.state != "active":
        return (books.member_part(member.id),)
    collected = (books.COMMISSION,) if member.role == "chair" else ()
    return (books.member_part(member.id), books.earned_part(member.id), *collected)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What stands in one part, in minor units."""

    wallet: int
    cash: int
    commission: int = 0

    def __add__(self, other: "_Standing") -> "_Standing":
        return _Standing(self.wallet + other.wallet, self.cash + other.cash, self.commission + other.commission)


async def _standing(connection: Look, group: Group, member: Member, part: str) -> _Standing:
    """What stands there and is divided into no cycle of a saver's, and what waits in suspense for them.

    Whose cycles have ended owes the commission of those that are complete, in cash as far as that goes.
    """
    wallet, cash = [
        (await books.spendable(connection, books.account(group.id, part, cash=is_cash), group.currency)).minor
        for is_cash in (False, True)
    ]
    if part != books.member_part(member.id):
        return _Standing(wallet, cash)
    saved, commission = await _saved(connection, member)
    if member.state == "active":
        commission = 0
        free = max(0, wallet + cash - saved)
        wallet = min(wallet, free)
        cash = min(cash, free - wallet)
    in_cash = min(cash, commission)
    wallet, cash = max(0, wallet - (commission - in_cash)), cash - in_cash
    waiting = [
        (await contributions.suspended(connection, group, member, cash=is_cash)).minor for is_cash in (False, True)
    ]
    return _Standing(wallet + waiting[0], cash + waiting[1], commission)


async def _saved(connection: Look, member: Member) -> tuple[int, int]:
    """What a saver's cycles hold that are not on their way out, and the commission of those that are complete."""
    commission = func.sum(case((c.state == "complete", c.share), else_=0))
    sums = select(func.coalesce(func.sum(c.paid), 0), func.coalesce(commission, 0))
    saved, earned = (await connection.execute(sums.where(c.member_id == member.id, c.state.in_(ENDED)))).one()
    return int(saved), int(earned)


async def _end_cycles(groups: Groups, connection: Work, own: Own) -> None:
    """Close the cycles of whoever has gone; the collector has earned one contribution of each that is complete."""
    theirs = (c.member_id == own.member.id) & c.state.in_(ENDED)
    await connection.execute(update(cycles).where(theirs).values(state="closed", ended_at=groups.clock.now()))
    left_over = own.commission
    for cash in (True, False):
        source, earned = (books.account(own.group.id, part, cash=cash) for part in (own.part, books.COMMISSION))
        paid = min(left_over, await books.spendable(connection, source, own.group.currency))
        await books.move(groups, connection, source, earned, paid, "commission", None)
        left_over -= paid
