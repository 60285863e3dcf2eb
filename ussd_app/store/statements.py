"""Statements of SQLAlchemy Core, written at import, compiled once, and sent as text with named parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import BindParameter, ClauseElement, Executable, FromClause, Label, RowMapping, Table, bindparam
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.compiler import SQLCompiler

Row = Mapping[str, Any] | RowMapping  # by the names of its columns

DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call] # SQLAlchemy's omission


class Statement:
    """One statement. What it asks for by ``bindparam`` is given by name whenever it is sent."""

    __slots__ = ("_fixed", "_processors", "_wanted", "columns", "text")

    def __init__(self, core: Executable, keys: Sequence[str] | None = None) -> None:
        """``keys`` are the columns that an insert or update sets, where the statement does not say so itself."""
        compiled = cast("SQLCompiler", cast("ClauseElement", core).compile(dialect=DIALECT, column_keys=keys))
        self._wanted = frozenset(name for name, bind in compiled.binds.items() if bind.required)
        expanded = compiled.construct_expanded_state(dict.fromkeys(self._wanted))
        self.text = expanded.statement
        self.columns: tuple[str, ...] = ()  # of its rows; known once it has been answered
        self._fixed = {name: value for name, value in expanded.parameters.items() if name not in self._wanted}
        kinds = {name: bind.type.dialect_impl(DIALECT) for name, bind in compiled.binds.items()}
        processors = {name: kind.bind_processor(DIALECT) for name, kind in kinds.items()}
        self._processors = [(name, made) for name, made in processors.items() if made and name in expanded.parameters]

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every value as psycopg takes it; TypeError for a name too many or too few."""
        if given.keys() != self._wanted:
            raise TypeError(f"{sorted(given.keys() ^ self._wanted)} are missing, or unknown, in {self.text}")
        values = {**self._fixed, **given}
        for name, processor in self._processors:
            values[name] = processor(values[name])
        return values


def named(table: Table, *columns: str) -> dict[str, BindParameter[Any]]:
    """The values of an insert or update that are given whenever it is sent, each by the name of its column."""
    return {name: bindparam(name, type_=table.c[name].type) for name in columns}


def labelled(part: FromClause) -> list[Label[Any]]:
    """Every column of one of several parts that a statement joins, under the part's name and its own."""
    return [column.label(f"{part.name}_{column.name}") for column in part.c]  # type: ignore[attr-defined] # they have one


def part_of(row: Row, part: FromClause) -> dict[str, Any]:
    """The columns of that part, under their own names again."""
    return {column.name: row[f"{part.name}_{column.name}"] for column in part.c}  # type: ignore[attr-defined] # the same
