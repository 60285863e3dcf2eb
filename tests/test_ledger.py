"""The ledger's laws, in Python, in SQL by hand and from two processes at once."""

import asyncio
import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Error, IntegrityError
from sqlalchemy import func, select, text

from ussd_app import ledger
from ussd_app.clock import Clock
from ussd_app.ledger import Insufficient, Sums
from ussd_app.money import Money
from ussd_app.store import Look, Store
from ussd_app.tables import accounts, transfers

AT = datetime(2026, 3, 3, tzinfo=UTC)
FORGED = "INSERT INTO transfers SELECT gen_random_uuid(),"


def cedis(amount: int) -> Money:
    """Whole cedis."""
    return Money.of(amount, "GHS")


async def fund(connection: Look, account: str, amount: int) -> None:
    """Money from the float into an account of ours."""
    await ledger.move(connection, "float:x", account, cedis(amount), order=None, reason="fund", at=AT)


async def hold(connection: Look, amount: int, debit: str = "suspense") -> UUID | Insufficient:
    """A pending payout."""
    return await ledger.hold(connection, debit, "float:x", cedis(amount), order=None, reason="out", at=AT)


async def test_a_pending_debit_cannot_be_spent_twice_and_a_pending_credit_not_yet(store: Store) -> None:
    """Reserved money is gone for everyone else, promised money is nobody's."""
    async with store.work() as connection:
        await fund(connection, "suspense", 10)
        assert isinstance(await hold(connection, 7), UUID)
        assert await hold(connection, 4) == Insufficient("suspense")
        await ledger.hold(connection, "float:x", "suspense", cedis(100), order=None, reason="in", at=AT)
        assert await hold(connection, 4) == Insufficient("suspense")
        assert isinstance(await hold(connection, 3), UUID)
        assert await ledger.sums(connection, "suspense", "GHS") == Sums(0, 1000, 1000, 10_000)


async def test_a_hold_is_posted_or_voided_once(store: Store) -> None:
    """The second resolution is refused by the database, and changes no sum."""
    async with store.work() as connection:
        await fund(connection, "suspense", 10)
        kept, given_up = await hold(connection, 6), await hold(connection, 4)
        assert isinstance(kept, UUID)
        assert isinstance(given_up, UUID)
        await ledger.post(connection, kept, reason="paid", at=AT)
        await ledger.void(connection, given_up, reason="failed", at=AT)
        before = await ledger.sums(connection, "suspense", "GHS")
        assert before == Sums(600, 1000, 0, 0)
    for again in (ledger.post, ledger.void):
        for pending in (kept, given_up):
            with pytest.raises(IntegrityError):
                async with store.work() as connection:
                    await again(connection, pending, reason="again", at=AT)
    async with store.look() as connection:
        assert await ledger.sums(connection, "suspense", "GHS") == before
        assert await ledger.imbalance(connection) == {"GHS": 0}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transfers SET amount = amount + 1",
        "DELETE FROM transfers",
        "TRUNCATE transfers CASCADE",
        "UPDATE accounts SET credits_posted = credits_posted + 1",
        "DELETE FROM accounts",
        "INSERT INTO accounts (name, currency, floor, credits_posted) VALUES ('gift', 'GHS', true, 1)",
        f"{FORGED} 'single', credit_account, debit_account, 999999, currency, NULL, NULL, 'theft', at FROM transfers",
        f"{FORGED} 'single', debit_account, credit_account, -5, currency, NULL, NULL, 'minus', at FROM transfers",
        f"{FORGED} 'single', debit_account, credit_account, 5, 'UGX', NULL, NULL, 'currency', at FROM transfers",
        f"{FORGED} 'post', debit_account, credit_account, amount, currency, id, NULL, 'not pending', at FROM transfers",
    ],
)
async def test_sql_by_hand_cannot_break_the_books(store: Store, statement: str) -> None:
    """What a person types into psql is refused as well."""
    async with store.work() as connection:
        await fund(connection, "suspense", 10)
    with pytest.raises(Error):
        async with store.work() as connection:
            await connection.execute(text(statement))
    async with store.look() as connection:
        assert await ledger.sums(connection, "suspense", "GHS") == Sums(0, 1000, 0, 0)


def _debit(url: str, count: int, results: "multiprocessing.Queue[int]") -> None:
    """In a process of its own: try parallel debits of 100, and say how many went through."""

    async def one(store: Store) -> bool:
        async with store.work() as connection:
            return isinstance(await hold(connection, 100), UUID)

    async def every() -> int:
        store = Store(url, Clock(), connections=10)
        done = sum(await asyncio.gather(*(one(store) for _ in range(count))))
        await store.close()
        return done

    results.put(asyncio.run(every()))


async def test_a_hundred_parallel_debits_from_two_processes_spend_a_thousand_exactly(
    store: Store, database: str
) -> None:
    """100 debits of 100 on 1,000 from two processes: exactly ten."""
    async with store.work() as connection:
        await fund(connection, "suspense", 1000)
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = spawn.Queue()
    workers = [spawn.Process(target=_debit, args=(database, 50, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    done = [await asyncio.to_thread(results.get, timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(done) == 10
    async with store.look() as connection:
        assert (await ledger.sums(connection, "suspense", "GHS")).debits_pending == 100_000


steps = st.lists(
    st.tuples(
        st.sampled_from(["move", "hold", "post", "void"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(1, 500),
    ),
    max_size=30,
)


@given(steps=steps)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_sequence_keeps_sums_equal_to_rows(store: Store, steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever is tried, stored sums equal recomputed ones, no floor is broken and a pending resolves once."""
    names = [f"float:{uuid4()}", *(f"group:{uuid4()}" for _ in range(3))]
    pending: list[UUID] = []
    async with store.work() as connection:
        for what, debit, credit, amount in steps:
            if what in {"move", "hold"} and debit != credit:
                call: Callable[..., object] = ledger.move if what == "move" else ledger.hold
                made = await call(  # type: ignore[misc]  # both are coroutines
                    connection, names[debit], names[credit], cedis(amount), order=None, reason=what, at=AT
                )
                if what == "hold" and isinstance(made, UUID):
                    pending.append(made)
            elif pending and what in {"post", "void"}:
                resolve = ledger.post if what == "post" else ledger.void
                await resolve(connection, pending.pop(amount % len(pending)), reason=what, at=AT)
        for name in names:
            await _stored_equals_recomputed(connection, name)
        assert set((await ledger.imbalance(connection)).values()) <= {0}


async def _stored_equals_recomputed(connection: Look, name: str) -> None:
    account = (
        await connection.execute(select(accounts.c.id, accounts.c.floor).where(accounts.c.name == name))
    ).one_or_none()
    if account is None:
        return
    stored = await ledger.sums(connection, name, "GHS")
    recomputed = []
    for column in (transfers.c.debit_account, transfers.c.credit_account):
        query = select(transfers.c.kind, func.sum(transfers.c.amount)).where(column == account.id)
        rows = await connection.execute(query.group_by(transfers.c.kind))
        total = {kind: int(amount) for kind, amount in rows}
        settled = total.get("post", 0) + total.get("void", 0)
        recomputed.append((total.get("single", 0) + total.get("post", 0), total.get("pending", 0) - settled))
    (debits, debits_pending), (credits_, credits_pending) = recomputed
    assert stored == Sums(debits, credits_, debits_pending, credits_pending)
    assert not account.floor or debits + debits_pending <= credits_
