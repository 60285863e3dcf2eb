"""Attacks on what is sold: forged callbacks, ids that belong to others, an empty stock, limits, deaths everywhere."""

import asyncio
from uuid import UUID

import pytest
from conftest import FakeClock
from desk import AMA, KOFI, Desk
from groups import Circle, circle, phone
from redis.asyncio import Redis
from rotating import cedis, run, running
from sqlalchemy import func, select, text
from test_daily import SAVER
from test_daily import found as daily
from test_daily import pay as save
from test_daily_payout import desk, take
from test_deliver_orders import FIVE, WIFI
from test_money_attacks import Died, DyingClock
from test_rotating_orders import full, vote
from test_voucher_sms import Shop

from ussd_app import ledger
from ussd_app.config import Settings
from ussd_app.errors import Reason, Rejected, Unknown
from ussd_app.groups import payouts
from ussd_app.movement import CallbackNote, Failed, Kind, Pending
from ussd_app.orders import LimitReached, Placed, airtime, bundle, contribution, send_money, take_back
from ussd_app.store import Store
from ussd_app.tables import group_events, orders, payments

__all__ = ["circle", "desk"]

HOUR = 3_600


@pytest.fixture
def clock() -> DyingClock:
    """A clock that only the test moves, and at whose points jobs die."""
    return DyingClock()


async def buy(desk: Desk, number: int, *, delivery: str = "airtime_scripted") -> object:
    """Somebody buys a voucher for themselves."""
    bought = bundle.Bundle("wifi", "MTN", "Wi-Fi", "Wi-Fi", "Day", FIVE, delivery, {"product": "wifi-day"})
    return await bundle.place(
        desk.orders, run=run(), msisdn=phone(number), sender_name="X", recipient=phone(number), bundle=bought,
        language="en",
    )  # fmt: skip


async def forge(desk: Desk, monkeypatch: pytest.MonkeyPatch, reference: UUID, external_id: str) -> None:
    """A callback claims that this payment is that movement of the provider's."""
    note = CallbackNote(reference, Pending(), external_id=external_id)
    monkeypatch.setattr(desk.delivery, "parse_callback", lambda *_: note)
    await desk.callbacks.keep("airtime_scripted", "", "application/json", b"{}")


async def external_ids(desk: Desk) -> list[str | None]:
    """By which ids of the provider's the deliveries are asked about."""
    query = select(payments.c.external_id).where(payments.c.kind == Kind.DELIVERY).order_by(payments.c.created_at)
    async with desk.store.look() as connection:
        return list((await connection.execute(query)).scalars())


async def test_a_callback_that_lies_about_the_id_does_not_outlive_the_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came before the provider's own answer: that one counts, or the payment could never be asked about."""
    desk.delivery.answers[Kind.DELIVERY].append(Unknown("dropped", outage=True))
    desk.delivery.states[Kind.DELIVERY] = Unknown("no such")
    await desk.top_up()
    while not desk.delivery.submissions:
        await desk.run(1)
    await forge(desk, monkeypatch, (await desk.payment("deliver")).id, "forged")
    desk.delivery.answers[Kind.DELIVERY].append(Pending("Sent", external_id="ATQid_7"))
    await desk.run(30)
    assert await external_ids(desk) == ["ATQid_7"]


async def test_one_movement_of_theirs_delivers_one_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A success of another order, claimed by a callback or by a lying answer, is nobody else's."""
    desk.delivery.answers[Kind.DELIVERY].extend([Pending("Sent", external_id="A"), Pending("Sent", external_id="A")])
    await desk.top_up()
    await desk.run(60)
    desk.delivery.states[Kind.DELIVERY] = Unknown("no such")
    for number in (5, 6):
        assert isinstance(await buy(desk, number), Placed)
        await desk.run(30)
    async with desk.store.look() as connection:
        query = select(payments.c.id).where(payments.c.external_id.is_(None), payments.c.kind == Kind.DELIVERY)
        unnamed = (await connection.execute(query)).scalars().all()
    assert len(unnamed) == 2
    await forge(desk, monkeypatch, unnamed[1], "A")
    assert sorted(map(str, await external_ids(desk))) == ["A", "None", "None"]


async def test_a_stock_that_many_empty_at_once_gives_each_code_once(
    desk: Desk, store: Store, redis: Redis, clock: FakeClock
) -> None:
    """Ten buy at the same second, and three codes are left: three are told one each, seven have their money back."""
    shop = Shop(store, redis, clock)
    await shop.stock("CODE-1", "CODE-2", "CODE-3")
    desk.payments.deliveries = {"voucher_sms": shop.delivery()}
    placed = await asyncio.gather(*(buy(desk, number, delivery="voucher_sms") for number in range(1, 11)))
    assert all(isinstance(each, Placed) for each in placed)
    clock.deaths = ["delivery.submit.after_http", "settle.in_commit"] * 2  # type: ignore[attr-defined]  # a dying one
    await desk.run(HOUR)
    assert sorted(await desk.order_states()) == ["done"] * 3 + ["undone"] * 7
    assert desk.outbox.templates.count("voucher_code") == 3
    async with store.look() as connection:
        taken = "SELECT count(*), count(DISTINCT reference) FROM vouchers WHERE reference IS NOT NULL"
        assert tuple((await connection.execute(text(taken))).one()) == (3, 3)
    assert (await desk.balance("float:scripted"), await desk.balance("float:voucher_sms")) == ("15.00", "-15.00")


async def test_a_copy_refused_after_a_doubtful_try_gives_nothing_back(desk: Desk) -> None:
    """Taken, the answer lost, and its copy called a duplicate: it may have been delivered."""
    desk.delivery.answers[Kind.DELIVERY].extend([Unknown("dropped", outage=True), Rejected(Reason.DUPLICATE)])
    desk.delivery.states[Kind.DELIVERY] = Unknown("no id")
    await desk.top_up()
    await desk.run(HOUR)
    assert len(desk.delivery.submissions) == 2
    assert await desk.order_states() == ["open"]
    assert desk.outbox.templates == ["being_delivered"]  # after a minute without an end


async def test_fifty_orders_of_all_kinds_at_once_keep_the_days_limit(desk: Desk, circle: Circle) -> None:
    """However a person spends it, and from however many phones and processes at the same second."""
    susu = await running(circle)
    desk.orders.settings = Settings(daily_limit=100, payments_per_hour=1_000, new_recipients_per_day=1_000)
    ama = phone(2)

    async def place(number: int) -> object:
        match number % 4:
            case 0:
                return await send_money.place(
                    desk.orders, run=run(), msisdn=ama, sender_name="X", recipient=KOFI, recipient_name="K",
                    amount=cedis(7), language="en",
                )  # fmt: skip
            case 1:
                return await airtime.place(
                    desk.orders, run=run(), msisdn=ama, sender_name="X", recipient=AMA, amount=FIVE, language="en"
                )
            case 2:
                return await contribution.place(
                    desk.orders, run=run(), msisdn=ama, language="en", group_id=susu.group.id, amount=cedis(3)
                )
        return await buy(desk, 2)

    said = await asyncio.gather(*map(place, range(50)))
    assert {type(each) for each in said} == {Placed, LimitReached}
    async with desk.store.look() as connection:
        moved = (await connection.execute(select(func.sum(orders.c.amount)))).scalar_one()
    assert 9_300 < moved <= 10_000


async def again(clock: DyingClock, place: object) -> object:
    """What a redial makes of a process that died in the middle of placing: the same run, once more."""
    clock.deaths.append("place.in_commit")
    with pytest.raises(Died):
        await place()  # type: ignore[operator]  # a coroutine function
    clock.deaths = []
    return await place()  # type: ignore[operator]  # the same


async def test_every_kind_of_order_outlives_a_death_at_every_point(
    desk: Desk, circle: Circle, clock: DyingClock
) -> None:
    """Each point ends three jobs: nothing is lost, doubled, or told twice."""
    susu, savers = await full(circle), await daily(circle)
    await save(circle, savers, "310")
    await susu.pay(4, 30)
    asked = await payouts.ask(circle.groups, run(), phone(1), susu.group.id)
    assert isinstance(asked, payouts.Asked)
    await vote(desk, asked, 2)
    once = [run() for _ in range(5)]
    placing = [
        lambda: vote(desk, asked, 3),
        lambda: take(desk, savers, run=once[0]),
        lambda: take_back.place(desk.orders, run=once[1], msisdn=phone(4), language="en", group_id=susu.group.id),
        lambda: contribution.place(
            desk.orders, run=once[2], msisdn=phone(5), language="en", group_id=susu.group.id, amount=cedis(20)
        ),
        lambda: airtime.place(
            desk.orders, run=once[3], msisdn=AMA, sender_name="A", recipient=KOFI, amount=FIVE, language="en"
        ),
        lambda: bundle.place(
            desk.orders, run=once[4], msisdn=AMA, sender_name="A", recipient=AMA, bundle=WIFI, language="en"
        ),
    ]
    for place in placing:
        await again(clock, place)
    points = ("send.in_commit", "submit.before_http", "submit.after_http", "accept.in_commit", "accept.after_commit",
              "check.before_http", "check.after_http")  # fmt: skip
    every = [f"{kind}.{point}" for kind in ("collection", "disbursement", "delivery") for point in points]
    clock.deaths = [*every, "settle.before_commit", "settle.in_commit", "settle.after_commit"] * 2
    await desk.run(2 * HOUR)
    assert clock.deaths == []
    ours = orders.c.digest != ""  # not those of the people who paid before
    async with desk.store.look() as connection:
        assert (await connection.execute(select(orders.c.state).where(ours))).scalars().all() == ["done"] * 6
    sent = [*desk.operator.submissions, *desk.delivery.submissions]
    moved = {request.reference: (request.kind, request.msisdn, request.amount.minor) for request in sent}
    assert sorted(moved.values()) == sorted([
        (Kind.DISBURSEMENT, phone(1), 25_000), (Kind.DISBURSEMENT, phone(SAVER), 30_000),
        (Kind.DISBURSEMENT, phone(4), 3_000), (Kind.COLLECTION, phone(5), 2_000), (Kind.COLLECTION, AMA, 500),
        (Kind.COLLECTION, AMA, 500), (Kind.DELIVERY, KOFI, 500), (Kind.DELIVERY, AMA, 500),
    ])  # fmt: skip
    async with desk.store.look() as connection:
        query = select(group_events.c.kind).join(orders, orders.c.id == group_events.c.order_id).where(ours)
        kinds = (await connection.execute(query)).scalars().all()
        assert await ledger.imbalance(connection) == {"GHS": 0}
    assert sorted(kinds) == ["contribution", "paid_out", "savings_paid", "taken_back"]


async def test_a_look_back_that_nobody_answers_is_not_the_last(desk: Desk) -> None:
    """It was called failed, and had moved; a day later the line was down: what came late is found a day after that."""
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await desk.top_up()
    await desk.run(HOUR)
    desk.operator.states[Kind.COLLECTION] = Unknown("dropped")
    await desk.run(24 * HOUR)
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(48 * HOUR)
    assert await desk.order_states() == ["undone"]


async def test_workers_that_were_away_for_days_look_until_somebody_answers(desk: Desk) -> None:
    """The first look comes four days late and meets a line that is down: what had moved is found all the same."""
    desk.operator.states[Kind.COLLECTION] = Failed(Reason.EXPIRED)
    await desk.top_up()
    await desk.run(300)
    assert await desk.order_states() == ["failed"]
    desk.operator.states[Kind.COLLECTION] = Unknown("dropped")
    desk.clock.advance(4 * 24 * HOUR)
    await desk.run(1)
    del desk.operator.states[Kind.COLLECTION]
    await desk.run(5 * 24 * HOUR)
    assert await desk.order_states() == ["undone"]
