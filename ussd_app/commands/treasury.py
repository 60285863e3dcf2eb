"""What a treasurer books by hand (`float`), and what only a person may decide (`parked`, `decide`, `refund`)."""

from uuid import UUID

import typer
from sqlalchemy import select

from ussd_app.app import Application
from ussd_app.errors import Reason
from ussd_app.money import InvalidAmount, Money
from ussd_app.movement import Failed, Kind, Succeeded
from ussd_app.msisdn import CURRENCIES, Msisdn
from ussd_app.payments import claims, floats
from ussd_app.tables import orders, payments

ACCOUNTS = (Kind.COLLECTION, Kind.DISBURSEMENT)
MOST = 10**12  # major units, booked at once: the books hold ten thousand times as many


class TreasuryError(Exception):
    """It cannot be booked or decided; the message says why in one line."""


async def show(application: Application, operator: str | None = None) -> None:
    """Every float, or those of one operator: what our ledger holds there, and what the operator last said of it."""
    if operator:
        _ours(application, operator)
    currency = CURRENCIES[application.settings.country]
    async with application, application.engine.connect() as connection:
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
    async with application, application.engine.begin() as connection:
        if not await floats.put(connection, account, money, note=note.strip(), at=application.clock.now()):
            raise TreasuryError(f"less than that was ever put into our floats: {money} cannot be taken out")
        typer.echo(f"{account}: {await floats.available(connection, account, money.currency)}")


async def parked(application: Application) -> None:
    """Every payment that waits for a person, and what callbacks have claimed about it."""
    async with application, application.engine.connect() as connection:
        query = select(payments).where(payments.c.state == "parked").order_by(payments.c.created_at)
        for row in (await connection.execute(query)).mappings():
            money, whose = Money(row["amount"], row["currency"]), Msisdn(row["msisdn"]).masked
            typer.echo(f"{row['id']} {row['operator']} {row['kind']} of {money}, {whose}, ref {row['label']}")
            for claim in await claims.of(connection, row, application.payments.providers[row["operator"]]):
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


async def decide(application: Application, payment: UUID, *, paid: bool, receipt: str, by: str) -> None:
    """Make a parked payment final as its operator's own statement shows it: its order goes on, or is undone."""
    if not by.strip():
        raise TreasuryError("say who decides")
    async with application:
        async with application.engine.connect() as connection:
            query = select(payments).where(payments.c.id == payment, payments.c.state == "parked")
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise TreasuryError(f"no parked payment {payment}")
        money = Money(row["amount"], row["currency"])
        end = Succeeded(receipt, money) if paid else Failed(Reason.INTERNAL, "decided by a person")
        if not await application.orders.decide(payment, end, by.strip()):
            raise TreasuryError(f"{payment} has just been decided by somebody else")
    typer.echo(f"{payment}: {'paid' if paid else 'not paid'}")


def _ours(application: Application, operator: str) -> None:
    """Raise TreasuryError where it is no operator of ours."""
    if operator not in application.operators:
        raise TreasuryError(f"no operator {operator}; there are {', '.join(application.operators)}")
