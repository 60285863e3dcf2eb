"""Members who go: by their own choice, or because they died or cannot be found."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

from ussd_app.groups import Groups, books, events, members, own, rotation
from ussd_app.groups.model import Group, Member, Refused
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Work
from ussd_app.tables import cycles, dues, group_events, memberships, proposals, rounds
from ussd_app.tables import groups as groups_table

c, d, e, r, p = cycles.c, dues.c, group_events.c, rounds.c, proposals.c

# What a leaver takes along, in the commit of their leaving; refused: it cannot be taken, so nobody leaves.
Take = Callable[[Work, Group, Member], Awaitable[Refused | None]]


@dataclass(frozen=True, slots=True)
class Left:
    """They are no member any more, and owe this: what they have had beyond what they have put in."""

    owing: Money


async def leave(
    groups: Groups, msisdn: Msisdn, group_id: UUID, *, run: str | None = None, take: Take | None = None
) -> Left | Refused:
    """Go, once a run; what ``take`` leaves is still theirs (own.left). The last of all closes the group behind them.

    Refused: not_member, last_officer, savings (they have some here), payout (one to them is being asked for or paid),
    or why it cannot be taken.
    """
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        group = await members.load(connection, group_id)
        earlier = await _earlier(connection, run, group.currency) if run else None
        if earlier:
            return earlier
        member = await members.member(connection, group_id, msisdn)
        if member is None:
            return Refused("not_member")
        others = [other for other in await members.active(connection, group_id) if other.id != member.id]
        refused = await _refusal(connection, group, member, others)
        if refused is None and take:
            refused = await take(connection, group, member)
        if refused is not None:
            return refused
        owing = await _owing(connection, group, member)
        await _drop(groups, connection, group, member, "left")
        if not others:
            closed = update(groups_table).where(groups_table.c.id == group_id).values(state="closed")
            await connection.execute(closed)
        told: dict[str, Any] = {"actor": member.id, "member": member.id, "run": run}
        await events.record(groups, connection, group_id, "left", **told, left_owing=owing.minor)
        groups.clock.point("leave.in_commit")
    groups.clock.point("leave.after_commit")
    return Left(owing)


async def remove(groups: Groups, connection: Work, group: Group, member: Member) -> None:
    """Suspend a member who died or cannot be found: nothing falls due to them any more. The group is locked.

    What stands in their accounts is still theirs, and they are told how to take it.
    """
    await _drop(groups, connection, group, member, "suspended")
    theirs = await own.held(connection, group, replace(member, state="suspended"), 1)
    kept = (theirs.wallet + theirs.cash).minor if theirs else 0
    await events.record(groups, connection, group.id, "removed", member=member.id, kept=kept)


async def _earlier(connection: Look, run: str, currency: str) -> Left | None:
    """That this run has left already."""
    query = select(e.details).where(e.run == run, e.kind == "left")
    told = (await connection.execute(query)).scalar_one_or_none()
    return None if told is None else Left(Money(told["left_owing"], currency))


async def _refusal(connection: Look, group: Group, member: Member, others: list[Member]) -> Refused | None:
    if member.is_officer and not any(other.is_officer for other in others) and (others or group.state == "running"):
        return Refused("last_officer")
    if await _has_savings(connection, group, member) or (not others and await _has_money(connection, group)):
        return Refused("savings")
    coming = p.round_id.in_(await rotation.on_its_way(connection, group.id)) & (p.state == "adopted")
    asked = select(p.id).where(p.group_id == group.id, p.kind == "payout", p.payee == member.id)
    if (await connection.execute(asked.where((p.state == "open") | coming).limit(1))).first() is not None:
        return Refused("payout")
    return None


async def _drop(groups: Groups, connection: Work, group: Group, member: Member, state: str) -> None:
    """Their turn goes to others; rounds that open later count active members only; what they earned is their own."""
    await own.gather(groups, connection, group, member)
    await rotation.drop(connection, member, group.currency)
    gone = update(memberships).where(memberships.c.id == member.id)
    await connection.execute(gone.values(state=state, role="member"))


async def _owing(connection: Look, group: Group, member: Member) -> Money:
    """What the pots they have had held, less what they have put into pots, in the cycle that runs."""
    running = (c.group_id == group.id) & c.member_id.is_(None) & (c.state == "open")
    paid = select(func.coalesce(func.sum(d.paid), 0)).select_from(
        dues.join(rounds, d.round_id == r.id).join(cycles, r.cycle_id == c.id)
    )
    had = paid.where(running, r.beneficiary == member.id, r.state == "paid")
    put_in = paid.where(running, d.member_id == member.id)
    owing = (await connection.execute(had)).scalar_one() - (await connection.execute(put_in)).scalar_one()
    return Money(max(0, int(owing)), group.currency)


async def _has_savings(connection: Look, group: Group, member: Member) -> bool:
    """Whether a saver, who has cycles of their own, has money here."""
    if (await connection.execute(select(c.id).where(c.member_id == member.id).limit(1))).first() is None:
        return False
    held = await books.balances(connection, group.id, group.currency)
    part = books.member_part(member.id)
    return any(held.get(books.account(group.id, part, cash=cash)) for cash in (False, True))


async def _has_money(connection: Look, group: Group) -> bool:
    return any((await books.balances(connection, group.id, group.currency)).values())
