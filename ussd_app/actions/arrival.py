"""What a dial is met with, in one question to Postgres: who calls, what of theirs is open, what their groups ask.

The home flow takes it apart in three actions, one after another in one hop; each action that comes in a hop of its own
asks anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import FromClause, select, true

from ussd_app.actions import Call
from ussd_app.groups import Groups, savings
from ussd_app.groups.home import HOME, Home, home_of
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Orders, Standing
from ussd_app.orders.history import STANDING, standing_of
from ussd_app.store import Statement, labelled, part_of
from ussd_app.subscribers import PERSON, SHOWN_FOR, Subscriber, subscriber_of


@dataclass(frozen=True, slots=True)
class Arrival:
    """One caller, at one moment."""

    subscriber: Subscriber | None
    standing: Sequence[Standing]  # what of theirs is open, newest first
    home: Home


PERSON_, STANDING_ = PERSON.subquery("person"), STANDING.subquery("standing")
PARTS = (*HOME, PERSON_, STANDING_)


def _question() -> Statement:
    """One row for each open order, or one; every column bears the name of its part before its own."""
    first, *others = PARTS
    source: FromClause = first
    for part in others:
        source = source.outerjoin(part, true())
    columns = [column for part in PARTS for column in labelled(part)]
    return Statement(select(*columns).select_from(source).order_by(STANDING_.c.created_at.desc()))


ARRIVE = _question()


async def arrival(call: Call) -> Arrival:
    """What this hop has found already, unless something was done since; else the question is asked."""
    if call.arrival is None or call.may_have_effect:
        call.arrival = await call.services.arrive(call.caller)
    return call.arrival


async def arrive(orders: Orders, groups: Groups, msisdn: Msisdn) -> Arrival:
    """Ask the one question."""
    now = groups.clock.now()
    async with groups.store.look() as look:
        rows = await look.all(ARRIVE, caller=msisdn, now=now, since=now - SHOWN_FOR, today=savings.today(groups))
    person = part_of(rows[0], PERSON_)
    open_orders = [part_of(row, STANDING_) for row in rows if row["standing_id"]]
    return Arrival(
        subscriber_of(person) if person["msisdn"] else None,
        standing_of(orders, msisdn, open_orders),
        home_of(rows[0]),
    )
