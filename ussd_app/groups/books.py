"""A group's accounts in the ledger. What it owes its members stands here; nothing of a group's moves elsewhere.

Each account is kept twice, since wallet money cannot pay what lies in the cash box: ``group:<id>:<part>`` for what our
float holds, ``group:<id>:cash:<part>`` for what the treasurer holds, whose counterpart is ``cash:<id>``.

    member:<id>   paid in and not yet allotted: a credit for the next round, or a saver's savings
    round:<id>    the pot of one round
    fund          fines, and what covers a short pot
    commission    what the collector has earned
    earned:<id>   the same of a member who collects no more
    suspense      came when nothing was open
"""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select

from ussd_app import ledger
from ussd_app.groups import Groups
from ussd_app.money import Money
from ussd_app.store import Look, Work
from ussd_app.tables import account_names, accounts, groups, transfers

FUND = "fund"
COMMISSION = "commission"
SUSPENSE = "suspense"


def account(group: UUID, part: str, *, cash: bool = False) -> str:
    """The name of one of a group's accounts."""
    return f"group:{group}:{'cash:' if cash else ''}{part}"


def member_part(member: UUID) -> str:
    """What a member has paid in and is not allotted."""
    return f"member:{member}"


def earned_part(member: UUID) -> str:
    """What a member has earned while they were the collector."""
    return f"earned:{member}"


def round_part(round_id: UUID) -> str:
    """The pot of a round."""
    return f"round:{round_id}"


def cash_box(group: UUID) -> str:
    """What the treasurer holds: the other side of every cash account of the group."""
    return f"cash:{group}"


async def lock(connection: Work, group: UUID) -> None:
    """Let nobody else change this group until the commit; comes before any account and any payment.

    Rows that only refer to the group may be written meanwhile.
    """
    # Whoever writes a row that only names the group, as an order's does, need not wait.
    await connection.execute(select(groups.c.id).where(groups.c.id == group).with_for_update(key_share=True))


async def move(
    desk: Groups, connection: Look, debit: str, credit: str, money: Money, reason: str, order: UUID | None
) -> None:
    """Move an amount that is known to be there; an account that has less is a fault of ours, and raises."""
    if not money:
        return
    moved = await ledger.move(connection, debit, credit, money, order=order, reason=reason, at=desk.clock.now())
    if isinstance(moved, ledger.Insufficient):
        raise LookupError(f"{moved.account} has less than {money}")  # noqa: TRY004 - a result, no type


async def move_all(
    desk: Groups, connection: Look, group: UUID, currency: str, debit: str, credit: str, reason: str
) -> None:
    """Move all that one part can pay out to another, in wallet money and in cash."""
    for cash in (False, True):
        source, target = (account(group, part, cash=cash) for part in (debit, credit))
        await move(desk, connection, source, target, await spendable(connection, source, currency), reason, None)


async def has_paid(connection: Look, name: str, order: UUID) -> bool:
    """Whether an account has paid something of an order at once, as it does for what comes late."""
    t, paid = transfers.c, account_names.c
    query = select(t.id).join(account_names, paid.id == t.debit_account)
    query = query.where(t.order_id == order, t.kind == "single", paid.name == name)
    return (await connection.execute(query.limit(1))).first() is not None


async def spendable(connection: Look, name: str, currency: str) -> Money:
    """What an account can pay out: what is posted, less what is already on its way out."""
    sums = await ledger.sums(connection, name, currency)
    return Money(sums.credits_posted - sums.debits_posted - sums.debits_pending, currency)


async def balances(connection: Look, group: UUID, currency: str) -> Mapping[str, Money]:
    """What stands posted in each account of a group, by name; its cash box counts as what it holds."""
    a = accounts.c
    query = select(a.name, a.credits_posted - a.debits_posted).where(
        a.currency == currency, a.name.startswith(f"group:{group}:") | (a.name == cash_box(group))
    )
    found = (await connection.execute(query)).all()
    return {name: Money(-minor if name == cash_box(group) else minor, currency) for name, minor in found}
