"""Accounts that many orders share: sums in many rows, nobody waits for one that all want, and every law holds."""

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from psycopg import Error, IntegrityError
from recomputed import differing
from sqlalchemy import text

from ussd_app import ledger
from ussd_app.clock import Clock
from ussd_app.ledger import Insufficient, Sums
from ussd_app.money import Money
from ussd_app.store import Look, Store

AT = datetime(2026, 3, 3, tzinfo=UTC)
FLOAT = "float:x"
LANES = 32
CONNECTIONS = 16
ORDER = text("""
    INSERT INTO orders
        (id, run, digest, code, kind, state, msisdn, language, amount, fee, currency, details, created_at)
    VALUES (:id, :word, '', :word, 'send_money', 'open', '+233240000001', 'en', 1, 0, 'GHS', '{}', :at)
""")
# So long that a wait for a row shows as an error, which a slow machine alone does not make.
IMPATIENT = text("SET LOCAL lock_timeout = '2s'")
ROWS = text("""
    SELECT count(*) FROM account_parts p JOIN account_names n ON n.id = p.account
    WHERE n.name = :name AND p.debits_posted + p.credits_posted > 0
""")


def cedis(amount: int) -> Money:
    """Whole cedis."""
    return Money.of(amount, "GHS")


async def move(connection: Look, debit: str, credit: str, amount: int, order: UUID | None = None) -> object:
    """A transfer at once."""
    return await ledger.move(connection, debit, credit, cedis(amount), order=order, reason="test", at=AT)


async def orders(connection: Look, lanes: Iterable[int]) -> list[UUID]:
    """New orders, each in the lane wanted."""
    made = [UUID(int=uuid4().int & ~0xFF | lane) for lane in lanes]
    for order in made:
        await connection.execute(ORDER, {"id": order, "word": str(order), "at": AT})
    return made


async def unequal(store: Store) -> list[str]:
    """The accounts whose sums are not those of their transfers."""
    async with store.look() as connection:
        assert set((await ledger.imbalance(connection)).values()) <= {0}
        return await differing(connection)


@pytest.fixture
async def crowd(database: str) -> AsyncIterator[Store]:
    """An store of as many connections as hold and post at once."""
    store = Store(database, Clock(), connections=CONNECTIONS)
    yield store
    await store.close()


async def test_a_hot_float_keeps_its_sums_and_resolves_each_hold_once(crowd: Store) -> None:
    """Sixteen connections hold, and every hold is resolved by two at once: one is refused, and changes no sum."""
    chance = random.Random(1)  # noqa: S311 - which way a hold goes is no secret
    once: list[bool] = []

    async def resolve(hold: UUID, *, post: bool) -> bool:
        try:
            async with crowd.work() as connection:
                await (ledger.post if post else ledger.void)(connection, hold, reason="test", at=AT)
        except IntegrityError:
            return False
        return True

    async def one(number: int) -> None:
        for _ in range(12):
            async with crowd.work() as connection:
                held = await ledger.hold(
                    connection, FLOAT, f"group:{number}", cedis(1), order=None, reason="test", at=AT
                )
            assert isinstance(held, UUID)
            ways = chance.random() < 0.7, chance.random() < 0.7
            once.append(
                sum([await each for each in asyncio.as_completed([resolve(held, post=way) for way in ways])]) == 1
            )

    await asyncio.gather(*map(one, range(CONNECTIONS // 2)))
    assert once == [True] * (CONNECTIONS // 2 * 12)
    assert await unequal(crowd) == []
    async with crowd.look() as connection:
        sums = await ledger.sums(connection, FLOAT, "GHS")
        posted = (await connection.execute(text("SELECT count(*) FROM transfers WHERE kind = 'post'"))).scalar_one()
        assert sums == Sums(posted * 100, 0, 0, 0)
        assert (await connection.execute(ROWS, {"name": FLOAT})).scalar_one() > LANES / 2


async def test_settlements_of_different_lanes_wait_for_no_row(crowd: Store) -> None:
    """Each is still open when the next settles on the same float, earns its fee and books what is owed to us."""
    async with crowd.work() as connection:
        lanes = await orders(connection, range(CONNECTIONS))
        for name in ("fees", "receivable", FLOAT):
            await move(connection, name if name != "fees" else FLOAT, "fees" if name == "fees" else "suspense", 1)
    async with AsyncExitStack() as open_:
        for order in lanes:
            connection = await open_.enter_async_context(crowd.work())
            await connection.execute(IMPATIENT)
            clearing = ledger.clearing_account(order)
            await move(connection, FLOAT, clearing, 10, order)
            await move(connection, clearing, "fees", 1, order)
            await move(connection, "receivable", clearing, 2, order)
    assert await unequal(crowd) == []


async def test_orders_that_cross_the_same_accounts_in_opposite_order_never_deadlock(crowd: Store) -> None:
    """From float to float and back, sixteen at once in two lanes, with a moment between for the others to come."""
    async with crowd.work() as connection:
        made = await orders(connection, [number % 2 for number in range(64)])
        for name in ("float:a", "float:b"):
            await move(connection, name, "suspense", 1)
    left = list(enumerate(made))

    async def settle() -> None:
        while left:
            number, order = left.pop()
            way = ("float:a", "float:b") if number // 2 % 2 else ("float:b", "float:a")
            async with crowd.work() as connection:
                for debit, credit in ((way[0], "receivable"), ("receivable", way[1]), (way[1], "receivable")):
                    await move(connection, debit, credit, 1, order)
                    await asyncio.sleep(0.002)

    await asyncio.gather(*(settle() for _ in range(CONNECTIONS)))
    assert await unequal(crowd) == []


async def test_transfers_that_cross_between_floors_never_deadlock(crowd: Store) -> None:
    """Held from A to B and from B to A, then posted, all at once: each locks both in one order."""
    names = [f"group:{uuid4()}:fund" for _ in range(2)]
    async with crowd.work() as connection:
        for name in names:
            await move(connection, FLOAT, name, 1000)

    async def spend(number: int) -> None:
        debit, credit = names if number % 2 else reversed(names)
        for _ in range(8):
            async with crowd.work() as connection:
                held = await ledger.hold(connection, debit, credit, cedis(1), order=None, reason="test", at=AT)
            assert isinstance(held, UUID)
            async with crowd.work() as connection:
                await ledger.post(connection, held, reason="test", at=AT)

    await asyncio.gather(*map(spend, range(CONNECTIONS)))
    assert await unequal(crowd) == []


async def test_who_has_locked_a_floor_and_who_comes_to_it_by_a_float_never_deadlock(crowd: Store) -> None:
    """Both of one lane: what a till is paid goes to suspense while something is sent back from there."""
    async with crowd.work() as connection:
        await move(connection, FLOAT, "suspense", 1000)
        made = await orders(connection, [7] * CONNECTIONS)

    async def pay(number: int, order: UUID) -> None:
        for _ in range(6):
            async with crowd.work() as connection:
                if number % 2:
                    await move(connection, FLOAT, "suspense", 1, order)
                else:
                    await ledger.lock(connection, ("suspense",), "GHS")
                    await asyncio.sleep(0.002)
                    await move(connection, "suspense", FLOAT, 1, order)

    await asyncio.gather(*(pay(number, order) for number, order in enumerate(made)))
    assert await unequal(crowd) == []


async def test_fees_are_earned_in_every_lane_and_never_overdrawn(store: Store) -> None:
    """A debit may take all that stands in all rows, and no unit more; not by two at once, and not by SQL by hand."""
    async with store.work() as connection:
        for order in await orders(connection, range(10)):
            await move(connection, FLOAT, "fees", 10, order)
        assert (await connection.execute(ROWS, {"name": "fees"})).scalar_one() == 10

    async def draw(amount: int) -> object:
        async with store.work() as connection:
            return await move(connection, "fees", "bank", amount)

    drawn = await asyncio.gather(*(draw(30) for _ in range(8)))
    assert drawn.count(Insufficient("fees")) == 5
    async with store.work() as connection:
        assert await ledger.sums(connection, "fees", "GHS") == Sums(9_000, 10_000, 0, 0)
        held = await ledger.hold(connection, "fees", "bank", cedis(10), order=None, reason="test", at=AT)
        assert isinstance(held, UUID)
        assert await move(connection, "fees", "bank", 1) == Insufficient("fees")
        await ledger.void(connection, held, reason="test", at=AT)
    with pytest.raises(Error, match="ck_account_parts_floor"):
        async with store.work() as connection:
            await connection.execute(
                text("""
                    INSERT INTO transfers (id, kind, debit_account, credit_account, amount, currency, reason, at)
                    SELECT gen_random_uuid(), 'single', f.id, b.id, 1001, 'GHS', 'theft', :at
                    FROM accounts f, accounts b WHERE f.name = 'fees' AND b.name = 'bank'
                """),
                {"at": AT},
            )
    assert await draw(10) != Insufficient("fees")
    assert await unequal(store) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account_parts SET credits_posted = credits_posted + 1",
        "UPDATE account_parts SET floor = false",
        "DELETE FROM account_parts",
        "TRUNCATE account_parts",
        "INSERT INTO account_parts (account, part, floor, credits_posted) SELECT id, 77, true, 5 FROM account_names",
        "INSERT INTO account_parts (account, part, floor) SELECT id, 78, false FROM account_names",
        "UPDATE account_names SET floor = false",
        "UPDATE account_names SET currency = 'UGX'",
        "DELETE FROM account_names",
        "TRUNCATE account_names CASCADE",
        "SELECT account_gather(id) FROM account_names",
    ],
)
async def test_sql_by_hand_reaches_no_row_of_sums(store: Store, statement: str) -> None:
    """What is refused of an account is refused of its rows."""
    async with store.work() as connection:
        await move(connection, FLOAT, "fees", 10)
    with pytest.raises(Error, match=r"never changed|change by transfers alone"):
        async with store.work() as connection:
            await connection.execute(text(statement))
    assert await unequal(store) == []


async def test_a_transfer_by_hand_is_booked_as_any(store: Store) -> None:
    """Its hold and its resolution meet in one row, whatever order the resolution names."""
    async with store.work() as connection:
        held = await ledger.hold(connection, FLOAT, "suspense", cedis(1), order=None, reason="test", at=AT)
        [other] = await orders(connection, [3])
        await connection.execute(
            text("""
                INSERT INTO transfers (id, kind, debit_account, credit_account, amount, currency, pending_id, order_id,
                    reason, at)
                SELECT gen_random_uuid(), 'post', debit_account, credit_account, amount, currency, id, :other,
                    'by hand', at
                FROM transfers WHERE id = :held
            """),
            {"held": held, "other": other},
        )
    assert await unequal(store) == []


def _transfer_for_ever(url: str, started: "multiprocessing.Queue[int]") -> None:
    """In a process of its own: hold, post and void on one float until somebody kills us."""

    async def one(store: Store, number: int) -> None:
        group = f"group:{number}"
        while True:
            async with store.work() as connection:
                [order] = await orders(connection, [number])
                held = await ledger.hold(connection, FLOAT, group, cedis(2), order=order, reason="test", at=AT)
                assert isinstance(held, UUID)
                await move(connection, FLOAT, "fees", 1, order)
            async with store.work() as connection:
                await (ledger.post if number % 2 else ledger.void)(connection, held, reason="test", at=AT)
                await move(connection, group, "receivable", 1, order)
            started.put(os.getpid())

    async def every() -> None:
        store = Store(url, Clock(), connections=8)
        await asyncio.gather(*(one(store, number) for number in range(8)))

    asyncio.run(every())


async def test_processes_killed_among_their_transfers_leave_sums_that_agree(store: Store, database: str) -> None:
    """SIGKILL in the middle of eight commits at once, three times over."""
    spawn = multiprocessing.get_context("spawn")
    for _ in range(3):
        started: multiprocessing.Queue[int] = spawn.Queue()
        process = spawn.Process(target=_transfer_for_ever, args=(database, started))
        process.start()
        for _ in range(40):
            await asyncio.to_thread(started.get, timeout=60)
        process.kill()
        await asyncio.to_thread(process.join)
        assert process.exitcode == -signal.SIGKILL
        assert await unequal(store) == []
    async with store.work() as connection:
        # Nothing that the dead had locked waits for anybody.
        await connection.execute(IMPATIENT)
        for order in await orders(connection, range(LANES)):
            await move(connection, FLOAT, "fees", 1, order)
    assert await unequal(store) == []


async def test_a_transfer_and_its_resolution_are_one_statement_each(store: Store) -> None:
    """Whether its accounts are new or known, and whether there is enough; after a refusal the commit goes on."""
    said: list[str] = []
    store.heard = said.append
    async with store.work() as connection:
        for _ in range(2):
            assert isinstance(await move(connection, FLOAT, "suspense", 5), UUID)
        assert await move(connection, "suspense", "bank", 11) == Insufficient("suspense")
        held = await ledger.hold(connection, "suspense", FLOAT, cedis(10), order=None, reason="test", at=AT)
        assert isinstance(held, UUID)
        await ledger.post(connection, held, reason="test", at=AT)
        with pytest.raises(LookupError):
            await ledger.void(connection, uuid4(), reason="test", at=AT)
        # No account with a floor that others spend: nothing to ask.
        await ledger.lock(connection, (), "GHS")
    assert len(said) == 6
    assert all(statement.startswith("SELECT ledger_") for statement in said)
    assert await unequal(store) == []
