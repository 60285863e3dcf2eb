"""The cycles of a rotating group: started by an officer, one round after the other, over when every pot is paid.

A round opens when the one before it is due. Its dues are made then, what its members have paid ahead is taken for
them at once, and its deadline is a job.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import func, literal, select, update

from ussd_app.groups import Groups, books, contributions, events, kinds, members, owed, rotation
from ussd_app.groups.model import Group, Member, Refused, Round
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Row, Work
from ussd_app.tables import cycles, dues, fines, group_events, memberships, rounds
from ussd_app.tables import groups as groups_table

DUE_AT = time(23, 59)  # local
DAYS = {"daily": 1, "weekly": 7, "fortnightly": 14}

c, d, e, m, r = cycles.c, dues.c, group_events.c, memberships.c, rounds.c


@dataclass(frozen=True, slots=True)
class Started:
    """The cycle runs, with so many rounds; ``seed`` where the order was drawn, so that anybody can draw it again."""

    number: int
    rounds: int
    first_due: datetime
    seed: str | None


async def start(groups: Groups, run: str, msisdn: Msisdn, group_id: UUID) -> Started | Refused:
    """An officer begins a cycle with everybody who is there, once a run.

    Refused: not_member, not_officer, running, closed, too_few (words: least, members).
    """
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        group, caller = await members.load(connection, group_id), await members.member(connection, group_id, msisdn)
        if caller is None or not caller.is_officer:
            return Refused("not_officer" if caller else "not_member")
        earlier = await _started(connection, run)
        if earlier:
            return earlier
        people = await members.active(connection, group_id)
        if group.state == "closed" or await kinds.kind(group.kind).is_open(connection, group):
            return Refused("closed" if group.state == "closed" else "running")
        if len(people) < group.rules.members_min:
            return Refused("too_few", {"least": group.rules.members_min, "members": len(people)})
        return await _start(groups, connection, run, group, caller, people)


async def due(groups: Groups, round_id: UUID) -> None:
    """Job groups.due: at a round's deadline fine who has not paid, and open the next round or see that it was the last.

    Run twice, it does nothing the second time; a round that has fallen away meanwhile is due to nobody.
    """
    async with groups.store.work() as connection:
        group_id = (await connection.execute(select(r.group_id).where(r.id == round_id))).scalar_one_or_none()
        if group_id is None:
            return
        await books.lock(connection, group_id)
        turn = rotation.round_of((await connection.execute(select(rounds).where(r.id == round_id))).mappings().one())
        group, cycle = await members.load(connection, group_id), await rotation.running(connection, group_id)
        said = select(e.id).where(e.group_id == group_id, e.kind == "round_due", e.round_id == round_id)
        if cycle is None or cycle["id"] != turn.cycle_id or group.state != "running":
            return
        if (await connection.execute(said)).first():
            return
        if groups.clock.now() < turn.due_at:
            await _plan(groups, connection, turn.id, turn.due_at)  # by the clock of another machine it was time
            return
        await _end(groups, connection, group, turn)
        following = select(rounds).where(r.cycle_id == cycle["id"], r.state == "planned").order_by(r.number).limit(1)
        row = (await connection.execute(following)).mappings().one_or_none()
        if row:
            await _open(groups, connection, group, cycle, rotation.round_of(row))
        await close_if_over(groups, connection, group)


async def close_if_over(groups: Groups, connection: Work, group: Group) -> bool:
    """End the cycle once no pot holds money and every round is paid, or past its deadline with nothing to wait for.

    What is still owed then is owed no more; the event says how much it was. The group is locked.
    """
    cycle = await rotation.running(connection, group.id)
    if cycle is None:
        return False
    now, gives_up = groups.clock.now(), group.rules.short in {"pay", "cover"}
    turns = await rotation.rounds_of(connection, cycle["id"])
    done = [turn.state == "paid" or (turn.state == "open" and turn.due_at <= now and gives_up) for turn in turns]
    held = await books.balances(connection, group.id, group.currency)
    pots = [books.account(group.id, books.round_part(turn.id), cash=cash) for turn in turns for cash in (False, True)]
    if not all(done) or any(held.get(pot) for pot in pots):
        return False
    await connection.execute(update(cycles).where(c.id == cycle["id"]).values(state="closed", ended_at=now))
    running = (groups_table.c.id == group.id) & (groups_table.c.state == "running")
    await connection.execute(update(groups_table).where(running).values(state="forming"))
    unpaid = select(func.coalesce(func.sum(d.amount - d.paid), 0)).join(rounds, r.id == d.round_id)
    owing = (await connection.execute(unpaid.where(r.cycle_id == cycle["id"]))).scalar_one()
    await events.record(
        groups, connection, group.id, "cycle_closed", number=cycle["number"], rounds=len(turns), owing=int(owing)
    )
    return True


def due_dates(now: datetime, period: str, count: int, zone: ZoneInfo) -> list[datetime]:
    """The next deadlines in UTC, each a period after the last, at DUE_AT of the group's zone.

    A month that lacks the day of the first ends earlier.
    """
    today = now.astimezone(zone).date()
    days = (_later(today, period, number) for number in range(1, count + 1))
    return [datetime.combine(day, DUE_AT, zone).astimezone(UTC) for day in days]


def _later(day: date, period: str, number: int) -> date:
    if period != "monthly":
        return day + timedelta(days=DAYS[period] * number)
    years, month = divmod(day.month - 1 + number, 12)
    first = day.replace(year=day.year + years, month=month + 1, day=1)
    return first.replace(day=min(day.day, calendar.monthrange(first.year, first.month)[1]))


async def _start(
    groups: Groups, connection: Work, run: str, group: Group, caller: Member, people: Sequence[Member]
) -> Started:
    seed = f"{groups.random.randrange(10**8):08d}" if group.rules.order == "drawn" else None
    turns = rotation.drawn(people, seed) if seed else rotation.agreed(people)
    now = groups.clock.now()
    last = select(func.coalesce(func.max(c.number), 0)).where(c.group_id == group.id, c.member_id.is_(None))
    number: int = (await connection.execute(last)).scalar_one() + 1
    cycle = {
        "id": uuid4(), "group_id": group.id, "number": number, "state": "open", "share": group.rules.share,
        "rules_version": group.rules_version, "started_at": now,
    }  # fmt: skip
    row = (await connection.execute(cycles.insert().values(cycle).returning(cycles))).mappings().one()
    dates = due_dates(now, group.rules.period, len(turns), caller.msisdn.zone)
    planned = [
        {
            "id": uuid4(), "cycle_id": cycle["id"], "group_id": group.id, "number": place, "due_at": due_at,
            "beneficiary": None if group.rules.order == "need" else turn.id, "state": "planned",
        }
        for place, (turn, due_at) in enumerate(zip(turns, dates, strict=True), 1)
    ]  # fmt: skip
    await connection.execute(rounds.insert(), planned)
    await connection.execute(update(groups_table).where(groups_table.c.id == group.id).values(state="running"))
    started = Started(number, len(turns), dates[0], seed)
    told: dict[str, Any] = {"order": group.rules.order, "seed": seed, "number": number, "rounds": len(turns)}
    told["first_due"] = dates[0].isoformat()
    await events.record(groups, connection, group.id, "started", actor=caller.id, run=run, **told)
    group = await members.load(connection, group.id)
    first = (await rotation.rounds_of(connection, row["id"]))[0]
    await _open(groups, connection, group, row, first)
    await contributions.release(groups, connection, group)
    return started


async def _open(groups: Groups, connection: Work, group: Group, cycle: Row, turn: Round) -> None:
    """Make what everybody owes the round, the beneficiary too, and take what they have paid ahead."""
    people = await members.active(connection, group.id)
    due_at = await _postpone(groups, connection, group, turn, people[0].msisdn.zone)
    await connection.execute(update(rounds).where(r.id == turn.id).values(state="open"))
    # Whoever joined since the cycle began has no turn in it, and owes it nothing.
    there = (m.group_id == group.id) & (m.state == "active") & (m.joined_at <= cycle["started_at"])
    due = m.slots * literal(cycle["share"], d.amount.type)
    owing = select(literal(turn.id, d.round_id.type), m.id, due).where(there)
    await connection.execute(dues.insert().from_select(["round_id", "member_id", "amount"], owing))
    told: dict[str, Any] = {"member": turn.beneficiary, "round_id": turn.id, "number": turn.number}
    await events.record(groups, connection, group.id, "round_opened", **told)
    await _plan(groups, connection, turn.id, due_at)
    held = await books.balances(connection, group.id, group.currency)
    for person in people:
        for cash in (False, True):
            if held.get(books.account(group.id, books.member_part(person.id), cash=cash)):
                await kinds.kind(group.kind).allot(groups, connection, group, person, cash=cash)


async def _postpone(groups: Groups, connection: Work, group: Group, turn: Round, zone: ZoneInfo) -> datetime:
    """The deadline of a round that opens: a new one, and those after it too, where its own has passed meanwhile."""
    now = groups.clock.now()
    if turn.due_at > now:
        return turn.due_at
    turns = [other for other in await rotation.rounds_of(connection, turn.cycle_id) if other.number >= turn.number]
    dates = due_dates(now, group.rules.period, len(turns), zone)
    for other, due_at in zip(turns, dates, strict=True):
        await connection.execute(update(rounds).where(r.id == other.id).values(due_at=due_at))
    return dates[0]


async def _plan(groups: Groups, connection: Work, round_id: UUID, at: datetime) -> None:
    await groups.jobs.defer(connection, "groups.due", queue=events.QUEUE, at=at, round=str(round_id))


async def _end(groups: Groups, connection: Work, group: Group, turn: Round) -> None:
    """Say who is missing at a round's deadline, and fine them where the group has agreed on it."""
    missing = await owed.missing(connection, turn.id)
    told: dict[str, Any] = {"round_id": turn.id, "number": turn.number}
    names = [person.name for person in missing]
    await events.record(groups, connection, group.id, "round_due", member=turn.beneficiary, **told, missing=names)
    if not group.rules.fine:
        return
    for person in missing:
        row = {"group_id": group.id, "member_id": person.member, "round_id": turn.id, "amount": group.rules.fine}
        await connection.execute(fines.insert().values(**row, id=uuid4(), at=groups.clock.now()))
        fined: dict[str, Any] = {"member": person.member, "amount": group.rules.fine, **told}
        await events.record(groups, connection, group.id, "fined", **fined)
    late = d.member_id.in_([person.member for person in missing])
    await connection.execute(update(dues).where(d.round_id == turn.id, late).values(fined=True))


async def _started(connection: Look, run: str) -> Started | None:
    """What this run has started already."""
    told = (await connection.execute(select(e.details).where(e.run == run))).scalar_one_or_none()
    if told is None:
        return None
    return Started(told["number"], told["rounds"], datetime.fromisoformat(told["first_due"]), told["seed"])
