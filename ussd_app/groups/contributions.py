"""What members pay in: by wallet through an order, or in cash through whoever keeps the box; and what they owe.

Every contribution is credited to its member first; the group's kind then spreads it over what they owe (``allot``).
What comes when nothing is open waits in suspense, and is given to its member when the next cycle starts, or when they
take it back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, true, update

from ussd_app import ledger
from ussd_app.groups import Groups, books, events, fresh, kinds, members, owed, rotation
from ussd_app.groups.model import Group, Member, Refused, Round
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.store import Look, Row, Work
from ussd_app.tables import dues, fines, group_events, memberships, rounds

d, e, f, m = dues.c, group_events.c, fines.c, memberships.c


@dataclass(frozen=True, slots=True)
class Booked:
    """The cash stands in the books under this code; ``over`` is what nothing was due for yet."""

    code: str
    name: str
    over: Money


@dataclass(frozen=True, slots=True)
class Reversed:
    """The entry of this code no longer counts."""

    code: str
    name: str
    money: Money


@dataclass(frozen=True, slots=True)
class Put:
    """Where an amount has gone, in minor units by the ids of rounds and fines; what is left is over."""

    rounds: Mapping[str, int]
    numbers: list[int]  # of those rounds
    fines: Mapping[str, int]
    covered: int  # of the rounds' part, what went back to the fund, which had paid it in their stead
    over: Money


@dataclass(frozen=True, slots=True)
class Entry:
    """One contribution as it comes: whose, how much, and by which way."""

    member: Member
    money: Money
    code: str
    actor: UUID | None = None  # who keyed it
    order: UUID | None = None  # that collected it; None: cash
    run: str | None = None


async def book(
    groups: Groups, connection: Work, group_id: UUID, member_id: UUID, money: Money, order: UUID, code: str
) -> None:
    """Credit what an order has collected, out of its clearing account. The group is locked already or now."""
    await books.lock(connection, group_id)
    receipt = await receipt_code(groups, connection, code)
    entry = Entry(await owed.member(connection, member_id), money, receipt, order=order)
    await _take(groups, connection, await members.load(connection, group_id), entry)


async def book_cash(
    groups: Groups, run: str, msisdn: Msisdn, group_id: UUID, number: int, money: Money
) -> Booked | Refused:
    """Whoever keeps the box enters what a member gave them, once per run; refused: not_treasurer, nobody, currency."""
    async with groups.store.work() as connection:
        await books.lock(connection, group_id)
        keeper = await _keeper(connection, group_id, msisdn)
        if isinstance(keeper, Refused):
            return keeper
        group, member = await members.load(connection, group_id), await members.numbered(connection, group_id, number)
        done = await _entry(connection, e.run == run)
        if done:
            return _booked(done, group.currency)
        if member is None:
            return Refused("nobody")
        if money.currency != group.currency:
            return Refused("currency", {"currency": group.currency})
        code = await receipt_code(groups, connection)
        over = await _take(groups, connection, group, Entry(member, money, code, actor=keeper.id, run=run))
        return Booked(code, member.name, over)


async def reverse(groups: Groups, run: str, msisdn: Msisdn, code: str) -> Reversed | Refused:
    """Take back a cash entry keyed wrongly, while its money is where it was put.

    Refused: unknown (no such entry of a group whose box the caller keeps), reversed (already), moved.
    """
    async with groups.store.work() as connection:
        event = await _entry(connection, e.code == code)
        if event is None:
            return Refused("unknown")
        await books.lock(connection, event["group_id"])
        keeper = await _keeper(connection, event["group_id"], msisdn)
        if isinstance(keeper, Refused) or event["details"].get("source") != "cash":
            return Refused("unknown")
        group = await members.load(connection, event["group_id"])
        said = Reversed(code, event["name"], Money(event["amount"], group.currency))
        undone = await _entry(connection, e.reverses == event["id"])
        if undone:
            return said if undone["run"] == run else Refused("moved" if undone["kind"] == "allotted" else "reversed")
        if not await _take_back(groups, connection, group, event):
            return Refused("moved")
        told = {"actor": keeper.id, "member": event["member"], "amount": event["amount"], "reverses": event["id"]}
        await events.record(groups, connection, group.id, "reversed", **told, run=run, of=code)
        # What else stands in the member's account may now be due.
        await _allot(groups, connection, group, await owed.member(connection, event["member"]), said.money)
        return said


async def suspended(connection: Look, group: Group, member: Member, *, cash: bool) -> Money:
    """What waits in suspense for a member, of wallet money or of cash."""
    source = e.details["source"].astext == ("cash" if cash else "wallet")
    waiting = select(func.coalesce(func.sum(e.amount), 0)).where(_waits(group), source, e.member == member.id)
    return Money(int((await connection.execute(waiting)).scalar_one()), group.currency)


async def release(groups: Groups, connection: Work, group: Group, member: Member | None = None) -> None:
    """Give what waits in suspense to its members (or to this one), and spread it where they owe something.

    The group is locked.
    """
    is_open = await kinds.kind(group.kind).is_open(connection, group)
    theirs = e.member == member.id if member else true()
    query = select(group_events).where(_waits(group), theirs).order_by(e.id)
    for event in (await connection.execute(query)).mappings().all():
        cash, money = event["details"]["source"] == "cash", Money(event["amount"], group.currency)
        suspense = books.account(group.id, books.SUSPENSE, cash=cash)
        own = books.account(group.id, books.member_part(event["member"]), cash=cash)
        await books.move(groups, connection, suspense, own, money, "no longer in suspense", event["order_id"])
        put = Put({}, [], {}, 0, money)
        if is_open:
            put = await _allot(groups, connection, group, await owed.member(connection, event["member"]), money)
        told = {"member": event["member"], "amount": money.minor, "reverses": event["id"]}
        await events.record(
            groups, connection, group.id, "allotted", **told, rounds=put.numbers, over=put.over.minor, of=event["code"]
        )


async def receipt_code(groups: Groups, connection: Look, wanted: str | None = None) -> str:
    """The code of a receipt any member may check: an order's own, or a new one.

    Orders and cash draw from one range, each without looking at the other's, so that an order's own may be taken.
    """
    taken = wanted is None or (await connection.execute(select(e.id).where(e.code == wanted))).first()
    return await fresh.code(groups, connection, e.code) if wanted is None or taken else wanted


async def _take(groups: Groups, connection: Work, group: Group, entry: Entry) -> Money:
    """Credit an entry to its member and spread it, or keep it in suspense where nothing is open; what is over."""
    is_open = await kinds.kind(group.kind).is_open(connection, group)
    part = books.member_part(entry.member.id) if is_open else books.SUSPENSE
    source = ledger.clearing_account(entry.order) if entry.order else books.cash_box(group.id)
    into = books.account(group.id, part, cash=entry.order is None)
    await books.move(groups, connection, source, into, entry.money, "contribution", entry.order)
    told: dict[str, Any] = {
        "actor": entry.actor, "member": entry.member.id, "amount": entry.money.minor, "code": entry.code,
        "order_id": entry.order, "run": entry.run, "source": "wallet" if entry.order else "cash",
    }  # fmt: skip
    if not is_open:
        await events.record(groups, connection, group.id, "suspended_money", **told, over=entry.money.minor)
        return entry.money
    put = await _allot(groups, connection, group, entry.member, entry.money)
    where: dict[str, Any] = {"put": put.rounds, "fines": put.fines, "covered": put.covered, "over": put.over.minor}
    last = UUID(list(put.rounds)[-1]) if put.rounds else None
    await events.record(
        groups, connection, group.id, "contribution", **told, **where, rounds=put.numbers, round_id=last
    )
    return put.over


async def _allot(groups: Groups, connection: Work, group: Group, member: Member, money: Money) -> Put:
    """Spread what stands in a member's accounts, and say where ``money``, which has just come, went."""
    before, fines_before, covered = await _owed(connection, group, member)
    for cash in (False, True):
        await kinds.kind(group.kind).allot(groups, connection, group, member, cash=cash)
    after, fines_after, still_covered = await _owed(connection, group, member, before)
    paid = {turn: minor - after.get(turn, 0) for turn, minor in before.items() if minor > after.get(turn, 0)}
    fined = {fine: minor - fines_after.get(fine, 0) for fine, minor in fines_before.items()}
    return Put(
        rounds={str(turn.id): minor for turn, minor in paid.items()},
        numbers=[turn.number for turn in paid],
        fines={str(fine): minor for fine, minor in fined.items() if minor},
        covered=covered - still_covered,
        over=Money(max(0, money.minor - sum(paid.values()) - sum(fined.values())), group.currency),
    )


async def _owed(
    connection: Look, group: Group, member: Member, asked: Iterable[Round] = ()
) -> tuple[dict[Round, int], dict[UUID, int], int]:
    """A member's dues and fines in minor units, and what the fund has covered of those rounds (and of ``asked``)."""
    dues_open = {due.round: due.open.minor for due in await owed.open_dues(connection, member, group.currency)}
    fines_open = await owed.open_fines(connection, member, group.currency)
    turns = [turn.id for turn in (*dues_open, *asked)]
    covered = select(func.coalesce(func.sum(rounds.c.covered), 0)).where(rounds.c.id.in_(turns))
    minor = int((await connection.execute(covered)).scalar_one())
    return dues_open, {fine: money.minor for fine, money in fines_open.items()}, minor


async def _take_back(groups: Groups, connection: Work, group: Group, event: Row) -> bool:
    """Move the cash of an entry out of the books again; False where it is no longer where it was put."""
    details = event["details"]
    put, paid_fines = details.get("put", {}), details.get("fines", {})
    if details.get("covered") or await _is_paid_out(connection, event, {UUID(turn) for turn in put}):
        return False
    over = books.SUSPENSE if event["kind"] == "suspended_money" else books.member_part(event["member"])
    parts = {over: details["over"], books.FUND: sum(paid_fines.values())}
    parts |= {books.round_part(UUID(turn)): minor for turn, minor in put.items()}
    moves = [(books.account(group.id, part, cash=True), Money(minor, group.currency)) for part, minor in parts.items()]
    if [name for name, money in moves if await books.spendable(connection, name, group.currency) < money]:
        return False
    for name, money in moves:
        await books.move(groups, connection, name, books.cash_box(group.id), money, "entry reversed", None)
    for turn, minor in put.items():
        own = (d.round_id == UUID(turn)) & (d.member_id == event["member"])
        await connection.execute(update(dues).where(own).values(paid=d.paid - minor))
    for fine, minor in paid_fines.items():
        await connection.execute(update(fines).where(f.id == UUID(fine)).values(paid=f.paid - minor))
    return True


def _waits(group: Group) -> ColumnElement[bool]:
    """Of an event: it put money into suspense, which is still there."""
    later = group_events.alias()
    ended = select(later.c.id).where(later.c.reverses == e.id).exists()
    return (e.group_id == group.id) & (e.kind == "suspended_money") & ~ended


async def _is_paid_out(connection: Look, event: Row, turns: set[UUID]) -> bool:
    """Whether a payout of one of these rounds has been agreed to since the entry was made."""
    if turns & await rotation.on_its_way(connection, event["group_id"]):
        return True
    later = select(e.id).where(e.group_id == event["group_id"], e.id > event["id"], e.kind == "paid_out")
    return (await connection.execute(later.where(e.round_id.in_(turns)).limit(1))).first() is not None


async def _keeper(connection: Look, group_id: UUID, msisdn: Msisdn) -> Member | Refused:
    """The caller, if they keep the box (members.keeper)."""
    caller, keeper = await members.member(connection, group_id, msisdn), await members.keeper(connection, group_id)
    if caller is None or keeper is None or caller.id != keeper.id:
        return Refused("not_treasurer" if caller else "not_member")
    return caller


async def _entry(connection: Look, *where: ColumnElement[bool]) -> Row | None:
    """An event about a member's money, with their name."""
    query = select(group_events, m.name).join(memberships, m.id == e.member).where(*where)
    return (await connection.execute(query)).mappings().one_or_none()


def _booked(entry: Row, currency: str) -> Booked:
    return Booked(entry["code"], entry["name"], Money(entry["details"]["over"], currency))
