"""What one person may move: by amount and level, by the hour, by new people; from two processes at once."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Desk, Outbox, open_desk
from sqlalchemy import insert, update

from ussd_app.clock import Clock
from ussd_app.config import Settings
from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind
from ussd_app.msisdn import Msisdn
from ussd_app.orders import LimitReached, Placed, TooFast, Wanted
from ussd_app.store import Store
from ussd_app.subscribers import Level, Subscribers
from ussd_app.tables import groups, orders

HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk on a database of its own."""
    async with open_desk(store, database, clock) as desk:
        yield desk


def somebody(number: int) -> Msisdn:
    """One of many recipients."""
    return Msisdn(f"+2332410000{number:02d}")


async def pay(desk: Desk, recipient: Msisdn = KOFI, amount: str = "1") -> Placed | LimitReached | TooFast:
    """Ama sends money."""
    cedis = Money.of(amount, "GHS")
    details = {
        "sender_name": "Ama", "sender_operator": "scripted", "recipient_name": "X", "recipient_operator": "scripted",
    }  # fmt: skip
    return await desk.orders.place(
        "send_money", run=uuid4().hex, msisdn=AMA, language="en", amount=cedis, fee=Money(0, "GHS"), details=details,
        recipient=recipient,
    )  # fmt: skip


async def test_whoever_sets_a_pin_may_move_more(desk: Desk) -> None:
    """2,000 at once and 5,000 a day; with a PIN 5,000 and 20,000. A PIN never makes it less."""
    assert await pay(desk, amount="2000.01") == LimitReached(Money.of(2000, "GHS"))
    people = Subscribers(desk.store, Outbox(), desk.clock, (b"k" * 32,))  # type: ignore[arg-type]  # an outbox for Messages
    ama = await people.register(AMA, "Ama", "en")
    assert ama.level is Level.REGISTERED
    assert await pay(desk, amount="2000.01") == LimitReached(Money.of(2000, "GHS"))
    await people.set_pin(AMA, "4821", checked=False)
    found = await people.find(AMA)
    assert found
    assert found.level is Level.SECURED
    assert await pay(desk, amount="5000.01") == LimitReached(Money.of(5000, "GHS"))
    for _ in range(4):
        assert isinstance(await pay(desk, amount="5000"), Placed)
    assert await pay(desk, amount="0.01") == LimitReached(Money.of(20_000, "GHS"))
    desk.orders.settings = Settings(daily_limit=50_000)
    assert isinstance(await pay(desk, amount="5000"), Placed)


async def test_an_hour_sees_so_many_payments(desk: Desk) -> None:
    """The next one may follow when the oldest of them is an hour old; what failed leaves room at once."""
    desk.orders.settings = Settings(payments_per_hour=3)
    for _ in range(3):
        assert isinstance(await pay(desk), Placed)
        desk.clock.advance(10 * 60)
    assert await pay(desk) == TooFast(30)
    desk.clock.advance(29 * 60 + 1)
    assert await desk.orders.refuses(Wanted("send_money", AMA, Money.of(1, "GHS"), KOFI)) == TooFast(1)
    assert await desk.orders.refuses(Wanted("send_money", KOFI, Money.of(1, "GHS"), AMA)) is None
    async with desk.store.work() as connection:
        await connection.execute(update(orders).values(state="failed"))
    assert isinstance(await pay(desk), Placed)


async def test_a_day_sees_so_many_new_people(desk: Desk) -> None:
    """Those paid before, and oneself, are not new; whom a payment did not reach still is."""
    desk.orders.settings = Settings(new_recipients_per_day=2)
    assert isinstance(await pay(desk, KOFI), Placed)
    await desk.run(DAY + 1)
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.REJECTED_BY_PAYER)
    await pay(desk, somebody(1))
    await desk.run(60)
    for number in (2, 3):
        assert isinstance(await pay(desk, somebody(number)), Placed)
        desk.clock.advance(HOUR)
    assert await pay(desk, somebody(1)) == TooFast(22 * 60)
    for known in (KOFI, somebody(2), somebody(3), AMA):
        assert isinstance(await pay(desk, known), Placed)
    desk.clock.advance(22 * HOUR)
    assert isinstance(await pay(desk, somebody(1)), Placed)
    assert await pay(desk, somebody(4)) == TooFast(60)


async def test_what_a_group_pays_out_is_nobodys_own_payment(desk: Desk) -> None:
    """A treasurer who asks for a payout has used up no limit, and has paid nobody."""
    now, group = desk.clock.now(), uuid4()
    desk.orders.settings = Settings(payments_per_hour=1, new_recipients_per_day=1)
    async with desk.store.work() as connection:
        made = {"kind": "rotating", "name": "ADEHYE", "currency": "GHS", "state": "running", "rules_version": 1}
        await connection.execute(insert(groups).values(id=group, created_at=now, run="founded", **made))
        await connection.execute(
            insert(orders).values(
                id=uuid4(), run="payout", digest="", code="48215037", kind="daily_payout", state="done", msisdn=AMA,
                recipient=somebody(1), language="en", amount=500_000, fee=0, currency="GHS", group_id=group,
                details={}, created_at=now, finished_at=now,
            )
        )  # fmt: skip
    assert await desk.orders.refuses(Wanted("daily_payout", AMA, Money.of(9_000, "GHS"), KOFI)) is None
    assert isinstance(await pay(desk, somebody(1), "2000"), Placed)


async def test_limits_hold_from_two_engines_at_once(desk: Desk, database: str, clock: FakeClock) -> None:
    """Forty payments to forty new people through two pools: ten are placed, whoever comes first."""
    other = Store(database, clock)
    async with open_desk(other, database, clock) as second:
        desks = [desk, second]
        placed = await asyncio.gather(*(pay(desks[number % 2], somebody(number)) for number in range(40)))
    await other.close()
    assert sum(isinstance(each, Placed) for each in placed) == 10
    assert set(placed) - {each for each in placed if isinstance(each, Placed)} == {TooFast(DAY // 60)}


def _pay_many(url: str, results: "multiprocessing.Queue[list[str]]") -> None:
    async def every() -> list[str]:
        store = Store(url, Clock())
        async with open_desk(store, url, FakeClock()) as desk:
            found = await asyncio.gather(*(pay(desk, amount="1000") for _ in range(8)))
        await store.close()
        return [type(one).__name__ for one in found]

    results.put(asyncio.run(every()))


async def test_limits_hold_from_two_processes_at_once(database: str) -> None:
    """Sixteen payments of 1,000 against 5,000 a day."""
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[str]] = spawn.Queue()
    workers = [spawn.Process(target=_pay_many, args=(database, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [name for _ in workers for name in await asyncio.to_thread(results.get, timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(found) == ["LimitReached"] * 11 + ["Placed"] * 5
