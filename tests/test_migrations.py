"""The migrations make what tables.py says, run as often as one likes, and carry the books over."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import _administer, _database_url
from recomputed import differing
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from ussd_app import ledger
from ussd_app.clock import Clock
from ussd_app.embedded import Stores
from ussd_app.migrations import upgrade
from ussd_app.store import Store
from ussd_app.tables import metadata

ORDERS = 1_000  # three transfers each and a half; a million transfers were carried over in 11 s

# The books of the shape before 0010: orders that collect at one operator and pay out at the other, each fourth of them
# still paying out, each fourth still collecting; and one debit of the fees that a person has booked and one they hold.
BOOKS = """
SET session_replication_role = replica;  -- a million updates of one float's row in one commit would take hours
CREATE TEMP TABLE made AS SELECT n, gen_random_uuid() AS id, gen_random_uuid() AS collected, gen_random_uuid() AS paid
    FROM generate_series(1, {orders}) AS n;
INSERT INTO orders (id, run, digest, code, kind, state, msisdn, language, amount, fee, currency, details, created_at)
    SELECT id, n::text, '', n::text, 'send_money', 'open', '+23324', 'en', 100, 1, 'GHS', '{{}}', '2026-03-03'
    FROM made;
INSERT INTO accounts (name, currency, floor) VALUES ('float:a', 'GHS', false), ('float:b', 'GHS', false),
    ('receivable', 'GHS', false), ('fees', 'GHS', true), ('bank', 'GHS', true), ('charges:a', 'GHS', false);
INSERT INTO accounts (name, currency, floor) SELECT 'clearing:' || id, 'GHS', true FROM made;
CREATE TEMP TABLE sides AS SELECT made.*, a.id AS a, b.id AS b, f.id AS fees, c.id AS clearing FROM made
    JOIN accounts c ON c.name = 'clearing:' || made.id
    JOIN accounts a ON a.name = CASE n % 2 WHEN 0 THEN 'float:a' ELSE 'float:b' END
    JOIN accounts b ON b.name = CASE n % 2 WHEN 0 THEN 'float:b' ELSE 'float:a' END
    JOIN accounts f ON f.name = 'fees';
INSERT INTO transfers (id, kind, debit_account, credit_account, amount, currency, order_id, reason, at, pending_id)
    SELECT collected, 'pending', a, clearing, 101, 'GHS', id, 'collect', '2026-03-03'::timestamptz, NULL::uuid
        FROM sides
    UNION ALL SELECT gen_random_uuid(), 'post', a, clearing, 101, 'GHS', id, 'collect', '2026-03-03', collected
        FROM sides WHERE n % 4 > 0
    UNION ALL SELECT paid, 'pending', clearing, b, 100, 'GHS', id, 'disburse', '2026-03-03', NULL
        FROM sides WHERE n % 4 > 0
    UNION ALL SELECT gen_random_uuid(), CASE n % 8 WHEN 3 THEN 'void' ELSE 'post' END, clearing, b, 100, 'GHS', id,
        'disburse', '2026-03-03', paid FROM sides WHERE n % 4 > 1
    UNION ALL SELECT gen_random_uuid(), 'single', clearing, fees, 1, 'GHS', id, 'fee', '2026-03-03', NULL
        FROM sides WHERE n % 4 > 1
    UNION ALL SELECT gen_random_uuid(), kind, f.id, b.id, 5, 'GHS', NULL, 'drawn', '2026-03-03', NULL
        FROM accounts f, accounts b, unnest('{{single,pending}}'::text[]) AS kind
        WHERE f.name = 'fees' AND b.name = 'bank';
WITH moved AS (
    SELECT account, sum(debit * posted) AS dp, sum(debit * pending) AS dq, sum(credit * posted) AS cp,
        sum(credit * pending) AS cq
    FROM (
        SELECT debit_account AS account, amount AS debit, 0 AS credit, kind FROM transfers
        UNION ALL SELECT credit_account, 0, amount, kind FROM transfers
    ) t JOIN (VALUES ('single', 1, 0), ('pending', 0, 1), ('post', 1, -1), ('void', 0, -1)) k (kind, posted, pending)
        USING (kind)
    GROUP BY account
)
UPDATE accounts SET debits_posted = dp, debits_pending = dq, credits_posted = cp, credits_pending = cq
    FROM moved WHERE account = accounts.id;
RESET session_replication_role;
"""
SUMS = """
    SELECT name, currency, floor, debits_posted, credits_posted, debits_pending, credits_pending
    FROM accounts ORDER BY id
"""
UNRESOLVED = text("""
    SELECT h.id FROM transfers h
    WHERE h.kind = 'pending' AND NOT EXISTS (SELECT FROM transfers r WHERE r.pending_id = h.id)
    ORDER BY h.id LIMIT 500
""")


@pytest.fixture
def before(stores: Stores) -> Iterator[str]:
    """The URL of an empty database in the shape before 0010."""
    name = f"test_{uuid.uuid4().hex}"
    _administer(stores, f"CREATE DATABASE {name}")
    upgrade(_database_url(stores, name), "0009")
    yield _database_url(stores, name)
    _administer(stores, f"DROP DATABASE {name} WITH (FORCE)")


def test_migrated_and_described_tables_are_equal(database: str) -> None:
    """A column added to one and forgotten in the other is found here."""
    upgrade(database)  # once more: nothing happens
    engine = create_engine(database)
    with engine.connect() as connection:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), metadata) == []
    engine.dispose()


async def test_the_books_are_carried_over_and_go_on(before: str) -> None:
    """Every account's sums are what they were, and stand where what is under way finds them: all of it can end."""
    with psycopg.connect(before.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(BOOKS.format(orders=ORDERS).encode())
        sums = connection.execute(SUMS.encode()).fetchall()
        upgrade(before)
        assert connection.execute(SUMS.encode()).fetchall() == sums
    store = Store(before, Clock())
    async with store.work() as connection:
        assert await differing(connection) == []
        assert await ledger.imbalance(connection) == {"GHS": 0}
        for index, pending in enumerate((await connection.execute(UNRESOLVED)).scalars().all()):
            resolve = ledger.post if index % 2 else ledger.void
            await resolve(connection, pending, reason="after", at=datetime(2026, 3, 4, tzinfo=UTC))
        assert await differing(connection) == []
    await store.close()


def test_books_that_do_not_agree_are_not_carried_over(before: str) -> None:
    """Pending money that no open transfer holds: the migration changes nothing, and a person looks."""
    with psycopg.connect(before.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(BOOKS.format(orders=ORDERS).encode())
        connection.execute(b"SET session_replication_role = replica")
        connection.execute(b"UPDATE accounts SET debits_pending = debits_pending + 1 WHERE name = 'float:a'")
        with pytest.raises(DBAPIError, match="not what their open transfers say"):
            upgrade(before)
        assert connection.execute(b"SELECT version_num FROM alembic_version").fetchall() == [("0009",)]
