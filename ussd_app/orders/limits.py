"""What one person may move: in one payment, in a day, how often, to how many new people; and whether they just have.

``check`` runs in the commit that places, after the lock that lets one person place one order at a time; so it holds
under any number of processes. What failed or went back does not count; what is under way does.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, BindParameter, Integer, Text, Uuid, and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from ussd_app.config import Settings
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders.history import IS_OPEN
from ussd_app.orders.model import LimitReached, Repeated, TooFast, Wanted, kind_named
from ussd_app.store import Look, Statement
from ussd_app.subscribers import Level, level_of
from ussd_app.tables import orders

if TYPE_CHECKING:
    from ussd_app.orders import Orders

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
JUST_NOW = timedelta(minutes=10)  # an equal order since may be one payment made twice by mistake
COUNTS = orders.c.state.not_in(["failed", "undone"])


o = orders.c


def _moment(name: str) -> BindParameter[datetime]:
    return bindparam(name, type_=o.created_at.type)


MSISDN, CURRENCY = bindparam("msisdn", type_=Text), bindparam("currency", type_=Text)
_TODAY = o.created_at > _moment("day_ago")
# The same for the same amount, ordered just now or not over yet; what is on its way back may be tried again.
_EQUAL = and_(
    o.kind == bindparam("kind", type_=Text),
    o.amount == bindparam("amount", type_=BigInteger),
    o.currency == CURRENCY,
    o.recipient.is_not_distinct_from(bindparam("recipient", type_=Text)),
    o.group_id.is_not_distinct_from(bindparam("group", type_=Uuid)),
    o.details["bundle"].astext.is_not_distinct_from(bindparam("bundle", type_=Text)),
    or_(o.state.in_(["open", "parked"]), and_(o.state == "done", o.created_at > _moment("just_now"))),
)
MOVED = Statement(
    select(
        o.kind,
        func.coalesce(func.sum(o.amount).filter(o.currency == CURRENCY, _TODAY), 0).label("minor"),
        func.max(o.created_at).filter(_EQUAL).label("equal"),
    )
    .where(o.msisdn == MSISDN, _TODAY | IS_OPEN, COUNTS)
    .group_by(o.kind)
)
NTH_OF_HOUR = Statement(
    select(o.created_at)
    .where(o.msisdn == MSISDN, o.created_at > _moment("hour_ago"), COUNTS)
    .where(o.kind == func.any(bindparam("kinds", type_=ARRAY(Text))))
    .order_by(o.created_at.desc())
    .offset(bindparam("before", type_=Integer))
    .limit(1)
)
_FIRST = func.min(o.created_at)
NEW_OF_DAY = Statement(
    select(o.recipient, _FIRST.label("first"))
    # What a group pays out is no payment of whoever asked for it.
    .where(o.msisdn == MSISDN, o.recipient != MSISDN, o.group_id.is_(None), COUNTS)
    .group_by(o.recipient)
    .having((_moment("day_ago") < _FIRST) | (o.recipient == bindparam("recipient", type_=Text)))
    .order_by(_FIRST.desc())
)


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


async def _moved(look: Look, wanted: Wanted, now: datetime) -> tuple[Money, Sequence[str], datetime | None]:
    """What a person has moved in the last 24 hours, by which kinds of their own orders, and when they last repeated."""
    rows = await look.all(
        MOVED, msisdn=wanted.msisdn, currency=wanted.amount.currency, day_ago=now - DAY, just_now=now - JUST_NOW,
        kind=wanted.kind, amount=wanted.amount.minor, recipient=wanted.recipient, group=wanted.group,
        bundle=wanted.bundle,
    )  # fmt: skip
    own = [row for row in rows if kind_named(row["kind"]).limited]
    latest: datetime | None = max((row["equal"] for row in own if row["equal"]), default=None)
    moved = Money(sum(int(row["minor"]) for row in own), wanted.amount.currency)
    return moved, [row["kind"] for row in own], latest


async def _free_at(look: Look, msisdn: Msisdn, kinds: Sequence[str], allowed: int, now: datetime) -> datetime | None:
    """When another payment may follow, where an hour has seen all that are allowed."""
    oldest: datetime | None = await look.value(
        NTH_OF_HOUR, msisdn=msisdn, kinds=list(kinds), hour_ago=now - HOUR, before=allowed - 1
    )
    return oldest + HOUR if oldest else None


async def _free_for(look: Look, msisdn: Msisdn, recipient: Msisdn, allowed: int, now: datetime) -> datetime | None:
    """When somebody new may be paid, where a day has seen all the new people that are allowed."""
    rows = await look.all(NEW_OF_DAY, msisdn=msisdn, recipient=recipient, day_ago=now - DAY)
    if len(rows) < allowed or any(row["recipient"] == recipient for row in rows):
        return None
    free: datetime = rows[allowed - 1]["first"] + DAY
    return free


def _minutes(left: timedelta) -> int:
    """Whole minutes, the last one begun counted as one."""
    return -(-left // timedelta(minutes=1))
