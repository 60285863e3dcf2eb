"""Money that was taken and hangs: whose it is are told once, see where it stands, and are asked before paying twice."""

import asyncio
import signal

import pytest
from desk import AMA, KOFI, Desk
from groups import Circle, circle, phone
from rotating import cedis as of
from sqlalchemy import text
from test_daily import SAVER, cedis, found, pay
from test_daily_payout import desk, take
from test_rotating_orders import ask, full, vote
from test_take_back import back, earned
from tills import Shop, shop
from town import open_town

from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.errors import Reason, Throttled, Unknown
from ussd_app.money import Money
from ussd_app.movement import Failed, Kind, Pending
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Placed, Repeated, Standing, Wanted, contribution, send_money
from ussd_app.store import Store

__all__ = ["circle", "desk", "shop"]

MINUTE, DAY = 60, 24 * 3_600
TWO_MINUTES = 2 * MINUTE


def state_of(standing: list[Standing]) -> str:
    """Where the one open order stands."""
    (only,) = standing
    return only.state


async def test_a_payout_that_hangs_is_told_once_and_seen_until_it_ends(desk: Desk) -> None:
    """Not before a minute is over, in one SMS however often the job runs; done, nothing of it is open."""
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    placed = await desk.send()
    assert isinstance(placed, Placed)
    await desk.run(50)
    assert desk.outbox.templates == []
    await desk.run(TWO_MINUTES)
    assert list(desk.outbox.sent.values()) == [("being_delivered", AMA)]
    assert desk.outbox.said["being_delivered"]["total"] == Money.of("50.50", "GHS")
    payment = await desk.payment("disburse")
    for _ in range(2):
        await desk.orders.tell_delay(payment.order_id, "disburse")
    await desk.run(DAY)
    assert desk.outbox.templates == ["being_delivered"]
    assert state_of(await desk.orders.standing(AMA)) == "delivering"
    assert await desk.orders.standing(KOFI) == []
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.run(DAY)
    assert desk.outbox.templates == ["being_delivered", "money_sent", "money_received"]
    assert await desk.orders.standing(AMA) == []


async def test_a_job_that_comes_late_says_nothing_of_what_is_over(desk: Desk) -> None:
    """Done, refunded or with a person of ours: another SMS has told so."""
    await desk.send()
    await desk.run(50)
    payment = await desk.payment("disburse")
    await desk.orders.tell_delay(payment.order_id, "disburse")
    assert desk.outbox.templates == ["money_sent", "money_received"]


async def test_a_prompt_that_hangs_is_no_money_of_theirs(desk: Desk) -> None:
    """Nobody is told that we have what perhaps was never approved; nothing denies it either."""
    desk.operator.states[Kind.COLLECTION] = Pending()
    await desk.send()
    await desk.run(DAY)
    assert desk.outbox.templates == []
    assert state_of(await desk.orders.standing(AMA)) == "waiting"
    await desk.run(3 * DAY)
    assert desk.outbox.templates == ["still_waiting"]
    assert state_of(await desk.orders.standing(AMA)) == "unclear"


async def test_a_refund_that_hangs_is_told_to_be_on_its_way_back(desk: Desk) -> None:
    """After the SMS that it could not be delivered; where the delivery hung before, that one was the order's only."""
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    desk.operator.states[Kind.REFUND] = Pending()
    await desk.send()
    await desk.run(TWO_MINUTES)
    assert desk.outbox.templates == ["recipient_failed", "money_going_back"]
    assert state_of(await desk.orders.standing(AMA)) == "refunding"
    del desk.operator.states[Kind.REFUND]
    await desk.run(DAY)
    assert desk.outbox.templates[2:] == ["money_refunded"]


async def test_an_order_that_hangs_twice_is_told_of_once(desk: Desk) -> None:
    """Being delivered; then its failure has its own SMS, which says that it is on its way back."""
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    await desk.send()
    await desk.run(TWO_MINUTES)
    desk.operator.states |= {Kind.DISBURSEMENT: Failed(Reason.PARTY_NOT_FOUND), Kind.REFUND: Pending()}
    await desk.run(DAY)
    assert desk.outbox.templates == ["being_delivered", "recipient_failed"]


async def test_what_came_late_and_goes_back_is_told_too(desk: Desk) -> None:
    """Its payer has heard that nothing was taken; the refund is tried for long."""
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    desk.operator.states[Kind.REFUND] = Unknown("404")
    desk.operator.answers[Kind.REFUND].extend([Throttled(2.0, "busy")] * 500)
    await desk.send()
    await desk.run(TWO_MINUTES)
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(DAY // 24)
    assert desk.outbox.templates == ["payment_expired", "money_going_back"]


async def test_airtime_that_hangs_is_told(desk: Desk) -> None:
    """What a delivery hands over too."""
    desk.delivery.states[Kind.DELIVERY] = Pending()
    await desk.top_up()
    await desk.run(TWO_MINUTES)
    assert list(desk.outbox.sent.values()) == [("being_delivered", AMA)]
    assert state_of(await desk.orders.standing(AMA)) == "delivering"


async def test_money_out_of_a_group_that_hangs_is_told_to_whom_it_comes(desk: Desk, circle: Circle) -> None:
    """To the saver, and to them alone; at home it is coming until it is there."""
    group = await found(circle)
    await pay(circle, group, "310")
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    await take(desk, group)
    await desk.run(TWO_MINUTES)
    saver = phone(SAVER)
    assert list(desk.outbox.sent.values()) == [("payout_coming", saver)]
    assert state_of(await desk.orders.standing(saver)) == "coming"
    (coming,) = await desk.orders.standing(saver)
    del desk.operator.states[Kind.DISBURSEMENT]
    await desk.run(DAY)
    assert state_of(await desk.orders.standing(saver, coming.code)) == "arrived"


async def test_what_is_taken_back_and_hangs_is_told(desk: Desk, circle: Circle) -> None:
    """A commission of one's own; where it cannot be paid it is kept."""
    group = await earned(desk, circle)
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    await back(desk, group, phone(1))
    await desk.run(TWO_MINUTES)
    assert list(desk.outbox.sent.values()) == [("payout_coming", phone(1))]
    (coming,) = await desk.orders.standing(phone(1))
    desk.operator.states[Kind.DISBURSEMENT] = Failed(Reason.PARTY_NOT_FOUND)
    await desk.run(DAY)
    assert state_of(await desk.orders.standing(phone(1), coming.code)) == "kept"


async def test_a_pot_that_hangs_is_told_to_its_payee(desk: Desk, circle: Circle) -> None:
    """Not to whoever asked for it or approved it, who see no money of theirs on its way."""
    susu = await full(circle)
    asked = await ask(desk, susu)
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    for number in (2, 3):
        await vote(desk, asked, number)
    await desk.run(TWO_MINUTES)
    assert list(desk.outbox.sent.values()) == [("payout_coming", phone(1))]
    assert [each.state for each in await desk.orders.standing(phone(1))].count("coming") == 1
    assert await desk.orders.standing(phone(2)) == []


async def test_what_is_sent_back_from_our_till_and_hangs_is_told(shop: Shop) -> None:
    """It was paid to nobody's purpose."""
    deposit = await shop.paid()
    shop.desk.operator.states[Kind.DISBURSEMENT] = Pending()
    assert isinstance(await shop.back(deposit), Placed)
    await shop.desk.run(TWO_MINUTES)
    assert shop.desk.outbox.templates[-1] == "till_coming_back"
    assert state_of(await shop.desk.orders.standing(AMA)) == "coming"


async def test_many_open_orders_are_seen_newest_first(desk: Desk) -> None:
    """And only those of the person who looks."""
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    for run in range(3):
        await desk.send(str(run + 1), run=f"run-{run}")
        await desk.run(MINUTE)
    assert [each.amount.plain for each in await desk.orders.standing(AMA)] == ["3.00", "2.00", "1.00"]


async def test_just_the_same_is_repeated_until_it_has_failed(desk: Desk) -> None:
    """Kind, recipient and amount are equal, within ten minutes or while it is open; not what failed or goes back."""
    wanted = Wanted("send_money", AMA, of(50), KOFI)
    others = (
        Wanted("send_money", AMA, of(51), KOFI),
        Wanted("send_money", AMA, of(50), phone(9)),
        Wanted("airtime", AMA, of(50), KOFI),
        Wanted("bundle", AMA, of(50), KOFI, bundle="wifi"),
        Wanted("send_money", KOFI, of(50), AMA),
    )
    assert await desk.orders.refuses(wanted) is None
    await desk.send()
    assert await desk.orders.refuses(wanted) == Repeated(1)
    await desk.run(9 * MINUTE)
    assert await desk.orders.refuses(wanted) == Repeated(9)
    assert [await desk.orders.refuses(other) for other in others] == [None] * len(others)
    await desk.run(MINUTE)
    assert await desk.orders.refuses(wanted) is None
    desk.operator.states[Kind.DISBURSEMENT] = Pending()
    await desk.send(run="run-2")
    await desk.run(60 * MINUTE)
    assert await desk.orders.refuses(wanted) == Repeated(60)
    desk.operator.states |= {Kind.DISBURSEMENT: Failed(Reason.PARTY_NOT_FOUND), Kind.REFUND: Pending()}
    await desk.run(60 * MINUTE)
    assert await desk.order_states() == ["done", "undoing"]
    assert await desk.orders.refuses(wanted) is None


async def test_a_contribution_is_not_placed_twice_unasked(desk: Desk, circle: Circle) -> None:
    """Decided in the commit that places, so that two of them at one second are one; the same run is no repetition."""
    group = await found(circle)

    async def contribute(run: str, amount: str, *, again: bool) -> object:
        return await contribution.place(
            desk.orders, run=run, msisdn=phone(SAVER), language="en", group_id=group.id, amount=cedis(amount),
            again=again,
        )  # fmt: skip

    both = await asyncio.gather(contribute("run-1", "5", again=False), contribute("run-2", "5", again=False))
    assert sorted(type(one).__name__ for one in both) == ["Placed", "Repeated"]
    first = "run-1" if isinstance(both[0], Placed) else "run-2"
    assert isinstance(await contribute(first, "5", again=False), Placed)
    assert isinstance(await contribute("run-3", "6", again=False), Placed)
    assert await contribute("run-4", "5", again=False) == Repeated(1)
    assert isinstance(await contribute("run-4", "5", again=True), Placed)


@pytest.mark.parametrize("point", ["delay.in_commit", "delay.after_commit"])
async def test_one_sms_is_sent_though_a_worker_dies_telling(
    store: Store, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """By SIGKILL, before and after the commit that writes it; another worker runs the job again."""
    async with open_town(store, database, redis_url) as town:
        await town.set_handset(AMA.digits, auto="approve")
        await town.faults({"name": "queued_for_ever", "target": "mtn_momo.disbursement"})
        for name, value in town.env.items():
            monkeypatch.setenv(name, value)
        async with Application(load(Settings)) as application:
            worker = town.work(point, "0")
            placed = await send_money.place(
                application.orders, run="run-1", msisdn=AMA, sender_name="Ama", recipient=Msisdn("+233540000002"),
                recipient_name="Kofi", amount=Money.of(50, "GHS"), language="en",
            )  # fmt: skip
            assert isinstance(placed, Placed)
            due = "task_name = 'orders.tell_delay' AND args ->> 'step' = 'disburse'"
            await town.until(f"SELECT count(*) = 1 FROM procrastinate_jobs WHERE {due}")
            async with store.work() as connection:  # the minute is over
                await connection.execute(text(f"UPDATE procrastinate_jobs SET scheduled_at = now() WHERE {due}"))
            assert await asyncio.to_thread(worker.wait, 60) == -signal.SIGKILL
        successor = town.work()
        told = "SELECT count(*) = 1 FROM messages WHERE template = 'being_delivered' AND state NOT IN {waiting}"
        await town.until(told.format(waiting="('waiting', 'sending')"))
        waiting = "SELECT count(*) = 0 FROM procrastinate_jobs WHERE task_name = 'orders.tell_delay' AND status {any}"
        await town.until(waiting.format(any="IN ('todo', 'doing')"))
        town.end(successor)
        async with store.look() as connection:
            rows = await connection.execute(text("SELECT template FROM messages"))
            assert rows.scalars().all() == ["being_delivered"]
