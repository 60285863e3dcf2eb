"""Cycles and contributions of a rotating group: deadlines, and what is paid too little, too much, too late or twice."""

import hashlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from groups import Circle, circle, phone
from rotating import cedis, found, run, running
from sqlalchemy import update

from ussd_app.groups import books, contributions, cycles, owed
from ussd_app.groups.contributions import Booked, Reversed
from ussd_app.groups.cycles import Started, due_dates
from ussd_app.groups.model import Refused
from ussd_app.tables import groups as groups_table

__all__ = ["circle"]


async def test_a_cycle_gives_everybody_the_pot_once_and_ends(circle: Circle) -> None:
    """Five weeks, five pots of 250 in the agreed order; then nothing is left in the books, and the next may begin."""
    susu = await running(circle)
    assert await susu.order() == [1, 2, 3, 4, 5]
    payees = []
    for number in range(5):
        await susu.all_pay()
        assert (await susu.pots())[number] == 250
        payees.append((await susu.pay_out()).payee)
        if number < 4:
            await susu.deadline()
    assert payees == ["Ama", "Kofi", "Esi", "Yaw", "Efua"]
    assert await susu.held() == {}
    assert (await circle.group(susu.group)).state == "forming"
    ended = (await circle.events(susu.group, "cycle_closed"))[-1]
    assert ended.details == {"number": 1, "rounds": 5, "owing": 0}
    assert isinstance(again := await susu.start(), Started)
    assert again.number == 2
    await susu.deadline()  # the last deadline of the first cycle opens nothing in the second
    told = await circle.events(susu.group, "round_due")
    assert [event.details["number"] for event in told] == [1, 2, 3, 4, 1]


async def test_shares_of_any_size_are_owed(circle: Circle) -> None:
    """Amounts are eight bytes wide, whatever they are multiplied with."""
    susu = await running(circle, share="90000")
    await susu.all_pay(90_000)
    assert (await susu.pots())[0] == 450_000


async def test_who_may_start_and_when(circle: Circle) -> None:
    """An officer, with enough members, once; the same run again is told the same."""
    susu = await found(circle, 4)
    assert await susu.start() == Refused("too_few", {"least": 5, "members": 4})
    susu = await found(circle, 5)
    start, group = cycles.start, susu.group.id
    assert await start(circle.groups, run(), phone(4), group) == Refused("not_officer")
    assert await start(circle.groups, run(), phone(9), group) == Refused("not_member")
    once = run()
    first = await start(circle.groups, once, phone(1), group)
    assert first == Started(1, 5, datetime(2031, 3, 11, 23, 59, tzinfo=UTC), None)
    assert await start(circle.groups, once, phone(1), group) == first
    assert await susu.start() == Refused("running")
    assert (await circle.kinds(susu.group)) == ["started", "round_opened"]


async def test_a_draw_can_be_checked_by_anybody(circle: Circle) -> None:
    """The seed is told, the SHA-256 of seed and ticket gives the order; two slots are two turns and twice the due."""
    susu = await found(circle, 5, order="drawn")
    await circle.change(susu.group, 4, slots=2)
    started = await susu.start()
    assert isinstance(started, Started)
    tickets = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "4.2": 4}
    drawn = sorted(tickets, key=lambda ticket: hashlib.sha256(f"{started.seed}:{ticket}".encode()).hexdigest())
    assert await susu.order() == [tickets[ticket] for ticket in drawn]
    assert (await circle.events(susu.group, "started"))[0].details["seed"] == started.seed
    async with circle.store.look() as connection:
        group = await circle.group(susu.group)
        assert await owed.expected(connection, group, await circle.member(group, 4)) == cedis(100)
        assert await owed.expected(connection, group, await circle.member(group, 5)) == cedis(50)


def test_deadlines_fall_on_the_same_day_and_at_the_end_of_short_months() -> None:
    """23:59 where the group lives; a month after 31 January is its last day, two are 31 March again."""
    nairobi, at = (
        ZoneInfo("Africa/Nairobi"),
        datetime(2031, 1, 31, 21, 30, tzinfo=UTC),
    )  # 1 February, half past midnight
    assert due_dates(at, "weekly", 2, nairobi) == [
        datetime(2031, 2, 8, 20, 59, tzinfo=UTC),
        datetime(2031, 2, 15, 20, 59, tzinfo=UTC),
    ]
    days = [day.date().isoformat() for day in due_dates(at, "monthly", 12, ZoneInfo("Africa/Accra"))]
    assert days[:2] + days[-1:] == ["2031-02-28", "2031-03-31", "2032-01-31"]


async def test_parts_and_too_much_are_counted_where_they_belong(circle: Circle) -> None:
    """A part fills the due, what is over waits and pays the round that opens next; nobody pays for one round twice."""
    susu = await running(circle)
    member = await circle.member(susu.group, 2)
    await susu.pay(2, 20)
    async with circle.store.look() as connection:
        assert await owed.expected(connection, susu.group, member) == cedis(30)
    await susu.pay(2, "130.50")
    assert await susu.pots() == [50, 0, 0, 0, 0]
    assert (await susu.held())[books.member_part(member.id)] == cedis("100.50")
    told = (await circle.events(susu.group, "contribution"))[-1]
    assert (told.amount, told.details["rounds"], told.details["over"]) == (13050, [1], 10050)
    await susu.deadline()
    assert await susu.pots() == [50, 50, 0, 0, 0]
    await susu.deadline()
    assert await susu.pots() == [50, 50, 50, 0, 0]
    assert (await susu.held())[books.member_part(member.id)] == cedis("0.50")


async def test_the_same_contribution_by_wallet_and_in_cash_is_one_for_the_next_round(circle: Circle) -> None:
    """Money that came twice is not lost, and cash stays cash."""
    susu = await running(circle)
    await susu.pay(2, 50)
    booked = await susu.cash(2, 50)
    assert isinstance(booked, Booked)
    assert (booked.name, booked.over) == ("Kofi", cedis(50))
    await susu.deadline()
    assert (await susu.pots(), await susu.pots(cash=True)) == ([50, 0, 0, 0, 0], [0, 50, 0, 0, 0])
    assert (await susu.held())[books.cash_box(susu.group.id)] == cedis(50)


async def test_the_treasurer_keys_cash_and_only_once_a_run(circle: Circle) -> None:
    """The treasurer alone, the chair where there is none; a run twice counts once."""
    susu = await running(circle)
    for number, why in ((1, "not_treasurer"), (9, "not_member")):
        assert await susu.cash(2, 50, keeper=number) == Refused(why)
    assert await susu.cash(17, 50) == Refused("nobody")
    once, book = run(), contributions.book_cash
    first = await book(circle.groups, once, phone(3), susu.group.id, 2, cedis(50))
    assert await book(circle.groups, once, phone(3), susu.group.id, 2, cedis(50)) == first
    assert await susu.pots(cash=True) == [50, 0, 0, 0, 0]
    await circle.change(susu.group, 3, role="member")
    assert isinstance(await susu.cash(2, 50, keeper=1), Booked)


async def test_a_wrong_entry_is_reversed_while_its_money_is_there(circle: Circle) -> None:
    """The due is open again, the box is as it was, everybody is told; once its pot is paid it stands for ever."""
    susu = await running(circle)
    booked = await susu.cash(2, 70)
    assert isinstance(booked, Booked)
    once, back = run(), contributions.reverse
    for number in (2, 9):
        assert await back(circle.groups, run(), phone(number), booked.code) == Refused("unknown")
    assert await back(circle.groups, run(), phone(3), "10000008") == Refused("unknown")
    reversed_ = Reversed(booked.code, "Kofi", cedis(70))
    assert await back(circle.groups, once, phone(3), booked.code) == reversed_
    assert await back(circle.groups, once, phone(3), booked.code) == reversed_
    assert await back(circle.groups, run(), phone(3), booked.code) == Refused("reversed")
    assert await susu.held() == {}
    async with circle.store.look() as connection:
        assert await owed.expected(connection, susu.group, await circle.member(susu.group, 2)) == cedis(50)
    over = await susu.cash(4, 70)
    assert isinstance(over, Booked)
    await susu.deadline()
    assert await back(circle.groups, run(), phone(3), over.code) == Refused("moved")  # 20 of it are in round 2


async def test_fines_are_paid_after_dues_into_the_fund(circle: Circle) -> None:
    """Whoever misses the deadline is fined once, whatever the job does; the oldest dues come first, then the fine."""
    susu = await running(circle, fine=500)
    await susu.pay(1, 50)
    first = (await susu.rounds())[0]
    await susu.deadline()
    await cycles.due(circle.groups, first.id)
    fined = await circle.events(susu.group, "fined")
    assert [(event.amount, event.details["number"]) for event in fined] == [(500, 1)] * 4
    assert (await circle.events(susu.group, "round_due"))[0].details["missing"] == ["Kofi", "Esi", "Yaw", "Efua"]
    await susu.pay(2, 103)
    assert (await susu.pots())[:2] == [100, 50]
    assert (await susu.held())[books.FUND] == cedis(3)
    await susu.pay(2, 3)
    assert (await susu.held())[books.FUND] == cedis(5)
    assert (await susu.held())[books.member_part((await circle.member(susu.group, 2)).id)] == cedis(1)


@pytest.mark.parametrize("state", ["forming", "closed"])
async def test_money_for_a_closed_cycle_waits_in_suspense(circle: Circle, state: str) -> None:
    """It is nobody's pot's, its payer is told, and the next cycle takes it for them."""
    susu = await found(circle)
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state=state))
    await susu.pay(2, 80)
    booked = await susu.cash(4, 50)
    assert isinstance(booked, Booked)
    assert booked.over == cedis(50)
    assert (await susu.held())[books.SUSPENSE] == cedis(80)
    assert [event.amount for event in await circle.events(susu.group, "suspended_money")] == [8000, 5000]
    async with circle.store.work() as connection:
        await connection.execute(update(groups_table).values(state="forming"))
    assert isinstance(await susu.start(), Started)
    assert ((await susu.pots())[0], (await susu.pots(cash=True))[0]) == (50, 50)
    told = await circle.events(susu.group, "allotted")
    assert [(event.amount, event.details["rounds"]) for event in told] == [(8000, [1]), (5000, [1])]
    assert await contributions.reverse(circle.groups, run(), phone(3), booked.code) == Refused("moved")


async def test_a_round_that_opens_too_late_has_a_deadline_of_its_own(circle: Circle) -> None:
    """Nobody was there to open it for three weeks: its members have a whole week, and so has every later round."""
    susu = await running(circle)
    circle.on("groups.due", cycles.due)
    first = (await susu.rounds())[0]
    circle.clock.advance(4 * 7 * 24 * 3600)
    now = circle.clock.now()
    await cycles.due(circle.groups, first.id)
    assert [turn.due_at for turn in await susu.rounds()][1:] == due_dates(now, "weekly", 4, phone(1).zone)
