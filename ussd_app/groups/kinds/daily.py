"""Daily savings with a susu collector: cycles of a saver's own, of 31 contributions, of which one is the collector's.

A cycle is no calendar month: a day missed comes later, several may come at once. All a saver's money stands in their
account and its cash twin; the rows of cycles only divide it: what those not yet closed hold is what stands there.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, func, select, update

from ussd_app.groups import Groups, books
from ussd_app.groups.model import Group, Member, Rules
from ussd_app.store import Look, Work
from ussd_app.tables import cycles

CONTRIBUTIONS = 31  # of a cycle: 30 for the saver, 1 for the collector
LIVE = ("open", "complete", "paying")  # states of cycles whose money stands in the saver's account
MEMBERS_MAX = 1_000
CYCLES_AT_ONCE = 1_200  # a hundred years; what is more waits in the account until something comes or goes


class Daily:
    """The kind."""

    def rules(self, share: int, period: str) -> Rules:  # noqa: ARG002 - other kinds let it be chosen
        """Anybody may save, and take out what is theirs without asking; ``share`` in minor units."""
        return Rules(share, "daily", members_min=1, members_max=MEMBERS_MAX, approvals=0)

    async def is_open(self, connection: Look, group: Group) -> bool:  # noqa: ARG002 - other kinds look it up
        """For as long as there is a collector."""
        return group.state != "closed"

    async def allot(
        self,
        groups: Groups,
        connection: Work,
        group: Group,
        member: Member,
        *,
        cash: bool,  # noqa: ARG002 - a cycle takes either
    ) -> None:
        """Put into cycles what stands in the account beyond them; take out of them what has been reversed."""
        rows = (await connection.execute(live(member))).all()
        money = await beyond(connection, group, member, rows)
        if money > 0:
            if left := await _fill(connection, rows, money):
                await _open(groups, connection, group, member, left)
        elif money < 0:
            await _take_back(connection, rows, -money)


def live(member: Member) -> Any:  # noqa: ANN401 - a query; its type spells out every column
    """A saver's cycles that hold money, oldest first."""
    return select(cycles).where(cycles.c.member_id == member.id, cycles.c.state.in_(LIVE)).order_by(cycles.c.number)


async def beyond(connection: Look, group: Group, member: Member, rows: Sequence[Row[Any]]) -> int:
    """What a saver's account and its cash twin can spend, less what these cycles hold; in minor units.

    Of cycles that are on their way out the ledger holds all.
    """
    part = books.member_part(member.id)
    names = (books.account(group.id, part), books.account(group.id, part, cash=True))
    both = [(await books.spendable(connection, name, group.currency)).minor for name in names]
    return sum(both) - sum(int(row.paid) for row in rows if row.state != "paying")


async def _fill(connection: Work, rows: Sequence[Row[Any]], money: int) -> int:
    """Fill the open cycles, the oldest first (a failed payout leaves two of them); what is left."""
    for row in rows:
        if row.state == "open" and money:
            put = min(row.share * CONTRIBUTIONS - row.paid, money)
            await _hold(connection, row, row.paid + put)
            money -= put
    return money


async def _take_back(connection: Work, rows: Sequence[Row[Any]], money: int) -> None:
    """Empty the newest cycles; what is on its way out is held in the ledger and cannot be reversed."""
    for row in reversed(rows):
        if row.state != "paying" and money:
            taken = min(row.paid, money)
            await _hold(connection, row, row.paid - taken)
            money -= taken


async def _hold(connection: Work, row: Row[Any], paid: int) -> None:
    values = {"paid": paid, "state": state_of(row.share, paid)}
    await connection.execute(update(cycles).where(cycles.c.id == row.id).values(values))


async def _open(groups: Groups, connection: Work, group: Group, member: Member, money: int) -> None:
    """Open as many cycles as the money fills, and one for the rest; each keeps the share it began with."""
    share = group.rules.share
    last = select(func.coalesce(func.max(cycles.c.number), 0)).where(cycles.c.member_id == member.id)
    number: int = (await connection.execute(last)).scalar_one()
    full, rest = divmod(money, share * CONTRIBUTIONS)
    amounts = [share * CONTRIBUTIONS] * min(full, CYCLES_AT_ONCE) + ([rest] if rest else [])
    rows = [
        {
            "id": uuid4(), "group_id": group.id, "member_id": member.id, "number": number + further,
            "state": state_of(share, paid), "share": share, "paid": paid, "rules_version": group.rules_version,
            "started_at": groups.clock.now(),
        }
        for further, paid in enumerate(amounts, 1)
    ]  # fmt: skip
    await connection.execute(cycles.insert().values(rows))


def state_of(share: int, paid: int) -> str:
    """Of a cycle that nobody takes out."""
    return "complete" if paid >= share * CONTRIBUTIONS else "open"


KIND = Daily()
