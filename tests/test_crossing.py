"""Orders that cross the same two floats in opposite directions, settled all at once by many connections."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from conftest import FakeClock
from desk import Desk, ScriptedOperator, open_desk
from recomputed import differing
from sqlalchemy import select

from ussd_app import ledger
from ussd_app.errors import Reason
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.operators import Failed, Kind, Pending
from ussd_app.orders import Placed, send_money
from ussd_app.payments import floats
from ussd_app.payments.life import FINAL
from ussd_app.store import Store
from ussd_app.tables import payments

COUNT = 24  # from each side
FLOATS = ("float:scripted", "float:telecel")


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk of two operators, both with enough."""
    async with open_desk(store, database, clock) as desk:
        other = ScriptedOperator(name="telecel", brand="Telecel", countries={"GH": Msisdn("+233200000001").network})
        desk.payments.operators = {"scripted": desk.operator, "telecel": other}
        desk.orders.routes.operators = desk.payments.operators
        async with store.work() as connection:
            for account in FLOATS:
                assert await floats.put(connection, account, Money.of(9_000, "GHS"), note="bank", at=clock.now())
        yield desk


async def send(desk: Desk, number: int) -> None:
    """From one network to the other, or back."""
    sides = f"+2332400{number:05}", f"+2332000{number:05}"
    sender, recipient = sides if number % 2 else reversed(sides)
    placed = await send_money.place(
        desk.orders, run=f"run-{number}", msisdn=Msisdn(sender), sender_name="Ama", recipient=Msisdn(recipient),
        recipient_name="Kofi", amount=Money.of(10, "GHS"), language="en",
    )  # fmt: skip
    assert isinstance(placed, Placed)


async def settle_all(desk: Desk, kind: Kind) -> None:
    """Every payment of a kind that is under way is asked about at the same moment, twice."""
    query = select(payments.c.id).where(payments.c.kind == kind, payments.c.state.not_in(FINAL))
    async with desk.store.look() as connection:
        ids: list[UUID] = list((await connection.execute(query)).scalars())
    assert ids
    await asyncio.gather(*(desk.orders.confirm(payment) for payment in [*ids, *ids]))


@pytest.mark.parametrize("refused", [False, True])
async def test_orders_that_cross_are_settled_at_once(desk: Desk, *, refused: bool) -> None:
    """Nobody waits in a circle: a deadlock would be an error. Fees, floats and clearing are what the transfers say."""
    operators = [operator for operator in desk.payments.operators.values() if isinstance(operator, ScriptedOperator)]
    for operator in operators:
        operator.states = dict.fromkeys(Kind, Pending())
    await asyncio.gather(*(send(desk, number) for number in range(2 * COUNT)))
    await desk.run(60)
    for kind in (Kind.COLLECTION, Kind.DISBURSEMENT, *([Kind.REFUND] if refused else [])):
        for operator in operators:
            del operator.states[kind]
            if refused and kind is Kind.DISBURSEMENT:
                operator.states[kind] = Failed(Reason.PARTY_NOT_FOUND)
        await settle_all(desk, kind)
        await desk.run(10)
    assert await desk.order_states() == ["undone" if refused else "done"] * 2 * COUNT
    async with desk.store.look() as connection:
        assert await differing(connection) == []
        fees = await ledger.sums(connection, ledger.FEES, "GHS")
    held = [Money.of(await desk.balance(account), "GHS") for account in FLOATS]
    assert held[0] == held[1] == Money(900_000 + fees.credits_posted // 2, "GHS")
    assert (fees.credits_posted > 0) is not refused
