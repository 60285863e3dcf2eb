"""A worker dies by SIGKILL with savings, payouts and top-ups in flight: nothing is lost, doubled or told twice."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from decimal import Decimal
from uuid import UUID

import pytest
from groups import phone
from sqlalchemy import select, text
from test_kills import POINTS
from town import Town, open_town

from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.groups import founding, invites
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Placed, airtime, contribution, daily_payout
from ussd_app.store import Store
from ussd_app.tables import payments

SAVERS = range(2, 8)
STEPS = [point.removeprefix("collection.") for point in POINTS if point.startswith("collection.")]
EVERY = [
    *(f"{kind}.{step}" for kind in ("collection", "disbursement", "delivery") for step in STEPS),
    *(point for point in POINTS if point.startswith("settle.")),
]
# Notices wait for the morning, where it is night as these tests are run.
FINAL = """
    SELECT NOT EXISTS (SELECT FROM payments WHERE final_at IS NULL)
        AND NOT EXISTS (SELECT FROM orders WHERE finished_at IS NULL)
"""
HELD = text("SELECT name, credits_posted - debits_posted AS held FROM accounts WHERE name LIKE 'group:%'")


@pytest.fixture
async def town(store: Store, database: str, redis_url: str) -> AsyncIterator[Town]:
    """A town whose handsets approve every prompt."""
    async with open_town(store, database, redis_url, MTN_SMS_PARTS_PER_SECOND="500") as town:
        yield town


def friend(round_: int, number: int) -> Msisdn:
    """Who is topped up: nobody twice, since Africa's Talking refuses that within five minutes."""
    return Msisdn(f"+23354{round_:02}{number:02}002")


async def found(application: Application, town: Town) -> UUID:
    """A collector and six savers, whose phones approve everything."""
    groups, share = application.groups, Money.of(1, "GHS")
    made = await founding.create(groups, "founded", phone(1), "daily", "ADEHYE", share, "daily")
    assert isinstance(made, founding.Created)
    assert made.code
    for number in SAVERS:
        await town.set_handset(phone(number).digits, auto="approve")
        assert isinstance(await invites.join(groups, phone(number), "Saver", made.code), invites.Joined)
    return made.group_id


async def place(application: Application, group: UUID, round_: int) -> None:
    """Each saver takes one cycle out, pays into another, and tops up a friend, all at once."""
    orders = application.orders

    def does(number: int) -> list[Awaitable[object]]:
        run, who = f"{round_}-{number}", phone(number)
        return [
            daily_payout.place(orders, run=f"out-{run}", msisdn=who, language="en", group_id=group, which=round_ + 1),
            contribution.place(
                orders, run=f"in-{run}", msisdn=who, language="en", group_id=group, amount=Money.of(2, "GHS")
            ),
            airtime.place(
                orders, run=f"top-{run}", msisdn=who, sender_name="Saver", recipient=friend(round_, number),
                amount=Money.of(number, "GHS"), language="en",
            ),
        ]  # fmt: skip

    placed = await asyncio.gather(*(each for number in SAVERS for each in does(number)))
    assert all(isinstance(each, Placed) for each in placed), placed


async def die_and_recover(
    town: Town, monkeypatch: pytest.MonkeyPatch, points: list[str], chance: random.Random
) -> None:
    """At each point in turn a worker dies among eighteen orders; the next one finishes what it left."""
    for name, value in town.env.items():
        monkeypatch.setenv(name, value)
    async with Application(load(Settings)) as application:
        group = await found(application, town)
        for number in SAVERS:
            await contribution.place(
                application.orders, run=f"saved-{number}", msisdn=phone(number), language="en", group_id=group,
                amount=Money.of(31 * len(points), "GHS"),
            )  # fmt: skip
        worker = town.work()
        await town.until("SELECT count(*) = 6 FROM orders WHERE state = 'done'")
        town.end(worker)
        for round_, point in enumerate(points):
            worker = town.work(point, str(chance.randrange(4)))
            await place(application, group, round_)
            assert await asyncio.to_thread(worker.wait, 60) == -signal.SIGKILL, point
    successor = town.work()
    await town.until(FINAL, 120)
    town.end(successor)
    await agree(town, len(points))


async def agree(town: Town, rounds: int) -> None:
    """Everybody has what they took, holds what they paid in since, and was told once; the sandbox's books say so."""
    each = rounds * len(SAVERS)
    books = (await town.http.get(f"{town.url}/sandbox/books")).json()
    moved = [m for m in books["operators"]["mtn_momo"]["movements"] if m["status"] == "succeeded"]
    async with town.store.look() as connection:
        made = select(payments.c.id, payments.c.amount, payments.c.operator).where(payments.c.state == "succeeded")
        rows = (await connection.execute(made)).all()
        held = {row.name: row.held for row in await connection.execute(HELD)}
        told = text("SELECT kind, count(*) AS times FROM group_events GROUP BY kind")
        events = {row.kind: row.times for row in await connection.execute(told)}
    ours = {str(row.id): Decimal(row.amount) / 100 for row in rows if row.operator == "mtn_momo"}
    assert {m["reference"]: Decimal(m["amount"]) for m in moved} == ours
    assert len(moved) == len(ours) == len(SAVERS) + 3 * each
    commission = [minor for name, minor in held.items() if name.endswith(":commission")]
    assert commission == [100 * each]
    assert [minor for name, minor in held.items() if ":member:" in name and minor] == [200 * rounds] * len(SAVERS)
    assert (events["savings_paid"], events["contribution"]) == (each, each + len(SAVERS))
    assert Counter(template for template, _ in await town.sms_rows())["airtime_received"] == each
    for round_ in range(rounds):
        for number in SAVERS:
            topped_up = await town.handset(friend(round_, number).digits)
            assert topped_up["airtime"] == {"GHS": f"{number}.00"}


@pytest.mark.long
async def test_nothing_of_a_group_is_lost_or_doubled_when_a_worker_dies(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it hurts most: the call has been made and nobody knows, and the commit that was not."""
    points = ["disbursement.submit.after_http", "delivery.submit.after_http", "settle.in_commit"]
    await die_and_recover(town, monkeypatch, points, random.Random(1))  # noqa: S311 - where to die is no secret


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_nothing_of_a_group_is_lost_or_doubled_at_any_point(
    town: Town, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Every point among eighteen orders, in another order each time: 288 of each kind."""
    chance = random.Random(seed)  # noqa: S311 - the same
    await die_and_recover(town, monkeypatch, chance.sample(EVERY, len(EVERY)), chance)
