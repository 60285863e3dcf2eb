"""What operators hold for us: refused before a float runs dry, reported before that, booked by a treasurer's word."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from conftest import FakeClock
from desk import AMA, Desk, ScriptedOperator, open_desk
from sqlalchemy import select

from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Pending
from ussd_app.orders import Placed, send_money
from ussd_app.orders.steps import PayoutsPaused
from ussd_app.payments import floats
from ussd_app.store import Store
from ussd_app.tables import audit, orders

AKUA = Msisdn("+233200000001")
THERE = "float:telecel"


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk of two operators: Ama's, which collects, and Akua's, whose float is empty."""
    async with open_desk(store, database, clock) as desk:
        other = ScriptedOperator(name="telecel", brand="Telecel", countries={"GH": AKUA.network})
        desk.payments.operators = {"scripted": desk.operator, "telecel": other}
        desk.orders.routes.operators = desk.payments.operators
        desk.orders.settings = desk.orders.settings.model_copy(update={"float_alert": 1_000})
        yield desk


async def put(desk: Desk, amount: str, account: str = THERE) -> bool:
    """A treasurer's booking."""
    async with desk.store.work() as connection:
        return await floats.put(connection, account, Money.of(amount, "GHS"), note="bank 4711", at=desk.clock.now())


async def send(
    desk: Desk, run: str = "run-1", recipient: Msisdn = AKUA, amount: str = "50", sender: Msisdn = AMA
) -> object:
    """Ama sends Akua money."""
    return await send_money.place(
        desk.orders, run=run, msisdn=sender, sender_name="Ama", recipient=recipient, recipient_name="Akua",
        amount=Money.of(amount, "GHS"), language="en",
    )  # fmt: skip


async def alerts(desk: Desk) -> list[tuple[str, str]]:
    """What a person was told, in order."""
    async with desk.store.look() as connection:
        rows = await connection.execute(select(audit.c.detail).order_by(audit.c.id))
    return [(detail["what"], detail.get("left", "")) for detail in rows.scalars()]


async def test_nothing_is_collected_for_what_cannot_be_paid_out(desk: Desk) -> None:
    """The float is empty: the sender hears it before a prompt could come, the treasurer once an hour."""
    for run in ("run-1", "run-2"):
        assert await send(desk, run) == PayoutsPaused("Telecel")
    await desk.run(60)
    assert await desk.order_states() == []
    assert desk.operator.submissions == []
    assert await alerts(desk) == [(floats.SHORT, "GHS -50.00")]
    desk.clock.advance(floats.ALERT_EVERY / timedelta(seconds=1) + 1)
    await send(desk, "run-3")
    assert len(await alerts(desk)) == 2


async def test_a_quote_says_so_at_once(desk: Desk) -> None:
    """Before the confirm screen."""
    quoted = await send_money.quote(desk.orders, AMA, AKUA, Money.of(50, "GHS"))
    assert quoted == PayoutsPaused("Telecel")


async def test_money_crosses_where_the_float_is_enough(desk: Desk) -> None:
    """It grows at one operator by what was collected, and shrinks at the other by what was paid out."""
    assert await put(desk, "2000")
    assert isinstance(await send(desk), Placed)
    await desk.run(60)
    assert await desk.order_states() == ["done"]
    assert await desk.balance("float:scripted") == "50.50"
    assert await desk.balance(THERE) == "1950.00"
    assert await desk.balance(floats.FUNDING) == "-2000.00"
    assert await alerts(desk) == []


async def test_a_float_that_is_left_with_little_is_reported(desk: Desk) -> None:
    """It still pays."""
    await put(desk, "1049")
    assert isinstance(await send(desk), Placed)
    assert await alerts(desk) == [(floats.LOW, "GHS 999.00")]


async def test_what_open_orders_will_pay_out_is_not_promised_twice(desk: Desk) -> None:
    """Twenty at once, and a float for three: three are placed, whatever their collections come to."""
    await put(desk, "170")
    desk.operator.states[Kind.COLLECTION] = Pending()
    placed = await asyncio.gather(*(send(desk, f"run-{number}") for number in range(20)))
    assert sum(isinstance(each, Placed) for each in placed) == 3
    assert placed.count(PayoutsPaused("Telecel")) == 17
    await desk.run(60)
    assert await desk.order_states() == ["open"] * 3
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(600)
    assert await desk.order_states() == ["done"] * 3
    assert await desk.balance(THERE) == "20.00"


async def send_each(desk: Desk, count: int) -> list[object]:
    """As many people, each of whom sends Akua 50, all at once: one person's orders would wait for each other."""
    people = [Msisdn(f"+2332400{number:05}") for number in range(count)]
    return await asyncio.gather(*(send(desk, f"{desk.clock.seconds}-{who}", sender=who) for who in people))


async def test_fifty_people_at_once_are_promised_what_is_there_for_ten(desk: Desk) -> None:
    """Ten are placed, and none more while these are paid out: what is promised becomes what is on its way, once."""
    await put(desk, "500")
    desk.operator.states[Kind.COLLECTION] = Pending()
    placed = await send_each(desk, 50)
    assert sum(isinstance(each, Placed) for each in placed) == 10
    assert placed.count(PayoutsPaused("Telecel")) == 40
    await desk.run(60)
    del desk.operator.states[Kind.COLLECTION]
    _, placed = await asyncio.gather(desk.run(600), send_each(desk, 50))
    assert placed == [PayoutsPaused("Telecel")] * 50
    assert await desk.order_states() == ["done"] * 10
    assert await desk.balance(THERE) == "0.00"


async def test_what_failed_is_promised_no_more(desk: Desk) -> None:
    """Its share of the float is free again."""
    await put(desk, "50")
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.REJECTED_BY_PAYER)
    assert isinstance(await send(desk), Placed)
    assert await send(desk, "run-2") == PayoutsPaused("Telecel")
    await desk.run(60)
    del desk.operator.states[Kind.COLLECTION]
    assert isinstance(await send(desk, "run-3"), Placed)


async def test_the_same_operator_needs_no_float_of_its_own(desk: Desk) -> None:
    """What an order collects there pays what it pays out there; two accounts at one operator are two floats."""
    kofi = Msisdn("+233240000002")
    assert isinstance(await send(desk, recipient=kofi), Placed)
    desk.operator.one_float = False
    assert await send(desk, "run-2", kofi) == PayoutsPaused("Scripted")


async def test_the_same_run_is_the_same_order_even_where_the_float_has_gone(desk: Desk) -> None:
    """A copy of the hop that placed it hears the same."""
    await put(desk, "50")
    first = await send(desk)
    assert await put(desk, "-50") or True
    assert await send(desk) == first
    async with desk.store.look() as connection:
        assert len((await connection.execute(select(orders.c.id))).all()) == 1


async def test_a_treasurer_cannot_take_out_what_was_never_put_in(desk: Desk) -> None:
    """What people's collections have brought is theirs."""
    await desk.send()
    await desk.run(60)
    assert await desk.balance("float:scripted") == "0.50"
    assert not await put(desk, "-0.50", "float:scripted")
    assert await put(desk, "10", "float:scripted")
    assert await put(desk, "-10", "float:scripted")
    assert await desk.balance("float:scripted") == "0.50"


async def test_what_an_operator_says_of_its_balance_is_kept_beside_the_ledger(desk: Desk) -> None:
    """The newest word; the ledger does not move by it."""
    await put(desk, "100")
    for amount in ("90", "95"):
        async with desk.store.work() as connection:
            await floats.told(connection, desk.payments, "telecel", Kind.DISBURSEMENT, Money.of(amount, "GHS"))
    async with desk.store.look() as connection:
        shown = {each.account: each for each in await floats.show(connection, desk.payments, "GHS")}
    assert shown[THERE].held == Money.of(100, "GHS")
    assert shown[THERE].told == Money.of(95, "GHS")
    assert shown["float:scripted"].told is None
