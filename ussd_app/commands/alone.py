"""Playing alone: what only tries this application out reads none of the machine's settings, touches none of its data.

A demo or a measurement that took up the settings of a real installation would take its waiting orders to the sandbox.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from redis import Redis, RedisError

from ussd_app.config import Environment, SettingsError

# What the machine needs to run anything at all, and what is the sandbox's own; every other variable may be a setting.
KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|TERM\w*|COLORTERM|NO_COLOR|FORCE_COLOR|COLUMNS|LINES|LD_\w+|"
    r"DYLD_\w+|VIRTUAL_ENV|(PYTHON|PYTEST|COVERAGE|COV)\w*|SANDBOX_\w+"
)
MARK = "demo"  # the event, in the audit, and the key in Redis, by which a demo knows what it has begun itself
# Where a row says that somebody uses this database.
USED = ("subscribers", "orders", "payments", "groups", "transfers", "messages", "audit")


class Stores(Environment):
    """The stores the machine's settings name."""

    redis_url: str | None = None
    database_url: str | None = None


class Played(Environment):
    """The country the machine's settings name."""

    country: str = "GH"


@contextmanager
def alone(directory: Path, given: Mapping[str, str]) -> Iterator[None]:
    """Until it ends these variables are the only settings: others are not seen, nor is any ``.env``."""
    directory.mkdir(parents=True, exist_ok=True)
    before, where = dict(os.environ), Path.cwd()
    kept = {name: value for name, value in before.items() if KEPT.fullmatch(name)}
    _set({**kept, **given})
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(where)
        _set(before)


def refuse_used(database_url: str, redis_url: str) -> None:
    """Raise SettingsError where a store holds what no demo has written; changes nothing.

    A store is a demo's where its mark stands, which is set (``mark``) at the first start in an empty one.
    """
    with _database(database_url) as connection:
        held = _held(connection)
    if held:
        raise SettingsError(f"the database holds {held} and was begun by no demo: nothing was changed, use another")
    try:
        with Redis.from_url(redis_url, socket_timeout=5) as redis:
            used = redis.dbsize() and not redis.exists(MARK)
    except (RedisError, ValueError) as error:
        raise SettingsError(f"REDIS_URL cannot be used: {_line(error)}") from None
    if used:
        raise SettingsError("the Redis holds keys and was begun by no demo: nothing was changed, use another")


def mark(database_url: str, redis_url: str, at: datetime) -> None:
    """Set the mark of a demo; what was already set stays."""
    with _database(database_url) as connection:
        connection.execute(
            "INSERT INTO audit (at, event, detail) SELECT %s, %s, %s"
            " WHERE NOT EXISTS (SELECT FROM audit WHERE event = %s)",
            (at, MARK, Jsonb({}), MARK),
        )
    with Redis.from_url(redis_url) as redis:
        redis.set(MARK, "1")


def refuse_demo(database_url: str) -> None:
    """Raise SettingsError where a demo has begun this database: real money is not booked among play money.

    One that is away now says nothing; whoever needs it waits for it.
    """
    with suppress(psycopg.OperationalError), psycopg.connect(_libpq(database_url), connect_timeout=5) as connection:
        if _exists(connection, "audit") and _marked(connection):
            raise SettingsError("DATABASE_URL names a database that a demo has begun: use another")


def _set(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


@contextmanager
def _database(url: str) -> Iterator["psycopg.Connection[Any]"]:
    try:
        with psycopg.connect(_libpq(url), connect_timeout=5) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise SettingsError(f"DATABASE_URL cannot be used: {_line(error)}") from None


def _libpq(url: str) -> str:
    return url.replace("+psycopg", "", 1)


def _held(connection: "psycopg.Connection[Any]") -> str | None:
    """What somebody else has put there."""
    if not _exists(connection, "audit"):
        others = "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        return "tables of something else" if _one(connection, others) else None
    if _marked(connection):
        return None
    return next((table for table in USED if _exists(connection, table) and _any(connection, table)), None)


def _exists(connection: "psycopg.Connection[Any]", table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,)


def _any(connection: "psycopg.Connection[Any]", table: str) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table))
    return connection.execute(query).fetchone() == (True,)


def _marked(connection: "psycopg.Connection[Any]") -> bool:
    query = "SELECT EXISTS (SELECT FROM audit WHERE event = %s)"
    return connection.execute(query, (MARK,)).fetchone() == (True,)


def _one(connection: "psycopg.Connection[Any]", query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
