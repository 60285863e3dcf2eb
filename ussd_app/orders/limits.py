"""What one person may move: in one payment, in a day, how often, to how many new people; and whether they just have.

``check`` runs in the commit that places, after the lock that lets one person place one order at a time; so it holds
under any number of processes. What failed or went back does not count; what is under way does.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, func, or_, select

from ussd_app.config import Settings
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders.history import IS_OPEN
from ussd_app.orders.model import LimitReached, Repeated, TooFast, Wanted, kind_named
from ussd_app.store import Look
from ussd_app.subscribers import Level, level_of
from ussd_app.tables import orders

if TYPE_CHECKING:
    from ussd_app.orders import Orders

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
JUST_NOW = timedelta(minutes=10)  # an equal order since may be one payment made twice by mistake
COUNTS = orders.c.state.not_in(["failed", "undone"])


async def check(connection: Look, desk: "Orders", wanted: Wanted) -> LimitReached | TooFast | Repeated | None:
    """What an order would break, or repeat; None where it may be placed, and for kinds that are nobody's own money."""
    if not kind_named(wanted.kind).limited:
        return None
    msisdn, recipient, amount = wanted.msisdn, wanted.recipient, wanted.amount
    once, daily = _limits(desk.settings, await level_of(connection, msisdn), amount.currency)
    if amount > once:
        return LimitReached(once)
    now = desk.clock.now()
    moved, kinds, equal = await _moved(connection, wanted, now)
    if moved + amount > daily:
        return LimitReached(daily)
    nth = desk.settings.payments_per_hour
    free = await _free_at(connection, msisdn, kinds, nth, now)
    if free is None and recipient and recipient != msisdn:
        newest = desk.settings.new_recipients_per_day
        free = await _free_for(connection, msisdn, recipient, newest, now)
    if free:
        return TooFast(_minutes(free - now))
    return Repeated(max(_minutes(now - equal), 1)) if equal else None


def _limits(settings: Settings, level: Level, currency: str) -> tuple[Money, Money]:
    """In one payment and in a day; whoever sets a PIN never may less than before."""
    once, daily = settings.payment_limit, settings.daily_limit
    if level is Level.SECURED:
        once, daily = max(once, settings.secured_payment_limit), max(daily, settings.secured_daily_limit)
    return Money.of(once, currency), Money.of(daily, currency)


async def _moved(connection: Look, wanted: Wanted, now: datetime) -> tuple[Money, Sequence[str], datetime | None]:
    """What a person has moved in the last 24 hours, by which kinds of their own orders, and when they last repeated."""
    currency = wanted.amount.currency
    today = orders.c.created_at > now - DAY
    in_currency = func.coalesce(func.sum(orders.c.amount).filter(orders.c.currency == currency, today), 0)
    equal = func.max(orders.c.created_at).filter(_repeated(wanted, now))
    query = (
        select(orders.c.kind, in_currency.label("minor"), equal.label("equal"))
        .where(orders.c.msisdn == wanted.msisdn, today | IS_OPEN, COUNTS)
        .group_by(orders.c.kind)
    )
    own = [row for row in await connection.execute(query) if kind_named(row.kind).limited]
    latest: datetime | None = max((row.equal for row in own if row.equal), default=None)
    return Money(sum(int(row.minor) for row in own), currency), [row.kind for row in own], latest


def _repeated(wanted: Wanted, now: datetime) -> ColumnElement[bool]:
    """The same for the same amount, ordered just now or not over yet; what is on its way back may be tried again."""
    return and_(
        orders.c.kind == wanted.kind,
        orders.c.amount == wanted.amount.minor,
        orders.c.currency == wanted.amount.currency,
        orders.c.recipient.is_not_distinct_from(wanted.recipient),
        orders.c.group_id.is_not_distinct_from(wanted.group),
        orders.c.details["bundle"].astext.is_not_distinct_from(wanted.bundle),
        or_(
            orders.c.state.in_(["open", "parked"]), and_(orders.c.state == "done", orders.c.created_at > now - JUST_NOW)
        ),
    )


async def _free_at(
    connection: Look, msisdn: Msisdn, kinds: Sequence[str], allowed: int, now: datetime
) -> datetime | None:
    """When another payment may follow, where an hour has seen all that are allowed."""
    query = (
        select(orders.c.created_at)
        .where(orders.c.msisdn == msisdn, orders.c.created_at > now - HOUR, orders.c.kind.in_(kinds), COUNTS)
        .order_by(orders.c.created_at.desc())
        .offset(allowed - 1)
        .limit(1)
    )
    oldest: datetime | None = (await connection.execute(query)).scalar_one_or_none()
    return oldest + HOUR if oldest else None


async def _free_for(
    connection: Look, msisdn: Msisdn, recipient: Msisdn, allowed: int, now: datetime
) -> datetime | None:
    """When somebody new may be paid, where a day has seen all the new people that are allowed."""
    first = func.min(orders.c.created_at)
    query = (
        select(orders.c.recipient, first.label("first"))
        # What a group pays out is no payment of whoever asked for it.
        .where(orders.c.msisdn == msisdn, orders.c.recipient != msisdn, orders.c.group_id.is_(None), COUNTS)
        .group_by(orders.c.recipient)
        .having((first > now - DAY) | (orders.c.recipient == recipient))
        .order_by(first.desc())
    )
    rows = (await connection.execute(query)).all()
    if len(rows) < allowed or any(row.recipient == recipient for row in rows):
        return None
    free: datetime = rows[allowed - 1].first + DAY
    return free


def _minutes(left: timedelta) -> int:
    """Whole minutes, the last one begun counted as one."""
    return -(-left // timedelta(minutes=1))
