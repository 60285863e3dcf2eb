"""What a person has asked for before: where it stands, what moved, and what they may want again.

Whoever asks for a group's money is no party to it: only kinds that are ``limited`` are a person's own money going out.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Kind
from ussd_app.orders.model import OPEN, Movement, Order, Standing, kind_named, order_of
from ussd_app.payments import SUCCESSES
from ussd_app.store import Row, Statement
from ussd_app.tables import orders, payments

if TYPE_CHECKING:
    from ussd_app.orders import Orders

LOOKED_AT = 50  # orders at most, for one look back
# Written out in the statement: an index of open orders alone is of use only where it is seen that none other is wanted.
IS_OPEN = orders.c.state.in_(bindparam("open", OPEN, expanding=True, literal_execute=True))
# What an order's state is to its payer, and to whoever gets what nobody collected.
STATES = {
    "open": "waiting", "parked": "unclear", "undoing": "refunding", "done": "paid", "failed": "failed",
    "undone": "refunded",
}  # fmt: skip
COMING = {"open": "coming", "parked": "unclear", "done": "arrived", "failed": "kept"}


@dataclass(frozen=True, slots=True)
class Favourite:
    """What a person has paid for before and may want again."""

    kind: str
    code: str  # of the latest order that was just this
    recipient: Msisdn | None
    amount: Money
    details: Mapping[str, str]  # of that order
    party: str

    @property
    def label(self) -> str:
        """One line, in figures and names alone, since it belongs to no language."""
        return f"{self.amount.plain} {self.party}"


CALLER = bindparam("caller", type_=orders.c.msisdn.type)
COLLECTED = (
    select(payments.c.id)
    .where(payments.c.order_id == orders.c.id, payments.c.kind == Kind.COLLECTION, payments.c.state.in_(SUCCESSES))
    .exists()
)
_STANDING = (
    select(orders, COLLECTED.label("collected"))
    .where((orders.c.msisdn == CALLER) | (orders.c.recipient == CALLER))
    .order_by(orders.c.created_at.desc())
    .limit(LOOKED_AT)
)
STANDING = _STANDING.where(IS_OPEN)  # what is open of ``caller``, newest first
OPEN_ONLY = Statement(STANDING)
OPEN_OR_CODE = Statement(_STANDING.where(IS_OPEN | (orders.c.code == bindparam("code", type_=orders.c.code.type))))


async def standing(desk: "Orders", msisdn: Msisdn, code: str = "") -> list[Standing]:
    """Where this person's money is that has not come to an end, newest first; with a code, that order's end too."""
    async with desk.store.look() as look:
        if code:
            rows = await look.all(OPEN_OR_CODE, caller=msisdn, code=code)
        else:
            rows = await look.all(OPEN_ONLY, caller=msisdn)
    return standing_of(desk, msisdn, rows)


def standing_of(desk: "Orders", msisdn: Msisdn, rows: Iterable[Row]) -> list[Standing]:
    """The same, of rows of STANDING."""
    found = [(order_of(row), row["collected"]) for row in rows]
    return [_standing(desk, order, msisdn, collected=paid) for order, paid in found if _owner(order) == msisdn]


def _owner(order: Order) -> Msisdn:
    """Whose money it moves: the payer's, or what comes to somebody out of a group or our till."""
    return order.msisdn if kind_named(order.kind).limited else order.recipient or order.msisdn


def _standing(desk: "Orders", order: Order, seen_by: Msisdn, *, collected: bool) -> Standing:
    kind = kind_named(order.kind)
    state = (STATES if kind.limited else COMING)[order.state]
    if state == "waiting" and collected:
        state = "delivering"
    party = kind.party(order, seen_by)
    return Standing(order.code, order.created_at, order.amount, state, party, _brand(desk, order))


def _brand(desk: "Orders", order: Order) -> str:
    """What people call the operator an order collects through; a name of ours where it is no longer in use."""
    name = order.details.get("sender_operator", "")
    operator = desk.payments.operators.get(name)
    return operator.brand if operator else name


async def movements(desk: "Orders", msisdn: Msisdn, limit: int) -> list[Movement]:
    """What this person last sent, received or got back, newest first."""
    query = (
        select(orders)
        .where((orders.c.msisdn == msisdn) | (orders.c.recipient == msisdn) & (orders.c.state == "done"))
        .where(orders.c.state.in_(["done", "undone"]))
        .order_by(orders.c.finished_at.desc())
        .limit(LOOKED_AT)
    )
    async with desk.store.look() as connection:
        rows = (await connection.execute(query)).mappings().all()
    found = (_movement(order_of(row), row["finished_at"], msisdn) for row in rows)
    return [movement for movement in found if movement][:limit]


async def favourites(desk: "Orders", msisdn: Msisdn, kinds: Collection[str], limit: int) -> list[Favourite]:
    """What this person most often paid for among their last orders of these kinds; the newest breaks a tie."""
    newest: dict[object, Order] = {}
    times: Counter[object] = Counter()
    for order in await _done(desk, msisdn, kinds, LOOKED_AT):
        things = tuple(tuple(sorted(step.leg(order).item.items())) for step in kind_named(order.kind).steps)
        just_this = (order.kind, order.recipient, order.amount, things)
        newest.setdefault(just_this, order)
        times[just_this] += 1
    return [_favourite(newest[just_this]) for just_this, _ in times.most_common(limit)]


async def latest(desk: "Orders", msisdn: Msisdn, kinds: Collection[str]) -> Favourite | None:
    """What this person last paid for, of these kinds."""
    done = await _done(desk, msisdn, kinds, 1)
    return _favourite(done[0]) if done else None


async def _done(desk: "Orders", msisdn: Msisdn, kinds: Collection[str], limit: int) -> list[Order]:
    """The last orders of these kinds that were carried out, newest first."""
    query = (
        select(orders)
        .where(orders.c.msisdn == msisdn, orders.c.state == "done", orders.c.kind.in_(kinds))
        .order_by(orders.c.created_at.desc())
        .limit(limit)
    )
    async with desk.store.look() as connection:
        return [order_of(row) for row in (await connection.execute(query)).mappings()]


def _favourite(order: Order) -> Favourite:
    party = kind_named(order.kind).party(order, order.msisdn)
    return Favourite(order.kind, order.code, order.recipient, order.amount, order.details, party)


def _movement(order: Order, at: datetime, seen_by: Msisdn) -> Movement | None:
    """The order as one of its parties sees it; None for whoever only asked for it."""
    kind = kind_named(order.kind)
    if order.msisdn == seen_by and kind.limited:
        label = "sent" if order.state == "done" else "refunded"
    elif seen_by == (order.recipient or order.msisdn) and order.state == "done":
        label = "received"
    else:
        return None
    return Movement(at, label, order.amount, kind.party(order, seen_by), order.code)
