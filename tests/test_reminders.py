"""Reminders: to those who have not paid, at their hour, and to nobody else."""

from datetime import datetime, timedelta
from uuid import uuid4

from groups import circle
from post import Post, first_round, pay, post, running, wire_reminders, wording
from sqlalchemy import text, update

from ussd_app.groups import notices
from ussd_app.messages.outcomes import Priority
from ussd_app.money import Money
from ussd_app.tables import dues, group_rules
from ussd_app.tables import groups as groups_table

__all__ = ["circle", "post", "wording"]


async def todo(post: Post, task: str) -> list[datetime]:
    """When jobs of that name will run."""
    query = text("SELECT scheduled_at FROM procrastinate_jobs WHERE task_name = :task AND status = 'todo' ORDER BY 1")
    async with post.circle.store.look() as connection:
        return list((await connection.execute(query, {"task": task})).scalars())


async def test_a_round_is_reminded_of_the_day_before_and_on_the_day(post: Post) -> None:
    """At nine, only those who have not paid, in full; not who mutes reminders or is no longer there."""
    wire_reminders(post)
    group = await running(post, count=8)
    turn = await first_round(post, group)
    await post.circle.work()
    nine = turn.due_at.replace(hour=9, minute=0)
    assert await todo(post, "groups.remind") == [nine - timedelta(days=1), nine]
    await post.circle.change(group, 5, muted=["reminders"])
    await post.circle.change(group, 6, state="suspended")
    async with post.circle.store.work() as connection:
        for number, paid in ((1, 5_000), (2, 5_000), (3, 2_000)):
            own = dues.c.member_id == (await post.circle.member(group, number)).id
            await connection.execute(update(dues).where(own).values(paid=paid))
    await post.circle.work_until(nine - timedelta(days=1))
    reminded = [row for row in await post.rows() if row.priority == Priority.REMINDER]
    assert [(int(row.msisdn[-4:]), row.template) for row in reminded] == [(n, "round_before") for n in (3, 4, 7, 8)]
    assert reminded[0].text == "ADEHYE: GHS 30.00 for round 1 is due tomorrow, 11 Mar 2031. To pay dial *920*55#"
    await notices.remind(post.groups, turn.id, "before")
    await post.circle.work_until(nine)
    await notices.remind(post.groups, turn.id, "day")
    reminded = [row for row in await post.rows() if row.priority == Priority.REMINDER]
    assert [row.template for row in reminded].count("round_day") == 4
    assert len(reminded) == 8


async def test_a_reminder_that_comes_too_late_says_nothing(post: Post) -> None:
    """What says "today" is not sent tomorrow, nor in the night before; a round that is gone is due to nobody."""
    group = await running(post)
    turn = await first_round(post, group)
    for days, hour in ((0, 9), (7, 21), (8, 9)):
        post.at(hour, days=days)
        await notices.remind(post.groups, turn.id, "day")
        post.circle.clock.advance(-days * 86_400)
    await notices.remind(post.groups, uuid4(), "day")
    assert [row for row in await post.rows() if row.priority == Priority.REMINDER] == []
    post.at(20, 59, days=7)
    await notices.remind(post.groups, turn.id, "day")
    assert len([row for row in await post.rows() if row.priority == Priority.REMINDER]) == 5


async def test_a_round_that_opens_late_is_reminded_of_on_the_day_alone(post: Post) -> None:
    """The hours that are over are left out."""
    group = await running(post)
    turn = await first_round(post, group)
    post.at(10, days=6)
    async with post.circle.store.work() as connection:
        await notices.plan_reminders(post.groups, connection, turn)
    assert await todo(post, "groups.remind") == [turn.due_at.replace(hour=9, minute=0)]


async def test_savers_are_reminded_every_day_in_one_chain(post: Post) -> None:
    """At five, whoever has not saved today; whatever is run twice, one job follows one job, until the group closes."""
    wire_reminders(post)
    group = await post.circle.found(6, kind="daily", share="10", period="daily", approvals=0)
    async with post.circle.store.work() as connection:
        await connection.execute(update(group_rules).values(rules=group_rules.c.rules.op("||")({"share": 1_000})))
    created = await post.happened(group, "created", actor=(await post.circle.member(group, 1)).id)
    await notices.tell(post.groups, created)
    five = post.circle.clock.now().replace(hour=17)
    assert await todo(post, "groups.remind_savers") == [five]
    await post.circle.change(group, 3, muted=["reminders"])
    await post.circle.change(group, 4, paused_at=post.circle.clock.now())
    await pay(post, group, 5, Money.of(10, "GHS"))
    await post.circle.work_until(five)
    reminded = [row for row in await post.rows() if row.template == "saving_due"]
    assert [int(row.msisdn[-4:]) for row in reminded] == [2, 6]
    assert reminded[0].text == "ADEHYE: today's GHS 10.00 has not come yet. To save dial *920*55#"
    await notices.remind_savers(post.groups, group.id, five.date())
    assert await todo(post, "groups.remind_savers") == [five + timedelta(days=1)]
    # A worker that slept for three days reminds of no day that is over.
    post.circle.clock.advance(3 * 86_400 + 5 * 3_600)
    await notices.remind_savers(post.groups, group.id, (five + timedelta(days=1)).date())
    async with post.circle.store.work() as connection:
        await connection.execute(text("DELETE FROM procrastinate_jobs WHERE scheduled_at < :at"),
                                 {"at": post.circle.clock.now()})  # fmt: skip
        await connection.execute(update(groups_table).values(state="closed"))
    assert await todo(post, "groups.remind_savers") == [five + timedelta(days=4)]
    assert len([row for row in await post.rows() if row.template == "saving_due"]) == 2
    await post.circle.work_until(five + timedelta(days=4))
    assert await todo(post, "groups.remind_savers") == []
