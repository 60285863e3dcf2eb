"""Three operators over three countries on their worst night: what their books say is what our ledger says.

Orders are placed by many people at once, over real HTTP, and time passes until nothing is open.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import httpx2 as httpx
import pytest
from later import LaterClock, keep, move
from night import COUNTRIES, STEP_SECONDS, Night, is_of
from redis.asyncio import Redis
from sqlalchemy import text
from test_journeys import EVERY_SECOND, agree, load_menus, served, surroundings

from ussd_app import ledger, log
from ussd_app.app import Application
from ussd_app.config import Settings, load
from ussd_app.money import Money
from ussd_app.movement import Kind
from ussd_app.payments import SUCCESSES
from ussd_app.tables import orders, payment_events, payments

TOGETHER = 20  # orders that are placed at once
# Of a whole night, which a quiet machine plays in a minute or two: enough for every fault to strike, and few enough for
# nine nights beside the other long tests.
ORDERS = 250

MOVED = text("""
    SELECT CASE WHEN d.name LIKE 'float:%' THEN d.name ELSE c.name END AS account,
        CASE WHEN d.name LIKE 'float:%' THEN t.amount ELSE -t.amount END AS amount
    FROM transfers t JOIN accounts d ON d.id = t.debit_account JOIN accounts c ON c.id = t.credit_account
    WHERE t.order_id IS NOT NULL AND t.kind IN ('single', 'post')
        AND (d.name LIKE 'float:%' OR c.name LIKE 'float:%')
""")
HELD_BACK = text("SELECT coalesce(sum(debits_pending + credits_pending), 0) AS minor FROM accounts")
# What each order has changed in an account that many share.
SHARED = text("""
    SELECT t.order_id, sum(CASE WHEN d.name = :name THEN t.amount ELSE -t.amount END) AS minor
    FROM transfers t JOIN accounts d ON d.id = t.debit_account JOIN accounts c ON c.id = t.credit_account
    WHERE t.kind IN ('single', 'post') AND :name IN (d.name, c.name) GROUP BY t.order_id
""")
UNCLEARED = text("""
    SELECT name, credits_posted - debits_posted AS minor FROM accounts
    WHERE name LIKE 'clearing:%' AND debits_posted <> credits_posted
""")


@pytest.fixture
async def night(
    request: pytest.FixtureRequest, database: str, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Night]:
    """An application of a country, with every limit of one person's payments out of the way."""
    port, variables = surroundings(request.param, database, redis_url)
    unlimited = (
        "DAILY_LIMIT", "PAYMENT_LIMIT", "SECURED_DAILY_LIMIT", "SECURED_PAYMENT_LIMIT", "PAYMENTS_PER_HOUR",
        "NEW_RECIPIENTS_PER_DAY",
    )  # fmt: skip
    given = dict.fromkeys((*unlimited, "SANDBOX_OPENING_BALANCE"), "100000000")
    given |= {"PROMPT_DELAY_MS": "0", "SENDERS": "console", "FLOAT_ALERT": "1"}
    for name, value in {**variables, **given}.items():
        monkeypatch.setenv(name, value)
    # A worker asks every second whether an operator that rests is back.
    application = Application(load(Settings), LaterClock(), read_menus=load_menus, tend=EVERY_SECOND)
    assert isinstance(application.clock, LaterClock)
    await keep(application.store, application.clock)
    async with served(application, port), httpx.AsyncClient(trust_env=False, timeout=60) as http:
        yield Night(application, http, redis, random.Random(0))  # noqa: S311 - a night that can be repeated


async def changed(night: Night, account: str) -> dict[UUID, int]:
    """What each order has changed in it, in minor units."""
    return {row.order_id: int(row.minor) for row in await night.all(SHARED.bindparams(name=account))}


async def check(night: Night) -> None:
    """Every movement is booked once, nothing else is, and nobody has got money twice unseen."""
    await agree(night.application, night.http)
    made = [each for each in await night.movements() if each["status"] == "succeeded"]
    rows, placed = await night.rows(payments), await night.rows(orders)
    assert {row["state"] for row in rows} <= SUCCESSES | {"failed"}
    moved = Counter((row.account.split(":")[1], int(row.amount)) for row in await night.all(MOVED))
    theirs = [(each["operator"], each["kind"], Money.of(each["amount"], night.currency).minor) for each in made]
    assert moved == Counter((name, minor if kind == "collection" else -minor) for name, kind, minor in theirs)
    decided = {each["payment_id"] for each in await night.rows(payment_events) if each["event"] == "decided"}
    for row in rows:
        mine = [each for each in made if is_of(each, row)]
        assert len(mine) == (row["state"] in SUCCESSES), (dict(row), mine)
        # Nothing that a callback calls paid is failed by anybody but a person.
        assert row["state"] in SUCCESSES or row["id"] in decided or not await night.is_claimed(row), dict(row)
    left = {UUID(row.name.removeprefix("clearing:")): int(row.minor) for row in await night.all(UNCLEARED)}
    owed, fees = await changed(night, ledger.RECEIVABLE), await changed(night, ledger.FEES)
    for order in placed:
        became = Counter(row["kind"] for row in rows if row["order_id"] == order["id"] and row["state"] in SUCCESSES)
        collected, paid, back = (became[kind] for kind in (Kind.COLLECTION, Kind.DISBURSEMENT, Kind.REFUND))
        # Paid out and given back: it is owed to us, with a fee that was earned before. Neither: a person is told.
        assert max(collected, paid, back) <= 1
        assert paid + back == 0 or collected, dict(order)
        fee = -fees.pop(order["id"], 0)
        assert fee == order["fee"] or not (fee or (paid and not back)), (dict(order), became)
        assert owed.pop(order["id"], 0) == (order["amount"] + fee if paid and back else 0), (dict(order), became)
        kept = order["amount"] + order["fee"] if collected and not paid and not back else 0
        assert left.pop(order["id"], 0) == kept, (dict(order), became)
        ended = "done" if paid and not back else "undone" if back else "parked" if collected else "failed"
        assert order["state"] == ended, (dict(order), became)
    assert not owed
    assert not fees
    assert not left
    assert [int(row.minor) for row in await night.all(HELD_BACK)] == [0]


async def play(night: Night, count: int, seed: int) -> None:
    """So many orders, to the end; what became of them is logged."""
    night.chance.seed(seed)
    await night.begin(seed)
    people = asyncio.create_task(night.answer())
    for start in range(0, count, TOGETHER):
        await asyncio.gather(*(night.place(number) for number in range(start, min(start + TOGETHER, count))))
        await move(night.application.store, night.redis, night.later, timedelta(seconds=2))
        await asyncio.sleep(STEP_SECONDS)
    told = -1
    while told != await night.told():  # what is decided, or given back, so late may come to nothing too
        told = await night.told()
        await night.pass_by()
        await night.look()
    people.cancel()
    became = Counter(
        (row["operator"], row["kind"], row["reason"] if row["state"] == "failed" else row["state"])
        for row in await night.rows(payments)
    )
    log.get(__name__).info(
        "a night", country=night.application.settings.country, seed=seed, refused=dict(night.refused),
        orders=dict(Counter(row["state"] for row in await night.rows(orders))),
        payments={" ".join(each): times for each, times in sorted(became.items())},
        found=dict(night.found), alerts=dict(Counter(await night.alerts())),
    )  # fmt: skip


@pytest.mark.parametrize("night", COUNTRIES, indirect=True)
async def test_a_small_night(night: Night) -> None:
    """Fifteen orders in each country."""
    await play(night, 15, seed=4)
    await check(night)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("night", COUNTRIES, indirect=True)
async def test_the_books_are_equal_after_a_whole_night(night: Night, seed: int) -> None:
    """With every fault, and whatever operators say of the same movement to whom asks and in their callbacks."""
    await play(night, ORDERS, seed)
    await check(night)
    assert not await night.idle()
