"""What operators hold for us: whether it is enough to pay out of, what was put there, and what they say it is.

The ledger decides. What moves through us it knows by itself; what a treasurer moves between a bank and an operator is
booked by ``ussd-app float``. What an operator says of its own balance is kept beside, and shown where the two differ.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Boolean, Text, and_, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from ussd_app import ledger, log
from ussd_app.errors import ProviderError
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.payments import Payments
from ussd_app.payments.rows import Rows
from ussd_app.store import Look, Statement, Work
from ussd_app.tables import accounts, audit, float_balances, orders, payments

FUNDING = "funding"  # opposite the floats: what a treasurer has put there
ALERT_EVERY = timedelta(hours=1)  # for one account
SIDES = (Kind.COLLECTION, Kind.DISBURSEMENT)
LOW, SHORT = "float low", "float short"

a, o, p = accounts.c, orders.c, payments.c

# What stands in a float and is not on its way out ...
_STANDS = select(a.debits_posted - a.credits_posted - a.credits_pending).where(
    a.name == bindparam("account", type_=Text), a.currency == bindparam("held_in", type_=Text)
)
# ... less what open orders that bring its operator nothing will pay out of it, and hold nothing of yet.
_PROMISED = select(func.sum(o.amount)).where(
    o.state == literal_column("'open'"),  # a literal, so that the indexes of open orders serve it
    o.currency == bindparam("held_in", type_=Text),
    o.details["recipient_operator"].astext == bindparam("operator", type_=Text),
    ~and_(
        o.details["sender_operator"].astext == bindparam("operator", type_=Text),
        bindparam("one_float", type_=Boolean),
    ),
    ~select(p.id).where(p.order_id == o.id, p.kind == Kind.DISBURSEMENT).exists(),
)
FREE = Statement(select(func.coalesce(_STANDS.scalar_subquery(), 0) - func.coalesce(_PROMISED.scalar_subquery(), 0)))


@dataclass(frozen=True, slots=True)
class Float:
    """One account of ours at an operator: what the ledger holds there, and what the operator last said."""

    operator: str
    account: str
    held: Money
    told: Money | None
    told_at: datetime | None


async def available(connection: Look, account: str, currency: str) -> Money:
    """What can be paid out of a float: what was posted, less what is on its way out."""
    return Money(_free(await ledger.sums(connection, account, currency)), currency)


async def refuses(
    connection: Work, desk: Rows, operator: str, amount: Money, *, fed: Money, alert_below: Money
) -> bool:
    """Whether a float cannot pay this beside all it has promised; ``fed`` is what the same order brings in first.

    Nobody else promises anything of it meanwhile (``ledger.lock_promises``), but orders are settled: what they hold and
    what they have promised is one statement's snapshot, so that a payout just begun counts once.

    Leaves an alert, at most one in ALERT_EVERY for an account, where it cannot, or is left with less than wanted.
    """
    account = desk.float_account(operator, Kind.DISBURSEMENT)
    ours = {"account": account, "held_in": amount.currency, "operator": operator}
    free = await connection.value(FREE, **ours, one_float=desk.operators[operator].one_float)
    left = Money(int(free), amount.currency) + fed - amount
    # Where all money comes in and goes out through one account, an empty one has only paid out what it had.
    fills_itself = len(desk.operators) == 1 and desk.operators[operator].one_float
    if left.minor < (0 if fills_itself else alert_below.minor):
        await _alert(connection, desk, SHORT if left.minor < 0 else LOW, account, left)
    return left.minor < 0


async def put(connection: Look, account: str, amount: Money, *, note: str, at: datetime) -> bool:
    """Book what a treasurer has put into a float (below zero: has taken out); False where less was ever put there."""
    debit, credit = (account, FUNDING) if amount.minor > 0 else (FUNDING, account)
    money = Money(abs(amount.minor), amount.currency)
    booked = await ledger.move(connection, debit, credit, money, order=None, reason=note, at=at)
    return not isinstance(booked, ledger.Insufficient)


async def told(connection: Work, desk: Rows, operator: str, kind: str, balance: Money) -> None:
    """Keep what an operator says it holds for us."""
    account, now = desk.float_account(operator, kind), desk.clock.now()
    values = {"account": account, "currency": balance.currency, "minor": balance.minor, "told_at": now}
    query = (
        insert(float_balances)
        .values(values)
        .on_conflict_do_update(index_elements=["account", "currency"], set_={"minor": balance.minor, "told_at": now})
    )
    await connection.execute(query)


async def ask(desk: Payments, currency: str) -> None:
    """Ask every operator what it holds for us; some answer at once, some by a callback, some not this time."""
    for name, operator in desk.operators.items():
        kinds = {desk.float_account(name, kind): kind for kind in SIDES}
        for kind in kinds.values():
            url = desk.callback_url(name, f"balance/{kind}")
            try:
                balance = await desk.breakers.call(name, "balance", operator.balance, kind, currency, url)
            except ProviderError as error:
                log.get(__name__).warning("balance unknown", operator=name, error=str(error))
                continue
            if balance is not None:
                async with desk.store.work() as connection:
                    await told(connection, desk, name, kind, balance)


async def show(connection: Look, desk: Rows, currency: str) -> list[Float]:
    """Every float of ours, operator by operator."""
    rows = await connection.execute(select(float_balances).where(float_balances.c.currency == currency))
    said = {row.account: row for row in rows}
    ours = {desk.float_account(operator, kind): operator for operator in desk.operators for kind in SIDES}
    sums = await ledger.sums_of(connection, ours, currency)
    floats = []
    for account, operator in ours.items():
        row, held = said.get(account), Money(_free(sums[account]), currency)
        told_by = (Money(row.minor, currency), row.told_at) if row else (None, None)
        floats.append(Float(operator, account, held, *told_by))
    return floats


async def _alert(connection: Work, desk: Rows, what: str, account: str, left: Money) -> None:
    since = desk.clock.now() - ALERT_EVERY
    same = audit.c.detail["what"].astext == what, audit.c.detail["account"].astext == account
    if not (await connection.execute(select(audit.c.id).where(audit.c.at > since, *same).limit(1))).first():
        await desk.alert(connection, what, account=account, left=str(left))


def _free(sums: ledger.Sums) -> int:
    return sums.debits_posted - sums.credits_posted - sums.credits_pending
