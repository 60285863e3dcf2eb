"""Reads one TOML file with the line of everything in it: `tomllib` keeps no positions, so one scan finds them."""

import re
import tomllib
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ussd_app.menus.faults import Fault

FILE_BYTES_MAX = 256 * 1024
KEY_PARTS_MAX = 16  # of a.b.c: `tomllib` takes memory by their square

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_PART = re.compile(_KEY)
_BLANK = re.compile(r"(?:\s|#[^\n]*)+")
_HEADER = re.compile(rf"\[(\[?)[ \t]*({_DOTTED})[ \t]*\]\]?")
_ASSIGNMENT = re.compile(rf"({_DOTTED})[ \t]*=")
_VALUE_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|'  # multi-line strings may end in quotes of their own
    r"'''.*?'{3,5}|"
    r""""(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*|[^\S\n]+|[^\s"'#\[\]{},]+|.""",
    re.DOTALL,
)
_DEEP_KEY = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]+[ \t]*\.[ \t]*){{{KEY_PARTS_MAX}}}""")
_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Source:
    """One file's data, and where each part of it stands."""

    file: str
    data: dict[str, Any]
    lines: dict[tuple[str, ...], int] = field(repr=False)

    def line(self, *path: str | int) -> int:
        """The line of a key, or of the nearest thing around it that has one."""
        parts = tuple(map(str, path))
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return self.lines.get(parts, 1)

    def fault(self, message: str, *path: str | int) -> Fault:
        """A fault at that key."""
        return Fault(self.file, self.line(*path), message)


def read(path: Path) -> Source | Fault:
    """The file, or why it cannot be read: too large (over 256 KB), not UTF-8, not TOML."""
    text = read_text(path, path.name)
    if isinstance(text, Fault):
        return text
    if deep := _DEEP_KEY.search(text):
        return Fault(path.name, text.count("\n", 0, deep.start()) + 1, f"a key of more than {KEY_PARTS_MAX} parts")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _POSITION.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        return Fault(path.name, line, f"not TOML: {_POSITION.sub('', str(error))}")
    except RecursionError:
        return Fault(path.name, 1, "not TOML that anyone would write: nested too deeply")
    return Source(path.name, data, positions(text))


def read_text(path: Path, name: str) -> str | Fault:
    """A text file of bounded size, called ``name`` in faults."""
    with path.open("rb") as file:
        raw = file.read(FILE_BYTES_MAX + 1)
    if len(raw) > FILE_BYTES_MAX:
        return Fault(name, 1, f"larger than {FILE_BYTES_MAX // 1024} KB")
    try:
        return raw.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        return Fault(name, raw[: error.start].count(b"\n") + 1, "not UTF-8")


def positions(text: str) -> dict[tuple[str, ...], int]:
    """The line of every header, key and inline table of a valid TOML text, by path: ``("confirm", "options", "0")``."""
    scan, repeated = _Scan(text), Counter[tuple[str, ...]]()
    position, table = 0, _path("")
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
        elif header := _HEADER.match(text, position):
            table = _path(header[2])
            if header[1]:
                repeated[table] += 1
                table = (*table, str(repeated[table] - 1))
            scan.mark(table, position)
            position = header.end()
        elif assignment := _ASSIGNMENT.match(text, position):
            path = (*table, *_path(assignment[1]))
            scan.mark(path, position)
            position = scan.value(path, assignment.end())
        else:  # not TOML; the parser has refused it before
            break
    return scan.lines


class _Scan:
    """The lines found so far in one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines: dict[tuple[str, ...], int] = {}
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def mark(self, path: tuple[str, ...], position: int) -> None:
        self.lines.setdefault(path, bisect_right(self._starts, position))

    def value(self, path: tuple[str, ...], position: int) -> int:
        """Walk over one value, marking what inline tables and arrays hold; returns where it ends."""
        open_brackets: list[_Bracket] = []
        while position < len(self.text):
            inner = open_brackets[-1] if open_brackets else None
            if inner and inner.keyed and (key := _ASSIGNMENT.match(self.text, position)):
                inner.key = _path(key[1])
                self.mark(inner.path + inner.key, position)
                position = key.end()
                continue
            token = _VALUE_TOKEN.match(self.text, position)
            assert token  # noqa: S101 - its last alternative is any character
            if token[0] == "\n" and not inner:
                break
            if token[0] in {"[", "{"}:
                here = inner.here if inner else path
                self.mark(here, position)
                open_brackets.append(_Bracket(here, keyed=token[0] == "{"))
            elif token[0] in {"]", "}"} and inner:
                open_brackets.pop()
            elif token[0] == "," and inner:
                inner.index += 1
            position = token.end()
        return position


@dataclass(slots=True)
class _Bracket:
    """An array or inline table that is still open."""

    path: tuple[str, ...]
    keyed: bool
    index: int = 0
    key: tuple[str, ...] = ()

    @property
    def here(self) -> tuple[str, ...]:
        """The path of what begins now inside it."""
        return self.path + (self.key if self.keyed else (str(self.index),))


def _path(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
