"""What a treasurer books by hand (`float`), and what only a person may decide (`parked`, `decide`, `refund`)."""

import re
from uuid import UUID

import typer
from sqlalchemy import select

from ussd_app.app import Application
from ussd_app.money import InvalidAmount, Money
from ussd_app.movement import Kind
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.payments import claims, floats
from ussd_app.payments.decisions import Decision, in_doubt
from ussd_app.payments.life import FINAL
from ussd_app.store import Look, Row
from ussd_app.tables import orders, payments

ACCOUNTS = (Kind.COLLECTION, Kind.DISBURSEMENT)
RECEIPT = re.compile(r"[!-~]{1,64}")  # of any operator
MOST = 10**12  # major units, booked at once: the books hold ten thousand times as many


class TreasuryError(Exception):
    """It cannot be booked or decided; the message says why in one line."""


async def show(application: Application, operator: str | None = None) -> None:
    """Every float, or those of one operator: what our ledger holds there, and what the operator last said of it."""
    if operator:
        _ours(application, operator)
    currency = CURRENCIES[application.settings.country]
    async with application, application.store.look() as connection:
        for each in await floats.show(connection, application.payments, currency):
            if operator in {None, each.operator}:
                at = each.told_at and f"{each.told_at:%Y-%m-%d %H:%M} UTC"
                typer.echo(f"{each.account}: {each.held}{f'; {each.operator} said {each.told} at {at}' if at else ''}")


async def put(application: Application, operator: str, amount: str, side: str, note: str) -> None:
    """Book what was put into a float, or taken out of it where the amount is below zero."""
    settings, paying = application.settings, application.payments
    _ours(application, operator)
    if side not in ACCOUNTS:
        raise TreasuryError(f"no side {side}; there are {' and '.join(ACCOUNTS)}")
    try:
        money = Money.of(amount, CURRENCIES[settings.country])
    except (InvalidAmount, ArithmeticError):
        raise TreasuryError(f"{amount!r} is no amount of {CURRENCIES[settings.country]}") from None
    if abs(money.decimal) > MOST:
        raise TreasuryError(f"{amount} is more than {MOST:,}, the most that is booked at once")
    if not money or not note.strip():
        raise TreasuryError("an amount, and a note of where it came from, are needed")
    account = paying.float_account(operator, side)
    async with application, application.store.work() as connection:
        if not await floats.put(connection, account, money, note=note.strip(), at=application.clock.now()):
            raise TreasuryError(f"less than that was ever put into our floats: {money} cannot be taken out")
        typer.echo(f"{account}: {await floats.available(connection, account, money.currency)}")


async def parked(application: Application) -> None:
    """Every payment that waits for a person, failed ones that may have moved too, and what callbacks have claimed."""
    async with application, application.store.look() as connection:
        waiting = (payments.c.state == "parked") | in_doubt()
        query = select(payments).where(waiting).order_by(payments.c.created_at)
        for row in (await connection.execute(query)).mappings().all():
            money, whose = Money(row["amount"], row["currency"]), Msisdn(row["msisdn"]).masked
            failed = ", booked as failed" if row["state"] == "failed" else ""
            typer.echo(f"{row['id']} {row['operator']} {row['kind']} of {money}, {whose}, ref {row['label']}{failed}")
            for claim in await claims.told(connection, row, application.payments.providers[row["operator"]]):
                typer.echo(f"  a callback said {claim}")
        for row in (await connection.execute(select(orders).where(orders.c.state == "parked"))).mappings():
            if await application.orders.refund_failed(connection, row["id"]):
                typer.echo(f"order {row['code']}: its refund has failed; `ussd-app refund {row['code']}` asks again")


async def refund(application: Application, code: str, by: str) -> None:
    """Ask once more for a refund that has failed."""
    if not by.strip():
        raise TreasuryError("say who decides")
    async with application:
        if not await application.orders.refund_again(code, by.strip()):
            raise TreasuryError(f"no order {code} waits for its refund")
    typer.echo(f"{code}: its refund is asked for again")


async def decide(application: Application, which: str, *, paid: bool, receipt: str, by: str) -> None:
    """Book what the operator's own statement shows of a payment, which its id names, or the code of its order."""
    receipt = receipt.strip()
    if not by.strip():
        raise TreasuryError("say who decides")
    if paid and not RECEIPT.fullmatch(receipt):
        raise TreasuryError("--paid needs --receipt, the operator's own id of it: up to 64 characters without blanks")
    if receipt and not paid:
        raise TreasuryError("--receipt is of what was paid: --unpaid has none")
    async with application:
        async with application.store.look() as connection:
            row = await named(connection, which.strip())
        undecided = await application.orders.decide(row["id"], Decision(by.strip(), receipt if paid else None))
        if undecided:
            raise TreasuryError(f"{row['id']} ({row['state']} {row['kind']}) {undecided.why}")
    typer.echo(f"{row['id']}: {'paid' if paid else 'not paid'}")


async def named(connection: Look, which: str) -> Row:
    """The payment of this id, or of an order's payments the one that waits for a word; raises TreasuryError."""
    try:
        found = payments.c.id == UUID(which)
    except ValueError:
        found = payments.c.label == which
    query = select(payments, in_doubt().label("in_doubt")).where(found).order_by(payments.c.created_at)
    rows = (await connection.execute(query)).mappings().all()
    waiting = [row for row in rows if row["state"] == "parked" or row["in_doubt"]]
    for those in (rows, waiting, [row for row in rows if row["state"] not in FINAL]):
        if len(those) == 1:
            return those[0]
    if not rows:
        raise TreasuryError(f"no payment {which}, and no order of that code")
    listed = ", ".join(f"{row['id']} ({row['state']} {row['kind']})" for row in rows)
    raise TreasuryError(f"order {which} has several payments, name one: {listed}")


def _ours(application: Application, operator: str) -> None:
    """Raise TreasuryError where it is no operator of ours."""
    if operator not in application.operators:
        raise TreasuryError(f"no operator {operator}; there are {', '.join(application.operators)}")
