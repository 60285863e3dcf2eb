"""What callbacks have claimed about a payment: its receipt and, where no query tells, its end (design.md law 10)."""

from collections.abc import Iterable

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ussd_app.money import Money
from ussd_app.movement import Failed, Provider, Status, Succeeded, Unqueried
from ussd_app.payments.life import SUCCESSES, Finding, Unresolved
from ussd_app.tables import callbacks, payments

CLAIMS_MAX = 20  # the latest that are looked at
OVER = "callback over what is believed unasked"  # a person decides


async def of(connection: AsyncConnection, row: RowMapping, provider: Provider) -> list[Status]:
    """What came to the payment's own addresses, newest first: nobody but the provider knows their secret."""
    path, c = f"{row['kind']}/{row['id']}", callbacks.c
    own = (c.provider == row["operator"]) & ((c.path == path) | c.path.startswith(f"{path}/", autoescape=True))
    kept = await connection.execute(select(c.path, c.body).where(own).order_by(c.id.desc()).limit(CLAIMS_MAX))
    return [provider.parse_callback(each.path, each.body).status for each in kept]


def believed(claims: Iterable[Status], row: RowMapping, provider: Unqueried) -> Finding | None:
    """The end that these prove: success before failure, and neither of more than is believed without a signature."""
    final = [claim for claim in claims if isinstance(claim, Succeeded | Failed)]
    found = next((claim for claim in final if isinstance(claim, Succeeded)), final[0] if final else None)
    if found and row["amount"] > provider.believed_up_to(row["currency"]).minor:
        return Unresolved(OVER)
    return found


async def receipt(connection: AsyncConnection, row: RowMapping, provider: Provider) -> str:
    """The provider's own id of what has moved, where its answer to the query has none; empty where no callback has."""
    return next(filter(None, (_receipt(claim, row) for claim in await of(connection, row, provider))), "")


async def complete(connection: AsyncConnection, row: RowMapping, claim: Status) -> None:
    """Take the receipt out of a callback that has come after its payment had succeeded without one."""
    told = _receipt(claim, row)
    if told:
        lacks = update(payments).where(payments.c.id == row["id"], payments.c.receipt == "")
        await connection.execute(lacks.where(payments.c.state.in_(SUCCESSES)).values(receipt=told))


def _receipt(claim: Status, row: RowMapping) -> str:
    if isinstance(claim, Succeeded) and claim.amount == Money(row["amount"], row["currency"]):
        return claim.receipt
    return ""
