"""Whose turn it is: the order of a cycle, as agreed, drawn or by need, and how turns change places.

A round names its beneficiary, and nobody has more rounds of a cycle than slots. A turn can still be moved until its pot
is paid or on its way; everything here only moves names between rounds, so no turn is ever made or lost but by ``drop``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update

from ussd_app.groups import Groups, books, events, members
from ussd_app.groups.model import Member, Refused, Round
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Row, Work
from ussd_app.tables import cycles, dues, group_events, memberships, proposals, rounds

OVER = ("paid_out", "payout_failed")  # what has become of a payout that was agreed to

c, d, r = cycles.c, dues.c, rounds.c


@dataclass(frozen=True, slots=True)
class Chosen:
    """The pot of this round now goes to that member."""

    number: int
    member: Member


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the cycle lost with a member: their turns, and what they have paid into it or still owe."""

    turns: int
    paid: Money
    owing: Money


def round_of(row: Row) -> Round:
    """From a row of rounds."""
    return Round(
        id=row["id"],
        cycle_id=row["cycle_id"],
        group_id=row["group_id"],
        number=row["number"],
        due_at=row["due_at"],
        beneficiary=row["beneficiary"],
        state=row["state"],
    )


async def running(connection: Look, group_id: UUID) -> Row | None:
    """The group's own cycle that is open, a row of cycles."""
    query = select(cycles).where(c.group_id == group_id, c.member_id.is_(None), c.state == "open")
    return (await connection.execute(query)).mappings().one_or_none()


async def rounds_of(connection: Look, cycle_id: UUID) -> list[Round]:
    """The rounds of a cycle, in order."""
    query = select(rounds).where(r.cycle_id == cycle_id).order_by(r.number)
    return [round_of(row) for row in (await connection.execute(query)).mappings()]


async def on_its_way(connection: Look, group_id: UUID) -> set[UUID]:
    """The rounds of which a payout has been agreed to and is neither done nor given up."""
    p, e = proposals.c, group_events.c
    over = select(e.id).where(e.group_id == group_id, e.proposal_id == p.id, e.kind.in_(OVER))
    query = select(p.round_id).where(
        p.group_id == group_id, p.kind == "payout", p.state == "adopted", p.round_id.is_not(None), ~over.exists()
    )
    return set((await connection.execute(query)).scalars())


def agreed(people: Sequence[Member]) -> list[Member]:
    """By number; whoever has more slots comes again when everybody had the first, and so on."""
    return [person for _, person in _tickets(people)]


def drawn(people: Sequence[Member], seed: str) -> list[Member]:
    """By lot, so that anybody can check it: in the order of the SHA-256 of ``<seed>:<ticket>``.

    A ticket is the member's number, such as 7; those of further slots are 7.2, 7.3 and so on.
    """
    lots = sorted(_tickets(people), key=lambda ticket: hashlib.sha256(f"{seed}:{ticket[0]}".encode()).hexdigest())
    return [person for _, person in lots]


async def choose_beneficiary(groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, number: int) -> Chosen | Refused:
    """An officer names who needs the open pot nobody has yet; refused: not_officer, decided, nobody, had_turn."""
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        officer = await members.member(connection, group_id, msisdn)
        if officer is None or not officer.is_officer:
            return Refused("not_officer" if officer else "not_member")
        cycle, person = await running(connection, group_id), await members.numbered(connection, group_id, number)
        turns = await rounds_of(connection, cycle["id"]) if cycle else []
        undecided = next((turn for turn in turns if turn.beneficiary is None and turn.state == "open"), None)
        if undecided is None:
            return await _chosen(connection, run) or Refused("decided")
        if person is None or not await _takes_part(connection, undecided.cycle_id, person.id):
            return Refused("nobody")
        if sum(turn.beneficiary == person.id for turn in turns) >= person.slots:
            return Refused("had_turn", {"name": person.name})
        await _give(connection, undecided, person.id)
        told: dict[str, Any] = {"actor": officer.id, "member": person.id, "round_id": undecided.id, "run": run}
        await events.record(groups, connection, group_id, "round_opened", **told, number=undecided.number, chosen=True)
        return Chosen(undecided.number, person)


async def swap(groups: Groups, connection: Work, group_id: UUID, one: UUID, other: UUID) -> bool:
    """Two members change places with their next turns; False where one of them has none left. The group is locked."""
    turns = await _movable(connection, group_id)
    first, second = (next((turn for turn in turns if turn.beneficiary == who), None) for who in (one, other))
    if first is None or second is None or one == other:
        return False
    await _give(connection, first, other)
    await _give(connection, second, one)
    numbers = [first.number, second.number]
    await events.record(groups, connection, group_id, "swapped", actor=one, member=other, rounds=numbers)
    return True


async def later(connection: Look, turn: Round) -> list[Round]:
    """The turns of others after this one that can still be moved."""
    return [
        other
        for other in await _movable(connection, turn.group_id)
        if other.cycle_id == turn.cycle_id and other.number > turn.number and other.beneficiary != turn.beneficiary
    ]


async def pass_on(groups: Groups, connection: Work, turn: Round, others: Sequence[Round], kind: str) -> Round:
    """Give a turn to the first of these later ones, theirs to the next and so on; its holder has the last of them.

    ``kind`` is the event: swapped or skipped. The group is locked.
    """
    people = [*(other.beneficiary for other in others), turn.beneficiary]
    for place, person in zip([turn, *others], people, strict=True):
        await _give(connection, place, person)
    told: dict[str, Any] = {"member": turn.beneficiary, "actor": people[0]}
    await events.record(groups, connection, turn.group_id, kind, **told, rounds=[turn.number, others[-1].number])
    return replace(turn, beneficiary=people[0])


async def take(groups: Groups, connection: Work, turn: Round, member: UUID) -> bool:
    """A pot has gone to somebody whose turn it no longer was: it was, then, and who had it has their next one.

    False where they have none to give for it. The group is locked.
    """
    theirs = [other for other in await _movable(connection, turn.group_id) if other.beneficiary == member]
    if turn.beneficiary is None:
        await _give(connection, turn, member)
    elif theirs:
        await pass_on(groups, connection, turn, theirs[:1], "swapped")
    return turn.beneficiary is None or bool(theirs)


async def drop(connection: Work, member: Member, currency: str) -> Dropped:
    """Take a leaver's turns out of the cycle: their rounds go to the next in order, and the last ones fall away.

    A turn stays theirs (or their heirs') where no planned round is left to fall away: its pot is being filled already.
    What they have paid stays in the pots. The group is locked.
    """
    cycle, turns = await running(connection, member.group_id), 0
    if cycle is None or not await _takes_part(connection, cycle["id"], member.id):
        return Dropped(0, Money(0, currency), Money(0, currency))
    had = sum(turn.beneficiary == member.id for turn in await rounds_of(connection, cycle["id"]))
    coming = sum(turn.beneficiary == member.id for turn in await _movable(connection, member.group_id))
    # By need, those that nobody has been given yet are theirs as well, up to their slots.
    for _ in range(coming + max(0, member.slots - had)):
        turns += await _drop_one(connection, cycle["id"], member)
    sums = select(func.coalesce(func.sum(d.paid), 0), func.coalesce(func.sum(d.amount - d.paid), 0))
    of = sums.join(rounds, r.id == d.round_id).where(r.cycle_id == cycle["id"], d.member_id == member.id)
    paid, owing = (await connection.execute(of)).one()
    return Dropped(turns, Money(int(paid), currency), Money(int(owing), currency))


async def _drop_one(connection: Work, cycle_id: UUID, member: Member) -> bool:
    """Move whoever comes after a member's next turn up by one."""
    movable = await _movable(connection, member.group_id)
    holders = [turn.beneficiary for turn in movable]
    last = (await rounds_of(connection, cycle_id))[-1]
    gone = next((who for who in (member.id, None) if who in holders), member.id)
    if gone not in holders or last.state != "planned":
        return False
    row = movable[holders.index(gone) :]
    for place, following in pairwise(row):
        await _give(connection, place, following.beneficiary)
    await connection.execute(delete(rounds).where(r.id == last.id))
    return True


async def _takes_part(connection: Look, cycle_id: UUID, member: UUID) -> bool:
    """Whether a member was there when the cycle began; whoever joins later, or again, takes part in the next."""
    m = memberships.c
    there = select(m.id).join(cycles, c.group_id == m.group_id).where(c.id == cycle_id, m.joined_at <= c.started_at)
    return (await connection.execute(there.where(m.id == member))).one_or_none() is not None


async def _chosen(connection: Look, run: str) -> Chosen | None:
    """What this run has chosen already."""
    chosen = select(group_events.c.round_id).where(group_events.c.run == run).scalar_subquery()
    query = select(memberships, r.number.label("turn")).join(rounds, r.beneficiary == memberships.c.id)
    row = (await connection.execute(query.where(r.id == chosen))).mappings().one_or_none()
    return Chosen(row["turn"], members.member_of(row)) if row else None


def _tickets(people: Sequence[Member]) -> list[tuple[str, Member]]:
    slots = range(1, max((person.slots for person in people), default=0) + 1)
    in_order = sorted(people, key=lambda person: person.number)
    return [
        (str(person.number) if slot == 1 else f"{person.number}.{slot}", person)
        for slot in slots
        for person in in_order
        if slot <= person.slots
    ]


async def _movable(connection: Look, group_id: UUID) -> list[Round]:
    """The rounds of the open cycle whose pot is neither paid nor on its way, in order."""
    cycle = await running(connection, group_id)
    if cycle is None:
        return []
    leaving = await on_its_way(connection, group_id)
    every = await rounds_of(connection, cycle["id"])
    return [turn for turn in every if turn.state != "paid" and turn.id not in leaving]


async def _give(connection: Work, turn: Round, member: UUID | None) -> None:
    await connection.execute(update(rounds).where(r.id == turn.id).values(beneficiary=member))
