"""Our database in two words: a ``Look`` reads, a ``Work`` writes and is one commit.

Every function that takes one of them says by its type whether it may write. Statements are SQLAlchemy Core; on the
ways that a person or a payment takes they are ``Statement`` objects, written at import and compiled once.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self, TypeVarTuple, overload

from psycopg import AsyncConnection
from psycopg.errors import InFailedSqlTransaction
from sqlalchemy import Executable, Result
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.sql.selectable import TypedReturnsRows

from ussd_app.clock import Clock
from ussd_app.store.lines import Line, Lines
from ussd_app.store.statements import Row, Statement, labelled, named, part_of

__all__ = ["Look", "Row", "Statement", "Store", "Work", "labelled", "named", "part_of"]

CONNECTIONS = 20  # of one process
SAVEPOINT = "s"  # one name for all: an inner one hides the outer, and is released before it

Given = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Heard = Callable[[str], None]  # is told the text of every statement
Ts = TypeVarTuple("Ts")


class Look:
    """Reads; each statement sees what is committed when it is sent."""

    def __init__(self, line: Line, now: datetime, heard: Heard | None = None) -> None:
        self._line = line
        self._heard = heard
        self.now = now  # by the clock, when it was begun

    async def all(self, statement: Statement, **given: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as columns are
        """Every row."""
        await self._send(statement, given)
        columns = statement.columns
        return [dict(zip(columns, row, strict=True)) for row in await self._line.cursor.fetchall()]

    async def one(self, statement: Statement, **given: Any) -> dict[str, Any] | None:  # noqa: ANN401 - as columns are
        """The first row, where there is one."""
        await self._send(statement, given)
        row = await self._line.cursor.fetchone()
        return None if row is None else dict(zip(statement.columns, row, strict=True))

    async def value(self, statement: Statement, **given: Any) -> Any:  # noqa: ANN401 - as its column is
        """The first column of the first row; None where there is no row."""
        await self._send(statement, given)
        row = await self._line.cursor.fetchone()
        return None if row is None else row[0]

    @overload
    async def execute(self, core: TypedReturnsRows[*Ts], given: Given | None = None) -> Result[*Ts]: ...

    @overload
    async def execute(self, core: Executable, given: Given | None = None) -> Result[*tuple[Any, ...]]: ...

    async def execute(self, core: Executable, given: Given | None = None) -> Result[*tuple[Any, ...]]:
        """What a statement answers that is compiled for this call alone; not on the ways that are counted.

        A sequence is written row by row, and answers nothing.
        """
        if isinstance(given, Sequence):
            statement = Statement(core, tuple(given[0]))
            await self._line.cursor.executemany(statement.text.encode(), list(map(statement.parameters, given)))
            return IteratorResult(SimpleResultMetaData(()), iter(()))
        statement = Statement(core, tuple(given) if given else None)
        await self._send(statement, given or {})
        rows = await self._line.cursor.fetchall() if statement.columns else []
        return IteratorResult(SimpleResultMetaData(statement.columns), iter(rows))

    async def _send(self, statement: Statement, given: Mapping[str, Any]) -> None:
        if self._heard:
            self._heard(statement.text)
        await self._line.execute(statement.text, statement.parameters(given))
        if not statement.columns and self._line.cursor.description:
            statement.columns = tuple(column.name for column in self._line.cursor.description)


class Work(Look):
    """One commit: what is written in it is there as a whole, or not at all."""

    @property
    def connection(self) -> AsyncConnection:
        """Where somebody else's library is to write in the same commit."""
        return self._line.connection

    async def run(self, statement: Statement, **given: Any) -> int:  # noqa: ANN401 - as columns are
        """Write, and say how many rows that met."""
        await self._send(statement, given)
        return self._line.cursor.rowcount

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Self]:
        """What is written inside is undone where it raises, or by ``undo``; the rest of the commit stays."""
        await self._line.execute(f"SAVEPOINT {SAVEPOINT}", prepare=False)
        try:
            yield self
        except BaseException:
            await self.undo()
            raise
        finally:
            await self._line.execute(f"RELEASE SAVEPOINT {SAVEPOINT}", prepare=False)

    async def undo(self) -> None:
        """Undo what was written since the innermost savepoint."""
        await self._line.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}", prepare=False)


class Store:
    """The database behind a URL, spelt for libpq or for SQLAlchemy."""

    def __init__(
        self, conninfo: str, clock: Clock, *, connections: int = CONNECTIONS, keep: bool = True, **options: str | int
    ) -> None:
        """``options`` are libpq's; ``keep`` False opens a connection for each use."""
        self._clock = clock
        self.heard: Heard | None = None
        self._lines = Lines(conninfo.replace("+psycopg", "", 1), connections, keep=keep, **options)

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Look]:
        """Read; psycopg.Error where Postgres does not answer."""
        line = await self._lines.take()
        try:
            yield Look(line, self._clock.now(), self.heard)
        finally:
            await self._lines.give(line)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        """Write, and commit at the end of the block unless it raises."""
        line = await self._lines.take()
        try:
            await line.execute("BEGIN", prepare=False)
            yield Work(line, self._clock.now(), self.heard)
            await line.execute("COMMIT", prepare=False)
            if line.cursor.statusmessage != "COMMIT":  # Postgres says only so that an error before has undone it all
                raise InFailedSqlTransaction("nothing was committed: an error in the work was passed over")
        finally:
            await self._lines.give(line)

    async def close(self) -> None:
        """Close what is open and not in use."""
        await self._lines.forget()
