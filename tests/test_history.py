"""What a person has asked for before: favourites, once more the same, and who sees what moved."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Desk, open_desk
from sqlalchemy import insert

from ussd_app.msisdn import Msisdn
from ussd_app.orders import history
from ussd_app.orders.history import Favourite
from ussd_app.store import Store
from ussd_app.tables import groups, orders

ESI = Msisdn("+233240000003")
BOUGHT = ("send_money", "airtime", "bundle")
MONEY = {"sender_name": "Ama", "sender_operator": "x", "recipient_name": "Kofi", "recipient_operator": "x"}
AIRTIME = {"sender_name": "Ama", "sender_operator": "x", "delivery": "x"}
numbers = count(10_000_000)


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk on a database of its own."""
    async with open_desk(store, database, clock) as desk:
        yield desk


async def ordered(desk: Desk, **given: Any) -> str:  # noqa: ANN401 - columns of orders
    """An order of Ama's that has been carried out, a second after the one before; its code."""
    desk.clock.advance(1)
    now, code = desk.clock.now(), str(next(numbers))
    values = {
        "id": uuid4(), "run": code, "digest": "", "code": code, "kind": "send_money", "state": "done", "msisdn": AMA,
        "recipient": KOFI, "language": "en", "amount": 5_000, "fee": 0, "currency": "GHS", "details": MONEY,
        "created_at": now, "finished_at": now,
    }  # fmt: skip
    async with desk.store.work() as connection:
        await connection.execute(insert(orders).values(values | given))
    return code


async def favourites(desk: Desk, *kinds: str, limit: int = 5) -> list[str]:
    """The codes of Ama's favourites."""
    return [each.code for each in await history.favourites(desk.orders, AMA, kinds or BOUGHT, limit)]


def bundle(product: str) -> dict[str, str]:
    """What the order of a bundle says."""
    return {**AIRTIME, "bundle": product, "bundle_name": product, "item_product": product}


async def test_favourites_are_what_is_paid_most_often(desk: Desk) -> None:
    """The newest breaks a tie; another amount, recipient or product is another favourite."""
    assert await favourites(desk) == []
    assert await history.latest(desk.orders, AMA, BOUGHT) is None
    await ordered(desk)
    often = await ordered(desk, details=MONEY | {"recipient_name": "Kofi M"})
    airtime = await ordered(desk, kind="airtime", recipient=AMA, amount=500, details=AIRTIME)
    more = await ordered(desk, amount=6_000)
    small = await ordered(desk, kind="bundle", details=bundle("1GB"))
    large = await ordered(desk, kind="bundle", details=bundle("5GB"))
    other = await ordered(desk, recipient=ESI)
    for state in ("failed", "undone", "open", "parked"):
        await ordered(desk, amount=7_000, state=state)
        await ordered(desk, amount=7_000, state=state)
    await ordered(desk, msisdn=KOFI, recipient=AMA)
    assert await favourites(desk, limit=9) == [often, other, large, small, more, airtime]
    assert await favourites(desk, limit=2) == [often, other]
    assert await favourites(desk, "airtime") == [airtime]
    assert await favourites(desk, "bundle") == [large, small]
    (first, *_) = await history.favourites(desk.orders, AMA, BOUGHT, 1)
    assert first.label == "50.00 Kofi M"
    last = await history.latest(desk.orders, AMA, ("send_money",))
    assert isinstance(last, Favourite)
    assert (last.code, last.recipient, last.amount.plain) == (other, ESI, "50.00")


async def test_what_is_long_ago_is_no_favourite(desk: Desk) -> None:
    """The last fifty count, however often something was paid before them."""
    for _ in range(60):
        await ordered(desk)
    newest = [await ordered(desk, recipient=ESI, amount=amount) for amount in range(1, 51)]
    assert await favourites(desk, limit=50) == newest[::-1]


async def test_money_of_a_group_is_seen_by_whom_it_reaches(desk: Desk) -> None:
    """Whoever asked for it has neither sent nor received it, and has no payment on its way."""
    async with desk.store.work() as connection:
        group, now = uuid4(), desk.clock.now()
        made = {"kind": "daily", "name": "SUSU", "currency": "GHS", "state": "running", "rules_version": 1}
        await connection.execute(insert(groups).values(id=group, created_at=now, run="founded", **made))
    out = {"kind": "daily_payout", "group_id": group, "details": {"group": "SUSU", "saver": "Kofi"}}
    sent = await ordered(desk, state="open", finished_at=None)
    await ordered(desk, **out)
    saved = await ordered(desk, **out, recipient=None)
    await ordered(desk, **out, recipient=None, state="undone")
    assert [(each.code, each.state) for each in await history.standing(desk.orders, AMA)] == [(sent, "waiting")]
    seen = await history.movements(desk.orders, AMA, 5)
    assert [(each.label, each.party, each.code) for each in seen] == [("received", "SUSU", saved)]
    assert [each.label for each in await history.movements(desk.orders, KOFI, 5)] == ["received"]
    assert await favourites(desk) == []


async def test_movements_are_the_newest(desk: Desk) -> None:
    """So many and no more; what went back is shown as such."""
    await ordered(desk, amount=100)
    await ordered(desk, state="undone")
    await ordered(desk, msisdn=KOFI, recipient=AMA, details=MONEY | {"sender_name": "Kofi"})
    await ordered(desk, kind="airtime", recipient=AMA, details=AIRTIME)
    seen = await history.movements(desk.orders, AMA, 3)
    assert [(each.label, each.party) for each in seen] == [
        ("sent", AMA.national), ("received", "Kofi"), ("refunded", "Kofi"),
    ]  # fmt: skip
