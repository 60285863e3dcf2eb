"""A worker dies by SIGKILL at every named point of a payment, with twelve payments in flight: nothing is lost."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from town import Town, open_town

from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.money import Money
from ussd_app.msisdn import Msisdn
from ussd_app.orders import Placed, send_money
from ussd_app.store import Store

PAYMENTS = 12
REFUSED = 4  # every so many-th goes to somebody who cannot receive, and is refunded
POINTS = [
    *(
        f"{kind}.{point}"
        for kind in ("collection", "disbursement", "refund")
        for point in (
            "send.in_commit",
            "submit.before_http",
            "submit.after_http",
            "accept.in_commit",
            "accept.after_commit",
            "check.before_http",
            "check.after_http",
        )
    ),
    "settle.before_commit",
    "settle.in_commit",
    "settle.after_commit",
    "sms.claimed",
    "sms.answered",
]
DELAYED = {"being_delivered", "money_going_back"}  # where a death, on a busy machine, has cost more than a minute
CANNOT_RECEIVE = Msisdn("+233240009999")


@pytest.fixture
async def town(store: Store, database: str, redis_url: str) -> AsyncIterator[Town]:
    """A town whose handsets approve every prompt."""
    async with open_town(store, database, redis_url, MTN_SMS_PARTS_PER_SECOND="500") as town:
        yield town


async def place(town: Town, application: Application, round_: int) -> None:
    """Twelve people send money at once; every fourth to somebody who cannot receive."""

    async def send(number: int) -> None:
        sender = Msisdn(f"+23324{round_:02}{number:02}001")
        await town.set_handset(sender.digits, auto="approve")
        placed = await send_money.place(
            application.orders,
            run=f"{round_}-{number}",
            msisdn=sender,
            sender_name="Ama",
            recipient=CANNOT_RECEIVE if number % REFUSED == 0 else Msisdn(f"+23354{round_:02}{number:02}002"),
            recipient_name="Kofi",
            amount=Money.of(number + 1, "GHS"),
            language="en",
        )
        assert isinstance(placed, Placed)

    await asyncio.gather(*(send(number) for number in range(PAYMENTS)))


def passes(point: str, chance: random.Random) -> int:
    """How often a worker comes by a point before it dies there: seldom enough that one round of payments suffices."""
    return chance.randrange(PAYMENTS // REFUSED if point.startswith("refund.") else 4)


async def die_and_recover(
    town: Town, monkeypatch: pytest.MonkeyPatch, points: list[str], chance: random.Random
) -> None:
    """At each point in turn a worker dies among twelve payments; the next one finishes what it left."""
    await town.set_handset(CANNOT_RECEIVE.digits, can_receive=False)
    for name, value in town.env.items():
        monkeypatch.setenv(name, value)
    async with Application(load(Settings)) as application:
        for round_, point in enumerate(points):
            worker = town.work(point, str(passes(point, chance)))
            await place(town, application, round_)
            assert await asyncio.to_thread(worker.wait, 60) == -signal.SIGKILL, point
    successor = town.work()
    await town.all_final(120)
    await town.books_agree()
    count = len(points) * PAYMENTS
    said = Counter(template for template, _ in await town.sms_rows() if template not in DELAYED)
    refused = count // REFUSED
    assert said == {
        "money_sent": count - refused,
        "money_received": count - refused,
        "recipient_failed": refused,
        "money_refunded": refused,
    }
    town.end(successor)


# A quarter of the points is enough for `make test`: each death costs its workers' real patience.
@pytest.mark.parametrize("part", [*(pytest.param(part, marks=pytest.mark.long) for part in range(3)), 3])
async def test_nothing_is_lost_or_doubled_when_a_worker_dies(
    town: Town, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Every point once, each death with twelve payments in flight (and those the dead before left behind)."""
    points = POINTS[part::4]
    await die_and_recover(town, monkeypatch, points, random.Random(part))  # noqa: S311 - where to die is no secret


async def test_a_contradiction_and_a_persons_word_are_booked_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers die where payouts fail that callbacks call paid, treasurers where they say that nothing has moved."""
    await town.set_handset(CANNOT_RECEIVE.digits, can_receive=False)
    boast = {"target": "mtn_momo.disbursement"}
    await town.faults({"name": "callback_boasts", **boast}, {"name": "callback_first", **boast})
    for name, value in town.env.items():
        monkeypatch.setenv(name, value)
    rounds = ("settle.before_commit", "settle.in_commit", "settle.after_commit")
    async with Application(load(Settings)) as application:
        for round_, point in enumerate(rounds):
            worker = town.work(point, str(PAYMENTS + round_))
            await place(town, application, round_)
            assert await asyncio.to_thread(worker.wait, 60) == -signal.SIGKILL, point
    successor, doubted = town.work(), len(rounds) * PAYMENTS // 4
    await town.until(f"SELECT count(*) = {doubted} FROM payments WHERE state = 'parked'", 120)
    await town.until("SELECT NOT EXISTS (SELECT FROM payments WHERE final_at IS NULL AND state <> 'parked')", 120)
    alerts = "SELECT count(*) FROM audit WHERE detail ->> 'what' = 'a callback says paid, the operator says failed'"
    async with town.store.look() as connection:
        assert (await connection.execute(text(alerts))).scalar_one() == doubted
        ids = (await connection.execute(text("SELECT id::text FROM payments WHERE state = 'parked'"))).scalars().all()
    for point, payment in zip(("decide.before_commit", "decide.in_commit", "decide.after_commit"), ids, strict=False):
        assert await asyncio.to_thread(town.treasurer(point, payment).wait, 60) == -signal.SIGKILL, point
    booked = [await asyncio.to_thread(town.treasurer("never", payment).wait, 60) for payment in ids]
    assert booked == [0, 0, 2, *[0] * (doubted - 3)]
    await town.all_final(120)
    await town.books_agree()
    said = Counter(template for template, _ in await town.sms_rows())
    assert {name: said[name] for name in ("still_waiting", "not_delivered", "money_refunded")} == dict.fromkeys(
        ("still_waiting", "not_delivered", "money_refunded"), doubted
    )
    decided = "SELECT count(*) FROM audit WHERE event = 'decided'"
    async with town.store.look() as connection:
        assert (await connection.execute(text(decided))).scalar_one() == doubted
    town.end(successor)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
async def test_nothing_is_lost_or_doubled_in_two_hundred_deaths(
    town: Town, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The same, in another order and after other numbers of passes each time."""
    chance = random.Random(1000 + seed)  # noqa: S311 - the same
    await die_and_recover(town, monkeypatch, chance.sample(POINTS, 20), chance)
