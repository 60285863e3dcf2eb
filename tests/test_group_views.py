"""What members see of their groups, and nobody else does; how many queries that takes in large groups."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from groups import circle, phone
from post import Post, post, running, wording
from sqlalchemy import insert, update

from ussd_app.actions.arrival import arrive
from ussd_app.groups import contributions, cycles, policy, proposals, statement, views
from ussd_app.groups.home import Due, Home, Waiting
from ussd_app.groups.model import OFFICERS, Group, Policy, Proposal
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Orders
from ussd_app.tables import cycles as cycles_table
from ussd_app.tables import dues, fines, group_rules, memberships, rounds
from ussd_app.tables import groups as groups_table

__all__ = ["circle", "post", "wording"]

STRANGER = phone(999)
NOTHING = Money(0, "GHS")


def cedis(amount: int) -> Money:
    """That many."""
    return Money.of(amount, "GHS")


async def pay(post: Post, group: Group, number: int, amount: int = 50) -> str:
    """The treasurer keys cash; the code of the receipt."""
    booked = await contributions.book_cash(post.groups, uuid4().hex, phone(3), group.id, number, cedis(amount))
    assert isinstance(booked, contributions.Booked)
    return booked.code


async def saving(post: Post) -> Group:
    """A collector and four savers of 10 a day."""
    return await post.circle.found(5, kind="daily", share="10", period="daily", approvals=0, called="NKOSUO")


async def ask(post: Post, group: Group, consent: Policy, payee: int | None = None, kind: str = "payout") -> Proposal:
    """Esi (3) asks for something."""
    esi = (await post.circle.member(group, 3)).id
    paid = (await post.circle.member(group, payee)).id if payee else None
    async with post.circle.store.work() as connection:
        found = await proposals.open(
            post.groups, connection, uuid4().hex, group, kind, consent, esi, payee=paid, amount=cedis(250), cash=NOTHING
        )
    assert isinstance(found, Proposal)
    return found


# --- home


async def test_home_begins_with_what_is_due(post: Post) -> None:
    """What is overdue before today's savings, those before what is due later; nothing once it is paid."""
    assert await at_home(post, phone(4)) == Home(None, None, has_groups=False)
    rotating = await running(post)
    later = Due(rotating.id, "ADEHYE", cedis(50), 1)
    assert await at_home(post, phone(4)) == Home(later, None, has_groups=True)
    daily = await saving(post)
    today = Due(daily.id, "NKOSUO", cedis(10), None)
    assert (await at_home(post, phone(4))).due == today
    await pay(post, rotating, 4, 20)
    post.circle.clock.advance(8 * 86_400)
    assert (await at_home(post, phone(4))).due == Due(rotating.id, "ADEHYE", cedis(30), 1)
    await pay(post, rotating, 4, 30)
    assert (await at_home(post, phone(4))).due == today
    await pay(post, daily, 4, 10)
    assert await at_home(post, phone(4)) == Home(None, None, has_groups=True)
    post.circle.clock.advance(86_400)
    assert (await at_home(post, phone(4))).due == today


async def at_home(post: Post, msisdn: Msisdn) -> Home:
    """What a dial finds of somebody's groups; of orders there are none."""
    return (await arrive(cast("Orders", post.groups), post.groups, msisdn)).home


async def test_home_shows_what_awaits_ones_own_vote(post: Post) -> None:
    """As the policy has it: by role, by name, or all where too few hold a role; never what is voted or over."""
    group = await running(post)
    yaw = str((await post.circle.member(group, 4)).id)
    for consent, payee in (
        (Policy(count=1, roles=OFFICERS, veto=True), 1),
        (Policy(count=2, roles=OFFICERS, veto=True), 1),  # only Kofi is left: everybody may
        (Policy(percent=50), None),
        (Policy(count=1, members=(yaw,)), None),
    ):
        post.circle.clock.advance(60)
        proposal = await ask(post, group, consent, payee)
        people = [await post.circle.member(group, number) for number in range(1, 6)]
        entitled = policy.entitled(consent, people, proposal.asked_by, proposal.payee)
        for person in people:
            waiting = (await at_home(post, person.msisdn)).waiting
            assert (waiting == Waiting(proposal.code, "payout")) == (person.id in entitled)
    post.circle.clock.advance(60)
    newest = await ask(post, group, Policy(percent=50))
    async with post.circle.store.work() as connection:
        await proposals.vote(post.groups, connection, phone(5), newest.code, approves=True, sim="trusted")
    assert (await at_home(post, phone(4))).waiting == Waiting(newest.code, "payout")
    assert (await at_home(post, phone(5))).waiting != Waiting(newest.code, "payout")
    post.circle.clock.advance(49 * 3_600)
    assert (await at_home(post, phone(4))).waiting is None


# --- one group


async def test_the_screen_of_a_rotating_group(post: Post) -> None:
    """How far the round is, whose pot it is, and what I owe."""
    group = await post.circle.found(5)
    forming = await views.overview(post.groups, phone(4), group.id)
    assert forming is not None
    assert (forming.members, forming.round, forming.due, forming.owed) == (5, None, None, NOTHING)
    await cycles.start(post.groups, "start", phone(1), group.id)
    await pay(post, group, 4)
    await pay(post, group, 5, 20)
    now = await views.overview(post.groups, phone(5), group.id)
    assert now is not None
    assert now.round is not None
    shown = now.round
    assert (shown.number, shown.of, shown.beneficiary, shown.paid, shown.members) == (1, 5, "Ama", 1, 5)
    assert (shown.pot, shown.due_at) == (cedis(250), datetime(2031, 3, 11, 23, 59, tzinfo=UTC))
    assert (now.due, now.owed, now.member.number) == (views.Due(1, cedis(30)), cedis(30), 5)
    post.circle.clock.advance(8 * 86_400)
    await cycles.due(post.groups, shown.id)
    late = await views.overview(post.groups, phone(5), group.id)
    assert late is not None
    assert (late.due, late.owed) == (views.Due(1, cedis(30)), cedis(80))


async def test_the_screen_of_a_saver(post: Post) -> None:
    """Their own cycle, and whether today's has come."""
    group = await saving(post)
    await pay(post, group, 4, 30)
    paid, unpaid = [await views.overview(post.groups, phone(number), group.id) for number in (4, 5)]
    assert paid is not None
    assert unpaid is not None
    assert (paid.round, paid.due, unpaid.due) == (None, None, views.Due(None, cedis(10)))
    assert paid.savings is not None
    assert [(cycle.contributions, cycle.money) for cycle in paid.savings.cycles] == [(3, cedis(30))]
    missing = await views.unpaid(post.groups, phone(1), group.id)
    assert missing is not None
    assert [(line.number, line.amount) for line in missing.lines] == [(2, None), (3, None), (5, None)]


async def test_lists_are_paged_by_number(post: Post) -> None:
    """Every member once, in order, and of those who have not paid what they lack."""
    group = await running(post, count=12, members_max=25)
    await pay(post, group, 2)
    await pay(post, group, 3, 20)
    first = await views.members(post.groups, phone(1), group.id)
    assert first is not None
    second = await views.members(post.groups, phone(1), group.id, first.lines[-1].key)
    assert second is not None
    assert [line.number for page in (first, second) for line in page.lines] == list(range(1, 13))
    assert (first.more, second.more, first.lines[2].role) == (True, False, "treasurer")
    unpaid = await views.unpaid(post.groups, phone(1), group.id)
    assert unpaid is not None
    assert [(line.name, line.amount) for line in unpaid.lines][:2] == [("Ama", cedis(50)), ("Esi", cedis(30))]
    assert 2 not in {line.number for line in unpaid.lines}


async def test_my_turn_and_my_balance(post: Post) -> None:
    """Every turn of mine, and what I have paid ahead, owe, am fined and have received."""
    group = await post.circle.found(5)
    await post.circle.change(group, 4, slots=2)
    await cycles.start(post.groups, "start", phone(1), group.id)
    await pay(post, group, 4, 130)
    yaw = await post.circle.member(group, 4)
    async with post.circle.store.work() as connection:
        overview = await views.overview(post.groups, phone(4), group.id)
        assert overview is not None
        assert overview.round is not None
        fine = {"id": uuid4(), "group_id": group.id, "member_id": yaw.id, "round_id": overview.round.id}
        await connection.execute(insert(fines).values(**fine, amount=500, paid=200, at=post.circle.clock.now()))
    await post.happened(group, "paid_out", member=yaw.id, amount=25_000, code="48215037", cash=0)
    mine = await views.turn(post.groups, phone(4), group.id)
    assert mine is not None
    assert [(turn.round, f"{turn.due_at:%d %b}", turn.paid) for turn in mine.turns] == [
        (4, "01 Apr", False), (6, "15 Apr", False),
    ]  # fmt: skip
    assert (mine.advance, mine.owed, mine.fines, mine.received) == (cedis(30), NOTHING, cedis(3), cedis(250))


async def test_a_receipt_is_checked_by_members_alone(post: Post) -> None:
    """It says what the code stands for, and whether it still counts; to a stranger it says as much as a wrong code."""
    group = await running(post)
    other = await post.circle.found(2)
    code = await pay(post, group, 4)
    at = post.circle.clock.now()
    found = await views.receipt(post.groups, phone(2), code)
    assert found == views.Receipt("ADEHYE", "contribution", "Yaw", cedis(50), at, 1, stands=True)
    await contributions.reverse(post.groups, "reverse", phone(3), code)
    reversed_ = await views.receipt(post.groups, phone(2), code)
    assert reversed_ is not None
    assert not reversed_.stands
    await post.circle.change(group, 5, state="left")
    await post.circle.change(other, 1, msisdn=STRANGER)
    for msisdn, typed in ((STRANGER, code), (phone(5), code), (phone(2), "48215037"), (phone(2), "4821")):
        assert await views.receipt(post.groups, msisdn, typed) is None


async def test_money_that_waited_still_stands(post: Post) -> None:
    """What came when nothing was due and was given to the next cycle has not been taken back."""
    group = await post.circle.found(5)
    code = await pay(post, group, 4)
    await cycles.start(post.groups, "start", phone(1), group.id)
    found = await views.receipt(post.groups, phone(2), code)
    assert found is not None
    assert (found.kind, found.stands) == ("suspended_money", True)


@pytest.mark.parametrize("kind", ["rotating", "daily"])
async def test_whoever_is_no_member_sees_nothing(kind: str, post: Post) -> None:
    """Neither a stranger nor somebody who has left."""
    group = await post.circle.found(5, kind=kind)
    await post.circle.change(group, 5, state="left")
    for msisdn in (STRANGER, phone(5)):
        for view in (views.overview, views.unpaid, views.members, views.turn, statement.last, statement.of_group):
            assert await view(post.groups, msisdn, group.id) is None
        assert not await statement.send(post.groups, "run", msisdn, group.id)
        assert (await views.my_groups(post.groups, msisdn)).lines == ()


# --- statements


async def test_a_statement_shows_five_lines_and_sends_the_rest_once(post: Post) -> None:
    """Newest first; the sums, then at most twelve older lines in three SMS, once a run."""
    group = await running(post)
    codes = [await pay(post, group, 4, amount) for amount in range(1, 20)]
    await contributions.reverse(post.groups, "reverse", phone(3), codes[-1])
    await pay(post, group, 5, 7)
    lines = await statement.last(post.groups, phone(4), group.id)
    assert lines is not None
    assert [str(line) for line in lines][:3] == ["04/03/31 -19.00", "04/03/31 +19.00", "04/03/31 +18.00"]
    everybody = await statement.of_group(post.groups, phone(4), group.id, 2)
    assert everybody is not None
    assert [(line.name, str(line)) for line in everybody] == [("Efua", "04/03/31 +7.00 #1"), ("Yaw", str(lines[0]))]
    for _ in range(2):
        assert await statement.send(post.groups, "run-1", phone(4), group.id)
    sent = [row for row in await post.rows() if row.template.startswith("statement")]
    assert [row.parts for row in sent] == [1, 1, 1, 1]
    assert sent[0].text == "ADEHYE: you paid in GHS 171.00, received GHS 0.00 and owe GHS 0.00. 4 Mar 2031 08:00"
    older = "\n".join(row.text for row in sent[1:])
    assert [row.text.splitlines()[0] for row in sent[1:]] == ["ADEHYE, + in, - out"] * 3
    assert older.count("04/03/31") == 12
    assert "+15.00" in older
    assert "+16.00" not in older


async def test_a_short_statement_is_the_sums_alone(post: Post) -> None:
    """What fits the screen is not sent; the last SMS has no empty lines."""
    group = await running(post)
    for amount in range(1, 6):
        await pay(post, group, 4, amount)
    await statement.send(post.groups, "run-1", phone(4), group.id)
    assert [row.template for row in await post.rows()] == ["statement"]
    await pay(post, group, 4, 6)
    await statement.send(post.groups, "run-2", phone(4), group.id)
    assert [row.text for row in await post.rows()][-1] == "ADEHYE, + in, - out\n04/03/31 +1.00 #1"


# --- large groups, many groups


async def crowd(post: Post, members: int, others: int) -> UUID:
    """A running group of ``members`` in which nobody has paid, and ``others`` more groups of person 1's."""
    now = post.circle.clock.now()
    ids = [uuid4() for _ in range(1 + others)]
    row: dict[str, Any] = {"role": "member", "state": "active", "joined_at": now, "trusted_from": now}
    people = [
        {**row, "id": uuid4(), "group_id": group, "number": number, "msisdn": phone(number), "name": f"M {number}"}
        for group in ids
        for number in range(1, (members if group == ids[0] else 3) + 1)
    ]
    common: dict[str, Any] = {"currency": "GHS", "state": "running", "rules_version": 1, "created_at": now}
    made = [
        {**common, "id": group, "kind": "daily" if n % 2 else "rotating", "name": f"G{n:02}", "run": str(n)}
        for n, group in enumerate(ids)
    ]
    agreed = [{"group_id": group, "version": 1, "rules": {"share": 5_000}, "adopted_at": now} for group in ids]
    started: dict[str, Any] = {"number": 1, "state": "open", "share": 5_000, "rules_version": 1, "started_at": now}
    turns = [
        {"id": uuid4(), "cycle_id": uuid4(), "group_id": each["id"]} for each in made if each["kind"] == "rotating"
    ]
    owed = [
        {"round_id": turn["id"], "member_id": person["id"], "amount": 5_000}
        for turn in turns
        for person in people
        if person["group_id"] == turn["group_id"]
    ]
    async with post.circle.store.work() as connection:
        await connection.execute(insert(groups_table), made)
        await connection.execute(insert(group_rules), agreed)
        await connection.execute(insert(memberships), people)
        running = [{**started, "id": turn["cycle_id"], "group_id": turn["group_id"]} for turn in turns]
        await connection.execute(insert(cycles_table), running)
        await connection.execute(
            insert(rounds), [{**turn, "number": 1, "due_at": now, "state": "open"} for turn in turns]
        )
        await connection.execute(insert(dues), owed)
    return ids[0]


async def test_home_and_lists_take_three_queries_at_most(post: Post) -> None:
    """With 1,000 members in a group and fifty groups of one person; home takes one."""
    group = await crowd(post, members=1_000, others=49)
    async with post.circle.store.work() as connection:
        await connection.execute(update(memberships).where(memberships.c.number > 900).values(state="left"))
    with post.counted() as sent:
        assert (await at_home(post, phone(1))).due is not None
    assert len(sent) == 1
    page = await views.my_groups(post.groups, phone(1))
    seen = [line.name for line in page.lines]
    while page.more:
        with post.counted() as sent:
            page = await views.my_groups(post.groups, phone(1), page.lines[-1].key)
        assert len(sent) == 1
        seen += [line.name for line in page.lines]
    assert seen == [f"G{number:02}" for number in range(50)]
    for view in (views.overview, views.unpaid, views.members, views.turn, statement.last):
        with post.counted() as sent:
            assert await view(post.groups, phone(1), group) is not None
        assert len(sent) <= 3
    shown = await views.overview(post.groups, phone(1), group)
    assert shown is not None
    assert shown.round is not None
    assert (shown.members, shown.round.members) == (900, 1_000)
