"""What is sold through Africa's Talking while its answers are lost: our own client, its sandbox, an order desk."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from desk import AMA, KOFI, Desk, open_desk
from groups import phone
from redis.asyncio import Redis
from structlog.testing import capture_logs
from test_deliver_orders import FIVE
from test_money_attacks import DyingClock
from test_sandbox_deliveries import AIRTIME, BUNDLE, BUNDLES, Country

from ussd_app.movement import Kind
from ussd_app.orders import Placed, airtime, bundle
from ussd_app.store import Store

STEP_SECONDS = 5
MINUTE = 60
LOST = ["accepted_then_timeout", "accepted_then_500", "invalid_json", "html_200"]


@dataclass
class Shop:
    """A desk that sells for a sandbox's Africa's Talking, whose callbacks reach it."""

    desk: Desk
    country: Country

    async def sell_airtime(self, number: int = 0) -> None:
        """Ama buys five cedis of airtime for Kofi, or somebody for themselves."""
        payer, recipient = (phone(number), phone(number)) if number else (AMA, KOFI)
        placed = await airtime.place(
            self.desk.orders, run=f"run-{number}", msisdn=payer, sender_name="Ama", recipient=recipient, amount=FIVE,
            language="en",
        )  # fmt: skip
        assert isinstance(placed, Placed)

    async def sell_bundle(self, number: int = 1) -> None:
        """Ama buys fifty megabytes, or somebody else does."""
        line = bundle.Bundle("data", "MTN", "50MB", "50MB", "Day", FIVE, BUNDLES, BUNDLE)
        placed = await bundle.place(
            self.desk.orders, run=f"run-b{number}", msisdn=phone(number), sender_name="Ama", recipient=phone(number),
            bundle=line, language="en",
        )  # fmt: skip
        assert isinstance(placed, Placed)

    async def run(self, seconds: float, step: float = STEP_SECONDS) -> None:
        """Let time pass, and have every callback of it come."""
        until = self.desk.clock.seconds + seconds
        while self.desk.clock.seconds < until:
            await self.desk.run(step)
            for _, url, kind, body in await self.country.world.told():
                await self.desk.callbacks.keep(url.rpartition("/")[2], "", kind, body.encode())
        await self.desk.run()

    async def fault(self, name: str, point: str = "africastalking.airtime", count: int | None = None) -> None:
        """From now on, so often or always."""
        await self.country.plan(name, point, count=count)

    async def mend(self) -> None:
        """From now on nothing goes wrong."""
        await self.country.world.control("PUT", "/faults", [])

    async def fired(self) -> int:
        """How often the planned fault struck."""
        plan = await self.country.world.control("GET", "/faults")
        return int(plan[0]["fired"])

    async def moved(self, delivery: str = AIRTIME) -> list[str]:
        """What became of everything taken, once for each of our references; the ledger says the same of its worth."""
        movements = await self.country.movements(delivery)
        assert len({reference for reference, _ in movements}) == len(movements)
        return [status for _, status in movements]

    async def books_agree(self) -> None:
        """What the delivery took from us is what our ledger says it did."""
        books = (await self.country.world.control("GET", "/books"))["deliveries"]
        theirs = books.get(AIRTIME, {"balances": {}})["balances"].get("GHS", "0.00")
        assert theirs == await self.desk.balance(f"float:{AIRTIME}")


@pytest.fixture
def clock() -> DyingClock:
    """A clock that only the test moves, and at whose points jobs die."""
    return DyingClock()


@pytest.fixture
async def shop(
    store: Store, database: str, clock: DyingClock, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    """Open."""
    country = Country(clock, redis, monkeypatch)
    async with country.world.sandbox, country.world.client, open_desk(store, database, clock) as desk:
        desk.payments.deliveries = {AIRTIME: country.airtime, BUNDLES: country.bundles}
        yield Shop(desk, country)


@pytest.mark.parametrize("callback", ["told", "lost"])
@pytest.mark.parametrize("fault", LOST)
async def test_airtime_whose_answer_was_lost(shop: Shop, fault: str, callback: str) -> None:
    """Asked for again under its key, whose answer tells the id: delivered once, told once, booked once."""
    plan = [{"name": fault, "target": "africastalking.airtime", "count": 1}]
    if callback == "lost":
        plan.append({"name": "lost_callback", "target": "africastalking.airtime"})
    await shop.country.world.control("PUT", "/faults", plan)
    await shop.sell_airtime()
    await shop.run(MINUTE)
    assert await shop.fired() == 1
    assert await shop.desk.order_states() == ["done"]
    assert await shop.moved() == ["succeeded"]
    assert (await shop.country.handset(KOFI))["airtime"] == {"GHS": "5.00"}
    assert shop.desk.outbox.templates == ["airtime_sent", "airtime_received"]
    assert (await shop.desk.payment("deliver")).receipt.startswith("ATQid_")
    await shop.books_agree()


@pytest.mark.parametrize("point", ["submit.before_http", "submit.after_http", "accept.in_commit", "check.after_http"])
async def test_a_worker_that_dies_over_airtime(shop: Shop, clock: DyingClock, point: str) -> None:
    """Whatever it had asked for, the next one asks under the same key: it is delivered once."""
    clock.deaths = [f"delivery.{point}"] * 2
    await shop.sell_airtime()
    await shop.run(2 * MINUTE, step=20)
    assert clock.deaths == []
    assert await shop.desk.order_states() == ["done"]
    assert await shop.moved() == ["succeeded"]
    assert (await shop.country.handset(KOFI))["airtime"] == {"GHS": "5.00"}
    await shop.books_agree()


@pytest.mark.parametrize("fault", ["accepted_then_500", "500", "503"])
async def test_airtime_of_minutes_without_an_answer(shop: Shop, fault: str) -> None:
    """More tries than four: it is delivered once when the service is back, and looked up soon without a callback."""
    await shop.fault(fault)
    await shop.sell_airtime()
    await shop.run(30)
    await shop.fault("accepted_then_500")
    await shop.run(4 * MINUTE, step=20)
    assert await shop.desk.order_states() == ["open"]
    await shop.fault("lost_callback")
    await shop.run(3 * MINUTE, step=20)
    assert await shop.desk.order_states() == ["done"]
    assert await shop.moved() == ["succeeded"]
    await shop.books_agree()


async def test_six_people_meet_a_broken_service(shop: Shop) -> None:
    """The fifth failure in a row opens its breaker, with an alert; the sixth is held, and all are served afterwards."""
    await shop.fault("500")
    for number in range(2, 8):
        await shop.sell_airtime(number)
    with capture_logs() as logs:
        await shop.run(MINUTE)
    opened = [line for line in logs if line.get("what") == "breaker opened"]
    assert {(line["event"], line["provider"], line["call"]) for line in opened} == {("alert", AIRTIME, Kind.DELIVERY)}
    assert 5 <= await shop.fired() <= 7
    await shop.mend()
    await shop.run(5 * MINUTE, step=20)
    assert await shop.desk.order_states() == ["done"] * 6
    assert await shop.moved() == ["succeeded"] * 6
    said = Counter(shop.desk.outbox.templates)
    assert said == {"being_delivered": 6, "airtime_sent": 6}  # first that it hangs, since a minute has passed
    await shop.books_agree()


async def test_a_service_that_does_not_come_back(shop: Shop) -> None:
    """What was never asked for is refunded after a quarter of an hour; what may have been taken waits for a person."""
    await shop.fault("500")
    for number in range(2, 8):
        await shop.sell_airtime(number)
    with capture_logs() as logs:
        await shop.run(20 * MINUTE, step=30)
    states = await shop.desk.order_states()
    unanswered = states.count("open")
    assert unanswered in {5, 6}
    assert states.count("undone") == 6 - unanswered
    assert [line.get("what") for line in logs].count("delivery without an answer") == unanswered
    await shop.mend()
    await shop.run(10 * MINUTE, step=60)
    assert await shop.moved() == []


@pytest.mark.parametrize("fault", LOST)
async def test_a_bundle_whose_answer_was_lost(shop: Shop, fault: str) -> None:
    """Nobody documents that its key is honoured: it is asked for once, and found by its callback."""
    await shop.fault(fault, "africastalking.bundles", count=1)
    await shop.sell_bundle()
    await shop.run(MINUTE)
    assert await shop.desk.order_states() == ["done"]
    assert await shop.moved(BUNDLES) == ["succeeded"]
    assert (await shop.country.handset())["bundles"] == [BUNDLE]


async def test_a_broken_seller_of_bundles_sells_airtime(shop: Shop) -> None:
    """Five tries that were not taken open the breaker of bundles alone, and the bundle comes when it closes."""
    await shop.fault("503", "africastalking.bundles")
    await shop.sell_bundle()
    for number in range(2, 7):
        await shop.sell_bundle(number)
    with capture_logs() as logs:
        await shop.run(30)
    opened = [(line["provider"], line["call"]) for line in logs if line.get("what") == "breaker opened"]
    assert opened == [(BUNDLES, Kind.DELIVERY)]
    await shop.sell_airtime()
    await shop.run(30)
    assert (await shop.desk.order_states())[-1] == "done"
    await shop.mend()
    await shop.run(5 * MINUTE, step=20)
    assert await shop.desk.order_states() == ["done"] * 7
    assert await shop.moved(BUNDLES) == ["succeeded"] * 6
