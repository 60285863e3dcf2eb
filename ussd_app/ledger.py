"""Double entry: a transfer moves one positive amount between two accounts of one currency, so the books always balance.

Rows are never changed: a pending transfer is posted or voided once, by a further row.

A transfer is one call to the database (migrations/0010 says what it locks). Sums are kept by a trigger, in several rows
where many orders share an account, and read as one; a CHECK holds every floor. An account with a floor (what we owe:
clearing, fees, suspense) never has more debits, pending ones included, than credits.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Text, Uuid, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from ussd_app.money import Money
from ussd_app.store import Look, Statement, Work
from ussd_app.tables import account_names, account_parts, accounts
from ussd_app.tables.base import Moment

FEES = "fees"
RECEIVABLE = "receivable"

n, p, a = account_names.c, account_parts.c, accounts.c
NAMES, CURRENCY = bindparam("names", type_=ARRAY(Text)), bindparam("held_in", type_=Text)
ID, KIND = bindparam("transfer", type_=Uuid), bindparam("kind", type_=Text)
REASON, AT = bindparam("reason", type_=Text), bindparam("at", type_=Moment)

TRANSFER = Statement(
    select(
        func.ledger_transfer(
            ID,
            KIND,
            bindparam("debit", type_=Text),
            bindparam("credit", type_=Text),
            bindparam("amount", type_=BigInteger),
            bindparam("currency", type_=Text),
            bindparam("order", type_=Uuid),
            REASON,
            AT,
        )
    )
)
RESOLVE = Statement(select(func.ledger_resolve(ID, KIND, bindparam("pending", type_=Uuid), REASON, AT)))
LOCK = Statement(
    select(p.account)
    .join(account_names, n.id == p.account)
    .where(n.name == func.any(NAMES), n.currency == CURRENCY, ~n.spread)
    .order_by(p.account)
    .with_for_update(key_share=True, of=account_parts)
)
# Sorted names, so that no two commits wait for each other. By name: a float that nobody has used is promised as well.
PROMISE = Statement(
    text("""
    SELECT pg_advisory_xact_lock(hashtextextended(name || ' ' || CAST(:held_in AS text), 3))
    FROM unnest(CAST(:names AS text[])) AS name
""")
)
SUMS = Statement(
    select(a.name, a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending).where(
        a.name == func.any(NAMES), a.currency == CURRENCY
    )
)
IMBALANCE = Statement(
    select(n.currency, (func.sum(p.debits_posted) - func.sum(p.credits_posted)).label("difference"))
    .join(account_parts, p.account == n.id)
    .group_by(n.currency)
)


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
    work: Look, debit: str, credit: str, money: Money, *, order: UUID | None, reason: str, at: datetime
) -> UUID | Insufficient:
    """Reserve an amount: what is pending out can no longer be spent, what is pending in cannot yet be."""
    return await _move(work, "pending", debit, credit, money, order, reason, at)


async def move(
    work: Look, debit: str, credit: str, money: Money, *, order: UUID | None, reason: str, at: datetime
) -> UUID | Insufficient:
    """Move an amount at once."""
    return await _move(work, "single", debit, credit, money, order, reason, at)


async def post(work: Look, pending: UUID, *, reason: str, at: datetime) -> None:
    """Make a pending transfer final; a second resolution is an IntegrityError."""
    await _resolve(work, "post", pending, reason, at)


async def void(work: Look, pending: UUID, *, reason: str, at: datetime) -> None:
    """Give a pending transfer up; a second resolution is an IntegrityError."""
    await _resolve(work, "void", pending, reason, at)


async def lock(work: Work, names: Iterable[str], currency: str) -> None:
    """Lock accounts that this commit may spend, in id order, so that no two commits wait for each other.

    Comes before the commit's first transfer. Spread accounts (floats, fees, receivable) are no part of it: an order's
    transfers reach its own lane of them alone, and a commit waits for one lane at most (migrations/0010).
    """
    wanted = sorted(names)
    if wanted:
        await work.run(LOCK, names=wanted, held_in=currency)


async def lock_promises(work: Work, floats: Iterable[str], currency: str) -> None:
    """Let nobody else promise anything of these floats until the commit.

    It comes after ``lock`` and before the commit's first transfer. Settling promises nothing and never waits for it.
    """
    await work.run(PROMISE, names=sorted(floats), held_in=currency)


async def sums(look: Look, account: str, currency: str) -> Sums:
    """The sums of one account; all zero where it has never been used."""
    return (await sums_of(look, (account,), currency))[account]


async def sums_of(look: Look, names: Collection[str], currency: str) -> dict[str, Sums]:
    """The sums of each of these accounts, as they stood at one moment."""
    rows = await look.all(SUMS, names=list(names), held_in=currency)
    found = {row.pop("name"): Sums(**row) for row in rows}
    return dict.fromkeys(names, Sums(0, 0, 0, 0)) | found


async def imbalance(look: Look) -> dict[str, int]:
    """Debits less credits over all accounts, by currency: zero everywhere, or the books are broken."""
    return {row["currency"]: int(row["difference"]) for row in await look.all(IMBALANCE)}


async def _move(
    work: Look,
    kind: str,
    debit: str,
    credit: str,
    money: Money,
    order: UUID | None,
    reason: str,
    at: datetime,
) -> UUID | Insufficient:
    transfer = uuid4()
    written = await work.value(
        TRANSFER, transfer=transfer, kind=kind, debit=debit, credit=credit, amount=money.minor,
        currency=money.currency, order=order, reason=reason, at=at,
    )  # fmt: skip
    return transfer if written else Insufficient(debit)


async def _resolve(work: Look, kind: str, pending: UUID, reason: str, at: datetime) -> None:
    if not await work.value(RESOLVE, transfer=uuid4(), kind=kind, pending=pending, reason=reason, at=at):
        raise LookupError(f"no transfer {pending}")
