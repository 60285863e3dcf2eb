"""Connections to Postgres, kept for the next who needs one.

Nobody pings a connection before it is used: the first statement on one that was kept shows whether its server is still
there. If it is not, that statement, which can have done nothing, is sent on a new connection.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, OperationalError
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

PREPARED_MAX = 500  # statements of one connection; more than we have


class Line:
    """One connection, which commits each statement by itself where no transaction was begun."""

    __slots__ = ("_lines", "connection", "cursor", "is_proven")

    def __init__(self, lines: "Lines", connection: AsyncConnection) -> None:
        self._lines = lines
        self.is_proven = True  # it has answered since it was taken, or is new
        self._use(connection)

    async def execute(self, text: str, parameters: Mapping[str, Any] | None = None, *, prepare: bool = True) -> None:
        """Send one statement; the cursor has what it answers."""
        try:
            await self.cursor.execute(text.encode(), parameters, prepare=prepare)
        except OperationalError:
            if self.is_proven or not self.connection.broken:
                raise
            await self._lines.forget()
            self._use(await self._lines.connect())
            await self.cursor.execute(text.encode(), parameters, prepare=prepare)
        self.is_proven = True

    def _use(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.cursor: AsyncCursor[TupleRow] = connection.cursor()


class Lines:
    """At most ``limit`` connections at once; who comes when all are in use waits. ``keep`` False: each is used once."""

    def __init__(self, conninfo: str, limit: int, *, keep: bool = True, **options: str | int) -> None:
        self._conninfo = conninfo
        self._options = options
        self._keep = keep
        self._places = asyncio.Semaphore(limit)
        self._kept: list[Line] = []  # the last used is the first to be used again: the others may grow cold

    async def take(self) -> Line:
        """A connection for one user, who gives it back; psycopg.OperationalError where there is none to be had."""
        await self._places.acquire()
        try:
            if self._kept:
                line = self._kept.pop()
                line.is_proven = False
                return line
            return Line(self, await self.connect())
        except BaseException:
            self._places.release()
            raise

    async def give(self, line: Line) -> None:
        """Take it back; what was begun on it and not committed is undone."""
        try:
            pgconn = line.connection.pgconn
            if pgconn.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
                await line.execute("ROLLBACK", prepare=False)
        except OperationalError:
            pass  # it is broken, and closed below
        finally:
            self._places.release()
            if self._keep and line.connection.pgconn.transaction_status is TransactionStatus.IDLE:
                self._kept.append(line)
            else:
                await line.connection.close()

    async def connect(self) -> AsyncConnection:
        """A new connection."""
        conninfo = make_conninfo(self._conninfo, **self._options)
        connection = await AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=0)
        connection.prepared_max = PREPARED_MAX
        return connection

    async def forget(self) -> None:
        """Close what is kept."""
        kept, self._kept = self._kept, []
        for line in kept:
            await line.connection.close()
