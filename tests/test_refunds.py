"""Refunds that fail, and payouts that come late to them: nobody owes what is not owed, a person may try again."""

from collections.abc import AsyncIterator

import pytest
from conftest import FakeClock
from desk import Desk, open_desk

from ussd_app.errors import Reason
from ussd_app.operators import Failed, Kind, Pending
from ussd_app.store import Store


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk on a database of its own."""
    async with open_desk(store, database, clock) as desk:
        yield desk


async def test_a_refund_that_fails_after_its_payout_came_late_leaves_nothing_owed(desk: Desk) -> None:
    """What was collected pays for the payout after all, and the order is done."""
    desk.operator.states |= {Kind.DISBURSEMENT: Failed(Reason.INTERNAL), Kind.REFUND: Pending()}
    await desk.send()
    await desk.run(60)
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.callback((await desk.payment("disburse")).id)
    await desk.run(1)
    desk.operator.states[Kind.REFUND] = Failed(Reason.PARTY_NOT_ALLOWED)
    await desk.callback((await desk.payment("undo:collect")).id)
    await desk.run(60)
    assert await desk.order_states() == ["done"]
    assert await desk.balance("receivable") == "0.00"
    assert await desk.balance(f"clearing:{(await desk.payment('collect')).order_id}") == "0.00"


async def test_a_payout_that_comes_late_after_its_refund_failed_ends_the_order(desk: Desk) -> None:
    """Both are told, and the fee is earned."""
    desk.operator.states |= {Kind.DISBURSEMENT: Failed(Reason.INTERNAL), Kind.REFUND: Failed(Reason.PARTY_NOT_ALLOWED)}
    await desk.send()
    await desk.run(60)
    assert await desk.order_states() == ["parked"]
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.callback((await desk.payment("disburse")).id)
    await desk.run(1)
    assert await desk.order_states() == ["done"]
    assert await desk.balance("fees") == "-0.50"
    assert desk.outbox.templates[-2:] == ["money_sent", "money_received"]


async def refused(desk: Desk) -> str:
    """An order that could neither be handed on nor given back; its code."""
    desk.operator.states |= {Kind.DISBURSEMENT: Failed(Reason.INTERNAL), Kind.REFUND: Failed(Reason.NOT_AUTHORISED)}
    placed = await desk.send()
    await desk.run(60)
    assert await desk.order_states() == ["parked"]
    return str(placed.reference)  # type: ignore[union-attr]  # it was placed


async def test_a_person_may_have_a_refund_asked_for_again(desk: Desk) -> None:
    """Under a reference of its own, since the first one failed for good; once, whoever asks how often."""
    code = await refused(desk)
    desk.operator.states[Kind.REFUND] = Pending()
    assert await desk.orders.refund_again(code, "the treasurer")
    assert not await desk.orders.refund_again(code, "the treasurer")
    await desk.run(30)
    del desk.operator.states[Kind.REFUND]
    await desk.run(300)
    assert await desk.order_states() == ["undone"]
    assert await desk.balance("float:scripted") == "0.00"
    refunds = {each.reference for each in desk.operator.submissions if each.kind is Kind.REFUND}
    assert len(refunds) == 2
    assert desk.outbox.templates[-1] == "money_refunded"


async def test_a_refund_that_fails_again_waits_again(desk: Desk) -> None:
    """And may be asked for a third time."""
    code = await refused(desk)
    for _ in range(2):
        assert await desk.orders.refund_again(code, "the treasurer")
        await desk.run(60)
        assert await desk.order_states() == ["parked"]


async def test_only_a_refused_refund_is_asked_for_again(desk: Desk) -> None:
    """Not of an order that is open, done or unknown."""
    placed = await desk.send()
    code = str(placed.reference)  # type: ignore[union-attr]  # it was placed
    assert not await desk.orders.refund_again(code, "the treasurer")
    await desk.run(60)
    assert not await desk.orders.refund_again(code, "the treasurer")
    assert not await desk.orders.refund_again("00000000", "the treasurer")


async def test_a_payout_that_comes_late_while_a_second_refund_is_under_way_is_owed_to_us(desk: Desk) -> None:
    """The order is not ended over the refund's head."""
    code = await refused(desk)
    desk.operator.states[Kind.REFUND] = Pending()
    assert await desk.orders.refund_again(code, "the treasurer")
    await desk.run(5)
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.callback((await desk.payment("disburse")).id)
    await desk.run(1)
    assert await desk.order_states() == ["undoing"]
    del desk.operator.states[Kind.REFUND]
    await desk.run(300)
    assert await desk.order_states() == ["undone"]
    assert await desk.balance("receivable") == "50.00"
