"""Daily savings: what contributions make of a saver's cycles, who is awaited today, and what taking out would give."""

from datetime import timedelta

from groups import Circle, circle, phone
from sqlalchemy import update

from ussd_app.groups import books, contributions, events, members, savings
from ussd_app.groups.kinds import kind
from ussd_app.groups.model import Group, Refused, Rules
from ussd_app.groups.savings import Offer, Savings, Which
from ussd_app.ledger import float_account, imbalance, move
from ussd_app.money import Money
from ussd_app.tables import group_rules, subscribers

__all__ = ["circle"]

DAY = 86_400
SAVER = 4  # Yaw: none of the officers


def cedis(amount: str) -> Money:
    """That many."""
    return Money.of(amount, "GHS")


async def found(circle: Circle, share: str = "10", count: int = 5) -> Group:
    """A collector (member 1) and savers."""
    return await circle.found(count, kind="daily", share=share, period="daily", state="running", approvals=0)


async def pay(circle: Circle, group: Group, amount: str, number: int = SAVER, *, cash: bool = False) -> int:
    """A saver's contribution, booked as any is; negative: one taken back. The id of its event."""
    member, money = await circle.member(group, number), cedis(amount)
    own = books.account(group.id, books.member_part(member.id), cash=cash)
    other = books.cash_box(group.id) if cash else float_account("scripted", "collection", shared=True)
    debit, credit = (other, own) if money > cedis("0") else (own, other)
    now, minor = circle.clock.now(), abs(money.minor)
    async with circle.store.work() as connection:
        await books.lock(connection, group.id)
        await move(connection, debit, credit, Money(minor, "GHS"), order=None, reason="contribution", at=now)
        await kind("daily").allot(circle.groups, connection, await circle.group(group), member, cash=cash)
        return await events.record(
            circle.groups, connection, group.id, "contribution", member=member.id, amount=minor, source="wallet"
        )


async def saved(circle: Circle, group: Group, number: int = SAVER) -> Savings:
    """What a saver has; and that it is what stands in their accounts."""
    member = await circle.member(group, number)
    async with circle.store.look() as connection:
        state = await savings.state(connection, member)
        standing = await books.balances(connection, group.id, "GHS")
        assert await imbalance(connection) in ({"GHS": 0}, {})
    part = books.member_part(member.id)
    own = [standing.get(books.account(group.id, part, cash=cash), cedis("0")) for cash in (False, True)]
    assert own[0] + own[1] == state.total
    return state


async def shown(circle: Circle, group: Group, number: int = SAVER) -> list[tuple[int, int, str, str]]:
    """A saver's cycles: number, contributions, money, state."""
    return [(c.number, c.contributions, c.money.plain, c.state) for c in (await saved(circle, group, number)).cycles]


async def offered(circle: Circle, group: Group, which: Which, number: int = SAVER, step: int = 1) -> Offer | Refused:
    """What taking out would give."""
    async with circle.store.look() as connection:
        return await savings.offer(circle.groups, connection, await circle.group(group), phone(number), which, step)


async def gives(circle: Circle, group: Group, which: Which, number: int = SAVER, step: int = 1) -> tuple[str, str, str]:
    """The same in cedis: to the wallet, in cash, to the collector."""
    offer = await offered(circle, group, which, number, step)
    assert isinstance(offer, Offer)
    payable = offer.payable
    return payable.wallet.plain, payable.cash.plain, payable.commission.plain


async def missing(circle: Circle, group: Group) -> list[int]:
    """The numbers of those who have not paid today."""
    async with circle.store.look() as connection:
        return [member.number for member in await savings.missing(circle.groups, connection, group)]


async def due(circle: Circle, group: Group, number: int = SAVER) -> str | None:
    """Today's contribution of a saver."""
    async with circle.store.look() as connection:
        money = await savings.due(circle.groups, connection, group, await circle.member(group, number))
    return money.plain if money else None


def test_a_new_group_needs_one_saver_and_nobodys_approval() -> None:
    """Its period is the day, whatever is asked for."""
    assert kind("daily").rules(500, "weekly") == Rules(500, "daily", members_min=1, members_max=1_000, approvals=0)


async def test_31_contributions_make_a_cycle_however_many_days_they_take(circle: Circle) -> None:
    """Days missed and a rest between them lose nothing; the 31st completes the cycle, and the next begins afresh."""
    group = await found(circle)
    for day in range(45):
        if day == 10:
            await savings.pause(circle.groups, phone(SAVER), group.id)
        if day == 20:
            await savings.resume(circle.groups, phone(SAVER), group.id)
        if not 10 <= day < 20 and day not in {3, 30, 31, 40}:
            await pay(circle, group, "10")
        circle.clock.advance(DAY)
    assert await shown(circle, group) == [(1, 31, "310.00", "complete")]
    state = await saved(circle, group)
    assert (state.total, state.payable) == (cedis("310"), cedis("300"))
    await pay(circle, group, "10")
    assert (await shown(circle, group))[1:] == [(2, 1, "10.00", "open")]
    assert await circle.kinds(group) == ["contribution"] * 9 + ["paused", "resumed"] + ["contribution"] * 23


async def test_any_amount_is_taken_and_runs_over_the_end_of_its_cycle(circle: Circle) -> None:
    """Several days at once, part of a day, two cycles and a half: nothing is lost and nothing is rounded."""
    group = await found(circle)
    await pay(circle, group, "50")
    await pay(circle, group, "4.50")
    assert await shown(circle, group) == [(1, 5, "54.50", "open")]
    assert (await saved(circle, group)).payable == cedis("44.50")
    await pay(circle, group, "730.50")
    assert await shown(circle, group) == [
        (1, 31, "310.00", "complete"), (2, 31, "310.00", "complete"), (3, 16, "165.00", "open"),
    ]  # fmt: skip
    assert (await saved(circle, group)).payable == cedis("755")
    assert await shown(circle, group, 5) == []


async def test_a_cycle_keeps_the_share_it_began_with(circle: Circle) -> None:
    """A new share counts from the next cycle on."""
    group = await found(circle)
    await pay(circle, group, "300")
    async with circle.store.work() as connection:
        dearer = group_rules.update().values(rules={**group.rules.dump(), "share": 2_000})
        await connection.execute(dearer.where(group_rules.c.group_id == group.id))
    assert await due(circle, await circle.group(group)) is None
    circle.clock.advance(DAY)
    assert await due(circle, await circle.group(group)) == "10.00"
    await pay(circle, group, "50")
    assert await shown(circle, group) == [(1, 31, "310.00", "complete"), (2, 2, "40.00", "open")]
    circle.clock.advance(DAY)
    assert await due(circle, await circle.group(group)) == "20.00"


async def test_what_is_taken_back_comes_out_of_the_newest_cycle(circle: Circle) -> None:
    """A cash entry keyed wrongly and reversed opens a cycle again that it had completed."""
    group = await found(circle)
    await pay(circle, group, "290")
    keyed = await contributions.book_cash(circle.groups, "run-1", phone(3), group.id, SAVER, cedis("60"))
    assert isinstance(keyed, contributions.Booked)
    assert await shown(circle, group) == [(1, 31, "310.00", "complete"), (2, 4, "40.00", "open")]
    await contributions.reverse(circle.groups, "run-2", phone(3), keyed.code)
    assert await shown(circle, group) == [(1, 29, "290.00", "open")]
    await pay(circle, group, "40")
    assert await shown(circle, group) == [(1, 31, "310.00", "complete"), (2, 2, "20.00", "open")]


async def test_only_those_are_missing_whose_day_has_brought_nothing(circle: Circle) -> None:
    """The collector, a saver at rest, one who has left and one who has paid are not; a payment taken back is none."""
    group = await found(circle)
    assert await missing(circle, group) == [2, 3, 4, 5]
    assert await due(circle, group) == "10.00"
    event = await pay(circle, group, "3")
    await savings.pause(circle.groups, phone(5), group.id)
    await circle.change(group, 3, state="left")
    assert await missing(circle, group) == [2]
    assert (await due(circle, group), await due(circle, group, 5), await due(circle, group, 1)) == (None, None, None)
    async with circle.store.work() as connection:
        await events.record(circle.groups, connection, group.id, "reversed", reverses=event)
    assert await missing(circle, group) == [2, 4]
    await pay(circle, group, "10")
    circle.clock.advance(DAY - 8 * 3600 - 1)  # Accra's midnight is a second away
    assert await missing(circle, group) == [2]
    circle.clock.advance(1)
    assert await missing(circle, group) == [2, 4]


async def test_a_rest_begins_and_ends_once(circle: Circle) -> None:
    """Asked for twice it is told once; a stranger has none."""
    group = await found(circle)
    paused = await savings.pause(circle.groups, phone(SAVER), group.id)
    began = circle.clock.now()
    assert isinstance(paused, members.Changed)
    circle.clock.advance(60)
    await savings.pause(circle.groups, phone(SAVER), group.id)
    assert paused.member.paused_at == (await circle.member(group, SAVER)).paused_at == began
    for _ in range(2):
        assert await savings.resume(circle.groups, phone(SAVER), group.id) == members.Changed(
            await circle.member(group, SAVER)
        )
    assert await circle.kinds(group) == ["paused", "resumed"]
    assert await savings.pause(circle.groups, phone(9), group.id) == Refused("not_member")


async def test_taking_out_gives_all_but_one_contribution_of_each_cycle(circle: Circle) -> None:
    """Complete cycles together, or one by its number; an open one early, with a part of a day that was in it."""
    group = await found(circle)
    assert await offered(circle, group, "complete") == Refused("nothing")
    await pay(circle, group, "10")
    assert await offered(circle, group, 1) == Refused("too_little")
    assert await offered(circle, group, "complete") == Refused("nothing")
    await pay(circle, group, "647.25")
    assert await gives(circle, group, "complete") == ("600.00", "0.00", "20.00")
    assert await gives(circle, group, 2) == ("300.00", "0.00", "10.00")
    assert await gives(circle, group, 3) == ("27.25", "0.00", "10.00")
    assert await offered(circle, group, 4) == Refused("nothing")


async def test_the_wallet_is_paid_first_and_the_rest_is_cash(circle: Circle) -> None:
    """What the operator's step does not let through is cash too; where there is none, it stays with the commission."""
    group = await found(circle, count=7)
    cases: list[tuple[list[str], int, tuple[str, str, str]]] = [  # wallet and cash, step in pesewas
        (["310"], 1, ("300.00", "0.00", "10.00")),
        (["305", "5"], 1, ("300.00", "0.00", "10.00")),
        (["200", "110"], 1, ("200.00", "100.00", "10.00")),
        (["0", "310"], 1, ("0.00", "300.00", "10.00")),
        (["200.50", "109.50"], 100, ("200.00", "100.00", "10.00")),
        (["299.50", "10.50"], 100, ("299.00", "1.00", "10.00")),
        (["25.75"], 100, ("15.00", "0.00", "10.75")),
    ]
    for number, (amounts, step, expected) in enumerate(cases, 1):
        for cash, amount in enumerate(amounts):
            if amount != "0":
                await pay(circle, group, amount, number, cash=bool(cash))
        assert await gives(circle, group, 1, number, step) == expected


async def test_whoever_may_not_take_out_is_told_why(circle: Circle) -> None:
    """A stranger, a new SIM, a number just given to the member; one who has left may take what is theirs."""
    group = await found(circle)
    await pay(circle, group, "310")
    assert await offered(circle, group, "complete", 9) == Refused("not_member")
    now = circle.clock.now()
    async with circle.store.work() as connection:
        swapped = update(subscribers).where(subscribers.c.msisdn == phone(SAVER))
        await connection.execute(swapped.values(sim_hash="another", sim_changed_at=now))
    assert await offered(circle, group, "complete") == Refused("sim_changed")
    circle.clock.advance(DAY)
    member = await circle.change(group, SAVER, trusted_from=circle.clock.now() + timedelta(hours=24))
    assert await offered(circle, group, "complete") == Refused("cooling", {"until": member.trusted_from})
    circle.clock.advance(DAY)
    await circle.change(group, SAVER, state="left")
    assert await gives(circle, group, "complete") == ("300.00", "0.00", "10.00")
