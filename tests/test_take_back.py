"""Taking back one's own at an order desk: an advance in a rotating group, the commission of a daily one."""

import asyncio

from desk import Desk
from groups import Circle, circle, phone
from sqlalchemy import update
from test_daily import SAVER, cedis, found, pay
from test_daily_payout import desk, held, take

from ussd_app import ledger
from ussd_app.errors import Reason
from ussd_app.groups import books
from ussd_app.groups.contributions import book_cash
from ussd_app.groups.model import Group, Refused
from ussd_app.movement import Failed, Kind
from ussd_app.msisdn import Msisdn
from ussd_app.orders import take_back
from ussd_app.orders.take_back import TakenBack
from ussd_app.tables import subscribers

__all__ = ["circle", "desk"]

CHAIR, YAW = phone(1), phone(SAVER)


async def back(desk: Desk, group: Group, msisdn: Msisdn, run: str = "run-1") -> TakenBack | Refused:
    """Take it back."""
    return await take_back.place(desk.orders, run=run, msisdn=msisdn, language="en", group_id=group.id)


async def earned(desk: Desk, circle: Circle) -> Group:
    """A daily group whose collector has earned a commission of 10."""
    group = await found(circle)
    await pay(circle, group, "310")
    await take(desk, group, run="of-the-saver")
    await desk.run(30)
    return group


async def test_a_collector_takes_out_the_commission_once(desk: Desk, circle: Circle) -> None:
    """The same run again takes nothing more, nor does another; savers' money is not touched."""
    group = await earned(desk, circle)
    await pay(circle, group, "25")
    taken = TakenBack(cedis("10"), cedis("0"))
    assert [await back(desk, group, CHAIR), await back(desk, group, CHAIR)] == [taken, taken]
    assert await back(desk, group, CHAIR, "run-2") == Refused("nothing")
    await desk.run(30)
    last = desk.operator.submissions[-1]
    assert (last.kind, last.msisdn, last.amount) == (Kind.DISBURSEMENT, CHAIR, cedis("10"))
    assert await held(desk, group, books.COMMISSION) == "0.00"
    member = await circle.member(group, SAVER)
    assert await held(desk, group, books.member_part(member.id)) == "25.00"
    assert (await circle.events(group, "taken_back"))[0].amount == 1_000


async def test_two_at_the_same_second_take_it_once(desk: Desk, circle: Circle) -> None:
    """Whoever comes second finds nothing."""
    group = await earned(desk, circle)
    both = await asyncio.gather(back(desk, group, CHAIR, "run-1"), back(desk, group, CHAIR, "run-2"))
    assert sorted(map(type, both), key=str) == sorted([TakenBack, Refused], key=str)


async def test_what_did_not_arrive_is_still_theirs(desk: Desk, circle: Circle) -> None:
    """The hold is given up, the person told, and it can be taken again."""
    group = await earned(desk, circle)
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    await back(desk, group, CHAIR)
    await desk.run(60)
    assert await held(desk, group, books.COMMISSION) == "10.00"
    assert desk.outbox.templates[-1] == "own_not_paid"
    assert await back(desk, group, CHAIR, "run-2") == TakenBack(cedis("10"), cedis("0"))


async def test_an_advance_goes_back_to_whoever_paid_it_even_after_they_left(desk: Desk, circle: Circle) -> None:
    """What is in the wallet by wallet, what is in the box by hand; to nobody else, and not after a change of SIM."""
    group = await circle.found(5)
    leaver = phone(5)
    member = await circle.change(group, 5, state="left")
    own = books.account(group.id, books.member_part(member.id))
    async with desk.store.work() as connection:
        now = desk.clock.now()
        await ledger.move(connection, "float:scripted", own, cedis("70"), order=None, reason="paid ahead", at=now)
    assert await back(desk, group, CHAIR) == Refused("nothing")
    assert await back(desk, group, phone(9)) == Refused("not_member")
    async with desk.store.work() as connection:
        await connection.execute(update(subscribers).values(sim_hash="another", sim_changed_at=desk.clock.now()))
    assert await back(desk, group, leaver) == Refused("sim_changed")
    async with desk.store.work() as connection:
        await connection.execute(update(subscribers).values(sim_changed_at=None))
    assert await back(desk, group, leaver) == TakenBack(cedis("70"), cedis("0"))
    await desk.run(30)
    assert desk.operator.submissions[-1].msisdn == leaver


async def test_cash_is_handed_over_at_once_and_told(desk: Desk, circle: Circle) -> None:
    """It needs no order; the box holds less, and the books agree."""
    group = await circle.found(5)
    await circle.cycle(group, 5)
    member = await circle.member(group, 4)
    booked = await book_cash(circle.groups, "cash-1", phone(3), group.id, 4, cedis("90"))
    advance = await held(desk, group, books.member_part(member.id), cash=True)
    assert not isinstance(booked, Refused)
    assert advance == booked.over.plain != "0.00"
    taken = await back(desk, group, phone(4))
    assert taken == TakenBack(cedis("0"), booked.over)
    assert await back(desk, group, phone(4)) == taken  # the same run
    assert await held(desk, group, books.member_part(member.id), cash=True) == "0.00"
    assert (await circle.events(group, "taken_back"))[0].details["source"] == "cash"
    assert desk.operator.submissions == []
