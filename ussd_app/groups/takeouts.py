"""Savings on their way to a saver: set apart, paid, or back where they were (savings.py says what may be taken).

Until it is known whether the wallet was paid, the cycles are ``paying``, and the ledger holds commission and cash.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, exists, func, select, update

from ussd_app import ledger
from ussd_app.errors import Reason
from ussd_app.groups import Groups, books, events, fresh, members
from ussd_app.groups.kinds import daily
from ussd_app.groups.savings import Offer, Payable
from ussd_app.money import Money
from ussd_app.store import Look, Work
from ussd_app.tables import cycles, group_events, memberships, transfers

HANDED_OVER = "savings handed over"
COMMISSION = "commission"

c = cycles.c


@dataclass(frozen=True, slots=True)
class TakeOut:
    """What a saver takes, and by which order; all cash takes none."""

    group_id: UUID
    member_id: UUID
    payable: Payable
    code: str  # of the order and of the receipt
    order_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """It was all cash, and counts as handed over by the collector; the reference is the receipt's code."""

    reference: str


async def handed_over(connection: Look, run: str) -> HandedOver | None:
    """What this run of a flow has taken in cash already."""
    query = select(group_events.c.code).where(group_events.c.run == run)
    code = (await connection.execute(query)).scalar_one_or_none()
    return HandedOver(code) if code else None


async def hand_over(groups: Groups, connection: Work, offer: Offer, run: str) -> HandedOver:
    """Pay out an offer that is all cash, in the commit that made it."""
    code = await fresh.code(groups, connection, group_events.c.code)
    out = TakeOut(offer.group.id, offer.member.id, offer.payable, code)
    await _move(groups, connection, out)
    await _close(groups, connection, out, run=run)
    return HandedOver(code)


async def reserve(groups: Groups, connection: Work, out: TakeOut) -> None:
    """Set an offer apart for its order, in the commit that made both; the order holds what the wallet gets."""
    await _set_state(connection, out, "paying")
    for debit, credit, money, reason in await _ways(connection, out):
        now = groups.clock.now()
        held = await ledger.hold(connection, debit, credit, money, order=out.order_id, reason=reason, at=now)
        if isinstance(held, ledger.Insufficient):
            raise LookupError(f"{held.account} has less than {money}")  # noqa: TRY004 - a result, no type


async def paid(groups: Groups, connection: Work, out: TakeOut) -> None:
    """The wallet has it: the cash is the saver's, the commission the collector's, the cycles are closed."""
    for hold in await _holds(connection, out):
        await ledger.post(connection, hold, reason="savings paid", at=groups.clock.now())
    await _close(groups, connection, out)


async def failed(groups: Groups, connection: Work, out: TakeOut, reason: Reason) -> None:
    """The wallet was not paid: everything is as it was before."""
    for hold in await _holds(connection, out):
        await ledger.void(connection, hold, reason="savings not paid", at=groups.clock.now())
    is_full = c.paid >= c.share * daily.CONTRIBUTIONS
    await _set_state(connection, out, case((is_full, "complete"), else_="open"))
    told: dict[str, Any] = {"member": out.member_id, "amount": out.payable.amount.minor, "order_id": out.order_id}
    await events.record(groups, connection, out.group_id, "payout_failed", **told, reason=reason)


async def late(groups: Groups, connection: Work, out: TakeOut) -> bool:
    """The wallet was paid after all, and that is booked: pay the rest too, if it is all still there.

    If not (False), what the wallet got comes out of the saver's other cycles, where it came out of their account.
    """
    group = await members.load(connection, out.group_id)
    found = await connection.execute(select(memberships).where(memberships.c.id == out.member_id))
    member = members.member_of(found.mappings().one())
    rows = (await connection.execute(daily.live(member))).all()
    booked = await daily.beyond(connection, group, member, rows) == -out.payable.wallet.minor
    whole = booked and await _is_there(connection, out)
    if whole:
        await _shrink(connection, out)
        await _move(groups, connection, out)
        await _close(groups, connection, out)
    await daily.KIND.allot(groups, connection, group, member, cash=False)
    return whole


async def _is_there(connection: Look, out: TakeOut) -> bool:
    """Whether nothing of it has been taken or reversed since its order failed."""
    still = select(func.count(), func.coalesce(func.sum(c.paid), 0)).where(_of(out), c.state.in_(["open", "complete"]))
    count, minor = (await connection.execute(still)).one()
    in_cash = await books.spendable(connection, _account(out, cash=True), out.payable.cash.currency)
    return count == len(out.payable.cycles) and minor >= out.payable.taken.minor and in_cash >= out.payable.cash


async def _shrink(connection: Work, out: TakeOut) -> None:
    """What has come into an open cycle since is not taken: it goes on to the one that is opened next."""
    if len(out.payable.cycles) == 1:
        await connection.execute(update(cycles).where(_of(out)).values(paid=out.payable.taken.minor))


async def _close(groups: Groups, connection: Work, out: TakeOut, run: str | None = None) -> None:
    values = {"state": "closed", "ended_at": groups.clock.now()}
    await connection.execute(update(cycles).where(_of(out)).values(values))
    await events.record(
        groups,
        connection,
        out.group_id,
        "savings_paid",
        actor=out.member_id,
        member=out.member_id,
        amount=out.payable.amount.minor,
        code=out.code,
        order_id=out.order_id,
        cycles=list(out.payable.cycles),
        commission=out.payable.commission.minor,
        cash=out.payable.cash.minor,
        run=run,
    )


async def _move(groups: Groups, connection: Look, out: TakeOut) -> None:
    for debit, credit, money, reason in await _ways(connection, out):
        await books.move(groups, connection, debit, credit, money, reason, out.order_id)


async def _ways(connection: Look, out: TakeOut) -> list[tuple[str, str, Money, str]]:
    """Cash and commission as debit, credit, amount and reason. The commission is cash where it can be: it is there."""
    take, wallet, box = out.payable, _account(out), _account(out, cash=True)
    there = await books.spendable(connection, box, take.cash.currency) - take.cash
    in_cash = min(there, take.commission)
    ways = [
        (box, books.cash_box(out.group_id), take.cash, HANDED_OVER),
        (box, books.account(out.group_id, books.COMMISSION, cash=True), in_cash, COMMISSION),
        (wallet, books.account(out.group_id, books.COMMISSION), take.commission - in_cash, COMMISSION),
    ]
    return [way for way in ways if way[2]]


async def _holds(connection: Look, out: TakeOut) -> list[UUID]:
    """What reserve has held: pending transfers that nobody has resolved."""
    t, resolving = transfers.c, transfers.alias()
    resolved = exists().where(resolving.c.pending_id == t.id)
    query = select(t.id).where(t.order_id == out.order_id, t.kind == "pending", ~resolved)
    return list((await connection.execute(query.where(t.reason.in_([HANDED_OVER, COMMISSION])))).scalars())


async def _set_state(connection: Work, out: TakeOut, state: str | ColumnElement[str]) -> None:
    await connection.execute(update(cycles).where(_of(out)).values(state=state))


def _of(out: TakeOut) -> ColumnElement[bool]:
    return and_(c.member_id == out.member_id, c.number.in_(out.payable.cycles))


def _account(out: TakeOut, *, cash: bool = False) -> str:
    return books.account(out.group_id, books.member_part(out.member_id), cash=cash)
