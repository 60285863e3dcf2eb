"""Taking daily savings out at an order desk: paid, failed, late, in cash, and two at the same second."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from conftest import FakeClock
from desk import Desk, open_desk
from groups import Circle, circle, phone
from sqlalchemy import func, select, update
from test_daily import SAVER, cedis, found, pay, saved, shown

from ussd_app.errors import Reason
from ussd_app.groups import books
from ussd_app.groups.model import Group, Refused
from ussd_app.groups.savings import Payable, Which
from ussd_app.groups.takeouts import HandedOver
from ussd_app.movement import Failed, Kind, Pending
from ussd_app.orders import Placed, daily_payout
from ussd_app.store import Store
from ussd_app.tables import audit, orders, subscribers

__all__ = ["circle"]

HOUR = 3_600
YAW = phone(SAVER)


@pytest.fixture
async def desk(store: Store, database: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """A desk that pays out for the circle's groups."""
    async with open_desk(store, database, clock) as desk:
        yield desk


async def take(
    desk: Desk, group: Group, which: Which = "complete", run: str = "run-1"
) -> Placed | HandedOver | Refused:
    """The saver takes savings out."""
    return await daily_payout.place(desk.orders, run=run, msisdn=YAW, language="en", group_id=group.id, which=which)


async def held(desk: Desk, group: Group, part: str, *, cash: bool = False) -> str:
    """What stands in an account of the group, in cedis, nothing being on its way."""
    return (await desk.balance(books.account(group.id, part, cash=cash))).replace("-", "")


async def last(circle: Circle, group: Group) -> Any:  # noqa: ANN401 - a row
    """What happened last."""
    return (await circle.events(group))[-1]


async def alerts(desk: Desk) -> list[str]:
    """What a person must look at."""
    async with desk.store.look() as connection:
        return [detail["what"] for detail in (await connection.execute(select(audit.c.detail))).scalars()]


async def test_a_complete_cycle_pays_30_contributions_and_one_to_the_collector(desk: Desk, circle: Circle) -> None:
    """While it is on its way nothing of it can be taken again, and what is paid in goes on to the next cycle."""
    group = await found(circle)
    await pay(circle, group, "325")
    quoted = await daily_payout.quote(desk.orders, YAW, group.id, "complete")
    assert quoted == Payable((1,), cedis("300"), cedis("0"), cedis("10"))
    placed = await take(desk, group)
    assert isinstance(placed, Placed)
    assert await take(desk, group) == placed  # the same run
    assert await take(desk, group, run="run-2") == await take(desk, group, 1, run="run-3") == Refused("paying")
    await pay(circle, group, "10")
    assert await shown(circle, group) == [(1, 31, "310.00", "paying"), (2, 2, "25.00", "open")]
    assert (await saved(circle, group)).payable == cedis("15")
    await desk.run(30)
    assert await shown(circle, group) == [(2, 2, "25.00", "open")]
    assert [(r.kind, r.msisdn, r.amount) for r in desk.operator.submissions] == [(Kind.DISBURSEMENT, YAW, cedis("300"))]
    assert await held(desk, group, books.COMMISSION) == "10.00"
    event = await last(circle, group)
    assert (event.kind, event.amount, event.code) == ("savings_paid", 30_000, placed.reference)
    assert {name: event.details[name] for name in ("cycles", "commission", "cash")} == {
        "cycles": [1], "commission": 1_000, "cash": 0,
    }  # fmt: skip
    assert [(m.label, m.money, m.party) for m in await desk.orders.movements(YAW)] == [
        ("received", cedis("300"), "ADEHYE")
    ]
    assert await take(desk, group, run="run-4") == Refused("nothing")


async def test_several_cycles_or_one_of_them_or_an_open_one_early(desk: Desk, circle: Circle) -> None:
    """Each gives what is in it less one contribution; what is not taken stays as it is."""
    group = await found(circle)
    await pay(circle, group, "980")
    await take(desk, group, 2, "run-1")
    await take(desk, group, 4, "run-2")
    await desk.run(30)
    assert await shown(circle, group) == [(1, 31, "310.00", "complete"), (3, 31, "310.00", "complete")]
    await take(desk, group, "complete", "run-3")
    await desk.run(30)
    assert sorted(r.amount for r in desk.operator.submissions) == [cedis("40"), cedis("300"), cedis("600")]
    assert (await saved(circle, group)).total == cedis("0")
    assert await held(desk, group, books.COMMISSION) == "40.00"
    await pay(circle, group, "10")
    assert await shown(circle, group) == [(5, 1, "10.00", "open")]


async def test_a_failed_payout_leaves_everything_as_it_was(desk: Desk, circle: Circle) -> None:
    """The saver is told, and takes it again; what came meanwhile into a newer cycle stays there."""
    group = await found(circle)
    await pay(circle, group, "30")
    await pay(circle, group, "20", cash=True)
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    await take(desk, group, 1)
    await pay(circle, group, "10")
    await desk.run(HOUR)
    assert await shown(circle, group) == [(1, 5, "50.00", "open"), (2, 1, "10.00", "open")]
    assert await held(desk, group, books.COMMISSION) == await held(desk, group, books.COMMISSION, cash=True) == "0.00"
    event = await last(circle, group)
    assert (event.kind, event.amount, event.details) == ("payout_failed", 4_000, {"reason": Reason.PARTY_NOT_ALLOWED})
    await pay(circle, group, "270")  # the older cycle is filled first
    assert await shown(circle, group) == [(1, 31, "310.00", "complete"), (2, 2, "20.00", "open")]
    del desk.operator.states[Kind.DISBURSEMENT]
    await take(desk, group, run="run-2")
    await desk.run(30)
    assert await shown(circle, group) == [(2, 2, "20.00", "open")]
    assert await desk.order_states() == ["failed", "done"]


async def test_wallet_and_cash_are_paid_together(desk: Desk, circle: Circle) -> None:
    """The wallet money goes first; the collector hands over the rest and keeps the commission out of the cash box."""
    group = await found(circle)
    await pay(circle, group, "200")
    await pay(circle, group, "110", cash=True)
    await take(desk, group)
    await desk.run(30)
    event = await last(circle, group)
    assert (event.amount, event.details["cash"], event.details["commission"]) == (30_000, 10_000, 1_000)
    assert [r.amount for r in desk.operator.submissions] == [cedis("200")]
    assert (await saved(circle, group)).total == cedis("0")
    assert await held(desk, group, books.COMMISSION, cash=True) == "10.00"
    assert await desk.balance(books.cash_box(group.id)) == "10.00"


async def test_cash_alone_takes_no_order(desk: Desk, circle: Circle) -> None:
    """It is the saver's at once, under a receipt's code, once for a run; whatever operator they have."""
    desk.operator.countries = {"KE": "Safaricom"}
    group = await found(circle)
    await pay(circle, group, "310", cash=True)
    paid = await take(desk, group)
    assert isinstance(paid, HandedOver)
    assert await take(desk, group) == paid
    assert await take(desk, group, run="run-2") == Refused("nothing")
    event = await last(circle, group)
    assert (event.kind, event.code, event.amount, event.details["cash"]) == (
        "savings_paid", paid.reference, 30_000, 30_000,
    )  # fmt: skip
    assert await desk.order_states() == []
    assert await shown(circle, group) == []
    assert await desk.balance(books.cash_box(group.id)) == "10.00"


async def test_of_two_at_the_same_second_exactly_one_takes_it(desk: Desk, circle: Circle) -> None:
    """Two phones, or one that dropped: one order, one payment, one refusal."""
    group = await found(circle)
    await pay(circle, group, "310")
    answers = await asyncio.gather(*(take(desk, group, which, f"run-{which}") for which in ("complete", 1)))
    assert sorted(type(answer).__name__ for answer in answers) == ["Placed", "Refused"]
    assert Refused("paying") in answers
    await desk.run(30)
    assert len(desk.operator.submissions) == 1
    assert await desk.order_states() == ["done"]


async def test_a_late_payout_is_done_if_all_is_still_there(desk: Desk, circle: Circle) -> None:
    """What has come since into the cycle taken early goes on to the next."""
    group = await found(circle)
    await pay(circle, group, "40")
    await pay(circle, group, "10", cash=True)
    await fails_then_pays(desk, circle, group, 1, meanwhile="25")
    assert await shown(circle, group) == [(2, 2, "25.00", "open")]
    assert (await last(circle, group)).kind == "savings_paid"
    assert await held(desk, group, books.COMMISSION, cash=True) == "10.00"
    assert await alerts(desk) == ["late success"]


async def test_a_late_payout_of_what_was_taken_again_comes_out_of_other_savings(desk: Desk, circle: Circle) -> None:
    """The saver has it from both orders: what they hold beside is less by that, and a person is told."""
    group = await found(circle)
    await pay(circle, group, "310")
    await fails_then_pays(desk, circle, group, "complete", meanwhile="320", again=True)
    assert await shown(circle, group) == [(2, 2, "20.00", "open")]
    assert await held(desk, group, books.COMMISSION) == "10.00"
    assert await alerts(desk) == ["late success", "savings paid late"]


async def test_a_late_payout_that_nothing_covers_is_owed_to_us(desk: Desk, circle: Circle) -> None:
    """Never collected by itself; the saver's savings are as they were."""
    group = await found(circle)
    await pay(circle, group, "310")
    await fails_then_pays(desk, circle, group, "complete", meanwhile="50", again=True)
    assert await shown(circle, group) == [(2, 5, "50.00", "open")]
    assert await desk.balance("receivable") == "300.00"
    assert await alerts(desk) == ["late success", "paid out twice", "savings paid late"]


async def fails_then_pays(
    desk: Desk, circle: Circle, group: Group, which: Which, *, meanwhile: str, again: bool = False
) -> None:
    """The operator says the payout failed; the saver pays in more, and may take it again; then it had been paid."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.INTERNAL)
    await take(desk, group, which)
    await desk.run(30)
    assert await desk.order_states() == ["failed"]
    await pay(circle, group, meanwhile)
    del desk.operator.states[Kind.DISBURSEMENT]
    if again:
        await take(desk, group, 1, "run-2")
    await desk.run(3 * 24 * HOUR)
    assert (await desk.order_states())[1:] == ["done"] * again


async def test_nobody_knows_for_long_and_nothing_of_it_can_be_taken_meanwhile(desk: Desk, circle: Circle) -> None:
    """A payout that a person must look into stays apart, and is done when it turns out to have been paid."""
    group = await found(circle)
    await pay(circle, group, "310")
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    await take(desk, group)
    await desk.run(4 * 24 * HOUR)
    assert await desk.order_states() == ["parked"]
    assert desk.outbox.templates == ["payout_coming", "payout_waiting"]
    assert await take(desk, group, run="run-2") == Refused("paying")
    assert await shown(circle, group) == [(1, 31, "310.00", "paying")]
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.callback((await desk.payment("disburse")).id)
    await desk.run(60)
    assert await desk.order_states() == ["done"]
    assert await shown(circle, group) == []


async def test_a_new_sim_and_a_number_nobody_pays_take_nothing_out(desk: Desk, circle: Circle) -> None:
    """Nothing is written."""
    group = await found(circle)
    await pay(circle, group, "310")
    async with desk.store.work() as connection:
        swapped = update(subscribers).where(subscribers.c.msisdn == YAW)
        await connection.execute(swapped.values(sim_hash="another", sim_changed_at=desk.clock.now()))
    assert await take(desk, group) == Refused("sim_changed")
    desk.clock.advance(24 * HOUR)
    desk.operator.countries = {"KE": "Safaricom"}
    assert await take(desk, group) == Refused("not_served")
    assert await daily_payout.quote(desk.orders, YAW, group.id, 1) == Refused("not_served")
    async with desk.store.look() as connection:
        assert (await connection.execute(select(func.count()).select_from(orders))).scalar_one() == 0


@pytest.mark.parametrize("seed", [1, 11])
async def test_cycles_hold_what_stands_in_the_accounts_whatever_happens(desk: Desk, circle: Circle, seed: int) -> None:
    """Contributions, reversals and take-outs in any order, paid, failed, unknown or late: nothing is lost or stuck."""
    group, random = await found(circle, share="2"), Random(seed)  # noqa: S311 - the same again at every run
    for number in range(30):
        amount, cash = f"{random.randrange(1, 120)}.{random.choice(('00', '05'))}", random.random() < 0.4
        match random.randrange(5):
            case 0 | 1:
                await pay(circle, group, amount, cash=cash)
            case 2:
                await pay(circle, group, f"-{amount}", cash=True)
            case _:
                await take(desk, group, random.choice(("complete", *range(1, 9))), f"run-{number}")
        says = random.choice(({}, {Kind.DISBURSEMENT: Failed(Reason.INTERNAL)}, {Kind.DISBURSEMENT: Pending()}))
        desk.operator.states = dict(says)
        await desk.run(random.choice((0, 20, HOUR)))
        await saved(circle, group)
    desk.operator.states = {}
    await desk.run(5 * 24 * HOUR)
    assert {"open", "complete"} >= {state for *_, state in await shown(circle, group)}
    assert set(await desk.order_states()) == {"done", "failed"}
