"""Money in a group one is no member of any more: seen at home until it is taken, and taken along by whoever leaves."""

import asyncio

from desk import Desk
from groups import Circle, circle, phone
from rotating import run, running
from sqlalchemy import update
from test_daily import SAVER, cedis, found, pay, shown
from test_daily_payout import desk, held, take

from ussd_app import ledger
from ussd_app.actions.arrival import arrive
from ussd_app.errors import Reason
from ussd_app.groups import books, cycles, departures, members, owed, own
from ussd_app.groups.departures import Left
from ussd_app.groups.model import Group, Refused
from ussd_app.groups.own import Own
from ussd_app.movement import Failed, Kind
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Placed, contribution, take_back
from ussd_app.orders.take_back import TakenBack
from ussd_app.tables import groups as groups_table

__all__ = ["circle", "desk"]

CHAIR, ESI, YAW = phone(1), phone(3), phone(SAVER)
Amounts = tuple[str, str, str]  # to the wallet, in cash, to the collector


async def shows(desk: Desk, msisdn: Msisdn) -> tuple[str, Amounts] | None:
    """What home finds of this person's: the group, and what they get."""
    found = await take_back.left(desk.orders, msisdn)
    if found is None:
        return None
    assert (await arrive(desk.orders, desk.orders.groups, msisdn)).home.has_left
    return found.group.name, (found.wallet.plain, found.cash.plain, found.commission.plain)


async def back(desk: Desk, group: Group, msisdn: Msisdn = YAW) -> TakenBack | Refused:
    """They take it."""
    return await take_back.place(desk.orders, run=run(), msisdn=msisdn, language="en", group_id=group.id)


async def go(desk: Desk, group: Group, msisdn: Msisdn, run_: str = "run-1") -> Left | Refused:
    """They leave."""
    return await take_back.leave(desk.orders, run=run_, msisdn=msisdn, language="en", group_id=group.id)


async def remove(circle: Circle, group: Group, number: int = SAVER) -> None:
    """A member is no longer one, by whatever vote."""
    member = await circle.member(group, number)
    async with circle.store.work() as connection:
        await books.lock(connection, group.id)
        await departures.remove(circle.groups, connection, await circle.group(group), member)


async def advance(circle: Circle, group: Group, number: int, amount: str) -> str:
    """Something they have paid in and owe nothing for; the part of the books it is in."""
    part = books.member_part((await circle.member(group, number)).id)
    async with circle.store.work() as connection:
        account, now = books.account(group.id, part), circle.clock.now()
        await ledger.move(connection, "float:scripted", account, cedis(amount), order=None, reason="ahead", at=now)
    return part


async def state(circle: Circle, group: Group, number: int) -> str:
    """Whether they are a member."""
    return (await circle.member(group, number)).state


async def test_a_removed_saver_sees_all_of_it_until_it_has_arrived(desk: Desk, circle: Circle) -> None:
    """The cycle that others have ended costs no commission; a payout that fails leaves it theirs, and in sight."""
    group = await found(circle, "5")
    await pay(circle, group, "95")
    assert await shows(desk, YAW) is None
    await remove(circle, group)
    assert (await circle.events(group, "removed"))[0].details["kept"] == 9_500
    assert await shows(desk, YAW) == ("ADEHYE", ("95.00", "0.00", "0.00"))
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    for _ in range(2):
        assert await back(desk, group) == TakenBack(cedis("95"), cedis("0"))
        assert await shows(desk, YAW) is None  # on its way
        assert await back(desk, group) == Refused("nothing")
        await desk.run(60)
        assert await shows(desk, YAW) == ("ADEHYE", ("95.00", "0.00", "0.00"))
    desk.operator.states.clear()
    await back(desk, group)
    await desk.run(60)
    assert await shows(desk, YAW) is None
    assert not (await arrive(desk.orders, desk.orders.groups, YAW)).home.has_left
    assert await shown(circle, group) == []
    last = desk.operator.submissions[-1]
    assert (last.kind, last.msisdn, last.amount) == (Kind.DISBURSEMENT, YAW, cedis("95"))
    assert await held(desk, group, books.COMMISSION) == "0.00"


async def test_of_a_complete_cycle_the_collector_has_earned_one_contribution(desk: Desk, circle: Circle) -> None:
    """In cash as far as it goes, once; the rest of the cash is handed over by the treasurer, who is named."""
    group = await found(circle)
    await pay(circle, group, "310")
    await pay(circle, group, "25", cash=True)
    await remove(circle, group)
    assert await shows(desk, YAW) == ("ADEHYE", ("310.00", "15.00", "10.00"))
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    taken = await back(desk, group)
    assert taken == TakenBack(cedis("310"), cedis("15"))
    assert isinstance(taken, TakenBack)
    assert taken.keeper == "Esi"
    await desk.run(60)
    assert await shows(desk, YAW) == ("ADEHYE", ("310.00", "0.00", "0.00"))
    desk.operator.states.clear()
    assert await back(desk, group) == TakenBack(cedis("310"), cedis("0"))
    await desk.run(60)
    assert await shows(desk, YAW) is None
    part = books.member_part((await circle.member(group, SAVER)).id)
    both = [await held(desk, group, name, cash=cash) for name in (part, books.COMMISSION) for cash in (False, True)]
    assert both == ["0.00", "0.00", "0.00", "10.00"]
    assert await desk.balance(books.cash_box(group.id)) == "10.00"


async def test_what_is_on_its_way_when_a_saver_is_removed_is_not_shown_twice(desk: Desk, circle: Circle) -> None:
    """Their order goes on; where it fails, what it was for is shown."""
    group = await found(circle)
    await pay(circle, group, "340")
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    await take(desk, group)
    await remove(circle, group)
    assert await shows(desk, YAW) == ("ADEHYE", ("30.00", "0.00", "0.00"))
    await desk.run(60)
    assert await shows(desk, YAW) == ("ADEHYE", ("330.00", "0.00", "10.00"))


async def test_what_is_collected_after_they_have_gone_is_shown(desk: Desk, circle: Circle) -> None:
    """They approved a prompt, and were no member when it was booked."""
    group = await found(circle)
    placed = await contribution.place(
        desk.orders, run=run(), msisdn=YAW, language="en", group_id=group.id, amount=cedis("20")
    )
    assert isinstance(placed, Placed)
    assert await go(desk, group, YAW) == Left(cedis("0"))
    await desk.run(30)
    assert await shows(desk, YAW) == ("ADEHYE", ("20.00", "0.00", "0.00"))
    assert await back(desk, group) == TakenBack(cedis("20"), cedis("0"))


async def test_of_several_groups_one_is_shown_after_the_other(desk: Desk, circle: Circle) -> None:
    """The one that was joined first comes first; what is in a group one is in is not shown."""
    groups = []
    for called in ("FIRST", "SECOND", "THIRD"):
        groups.append(await circle.found(5, called=called))
        await advance(circle, groups[-1], SAVER, "40")
        circle.clock.advance(60)
    await circle.change(groups[1], SAVER, state="suspended")
    await circle.change(groups[0], SAVER, state="left")
    for group in groups[:2]:
        assert await shows(desk, YAW) == (group.name, ("40.00", "0.00", "0.00"))
        await back(desk, group)
    assert await shows(desk, YAW) is None


async def test_what_waits_in_suspense_is_shown_and_taken(desk: Desk, circle: Circle) -> None:
    """It came when no cycle ran, from somebody who has left since."""
    susu = await running(circle, 5)
    await circle.change(susu.group, SAVER, state="left")
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state="forming"))
    await susu.pay(SAVER, 30)
    assert await shows(desk, YAW) == ("ADEHYE", ("30.00", "0.00", "0.00"))
    assert await back(desk, susu.group) == TakenBack(cedis("30"), cedis("0"))
    assert await shows(desk, YAW) is None


async def test_whoever_leaves_takes_their_own_along_in_the_same_commit(desk: Desk, circle: Circle) -> None:
    """The same run again leaves once and takes once; two at the same second do so as well."""
    group = await circle.found(5)
    part = await advance(circle, group, SAVER, "70")
    both = await asyncio.gather(*(go(desk, group, YAW, "run-1") for _ in range(2)))
    assert both == [Left(cedis("0"))] * 2
    assert await go(desk, group, YAW, "run-1") == Left(cedis("0"))
    assert await go(desk, group, YAW, "run-2") == Refused("not_member")
    assert await state(circle, group, SAVER) == "left"
    assert await shows(desk, YAW) is None
    await desk.run(30)
    assert [(each.msisdn, each.amount) for each in desk.operator.submissions] == [(YAW, cedis("70"))]
    assert await held(desk, group, part) == "0.00"
    assert len(await circle.events(group, "left")) == 1


async def test_who_cannot_be_paid_does_not_leave_and_loses_nothing(desk: Desk, circle: Circle) -> None:
    """No operator serves them: neither happens. Once one does, both do; one that then fails leaves it in sight."""
    group = await circle.found(5)
    part = await advance(circle, group, SAVER, "70")
    served, desk.orders.routes.operators = desk.orders.routes.operators, {}
    assert await go(desk, group, YAW) == Refused("not_served")
    assert await state(circle, group, SAVER) == "active"
    assert await held(desk, group, part) == "70.00"
    desk.orders.routes.operators = served
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    assert await go(desk, group, YAW) == Left(cedis("0"))
    await desk.run(60)
    assert await shows(desk, YAW) == ("ADEHYE", ("70.00", "0.00", "0.00"))
    assert desk.outbox.templates == ["own_not_paid"]


async def test_a_collector_takes_along_what_they_have_earned(desk: Desk, circle: Circle) -> None:
    """It is theirs, and not of whoever collects next."""
    group = await earned(desk, circle)
    assert await go(desk, group, CHAIR) == Left(cedis("0"))
    await desk.run(30)
    last = desk.operator.submissions[-1]
    assert (last.msisdn, last.amount) == (CHAIR, cedis("10"))
    assert await held(desk, group, books.COMMISSION) == "0.00"


async def test_a_removed_collector_sees_what_they_have_earned(desk: Desk, circle: Circle) -> None:
    """As a saver does."""
    group = await earned(desk, circle)
    await remove(circle, group, 1)
    assert await shows(desk, CHAIR) == ("ADEHYE", ("10.00", "0.00", "0.00"))


async def test_who_collects_no_more_keeps_what_they_have_earned(desk: Desk, circle: Circle) -> None:
    """Whether it stands in the books as the office passes on, or comes back there because no wallet took it."""
    group = await earned(desk, circle)
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    assert await back(desk, group, CHAIR) == TakenBack(cedis("10"), cedis("0"))
    secretary = await circle.member(group, 2)
    async with circle.store.work() as connection:
        await books.lock(connection, group.id)
        now = circle.clock.now()
        assert await members.assign(circle.groups, connection, group, secretary, "chair", now)
    await desk.run(60)
    assert await held(desk, group, books.COMMISSION) == "0.00"
    async with circle.store.look() as connection:
        theirs = [await own.find(circle.groups, connection, group, phone(number), 1) for number in (1, 2)]
    assert isinstance(theirs[0], Own)
    assert (theirs[0].wallet, theirs[1]) == (cedis("10"), Refused("nothing"))
    await pay(circle, group, "310", 1)  # they save now as others do
    desk.operator.states.clear()
    assert await back(desk, group, CHAIR) == TakenBack(cedis("10"), cedis("0"))
    await desk.run(60)
    assert desk.operator.submissions[-1].amount == cedis("10")
    assert await shown(circle, group, 1) == [(1, 31, "310.00", "complete")]


async def test_what_did_not_arrive_pays_what_fell_due_meanwhile(desk: Desk, circle: Circle) -> None:
    """A round has opened while it was away: nobody holds money and owes."""
    susu = await running(circle, 5)
    await susu.pay(SAVER, 80)
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    assert await back(desk, susu.group) == TakenBack(cedis("30"), cedis("0"))
    turn = (await susu.rounds())[0]
    circle.clock.advance((turn.due_at - circle.clock.now()).total_seconds())
    await cycles.due(circle.groups, turn.id)
    member = await circle.member(susu.group, SAVER)
    async with circle.store.look() as connection:
        assert (await owed.expected(connection, susu.group, member)) == cedis("50")
    await desk.run(60)
    async with circle.store.look() as connection:
        assert (await owed.expected(connection, susu.group, member)) == cedis("20")
    assert await held(desk, susu.group, books.member_part(member.id)) == "0.00"


async def earned(desk: Desk, circle: Circle) -> Group:
    """A daily group whose collector has earned a commission of 10."""
    group = await found(circle)
    await pay(circle, group, "310")
    await take(desk, group, run="of-the-saver")
    await desk.run(30)
    return group
