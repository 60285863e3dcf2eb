"""Attacks on a group's money: by those who leave and come back, by late money, lying providers and two at once."""

import asyncio

from desk import Desk
from groups import Circle, circle, phone
from rotating import Susu, cedis, found, run, running
from sqlalchemy import text, update
from test_daily import SAVER
from test_daily import found as daily
from test_daily import pay as save
from test_daily_payout import alerts, desk, take
from test_rotating_orders import MINUTE, full, pay, vote

from ussd_app.errors import Reason
from ussd_app.groups import books, cycles, departures, invites, payouts, rotation
from ussd_app.groups.departures import Left
from ussd_app.groups.invites import Joined
from ussd_app.groups.kinds.daily import CYCLES_AT_ONCE
from ussd_app.groups.model import Refused
from ussd_app.groups.own import Own
from ussd_app.movement import Failed, Kind, Pending
from ussd_app.orders import Placed, take_back
from ussd_app.orders.take_back import TakenBack
from ussd_app.tables import groups as groups_table

__all__ = ["circle", "desk"]

HOUR = 3_600


async def back(desk: Desk, susu: Susu, number: int) -> TakenBack | Refused:
    """A member takes back what is their own."""
    return await take_back.place(desk.orders, run=run(), msisdn=phone(number), language="en", group_id=susu.group.id)


async def rejoin(circle: Circle, susu: Susu, number: int) -> None:
    """Somebody who left comes back with the group's open code."""
    code = await invites.renew_open_code(circle.groups, phone(1), susu.group.id)
    assert isinstance(code, invites.Invite)
    assert isinstance(await invites.join(circle.groups, phone(number), "Back", code.code), Joined)


async def test_what_waits_in_suspense_can_be_taken_back(desk: Desk, circle: Circle) -> None:
    """No next cycle may ever come, and the group may be closed: whose money it is gets it, once."""
    susu = await running(circle)
    await pay(desk, susu, 2)
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state="forming"))
    await desk.run(MINUTE)
    await susu.cash(2, 20)
    await susu.cash(4, 30)
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state="closed"))
    quoted = await take_back.quote(desk.orders, phone(2), susu.group.id)
    assert isinstance(quoted, Own)
    assert (quoted.wallet, quoted.cash) == (cedis(50), cedis(20))
    assert await back(desk, susu, 2) == TakenBack(cedis(50), cedis(20))
    await desk.run(MINUTE)
    assert desk.operator.submissions[-1].amount == cedis(50)
    assert await back(desk, susu, 2) == Refused("nothing")
    assert await susu.held() == {f"cash:{books.SUSPENSE}": cedis(30), f"cash:{susu.group.id}": cedis(30)}


async def test_what_was_taken_back_from_suspense_is_not_allotted_again(desk: Desk, circle: Circle) -> None:
    """The next cycle gives its members what is still there, and no more."""
    susu = await found(circle)
    await susu.cash(2, 20)
    await susu.cash(4, 30)
    assert await back(desk, susu, 2) == TakenBack(cedis(0), cedis(20))
    await susu.start()
    assert (await susu.pots(cash=True))[0] == 30


async def waiting(circle: Circle, count: int) -> None:
    """Until so many wait for what another holds, those who came first being first in turn."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10), circle.store.look() as connection:
        while (await connection.execute(text(query))).scalar_one() < count:  # noqa: ASYNC110 - Postgres tells nobody
            await asyncio.sleep(0.02)


async def test_a_new_cycle_and_a_late_job_do_not_wait_for_each_other(desk: Desk, circle: Circle) -> None:
    """A second job of an order holds its row and wants the group, while whoever starts a cycle has the group."""
    susu = await running(circle)
    await pay(desk, susu, 2)
    async with circle.store.work() as connection:
        await connection.execute(text("UPDATE cycles SET state = 'closed'"))
        await connection.execute(update(groups_table).values(state="forming"))
    await desk.run(MINUTE)
    payment = (await desk.payment("collect")).id
    async with circle.store.work() as connection:
        await books.lock(connection, susu.group.id)
        starting = asyncio.create_task(susu.start())
        await waiting(circle, 1)
        settling = asyncio.create_task(desk.orders._settle(payment, Failed(Reason.EXPIRED)))
        await waiting(circle, 2)
    await asyncio.gather(settling, starting)
    assert (await susu.pots())[0] == 0
    assert 50 in await susu.pots()


async def test_whoever_leaves_again_and_again_takes_nobodys_turn(circle: Circle) -> None:
    """By need, a leaver's turn falls away once; coming back in the middle of a cycle gives no other one to take."""
    susu = await running(circle, 6, order="need")
    await susu.all_pay()
    assert isinstance(await departures.leave(circle.groups, phone(6), susu.group.id), Left)
    assert len(await susu.rounds()) == 5
    for _ in range(3):
        circle.clock.advance(HOUR)
        await rejoin(circle, susu, 6)
        chosen = await rotation.choose_beneficiary(circle.groups, run(), phone(1), susu.group.id, 6)
        assert chosen == Refused("nobody")
        assert isinstance(await departures.leave(circle.groups, phone(6), susu.group.id), Left)
    assert len(await susu.rounds()) == 5


async def test_coming_back_does_not_end_a_cooling_time(circle: Circle) -> None:
    """Whoever has just got somebody's number cannot leave and join again to be trusted at once."""
    susu = await running(circle)
    later = circle.clock.now().replace(hour=23)
    await circle.change(susu.group, 5, trusted_from=later)
    assert isinstance(await departures.leave(circle.groups, phone(5), susu.group.id), Left)
    await rejoin(circle, susu, 5)
    assert (await circle.member(susu.group, 5)).trusted_from == later


async def test_nobody_leaves_while_a_pot_is_on_its_way_to_them(desk: Desk, circle: Circle) -> None:
    """What they owe the others is not known before it has come."""
    susu = await full(circle)
    await circle.change(susu.group, 1, role="member")
    await circle.change(susu.group, 4, role="chair")
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    asked = await payouts.ask(circle.groups, run(), phone(1), susu.group.id)
    assert isinstance(asked, payouts.Asked)
    for number in (2, 3):
        await vote(desk, asked, number)
    assert await departures.leave(circle.groups, phone(1), susu.group.id) == Refused("payout")
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.run(HOUR)
    assert await departures.leave(circle.groups, phone(1), susu.group.id) == Left(cedis(200))


async def test_savers_are_made_no_rotating_group(circle: Circle) -> None:
    """A collector who starts a cycle has none to start: their savers' are their own."""
    group = await circle.found(5, kind="daily", share="10", period="daily", approvals=0, members_min=1)
    assert await cycles.start(circle.groups, run(), phone(1), group.id) == Refused("running")


async def test_an_advance_on_its_way_back_is_put_into_no_cycle(desk: Desk, circle: Circle) -> None:
    """A saver's cycles never hold more than what stands in their account."""
    group = await daily(circle)
    opened = CYCLES_AT_ONCE * 310
    await save(circle, group, str(opened + 620))  # as many cycles as are opened at once, and two more that wait
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    taken = await take_back.place(desk.orders, run=run(), msisdn=phone(SAVER), language="en", group_id=group.id)
    assert taken == TakenBack(cedis(620), cedis(0))
    await save(circle, group, "10")
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.run(HOUR)
    async with circle.store.look() as connection:
        paid = (await connection.execute(text("SELECT sum(paid) FROM cycles"))).scalar_one()
    assert paid == cedis(opened + 10).minor
    assert isinstance(await take(desk, group), Placed)


async def test_the_fund_covers_nobody_twice(circle: Circle) -> None:
    """Two requests for one pot are open, since clocks differ by an hour: the second finds nothing left to cover."""
    susu = await running(circle, short="cover", fine=200)
    async with circle.store.work() as connection:
        fund, box = books.account(susu.group.id, books.FUND, cash=True), books.cash_box(susu.group.id)
        await books.move(circle.groups, connection, box, fund, cedis(1_000), "earlier fines", None)
    await susu.deadline()
    first = await susu.ask()
    assert isinstance(first, payouts.Asked)
    assert first.cash == cedis(200)
    circle.clock.advance(49 * HOUR)
    second = await susu.ask()
    circle.clock.advance(-49 * HOUR)
    assert await susu.approve(first) is None
    unready = await susu.approve(second)
    assert unready == Refused("short")
    assert (await susu.held())[f"cash:{books.FUND}"] == cedis(800)


async def test_what_was_taken_back_twice_left_the_group_once(desk: Desk, circle: Circle) -> None:
    """The first came late, after the second: we are owed it, and the group's books and words know of one."""
    susu = await running(circle)
    await susu.pay(2, 120)
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_ALLOWED)
    assert await back(desk, susu, 2) == TakenBack(cedis(70), cedis(0))
    await desk.run(MINUTE)
    first = (await desk.payment("disburse")).id
    del desk.operator.states[Kind.DISBURSEMENT]
    assert await back(desk, susu, 2) == TakenBack(cedis(70), cedis(0))
    await desk.run(30)
    await desk.callback(first)
    await desk.run(MINUTE)
    assert await alerts(desk) == ["late success", "paid out twice"]
    assert len(await circle.events(susu.group, "taken_back")) == 1
