"""Double entry: a transfer moves one positive amount between two accounts of one currency, so the books always balance.

Rows are never changed: a pending transfer is posted or voided once, by a further row.

Sums are kept by a trigger (migrations/), which also locks both accounts in id order; a CHECK holds every floor. An
account with a floor (what we owe: clearing, fees, suspense) never has more debits, pending ones included, than credits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from psycopg import IntegrityError
from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import insert

from ussd_app.money import Money
from ussd_app.store import Look, Work
from ussd_app.tables import accounts, transfers

FEES = "fees"
RECEIVABLE = "receivable"


@dataclass(frozen=True, slots=True)
class Insufficient:
    """The debit account has less than that to spend; nothing was written."""

    account: str


@dataclass(frozen=True, slots=True)
class Sums:
    """An account's four sums in minor units."""

    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int


def float_account(operator: str, kind: str, *, shared: bool) -> str:
    """What an operator holds for us: one account where its contract has one, else one for each direction."""
    if shared:
        return f"float:{operator}"
    return f"float:{operator}:{'collection' if kind == 'collection' else 'disbursement'}"


def clearing_account(order: UUID) -> str:
    """What was collected for an order and is not yet handed on."""
    return f"clearing:{order}"


async def hold(
    connection: Work, debit: str, credit: str, money: Money, *, order: UUID | None, reason: str, at: datetime
) -> UUID | Insufficient:
    """Reserve an amount: what is pending out can no longer be spent, what is pending in cannot yet be."""
    return await _move(connection, "pending", debit, credit, money, order, reason, at)


async def move(
    connection: Work, debit: str, credit: str, money: Money, *, order: UUID | None, reason: str, at: datetime
) -> UUID | Insufficient:
    """Move an amount at once."""
    return await _move(connection, "single", debit, credit, money, order, reason, at)


async def post(connection: Work, pending: UUID, *, reason: str, at: datetime) -> None:
    """Make a pending transfer final; a second resolution is an IntegrityError."""
    await _resolve(connection, "post", pending, reason, at)


async def void(connection: Work, pending: UUID, *, reason: str, at: datetime) -> None:
    """Give a pending transfer up; a second resolution is an IntegrityError."""
    await _resolve(connection, "void", pending, reason, at)


async def lock(connection: Work, names: Iterable[str], currency: str) -> None:
    """Lock accounts for what follows in this commit, in id order, so that no two commits wait for each other."""
    wanted = select(accounts.c.id).where(accounts.c.name.in_(names), accounts.c.currency == currency)
    await connection.execute(wanted.order_by(accounts.c.id).with_for_update(key_share=True))


async def sums(connection: Look, account: str, currency: str) -> Sums:
    """The sums of one account; all zero where it has never been used."""
    a = accounts.c
    wanted = select(a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending)
    row = (await connection.execute(wanted.where(a.name == account, a.currency == currency))).one_or_none()
    return Sums(*row) if row else Sums(0, 0, 0, 0)


async def _move(
    connection: Work,
    kind: str,
    debit: str,
    credit: str,
    money: Money,
    order: UUID | None,
    reason: str,
    at: datetime,
) -> UUID | Insufficient:
    transfer = uuid4()
    values = {
        "id": transfer,
        "kind": kind,
        "debit_account": await _account(connection, debit, money.currency),
        "credit_account": await _account(connection, credit, money.currency),
        "amount": money.minor,
        "currency": money.currency,
        "order_id": order,
        "reason": reason,
        "at": at,
    }
    try:
        # A floor that holds must not cost the caller the rest of its transaction.
        async with connection.savepoint():
            await connection.execute(transfers.insert().values(values))
    except IntegrityError as error:
        if "ck_accounts_floor" in str(error):
            return Insufficient(debit)
        raise
    return transfer


async def _resolve(connection: Work, kind: str, pending: UUID, reason: str, at: datetime) -> None:
    held = transfers.alias("held")
    names = ["id", "kind", "debit_account", "credit_account", "amount", "currency", "pending_id", "order_id"]
    row = select(
        literal(uuid4(), transfers.c.id.type),
        literal(kind),
        held.c.debit_account,
        held.c.credit_account,
        held.c.amount,
        held.c.currency,
        held.c.id,
        held.c.order_id,
        literal(reason),
        literal(at, transfers.c.at.type),
    ).where(held.c.id == pending)
    query = transfers.insert().from_select([*names, "reason", "at"], row).returning(transfers.c.id)
    if (await connection.execute(query)).one_or_none() is None:
        raise LookupError(f"no transfer {pending}")


async def _account(connection: Work, name: str, currency: str) -> int:
    """The id of an account, opened at its first use."""
    wanted = select(accounts.c.id).where(accounts.c.name == name, accounts.c.currency == currency)
    found = (await connection.execute(wanted)).scalar_one_or_none()
    if found is None:
        floor = not name.startswith(("float:", "charges:", "cash:", RECEIVABLE))
        await connection.execute(
            insert(accounts).values(name=name, currency=currency, floor=floor).on_conflict_do_nothing()
        )
        found = (await connection.execute(wanted)).scalar_one()
    return int(found)


async def imbalance(connection: Look) -> dict[str, int]:
    """Debits less credits over all accounts, by currency: zero everywhere, or the books are broken."""
    query = select(
        accounts.c.currency, func.sum(accounts.c.debits_posted) - func.sum(accounts.c.credits_posted)
    ).group_by(accounts.c.currency)
    return {currency: int(difference) for currency, difference in await connection.execute(query)}
