"""`ussd-app demo` as a command of its own, on a machine that is set up for real money: nothing there is touched."""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg
import pytest
from psycopg import sql
from redis import Redis
from town import ROOT, free_port

from ussd_app.commands import alone
from ussd_app.commands.demo import send_money
from ussd_app.commands.phone import Phone
from ussd_app.config import SettingsError

TRIES = 3  # a machine that others use too may not answer a hop in time
NOW = datetime(2031, 3, 4, 8, 0, tzinfo=UTC)
SUBSCRIBER = (
    b"INSERT INTO subscribers (msisdn, name, language, registered_at) VALUES ('+233240000001', 'Ama', 'en', now())"
)
WAITING = b"INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('payments', 'payments.submit', '{}')"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A working directory, short enough for sockets and open to PostgreSQL's own user."""
    with tempfile.TemporaryDirectory(prefix="ussd-") as name:
        yield Path(name)


@pytest.fixture
def conninfo(database: str) -> str:
    """The test's own database, as libpq takes it."""
    return database.replace("+psycopg", "", 1)


@pytest.fixture
def kept(redis_url: str) -> Iterator[Redis]:
    """A Redis that holds a token of a real operator's, and nothing else."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
        redis.set("token:mtn_momo", "real")
        yield redis
        redis.flushall()


def everything(conninfo: str, redis: Redis) -> Mapping[str, Any]:
    """Every row of every table, and every key."""
    with psycopg.connect(conninfo) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        queries = {
            name: sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(name)) for (name,) in tables
        }
        rows = {name: connection.execute(query).fetchall() for name, query in queries.items()}
    return rows | {str(key): redis.get(key) for key in redis.scan_iter()}


def demo(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    command = [sys.executable, "-m", "ussd_app", "demo", "--no-stay", "--port", str(free_port()), *words]
    environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def set_up(folder: Path, conninfo: str, redis_url: str) -> dict[str, str]:
    """A machine that serves a real country: half of its settings in ``.env``, half of them in the environment."""
    (folder / ".env").write_text(
        f"DATABASE_URL={conninfo}\nSECRET_KEYS={'k' * 40}\nMTN_MOMO_API_KEY=real\nMTN_MOMO_BASE_URL=http://127.0.0.1:1\n"
        "AGGREGATORS=nobody\nSENDERS=nobody\nMENUS_DIR=/nowhere\nPAYMENT_LIMIT=none\n"
    )
    return {"REDIS_URL": redis_url, "OPERATORS": "nobody", "PUBLIC_URL": "https://pay.example.com", "COUNTRY": "KE"}


def test_a_demo_has_its_own_stores_whatever_is_set(folder: Path, conninfo: str, redis_url: str, kept: Redis) -> None:
    """A journey is played in the country of the settings, and of the real system no row and no key has changed."""
    with psycopg.connect(conninfo) as connection:
        connection.execute(SUBSCRIBER)
        connection.execute(WAITING)
    variables, before = set_up(folder, conninfo, redis_url), everything(conninfo, kept)
    for _ in range(TRIES):
        played = demo(folder, **variables)
        assert everything(conninfo, kept) == before
        if played.returncode == 0:
            break
    assert played.returncode == 0, played.stderr
    assert "Pay KES 505.00" in played.stdout
    assert "They agree." in played.stdout
    assert sorted(path.name for path in folder.iterdir()) == [".data", ".env"]
    assert [path.name for path in (folder / ".data").iterdir()] == ["demo"]


def test_a_used_database_is_refused_even_where_the_settings_stores_are_asked_for(
    folder: Path, conninfo: str, redis_url: str, kept: Redis
) -> None:
    """In one line, and nothing has changed."""
    with psycopg.connect(conninfo) as connection:
        connection.execute(SUBSCRIBER)
    variables, before = set_up(folder, conninfo, redis_url), everything(conninfo, kept)
    refused = demo(folder, "--in-configured-stores", **variables)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr == (
        "the database holds subscribers and was begun by no demo: nothing was changed, use another\n"
    )
    assert everything(conninfo, kept) == before


@pytest.mark.long
def test_an_empty_database_is_the_demos_from_then_on(folder: Path, conninfo: str, redis_url: str, kept: Redis) -> None:
    """It plays there again and again; whoever serves real money does not."""
    variables = set_up(folder, conninfo, redis_url)
    assert "the Redis holds keys" in demo(folder, "--in-configured-stores", **variables).stderr
    kept.flushall()
    for _ in range(2):
        assert demo(folder, "--in-configured-stores", "--country", "UG", **variables).returncode == 0
    with psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT currency, count(*) FROM orders GROUP BY 1").fetchall() == [("UGX", 2)]
    command = [sys.executable, "-m", "ussd_app", "work"]
    (folder / ".env").unlink()
    settings = {**os.environ, "DATABASE_URL": conninfo, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    worker = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert (worker.returncode, worker.stderr) == (
        2,
        "DATABASE_URL names a database that a demo has begun: use another\n",
    )


async def test_whoever_plays_a_demo_again_pays_again() -> None:
    """What is asked of somebody who has just paid the same is answered with yes."""
    sure = tomllib.loads((ROOT / "menus" / "send_money.toml").read_text())["again_sure"]
    asked = "\n".join((sure["text"], *(f"{key} {each['text']}" for key, each in enumerate(sure["options"], 1))))
    shown = iter(("CON Akwaaba Ama\n3 Send money", f"CON {asked}", "CON GHS 5.00\n1 Confirm", "END Now approve"))
    server = httpx.MockTransport(lambda _: httpx.Response(200, text=next(shown)))
    async with httpx.AsyncClient(transport=server) as http:
        phone = Phone(http, "http://127.0.0.1:8000", "233240000001")
        keys = [typed async for typed, _ in send_money(phone, "233240000002", "5", "Ama")]
    assert keys[1:] == ["3", "1", "1"]


@pytest.mark.parametrize("table", alone.USED)
def test_any_row_of_a_real_system_is_enough(conninfo: str, redis_url: str, table: str) -> None:
    """Whatever came first: somebody registered, a group, a payment to the till, an alert."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    alone.refuse_used(conninfo, redis_url)
    with psycopg.connect(conninfo) as connection:
        connection.execute("SET session_replication_role = replica")  # foreign keys are looked at elsewhere
        _put_a_row(connection, table)
    with pytest.raises(SettingsError, match=f"holds {table} "):
        alone.refuse_used(conninfo, redis_url)


def test_a_database_of_something_else_is_refused(conninfo: str, redis_url: str) -> None:
    """One table is enough; an empty one is taken, and what is marked is taken whatever is in it."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    alone.refuse_used(conninfo, redis_url)
    alone.mark(conninfo, redis_url, NOW)
    alone.mark(conninfo, redis_url, NOW)
    with psycopg.connect(conninfo) as connection:
        connection.execute(SUBSCRIBER)
        assert connection.execute("SELECT event, at FROM audit").fetchall() == [("demo", NOW)]
    alone.refuse_used(conninfo, redis_url)
    with pytest.raises(SettingsError, match="a demo has begun"):
        alone.refuse_demo(conninfo)
    with psycopg.connect(conninfo) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    alone.refuse_used(conninfo, redis_url)
    alone.refuse_demo(conninfo)
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE invoices (id int)")
    with pytest.raises(SettingsError, match="tables of something else"):
        alone.refuse_used(conninfo, redis_url)


def test_stores_that_are_away_are_named_in_one_line(conninfo: str) -> None:
    """No traceback, and no password."""
    with pytest.raises(SettingsError, match=r"^DATABASE_URL cannot be used: ") as away:
        alone.refuse_used("postgresql://ama:secret@127.0.0.1:1/none", "redis://127.0.0.1:1/0")
    assert "secret" not in str(away.value)
    alone.refuse_demo("postgresql://ama:secret@127.0.0.1:1/none")  # whoever serves waits for it
    with pytest.raises(SettingsError, match=r"^REDIS_URL cannot be used: "):
        alone.refuse_used(conninfo, "redis://127.0.0.1:1/0")


def _put_a_row(connection: "psycopg.Connection[Any]", table: str) -> None:
    """A row of whatever the table's columns take."""
    columns = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = %s AND table_schema = 'public' AND is_nullable = 'NO'"
        " AND column_default IS NULL AND is_identity = 'NO'",
        (table,),
    ).fetchall()
    values = {
        "uuid": "00000000-0000-4000-8000-000000000001", "boolean": "false", "jsonb": "{}", "text": "single",
        "timestamp with time zone": "2031-03-04",
    }  # fmt: skip
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        sql.SQL(", ").join(
            sql.SQL("{}::text::{}").format(sql.Literal(values.get(kind, str(number))), sql.SQL(kind))
            for number, (_, kind) in enumerate(columns, 1)
        ),
    )
    connection.execute(query)
